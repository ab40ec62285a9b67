//! How likely a sequence of runs is at given levels: heavy-tailed noise that remembers the run before, and bad runs.
//!
//! A clean run is off its level by Student's t; given a clean run before it, by what is left of that one's distance and
//! fresh noise. A bad run (a neighbour on the host, a cold cache) is off by what such runs are off, and the run after it
//! remembers nothing of it. Which runs were bad is summed out by the forward and backward recursions of a hidden Markov
//! chain with two states, for a whole grid of levels at once.

use super::run_statistic::RunStatistic;

/// Degrees of freedom of the noise between runs: heavier than normal, with a variance. An odd number, so that the density is
/// a power of a rational number.
const DEGREES_OF_FREEDOM: f64 = 7.0;
/// Of the density of Student's t with seven degrees: gamma(4) / (gamma(7/2) sqrt(7 pi)).
const STUDENT_7: f64 = 0.3849914508322674;
/// Where a bad run's excess may lie, as ln: from +4 to +12 % it becomes likely, from +65 to +100 % it ceases to be.
const EXCESS: [f64; 4] = [0.04, 0.12, 0.5, 0.7];
/// Of all bad runs, those that are fast ones, with half the excess, and those that are off by anything at all.
const FAST: f64 = 0.15;
const WILD: f64 = 0.02;

/// The noise between runs: its standard deviation as ln, what it remembers of the run before, and how likely that is a priori.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BetweenRuns {
    pub deviation: f64,
    pub memory: f64,
    pub weight: f64,
}

/// Points at which a function of a level is known, and what each counts in its integral.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub levels: Vec<f64>,
    pub weights: Vec<f64>,
}

impl Grid {
    /// A grid that reaches `extent` to both sides of `center`, ten times as fine at its center as at its ends.
    pub fn around(center: f64, extent: f64, points_count: usize) -> Grid {
        const STRETCH: f64 = 3.0;
        let step = 2.0 / (points_count - 1) as f64;
        let unit = extent / STRETCH.sinh();
        let arguments = (0..points_count).map(|point| STRETCH * (step * point as f64 - 1.0));
        let levels = arguments.clone().map(|argument| center + unit * argument.sinh()).collect();
        let weights = arguments.map(|argument| unit * STRETCH * step * argument.cosh()).collect();
        Grid { levels, weights }
    }

    pub fn len(&self) -> usize {
        self.levels.len()
    }
}

/// The density of one clean run: about which multiple of the last distance, how wide, how high.
#[derive(Debug, Clone, Copy)]
struct Student {
    memory: f64,
    /// 1 / (scale sqrt(degrees of freedom)).
    per_distance: f64,
    height: f64,
}

impl Student {
    #[inline(always)]
    fn density(self, distance: f64) -> f64 {
        let z = distance * self.per_distance;
        let part = 1.0 / (1.0 + z * z);
        self.height * (part * part) * (part * part)
    }
}

/// The runs, oldest first, and what is the same for all hypotheses about them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain<'r> {
    pub runs: &'r [RunStatistic],
    pub bad_rate: f64,
    /// Densities are per this length, so that the product over many runs stays within the range of floats.
    pub unit: f64,
}

/// What the runs on one side of a point say of each level, when the run next to the point is clean and when it is bad.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub clean: Vec<f64>,
    pub bad: Vec<f64>,
}

impl Message {
    fn of(len: usize, value: f64) -> Message {
        Message { clean: vec![value; len], bad: vec![value; len] }
    }
}

/// Densities of bad runs: of each run, at each level.
pub(super) type BadRuns = Vec<Vec<f64>>;

