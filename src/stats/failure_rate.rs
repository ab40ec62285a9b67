//! How many failures one more run may have, given those of the runs before it.
//!
//! Runs of one system do not fail at one rate: each has its own, drawn from a gamma distribution, so that counts are negative
//! binomial (Greenwood and Yule 1920). Its mean and its shape are not known; both are summed over a grid, weighed by how well
//! they explain the history and by what is believed beforehand: rates lie anywhere between one in ten million and one, and most
//! systems fail alike from run to run (a shape of 1 or more), while some fail in a few bad runs only. A history without any
//! failure then makes many of them a surprise, and one with bad runs does not.

use super::failures::Failures;
use super::special::{incomplete_beta, log_gamma};

/// Grid of the rate's mean: so many points from `RATE_MIN` to 1, at equal distances of ln.
const RATES_COUNT: usize = 65;
const RATE_MIN: f64 = 1e-7;
/// Shapes of the gamma distribution with what is believed of each: the coefficient of variation of a rate is 1 / sqrt(shape).
const SHAPES: [(f64, f64); 6] = [(0.1, 0.02), (0.3, 0.06), (1.0, 0.22), (3.0, 0.30), (10.0, 0.25), (100.0, 0.15)];

/// Runs before a rise, and runs since at most: an older one was found when it was new.
pub const HISTORY_RUNS_MIN: usize = 4;
const RUNS_SINCE_MAX: usize = 6;
/// Points of less weight are left out: together they weigh far less than the chance that decides.
const WEIGHT_MIN: f64 = 1e-10;
/// A rise is called one at this chance.
pub const CHANCE_MAX: f64 = 3e-4;
const BEYOND_WORST: f64 = 3.0;
const AGREED_WORST: f64 = 1.25;
/// Fewer failures may be one moment's.
const JUMP_FAILURES_MIN: u64 = 10;

/// What a history says of the rate of one more run.
#[derive(Debug, Clone, PartialEq)]
pub struct RatePosterior {
    /// Mean, shape, and how likely both are; the weights sum to 1, but for what is left out.
    points: Vec<(f64, f64, f64)>,
}

impl RatePosterior {
    pub fn of(history: &[Failures]) -> RatePosterior {
        let step = -RATE_MIN.ln() / (RATES_COUNT - 1) as f64;
        let points = (0..RATES_COUNT).flat_map(|index| {
            let mean = (RATE_MIN.ln() + step * index as f64).exp();
            SHAPES.map(|(shape, belief)| (mean, shape, belief))
        });
        let logs: Vec<(f64, f64, f64)> = points
            .map(|(mean, shape, belief)| {
                let evidence: f64 = history.iter().map(|run| log_chance_of(*run, mean, shape)).sum();
                (mean, shape, belief.ln() + evidence)
            })
            .collect();
        let most = logs.iter().fold(f64::NEG_INFINITY, |most, (_, _, log)| most.max(*log));
        let weight = |log: f64| (log - most).exp();
        let sum: f64 = logs.iter().map(|(_, _, log)| weight(*log)).sum();
        let weighed = logs.iter().map(|(mean, shape, log)| (*mean, *shape, weight(*log) / sum));
        RatePosterior { points: weighed.filter(|(_, _, weight)| *weight >= WEIGHT_MIN).collect() }
    }

    /// Returns the chance of as many failures, or more, in `runs_count` further runs together.
    pub fn chance_of_so_many(&self, seen: Failures, runs_count: usize) -> f64 {
        let tail = |mean: f64, shape: f64| upper_tail(seen, mean, shape * runs_count as f64);
        self.points.iter().map(|(mean, shape, weight)| weight * tail(*mean, *shape)).sum::<f64>().clamp(0.0, 1.0)
    }

    /// Returns the chance of as few failures, or fewer, in one further run.
    pub fn chance_of_so_few(&self, seen: Failures) -> f64 {
        let more = Failures { failed_count: seen.failed_count + 1, ..seen };
        (1.0 - self.chance_of_so_many(more, 1)).clamp(0.0, 1.0)
    }

    /// Returns the standard deviation of the rate between runs.
    pub fn deviation_between_runs(&self) -> f64 {
        let mean = |value: &dyn Fn(f64, f64) -> f64| -> f64 {
            self.points.iter().map(|(mean, shape, weight)| weight * value(*mean, *shape)).sum()
        };
        mean(&|mean, shape| mean * mean / shape).sqrt()
    }
}

/// More failures than the history explains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rise {
    /// Count of runs since the rise, the newest included.
    pub runs_since: usize,
    pub chance: f64,
    /// The newest run alone shows it, and the history has bad runs as well.
    pub is_suspect: bool,
}

