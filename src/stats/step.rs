//! Whether the newest runs of a series stand on another level than its history: a Bayesian step model.
//!
//! Hypotheses about one series: it is unchanged; it drifts slowly, evenly from run to run; it stepped at one of the newest
//! runs and stayed there. Under each of them any run, the newest too, may be a bad one, and clean runs have heavy-tailed
//! noise with memory (`run_chain`), whose size is unknown. Levels, noise and effect are integrated out on grids, so that
//! hypotheses compare by what they predicted, not by how well they can be made to fit.

use super::robust::{MAD_TO_SIGMA, median};
use super::run_chain::{At, BetweenRuns, Chain, Grid, Message};
use super::run_statistic::RunStatistic;
use super::shrink::DeviationPrior;

/// A history is at least this long before a step.
pub const HISTORY_RUNS_MIN: usize = 2;
/// Steps are looked for at as many of the newest runs: an older one was found when it was new, or is history.
pub const STEP_RUNS_MAX: usize = 6;
/// Older runs tell of another program; they are left out.
pub const RUNS_MAX: usize = 64;
/// A step of ln is a priori Student's t with three degrees and this scale: three of four real changes are below 15 %, and one in
/// a hundred exceeds 60 %.
pub(super) const EFFECT_SCALE: f64 = 0.10;
/// Of the density of Student's t with three degrees: 2 / (pi sqrt(3)).
const STUDENT_3: f64 = 0.367_552_596_947_861_35;
/// A drift over the whole history is a priori Student's t with three degrees and this scale, as a difference of ln.
const DRIFT_SCALE: f64 = 0.05;
/// What a run remembers of the one before, as a correlation: nearly nothing, or half.
const MEMORIES: [(f64, f64); 2] = [(0.1, 0.6), (0.5, 0.4)];
/// Points of the noise's size, in standard deviations of what is believed of it, and farther up, where surprises are.
const DEVIATION_POINTS: usize = 7;
const DEVIATION_FROM: f64 = -2.2;
const DEVIATION_UNTIL: f64 = 2.8;
/// No ln of a finite float is farther from 0.
const LN_MAX: f64 = 750.0;
const LEVEL_POINTS: usize = 27;
const DRIFT_LEVEL_POINTS: usize = 15;
const DRIFT_POINTS: usize = 9;

/// What is believed of a series before its runs are seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    pub deviation: DeviationPrior,
    /// Part of the runs that are bad ones.
    pub bad_rate: f64,
}

/// What the runs say of each hypothesis. Evidences are logarithms of marginal likelihoods, up to a constant of the series.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub unchanged: f64,
    /// By the count of runs since the step, from 1 on.
    pub steps: Vec<Step>,
    /// The chance that the newest run is a bad one, if the series is unchanged.
    pub newest_is_bad: f64,
    /// The middle of the history before the newest run.
    pub level: f64,
    /// The noise between runs, if the series is unchanged: weights sum to 1.
    pub noise: Vec<NoiseWeight>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseWeight {
    pub deviation: f64,
    pub memory: f64,
    pub weight: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    pub evidence: f64,
    /// From the first run to the newest, as a difference of ln, if the series drifts: mean and standard deviation.
    pub change: f64,
    pub deviation: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub evidence: f64,
    pub effects: Effects,
}

/// How likely each effect is, as a difference of ln: bins of equal width about 0, summing to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    reach: f64,
    weights: Vec<f64>,
}

const BINS_COUNT: usize = 800;

impl Effects {
    pub fn none(reach: f64) -> Effects {
        Effects { reach, weights: vec![0.0; BINS_COUNT] }
    }

    fn width(&self) -> f64 {
        2.0 * self.reach / BINS_COUNT as f64
    }

    /// Puts a weight at an effect, shared by the two nearest bins.
    fn put(&mut self, effect: f64, weight: f64) {
        let position = ((effect + self.reach) / self.width() - 0.5).clamp(0.0, BINS_COUNT as f64 - 1.001);
        let (bin, part) = (position as usize, position.fract());
        self.weights[bin] += weight * (1.0 - part);
        self.weights[bin + 1] += weight * part;
    }

    /// Adds another distribution of the same reach.
    pub fn add(&mut self, other: &Effects, weight: f64) {
        debug_assert_eq!(self.reach, other.reach);
        self.weights.iter_mut().zip(&other.weights).for_each(|(sum, other)| *sum += weight * other);
    }

