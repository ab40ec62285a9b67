//! Looking often: is a running run worse than its history, asked after every window, with one chance of a false alarm.
//!
//! A run is one draw of a level: two runs of the same program differ by more than their windows promise. What a test of
//! windows against windows calls sure is therefore often the level of today, and looking again does not help. So the null
//! hypothesis is that the running run is one more run of the history, and what is estimated, window by window, is its
//! level over a whole run.
//!
//! The history fixes a level that an unchanged run reaches with the chance `CHANCE * CERTAINTY` (a predictive Student's t).
//! After each window, `p` is the chance that the running run, still taken for unchanged, will end beyond that level
//! (stochastic curtailment after Lan, Simon and Halperin, as the manual of SAS/STAT describes it in "The SEQTEST Procedure:
//! Stochastic Curtailment"). `p` is a martingale, and so is the e-value `p / (CHANCE * CERTAINTY)`, which starts at 1. By
//! Ville's inequality an unchanged run ever shows an e-value of `1 / CHANCE` with a chance of `CHANCE` at most.
//!
//! A likelihood ratio as the e-value would need a level 3.03 sigmas beyond the history before it could reach 100, because
//! the level is a single draw however long one looks; this one needs 2.46.
//!
//! What it cannot do: where runs differ by 10 %, one run that is slower by 20 % is no wonder, and no test of one run against
//! a history can call it one. And the promise is for levels that are normal on their scale: with the tails of a Student's t
//! of 4 degrees, up to twice as many unchanged runs are called changed.

use super::normal;

/// The chance that an unchanged run is ever called changed, over all looks.
pub const CHANCE: f64 = 0.01;
/// How sure an early alarm has to be that the whole run will end beyond the limit; between a half and 1 by the manual above.
/// The higher, the later the alarm. 0.8 would find 2 % more of the runs that are slower by 10 %; but where the levels of runs
/// have long tails (Student's t of 4), it would alarm in .0145 of the unchanged runs instead of .0135.
pub(super) const CERTAINTY: f64 = 0.7;
/// Runs without which the spread between runs is a guess.
pub const RUNS_MIN: usize = 3;
/// What is expected of the spread between runs before a run is seen, and how many runs that counts for: true runs of one script
/// spread by 1.3 % to 3.8 %. A few runs that are alike by chance then promise no tiny spread. Where they spread by 5 %, and the
/// history has eight runs, .0114 of the unchanged runs are called changed, and with 4 % expected .0077; but where they spread
/// as true ones do, 67 % of the runs that are slower by 10 % are found, and with 4 % expected 53 %.
const USUAL_SIGMA: f64 = 0.025;
const USUAL_SIGMA_RUNS: f64 = 2.0;
/// Beyond, Student's t is the normal distribution for all purposes here.
const DEGREES_MAX: f64 = 200.0;
/// Memory from window to window beyond which a mean says next to nothing.
const CORRELATION_MAX: f64 = 0.95;

/// What earlier runs say about one more run of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The mean level of the runs.
    pub level: f64,
    /// Scale of the predictive Student's t of one more level: the spread between runs and the error of their mean.
    pub scale: f64,
    pub degrees_of_freedom: f64,
    /// What the level over a whole run has to reach to be called worse.
    pub limit: f64,
    /// How each window of a run usually differs from the run's level: warm-up, stages.
    shape: Vec<f64>,
    /// By count of windows less one: variance of the level that so many windows show around that of the whole run.
    unseen: Vec<f64>,
}

/// What is known after one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// At least `1 / CHANCE`: the run is worse than its history. Of several series, each has its share in it.
    pub e_value: f64,
    /// The level so far, less that of the history: 0.1 is about +10 % on the log scale.
    pub difference: f64,
}

impl Look {
    pub fn is_alarm(&self) -> bool {
        // The sum over the mixture is not exact to the last bit.
        self.e_value >= (1.0 - 1e-9) / CHANCE
    }
}

impl History {
    /// Returns what the runs say together, or none of fewer than `RUNS_MIN` runs.
    ///
    /// `runs`: of each run one value a window, oldest window first, larger is worse; logarithms for latencies. A value that
    /// is not finite is a window without requests. A run that is shorter than half of the usual length is left out.
    pub fn of(runs: &[&[f64]]) -> Option<History> {
        History::sharing(runs, 1.0, 0.0)
    }