/// Says whether the newest run, or the newest ones together, fail more than those before.
///
/// A history that has failures has bad runs, whose rates have longer tails than a gamma distribution: there one run convicts
/// at once only beyond the worst of them by a factor that tails falling with the fourth power exceed with `CHANCE_MAX`
/// (as `regression` derives it), or if the count is a surprise, beyond three times the worst of them.
///
/// `posterior`: of the whole history.
pub fn rise(history: &[Failures], posterior: &RatePosterior, newest: Failures) -> Option<Rise> {
    let together = |runs_since: usize| {
        let (before, since) = history.split_at_checked(history.len().checked_sub(runs_since - 1)?)?;
        let seen = Failures::sum(since.iter().copied().chain([newest]));
        let worst = before.iter().map(|run| run.rate()).fold(0.0, f64::max);
        // Runs agree: each of them fails as the worst before, or more.
        let agree = since.iter().chain([&newest]).all(|run| run.rate() > AGREED_WORST * worst);
        (before.len() >= HISTORY_RUNS_MIN && (runs_since == 1 || agree)).then(|| {
            let of_before = (runs_since > 1).then(|| RatePosterior::of(before));
            let by_rates = of_before.as_ref().unwrap_or(posterior).chance_of_so_many(seen, runs_since);
            // However bad runs come about, one that is so much worse than all of them is none of them.
            let times = (history.len() as f64 * CHANCE_MAX).powf(-0.25).max(BEYOND_WORST);
            let is_jump = runs_since == 1 && worst > 0.0 && newest.rate() > times * worst;
            let chance =
                if is_jump && newest.failed_count >= JUMP_FAILURES_MIN { by_rates.min(CHANCE_MAX) } else { by_rates };
            Rise {
                runs_since,
                chance,
                is_suspect: runs_since == 1 && worst > 0.0 && newest.rate() <= worst_allowed(before),
            }
        })
    };
    let rises = (1..=RUNS_SINCE_MAX).filter_map(together).filter(|rise| rise.chance <= CHANCE_MAX);
    rises.min_by(|left, right| left.is_suspect.cmp(&right.is_suspect).then(left.chance.total_cmp(&right.chance)))
}

/// Returns the rate up to which the newest run alone is one more bad run of such a history.
pub fn worst_allowed(history: &[Failures]) -> f64 {
    BEYOND_WORST * history.iter().map(|run| run.rate()).fold(0.0, f64::max)
}

/// ln of the chance of a run's failures, without what does not depend on mean and shape.
fn log_chance_of(run: Failures, mean: f64, shape: f64) -> f64 {
    let (failed, expected) = (run.failed_count as f64, mean * run.count as f64);
    let total = shape + expected;
    let ratio = if failed == 0.0 { 0.0 } else { log_rising(shape, failed) + failed * (expected / total).ln() };
    ratio + shape * (shape / total).ln()
}

/// ln of Gamma(shape + count) / Gamma(shape).
fn log_rising(shape: f64, count: f64) -> f64 {
    log_gamma(shape + count) - log_gamma(shape)
}

/// Returns the chance of a negative binomial count of at least `seen.failed_count`: the incomplete beta function.
fn upper_tail(seen: Failures, mean: f64, shape: f64) -> f64 {
    if seen.failed_count == 0 {
        return 1.0;
    }
    let expected = mean * seen.count as f64;
    incomplete_beta(seen.failed_count as f64, shape, expected / (expected + shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found} is not {expected}");
    }

    /// Expected values: SciPy 1.17.1, `scipy.stats.nbinom.sf(failed - 1, shape, shape / (shape + mean * count))`.
    #[test]
    fn the_tail_is_the_negative_binomial_one() {
        for (failed_count, count, mean, shape, expected) in TAILS {
            close(upper_tail(Failures { failed_count, count }, mean, shape), expected);
        }
    }

    const TAILS: [(u64, u64, f64, f64, f64); 3] = [
        (3, 50, 0.01, 1.0, 0.03703703703703705),
        (100, 20000, 0.0005, 3.0, 1.1818161773434647e-09),
        (1, 4000, 1e-05, 0.3, 0.03685272264035285),
    ];

    #[test]
    fn failures_after_clean_runs_surprise_and_after_bad_runs_do_not() {
        let clean = RatePosterior::of(&[Failures { failed_count: 0, count: 20_000 }; 10]);
        let chance = |posterior: &RatePosterior, failed_count, count| {
            posterior.chance_of_so_many(Failures { failed_count, count }, 1)
        };
        assert!(chance(&clean, 100, 20_000) < 1e-3, "{}", chance(&clean, 100, 20_000));
        assert!(chance(&clean, 1, 20_000) > 0.02);
        let flaky: Vec<Failures> =
            [0, 0, 300, 0, 120, 0, 0, 400, 0, 0].map(|failed_count| Failures { failed_count, count: 20_000 }).to_vec();
        assert!(chance(&RatePosterior::of(&flaky), 300, 20_000) > 0.05);
        assert_eq!(chance(&RatePosterior::of(&[]), 0, 0), 1.0);
    }

    /// Histories of several kinds, none of which changes: how often the newest run is called worse.
    #[test]
    fn unchanged_histories_seldom_surprise() {
        let mut draws = Draws::seeded(5);
        for (mean, shape) in [(0.0005, 1.0), (0.01, 3.0), (0.01, 0.5), (0.1, 30.0), (0.000_01, 1.0)] {
            let mut alarms = 0;
            for _ in 0..1_000 {
                let runs: Vec<Failures> = (0..11)
                    .map(|_| {
                        // A gamma variate by the sum of its shape's parts is slow; a log-normal of the same variation serves.
                        let spread = (1.0f64 + 1.0 / shape).ln();
                        let rate = mean * (spread.sqrt() * draws.normal() - 0.5 * spread).exp();
                        Failures { failed_count: u64::from(draws.count((rate * 4_000.0).min(600.0))), count: 4_000 }
                    })
                    .collect();
                let (newest, history) = runs.split_last().unwrap();
                let posterior = RatePosterior::of(history);
                alarms += usize::from(rise(history, &posterior, *newest).is_some_and(|rise| !rise.is_suspect));
            }
            // The rates of the third kind differ by more than themselves.
            assert!(alarms <= 15, "{alarms} of 1,000 at {mean}, {shape}");
        }
    }
}
