//! Whether the newest run of a test is worse than its history: the step models of one figure, put together and decided.
//!
//! A figure of the tail is its run's median times a shape. What slows a whole run, a busy host above all, moves the median and
//! leaves the shape; so each has its own model (`step`), and a change of the figure is a step of the one or of the other.
//! A step that two runs or more agree on convicts. One bad run is suspect, since hosts have bad days; by itself it convicts
//! only beyond any bad run that such histories show.

use super::robust::median;
use super::run_statistic::RunStatistic;
use super::shrink::DeviationPrior;
use super::significance::log_chance_student;
use super::step::{Drift, Effects, Fit, NoiseWeight, Prior, STEP_RUNS_MAX, drift, fit, reach};

/// A step is a priori as likely as one in ten runs being judged while a change is among the newest ones.
pub(super) const STEP_PRIOR: f64 = 0.10;
const DRIFT_PRIOR: f64 = 0.10;
/// Of the steps of a tail's figure, those that leave the median where it was.
const SHAPE_PART: f64 = 0.5;
/// Part of runs that are bad ones, as a whole and in their shape only.
const BAD_RATE: f64 = 0.05;
const BAD_SHAPE_RATE: f64 = 0.03;
/// A smaller step is none that anyone would act on: ln of +3 %.
const MARGIN: f64 = 0.03;
/// A sustained step convicts when it is likelier than all else together. On simulated histories fewer than one unchanged series
/// in 200 is convicted so.
pub const CONVICTION: f64 = 0.5;
/// From this probability on that the newest run is a bad one or the first of a step, it is suspect.
pub const SUSPICION: f64 = 0.5;
/// Or if one more run like those before is as far off by this chance.
const SUSPICION_CHANCE: f64 = 0.002;
/// From this probability on, a drift is reported.
pub const DRIFTING: f64 = 0.9;
/// An unchanged history may convict by a jump of its newest run this often.
const JUMP_CHANCE: f64 = 0.0005;
/// Bad runs are at most this much slower, as ln: where the belief about them ends (+100 %).
const BAD_RUN_MAX: f64 = 0.7;

/// Of simulated unchanged histories 2 in 1,000 score above even odds of a step; half as many again, since true ones may be
/// wilder.
const CHANCE_OF_EVEN_ODDS: f64 = 0.003;

/// What the middle of a series says, which is the same for all figures of its tail.
#[derive(Debug)]
pub struct Level<'r> {
    runs: &'r [RunStatistic],
    fit: Fit,
    drift: Drift,
    reach: f64,
}

impl Level<'_> {
    /// `runs`: ln of the median, oldest first, larger is worse. `shapes`: all that it will be judged with.
    ///
    /// None of fewer than three runs, and where `step::fit` gives none.
    pub fn of<'r>(runs: &'r [RunStatistic], shapes: &[&[RunStatistic]], belief: DeviationPrior) -> Option<Level<'r>> {
        let reach = shapes.iter().fold(reach(runs), |most, shape| most.max(reach(shape)));
        let prior = Prior { deviation: belief, bad_rate: BAD_RATE };
        Some(Level { runs, fit: fit(runs, prior, reach)?, drift: drift(runs, prior)?, reach })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub decision: Decision,
    /// ln of the odds of a step upwards: larger is surer.
    pub score: f64,
    /// Probability of a step upwards that two runs or more agree on.
    pub sustained: f64,
    /// Count of runs since the likeliest step upwards, the newest included.
    pub runs_since: usize,
    /// Of each count of runs since a step upwards, from 1 on: its probability.
    pub onsets: Vec<f64>,
    /// Difference of ln between the newest runs and the history, if there is a step: median and 95 % credible interval.
    pub effect: f64,
    pub low: f64,
    pub high: f64,
    /// How far the newest run alone is off the level of those before, and the standard deviation of what that says of a change:
    /// its own error, and by how much runs differ by themselves.
    pub departure: f64,
    pub departure_deviation: f64,
    /// Of one more run like those before being as far off as the newest.
    pub chance_of_newest: f64,
    /// Probability that nothing has changed.
    pub unchanged: f64,
    /// Probability that the newest run alone is off: a bad one, or the first of a step.
    pub newest_is_off: f64,
    pub drift: Drift,
    pub drift_probability: f64,
    /// Of the level between runs, for `power`.
    pub noise: Vec<NoiseWeight>,
}

