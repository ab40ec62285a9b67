//! Histories that are not as one would like them: short, out of order, constant, wild, with gaps. A verdict or a reason, never a crash.

use serde_json::{Value, json};

use crate::anomalies::{Course, STEADY};
use crate::compared::Random;
use crate::front_door::{tidemark, with_stdin};
use crate::histories::Nightly;

/// A drawn run of one trend of the script: `values` of each second.
fn trend(start: i64, seconds: i64, mut values: impl FnMut(i64) -> Vec<f64>) -> Vec<u8> {
    let mut lines = String::from(
        "{\"type\":\"Metric\",\"data\":{\"name\":\"wait\",\"type\":\"trend\",\"contains\":\"time\"},\"metric\":\"wait\"}\n",
    );
    for second in 0..seconds {
        let values = values(second);
        for (index, value) in values.iter().enumerate() {
            let micros = index * 900_000 / values.len();
            let time = chrono::DateTime::from_timestamp(1_795_500_000 + start + second, micros as u32 * 1_000).unwrap();
            let time = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            let data = json!({"time": time, "value": value, "tags": {"scenario": "s"}});
            lines += &format!("{{\"metric\":\"wait\",\"type\":\"Point\",\"data\":{data}}}\n");
        }
    }
    lines.into_bytes()
}

/// Analyses a run as the next one, and writes it in every form; returns its report.
fn analyzed(folder: &std::path::Path, stream: &[u8]) -> Value {
    let output = with_stdin(tidemark(folder).args(["analyze", "-", "--format", "json"]), stream);
    let error = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{cause}: {error}"));
    assert!(!report["verdict"]["reasons"].as_array().unwrap().is_empty(), "{report:#}");
    for format in ["text", "html", "markdown"] {
        let output = tidemark(folder).args(["report", "last", "--format", format]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.len() > 100, "{}", String::from_utf8_lossy(&output.stderr));
        // The page holds scripts, which may speak of it.
        let parts = told.split("<script").map(|part| part.rsplit("</script>").next().unwrap_or_default());
        let seen: String = parts.collect();
        for word in ["NaN", " inf", "-inf"] {
            assert!(!seen.contains(word), "{format} says {word:?}: {seen}");
        }
    }
    report
}

fn verdict(report: &Value) -> &str {
    report["verdict"]["kind"].as_str().unwrap()
}

#[test]
fn a_constant_history_is_a_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = Value::Null;
    for run in 0..7 {
        last = analyzed(folder.path(), &trend(run * 3_600, 60, |_| vec![10.0; 5]));
    }
    assert_eq!(last["findings"], json!([]), "{:#}", last["findings"]);
    for run in 7..11 {
        last = analyzed(folder.path(), &trend(run * 3_600, 60, |_| vec![15.0; 5]));
    }
    assert_eq!((verdict(&last), &last["findings"][0]["series"]["metric"]), ("regressed", &json!("wait")), "{last:#}");
}

#[test]
fn values_of_zero_and_below_end_in_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    for run in 0..7 {
        let report = analyzed(folder.path(), &trend(run * 3_600, 60, |_| vec![0.0; 5]));
        assert_eq!(report["findings"], json!([]), "run {run}");
    }
    for run in 7..12 {
        analyzed(folder.path(), &trend(run * 3_600, 60, |_| (0..5).map(|_| 10.0 * random.normal()).collect()));
    }
    for run in 12..14 {
        analyzed(
            folder.path(),
            &trend(run * 3_600, 60, |second| vec![[f64::MAX, 5e-324, -1e300][second as usize % 3]; 5]),
        );
    }
}

#[test]
fn a_run_of_three_samples_says_that_it_is_too_short() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..6 {
        analyzed(folder.path(), &trend(run * 3_600, 60, |_| vec![10.0; 5]));
    }
    let report = analyzed(folder.path(), &trend(7 * 3_600, 3, |_| vec![30.0]));
    assert_eq!(report["findings"], json!([]), "{:#}", report["findings"]);
    let told = report["skipped"].to_string() + &report["verdict"].to_string();
    assert!(told.contains("took 60 s, this one 2 s"), "{told}");
}

#[test]
fn runs_out_of_order_and_at_the_same_time_are_each_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let mut run = |hour: i64, level: f64| {
        analyzed(
            folder.path(),
            &trend(hour * 3_600, 60, |_| (0..5).map(|_| level * (0.1 * random.normal()).exp()).collect()),
        )
    };
    for hour in [5, 3, 3, 1, 4, 4, 2] {
        let report = run(hour, 10.0);
        assert_eq!(report["findings"], json!([]), "{:#}", report["findings"]);
    }
    // What was run before all of them has no history, however slow it was; what came after has.
    let report = run(0, 30.0);
    assert_eq!(report["baseline"]["runs"], json!([]), "{:#}", report["baseline"]);
    let report = run(6, 10.0);
    assert_eq!(report["findings"], json!([]), "{:#}", report["findings"]);
    assert_eq!(report["baseline"]["runs"].as_array().unwrap().len(), 8);
}

#[test]
fn one_run_with_a_hundred_times_the_noise_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let mut run = |hour: i64, level: f64, sigma: f64| {
        analyzed(
            folder.path(),
            &trend(hour * 3_600, 60, |_| (0..5).map(|_| level * (sigma * random.normal()).exp()).collect()),
        )
    };
    for hour in 0..10 {
        run(hour, 10.0, if hour == 5 { 5.0 } else { 0.05 });
    }
    let mut last = Value::Null;
    for hour in 10..13 {
        last = run(hour, 12.0, 0.05);
    }
    assert_eq!(verdict(&last), "regressed", "{:#}", last["findings"]);
}

#[test]
fn endpoints_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 21);
    let without = |stream: &[u8], name: &str| -> Vec<u8> {
        let needle = format!("\"name\":\"{name}\"");
        let text = std::str::from_utf8(stream).unwrap();
        text.split_inclusive('\n').filter(|line| !line.contains(&needle)).collect::<String>().into_bytes()
    };
    for run in 0..8 {
        let stream = nightly.drawn(&Course { requests_per_second: |_| 20.0, ..STEADY });
        // One endpoint is new, one is gone, and in one run there is neither.
        let stream = match run {
            0..=2 => without(&stream, "b"),
            5 => without(&without(&stream, "a"), "b"),
            6.. => without(&stream, "a"),
            _ => stream,
        };
        let report = analyzed(folder.path(), &stream);
        let latency = |finding: &&Value| finding["kind"] == "latency";
        let found: Vec<&Value> = report["findings"].as_array().unwrap().iter().filter(latency).collect();
        assert_eq!(found, Vec::<&Value>::new(), "run {run}");
    }
}
