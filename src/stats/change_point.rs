//! Change points of a history: at which runs its level, or its trend, became another one.
//!
//! The history is cut into segments by least squares with a price for each cut. What is weighed is the gain of a cut in units
//! of the noise's long-run variance, so that noise with a memory is not taken for changes. A history either keeps to levels
//! or to lines, whichever costs less: a trend is then no staircase, and a new trend is one change.
//!
//! # The price
//!
//! A cut has to gain (free numbers + 1) ln n on twice the logarithm of the likelihood: for levels 3 ln n, one for the new
//! level and two for its place, as the modified criterion of Zhang and Siegmund has it (in the words of R's
//! `wbs::mbic.penalty`: 3/2 k log n, here without its term of the segments' lengths); for lines 4 ln n. "A harsher penalty
//! equivalent to the model with one additional unknown parameter per segment" is what the abstract of PMC4742379 recommends
//! for lines. The slope that lines have before any cut is paid for alike: 2 ln n.
//!
//! The noise is estimated from the same runs. With f degrees of freedom, squares of g units of noise gain f ln(1 + g / f),
//! so that a price of k ln n is f (n^(k / f) - 1) units; for many runs that is k ln n, for few it is more.

use super::normal;
use super::robust::{MAD_TO_SIGMA, median};
use super::run_noise::RunNoise;
use super::season::deseasoned;
use super::segmentation::{Fit, Shape, Sums, best_partition, middle_place, squared_places};
use super::significance::log_chance_student;

/// Fewer runs than this are no level: two neighbours may be bad together.
const LEVEL_RUNS_MIN: usize = 3;
/// Through fewer runs there is always a line.
const LINE_RUNS_MIN: usize = 5;
const SLOPE_NUMBERS: f64 = 2.0;
const CLIP_REACH: usize = 3;
/// Both intervals: of the effect, and of the date.
const CONFIDENCE: f64 = 0.95;

/// What is chosen, not derived. `tests/all/held_back.rs` chooses it anew without the series that it is scored on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Free numbers that a cut between levels has to pay for.
    pub level_numbers: f64,
    /// Free numbers that a cut between lines has to pay for.
    pub line_numbers: f64,
    /// What is counted as noise at least for lines, as a part of all variance.
    ///
    /// Curves, such as growth, are no lines, and one with little noise would be cut for that into many. A line whose gain is
    /// below `price * ln n * 0.05 / n` of all variance is not seen in a picture of the history either.
    pub lines_share_min: f64,
    /// The same for levels: less, so that a small change is seen beside a large one, but not none, so that values without
    /// any noise but that of rounding do not have a change wherever they are rounded otherwise.
    pub levels_share_min: f64,
    /// Values farther than so many sigma from the median of the seven runs around are drawn in to there: one bad run is no
    /// change.
    pub clip: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { level_numbers: 3.0, line_numbers: 4.0, lines_share_min: 0.05, levels_share_min: 0.005, clip: 3.0 }
    }
}

/// A history cut into regimes.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Whether regimes are levels or lines.
    pub shape: Shape,
    /// After how many runs a pattern comes back that was taken out first.
    pub period: Option<usize>,
    pub noise: RunNoise,
    pub regimes: Vec<Regime>,
    /// One fewer than regimes, ascending.
    pub changes: Vec<ChangePoint>,
}

/// Runs that follow one level or one line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regime {
    /// Index of the first run.
    pub from: usize,
    /// Index behind the last run.
    pub until: usize,
    pub mean: f64,
    /// By run; 0 for levels.
    pub slope: f64,
}

/// Where one regime ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first run of the new regime.
    pub index: usize,
    /// With 95 % confidence the new regime begins no earlier.
    pub earliest: usize,
    /// With 95 % confidence the new regime begins no later.
    pub latest: usize,
    /// From the old level to the new one; for lines, from the one to the other where the new one begins.
    pub step: Interval,
    /// Change of the slope by run; none for levels.
    pub bend: Option<Interval>,
    /// Logarithm of the chance that as much is gained anywhere in such noise without a change: at most the sum over all
    /// places.
    pub log_chance: f64,
}

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub point: f64,
    pub low: f64,
    pub high: f64,
}