impl Chain<'_> {
    /// Runs before `from` have no densities: nothing asks for them.
    pub fn bad_runs(&self, grid: &Grid, from: usize) -> BadRuns {
        let of_run = |(index, run): (usize, &RunStatistic)| {
            if index < from {
                return Vec::new();
            }
            let density = |level: &f64| self.bad_rate * self.unit * excess_density(run.value - level);
            grid.levels.iter().map(density).collect()
        };
        self.runs.iter().enumerate().map(of_run).collect()
    }

    /// Returns, for each number of runs from `shortest` on, what those oldest runs say of each level.
    ///
    /// The levels of `grid` are those of the first runs; `bad_runs` is of the same grid.
    pub fn heads(&self, grid: &Grid, bad_runs: &BadRuns, noise: BetweenRuns, shortest: usize) -> Vec<Message> {
        let clean_rate = 1.0 - self.bad_rate;
        let mut heads = Vec::with_capacity(self.runs.len() + 1 - shortest);
        let mut message = Message::of(grid.len(), 0.0);
        for (index, run) in self.runs.iter().enumerate() {
            let (alone, bad) = (self.alone(index, noise), &bad_runs[index]);
            let cells = grid.levels.iter().zip(bad).zip(message.clean.iter_mut().zip(message.bad.iter_mut()));
            if index == 0 {
                for ((level, bad), (clean, worse)) in cells {
                    (*clean, *worse) = (clean_rate * alone.density(run.value - level), *bad);
                }
            } else {
                let (after, last) = (self.after(index, noise), self.runs[index - 1].value);
                for ((level, bad), (clean, worse)) in cells {
                    let by_itself = alone.density(run.value - level);
                    let remembered = after.density(run.value - level - after.memory * (last - level));
                    let sum = *clean + *worse;
                    (*clean, *worse) = (clean_rate * (*clean * remembered + *worse * by_itself), sum * bad);
                }
            }
            if index + 1 >= shortest {
                heads.push(message.clone());
            }
        }
        heads
    }

    /// Returns what the runs behind `onset` say of each level, by the state of the run at `onset`.
    pub fn tail(&self, grid: &Grid, bad_runs: &BadRuns, noise: BetweenRuns, onset: usize) -> Message {
        let clean_rate = 1.0 - self.bad_rate;
        let mut message = Message::of(grid.len(), 1.0);
        for index in (onset + 1..self.runs.len()).rev() {
            let (alone, after) = (self.alone(index, noise), self.after(index, noise));
            let (value, last) = (self.runs[index].value, self.runs[index - 1].value);
            let cells = message.clean.iter_mut().zip(message.bad.iter_mut());
            for ((level, bad_run), (clean, bad)) in grid.levels.iter().zip(&bad_runs[index]).zip(cells) {
                let by_itself = alone.density(value - level);
                let remembered = after.density(value - level - after.memory * (last - level));
                let (if_clean, if_bad) = (clean_rate * *clean, bad_run * *bad);
                (*clean, *bad) = (if_clean * remembered + if_bad, if_clean * by_itself + if_bad);
            }
        }
        message
    }

    /// Adds to `pairs`, a row for each level before and a column for each level from `onset` on, how likely all runs are.
    pub fn join(&self, before: (&Grid, &Message), from: (&Grid, &Message, &BadRuns), at: At, pairs: &mut [f64]) {
        let At { onset, noise } = at;
        let (alone, after) = (self.alone(onset, noise), self.after(onset, noise));
        let (value, last) = (self.runs[onset].value, self.runs[onset - 1].value);
        let (grid, tail, bad_runs) = from;
        let clean_rate = 1.0 - self.bad_rate;
        let alone: Vec<f64> = grid.levels.iter().map(|level| clean_rate * alone.density(value - level)).collect();
        let bad: Vec<f64> = bad_runs[onset].iter().zip(&tail.bad).map(|(density, tail)| density * tail).collect();
        for (level_index, level) in before.0.levels.iter().enumerate() {
            let clean = noise.weight * before.1.clean[level_index];
            let worse = noise.weight * before.1.bad[level_index];
            let expected = value - after.memory * (last - level);
            let row = &mut pairs[level_index * grid.len()..][..grid.len()];
            let columns = grid.levels.iter().zip(&alone).zip(tail.clean.iter().zip(&bad));
            for (pair, ((level, alone), (tail, bad))) in row.iter_mut().zip(columns) {
                let remembered = clean_rate * after.density(expected - level);
                *pair += (clean * remembered + worse * alone) * tail + (clean + worse) * bad;
            }
        }
    }

    /// A clean run after a bad one, or the first one.
    fn alone(&self, index: usize, noise: BetweenRuns) -> Student {
        self.student(0.0, noise.deviation.powi(2) + self.runs[index].standard_error.powi(2))
    }

    /// A clean run after a clean one: what is remembered is the part of the last distance that is not of that run alone.
    fn after(&self, index: usize, noise: BetweenRuns) -> Student {
        let between = noise.deviation.powi(2);
        let last = between + self.runs[index - 1].standard_error.powi(2);
        let memory = noise.memory * between / last;
        self.student(memory, between + self.runs[index].standard_error.powi(2) - memory * memory * last)
    }

    fn student(&self, memory: f64, variance: f64) -> Student {
        // The variance of Student's t is nu / (nu - 2) times its squared scale.
        let scale = (variance * (DEGREES_OF_FREEDOM - 2.0) / DEGREES_OF_FREEDOM).sqrt();
        let per_distance = 1.0 / (scale * DEGREES_OF_FREEDOM.sqrt());
        Student { memory, per_distance, height: STUDENT_7 / scale * self.unit }
    }
}