    /// Returns the weight of effects above `effect`.
    pub fn above(&self, effect: f64) -> f64 {
        let edge = ((effect + self.reach) / self.width()).clamp(0.0, BINS_COUNT as f64);
        let bin = edge as usize;
        let part = self.weights.get(bin).map_or(0.0, |weight| weight * (1.0 - edge.fract()));
        part + self.weights.iter().skip(bin + 1).sum::<f64>()
    }

    /// Returns the effect below which the part `p` of the weight lies.
    pub fn quantile(&self, p: f64) -> f64 {
        let target = p * self.weights.iter().sum::<f64>();
        let mut below = 0.0;
        for (bin, weight) in self.weights.iter().enumerate() {
            if below + weight >= target && *weight > 0.0 {
                return (bin as f64 + (target - below) / weight) * self.width() - self.reach;
            }
            below += weight;
        }
        self.reach
    }

    fn normalise(&mut self) {
        let sum: f64 = self.weights.iter().sum();
        if sum > 0.0 {
            self.weights.iter_mut().for_each(|weight| *weight /= sum);
        }
    }
}

/// Returns how far effects of these runs can reach, for `fit`.
pub fn reach(runs: &[RunStatistic]) -> f64 {
    /// Twice the level: no interval of a small effect is cut off.
    const REACH_MIN: f64 = 0.75;
    let runs = newest(runs);
    let middle = median(&values(runs));
    let reach = runs.iter().fold(REACH_MIN, |reach, run| reach.max(1.5 * (run.value - middle).abs()));
    reach.min(3.0 * LN_MAX)
}

/// Returns what `runs`, oldest first, say of each hypothesis; effects lie within `reach`.
///
/// None of fewer than `HISTORY_RUNS_MIN` + 1 runs, of a value that is not finite, and of runs that look like none of the model.
pub fn fit(runs: &[RunStatistic], prior: Prior, reach: f64) -> Option<Fit> {
    let runs = newest(runs);
    let series = Series::of(runs, prior)?;
    let (unchanged, steps) = series.unchanged_and_steps(&noises(prior.deviation), reach);
    let level = median(&values(&runs[..runs.len() - 1]));
    let Unchanged { evidence: unchanged, newest_is_bad, noise } = unchanged;
    // A step's evidence may be nothing, but not all may.
    unchanged.is_finite().then_some(Fit { unchanged, steps, newest_is_bad, level, noise })
}

/// Returns what `runs`, oldest first, say of an even drift from the first run to the newest; none where `fit` gives none.
pub fn drift(runs: &[RunStatistic], prior: Prior) -> Option<Drift> {
    let series = Series::of(newest(runs), prior)?;
    series.drift(&noises(prior.deviation))
}

struct Unchanged {
    evidence: f64,
    newest_is_bad: f64,
    noise: Vec<NoiseWeight>,
}

struct Series<'r> {
    chain: Chain<'r>,
    /// Between runs, within a factor of two: grids are laid out by it.
    deviation: f64,
}