/// Returns the regimes of a history, or none if it has too few runs to hold two.
///
/// `values`: one a run, oldest first, logarithms where changes are ratios. Runs whose value is not finite are left out.
pub fn change_points(values: &[f64]) -> Option<History> {
    change_points_within(values, &Limits::default())
}

/// The same within other limits.
pub fn change_points_within(values: &[f64], limits: &Limits) -> Option<History> {
    let places: Vec<usize> = (0..values.len()).filter(|place| values[*place].is_finite()).collect();
    let known: Vec<f64> = places.iter().map(|place| values[*place]).collect();
    let unit = Unit::of(&known);
    let scaled: Vec<f64> = known.iter().map(|value| unit.scaled(*value)).collect();
    let (period, scaled) = match deseasoned(&scaled) {
        Some(deseasoned) => (Some(deseasoned.period), deseasoned.values),
        None => (None, scaled),
    };
    let tamed = without_outliers(&scaled, limits.clip);
    let (sums, noise, runs_count) = (Sums::of(&tamed), RunNoise::of(&tamed)?, tamed.len());
    let all = sums.fit(Shape::Level, 0, runs_count).residuals / runs_count as f64;
    let weighed = |share_min: f64| noise.long_run.max(share_min * all);
    let (shape, weighed, boundaries) = boundaries(&sums, runs_count, limits, weighed);
    let ends = [&[0], &boundaries[..], &[runs_count]].concat();
    let cut = Cut { sums: &sums, shape, ends: &ends, weighed, long_run: noise.long_run, unit };
    let place = |at: usize| places.get(at).copied().unwrap_or(values.len());
    let regimes = ends.windows(2).map(|ends| {
        let fit = sums.fit(shape, ends[0], ends[1]);
        Regime {
            from: if ends[0] == 0 { 0 } else { place(ends[0]) },
            until: place(ends[1]),
            mean: unit.value(fit.mean),
            slope: unit.difference(fit.slope),
        }
    });
    let changes = (1..=boundaries.len()).map(|nth| cut.change(nth, place));
    Some(History {
        shape,
        period,
        noise: RunNoise {
            variance: unit.square(noise.variance),
            memory: noise.memory,
            long_run: unit.square(noise.long_run),
        },
        regimes: regimes.collect(),
        changes: changes.collect(),
    })
}

/// The values' own centre and size, so that what is computed with is near 1 whatever they are in.
#[derive(Debug, Clone, Copy)]
struct Unit {
    center: f64,
    size: f64,
}

impl Unit {
    fn of(values: &[f64]) -> Unit {
        let center = median(values);
        // A quarter of the largest distance cannot overflow, however far apart two values are.
        let quarter = values.iter().map(|value| (0.25 * value - 0.25 * center).abs()).fold(0.0, f64::max);
        let mean_square = values.iter().map(|value| ((0.25 * value - 0.25 * center) / quarter).powi(2)).sum::<f64>();
        let size = 4.0 * quarter * (mean_square / values.len() as f64).sqrt();
        // Equal values have no size; any will do.
        Unit { center, size: if size > 0.0 && size.is_finite() { size } else { 1.0 } }
    }

    fn scaled(self, value: f64) -> f64 {
        value / self.size - self.center / self.size
    }

    fn value(self, scaled: f64) -> f64 {
        finite(self.center + scaled * self.size)
    }

    fn difference(self, scaled: f64) -> f64 {
        finite(scaled * self.size)
    }

    fn square(self, scaled: f64) -> f64 {
        finite(scaled * self.size * self.size)
    }
}

/// The largest number stands for what lies beyond it.
fn finite(value: f64) -> f64 {
    value.clamp(-f64::MAX, f64::MAX)
}

/// Draws values that are far from those around in to where they are no outliers.
fn without_outliers(values: &[f64], clip: f64) -> Vec<f64> {
    let around = |at: usize| {
        let window = &values[at.saturating_sub(CLIP_REACH)..(at + CLIP_REACH + 1).min(values.len())];
        median(window)
    };
    let medians: Vec<f64> = (0..values.len()).map(around).collect();
    let distances: Vec<f64> = values.iter().zip(&medians).map(|(value, median)| (value - median).abs()).collect();
    // Where most runs are equal, the median of the distances tells nothing, their mean does.
    let sigma = match MAD_TO_SIGMA * median(&distances) {
        0.0 => distances.iter().sum::<f64>() / distances.len().max(1) as f64,
        sigma => sigma,
    };
    let limit = clip * sigma;
    values.iter().zip(&medians).map(|(value, median)| value.clamp(median - limit, median + limit)).collect()
}

