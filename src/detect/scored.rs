//! How good verdicts on labelled cases are, by the measures that the collections of cases define.
//!
//! - Histories: shares of cases; found "at 5 % false alarms" means beyond the score that 5 % of the unchanged cases exceed.
//! - Change points: van den Burg and Williams, "An Evaluation of Change Point Detection Algorithms" (arXiv:2003.06222):
//!   F1 with a margin of 5 and covering, each against several annotators.
//! - Anomalies: the standard profile of Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta
//!   Anomaly Benchmark" (arXiv:1510.03336), at the detector's own decisions; and the F1 of whole alarms.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::model::score::Score;
use crate::stats::quantile::of_sorted;

use super::labelled::{AnomalyVerdict, ChangePointVerdict, LookingVerdict, RegressionVerdict};

/// What is true of a history.
#[derive(Debug, Deserialize)]
pub struct RegressionTruth {
    pub id: String,
    /// new / old - 1 of the newest runs; 0: nothing changed.
    pub shift: f64,
    /// Over the whole history: no step, and no interval of one can be right or wrong.
    pub drift: f64,
}

/// Scores verdicts on histories; a case without one counts as "no regression".
pub fn regression(truths: &[RegressionTruth], verdicts: &[RegressionVerdict]) -> Vec<Score> {
    let verdicts: HashMap<&str, &RegressionVerdict> =
        verdicts.iter().map(|verdict| (verdict.id.as_str(), verdict)).collect();
    let of = |shift: f64| {
        let cases = truths.iter().filter(move |truth| truth.shift == shift);
        cases.map(|truth| verdicts.get(truth.id.as_str()).copied())
    };
    let called = |shift: f64| share(of(shift).map(|verdict| verdict.is_some_and(|verdict| verdict.regression)));
    let mut unchanged: Vec<f64> = of(0.0).filter_map(|verdict| verdict?.score).collect();
    unchanged.sort_by(f64::total_cmp);
    let limit = of_sorted(&unchanged, 0.95);
    let beyond = limit.and_then(|limit| share(of(0.1).filter_map(|verdict| Some(verdict?.score? > limit))));
    let holds = truths.iter().filter(|truth| truth.drift == 0.0).filter_map(|truth| {
        let [low, high] = verdicts.get(truth.id.as_str())?.ci?;
        Some((low..=high).contains(&truth.shift))
    });
    vec![
        Score { name: "false alarms at our defaults", value: called(0.0), decimals: 3 },
        Score { name: "+10 % found, all set to 5 % false alarms", value: beyond, decimals: 2 },
        Score { name: "+10 % found at our defaults", value: called(0.1), decimals: 2 },
        Score { name: "+20 % found at our defaults", value: called(0.2), decimals: 2 },
        Score { name: "95 % intervals that hold the true effect", value: share(holds), decimals: 2 },
    ]
}

/// What is true of a run that is looked at while it goes on.
#[derive(Debug, Deserialize)]
pub struct LookingTruth {
    pub id: String,
    /// new / old - 1 from the run's start on; 0: nothing changed.
    pub shift: f64,
}

/// Scores looks; a case without a verdict counts as "no alarm".
pub fn looking(truths: &[LookingTruth], verdicts: &[LookingVerdict]) -> Vec<Score> {
    let verdicts: HashMap<&str, &LookingVerdict> =
        verdicts.iter().map(|verdict| (verdict.id.as_str(), verdict)).collect();
    let alarmed = |shift: f64| {
        let cases = truths.iter().filter(move |truth| truth.shift == shift);
        share(cases.map(|truth| verdicts.get(truth.id.as_str()).is_some_and(|verdict| verdict.alarm_at.is_some())))
    };
    vec![
        Score { name: "false alarms over 60 looks", value: alarmed(0.0), decimals: 3 },
        Score { name: "+20 % found", value: alarmed(0.2), decimals: 3 },
        Score { name: "+10 % found", value: alarmed(0.1), decimals: 2 },
    ]
}