    /// As `of`, for one of several series that share the one chance of a false alarm: its own part of it is `share`, and it has
    /// to be worse by `least` at least.
    ///
    /// Its e-value then starts at `share` or less, so that those of all series add up to one of the run.
    pub fn sharing(runs: &[&[f64]], share: f64, least: f64) -> Option<History> {
        let mut lengths: Vec<usize> = runs.iter().map(|run| run.len()).collect();
        lengths.sort_unstable();
        let windows_count = *lengths.get(lengths.len() / 2)?;
        let whole: Vec<&[f64]> = runs
            .iter()
            .filter(|run| 2 * run.len() >= windows_count)
            .map(|run| &run[..run.len().min(windows_count)])
            .filter(|run| run.iter().any(|value| value.is_finite()))
            .collect();
        if whole.len() < RUNS_MIN {
            return None;
        }
        let levels: Vec<f64> = whole.iter().map(|run| mean(run.iter().copied())).collect();
        let runs_count = levels.len() as f64;
        let level = mean(levels.iter().copied());
        let squares = levels.iter().map(|other| (other - level).powi(2)).sum::<f64>();
        let degrees_of_freedom = USUAL_SIGMA_RUNS + runs_count - 1.0;
        let variance = (USUAL_SIGMA_RUNS * USUAL_SIGMA.powi(2) + squares) / degrees_of_freedom;
        let scale = (variance * (1.0 + 1.0 / runs_count)).sqrt();
        let degrees_of_freedom = degrees_of_freedom.min(DEGREES_MAX);
        let limit = level + (scale * student_reach(share * CHANCE * CERTAINTY, degrees_of_freedom)).max(least);
        let shape = shape(&whole, &levels, windows_count);
        let unseen = unseen(&whole, &levels, &shape);
        let history = History { level, scale, degrees_of_freedom, limit, shape, unseen };
        (history.limit.is_finite() && history.unseen.iter().all(|variance| variance.is_finite())).then_some(history)
    }

    /// Returns a look after each window of the running run, up to the usual length of a run.
    ///
    /// `windows`: as the runs of the history. A window without requests repeats the look before it.
    pub fn looks(&self, windows: &[f64]) -> Vec<Look> {
        let (mut sum, mut count) = (0.0, 0usize);
        let looks = windows.iter().zip(&self.shape).map(|(value, shape)| {
            if value.is_finite() {
                (sum, count) = (sum + value - shape, count + 1);
            }
            if count == 0 {
                return Look { e_value: 1.0, difference: 0.0 };
            }
            let so_far = sum / count as f64;
            Look { e_value: self.e_value(so_far, count), difference: so_far - self.level }
        });
        looks.collect()
    }

    /// Returns what is known after the last one of `windows`, and how far the true difference may lie to each side of that which
    /// was seen, with a confidence of 95 %; none where no window has requests, or where they are more than a run usually has.
    pub fn look(&self, windows: &[f64]) -> Option<(Look, f64)> {
        if windows.len() > self.shape.len() {
            return None;
        }
        let off = windows.iter().zip(&self.shape).map(|(value, shape)| value - shape).filter(|off| off.is_finite());
        let (sum, count) = off.fold((0.0, 0usize), |(sum, count), off| (sum + off, count + 1));
        let unseen = self.unseen.get(count.checked_sub(1)?)?;
        let so_far = sum / count as f64;
        let look = Look { e_value: self.e_value(so_far, count), difference: so_far - self.level };
        let reach = student_reach(0.025, self.degrees_of_freedom) * (self.scale.powi(2) + unseen).sqrt();
        Some((look, reach))
    }

