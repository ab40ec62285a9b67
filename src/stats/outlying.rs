//! One of several that goes another way than the others: which, and in which stretch of time.
//!
//! Each sibling is a series of differences to what all of them show together. A stretch is scored by how unlikely its level
//! is beside the middle one of the siblings' levels in it, and pays for each of its ends that lies within the series: an end
//! is one more number that was chosen among all places (Schwarz's criterion, and Bonferroni's bound for the chance).

use augurs::outlier::{MADDetector, OutlierDetector};

use super::noise::{Noise, STEPS_MIN};
use super::robust::median;
use super::significance::log_chance_student;

/// Values beyond three sigma of their middle count as three sigma: single bad blocks are no level.
const CLIP: f64 = 3.0;
/// How far one is from the others, in standard deviations of theirs by the median of absolute deviations.
const DEVIATIONS_MIN: f64 = 3.0;
/// The chance at which a stretch is worth being taken out of the noise.
const CHANCE_TO_SETTLE: f64 = 0.01;
/// The variance of a median of normal data beside that of their mean: pi / 2.
const MEDIAN_VARIANCE: f64 = std::f64::consts::FRAC_PI_2;
/// Others that are closer to each other than this are alike.
const ALIKE: f64 = 1e-9;

/// Some steps that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: usize,
    pub until: usize,
    /// Of all steps.
    pub count: usize,
}

impl Stretch {
    /// Returns the logarithm of how many stretches of its kind there are.
    pub fn log_places(&self) -> f64 {
        let ends = usize::from(self.from > 0) + usize::from(self.until < self.count);
        ends as f64 * (self.count as f64).ln()
    }

    pub fn overlaps(&self, other: &Stretch) -> bool {
        self.from < other.until && other.from < self.until
    }

    /// Returns every stretch of at least `steps_min` of `count` steps.
    pub fn all(count: usize, steps_min: usize) -> impl Iterator<Item = Stretch> {
        (0..count).flat_map(move |from| (from + steps_min..=count).map(move |until| Stretch { from, until, count }))
    }
}

/// One value a step; a step without one has weight 0.
#[derive(Debug, Clone)]
pub struct Weighed {
    values: Vec<f64>,
    counts: Vec<f64>,
    /// One over the variance of each.
    precisions: Vec<f64>,
    noise: Noise,
}

/// A level, how sure it is, and on how much that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub mean: f64,
    pub standard_error: f64,
    pub degrees_of_freedom: f64,
}

impl Weighed {
    /// `rows`: value, and the number of requests that it rests on. None of fewer than `STEPS_MIN` values.
    pub fn of(rows: &[(f64, f64)]) -> Option<Weighed> {
        let (values, counts): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
        let noise = noise(&values, &counts)?;
        Some(Weighed::with(values, counts, noise))
    }

    fn with(values: Vec<f64>, counts: Vec<f64>, noise: Noise) -> Weighed {
        let precision = |count: &f64| if *count > 0.0 { 1.0 / noise.variance(*count) } else { 0.0 };
        let precisions = counts.iter().map(precision).collect();
        Weighed { values, counts, precisions, noise }
    }

    /// Returns it with the noise that is left when a stretch is put to the level of the rest: a step is no noise.
    pub fn settled(&self, stretch: &Stretch) -> Weighed {
        let is_in = |step: usize| (stretch.from..stretch.until).contains(&step);
        let middle = |inside: bool| {
            let steps = (0..self.values.len()).filter(|step| self.counts[*step] > 0.0 && is_in(*step) == inside);
            median(&steps.map(|step| self.values[step]).collect::<Vec<_>>())
        };
        let (inner, outer) = (middle(true), middle(false));
        let off = |(step, value): (usize, &f64)| value - if is_in(step) { inner } else { outer };
        let rest: Vec<f64> = self.values.iter().enumerate().map(off).collect();
        let noise = noise(&rest, &self.counts).unwrap_or(self.noise);
        Weighed::with(self.values.clone(), self.counts.clone(), noise)
    }

    /// Returns the level of a stretch, without what lies far from its middle; none where it has no value.
    pub fn level(&self, stretch: &Stretch) -> Option<Level> {
        let steps = || (stretch.from..stretch.until).filter(|step| self.precisions[*step] > 0.0);
        let middle = median(&steps().map(|step| self.values[step]).collect::<Vec<_>>());
        let (mut weight, mut sum) = (0.0, 0.0);
        for step in steps() {
            let limit = CLIP / self.precisions[step].sqrt();
            weight += self.precisions[step];
            sum += self.precisions[step] * (self.values[step] - middle).clamp(-limit, limit);
        }
        (weight > 0.0).then(|| Level {
            mean: middle + sum / weight,
            standard_error: (self.noise.long_run / weight).sqrt(),
            degrees_of_freedom: self.noise.degrees_of_freedom,
        })
    }

