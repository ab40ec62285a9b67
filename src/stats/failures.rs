//! Failures among requests, or among checks, and how well they tell a rate.

/// With 95 %, a normal variable lies within.
const SIGMAS_95: f64 = 1.959_963_984_540_054;

/// What failed of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    pub failed_count: u64,
    pub count: u64,
}

impl Failures {
    /// 0 where nothing was counted.
    pub fn rate(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.failed_count as f64 / self.count as f64 }
    }

    /// Adds up those of several runs, or of several parts of one.
    pub fn sum(all: impl Iterator<Item = Failures>) -> Failures {
        all.fold(Failures::default(), |sum, one| Failures {
            failed_count: sum.failed_count + one.failed_count,
            count: sum.count + one.count,
        })
    }
}

/// Returns the interval of 95 % of a rate that was seen in `count` trials (Wilson 1927); from 0 to 1 without a trial.
pub fn wilson(rate: f64, count: f64) -> (f64, f64) {
    if count <= 0.0 {
        return (0.0, 1.0);
    }
    let square = SIGMAS_95 * SIGMAS_95;
    let scale = 1.0 + square / count;
    let middle = (rate + 0.5 * square / count) / scale;
    let reach = SIGMAS_95 * (rate * (1.0 - rate) / count + 0.25 * square / (count * count)).max(0.0).sqrt() / scale;
    ((middle - reach).max(0.0), (middle + reach).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: SciPy 1.17.1, `scipy.stats.binomtest(failed, count).proportion_ci(method="wilson")`.
    #[test]
    fn the_interval_is_wilsons() {
        for (failed, count, low, high) in WILSONS {
            let found = wilson(failed / count, count);
            assert!((found.0 - low).abs() < 1e-9 && (found.1 - high).abs() < 1e-9, "{found:?} of {failed} in {count}");
        }
        assert_eq!(wilson(0.0, 0.0), (0.0, 1.0));
    }

    const WILSONS: [(f64, f64, f64, f64); 3] = [
        (3.0, 10.0, 0.10779126740630102, 0.6032218525388546),
        (0.0, 20.0, 0.0, 0.16112515805281935),
        (15.0, 500.0, 0.018263213197913387, 0.04890366683594572),
    ];
}