    /// Returns the evidence against "one more run of the history" after `count` windows whose level is `so_far`.
    ///
    /// Student's t is a mixture of normal distributions; within each, the level of the whole run given that of its first
    /// windows is normal again.
    fn e_value(&self, so_far: f64, count: usize) -> f64 {
        let Some(unseen) = self.unseen.get(count - 1) else { return 1.0 };
        let distance = (so_far - self.level).clamp(-DISTANCE_MAX, DISTANCE_MAX);
        let (mut beyond, mut all) = (0.0, 0.0);
        let mixture = mixture(self.degrees_of_freedom);
        let log_density = |part: &Part| {
            let total = self.scale.powi(2) * part.variance + unseen;
            part.log_weight - 0.5 * (total.ln() + distance * distance / total)
        };
        let largest = mixture.iter().map(log_density).fold(f64::NEG_INFINITY, f64::max);
        for part in &mixture {
            let of_level = self.scale.powi(2) * part.variance;
            let kept = of_level / (of_level + unseen);
            let (middle, sigma) = (self.level + kept * distance, (kept * unseen).sqrt());
            let log_density = log_density(part) - largest;
            if log_density < LOG_DENSITY_MIN {
                continue;
            }
            let density = log_density.exp();
            all += density;
            beyond += density * chance_beyond(self.limit - middle, sigma);
        }
        beyond / all / (CHANCE * CERTAINTY)
    }
}

/// Returns the chance that a normal value of mean 0 reaches `limit`.
fn chance_beyond(limit: f64, sigma: f64) -> f64 {
    match sigma > 0.0 {
        true => normal::upper_tail(limit / sigma),
        false => f64::from(u8::from(limit <= 0.0)),
    }
}

/// Parts of the mixture that are less likely than e^-40 beside the likeliest one change no digit.
const LOG_DENSITY_MIN: f64 = -40.0;

/// No logarithm of a latency is so far from another, and its square is still a number.
const DISTANCE_MAX: f64 = 1e100;

/// One normal distribution of the mixture that is Student's t.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Not normalised.
    log_weight: f64,
    variance: f64,
}

/// Steps of the logarithm of the precision. The narrowest density here, with 200 degrees of freedom, has a sigma of 0.1:
/// with a step of half of that, a plain sum is exact to twelve digits.
const PRECISION_STEP: f64 = 0.05;
/// Enough for the density at 1,000 sigmas, where the precision of the mixture that matters is a millionth.
const LOG_PRECISION_MIN: f64 = -16.0;
const LOG_PRECISION_STEPS: usize = 400;

/// Returns Student's t as a mixture: its precision has a gamma distribution of shape and rate `degrees / 2`.
fn mixture(degrees_of_freedom: f64) -> Vec<Part> {
    let part = |step: usize| {
        let log_precision = LOG_PRECISION_MIN + PRECISION_STEP * step as f64;
        let precision = log_precision.exp();
        Part { log_weight: 0.5 * degrees_of_freedom * (log_precision + 1.0 - precision), variance: 1.0 / precision }
    };
    (0..LOG_PRECISION_STEPS).map(part).collect()
}

