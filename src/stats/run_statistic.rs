//! One figure of one run with its own uncertainty, from the windows that the run was cut into.
//!
//! Requests of one moment depend on each other, and so do neighbouring windows: the uncertainty is that of a mean of windows
//! with memory, pooled over the runs of a series, since one run has too few windows to tell its own.

use super::robust::{MAD_TO_SIGMA, median};

/// A leading window is warm-up when, in the middle of all runs, it lies this much above the rest of its run, as a difference
/// of ln: smaller excesses move a run's figure by less than a fifth of a per cent.
const WARM_UP_EXCESS: f64 = 0.02;
/// At most a third of a run is warm-up: of what lasts longer, the rest is its level.
const RUN_PER_WARM_UP: usize = 3;
/// Huber's constant: 95 % as efficient as the mean for normal windows, and a window with a pause of the collector counts for
/// little more than its direction.
const CLIP: f64 = 1.345;
/// 1 / 0.95: what Huber's estimate loses to the mean.
const HUBER_VARIANCE: f64 = 1.05;
/// More memory than this cannot be told from a level that wanders.
const MEMORY_MAX: f64 = 0.7;
/// Rounds of reweighting; the estimate moves by less than a thousandth of its error in the last.
const ROUNDS: usize = 6;

/// One figure of one run, on the scale of ln.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunStatistic {
    pub value: f64,
    /// Of the value, by what varies within the run.
    pub standard_error: f64,
}

/// Returns how many leading windows of every run are warm-up.
///
/// `runs`: ln of each window's median, oldest window first. The same number for all runs, so that none is compared with
/// another part of a run than the others.
pub fn warm_up_windows(runs: &[Vec<f64>]) -> usize {
    let shortest = runs.iter().map(Vec::len).min().unwrap_or(0);
    let longest = shortest / RUN_PER_WARM_UP;
    let is_high = |window: &usize| {
        let excesses = runs.iter().map(|run| run[*window] - median(&run[longest..]));
        median(&excesses.collect::<Vec<f64>>()) > WARM_UP_EXCESS
    };
    (0..longest).take_while(is_high).count()
}

/// Returns each run's figure and its uncertainty; none of a run without a finite window behind the warm-up.
///
/// `runs`: ln of each window's figure, windows of about equal length.
pub fn of_runs(runs: &[Vec<f64>], warm_up: usize) -> Vec<Option<RunStatistic>> {
    let warm: Vec<Vec<f64>> = runs.iter().map(|run| finite(run.get(warm_up..).unwrap_or(&[]))).collect();
    let scale = pooled_scale(&warm);
    let memory = pooled_memory(&warm, scale);
    let statistic = |windows: &Vec<f64>| {
        if windows.is_empty() {
            return None;
        }
        let variance = HUBER_VARIANCE * scale * scale * (1.0 + memory) / (1.0 - memory) / windows.len() as f64;
        Some(RunStatistic { value: location(windows, scale), standard_error: variance.sqrt() })
    };
    warm.iter().map(statistic).collect()
}

fn finite(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| value.is_finite()).collect()
}

/// Returns sigma of windows about the middle of their run.
fn pooled_scale(runs: &[Vec<f64>]) -> f64 {
    let deviations = runs.iter().flat_map(|run| {
        let middle = median(run);
        // The middle is the run's own, which makes its windows look closer than they are.
        let freed = (run.len() as f64 / (run.len() as f64 - 1.0).max(1.0)).sqrt();
        run.iter().map(move |value| freed * (value - middle).abs())
    });
    MAD_TO_SIGMA * median(&deviations.collect::<Vec<f64>>())
}