/// Returns whether levels or lines describe the series at less cost, the unit of noise in which that was weighed, and where
/// they begin. `weighed`: that unit, for the least part of all variance that is counted as noise.
fn boundaries(
    sums: &Sums,
    runs_count: usize,
    limits: &Limits,
    weighed: impl Fn(f64) -> f64,
) -> (Shape, f64, Vec<usize>) {
    let (for_lines, for_levels) = (weighed(limits.lines_share_min), weighed(limits.levels_share_min));
    let price = |numbers: f64| {
        let degrees = degrees_of_freedom(runs_count);
        degrees * (numbers * (runs_count as f64).ln() / degrees).exp_m1()
    };
    let levels =
        |weighed: f64| best_partition(sums, Shape::Level, LEVEL_RUNS_MIN, weighed * price(limits.level_numbers));
    let lines = best_partition(sums, Shape::Line, LINE_RUNS_MIN, for_lines * price(limits.line_numbers));
    // What is compared is weighed alike.
    let alike = levels(for_lines);
    if lines.cost + for_lines * price(SLOPE_NUMBERS) < alike.cost {
        return (Shape::Line, for_lines, lines.boundaries);
    }
    let levels = if for_levels < for_lines { levels(for_levels) } else { alike };
    (Shape::Level, for_levels, levels.boundaries)
}

/// Those of a variance about one mean, less one for its memory.
fn degrees_of_freedom(runs_count: usize) -> f64 {
    runs_count as f64 - 2.0
}

/// A series and where it is cut.
#[derive(Debug, Clone, Copy)]
struct Cut<'s> {
    sums: &'s Sums,
    shape: Shape,
    /// All ends of segments, ascending, the series' own among them.
    ends: &'s [usize],
    /// In what gains are counted.
    weighed: f64,
    /// Of the noise alone.
    long_run: f64,
    unit: Unit,
}

impl Cut<'_> {
    /// Returns the `nth` change, from 1; `place`: index of the run that a place among the known values is.
    fn change(&self, nth: usize, place: impl Fn(usize) -> usize) -> ChangePoint {
        let (from, at, until) = (self.ends[nth - 1], self.ends[nth], self.ends[nth + 1]);
        let (earliest, latest) = self.date(from, at, until);
        let (before, after) = (Side::of(self, from, at), Side::of(self, at, until));
        let meeting = at as f64 - 0.5;
        let step = after.at(meeting) - before.at(meeting);
        let step_variance = self.long_run * (before.variance_at(meeting) + after.variance_at(meeting));
        let bend_variance = self.long_run * (1.0 / before.spread + 1.0 / after.spread);
        let bend =
            (self.shape == Shape::Line).then(|| self.interval(after.fit.slope - before.fit.slope, bend_variance));
        let gain = self.sums.fit(self.shape, from, until).residuals - before.fit.residuals - after.fit.residuals;
        ChangePoint {
            index: place(at),
            earliest: place(earliest),
            latest: place(latest),
            step: self.interval(step, step_variance),
            bend,
            log_chance: self.log_chance(gain / self.weighed),
        }
    }

    fn interval(&self, point: f64, variance: f64) -> Interval {
        let reach = normal::quantile(0.5 + 0.5 * CONFIDENCE) * variance.sqrt();
        let [point, low, high] = [point, point - reach, point + reach].map(|scaled| self.unit.difference(scaled));
        Interval { point, low, high }
    }

    /// Returns the earliest and the latest first place of the new regime: the likely ones around the best, which together
    /// have 95 % of the likelihood of all places between the neighbours.
    fn date(&self, from: usize, at: usize, until: usize) -> (usize, usize) {
        let runs_min = if self.shape == Shape::Line { LINE_RUNS_MIN } else { LEVEL_RUNS_MIN };
        let residuals = |place: usize| {
            self.sums.fit(self.shape, from, place).residuals + self.sums.fit(self.shape, place, until).residuals
        };
        let least = residuals(at);
        let first = from + runs_min;
        let likely = |place: usize| (-0.5 * (residuals(place) - least) / self.weighed).exp();
        let weights: Vec<f64> = (first..=until - runs_min).map(likely).collect();
        let (mut low, mut high) = (at - first, at - first);
        let (mut within, all) = (weights[low], weights.iter().sum::<f64>());
        while within < CONFIDENCE * all && (low > 0 || high + 1 < weights.len()) {
            let below = if low > 0 { weights[low - 1] } else { -1.0 };
            let above = weights.get(high + 1).copied().unwrap_or(-1.0);
            if below > above {
                low -= 1;
            } else {
                high += 1;
            }
            within += below.max(above);
        }
        (first + low, first + high)
    }

    /// A level more is one number: the gain is the square of Student's T. A line more is two: the gain is twice an F of two,
    /// and P(F > g / 2) = (1 + g / f)^(-f / 2) with f degrees of freedom.
    fn log_chance(&self, gain: f64) -> f64 {
        let (gain, runs_count) = (gain.max(0.0), *self.ends.last().expect("a cut has ends"));
        let degrees = degrees_of_freedom(runs_count);
        let at_one_place = match self.shape {
            Shape::Level => log_chance_student(gain.sqrt(), degrees),
            Shape::Line => -0.5 * degrees * (gain / degrees).ln_1p(),
        };
        (at_one_place + (runs_count as f64).ln()).min(0.0)
    }
}