    fn running(&self) -> Vec<(f64, f64)> {
        let mut sums = vec![(0.0, 0.0)];
        for (value, precision) in self.values.iter().zip(&self.precisions) {
            let (weight, sum) = sums[sums.len() - 1];
            sums.push((weight + precision, sum + precision * value));
        }
        sums
    }
}

/// One sibling that is not where the others are.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlying {
    pub sibling: usize,
    pub stretch: Stretch,
    /// To the middle one of the siblings.
    pub difference: f64,
    /// Of its being there by chance, over all siblings and stretches, as a natural logarithm.
    pub log_chance: f64,
}

/// Returns at most one stretch of each sibling in which it lies away from the middle one, by more than `difference_min` and
/// with a smaller chance than `log_chance`.
///
/// `siblings`: as many steps each; three or more, else nothing tells who is usual.
pub fn outlying(siblings: &[Weighed], steps_min: usize, difference_min: f64, log_chance: f64) -> Vec<Outlying> {
    if siblings.len() < 3 {
        return Vec::new();
    }
    // What goes up and comes down again looks like noise with a long memory: most siblings show how much of it there is.
    let of_all = |part: fn(&Noise) -> f64| median(&siblings.iter().map(|one| part(&one.noise)).collect::<Vec<_>>());
    let (of_requests, of_steps) = (of_all(|noise| noise.of_requests), of_all(|noise| noise.of_steps));
    let long_run = of_all(|noise| noise.long_run);
    let calmed = siblings.iter().map(|one| {
        let (of_requests, of_steps) = (one.noise.of_requests.min(of_requests), one.noise.of_steps.min(of_steps));
        let noise = Noise { of_requests, of_steps, long_run: one.noise.long_run.min(long_run), ..one.noise };
        Weighed::with(one.values.clone(), one.counts.clone(), noise)
    });
    let first = farthest(&calmed.collect::<Vec<_>>(), steps_min, difference_min);
    let settled = siblings.iter().zip(&first).map(|(sibling, found)| match found {
        Some(found) if found.log_chance < CHANCE_TO_SETTLE.ln() => sibling.settled(&found.stretch),
        _ => sibling.clone(),
    });
    let found = farthest(&settled.collect::<Vec<_>>(), steps_min, difference_min);
    found.into_iter().flatten().filter(|found| found.log_chance < log_chance).collect()
}

/// Returns for each sibling the stretch in which it is least like the middle one.
fn farthest(siblings: &[Weighed], steps_min: usize, difference_min: f64) -> Vec<Option<Outlying>> {
    let count = siblings.iter().map(|sibling| sibling.values.len()).min().unwrap_or(0);
    let running: Vec<Vec<(f64, f64)>> = siblings.iter().map(Weighed::running).collect();
    let mut best: Vec<Option<(f64, Outlying)>> = vec![None; siblings.len()];
    let mut levels: Vec<(usize, f64, f64)> = Vec::new();
    let by_middle = 1.0 + MEDIAN_VARIANCE / siblings.len() as f64;
    for stretch in Stretch::all(count, steps_min.max(1)) {
        levels.clear();
        for (sibling, running) in running.iter().enumerate() {
            let (before, after) = (running[stretch.from], running[stretch.until]);
            let weight = after.0 - before.0;
            // Rounding leaves a little of nothing.
            if weight > 1e-9 * running[count].0 {
                levels.push((sibling, (after.1 - before.1) / weight, weight));
            }
        }
        let middle = median(&levels.iter().map(|(_, level, _)| *level).collect::<Vec<_>>());
        for (sibling, level, weight) in &levels {
            let difference = level - middle;
            let noise = &siblings[*sibling].noise;
            let squared = difference * difference * weight / (noise.long_run * by_middle);
            let score = 0.5 * squared - stretch.log_places();
            let is_best = best[*sibling].as_ref().is_none_or(|(best, _)| score > *best);
            if difference.abs() >= difference_min && is_best {
                let chance = log_chance_student(squared.sqrt(), noise.degrees_of_freedom);
                let log_chance = chance + stretch.log_places() + (siblings.len() as f64).ln();
                best[*sibling] = Some((score, Outlying { sibling: *sibling, stretch, difference, log_chance }));
            }
        }
    }
    best.into_iter().map(|best| best.map(|(_, found)| found)).collect()
}

fn noise(values: &[f64], counts: &[f64]) -> Option<Noise> {
    let rows = values.iter().zip(counts).filter(|(_, count)| **count > 0.0);
    let (known, counts): (Vec<f64>, Vec<f64>) = rows.map(|(value, count)| (*value, *count)).unzip();
    if known.len() < STEPS_MIN { None } else { Noise::of(&known, &counts) }
}