/// Returns what Student's t is beyond with `chance`, by bisection; it has to be below 0.5.
fn student_reach(chance: f64, degrees_of_freedom: f64) -> f64 {
    let mixture = mixture(degrees_of_freedom);
    let all: f64 = mixture.iter().map(|part| part.log_weight.exp()).sum();
    let tail = |reach: f64| {
        let of_part = |part: &Part| part.log_weight.exp() * normal::upper_tail(reach / part.variance.sqrt());
        mixture.iter().map(of_part).sum::<f64>() / all
    };
    let (mut low, mut high) = (0.0, 1e3);
    while high - low > 1e-9 {
        let middle = 0.5 * (low + high);
        if tail(middle) > chance {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Returns the mean of the finite values; 0 of none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|value| value.is_finite()).fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Returns by window how far it usually is from the level of its run.
fn shape(runs: &[&[f64]], levels: &[f64], windows_count: usize) -> Vec<f64> {
    let of_window =
        |window: usize| mean(runs.iter().zip(levels).filter_map(|(run, level)| Some(run.get(window)? - level)));
    (0..windows_count).map(of_window).collect()
}

/// Returns by count of windows the variance of the level of so many windows around that of the whole run.
///
/// The larger of two estimates: the spread that the history's own runs show after so many windows, and that of windows
/// whose memory fades by the same factor each step, which rests on all windows.
fn unseen(runs: &[&[f64]], levels: &[f64], shape: &[f64]) -> Vec<f64> {
    let residuals = |(run, level): (&&[f64], &f64)| -> Vec<f64> {
        run.iter().zip(shape).map(|(value, shape)| value - shape - level).collect()
    };
    let residuals: Vec<Vec<f64>> = runs.iter().zip(levels).map(residuals).collect();
    // Levels and shape were fitted, which took as many degrees of freedom.
    let runs_count = runs.len() as f64;
    let fitted = runs_count / (runs_count - 1.0);
    let pairs = |lag: usize| {
        let of_run = move |run: &Vec<f64>| {
            let products: Vec<f64> = run.iter().zip(&run[lag.min(run.len())..]).map(|(a, b)| a * b).collect();
            products
        };
        mean(residuals.iter().flat_map(of_run))
    };
    let windows_count = shape.len();
    let variance = fitted * pairs(0);
    // Within a run of n windows that are taken from their own mean, a correlation is too small by about 1 / n of the sum of
    // all, (1 + r) / (1 - r).
    let seen = if variance > 0.0 { fitted * pairs(1) / variance } else { 0.0 };
    let correlation = (seen + (1.0 + seen) / (1.0 - seen).max(0.05) / windows_count as f64).clamp(0.0, CORRELATION_MAX);
    let of_whole = variance_of_mean(variance, correlation, windows_count);
    let of_count = |count: usize| {
        let modelled = variance_of_mean(variance, correlation, count) - of_whole;
        let squares = residuals.iter().map(|run| mean(run.iter().take(count).copied()).powi(2));
        let shown = fitted * mean(squares);
        // The shape is as uncertain as the mean over the runs is.
        (1.0 + 1.0 / runs_count) * if count < windows_count { modelled.max(shown) } else { 0.0 }
    };
    (1..=windows_count).map(of_count).collect()
}

/// Returns the variance of the mean of `count` windows of which each remembers `correlation` of the one before.
fn variance_of_mean(variance: f64, correlation: f64, count: usize) -> f64 {
    let n = count as f64;
    let faded = (1.0 - correlation.powi(count as i32)) / (1.0 - correlation);
    let sum = (1.0 + correlation) / (1.0 - correlation) - 2.0 * correlation * faded / (n * (1.0 - correlation));
    variance * sum / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn history(runs: &[Vec<f64>]) -> History {
        History::of(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
    }

    /// One run of a test whose level differs by `between` from run to run, and whose windows remember `memory`.
    fn run(draws: &mut Draws, between: f64, within: f64, memory: f64, windows_count: usize) -> Vec<f64> {
        let level = 4.0 + between * draws.normal();
        draws.wandering(memory, windows_count).iter().map(|value| level + within * value).collect()
    }

    #[test]
    fn reach_is_students() {
        // SciPy: scipy.stats.t.isf(0.007, [4, 11, 31])
        for (degrees, expected) in [(4.0, 4.172_753_28), (11.0, 2.917_497_90), (31.0, 2.604_563_24)] {
            assert!((student_reach(0.007, degrees) - expected).abs() < 1e-5, "{degrees}");
        }
    }

    #[test]
    fn variance_of_a_mean_is_that_of_its_sum() {
        // Of three windows that remember half: (3 + 2 * (2 * 0.5 + 0.25)) / 9.
        assert!((variance_of_mean(1.0, 0.5, 3) - 5.5 / 9.0).abs() < 1e-12);
        assert!((variance_of_mean(2.0, 0.0, 8) - 0.25).abs() < 1e-12);
    }

    /// Expected values: `tests/independent/e_value.py`, which shares no formula with this file where there is another.
    #[test]
    fn an_independent_implementation_agrees() {
        let expected = include_str!("../../tests/independent/e_value.csv").lines().skip(1);
        let mut cases_count = 0;
        for line in expected {
            let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            let look = last_look_of_case(fields[0] as u64);
            let tolerance = 1e-5 * fields[1].max(1e-3);
            assert!((look.e_value - fields[1]).abs() < tolerance, "{line}: {look:?}");
            assert!((look.difference - fields[2]).abs() < 1e-9, "{line}: {look:?}");
            cases_count += 1;
        }
        assert_eq!(cases_count, 1000);
    }

    fn last_look_of_case(seed: u64) -> Look {
        let mut draws = Draws::seeded(seed);
        let (runs_count, windows_count) =
            (3 + (draws.uniform() * 28.0) as usize, 5 + (draws.uniform() * 60.0) as usize);
        let (between, within) = (0.005 * 40f64.powf(draws.uniform()), 0.005 * 60f64.powf(draws.uniform()));
        let (memory, shift, warm_up) = (0.9 * draws.uniform(), 0.4 * draws.uniform() - 0.1, 0.5 * draws.uniform());
        let (has_gaps, looked) = (draws.uniform() < 0.3, 1 + (draws.uniform() * windows_count as f64) as usize);
        let mut of_index = |index: usize| -> Vec<f64> {
            let values = run(&mut draws, between, within, memory, windows_count);
            let shaped = values.iter().enumerate().map(|(window, value)| match has_gaps && (window + index) % 7 == 3 {
                true => f64::NAN,
                false => value + warm_up * 0.5f64.powi(window as i32),
            });
            shaped.collect()
        };
        let runs: Vec<Vec<f64>> = (0..runs_count).map(&mut of_index).collect();
        let current: Vec<f64> = of_index(runs_count).iter().take(looked).map(|value| value + shift).collect();
        *history(&runs).looks(&current).last().unwrap()
    }

    /// Ville's inequality promises one unchanged run in a hundred over all looks; more than that by chance in 400 runs is
    /// one in a hundred from 9 on. Ten percent more is a large change where runs differ by 2 %.
    #[test]
    fn an_unchanged_run_is_hardly_ever_called_changed() {
        let mut draws = Draws::seeded(1);
        let (mut false_alarms, mut found) = (0, 0);
        for _ in 0..400 {
            let runs: Vec<Vec<f64>> = (0..20).map(|_| run(&mut draws, 0.02, 0.04, 0.6, 60)).collect();
            let history = history(&runs);
            let current = run(&mut draws, 0.02, 0.04, 0.6, 60);
            let slower: Vec<f64> = current.iter().map(|value| value + 1.1f64.ln()).collect();
            false_alarms += usize::from(history.looks(&current).iter().any(Look::is_alarm));
            found += usize::from(history.looks(&slower).iter().any(Look::is_alarm));
        }
        assert!(false_alarms < 9 && found > 340, "{false_alarms} {found}");
    }

    #[test]
    fn edges() {
        assert_eq!(History::of(&[]), None);
        assert_eq!(History::of(&[&[1.0; 60], &[1.0; 60]]), None);
        assert_eq!(History::of(&[[f64::NAN; 60].as_slice(); 5]), None);
        assert_eq!(History::of(&[&[f64::MAX; 60], &[f64::MIN; 60], &[f64::MAX; 60]]), None);
        let equal = history(&vec![vec![4.0; 60]; 10]);
        assert!(equal.looks(&[4.0; 60]).iter().all(|look| look.e_value < 1.0));
        assert!(equal.looks(&[4.5; 60]).iter().all(Look::is_alarm));
        assert!(equal.looks(&[]).is_empty());
        // What is said after the last window is what is said of it among all.
        let (look, reach) = equal.look(&[4.0, f64::NAN, 4.1]).unwrap();
        assert_eq!(Some(&look), equal.looks(&[4.0, f64::NAN, 4.1]).last());
        assert!(reach > 0.0 && equal.look(&[]).is_none() && equal.look(&[4.0; 61]).is_none());
        // A twentieth of the chance is reached later.
        let part = History::sharing(&[[4.0; 60].as_slice(); 10], 0.05, 0.0).unwrap();
        assert!(part.limit > equal.limit && part.looks(&[4.0; 60])[0].e_value <= 0.05, "{part:?}");
        // Longer than any run of the history: nothing is said about what has no history.
        assert_eq!(equal.looks(&[4.0; 90]).len(), 60);
        let gaps = equal.looks(&[f64::NAN, f64::INFINITY, 4.0]);
        assert_eq!((gaps[0].e_value, gaps[1].e_value), (1.0, 1.0));
        let long = history(&vec![vec![4.0, 4.1]; 10_000]);
        assert!(long.limit.is_finite() && long.looks(&[1e300, -1e300]).iter().all(|look| look.e_value.is_finite()));
        let single = history(&[vec![1.0], vec![1.1], vec![0.9]]);
        assert!(single.looks(&[9.0]).iter().all(Look::is_alarm));
    }
}
