//! How well the detectors judge what their limits were not chosen by: TCPD's series and NAB's streams, judged within limits
//! that are chosen anew, each time without the cases that are then scored. The rule of choosing is part of what is tested.
//!
//! `cargo test --test all held_back -- --nocapture` prints the scores.

use std::fs::File;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use tidemark::detect::labelled::{AnomalyCase, AnomalyVerdict, ChangePointCase, ChangePointVerdict};
use tidemark::detect::scored::{self, AnomalyTruth, ChangePointTruth};
use tidemark::model::score::Score;
use tidemark::stats::change_point::{self, change_points_within};
use tidemark::stats::on_cores::on_cores;
use tidemark::stats::streaming_anomaly::{Alarms, Distances, Novelty, NoveltyLimits};

fn labelled<Row: DeserializeOwned>(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/accuracy").join(format!("{name}.jsonl.gz"));
    let rows = serde_json::Deserializer::from_reader(GzDecoder::new(File::open(path).unwrap())).into_iter();
    rows.map(|row| row.unwrap()).collect()
}

/// Returns the scores of all cases, each judged within the limits that score best on the cases of the other folds.
///
/// `verdicts`: by limits, then by case; a case's place modulo `folds_count` is its fold; `worth`: of the scores.
fn held_back<Truth: Clone, Verdict: Clone>(
    truths: &[Truth],
    verdicts: &[Vec<Verdict>],
    folds_count: usize,
    score: fn(&[Truth], &[Verdict]) -> Vec<Score>,
    worth: fn(&[f64; 2]) -> f64,
) -> [f64; 2] {
    let scores = |truths: &[Truth], verdicts: &[Verdict]| {
        let of = |score: Score| score.value.unwrap_or(0.0);
        <[f64; 2]>::try_from(score(truths, verdicts).into_iter().map(of).collect::<Vec<f64>>()).unwrap()
    };
    let mut judged = Vec::new();
    for fold in 0..folds_count {
        let others = truths.iter().enumerate().filter(|(place, _)| place % folds_count != fold);
        let others: Vec<Truth> = others.map(|(_, truth)| truth.clone()).collect();
        let best = verdicts
            .iter()
            .max_by(|left, right| worth(&scores(&others, left)).total_cmp(&worth(&scores(&others, right))));
        judged.extend(best.unwrap().iter().skip(fold).step_by(folds_count).cloned());
    }
    assert_eq!(judged.len(), truths.len());
    scores(truths, &judged)
}

#[test]
fn change_points_of_each_series_within_the_limits_of_the_others() {
    let truths: Vec<ChangePointTruth> = labelled("change-points.truth");
    let cases: Vec<ChangePointCase> = labelled("change-points.cases");
    let series =
        |case: &ChangePointCase| -> Vec<f64> { case.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect() };
    let series: Vec<(String, Vec<f64>)> = cases.iter().map(|case| (case.id.clone(), series(case))).collect();
    assert!(series.iter().zip(&truths).all(|((id, _), truth)| *id == truth.id));
    let mut limits = Vec::new();
    for level_numbers in [2.0, 3.0, 4.0] {
        for line_numbers in [3.0, 4.0, 5.0] {
            for lines_share_min in [0.02, 0.05, 0.1] {
                for levels_share_min in [0.0, 0.005, 0.02] {
                    for clip in [2.0, 3.0, 4.0] {
                        let (numbers, shares) = ((level_numbers, line_numbers), (lines_share_min, levels_share_min));
                        limits.push((numbers, shares, clip));
                    }
                }
            }
        }
    }
    let verdicts = on_cores(limits, |((level_numbers, line_numbers), (lines_share_min, levels_share_min), clip)| {
        let limits = change_point::Limits { level_numbers, line_numbers, lines_share_min, levels_share_min, clip };
        let verdict = |(id, values): &(String, Vec<f64>)| {
            let changes = change_points_within(values, &limits).map(|history| history.changes).unwrap_or_default();
            let change_points = changes.iter().map(|change| change.index).collect();
            ChangePointVerdict { id: id.clone(), change_points }
        };
        series.iter().map(verdict).collect::<Vec<_>>()
    });
    let [f1, covering] =
        held_back(&truths, &verdicts, truths.len(), scored::change_points, |[f1, covering]| f1 + covering);
    println!("TCPD, each series within the limits of the others: F1 {f1:.3}, covering {covering:.3}");
    // What BinSeg reaches on the half of TCPD that nobody here has seen.
    assert!(f1 >= 0.735 && covering >= 0.654, "{f1} {covering}");
}