/// Odds are a multiple of the ratio of two likelihoods, which exceeds c with a chance of at most 1 / c where the hypothesis in
/// the denominator is true (Markov's inequality): so chances fall as odds rise.
impl Judgement {
    /// Returns the chance that an unchanged history is judged to have stepped as surely.
    pub fn p_value(&self) -> f64 {
        let by_odds = (CHANCE_OF_EVEN_ODDS * (-self.score).exp()).min(1.0);
        if self.decision == Decision::Jumped { by_odds.min(JUMP_CHANCE) } else { by_odds }
    }

    /// Returns the fewest and the most runs since the step, if there is one, that together hold it with that probability.
    pub fn began_within(&self, probability: f64) -> Option<(usize, usize)> {
        let mut likeliest: Vec<usize> = (0..self.onsets.len()).collect();
        likeliest.sort_by(|left, right| self.onsets[*right].total_cmp(&self.onsets[*left]));
        let sum: f64 = self.onsets.iter().sum();
        let mut held = 0.0;
        let needed = likeliest.iter().take_while(|onset| {
            let is_needed = held < probability * sum;
            held += self.onsets[**onset];
            is_needed
        });
        let needed: Vec<usize> = needed.map(|onset| onset + 1).collect();
        Some((*needed.iter().min()?, *needed.iter().max()?))
    }

