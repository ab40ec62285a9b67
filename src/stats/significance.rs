//! How unlikely a distance from the expected is, as the logarithm of its chance: chances here lie far below 1e-9.

use std::f64::consts::{LN_2, SQRT_2};

/// Returns ln P(|Z| > z) of a standard normal Z.
///
/// A rational approximation of the complementary error function, whose relative error is below 1.2e-7 at any z.
pub fn log_chance_normal(z: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    let x = z.abs() / SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| sum * t + coefficient);
    t.ln() - x * x + polynomial
}

/// Returns ln P(|T| > t) of Student's T, close enough for a threshold: within 2 % of t for 3 degrees of freedom or more.
///
/// It takes the normal deviate that is nearly as unlikely.
pub fn log_chance_student(t: f64, degrees_of_freedom: f64) -> f64 {
    let ratio = (8.0 * degrees_of_freedom + 1.0) / (8.0 * degrees_of_freedom + 3.0);
    log_chance_normal(ratio * (degrees_of_freedom * (t * t / degrees_of_freedom).ln_1p()).sqrt())
}

/// Returns ln P(|Z| > z) of a statistic that is twice a logarithm of a likelihood ratio.
pub fn log_chance_likelihood_ratio(twice_log_ratio: f64) -> f64 {
    // One-sided: counts that are fewer than expected are never asked about.
    log_chance_normal(twice_log_ratio.max(0.0).sqrt()) - LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(observed: f64, expected: f64, tolerance: f64) {
        assert!((observed / expected - 1.0).abs() < tolerance, "{observed}, not {expected}");
    }

    /// Expected values: SciPy, `numpy.log(2) + scipy.stats.norm.logsf(z)` and `numpy.log(2) + scipy.stats.t.logsf(t, df)`.
    #[test]
    fn known_answers() {
        check(log_chance_normal(1.0), -1.147874464449318, 1e-6);
        check(log_chance_normal(5.0), -14.371851213428782, 1e-6);
        check(log_chance_normal(-9.0), -42.935001932772174, 1e-6);
        check(log_chance_student(5.0, 10.0), -7.528891422158145, 0.01);
        check(log_chance_student(12.0, 30.0), -28.2143842045511, 0.01);
    }
}