/// Returns what a window remembers of the one before it, 0 or more; outliers count for at most `CLIP` sigma.
fn pooled_memory(runs: &[Vec<f64>], scale: f64) -> f64 {
    let (mut products, mut squares, mut windows_count) = (0.0, 0.0, 0);
    for run in runs {
        let middle = location(run, scale);
        let residual = |value: &f64| if scale > 0.0 { ((value - middle) / scale).clamp(-CLIP, CLIP) } else { 0.0 };
        let residuals: Vec<f64> = run.iter().map(residual).collect();
        products += residuals.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        squares += residuals.iter().map(|residual| residual * residual).sum::<f64>();
        windows_count += run.len();
    }
    if squares <= 0.0 {
        return 0.0;
    }
    // About its own mean, a run of n windows looks as if it remembered -1/n.
    let bias = runs.len() as f64 / windows_count as f64;
    (products / squares + bias).clamp(0.0, MEMORY_MAX)
}

/// Returns Huber's estimate of location, by iterated weights from the median.
fn location(values: &[f64], scale: f64) -> f64 {
    let mut middle = median(values);
    for _ in 0..ROUNDS {
        let weight = |value: &f64| if scale > 0.0 { (CLIP * scale / (value - middle).abs()).min(1.0) } else { 1.0 };
        let (weights, sum) = values
            .iter()
            .fold((0.0, 0.0), |(weights, sum), value| (weights + weight(value), sum + weight(value) * value));
        if scale > 0.0 && weights > 0.0 {
            middle = sum / weights;
        }
    }
    middle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    #[test]
    fn leading_windows_that_are_high_in_most_runs_are_warm_up() {
        let run = |first: f64, second: f64| [vec![first, second], vec![0.0; 10]].concat();
        assert_eq!(warm_up_windows(&[run(0.3, 0.05), run(0.2, 0.04), run(0.4, 0.0)]), 2);
        assert_eq!(warm_up_windows(&[run(0.3, 0.0), run(0.0, 0.0), run(0.0, 0.0)]), 0);
        // A third of a run at most, however long it lasts.
        assert_eq!(warm_up_windows(&[[vec![1.0; 8], vec![0.0; 4]].concat()]), 4);
        assert_eq!(warm_up_windows(&[]), 0);
        assert_eq!(warm_up_windows(&[vec![], vec![1.0]]), 0);
    }

    /// Expected value: the standard deviation of a mean of n values that remember r of the last is near
    /// sqrt((1 + r) / (1 - r) / n), for r = 0.5 and n = 24: 0.354.
    #[test]
    fn the_uncertainty_is_that_of_a_mean_with_memory() {
        let mut draws = Draws::seeded(7);
        let runs: Vec<Vec<f64>> = (0..200).map(|_| draws.wandering(0.5, 24)).collect();
        let statistics: Vec<RunStatistic> = of_runs(&runs, 0).into_iter().flatten().collect();
        let spread = (statistics.iter().map(|run| run.value * run.value).sum::<f64>() / 200.0).sqrt();
        assert!((spread / 0.354 - 1.0).abs() < 0.15, "{spread}");
        assert!((statistics[0].standard_error / spread - 1.0).abs() < 0.2, "{}", statistics[0].standard_error);
    }

    #[test]
    fn one_window_with_a_pause_moves_little() {
        let mut windows = vec![0.0, 0.02, -0.02, 0.01, -0.01, 0.0, 0.02, -0.01, 0.01, -0.02];
        let without = of_runs(&[windows.clone()], 0)[0].unwrap();
        windows[3] = 0.7;
        let with = of_runs(&[windows], 0)[0].unwrap();
        assert!((with.value - without.value).abs() < without.standard_error, "{with:?}, not {without:?}");
    }

    #[test]
    fn edges_give_figures_or_none() {
        assert!(of_runs(&[], 3).is_empty());
        let runs = [vec![], vec![f64::NAN, f64::NEG_INFINITY], vec![2.0; 12], vec![5.0]];
        let expected = |value| Some(RunStatistic { value, standard_error: 0.0 });
        assert_eq!(of_runs(&runs, 0), [None, None, expected(2.0), expected(5.0)]);
        assert_eq!(of_runs(&[vec![1.0, 2.0]], 2), [None]);
    }
}