/// One segment beside a change.
#[derive(Debug, Clone, Copy)]
struct Side {
    fit: Fit,
    shape: Shape,
    count: f64,
    middle: f64,
    /// Sum of squared distances of the places from their middle.
    spread: f64,
}

impl Side {
    fn of(cut: &Cut, from: usize, until: usize) -> Side {
        let count = (until - from) as f64;
        let (middle, spread) = (middle_place(from, until), squared_places(count));
        Side { fit: cut.sums.fit(cut.shape, from, until), shape: cut.shape, count, middle, spread }
    }

    fn at(&self, place: f64) -> f64 {
        self.fit.mean + self.fit.slope * (place - self.middle)
    }

    /// Returns the variance of the level or line at a place, in units of that of one independent run.
    fn variance_at(&self, place: f64) -> f64 {
        match self.shape {
            Shape::Level => 1.0 / self.count,
            Shape::Line => 1.0 / self.count + (place - self.middle).powi(2) / self.spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;
    use crate::stats::run_noise::RUNS_MIN;

    /// `level`: of each run, beside noise that remembers `memory` of the run before.
    fn check(
        memory: f64,
        runs_count: usize,
        level: impl Fn(usize) -> f64,
        shape: Shape,
        expected: &[usize],
    ) -> History {
        let mut draws = Draws::seeded(11);
        let noise = draws.wandering(memory, runs_count).into_iter().enumerate();
        let history = change_points(&noise.map(|(at, value)| value + level(at)).collect::<Vec<_>>()).unwrap();
        let found: Vec<usize> = history.changes.iter().map(|change| change.index).collect();
        assert_eq!((history.shape, found.len()), (shape, expected.len()), "{found:?}, not {expected:?}");
        for (change, expected) in history.changes.iter().zip(expected) {
            assert!((change.earliest..=change.latest).contains(expected), "{change:?}, not {expected}");
            assert!(change.log_chance < 0.01f64.ln(), "{change:?}");
        }
        history
    }

    #[test]
    fn levels_and_lines() {
        check(0.0, 100, |_| 5.0, Shape::Level, &[]);
        check(0.6, 300, |_| 5.0, Shape::Level, &[]);
        check(0.0, 300, |at| 0.05 * at as f64, Shape::Line, &[]);
        check(0.0, 100, |at| if at < 60 { 0.0 } else { 3.0 }, Shape::Level, &[60]);
        check(0.3, 200, |at| [0.0, 6.0, 0.0][at / 70], Shape::Level, &[70, 140]);
        // A small change beside one that is twelve times as large.
        check(0.0, 180, |at| [0.0, 24.0, 26.0][at / 60], Shape::Level, &[60, 120]);
        check(0.0, 200, |at| 0.2 * (at as f64 - 100.0).max(0.0), Shape::Line, &[100]);
        check(0.0, 200, |at| 0.05 * at as f64 + if at < 120 { 0.0 } else { 8.0 }, Shape::Line, &[120]);
        check(0.0, 140, |at| [0.0, 2.0, 4.0, 4.0, 2.0, -6.0, -6.0][at % 7], Shape::Level, &[]);
    }

    #[test]
    fn a_single_bad_run_is_no_change() {
        check(0.0, 50, |at| if at == 20 { 100.0 } else { 0.0 }, Shape::Level, &[]);
        check(0.0, 50, |at| if at == 49 { 100.0 } else { 0.0 }, Shape::Level, &[]);
    }

    /// By hand: levels 0 and 1 over 20 runs each, and +-0.1 in turns. Differences are 0.2 in size, which is left out once
    /// for the change, and there is no memory: a correlation of -1 counts as none.
    #[test]
    fn effect_by_hand() {
        let values: Vec<f64> = (0..40).map(|at| [0.1, -0.1][at % 2] + f64::from(u8::from(at >= 20))).collect();
        let history = change_points(&values).unwrap();
        let [change] = history.changes[..] else { panic!("{history:?}") };
        assert_eq!((change.index, change.bend), (20, None));
        assert!((change.step.point - 1.0).abs() < 1e-12, "{change:?}");
        let reach = 1.959964 * (history.noise.long_run * (1.0 / 20.0 + 1.0 / 20.0)).sqrt();
        assert!((change.step.high - change.step.point - reach).abs() < 1e-6, "{change:?}");
        assert_eq!(
            history.regimes.iter().map(|regime| (regime.from, regime.until)).collect::<Vec<_>>(),
            [(0, 20), (20, 40)]
        );
    }

    #[test]
    fn another_unit_and_gaps_change_nothing() {
        let mut draws = Draws::seeded(12);
        let values: Vec<f64> =
            draws.wandering(0.2, 80).iter().enumerate().map(|(at, value)| value + (at / 40) as f64 * 4.0).collect();
        let plain = change_points(&values).unwrap();
        let large: Vec<f64> = values.iter().map(|value| 1e12 * value + 1e13).collect();
        assert_eq!(change_points(&large).unwrap().changes[0].index, plain.changes[0].index);
        let mut gaps = values.clone();
        gaps.splice(10..10, [f64::NAN, f64::INFINITY]);
        let with_gaps = change_points(&gaps).unwrap();
        assert_eq!(with_gaps.changes[0].index, plain.changes[0].index + 2);
        assert_eq!(with_gaps.changes[0].step, plain.changes[0].step);
    }

    #[test]
    fn bad_input() {
        for few in 0..RUNS_MIN {
            assert_eq!(change_points(&vec![1.0; few]), None);
        }
        assert_eq!(change_points(&[f64::NAN; 100]), None);
        let extremes = [f64::MAX, f64::MIN, 0.0, f64::MIN_POSITIVE, -0.0, 1e-300, -1e300, f64::MAX];
        let mut series = vec![
            vec![5.0; 50],
            vec![0.0; RUNS_MIN],
            [extremes, extremes].concat(),
            (0..10_000).map(|at| (at % 2) as f64).collect(),
        ];
        series.push((0..30).map(|at| if at < 15 { 1.0 } else { 2.0 }).collect());
        series.push((0..60).map(|at| extremes[at * 7 % 8]).collect());
        series.push((0..60).map(|at| extremes[at * 7 % 8] * 1e-310).collect());
        for values in series {
            let history = change_points(&values).unwrap();
            let finite =
                |interval: &Interval| [interval.point, interval.low, interval.high].iter().all(|x| x.is_finite());
            let is_sound = |change: &ChangePoint| {
                finite(&change.step)
                    && change.bend.iter().all(finite)
                    && !change.log_chance.is_nan()
                    && change.earliest <= change.latest
            };
            assert!(history.changes.iter().all(is_sound), "{history:?}");
            assert!(
                history.regimes.iter().all(|regime| regime.mean.is_finite() && regime.slope.is_finite()),
                "{history:?}"
            );
            assert_eq!(history.regimes.last().map(|regime| regime.until), Some(values.len()));
        }
    }
}
