//! The season of a test's runs: what the day of the week, or the time of the day, adds to a figure, by when the runs started.
//!
//! Runs of one phase of the cycle are a class, whatever lies between them, so that nights without a run do no harm. The newest
//! runs, at one of which a step is looked for, say nothing of the season: a step can neither become a season, nor spoil it.
//! Levels that change for longer than a cycle are taken out first, by the median of the cycle around a run. A season is one
//! only if an analysis of variance says that the classes differ by more than chance, else nothing is.

use super::robust::{MAD_TO_SIGMA, median};
use super::run_statistic::RunStatistic;
use super::special::incomplete_beta;

const DAY_SECONDS: f64 = 86_400.0;
/// 1970 began on a Thursday: so many days after a Monday.
const DAYS_SINCE_MONDAY: f64 = 3.0;
/// Hours of a day are too many to be told apart by the runs of a history: so many parts of it are.
const PARTS_OF_DAY: usize = 6;
/// Runs of each class that are believed; the middle of three is not moved by a bad one.
const RUNS_OF_CLASS_MIN: usize = 3;
const CYCLES_MIN: usize = 2;
/// The chance that a figure without a season shows one, for each way to make classes. Runs remember something of the one
/// before, which such a test takes for a season more easily.
const CHANCE: f64 = 0.0005;
/// Classes that differ by less, as a difference of ln, are no reason to touch a figure.
const RANGE_MIN: f64 = 0.03;
/// Values beyond three sigma of their class's middle count as three sigma.
const CLIP: f64 = 3.0;

/// Which classes runs are put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cycle {
    /// Saturday and Sunday beside the other days.
    Weekends,
    Weekdays,
    TimesOfDay,
}

impl Cycle {
    const ALL: [Cycle; 3] = [Cycle::Weekends, Cycle::Weekdays, Cycle::TimesOfDay];

    fn seconds(self) -> f64 {
        if self == Cycle::TimesOfDay { DAY_SECONDS } else { 7.0 * DAY_SECONDS }
    }

    fn classes_count(self) -> usize {
        match self {
            Cycle::Weekends => 2,
            Cycle::Weekdays => 7,
            Cycle::TimesOfDay => PARTS_OF_DAY,
        }
    }

    /// Returns the class of a run, and the cycle that it lies in. Days begin `day_from` seconds after midnight, and are called
    /// by what is in their middle.
    fn class(self, start: f64, day_from: f64) -> (usize, i64) {
        let since = start - day_from;
        let day = (since / DAY_SECONDS).floor();
        let called = ((day * DAY_SECONDS + day_from + 0.5 * DAY_SECONDS) / DAY_SECONDS).floor() + DAYS_SINCE_MONDAY;
        let (weekday, week) = (called.rem_euclid(7.0) as usize, called.div_euclid(7.0) as i64);
        match self {
            Cycle::Weekends => (usize::from(weekday >= 5), week),
            Cycle::Weekdays => (weekday.min(6), week),
            Cycle::TimesOfDay => {
                let part = since.rem_euclid(DAY_SECONDS) / DAY_SECONDS * PARTS_OF_DAY as f64;
                ((part as usize).min(PARTS_OF_DAY - 1), day as i64)
            }
        }
    }
}

/// What a season adds to a run, by when it started.
#[derive(Debug, Clone, PartialEq)]
pub struct Season {
    pub cycle: Cycle,
    day_from: f64,
    held_from: f64,
    /// By class, as a difference of ln: 0 on average over the runs that tell of it; none of classes that no run is of.
    offsets: Vec<Option<f64>>,
    /// Of the offsets, by class.
    standard_errors: Vec<f64>,
}

impl Season {
    /// Returns what the season adds to the ln of a run that started then; 0 where nothing is known.
    pub fn offset(&self, start: f64) -> f64 {
        self.offsets.get(self.class(start)).copied().flatten().unwrap_or(0.0)
    }