impl<'r> Series<'r> {
    fn of(runs: &'r [RunStatistic], prior: Prior) -> Option<Series<'r>> {
        let is_logarithm = |run: &RunStatistic| run.value.abs() < LN_MAX && run.standard_error.abs() < LN_MAX;
        if runs.len() <= HISTORY_RUNS_MIN || !runs.iter().all(is_logarithm) {
            return None;
        }
        let deviation = rough_deviation(runs, prior);
        Some(Series { chain: Chain { runs, bad_rate: prior.bad_rate, unit: 2.0 * deviation }, deviation })
    }

    fn unchanged_and_steps(&self, noises: &[BetweenRuns], reach: f64) -> (Unchanged, Vec<Step>) {
        let runs = self.chain.runs;
        let onset_first = HISTORY_RUNS_MIN.max(runs.len().saturating_sub(STEP_RUNS_MAX));
        let before = self.history_grid(onset_first);
        let bad_before = self.chain.bad_runs(&before, 0);
        let tails: Vec<_> = (onset_first..runs.len())
            .rev()
            .map(|onset| {
                let grid = self.step_grid(onset);
                let bad = self.chain.bad_runs(&grid, onset);
                (onset, grid, bad)
            })
            .collect();
        let mut pairs = vec![vec![0.0; LEVEL_POINTS * LEVEL_POINTS]; tails.len()];
        let mut unchanged = Vec::with_capacity(noises.len());
        for noise in noises {
            let heads = self.chain.heads(&before, &bad_before, *noise, onset_first);
            unchanged.push(integral(&before, heads.last().expect("there is a head of all runs"), noise.weight));
            for ((onset, grid, bad), pairs) in tails.iter().zip(&mut pairs) {
                let tail = self.chain.tail(grid, bad, *noise, *onset);
                let at = At { onset: *onset, noise: *noise };
                self.chain.join((&before, &heads[onset - onset_first]), (grid, &tail, bad), at, pairs);
            }
        }
        let steps = tails.iter().zip(&pairs).map(|((_, grid, _), pairs)| step(&before, grid, pairs, reach)).collect();
        (summed(noises, &unchanged), steps)
    }

    /// Levels that the first runs may have had: those of every head that a step would leave.
    fn history_grid(&self, shortest: usize) -> Grid {
        let values = values(self.chain.runs);
        let middles: Vec<f64> = (shortest..=values.len()).map(|count| median(&values[..count])).collect();
        let center = median(&middles);
        let farthest = middles.iter().fold(0.0, |far: f64, middle| far.max((middle - center).abs()));
        // Twelve standard errors of the shortest head: the noise may be some times larger than it looks.
        let extent = 12.0 * self.deviation / (shortest as f64).sqrt();
        Grid::around(center, (extent + farthest).max(0.05), LEVEL_POINTS)
    }

    /// Levels of the runs from `onset` on, back to where the history was in case that all of them are bad.
    fn step_grid(&self, onset: usize) -> Grid {
        let values = values(self.chain.runs);
        let (middle, history) = (median(&values[onset..]), median(&values[..onset]));
        let extent = (12.0 * self.deviation / ((values.len() - onset) as f64).sqrt()).max(0.35);
        Grid::around(middle, extent + 0.5 * (middle - history).abs(), LEVEL_POINTS)
    }

    /// Sums over drifts about the one that the series itself shows.
    fn drift(&self, noises: &[BetweenRuns]) -> Option<Drift> {
        let runs = self.chain.runs;
        let last = (runs.len() - 1) as f64;
        // Of a slope by least squares, times the history's length; Theil-Sen's is nearly as sure.
        let error = self.deviation * (12.0 / runs.len() as f64).sqrt();
        let grid = drift_grid(last * slope(&values(runs)), error);
        let weights: Vec<(f64, f64)> = grid
            .levels
            .iter()
            .zip(&grid.weights)
            .map(|(change, weight)| {
                let flat: Vec<RunStatistic> = runs
                    .iter()
                    .enumerate()
                    .map(|(index, run)| RunStatistic {
                        value: run.value - change * (index as f64 / last - 0.5),
                        ..*run
                    })
                    .collect();
                (*change, weight * student_3(*change, DRIFT_SCALE) * self.unchanged_likelihood(&flat, noises))
            })
            .collect();
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mean = weights.iter().map(|(change, weight)| change * weight).sum::<f64>() / sum;
        let variance = weights.iter().map(|(change, weight)| (change - mean).powi(2) * weight).sum::<f64>() / sum;
        (sum > 0.0 && sum.is_finite()).then(|| Drift { evidence: sum.ln(), change: mean, deviation: variance.sqrt() })
    }

    fn unchanged_likelihood(&self, runs: &[RunStatistic], noises: &[BetweenRuns]) -> f64 {
        let chain = Chain { runs, ..self.chain };
        let extent = (12.0 * self.deviation / (runs.len() as f64).sqrt()).max(0.05);
        let grid = Grid::around(median(&values(runs)), extent, DRIFT_LEVEL_POINTS);
        let bad_runs = chain.bad_runs(&grid, 0);
        let of_noise = |noise: &BetweenRuns| {
            let heads = chain.heads(&grid, &bad_runs, *noise, runs.len());
            let (clean, bad) = integral(&grid, &heads[0], noise.weight);
            clean + bad
        };
        noises.iter().map(of_noise).sum()
    }
}

/// Returns the sizes and memories that the noise may have, weights summing to 1.
fn noises(prior: DeviationPrior) -> Vec<BetweenRuns> {
    let apart = (DEVIATION_UNTIL - DEVIATION_FROM) / (DEVIATION_POINTS - 1) as f64;
    let points: Vec<f64> = (0..DEVIATION_POINTS).map(|point| DEVIATION_FROM + apart * point as f64).collect();
    let sum: f64 = points.iter().map(|z| (-0.5 * z * z).exp()).sum();
    let of_point = |z: &f64| {
        let (deviation, weight) = (prior.median * (prior.spread * z).exp(), (-0.5 * z * z).exp() / sum);
        MEMORIES.map(|(memory, part)| BetweenRuns { deviation, memory, weight: weight * part })
    };
    points.iter().flat_map(of_point).collect()
}

fn integral(grid: &Grid, message: &Message, weight: f64) -> (f64, f64) {
    let over =
        |values: &[f64]| weight * values.iter().zip(&grid.weights).map(|(value, weight)| value * weight).sum::<f64>();
    (over(&message.clean), over(&message.bad))
}

fn summed(noises: &[BetweenRuns], likelihoods: &[(f64, f64)]) -> Unchanged {
    let sum: f64 = likelihoods.iter().map(|(clean, bad)| clean + bad).sum();
    let bad: f64 = likelihoods.iter().map(|(_, bad)| bad).sum();
    let noise = noises.iter().zip(likelihoods).map(|(noise, (clean, bad))| NoiseWeight {
        deviation: noise.deviation,
        memory: noise.memory,
        weight: (clean + bad) / sum,
    });
    Unchanged { evidence: sum.ln(), newest_is_bad: bad / sum, noise: noise.collect() }
}

fn step(before: &Grid, from: &Grid, pairs: &[f64], reach: f64) -> Step {
    let (mut sum, mut effects) = (0.0, Effects::none(reach));
    for (row, level) in before.levels.iter().enumerate() {
        for (column, next) in from.levels.iter().enumerate() {
            let effect = next - level;
            let weight = before.weights[row] * from.weights[column] * student_3(effect, EFFECT_SCALE);
            let likely = weight * pairs[row * from.len() + column];
            sum += likely;
            effects.put(effect, likely);
        }
    }
    effects.normalise();
    Step { evidence: if sum.is_finite() { sum.ln() } else { f64::NEG_INFINITY }, effects }
}

pub(super) fn student_3(value: f64, scale: f64) -> f64 {
    let z = value / scale;
    STUDENT_3 / scale / (1.0 + z * z / 3.0).powi(2)
}

/// Returns drifts from where those that are believed in and the one that the series shows agree best, so far that both are in.
fn drift_grid(shown: f64, error: f64) -> Grid {
    // Student's t with three degrees is near its middle as wide as a normal distribution of 1.1 times its scale, and wider farther out.
    let believed = 1.5 * DRIFT_SCALE;
    let part = believed.powi(2) / (believed.powi(2) + error.powi(2));
    let (agreed, deviation) = (part * shown, part.sqrt() * error);
    Grid::around(agreed, 4.0 * deviation + (shown - agreed).abs(), DRIFT_POINTS)
}

/// Returns a standard deviation between runs that a step or a drift does not spoil.
fn rough_deviation(runs: &[RunStatistic], prior: Prior) -> f64 {
    let values = values(runs);
    let middle = median(&values);
    let about: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    // A difference of two runs has twice the variance of one. A few runs may lie close by chance: the belief is a floor.
    let by_steps = MAD_TO_SIGMA * median(&steps) / std::f64::consts::SQRT_2;
    let errors: Vec<f64> = runs.iter().map(|run| run.standard_error).collect();
    let believed = prior.deviation.median.hypot(median(&errors));
    by_steps.max(0.5 * MAD_TO_SIGMA * median(&about)).max(0.6 * believed)
}

/// Returns the median of all slopes between two values, per value (Theil-Sen).
fn slope(values: &[f64]) -> f64 {
    let pairs = (0..values.len()).flat_map(|left| (left + 1..values.len()).map(move |right| (left, right)));
    let slopes: Vec<f64> = pairs.map(|(left, right)| (values[right] - values[left]) / (right - left) as f64).collect();
    median(&slopes)
}

fn values(runs: &[RunStatistic]) -> Vec<f64> {
    runs.iter().map(|run| run.value).collect()
}

fn newest(runs: &[RunStatistic]) -> &[RunStatistic] {
    &runs[runs.len().saturating_sub(RUNS_MAX)..]
}