/// Spans and lengths of the views that sets are made of.
const VIEWS: [(usize, usize); 7] = [(1, 1), (6, 1), (24, 1), (6, 8), (12, 1), (6, 4), (12, 8)];
/// By their places.
const SETS: [&[usize]; 9] =
    [&[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 3], &[0, 2, 3], &[0, 4, 3], &[0, 1, 2, 5], &[0, 1, 2, 6]];

#[test]
fn anomalies_of_each_fifth_of_the_streams_within_the_limits_of_the_others() {
    let truths: Vec<AnomalyTruth> = labelled("anomalies.truth");
    let cases: Vec<AnomalyCase> = labelled("anomalies.cases");
    assert!(cases.iter().zip(&truths).all(|(case, truth)| case.id == truth.id));
    let mut novelty_limits = Vec::new();
    for large in [0.95, 0.97, 0.99] {
        for recent_spans in [100, 200, 300] {
            for range_part_min in [0.02, 0.03, 0.05] {
                novelty_limits.push(NoveltyLimits { large, recent_spans, range_part_min });
            }
        }
    }
    let by_case = on_cores(cases, |case| {
        let values: Vec<f64> = case.v.iter().map(|value| value.expect("NAB's streams have no gap")).collect();
        let distances = |(span, length): &(usize, usize)| {
            let mut distances = Distances::of(*span, *length);
            values.iter().map(|value| distances.push(*value)).collect::<Vec<Option<f64>>>()
        };
        let distances: Vec<Vec<Option<f64>>> = VIEWS.iter().map(distances).collect();
        let mut verdicts = Vec::new();
        for limits in &novelty_limits {
            let ratios = |distances: &Vec<Option<f64>>| {
                let mut novelty = Novelty::within(*limits);
                let ratio = |(at, distance): (usize, &Option<f64>)| {
                    if let Some(distance) = distance {
                        novelty.push(*distance, at);
                    }
                    novelty.ratio()
                };
                distances.iter().enumerate().map(ratio).collect::<Vec<f64>>()
            };
            let ratios: Vec<Vec<f64>> = distances.iter().map(ratios).collect();
            for set in SETS {
                for ratio_of_alarm in [0.7, 0.8, 0.9, 1.0] {
                    let mut alarms = Alarms::above(ratio_of_alarm);
                    let mean = |at: usize| set.iter().map(|view| ratios[*view][at]).sum::<f64>() / set.len() as f64;
                    let anomalies = (0..values.len()).filter(|at| alarms.push(mean(*at), *at).is_alarm).collect();
                    verdicts.push(AnomalyVerdict { id: case.id.clone(), anomalies, scores: Vec::new() });
                }
            }
        }
        verdicts
    });
    let by_limits = |limits: usize| by_case.iter().map(|verdicts| verdicts[limits].clone()).collect();
    let verdicts: Vec<Vec<AnomalyVerdict>> = (0..by_case[0].len()).map(by_limits).collect();
    let [standard, f1] = held_back(&truths, &verdicts, 5, scored::anomalies, |[standard, f1]| standard / 100.0 + f1);
    println!(
        "NAB, each fifth of the streams within the limits of the others: standard score {standard:.1}, event F1 {f1:.3}"
    );
    assert!(standard >= 66.0 && f1 >= 0.60, "{standard} {f1}");
}