fn share(cases: impl Iterator<Item = bool>) -> Option<f64> {
    let (mut yes, mut all) = (0.0, 0.0);
    for case in cases {
        yes += f64::from(u8::from(case));
        all += 1.0;
    }
    (all > 0.0).then_some(yes / all)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then_some(sum / count)
}

/// Where people see changes in a series.
#[derive(Debug, Clone, Deserialize)]
pub struct ChangePointTruth {
    pub id: String,
    /// By annotator: index of the first value of each new regime.
    pub annotations: Vec<Vec<usize>>,
    /// Values of the series.
    pub values_count: usize,
}

/// Scores change points; a series without a verdict counts as one without a change.
pub fn change_points(truths: &[ChangePointTruth], verdicts: &[ChangePointVerdict]) -> Vec<Score> {
    let verdicts: HashMap<&str, &[usize]> =
        verdicts.iter().map(|verdict| (verdict.id.as_str(), verdict.change_points.as_slice())).collect();
    let of = |truth: &ChangePointTruth| verdicts.get(truth.id.as_str()).copied().unwrap_or_default();
    let f1s = truths.iter().map(|truth| f1(&truth.annotations, of(truth)));
    let coverings = truths.iter().map(|truth| covering(&truth.annotations, of(truth), truth.values_count));
    vec![
        Score { name: "F1", value: mean(f1s), decimals: 2 },
        Score { name: "covering", value: mean(coverings), decimals: 2 },
    ]
}

/// A change that is told within so many values of an annotated one is right.
const MARGIN: usize = 5;

