//! Special functions: the tails of counts and of gamma variables.

use super::normal;

/// From here on the cube root of a gamma variable is normal to five digits.
const SHAPE_MAX: f64 = 2_000.0;
/// Some times the square root of the largest count that a fraction is asked for: all have converged long before.
const STEPS_MAX: i32 = 20_000;

/// Returns ln Gamma(x) for x > 0, to 1e-10: Stirling's series (Abramowitz and Stegun 6.1.40) from 10 on, to which smaller x are raised.
pub fn log_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0f64);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - product.ln()
}

/// Returns the chance that a gamma variable of this shape and rate 1 is above x.
///
/// Abramowitz & Stegun (1964), 6.5.29 and 6.5.31; of large shapes by Wilson and Hilferty's cube root, 26.4.17.
pub fn gamma_upper(shape: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    if shape > SHAPE_MAX {
        let part = 1.0 / (9.0 * shape);
        return normal::upper_tail(((x / shape).cbrt() - 1.0 + part) / part.sqrt());
    }
    let scale = (shape * x.ln() - x - log_gamma(shape)).exp();
    if x < shape + 1.0 {
        let (mut term, mut sum, mut next) = (1.0 / shape, 1.0 / shape, shape);
        for _ in 1..STEPS_MAX {
            next += 1.0;
            term *= x / next;
            sum += term;
            if term < 1e-14 * sum {
                break;
            }
        }
        return (1.0 - scale * sum).max(0.0);
    }
    // Lentz's way through the continued fraction.
    let mut below = x + 1.0 - shape;
    let (mut c, mut d) = (1e300, 1.0 / below);
    let mut fraction = d;
    for step in 1..STEPS_MAX {
        let factor = f64::from(step) * (shape - f64::from(step));
        below += 2.0;
        d = 1.0 / (factor * d + below);
        c = below + factor / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (scale * fraction).min(1.0)
}

/// Returns the regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and Stegun 26.5.8), which
/// is evaluated as Lentz describes.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast below the mean; above it the other tail is asked.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (1.0 - x).ln() + log_gamma(a + b) - log_gamma(a) - log_gamma(b) - a.ln();
    let not_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / not_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..STEPS_MAX {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / not_zero(1.0 + even * d);
        c = not_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / not_zero(1.0 + odd * d);
        c = not_zero(1.0 + odd / c);
        let factor = d * c;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (front.exp() * fraction).clamp(0.0, 1.0)
}

/// Returns the chance of at least `least` successes in `count` trials of that chance each.
pub fn binomial_tail(count: u64, least: u64, chance: f64) -> f64 {
    match least {
        0 => 1.0,
        _ if least > count => 0.0,
        _ => incomplete_beta(least as f64, (count - least) as f64 + 1.0, chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found} is not {expected}");
    }

    /// Expected values: SciPy 1.17.1, `scipy.special.betainc(a, b, x)`, `scipy.stats.binom.sf(least - 1, count, chance)`.
    #[test]
    fn tails_of_counts_are_scipys() {
        for (a, b, x, expected) in BETAS {
            close(incomplete_beta(a, b, x), expected);
        }
        for (count, least, chance, expected) in BINOMIALS {
            let found = binomial_tail(count, least, chance);
            assert!((found / expected - 1.0).abs() < 1e-7, "{found} is not {expected}");
        }
        assert_eq!((binomial_tail(5, 0, 0.1), binomial_tail(5, 6, 0.1)), (1.0, 0.0));
    }

    const BETAS: [(f64, f64, f64, f64); 4] = [
        (3.0, 0.3, 0.2, 0.0013417074150049483),
        (100.0, 3.0, 0.95, 0.11026985672872086),
        (0.5, 0.5, 0.3, 0.36901011956554536),
        (2000.0, 10.0, 0.993, 0.10562846172566331),
    ];
    const BINOMIALS: [(u64, u64, f64, f64); 4] = [
        (8, 4, 0.2, 0.05628160000000002),
        (8, 8, 0.1, 1.0000000000000005e-08),
        (1000, 7, 0.001, 8.19700203282075e-05),
        (3000000, 1503000, 0.5, 0.00026657320518855314),
    ];

    #[test]
    fn gamma_tail_is_scipys() {
        // SciPy: scipy.special.gammaincc([0.3, 0.3, 2.5, 40, 40, 5000], [0.01, 5, 2, 30, 80, 5100])
        for (shape, x, expected) in [
            (0.3, 0.01, 0.720_759_003_6),
            (0.3, 5.0, 0.000_651_318_750_7),
            (2.5, 2.0, 0.549_415_951_4),
            (40.0, 30.0, 0.953_746_962_4),
            (40.0, 80.0, 2.808_721_626e-7),
            (5_000.0, 5_100.0, 0.079_328_881_08),
        ] {
            assert!((gamma_upper(shape, x) / expected - 1.0).abs() < 1e-5, "{shape} {x}: {}", gamma_upper(shape, x));
        }
        assert_eq!((gamma_upper(2.0, 0.0), gamma_upper(2.0, f64::INFINITY)), (1.0, 0.0));
    }

    #[test]
    fn log_gamma_is_scipys() {
        // SciPy: scipy.special.gammaln([0.3, 0.5, 1, 2, 7.5, 100, 1e6])
        for (x, expected) in [
            (0.3, 1.095_797_994_818_081),
            (0.5, 0.572_364_942_924_700_1),
            (1.0, 0.0),
            (2.0, 0.0),
            (7.5, 7.534_364_236_758_733),
            (100.0, 359.134_205_369_575_4),
            (1e6, 12_815_504.569_147_61),
        ] {
            assert!((log_gamma(x) - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{x}: {}", log_gamma(x));
        }
    }
}