/// Where a step is looked at, under which noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub onset: usize,
    pub noise: BetweenRuns,
}

/// Returns the density of how far a bad run is off.
pub(super) fn excess_density(excess: f64) -> f64 {
    let wild = 1.0 / (std::f64::consts::PI * (1.0 + excess * excess));
    (1.0 - FAST - WILD) * slow_density(excess) + FAST * 2.0 * slow_density(-2.0 * excess) + WILD * wild
}

fn slow_density(excess: f64) -> f64 {
    const FROM: f64 = EXCESS[0];
    const FULL: f64 = EXCESS[1];
    const FALLING: f64 = EXCESS[2];
    const UNTIL: f64 = EXCESS[3];
    const HEIGHT: f64 = 2.0 / (UNTIL + FALLING - FULL - FROM);
    // Once for each run and level: divisions would be a fifth of a judgement.
    const RISE: f64 = 1.0 / (FULL - FROM);
    const FALL: f64 = 1.0 / (UNTIL - FALLING);
    HEIGHT * ((excess - FROM) * RISE).min((UNTIL - excess) * FALL).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_sum_to_one() {
        let step = 1e-3;
        let chain = Chain { runs: &[RunStatistic { value: 0.0, standard_error: 0.03 }; 2], bad_rate: 0.05, unit: 1.0 };
        let noise = BetweenRuns { deviation: 0.04, memory: 0.5, weight: 1.0 };
        let over = |density: &dyn Fn(f64) -> f64, until: f64| {
            let points = (2.0 * until / step) as i32;
            (0..=points).map(|point| step * density(f64::from(point) * step - until)).sum::<f64>()
        };
        assert!((over(&|x| chain.alone(0, noise).density(x), 3.0) - 1.0).abs() < 1e-4);
        assert!((over(&|x| chain.after(1, noise).density(x), 3.0) - 1.0).abs() < 1e-4);
        // Beyond +-50 lies 2 atan(1/50) / pi of the wild ones.
        assert!((over(&excess_density, 50.0) - 1.0 + 0.02 * 0.012732).abs() < 1e-4);
        // The variance is that of the noise between runs and within one, 0.04^2 + 0.03^2.
        let variance = over(&|x| x * x * chain.alone(0, noise).density(x), 10.0);
        assert!((variance.sqrt() / 0.05 - 1.0).abs() < 1e-3, "{variance}");
    }

    /// A step of nothing is no step: the join of head and tail at one level is the likelihood of all runs.
    #[test]
    fn a_join_is_the_whole() {
        let values = [0.0, 0.03, 0.4, -0.02, 0.05, 0.3];
        let runs = values.map(|value| RunStatistic { value, standard_error: 0.01 });
        let chain = Chain { runs: &runs, bad_rate: 0.05, unit: 0.1 };
        let noise = BetweenRuns { deviation: 0.04, memory: 0.5, weight: 1.0 };
        let grid = Grid { levels: vec![0.01], weights: vec![1.0] };
        let bad_runs = chain.bad_runs(&grid, 0);
        let heads = chain.heads(&grid, &bad_runs, noise, 1);
        let whole = heads[5].clean[0] + heads[5].bad[0];
        for onset in 1..6 {
            let (tail, mut pairs) = (chain.tail(&grid, &bad_runs, noise, onset), [0.0]);
            let at = At { onset, noise };
            chain.join((&grid, &heads[onset - 1]), (&grid, &tail, &bad_runs), at, &mut pairs);
            assert!((pairs[0] / whole - 1.0).abs() < 1e-12, "{onset}: {}, not {whole}", pairs[0]);
        }
    }
}