/// Returns the harmonic mean of the precision against all annotators together and the recall averaged over them.
fn f1(annotators: &[Vec<usize>], told: &[usize]) -> f64 {
    // The start of the series is a change that everybody knows.
    let with_start = |places: &[usize]| -> BTreeSet<usize> { places.iter().copied().chain([0]).collect() };
    let told = with_start(told);
    let each: Vec<BTreeSet<usize>> = annotators.iter().map(|places| with_start(places)).collect();
    let all: BTreeSet<usize> = each.iter().flatten().copied().collect();
    let precision = matches(&all, &told) as f64 / told.len() as f64;
    let recalls = each.iter().map(|places| matches(places, &told) as f64 / places.len() as f64);
    let recall = mean(recalls).unwrap_or(0.0);
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// Counts the true places that have a told one of their own within the margin.
fn matches(truth: &BTreeSet<usize>, told: &BTreeSet<usize>) -> usize {
    let mut free = told.clone();
    let mut count = 0;
    for place in truth {
        let near = free.range(place.saturating_sub(MARGIN)..=place + MARGIN).copied();
        if let Some(nearest) = near.min_by_key(|near| (near.abs_diff(*place), *near)) {
            free.remove(&nearest);
            count += 1;
        }
    }
    count
}

/// Returns how well the told segments cover the annotated ones, weighted by length and averaged over annotators.
fn covering(annotators: &[Vec<usize>], told: &[usize], values_count: usize) -> f64 {
    let told = segments(told, values_count);
    let of_annotator = |places: &Vec<usize>| {
        let covered = segments(places, values_count).into_iter().map(|(from, until)| {
            let likeness = |(other_from, other_until): &(usize, usize)| {
                let shared = until.min(*other_until).saturating_sub(from.max(*other_from)) as f64;
                shared / ((until - from + other_until - other_from) as f64 - shared)
            };
            (until - from) as f64 * told.iter().map(likeness).fold(0.0, f64::max)
        });
        covered.sum::<f64>() / values_count as f64
    };
    mean(annotators.iter().map(of_annotator)).unwrap_or(0.0)
}

fn segments(places: &[usize], values_count: usize) -> Vec<(usize, usize)> {
    let inner: BTreeSet<usize> = places.iter().copied().filter(|place| (1..values_count).contains(place)).collect();
    let starts = std::iter::once(0).chain(inner.iter().copied());
    starts.zip(inner.iter().copied().chain([values_count])).collect()
}

/// Where a stream is not as usual.
#[derive(Debug, Clone, Deserialize)]
pub struct AnomalyTruth {
    pub id: String,
    /// First and last place of each window, ascending.
    pub windows: Vec<[usize; 2]>,
    /// Values of the stream.
    pub values_count: usize,
}

/// Scores alarms; a stream without a verdict counts as silent.
pub fn anomalies(truths: &[AnomalyTruth], verdicts: &[AnomalyVerdict]) -> Vec<Score> {
    let verdicts: HashMap<&str, &[usize]> =
        verdicts.iter().map(|verdict| (verdict.id.as_str(), verdict.anomalies.as_slice())).collect();
    let (mut raw, mut windows_count) = (0.0, 0.0);
    let mut alarms = Alarms::default();
    for truth in truths {
        let places = verdicts.get(truth.id.as_str()).copied().unwrap_or_default();
        let judged: Vec<usize> = places.iter().copied().filter(|place| *place >= truth.probation()).collect();
        raw += truth.raw_score(&judged);
        windows_count += truth.judged_windows().count() as f64;
        alarms.add(truth, &judged);
    }
    // 0 is the silent detector, 100 the perfect one.
    let standard = (windows_count > 0.0).then(|| 100.0 * (raw + windows_count) / (2.0 * windows_count));
    vec![
        Score { name: "NAB standard score", value: standard, decimals: 1 },
        Score { name: "event F1", value: alarms.f1(), decimals: 2 },
    ]
}

/// What an alarm outside of every window costs where it is not just behind one, in the standard profile.
const FALSE_ALARM_COST: f64 = 0.11;

impl AnomalyTruth {
    /// Detectors may learn from the first 15 %, and from no more than 750 values.
    fn probation(&self) -> usize {
        (self.values_count * 15 / 100).min(750)
    }

    fn judged_windows(&self) -> impl Iterator<Item = [usize; 2]> {
        self.windows.iter().copied().filter(|window| window[1] >= self.probation())
    }

    fn window_of(&self, place: usize) -> Option<usize> {
        self.windows.iter().position(|[from, until]| (*from..=*until).contains(&place))
    }

    /// Each window gives what its best alarm is worth, or costs 1; each alarm outside costs by how far it is behind a window.
    fn raw_score(&self, alarms: &[usize]) -> f64 {
        let mut best: BTreeMap<usize, f64> = BTreeMap::new();
        let mut outside = 0.0;
        for place in alarms {
            match self.window_of(*place) {
                Some(window) => {
                    let [from, until] = self.windows[window];
                    let width = (until - from + 1) as f64;
                    // The first place of a window is worth 1.
                    let worth = sigmoid(-((until - place + 1) as f64) / width) / sigmoid(-1.0);
                    let known = best.entry(window).or_insert(-1.0);
                    *known = known.max(worth);
                }
                None => {
                    let before = self.windows.iter().rev().find(|[_, until]| until < place);
                    let weight = before
                        .map_or(-1.0, |[from, until]| sigmoid((place - until) as f64 / ((until - from).max(1)) as f64));
                    outside += FALSE_ALARM_COST * weight;
                }
            }
        }
        let missed = self.judged_windows().count() as f64 - best.len() as f64;
        best.values().sum::<f64>() - missed + outside
    }
}

/// The scaled sigmoid of the paper: 1 far to the left, -1 far to the right.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// Alarms closer to each other than 1 % of a stream are one.
#[derive(Debug, Default)]
struct Alarms {
    count: f64,
    right_count: f64,
    windows_count: f64,
    found_count: f64,
}

impl Alarms {
    /// `alarms`: ascending.
    fn add(&mut self, truth: &AnomalyTruth, alarms: &[usize]) {
        let gap = (truth.values_count / 100).max(1);
        for alarm in alarms.chunk_by(|left, right| right - left <= gap) {
            self.count += 1.0;
            self.right_count += f64::from(u8::from(alarm.iter().any(|place| truth.window_of(*place).is_some())));
        }
        for [from, until] in truth.judged_windows() {
            self.windows_count += 1.0;
            self.found_count += f64::from(u8::from(alarms.iter().any(|place| (from..=until).contains(place))));
        }
    }

    fn f1(&self) -> Option<f64> {
        let (precision, recall) = (self.right_count / self.count.max(1.0), self.found_count / self.windows_count);
        (self.windows_count > 0.0 && precision + recall > 0.0).then(|| 2.0 * precision * recall / (precision + recall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of the metrics' doctests in the benchmark's own repository.
    #[test]
    fn f1_and_covering_are_those_of_the_benchmark() {
        let check = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        check(f1(&[vec![10, 20], vec![11, 20], vec![10], vec![0, 5]], &[10, 20]), 1.0);
        check(f1(&[vec![], vec![10], vec![50]], &[10]), 0.909_090_909_090_909_1);
        check(f1(&[vec![], vec![10], vec![50]], &[]), 0.8);
        check(covering(&[vec![10, 20], vec![10], vec![0, 5]], &[10, 20], 45), 0.796_296_296_296_296_3);
        check(covering(&[vec![], vec![10], vec![40]], &[10], 45), 0.795_414_462_081_112_8);
        check(covering(&[vec![], vec![10], vec![40]], &[], 45), 0.818_930_041_152_263_4);
    }

    fn stream_scores(windows: &[[usize; 2]], anomalies: &[usize]) -> [Option<f64>; 2] {
        let truth = AnomalyTruth { id: "a".to_owned(), windows: windows.to_vec(), values_count: 1000 };
        let verdict = AnomalyVerdict { id: "a".to_owned(), anomalies: anomalies.to_vec(), scores: Vec::new() };
        let scores = self::anomalies(&[truth], &[verdict]);
        [scores[0].value, scores[1].value]
    }

    #[test]
    fn a_perfect_detector_has_100_and_a_silent_one_0() {
        let windows = [[300, 349], [600, 649]];
        assert_eq!(stream_scores(&windows, &[300, 600]), [Some(100.0), Some(1.0)]);
        assert_eq!(stream_scores(&windows, &[]), [Some(0.0), None]);
        // Within the probation of 150 values nothing counts.
        assert_eq!(stream_scores(&windows, &[20, 300, 600]), [Some(100.0), Some(1.0)]);
        // An alarm far from every window costs 0.11 of the 2 x 2 between silent and perfect.
        let [standard, events] = stream_scores(&windows, &[200, 300, 600]);
        assert!((standard.unwrap() - (100.0 - 100.0 * 0.11 / 4.0)).abs() < 1e-9, "{standard:?}");
        assert_eq!(events, Some(0.8));
        // Half the windows found at their start.
        assert_eq!(stream_scores(&windows, &[300])[0], Some(50.0));
        assert_eq!(stream_scores(&[], &[300])[0], None);
    }

    #[test]
    fn histories_are_scored_by_case() {
        let truth = |id: &str, shift: f64| RegressionTruth { id: id.to_owned(), shift, drift: 0.0 };
        let verdict = |id: &str, regression: bool, score: f64| RegressionVerdict {
            id: id.to_owned(),
            regression,
            suspect: false,
            score: Some(score),
            at_run: None,
            effect: None,
            ci: Some([-0.01, 0.12]),
        };
        let truths = [truth("a", 0.0), truth("b", 0.0), truth("c", 0.1), truth("d", 0.1), truth("e", 0.2)];
        let verdicts =
            [verdict("a", false, 0.1), verdict("b", true, 0.5), verdict("c", true, 0.49), verdict("e", true, 0.9)];
        let scores = regression(&truths, &verdicts);
        let values: Vec<Option<f64>> = scores.iter().map(|score| score.value).collect();
        // The limit is 0.48: 0.1 + 0.95 x 0.4. No verdict on d: not called, and no score.
        assert_eq!(values, [Some(0.5), Some(1.0), Some(0.5), Some(1.0), Some(0.75)]);
        assert!(regression(&[], &verdicts).iter().all(|score| score.value.is_none()));
    }
}