    /// Returns a run's figure without its season. The season is surer than its error for those runs that told of it: they
    /// are not told that they might be off.
    pub fn without(&self, start: f64, figure: RunStatistic) -> RunStatistic {
        let error = if start < self.held_from { 0.0 } else { self.standard_errors[self.class(start)] };
        let standard_error = figure.standard_error.hypot(error);
        RunStatistic { value: figure.value - self.offset(start), standard_error }
    }

    fn class(&self, start: f64) -> usize {
        self.cycle.class(start, self.day_from).0
    }
}

/// Returns the season of runs, the surest one; none where there is none, or too few runs tell.
///
/// `starts`: when each run started, in seconds since 1970, ascending. `values`: as many, logarithms. `held_from`: runs from
/// then on say nothing of the season, but have to be of a class that is known.
pub fn season(starts: &[f64], values: &[f64], held_from: f64) -> Option<Season> {
    let is_ascending = starts.windows(2).all(|pair| pair[0] <= pair[1]);
    if starts.len() != values.len() || !is_ascending || !starts.iter().chain(values).all(|value| value.is_finite()) {
        return None;
    }
    let surest = Cycle::ALL.into_iter().filter_map(|cycle| of_cycle(cycle, starts, values, held_from));
    surest.min_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, season)| season)
}

/// Returns the season of one kind and its chance; none unless it is surely one.
fn of_cycle(cycle: Cycle, starts: &[f64], values: &[f64], held_from: f64) -> Option<(f64, Season)> {
    let told = &starts[..starts.partition_point(|start| *start < held_from)];
    let span = told.last()? - told.first()?;
    if span < (CYCLES_MIN as f64 - 0.5) * cycle.seconds() {
        return None;
    }
    let day_from = widest_gap(starts);
    let mut by_class: Vec<Vec<f64>> = vec![Vec::new(); cycle.classes_count()];
    let mut cycles: Vec<Vec<i64>> = vec![Vec::new(); cycle.classes_count()];
    for (run, start) in told.iter().enumerate() {
        let (class, number) = cycle.class(*start, day_from);
        by_class[class].push(values[run] - around(told, values, run, cycle.seconds()));
        cycles[class].push(number);
    }
    cycles.iter_mut().for_each(Vec::dedup);
    let mut asked: Vec<usize> = starts.iter().map(|start| cycle.class(*start, day_from).0).collect();
    asked.sort_unstable();
    asked.dedup();
    let is_known = |class: &usize| by_class[*class].len() >= RUNS_OF_CLASS_MIN && cycles[*class].len() >= CYCLES_MIN;
    if asked.len() < 2 || !asked.iter().all(is_known) {
        return None;
    }
    let groups: Vec<&Vec<f64>> = asked.iter().map(|class| &by_class[*class]).collect();
    let variance = analysed(&groups, (span / cycle.seconds()).ceil())?;
    let sum: f64 = variance.means.iter().zip(&groups).map(|(mean, group)| mean * group.len() as f64).sum();
    let mean = sum / told.len() as f64;
    let (least, most) = variance
        .means
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), mean| (least.min(*mean), most.max(*mean)));
    if variance.chance >= CHANCE || most - least < RANGE_MIN {
        return None;
    }
    let (mut offsets, mut standard_errors) = (vec![None; by_class.len()], vec![0.0; by_class.len()]);
    for ((class, own), group) in asked.iter().zip(&variance.means).zip(&groups) {
        offsets[*class] = Some(own - mean);
        standard_errors[*class] = variance.deviation / (group.len() as f64).sqrt();
    }
    Some((variance.chance, Season { cycle, day_from, held_from, offsets, standard_errors }))
}

