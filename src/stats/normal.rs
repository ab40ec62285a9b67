//! The normal distribution: its tail and its quantiles.

use super::significance::log_chance_normal;

/// Returns the chance that a standard normal value is above `z`.
pub fn upper_tail(z: f64) -> f64 {
    let beyond = 0.5 * log_chance_normal(z).exp();
    if z >= 0.0 { beyond } else { 1.0 - beyond }
}

/// Returns the value below which a standard normal value is with chance `p`, 0 < p < 1; by bisection to 1e-12.
pub fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    while high - low > 1e-12 {
        let middle = 0.5 * (low + high);
        if 1.0 - upper_tail(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // R: pnorm(z, lower.tail = FALSE)
        for (z, expected) in [(0.0, 0.5), (1.96, 0.0249979), (3.0, 0.001349898), (6.0, 9.865876e-10), (-1.0, 0.8413447)]
        {
            assert!((upper_tail(z) / expected - 1.0).abs() < 1e-6, "{z}");
        }
        // R: qnorm(p)
        for (p, expected) in [(0.5, 0.0), (0.975, 1.959964), (0.999, 3.090232), (0.1, -1.281552)] {
            assert!((quantile(p) - expected).abs() < 1e-5, "{p}");
        }
    }
}
