//! Two runs side by side: simulated ones, of which the truth is known.

use std::collections::BTreeMap;

use tidemark::detect::compare::{Compared, compare};
use tidemark::detect::history_findings::History;
use tidemark::detect::subjects::Side;
use tidemark::model::finding::{Direction, FindingKind};
use tidemark::model::metric::{MetricKind, Unit};
use tidemark::model::report::AnalysisReport;
use tidemark::model::series::SeriesKey;
use tidemark::model::time::NANOSECONDS_PER_SECOND;
use tidemark::stats::quantile::of_sorted;
use tidemark::stats::sketch::bytes_of_sorted;
use tidemark::tables::aggregate::Window;
use tidemark::tables::frames::Frames;

/// SplitMix64, as a seeded source of normal values.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// By Box & Muller.
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform().max(1e-300), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// One run: 120 s at 50 requests a second, log-normal around `median_ms`; each second has a level of its own, and so has
/// the run.
fn run(random: &mut Random, median_ms: f64) -> (AnalysisReport, Frames) {
    let key = SeriesKey::whole("http_req_duration");
    let level = median_ms * (0.02 * random.normal()).exp();
    let (mut frames, mut all) = (Frames::default(), Vec::new());
    let mut mood = 0.0;
    for second in 0..120 {
        mood = 0.5 * mood + 0.05 * random.normal();
        let mut values: Vec<f64> = (0..50).map(|_| level * f64::exp(mood + 0.5 * random.normal())).collect();
        values.sort_by(f64::total_cmp);
        let window = Window {
            start_ns: second * NANOSECONDS_PER_SECOND,
            series: 0,
            count: 50,
            sum: values.iter().sum(),
            min: values[0],
            max: values[49],
            last: values[7],
            nonzero_count: 50,
            percentiles: None,
            sketch: Some(bytes_of_sorted(&values)),
        };
        frames.add(&window, &key);
        all.extend(values);
    }
    all.sort_by(f64::total_cmp);
    let mut values = BTreeMap::from([
        ("avg".to_owned(), all.iter().sum::<f64>() / all.len() as f64),
        ("max".to_owned(), all[all.len() - 1]),
    ]);
    for (name, p) in [("med", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        values.insert(name.to_owned(), of_sorted(&all, p).unwrap());
    }
    let report = serde_json::json!({
        "schema_version": 1,
        "run": { "id": "x", "test": "t", "environment": "e", "started_at": null, "ended_at": null, "duration_seconds": 120.0,
                 "tags": {}, "sources": [], "partial": false },
        "verdict": { "kind": "pass", "reasons": [] },
        "totals": {},
        "metrics": [{ "name": "http_req_duration", "kind": MetricKind::Trend, "unit": Unit::Milliseconds, "count": all.len(),
                      "values": values, "quantile_error": 0.0 }],
        "endpoints": [], "thresholds": [], "phases": { "steady_from": null, "steady_until": null, "rule": "" },
        "baseline": { "kind": "none", "runs": [], "comparable": false, "differences": [] },
        "skipped": []
    });
    (serde_json::from_value(report).unwrap(), frames)
}

fn compared(base: &(AnalysisReport, Frames), current: &(AnalysisReport, Frames)) -> Compared {
    let (base, current) = [base, current].map(|run| Side { report: &run.0, frames: Some(&run.1) }).into();
    compare(base, current, &History::default())
}

#[test]
fn unchanged_pairs_are_silent_and_a_fifth_more_is_found() {
    let seed = 4;
    println!("seed {seed}");
    let mut random = Random(seed);
    let (mut false_alarms, mut found, mut held) = (0, 0, 0);
    const PAIRS: usize = 60;
    for _ in 0..PAIRS {
        let (base, same, slower) = (run(&mut random, 100.0), run(&mut random, 100.0), run(&mut random, 120.0));
        false_alarms += usize::from(!compared(&base, &same).findings.is_empty());
        let compared = compared(&base, &slower);
        let latency = compared.findings.iter().find(|finding| finding.kind == FindingKind::Latency);
        found += usize::from(latency.is_some_and(|finding| finding.direction == Direction::Worse));
        assert!(compared.findings.len() <= 1, "one cause is one finding: {:?}", compared.findings);
        let row = compared.comparison.rows.iter().find(|row| row.series.statistic.as_deref() == Some("p95")).unwrap();
        let change = row.change.unwrap();
        held += usize::from((change.low.unwrap()..=change.high.unwrap()).contains(&0.2));
    }
    println!("{PAIRS} pairs: {false_alarms} false alarms, {found} found, {held} intervals with the truth in them");
    assert!(false_alarms <= PAIRS / 20);
    assert!(found >= PAIRS * 9 / 10);
    assert!(held >= PAIRS * 9 / 10);
}

#[test]
fn without_frames_there_is_no_interval_and_that_is_said() {
    let mut random = Random(1);
    let (mut base, current) = (run(&mut random, 1.0), run(&mut random, 1.0));
    base.1 = Frames::default();
    let compared = compared(&base, &current);
    assert!(compared.comparison.rows.iter().all(|row| row.change.is_none_or(|change| change.low.is_none())));
    assert_eq!(compared.skipped.len(), 1);
}