/// Returns the median of the runs within the cycle around a run; at the ends, of the first or the last cycle.
fn around(starts: &[f64], values: &[f64], run: usize, cycle_seconds: f64) -> f64 {
    let (first, last) = (starts[0], starts[starts.len() - 1]);
    let from = (starts[run] - 0.5 * cycle_seconds).min(last - cycle_seconds).max(first);
    // The runs of a whole cycle, and not the first of the next one.
    let from_index = starts.partition_point(|start| *start <= from - 1e-3 * cycle_seconds);
    let until_index = starts.partition_point(|start| *start < from + (1.0 - 1e-3) * cycle_seconds);
    median(&values[from_index..until_index.max(from_index + 1)])
}

/// Returns at which second of the day days are best parted: in the middle of the longest time in which no run starts.
fn widest_gap(starts: &[f64]) -> f64 {
    let mut seconds: Vec<f64> = starts.iter().map(|start| start.rem_euclid(DAY_SECONDS)).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    let Some(first) = seconds.first().copied() else { return 0.0 };
    let next = seconds.iter().skip(1).copied().chain([first + DAY_SECONDS]);
    let gaps = seconds.iter().zip(next).map(|(from, until)| (until - from, 0.5 * (from + until)));
    let widest = gaps.max_by(|left, right| left.0.total_cmp(&right.0));
    widest.map_or(0.0, |(_, middle)| middle.rem_euclid(DAY_SECONDS))
}

/// How classes differ.
struct Analysed {
    /// Of each class, its values clipped.
    means: Vec<f64>,
    /// Within classes.
    deviation: f64,
    /// Of means that differ as much, or more, if there is but one.
    chance: f64,
}

