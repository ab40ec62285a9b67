//! Excursions: parts of a series whose level is not that of the rest, each with its first and its last step.
//!
//! The search is binary segmentation by intervals: the interval that differs most from what is around it is cut out,
//! then the three parts are searched in turn. Its chance is counted over all lengths and places, with the noise's memory
//! in it. Values count for at most three sigma, so that a single bad second moves nothing.

use super::noise::{self, Noise};
use super::significance::log_chance_student;

/// Values beyond three sigma of their part's middle count as three sigma.
const CLIP: f64 = 3.0;
/// Each length of interval is looked at in steps of this part of it; the best one is then moved step by step.
const STRIDES_PER_LENGTH: usize = 8;
/// Each length is this much longer than the last.
const LENGTH_RATIO: f64 = 1.25;
/// Rounds in which the best interval's two ends are moved in turn; three are enough nearly always.
const ROUNDS_MAX: usize = 12;
/// Cuts of one series: more would be no list of excursions any more.
const CUTS_MAX: usize = 40;
/// How many intervals of one length count as looked at independently, for each time that the length fits into the series.
///
/// Found by simulation: with it, no kind of stationary run that was tried, with a memory of up to 0.7 from step to step and
/// from 30 steps to 7,200, has an excursion more often than is demanded.
const PLACES_PER_LENGTH: f64 = 5.0;

/// What an excursion has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The chance of any false excursion in this series, as a natural logarithm.
    pub log_chance: f64,
    pub steps_min: usize,
    /// Smaller differences of level are not worth a word.
    pub difference_min: f64,
    /// The difference has to be larger than this beyond doubt; below `difference_min`.
    pub difference_sure: f64,
    /// A first part that is no longer than this and lies higher than the next is left out: caches and pools fill.
    pub warm_up_steps: usize,
}

/// One part of the series that stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Excursion {
    /// Index of the first value.
    pub from: usize,
    /// Index behind the last value.
    pub until: usize,
    /// Of its level to that of the rest, in the unit of the values.
    pub difference: f64,
    pub standard_error: f64,
    /// Of its being there by chance, counted over all places and lengths, as a natural logarithm.
    pub log_chance: f64,
}

/// One series: values, the variance of each by chance, and what memory adds to that of a mean.
#[derive(Debug, Clone, Copy)]
struct Series<'v> {
    values: &'v [f64],
    variances: &'v [f64],
    noise: &'v Noise,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from: usize,
    until: usize,
}

impl Part {
    fn len(self) -> usize {
        self.until - self.from
    }
}

/// A level and the sum of weights that it rests on.
#[derive(Debug, Clone, Copy)]
struct Level {
    mean: f64,
    weight: f64,
}

/// Returns the excursions of a series, in their order, or none if it is too short to tell.
///
/// `values`: logarithms, without gaps. `counts`: how many requests each rests on, above 0.
pub fn excursions(values: &[f64], counts: &[f64], demand: &Demand) -> Option<Vec<Excursion>> {
    let (mut noise, mut cuts) = (Noise::of(values, counts)?, vec![0, values.len()]);
    let mut variances: Vec<f64> = counts.iter().map(|count| noise.variance(*count)).collect();
    let mut waiting = vec![Part { from: 0, until: values.len() }];
    while let Some(part) = waiting.pop() {
        if cuts.len() > CUTS_MAX {
            break;
        }
        let series = Series { values, variances: &variances, noise: &noise };
        let Some(found) = most_different(series, part, demand.steps_min) else { continue };
        if !is_large(series, part, found, demand) {
            continue;
        }
        // The shifts themselves are no noise: without them a short series with a large shift has little of it.
        let own = Noise::of(&without_levels(series, &with_ends(&cuts, found)), counts)?;
        let own_variances: Vec<f64> = counts.iter().map(|count| own.variance(*count)).collect();
        let own_series = Series { values, variances: &own_variances, noise: &own };
        let found = to_the_edge(own_series, part, found, demand);
        if found == part || !is_real(own_series, part, found, demand) {
            continue;
        }
        let ends = [part.from, found.from, found.until, part.until];
        waiting.extend(ends.windows(2).map(|ends| Part { from: ends[0], until: ends[1] }));
        (noise, variances, cuts) = (own, own_variances, with_ends(&cuts, found));
    }
    let parts: Vec<Part> = cuts.windows(2).map(|ends| Part { from: ends[0], until: ends[1] }).collect();
    let series = Series { values, variances: &variances, noise: &noise };
    Some(standing_out(series, joined(series, parts, demand), demand))
}