    /// Returns the chance that an unchanged history is judged to drift as surely.
    pub fn p_value_of_drift(&self) -> f64 {
        (CHANCE_OF_EVEN_ODDS * (1.0 - self.drift_probability) / self.drift_probability.max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// Returns the chance that a run like those before is judged to be off as surely.
    pub fn p_value_of_newest(&self) -> f64 {
        let prior = BAD_RATE + STEP_PRIOR / STEP_RUNS_MAX as f64;
        let by_odds = prior * (1.0 - self.newest_is_off) / self.newest_is_off.max(f64::MIN_POSITIVE);
        by_odds.min(self.chance_of_newest).min(1.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Unchanged,
    /// The newest run alone stands out: another one would tell.
    Suspect,
    /// A step that two runs or more agree on.
    Regressed,
    /// One run, farther off than any bad run of such histories.
    Jumped,
}

/// Judges the newest run: its median, or another figure by its `shape`, that figure's ln less that of the median, of the same
/// runs. A shape of other runs than `level`'s is not looked at.
pub fn judge(level: &Level, shape: Option<&[RunStatistic]>, belief: DeviationPrior) -> Judgement {
    let Level { runs, fit: by_level, drift, reach } = level;
    let shape_prior = Prior { deviation: belief, bad_rate: BAD_SHAPE_RATE };
    let by_shape = shape.filter(|shape| shape.len() == runs.len()).and_then(|shape| fit(shape, shape_prior, *reach));
    let hypotheses = Hypotheses::of(by_level, drift, by_shape.as_ref());
    let Onsets { upwards, effects } = hypotheses.onsets(by_level, by_shape.as_ref(), *reach);
    let probability: f64 = upwards.iter().sum();
    let sustained: f64 = upwards[1..].iter().sum();
    let is_higher = runs.last().is_some_and(|newest| newest.value > by_level.level);
    let newest_is_bad = if is_higher { hypotheses.unchanged * by_level.newest_is_bad } else { 0.0 };
    let newest_is_off = (upwards[0] + newest_is_bad).min(1.0);
    let mut departures = vec![departure(runs, by_level)];
    departures.extend(shape.zip(by_shape.as_ref()).map(|(shape, fit)| departure(shape, fit)));
    let off: f64 = departures.iter().map(|(off, _)| off).sum();
    let deviation = departures.iter().map(|(_, variance)| variance).sum::<f64>().sqrt();
    // Of the history and of what is believed beforehand, as in the live looks: what is told while a run goes on stands at its end.
    let degrees_of_freedom = runs.len() as f64;
    let chance_of_newest = if off > 0.0 { log_chance_student(off / deviation, degrees_of_freedom).exp() } else { 1.0 };
    let decision = if sustained > CONVICTION {
        Decision::Regressed
    } else if is_beyond_bad_runs(runs) {
        Decision::Jumped
    } else if newest_is_off > SUSPICION || probability > CONVICTION || chance_of_newest <= SUSPICION_CHANCE {
        Decision::Suspect
    } else {
        Decision::Unchanged
    };
    let runs_since = (1..=upwards.len()).max_by(|left, right| upwards[left - 1].total_cmp(&upwards[right - 1]));
    Judgement {
        decision,
        score: (probability.max(f64::MIN_POSITIVE) / (1.0 - probability).max(1e-15)).ln(),
        sustained,
        runs_since: runs_since.unwrap_or(1),
        onsets: upwards,
        effect: effects.quantile(0.5),
        low: effects.quantile(0.025),
        high: effects.quantile(0.975),
        departure: off,
        departure_deviation: deviation,
        chance_of_newest,
        unchanged: hypotheses.unchanged,
        newest_is_off,
        drift: *drift,
        drift_probability: hypotheses.drift,
        noise: by_level.noise.clone(),
    }
}

/// Returns how far the newest run is off the level of those before, and the variance of that as a change.
fn departure(runs: &[RunStatistic], fit: &Fit) -> (f64, f64) {
    let Some((newest, before)) = runs.split_last() else { return (0.0, 0.0) };
    let between: f64 = fit.noise.iter().map(|noise| noise.weight * noise.deviation.powi(2)).sum();
    let of_level = between / before.len().max(1) as f64;
    (newest.value - fit.level, between + of_level + newest.standard_error.powi(2))
}

/// Posterior probabilities of all that may have happened; steps by the count of runs since, from 1 on.
struct Hypotheses {
    unchanged: f64,
    drift: f64,
    level_steps: Vec<f64>,
    shape_steps: Vec<f64>,
}

struct Onsets {
    upwards: Vec<f64>,
    /// Of all steps.
    effects: Effects,
}

impl Hypotheses {
    fn of(level: &Fit, drift: &Drift, shape: Option<&Fit>) -> Hypotheses {
        let steps_count = level.steps.len() as f64;
        let shape_part = if shape.is_some() { SHAPE_PART } else { 0.0 };
        let shape_unchanged = shape.map_or(0.0, |shape| shape.unchanged);
        let unchanged = (1.0 - STEP_PRIOR - DRIFT_PRIOR).ln() + level.unchanged + shape_unchanged;
        let drift = DRIFT_PRIOR.ln() + drift.evidence + shape_unchanged;
        let by_level = (STEP_PRIOR * (1.0 - shape_part) / steps_count).ln() + shape_unchanged;
        let by_shape = (STEP_PRIOR * shape_part / steps_count).ln() + level.unchanged;
        let level_steps: Vec<f64> = level.steps.iter().map(|step| by_level + step.evidence).collect();
        let shape_steps: Vec<f64> =
            shape.into_iter().flat_map(|shape| &shape.steps).map(|step| by_shape + step.evidence).collect();
        let all = || [unchanged, drift].into_iter().chain(level_steps.iter().chain(&shape_steps).copied());
        // The largest is taken out, so that no exponential overflows.
        let largest = all().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = all().map(|log| (log - largest).exp()).sum();
        let probability = |log: &f64| (log - largest).exp() / sum;
        Hypotheses {
            unchanged: probability(&unchanged),
            drift: probability(&drift),
            level_steps: level_steps.iter().map(probability).collect(),
            shape_steps: shape_steps.iter().map(probability).collect(),
        }
    }

    fn onsets(&self, level: &Fit, shape: Option<&Fit>, reach: f64) -> Onsets {
        let mut effects = Effects::none(reach);
        let mut upwards = vec![0.0; level.steps.len()];
        let of_level = self.level_steps.iter().zip(&level.steps).enumerate();
        let of_shape = self.shape_steps.iter().zip(shape.into_iter().flat_map(|shape| &shape.steps)).enumerate();
        for (index, (probability, step)) in of_level.chain(of_shape) {
            effects.add(&step.effects, *probability);
            upwards[index] += probability * step.effects.above(MARGIN);
        }
        Onsets { upwards, effects }
    }
}

/// Says whether the newest run lies above all others by more than bad runs do.
///
/// Of n exchangeable runs the newest is the farthest off with chance 1/n, and beyond c times the farthest other one with chance
/// c^-4 / n when tails fall with the fourth power, as heavy as noise between runs was ever taken to be here. So c is
/// (n JUMP_CHANCE)^(-1/4); and no jump counts that a single bad run could be.
fn is_beyond_bad_runs(level: &[RunStatistic]) -> bool {
    let Some((newest, history)) = level.split_last() else { return false };
    let middle = median(&history.iter().map(|run| run.value).collect::<Vec<f64>>());
    let farthest = history.iter().map(|run| (run.value - middle).abs()).fold(0.0, f64::max);
    let times = (level.len() as f64 * JUMP_CHANCE).powf(-0.25).max(1.0);
    newest.value - middle > (BAD_RUN_MAX + farthest).max(times * farthest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Vec<RunStatistic> {
        values.iter().map(|value| RunStatistic { value: *value, standard_error: 0.01 }).collect()
    }

    fn judge(level: &[RunStatistic], shape: Option<&[RunStatistic]>) -> Option<Judgement> {
        let shapes: Vec<&[RunStatistic]> = shape.into_iter().collect();
        let level = Level::of(level, &shapes, DeviationPrior::LEVEL)?;
        Some(super::judge(&level, shape, DeviationPrior::SHAPE))
    }

    fn judged(values: &[f64]) -> Judgement {
        judge(&runs(values), None).unwrap()
    }

    /// Expected values: `python tests/independent/step.py write 1000`, which integrates the same model by other numerics.
    #[test]
    fn a_large_step_is_dated_to_its_run_and_a_small_one_to_several() {
        let since = |step: f64| {
            let noise = [0.02, -0.02, 0.0, 0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01];
            let value = |(run, noise): (usize, &f64)| noise + if run < 7 { 0.0 } else { step };
            let judged = judged(&noise.iter().enumerate().map(value).collect::<Vec<f64>>());
            judged.began_within(0.95).unwrap()
        };
        assert_eq!(since(0.4), (3, 3));
        let (least, most) = since(0.05);
        assert!(least <= 3 && most >= 3 && least < most, "{least} to {most}");
    }

    #[test]
    fn a_run_alone_says_how_far_it_is_off() {
        let judged = judged(&[0.02, -0.02, 0.0, 0.01, -0.01, 0.02, -0.02, 0.0, 0.3]);
        assert_eq!(judged.decision, Decision::Suspect);
        assert!((judged.departure - 0.3).abs() < 1e-12, "{judged:?}");
        assert!((0.015..0.06).contains(&judged.departure_deviation), "{judged:?}");
    }

    #[test]
    fn an_independent_implementation_agrees_on_a_thousand_cases() {
        // Three runs, one of them off by half: only there are no change and a drift, which is none of three runs, told apart worse.
        const TOLERANCES: [f64; 4] = [0.1, 0.1, 0.03, 0.02];
        let (mut count, mut farthest, mut far_effects) = (0, 0.0_f64, 0);
        for line in include_str!("../../tests/independent/step.csv").lines() {
            let (values, numbers) = line.split_once(',').unwrap();
            let numbers: Vec<f64> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
            let run = |value: &str| RunStatistic { value: value.parse().unwrap(), standard_error: numbers[0] };
            let level: Vec<RunStatistic> = values.split(' ').map(run).collect();
            let judgement = judge(&level, None).unwrap();
            let found = [judgement.unchanged, judgement.drift_probability, judgement.onsets[0], judgement.sustained];
            for ((found, expected), tolerance) in found.iter().zip(&numbers[1..5]).zip(TOLERANCES) {
                farthest = farthest.max((found - expected).abs());
                assert!((found - expected).abs() < tolerance, "{found}, not {expected}: {line}");
            }
            let found = [judgement.effect, judgement.low, judgement.high];
            far_effects +=
                found.iter().zip(&numbers[5..8]).filter(|(found, expected)| (*found - *expected).abs() > 0.01).count();
            count += 1;
        }
        println!("farthest probability {farthest}, effects off by more than a per cent {far_effects} of {}", 3 * count);
        assert_eq!(count, 1000);
        // Where two onsets are as likely, an end of the interval may fall into the gap between their effects.
        assert!(far_effects < 150, "{far_effects}");
    }

    #[test]
    fn a_step_that_two_runs_agree_on_convicts_and_one_bad_run_is_suspect() {
        let history = [0.01, -0.02, 0.0, 0.02, -0.01, 0.015, -0.005, 0.01, -0.015, 0.0];
        let with = |newest: &[f64]| judged(&[&history[..], newest].concat());
        assert_eq!(with(&[0.01]).decision, Decision::Unchanged);
        let stepped = with(&[0.15, 0.17, 0.16]);
        assert_eq!((stepped.decision, stepped.runs_since), (Decision::Regressed, 3));
        assert!(stepped.low > 0.1 && stepped.effect < 0.17 && stepped.high < 0.22, "{stepped:?}");
        assert_eq!(with(&[0.3]).decision, Decision::Suspect);
        assert_eq!(with(&[0.3, 0.0]).decision, Decision::Unchanged);
        assert_eq!(with(&[1.0]).decision, Decision::Jumped);
        assert_eq!(with(&[-0.15, -0.17, -0.16]).decision, Decision::Unchanged);
    }

    #[test]
    fn a_jump_convicts_only_beyond_what_the_history_has_shown() {
        let mut history = vec![0.0; 10];
        history[4] = 0.5;
        history.push(1.0);
        assert_eq!(judged(&history).decision, Decision::Suspect);
    }

    #[test]
    fn a_tail_that_grows_where_the_median_stays_is_a_step_of_the_shape() {
        let level = runs(&[0.1, -0.1, 0.0, 0.08, -0.06, 0.02, 0.0, -0.1, 0.1, 0.03]);
        let shape = runs(&[1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0, 1.12, 1.11, 1.13]);
        let judgement = judge(&level, Some(&shape)).unwrap();
        assert_eq!((judgement.decision, judgement.runs_since), (Decision::Regressed, 3));
        assert!((judgement.effect - 0.12).abs() < 0.01, "{judgement:?}");
        assert_eq!(judge(&level, None).unwrap().decision, Decision::Unchanged);
    }

    /// Drawn by hand: 1 % a run, while neighbours differ by 2 %.
    #[test]
    fn a_slow_drift_is_seen_although_no_two_neighbours_differ() {
        let values: Vec<f64> =
            (0..20).map(|run| 0.01 * f64::from(run) + [0.01, -0.012, 0.0, 0.008][run as usize % 4]).collect();
        let judgement = judged(&values);
        assert!(judgement.drift_probability > DRIFTING, "{judgement:?}");
        assert!((judgement.drift.change - 0.19).abs() < 2.0 * judgement.drift.deviation, "{judgement:?}");
    }

    #[test]
    fn edges_give_figures_or_none() {
        let long: Vec<f64> = (0..10_000).map(|run| f64::from(run % 7) * 0.01).collect();
        let wild: Vec<f64> = (0..100).map(|run| if run % 2 == 0 { 700.0 } else { -700.0 }).collect();
        let cases: [&[f64]; 9] = [
            &[],
            &[1.0],
            &[1.0, 1.0],
            &[f64::NAN; 9],
            &[1.0, 2.0, f64::INFINITY],
            &[0.0; 9],
            &[0.0, 0.0, 700.0],
            &long,
            &wild,
        ];
        for values in cases {
            let Some(judgement) = judge(&runs(values), Some(&runs(values))) else { continue };
            let Judgement { score, sustained, effect, low, high, unchanged, drift, .. } = judgement;
            let figures = [score, sustained, effect, low, high, unchanged, drift.change, drift.deviation];
            assert!(figures.iter().all(|figure| figure.is_finite()) && low <= effect && effect <= high, "{figures:?}");
        }
        for shape in [[f64::INFINITY; 9], [f64::NAN; 9]] {
            let judgement = judge(&runs(&[0.0; 9]), Some(&runs(&shape))).unwrap();
            assert!(judgement.low.is_finite() && judgement.high.is_finite(), "{judgement:?}");
        }
        assert_eq!(judge(&runs(&[1.0, 1.0]), None), None);
        assert!(judge(&runs(&[0.0; 9]), None).is_some());
        assert!(judge(&runs(&long), Some(&runs(&[0.0; 5]))).is_some());
    }
}
