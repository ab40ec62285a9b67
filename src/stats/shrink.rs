//! What is known of the noise between runs before a series has shown its own: from load tests in general, sharpened by the
//! sister series of the same suite, since five runs are the norm and five runs alone tell little.

/// What is believed of a standard deviation between runs: log-normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviationPrior {
    pub median: f64,
    /// Standard deviation of ln.
    pub spread: f64,
}

impl DeviationPrior {
    /// Of latencies: repeated runs on shared machines differ by 1.5 to 15 % in nineteen of twenty tests.
    pub const LEVEL: DeviationPrior = DeviationPrior { median: 0.045, spread: 0.6 };
    /// Of the distance of a tail or a mean from the median: what slows a whole run cancels in it, by more in some tests than
    /// in others.
    pub const SHAPE: DeviationPrior = DeviationPrior { median: 0.015, spread: 0.9 };
}

/// A sister series' own estimate of its standard deviation between runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sister {
    pub deviation: f64,
    /// Runs that it rests on.
    pub runs_count: usize,
}

/// The general belief counts as much as this many sister series: a handful of endpoints of one suite are not yet a law.
const SISTERS_WORTH: f64 = 4.0;
/// Sisters share a machine, but an endpoint may well be twice as noisy as the next: the belief never gets narrower.
const SPREAD_MIN: f64 = 0.3;

/// Returns what is believed of one more series of a suite whose other series are `sisters`.
///
/// ln of a standard deviation of n runs has the sampling variance 1 / (2 (n - 1)). The suite's mean of ln is the precision-
/// weighted mean of the sisters and of the general belief; the spread about it is estimated by moments, the general spread
/// counted in as `SISTERS_WORTH` sisters. Empirical Bayes for log-normal variances.
pub fn shrunk(general: DeviationPrior, sisters: &[Sister]) -> DeviationPrior {
    let is_usable = |sister: &&Sister| sister.deviation > 0.0 && sister.deviation.is_finite() && sister.runs_count > 2;
    let usable: Vec<(f64, f64)> = sisters
        .iter()
        .filter(is_usable)
        .map(|sister| (sister.deviation.ln(), 0.5 / (sister.runs_count - 1) as f64))
        .collect();
    let general_variance = general.spread * general.spread;
    let precisions = usable.iter().map(|(_, sampling)| 1.0 / (sampling + general_variance));
    let precision_sum = precisions.clone().sum::<f64>() + SISTERS_WORTH / general_variance;
    let weighted = precisions.zip(&usable).map(|(precision, (ln, _))| precision * ln).sum::<f64>();
    let mean = (weighted + SISTERS_WORTH / general_variance * general.median.ln()) / precision_sum;
    let excess = usable.iter().map(|(ln, sampling)| (ln - mean).powi(2) - sampling).sum::<f64>();
    let variance = (excess + SISTERS_WORTH * general_variance) / (usable.len() as f64 + SISTERS_WORTH);
    let spread = variance.max(SPREAD_MIN * SPREAD_MIN).sqrt().min(general.spread);
    DeviationPrior { median: mean.exp(), spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sisters_draw_the_belief_to_their_own() {
        let general = DeviationPrior::LEVEL;
        assert_eq!(shrunk(general, &[]).spread, general.spread);
        assert!((shrunk(general, &[]).median / general.median - 1.0).abs() < 1e-12);
        let few = shrunk(general, &[Sister { deviation: 0.01, runs_count: 10 }; 3]);
        let many = shrunk(general, &[Sister { deviation: 0.01, runs_count: 10 }; 200]);
        assert!(few.median < general.median && few.median > 0.02, "{few:?}");
        assert!((many.median / 0.01 - 1.0).abs() < 0.05, "{many:?}");
        assert_eq!(many.spread, SPREAD_MIN);
    }

    #[test]
    fn what_tells_nothing_is_left_out() {
        let of = |deviation, runs_count| shrunk(DeviationPrior::LEVEL, &[Sister { deviation, runs_count }]);
        let nothing = shrunk(DeviationPrior::LEVEL, &[]);
        for (deviation, runs_count) in [(0.0, 10), (f64::NAN, 10), (f64::INFINITY, 10), (0.01, 0), (0.01, 2)] {
            assert_eq!(of(deviation, runs_count), nothing);
        }
    }
}