/// Returns how far one part, whose place is known from elsewhere, is from the rest; none if the series is too short.
pub fn difference(values: &[f64], counts: &[f64], from: usize, until: usize) -> Option<Excursion> {
    let noise = Noise::of(values, counts)?;
    let variances: Vec<f64> = counts.iter().map(|count| noise.variance(*count)).collect();
    let rough = Series { values, variances: &variances, noise: &noise };
    let noise = Noise::of(&without_levels(rough, &[0, from, until, values.len()]), counts)?;
    let variances: Vec<f64> = counts.iter().map(|count| noise.variance(*count)).collect();
    let series = Series { values, variances: &variances, noise: &noise };
    let around = [Part { from: 0, until: from }, Part { from: until, until: values.len() }];
    let (inside, rest) = (level(series, &[Part { from, until }])?, level(series, &around)?);
    let standard_error = standard_error(series, inside, rest);
    let difference = inside.mean - rest.mean;
    let log_chance = log_chance_student(difference / standard_error, noise.degrees_of_freedom);
    Some(Excursion { from, until, difference, standard_error, log_chance })
}

/// Returns all ends of parts, ascending.
fn with_ends(cuts: &[usize], found: Part) -> Vec<usize> {
    let mut cuts = [cuts, &[found.from, found.until]].concat();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Returns the values without the level of the part that each is in; `cuts`: all ends of parts, ascending.
fn without_levels(series: Series, cuts: &[usize]) -> Vec<f64> {
    let parts = cuts.windows(2).map(|ends| Part { from: ends[0], until: ends[1] });
    let residuals = parts.flat_map(|part| {
        let level = level(series, &[part]).map_or(0.0, |level| level.mean);
        series.values[part.from..part.until].iter().map(move |value| value - level)
    });
    residuals.collect()
}

/// Says whether the levels inside and outside differ by as much as is demanded.
fn is_large(series: Series, part: Part, found: Part, demand: &Demand) -> bool {
    let around = [Part { from: part.from, until: found.from }, Part { from: found.until, until: part.until }];
    let levels = level(series, &[found]).zip(level(series, &around));
    levels.is_some_and(|(inside, rest)| (inside.mean - rest.mean).abs() >= demand.difference_min)
}

/// Returns the interval whose level is farthest from the rest of its part, in units of its error.
fn most_different(series: Series, part: Part, steps_min: usize) -> Option<Part> {
    if part.len() < 2 * steps_min {
        return None;
    }
    let sums = Sums::of(series, part);
    let (mut best, mut best_distance) = (None, 0.0);
    let mut consider = |from: usize, until: usize, best: &mut Option<Part>| {
        let distance = sums.distance(from, until);
        let is_better = distance > best_distance;
        if is_better {
            (*best, best_distance) = (Some(Part { from, until }), distance);
        }
        is_better
    };
    let fits = |from: usize, until: usize| {
        let (before, within, after) = (from, until - from, part.len() - until);
        let is_side = |len: usize| len == 0 || len >= steps_min;
        within >= steps_min && is_side(before) && is_side(after) && before + after > 0
    };
    let mut length = steps_min;
    while length <= part.len() - steps_min {
        let stride = (length / STRIDES_PER_LENGTH).max(1);
        let last = part.len() - length;
        for from in (0..last).step_by(stride).chain([last]) {
            if fits(from, from + length) {
                consider(from, from + length, &mut best);
            }
        }
        length = ((length as f64 * LENGTH_RATIO) as usize).max(length + 1);
    }
    let reach = (best?.len() / 3).max(2 * steps_min);
    for _ in 0..ROUNDS_MAX {
        let Part { from, until } = best?;
        let mut moved = false;
        for other in from.saturating_sub(reach)..(from + reach + 1).min(until) {
            moved |= fits(other, until) && consider(other, until, &mut best);
        }
        let Part { from, until } = best?;
        for other in until.saturating_sub(reach).max(from + 1)..(until + reach + 1).min(part.len() + 1) {
            moved |= fits(from, other) && consider(from, other, &mut best);
        }
        if !moved {
            break;
        }
    }
    best.map(|best| Part { from: part.from + best.from, until: part.from + best.until })
}

/// Running sums of one part's clipped values, so that the mean of any interval is two subtractions.
struct Sums {
    weights: Vec<f64>,
    values: Vec<f64>,
}

impl Sums {
    fn of(series: Series, part: Part) -> Sums {
        let center = middle(series, &[part]);
        let (mut weights, mut values) = (vec![0.0], vec![0.0]);
        let (mut weight_sum, mut value_sum) = (0.0, 0.0);
        for index in part.from..part.until {
            let weight = 1.0 / series.variances[index];
            weight_sum += weight;
            value_sum += weight * clipped(series.values[index] - center, series.variances[index]);
            weights.push(weight_sum);
            values.push(value_sum);
        }
        Sums { weights, values }
    }

    /// Returns how far the interval's mean is from that of the rest, in units of its error without memory.
    fn distance(&self, from: usize, until: usize) -> f64 {
        let last = self.weights.len() - 1;
        let weight = self.weights[until] - self.weights[from];
        let value = self.values[until] - self.values[from];
        let (rest_weight, rest_value) = (self.weights[last] - weight, self.values[last] - value);
        (value / weight - rest_value / rest_weight).abs() * (weight * rest_weight / (weight + rest_weight)).sqrt()
    }
}

/// Says whether an interval that was found in a part of the series is there for more than chance, and large enough.
fn is_real(series: Series, part: Part, found: Part, demand: &Demand) -> bool {
    let distance = Sums::of(series, part).distance(found.from - part.from, found.until - part.from);
    let by_clipped = distance / series.noise.long_run.sqrt();
    let around = [Part { from: part.from, until: found.from }, Part { from: found.until, until: part.until }];
    let (Some(inside), Some(rest)) = (level(series, &[found]), level(series, &around)) else { return false };
    let sure = ((inside.mean - rest.mean).abs() - demand.difference_sure) / standard_error(series, inside, rest);
    let shorter = found.len().min(part.len() - found.len());
    let (few, level_of_others) =
        if shorter == found.len() { (&[found][..], rest.mean) } else { (&around[..], inside.mean) };
    let by_nearly_all = distance_of_nearly_all(series, few, level_of_others, part.len());
    let distance = by_clipped.max(by_nearly_all).min(sure.max(0.0));
    let log_chance = log_chance_student(distance, series.noise.degrees_of_freedom);
    log_chance + log_places(series, shorter, demand) < demand.log_chance
}

/// Returns how far nine of ten values of `few` are at least from the level of the others, in units of a mean's error.
///
/// Clipped values count for three sigma, so that a few seconds of a step that is far larger would have to be waited for until
/// they are many. A few bad seconds are not nine of ten; and where values are not beyond the clip, their mean is farther off.
fn distance_of_nearly_all(series: Series, few: &[Part], level_of_others: f64, steps_count: usize) -> f64 {
    let indices = few.iter().flat_map(|part| part.from..part.until);
    let off = |index: usize| (series.values[index] - level_of_others) / series.variances[index].sqrt();
    let mut off: Vec<f64> = indices.map(off).collect();
    off.sort_unstable_by(f64::total_cmp);
    let (Some(last), count) = (off.len().checked_sub(1), off.len() as f64) else { return 0.0 };
    // The same to either side: the nearer end of nine of ten.
    let nearest = off[off.len() / 10].max(-off[last - off.len() / 10]).max(0.0);
    let others_count = steps_count as f64 - count;
    nearest * (count * others_count / steps_count as f64 / series.noise.long_run).sqrt()
}

/// Returns the interval, or a longer one up to the edge of its part where what lies between is not sure to differ from it.
///
/// The best interval ends where chance made the last values lower, and a run's last seconds would be its recovery.
fn to_the_edge(series: Series, part: Part, found: Part, demand: &Demand) -> Part {
    let differs = |side: Part| {
        let Some((side_level, inside)) = level(series, &[side]).zip(level(series, &[found])) else { return false };
        let distance = (side_level.mean - inside.mean).abs() / standard_error(series, side_level, inside);
        let shorter = side.len().min(found.len());
        let log_chance = log_chance_student(distance, series.noise.degrees_of_freedom);
        log_chance + log_places(series, shorter, demand) < CHANCE_OF_EDGE.ln()
    };
    let (before, after) = (Part { until: found.from, ..part }, Part { from: found.until, ..part });
    let from = if differs(before) { found.from } else { part.from };
    let until = if differs(after) { found.until } else { part.until };
    Part { from, until }
}

/// The chance of an end that is none; an end that is missed costs more than for a whole excursion.
const CHANCE_OF_EDGE: f64 = 0.05;

/// Returns the logarithm of how many independent looks an interval of this length is the best of.
fn log_places(series: Series, length: usize, demand: &Demand) -> f64 {
    let count = series.values.len() as f64;
    let lengths = 1.0 + (count / demand.steps_min as f64).ln().max(0.0);
    (PLACES_PER_LENGTH * count / length.max(demand.steps_min) as f64 * lengths).ln()
}

/// Joins neighbours whose levels are alike, the most alike ones first.
fn joined(series: Series, mut parts: Vec<Part>, demand: &Demand) -> Vec<Part> {
    while parts.len() > 1 {
        let levels: Vec<f64> =
            parts.iter().map(|part| level(series, &[*part]).map_or(0.0, |level| level.mean)).collect();
        let steps = levels.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        let Some((index, step)) = steps.enumerate().min_by(|left, right| left.1.total_cmp(&right.1)) else { break };
        if step >= demand.difference_min {
            break;
        }
        parts[index].until = parts[index + 1].until;
        parts.remove(index + 1);
    }
    parts
}

/// Returns the parts whose level is not the usual one.
fn standing_out(series: Series, parts: Vec<Part>, demand: &Demand) -> Vec<Excursion> {
    let parts = if is_warm_up(series, &parts, demand) { &parts[1..] } else { &parts[..] };
    let usual = usual(series, parts, demand);
    let Some(rest) = level(series, &usual) else { return Vec::new() };
    let unusual = parts.iter().filter(|part| !usual.contains(part));
    let found = unusual.filter_map(|part| {
        let inside = level(series, &[*part])?;
        let standard_error = standard_error(series, inside, rest);
        let difference = inside.mean - rest.mean;
        let sure = (difference.abs() - demand.difference_sure).max(0.0) / standard_error;
        let log_chance =
            log_chance_student(sure, series.noise.degrees_of_freedom) + log_places(series, part.len(), demand);
        let is_found = difference.abs() >= demand.difference_min && log_chance < demand.log_chance;
        is_found.then_some(Excursion { from: part.from, until: part.until, difference, standard_error, log_chance })
    });
    found.collect()
}

fn is_warm_up(series: Series, parts: &[Part], demand: &Demand) -> bool {
    let [first, second, ..] = parts else { return false };
    let levels = level(series, &[*first]).zip(level(series, &[*second]));
    first.len() <= demand.warm_up_steps && levels.is_some_and(|(first, second)| first.mean > second.mean)
}

/// Returns the parts at the usual level: that of the first part, unless the run is at another one for more than half of
/// the time and comes back to it.
fn usual(series: Series, parts: &[Part], demand: &Demand) -> Vec<Part> {
    let levels: Vec<f64> = parts.iter().map(|part| level(series, &[*part]).map_or(0.0, |level| level.mean)).collect();
    let alike = |index: usize| -> Vec<Part> {
        let is_alike = |other: &usize| (levels[*other] - levels[index]).abs() < demand.difference_min;
        (0..parts.len()).filter(is_alike).map(|other| parts[other]).collect()
    };
    let steps = |parts: &[Part]| parts.iter().map(|part| part.len()).sum::<usize>();
    let first = alike(0);
    let returning = (1..parts.len()).map(alike).filter(|parts| parts.len() > 1);
    let most = returning.max_by_key(|parts| steps(parts));
    match most {
        Some(most) if 2 * steps(&most) > series.values.len() && steps(&most) > steps(&first) => most,
        _ => first,
    }
}

/// Returns the mean of the parts together, without what lies far from their middle; none of no values.
fn level(series: Series, parts: &[Part]) -> Option<Level> {
    let center = middle(series, parts);
    let (mut weight_sum, mut value_sum) = (0.0, 0.0);
    for index in parts.iter().flat_map(|part| part.from..part.until) {
        let weight = 1.0 / series.variances[index];
        weight_sum += weight;
        value_sum += weight * clipped(series.values[index] - center, series.variances[index]);
    }
    (weight_sum > 0.0).then(|| Level { mean: center + value_sum / weight_sum, weight: weight_sum })
}

fn standard_error(series: Series, left: Level, right: Level) -> f64 {
    (series.noise.long_run * (1.0 / left.weight + 1.0 / right.weight)).sqrt()
}

fn middle(series: Series, parts: &[Part]) -> f64 {
    let mut values: Vec<f64> = parts.iter().flat_map(|part| &series.values[part.from..part.until]).copied().collect();
    noise::middle(&mut values)
}

fn clipped(distance: f64, variance: f64) -> f64 {
    let limit = CLIP * variance.sqrt();
    distance.clamp(-limit, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn demand() -> Demand {
        let (difference_min, difference_sure) = (1.1f64.ln(), 1.05f64.ln());
        Demand { log_chance: 0.02f64.ln(), steps_min: 5, difference_min, difference_sure, warm_up_steps: 10 }
    }

    /// `planted`: from, until and by how much the level is higher. The ends may be `late` steps off.
    fn check(sigma: f64, len: usize, planted: &[(usize, usize, f64)], expected: &[(usize, usize, f64)], late: usize) {
        let mut draws = Draws::seeded(len as u64);
        let mut values: Vec<f64> = (0..len).map(|_| 4.0 + sigma * draws.normal()).collect();
        for (from, until, difference) in planted {
            values[*from..*until].iter_mut().for_each(|value| *value += difference);
        }
        let found = excursions(&values, &vec![1.0; len], &demand()).unwrap();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (from, until, difference)) in found.iter().zip(expected) {
            assert!(found.from.abs_diff(*from) <= late && found.until.abs_diff(*until) <= late, "{found:?}");
            assert!((found.difference - difference).abs() < 4.0 * found.standard_error, "{found:?}");
        }
    }

    #[test]
    fn what_was_planted_is_found() {
        check(0.05, 120, &[], &[], 0);
        check(0.05, 120, &[(80, 120, 0.336)], &[(80, 120, 0.336)], 0);
        check(0.1, 600, &[(300, 480, 1.25)], &[(300, 480, 1.25)], 1);
        check(0.1, 30, &[(12, 22, 1.0)], &[(12, 22, 1.0)], 1);
        check(0.1, 600, &[(100, 160, 0.7), (400, 420, -0.5)], &[(100, 160, 0.7), (400, 420, -0.5)], 1);
        // The run comes back to where it was for most of the time.
        check(0.05, 400, &[(0, 60, 0.5), (200, 260, 0.5)], &[(0, 60, 0.5), (200, 260, 0.5)], 1);
    }

    #[test]
    fn a_large_step_is_found_as_soon_as_it_is_long_enough() {
        // Of many endpoints, and while a run goes on, more is demanded than what values that count for three sigma could show.
        let demand = Demand { log_chance: 1e-5f64.ln(), ..demand() };
        let found = |places: &[usize], difference: f64| {
            let mut draws = Draws::seeded(46);
            let mut values: Vec<f64> = (0..46).map(|_| 4.0 + 0.1 * draws.normal()).collect();
            places.iter().for_each(|place| values[*place] += difference);
            excursions(&values, &[1.0; 46], &demand).unwrap()
        };
        for difference in [1.5, 2.7, -1.5] {
            let found = found(&[41, 42, 43, 44, 45], difference);
            assert!(matches!(found[..], [Excursion { from: 41, until: 46, .. }]), "{difference}: {found:?}");
        }
        assert_eq!(found(&[42, 43, 44, 45], 2.7), []);
        assert_eq!(found(&[40, 41, 43, 44], 2.7), []);
    }

    #[test]
    fn what_is_no_excursion_is_not() {
        // One bad second, too small a shift, a warm-up.
        check(0.05, 120, &[(50, 51, 3.0)], &[], 0);
        check(0.02, 600, &[(200, 400, 0.06)], &[], 0);
        check(0.05, 200, &[(0, 10, 1.0)], &[], 0);
        assert_eq!(excursions(&[1.0; 5], &[1.0; 5], &demand()), None);
        assert_eq!(excursions(&[1.0; 500], &[1.0; 500], &demand()), Some(Vec::new()));
    }

    /// Of 200 series in which nothing happens, 4 may hold an excursion by the demanded chance; more than 9 of them would
    /// do so once in a hundred times.
    #[test]
    fn chance_is_kept_with_memory() {
        let mut draws = Draws::seeded(3);
        let is_found = |memory: f64, len: usize, draws: &mut Draws| {
            let values: Vec<f64> = draws.wandering(memory, len).iter().map(|value| 0.2 * value).collect();
            !excursions(&values, &vec![1.0; len], &demand()).unwrap().is_empty()
        };
        for (memory, len) in [(0.0, 60), (0.5, 120), (0.3, 300)] {
            let found_count = (0..200).filter(|_| is_found(memory, len, &mut draws)).count();
            assert!(found_count <= 9, "{found_count} of 200 with memory {memory} and {len} steps");
        }
    }

    #[test]
    fn a_known_place_is_measured() {
        let mut draws = Draws::seeded(4);
        let mut values: Vec<f64> = (0..200).map(|_| 0.5 * draws.normal()).collect();
        values[100..150].iter_mut().for_each(|value| *value += 0.4);
        let found = difference(&values, &[1.0; 200], 100, 150).unwrap();
        assert!((found.difference - 0.4).abs() < 3.0 * found.standard_error, "{found:?}");
        // Two means of 50 and of 150 values with a sigma of 0.5, and a little for memory that cannot be ruled out.
        let without_memory = 0.5 * (1.0 / 50.0f64 + 1.0 / 150.0).sqrt();
        assert!((1.0..1.4).contains(&(found.standard_error / without_memory)), "{found:?}");
    }
}