/// The one-way analysis of variance, of values that are clipped at three sigma about the middle of their class.
///
/// `levels`: numbers that were estimated besides, which the values have fewer degrees of freedom by.
fn analysed(groups: &[&Vec<f64>], levels: f64) -> Option<Analysed> {
    let off = groups.iter().flat_map(|group| {
        let middle = median(group);
        // Of few values the middle is one of them, or nearly.
        let freed = (group.len() as f64 / (group.len() as f64 - 1.0).max(1.0)).sqrt();
        group.iter().map(move |value| freed * (value - middle).abs())
    });
    let limit = CLIP * MAD_TO_SIGMA * median(&off.collect::<Vec<f64>>());
    let clipped: Vec<Vec<f64>> = groups
        .iter()
        .map(|group| {
            let middle = median(group);
            group.iter().map(|value| value.clamp(middle - limit, middle + limit)).collect()
        })
        .collect();
    let count = clipped.iter().map(Vec::len).sum::<usize>() as f64;
    let means: Vec<f64> = clipped.iter().map(|group| group.iter().sum::<f64>() / group.len() as f64).collect();
    let mean = clipped.iter().flatten().sum::<f64>() / count;
    let between: f64 = clipped.iter().zip(&means).map(|(group, own)| group.len() as f64 * (own - mean).powi(2)).sum();
    let within: f64 = clipped
        .iter()
        .zip(&means)
        .map(|(group, own)| group.iter().map(|value| (value - own).powi(2)).sum::<f64>())
        .sum();
    let (between_degrees, within_degrees) = (groups.len() as f64 - 1.0, count - groups.len() as f64 - levels);
    if within_degrees < 1.0 || between <= 0.0 {
        return None;
    }
    // Of equal values within classes nothing is left but what differs between them.
    let chance = incomplete_beta(0.5 * within_degrees, 0.5 * between_degrees, within / (within + between));
    Some(Analysed { means, deviation: (within / within_degrees).sqrt(), chance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;
    use crate::stats::step::STEP_RUNS_MAX;

    /// The season of all but the runs at which a step is looked for.
    fn season_of(starts: &[f64], values: &[f64]) -> Option<Season> {
        season(starts, values, *starts.get(starts.len().checked_sub(STEP_RUNS_MAX)?)?)
    }

    /// One run a night at about two o'clock, the first on Monday, 2 November 2026.
    fn nights(draws: &mut Draws, count: usize) -> Vec<f64> {
        (0..count).map(|night| 1_793_584_800.0 + night as f64 * DAY_SECONDS + 300.0 * draws.normal()).collect()
    }

    fn weekend(night: usize) -> f64 {
        if night % 7 >= 5 { 0.18 } else { 0.0 }
    }

    /// Expected values: R's worked example `summary(aov(weight ~ group, PlantGrowth))`, F = 4.846 on 2 and 27, p = 0.0159.
    #[test]
    fn known_answer() {
        let groups = [
            vec![4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
            vec![4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
            vec![6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
        ];
        let found = analysed(&groups.each_ref(), 0.0).unwrap();
        assert!((found.chance - 0.01591).abs() < 5e-5 && (found.deviation - 0.6234).abs() < 1e-4, "{}", found.chance);
    }

    #[test]
    fn a_weekend_is_taken_out_and_a_step_is_not() {
        let mut draws = Draws::seeded(1);
        for round in 0..40 {
            let count = 22 + round;
            let starts = nights(&mut draws, count);
            let noise = draws.wandering(0.3, count);
            let plain: Vec<f64> = (0..count)
                .map(|night| 3.0 + 0.03 * noise[night] + if night + 4 >= count { 0.1 } else { 0.0 })
                .collect();
            let mut values: Vec<f64> = plain.iter().enumerate().map(|(night, value)| value + weekend(night)).collect();
            // A bad run is no season.
            values[9] += 0.7;
            let season = season_of(&starts, &values).unwrap_or_else(|| panic!("round {round}"));
            let off = |night: usize| season.offset(starts[night]) - weekend(night);
            let offs: Vec<f64> = (0..count).map(|night| (off(night) - off(0)).abs()).collect();
            assert!(offs.iter().all(|off| *off < 0.08) && median(&offs) < 0.03, "round {round}: {offs:?}");
            let error = |night: usize| {
                season.without(starts[night], RunStatistic { value: 0.0, standard_error: 0.0 }).standard_error
            };
            assert!(error(count - 1) > 0.0 && error(0) == 0.0);
        }
    }

    #[test]
    fn times_of_the_day_are_one_too() {
        let mut draws = Draws::seeded(2);
        let starts: Vec<f64> = (0..40).map(|run| 1_793_584_800.0 + f64::from(run) * 6.0 * 3600.0).collect();
        let values: Vec<f64> =
            (0..40).map(|run| 0.03 * draws.normal() + if run % 4 == 2 { 0.2 } else { 0.0 }).collect();
        let season = season_of(&starts, &values).unwrap();
        assert_eq!(season.cycle, Cycle::TimesOfDay);
        assert!((season.offset(starts[38]) - season.offset(starts[37]) - 0.2).abs() < 0.05, "{season:?}");
    }

    #[test]
    fn what_is_none_changes_nothing() {
        let mut draws = Draws::seeded(3);
        let mut found_count = 0;
        for round in 0..900 {
            let count = 20 + round % 45;
            let starts = nights(&mut draws, count);
            let values: Vec<f64> = draws.wandering([0.0, 0.3, 0.5][round % 3], count);
            let values: Vec<f64> = values.iter().map(|value| 0.04 * value).collect();
            found_count += usize::from(season_of(&starts, &values).is_some());
        }
        assert!(found_count <= 6, "{found_count} of 900");
        // Too few runs, equal ones, no times, times that go back.
        let starts = nights(&mut draws, 40);
        let values: Vec<f64> = (0..40).map(|night| weekend(night) + 0.01 * draws.normal()).collect();
        assert!(season_of(&starts, &values).is_some());
        assert_eq!(season_of(&starts[..18], &values[..18]), None);
        assert_eq!(season_of(&starts, &[1.0; 40]), None);
        assert_eq!(season_of(&[], &[]), None);
        assert_eq!(season_of(&starts.iter().rev().copied().collect::<Vec<_>>(), &values), None);
        assert_eq!(season_of(&[7.0; 40], &values), None);
        // Of one Saturday nobody knows whether it is the day.
        assert_eq!(season_of(&starts[..5].repeat(8), &values), None);
    }
}