/// Says whether `own` is far from the `others`, for how far they are from each other: by augurs' detector of outliers by the
/// median of absolute deviations, on either side of the median.
pub fn is_far(own: f64, others: &[f64]) -> bool {
    let (least, most) = others
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), other| (least.min(*other), most.max(*other)));
    if most - least < ALIKE {
        return (own - least).abs() > ALIKE;
    }
    let Ok(medians) = MADDetector::calculate_double_medians(&[others]) else { return false };
    let mut detector = MADDetector::with_threshold(DEVIATIONS_MIN);
    detector.set_medians(medians);
    let detected = detector.preprocess(&[&[own]]).and_then(|scores| detector.detect(&scores));
    detected.is_ok_and(|detected| detected.is_outlier(0))
}

/// Returns a bound on the logarithm of the chance of `events` or more of `trials`, of which `expected` are expected by the
/// share that one of several has in what happens to all: Chernoff's, which holds for any count; 0 where there are no more.
pub fn log_chance_of_more(events: f64, expected: f64, trials: f64) -> f64 {
    if events <= expected || expected <= 0.0 {
        return 0.0;
    }
    let term = |count: f64, expected: f64| if count > 0.0 { count * (count / expected).ln() } else { 0.0 };
    -term(events, expected) - term(trials - events, trials - expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    const COUNT: usize = 60;

    fn siblings(draws: &mut Draws, count: usize, shift: &dyn Fn(usize, usize) -> f64) -> Vec<Weighed> {
        let mut of = |sibling: usize| {
            let wandering = draws.wandering(0.3, COUNT);
            let rows: Vec<(f64, f64)> =
                wandering.iter().enumerate().map(|(step, value)| (0.05 * value + shift(sibling, step), 20.0)).collect();
            Weighed::of(&rows).unwrap()
        };
        (0..count).map(&mut of).collect()
    }

    #[test]
    fn the_one_is_found_with_its_stretch() {
        let mut draws = Draws::seeded(1);
        for _ in 0..20 {
            let since = |sibling: usize, step: usize| if sibling == 2 && step >= 25 { 0.3 } else { 0.0 };
            let found = outlying(&siblings(&mut draws, 4, &since), 3, 0.08, 0.001f64.ln());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].sibling == 2 && found[0].stretch.from.abs_diff(25) <= 2, "{found:?}");
            assert_eq!(found[0].stretch.until, COUNT);
            // All the time, it has no end within the run.
            let always = |sibling: usize, _: usize| if sibling == 0 { -0.3 } else { 0.0 };
            let found = outlying(&siblings(&mut draws, 3, &always), 3, 0.08, 0.001f64.ln());
            assert_eq!((found.len(), found[0].sibling), (1, 0), "{found:?}");
            assert_eq!(found[0].stretch, Stretch { from: 0, until: COUNT, count: COUNT });
        }
    }

    #[test]
    fn those_that_are_alike_are_silent() {
        let mut draws = Draws::seeded(2);
        let loud = (0..300).filter(|round| {
            let siblings = siblings(&mut draws, 3 + round % 8, &|_, _| 0.0);
            !outlying(&siblings, 3, 0.0, 0.005f64.ln()).is_empty()
        });
        let loud_count = loud.count();
        assert!(loud_count <= 5, "{loud_count} of 300");
        assert!(outlying(&siblings(&mut draws, 2, &|sibling, _| sibling as f64), 3, 0.0, -1.0).is_empty());
        assert!(Weighed::of(&[(1.0, 1.0); STEPS_MIN - 1]).is_none());
    }

    #[test]
    fn far_is_beside_how_far_the_others_are_apart() {
        for (own, others, expected) in [
            (0.2, &[0.0, 0.01][..], true),
            (0.2, &[0.0, 0.15], false),
            (0.2, &[0.0, 0.0, 0.0], true),
            (0.3, &[0.0, 0.02, -0.03, 0.01, -0.01, 0.2], true),
            (0.1, &[0.0, 0.06, -0.08, 0.04, -0.05], false),
        ] {
            assert_eq!(is_far(own, others), expected, "{own} beside {others:?}");
        }
    }

    /// Expected values: the binomial tail summed in fractions, Python, `log(sum(F(comb(n, k)) * p**k * (1 - p)**(n - k) for k in
    /// range(events, n + 1)))` with `p = F(expected) / n`; the bound lies above them.
    #[test]
    fn a_bound_is_never_below_the_chance() {
        for (events, expected, trials, exact) in [
            (5.0, 0.5, 5.0, -11.512925464970229),
            (12.0, 4.0, 12.0, -13.183347464017316),
            (30.0, 20.0, 60.0, -5.19341276131269),
        ] {
            let bound = log_chance_of_more(events, expected, trials);
            assert!(bound >= exact - 1e-9 && bound <= 0.6 * exact, "{bound} of {exact}");
        }
        assert_eq!(log_chance_of_more(3.0, 4.0, 9.0), 0.0);
    }
}
