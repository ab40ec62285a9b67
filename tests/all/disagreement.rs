//! k6's own verdicts beside ours: where they are not the same, the report says so, and never passes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::front_door::{data, json, tidemark};

fn analyze_with(inputs: &[&Path], options: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidemark(folder.path());
    let output = command.args(["analyze", "--format", "json"]).args(options).args(inputs).output().unwrap();
    (json(&output), output.status.code())
}

/// A copy of k6's export with the verdict of one threshold turned round.
fn planted(folder: &Path, run: &str, metric: &str, expression: &str) -> PathBuf {
    let text = std::fs::read(data(run).join("summary-export.json")).unwrap();
    let mut summary: Value = serde_json::from_slice(&text).unwrap();
    let verdict = &mut summary["metrics"][metric]["thresholds"][expression];
    *verdict = Value::Bool(!verdict.as_bool().unwrap());
    let path = folder.join("summary.json");
    std::fs::write(&path, summary.to_string()).unwrap();
    path
}

fn reasons(report: &Value) -> String {
    report["verdict"]["reasons"].to_string()
}

#[test]
fn true_runs_have_none() {
    for (stream, summary) in [
        ("checkout/k6.json.gz", "checkout/summary-export.json"),
        ("checkout/k6.csv.gz", "checkout/handle-summary.json"),
        ("aborted/k6.json.gz", "aborted/summary-export.json"),
        ("unusual/k6.json.gz", "unusual/summary-export.json"),
        ("history/5/k6.json.gz", "history/5/summary-export.json"),
    ] {
        let (report, _) = analyze_with(&[&data(stream), &data(summary)], &[]);
        let thresholds = report["thresholds"].as_array().unwrap();
        assert!(!thresholds.is_empty(), "{stream}");
        for threshold in thresholds {
            assert_eq!(threshold["k6_passed"], threshold["passed"], "{stream} {threshold}");
        }
        assert!(!reasons(&report).contains("k6's summary"), "{}", reasons(&report));
    }
}

#[test]
fn k6_says_held_and_the_samples_say_failed() {
    let folder = tempfile::tempdir().unwrap();
    let summary = planted(folder.path(), "checkout", "http_req_duration", "p(95)<30");
    let (report, code) = analyze_with(&[&data("checkout/k6.json.gz"), &summary], &[]);
    assert_eq!((report["verdict"]["kind"].as_str(), code), (Some("thresholds_failed"), Some(1)));
    let expected = "http_req_duration p(95)<30, observed 77.199223: by the samples, but k6's summary says that it held";
    assert!(reasons(&report).contains(expected), "{}", reasons(&report));
    assert_eq!(reasons(&report).matches("k6's summary").count(), 1);
}

#[test]
fn k6_says_failed_and_the_samples_say_held() {
    let run = data("history/1");
    let folder = tempfile::tempdir().unwrap();
    let summary = planted(folder.path(), "history/1", "http_req_failed", "rate<0.01");
    let (report, code) = analyze_with(&[&run.join("k6.json.gz"), &summary], &[]);
    assert_eq!((report["verdict"]["kind"].as_str(), code), (Some("thresholds_failed"), Some(1)), "never a silent pass");
    let expected = ": k6's summary says so, but by the samples it held";
    assert!(reasons(&report).contains(expected), "{}", reasons(&report));
    let judged = report["thresholds"].as_array().unwrap().iter();
    let mut judged = judged.filter(|threshold| threshold["k6_passed"] != threshold["passed"]);
    let threshold = judged.next().unwrap();
    assert_eq!(threshold["expression"], "rate<0.01");
    assert_eq!((&threshold["passed"], &threshold["k6_passed"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(judged.next(), None);
}

#[test]
fn k6s_exit_code_beside_the_thresholds() {
    let run = data("history/1");
    let (stream, summary) = (run.join("k6.json.gz"), run.join("summary-export.json"));
    let (whole, code) = analyze_with(&[&stream, &summary], &["--k6-exit-code", "99"]);
    assert_eq!(code, Some(1));
    assert!(reasons(&whole).contains("k6 ended with 99: every threshold held"), "{}", reasons(&whole));
    let (alone, code) = analyze_with(&[&stream], &["--k6-exit-code", "99"]);
    assert_eq!(code, Some(1));
    assert!(reasons(&alone).contains("a threshold failed that the given files do not hold"), "{}", reasons(&alone));
    let (failed, code) = analyze_with(&[&data("checkout/k6.json.gz")], &["--k6-exit-code", "0"]);
    assert_eq!(code, Some(1));
    assert!(reasons(&failed).contains("k6 ended with 0, as if all had held"), "{}", reasons(&failed));
}

#[test]
fn pods_are_judged_together_and_what_k6_said_of_each_is_named() {
    let (report, code) = analyze_with(&[&data("pods")], &[]);
    let skipped = report["skipped"].to_string();
    assert!(skipped.contains("http_reqs{scenario:arrivals} count>80 failed in 3 of 3"), "{skipped}");
    let judged = report["thresholds"].as_array().unwrap();
    assert!(judged.iter().all(|threshold| threshold["k6_passed"].is_null()), "no summary is of the whole");
    assert_eq!((report["verdict"]["kind"].as_str(), code), (Some("pass"), Some(0)));
}

#[test]
fn a_summary_of_another_run_with_the_same_counts_is_not_taken_for_this_ones() {
    let (report, _) = analyze_with(&[&data("history/1/k6.json.gz"), &data("history/2/summary-export.json")], &[]);
    let counts = |name: &str| {
        let text = std::fs::read(data(name).join("summary-export.json")).unwrap();
        let summary: Value = serde_json::from_slice(&text).unwrap();
        (summary["metrics"]["http_reqs"]["count"].clone(), summary["metrics"]["iterations"]["count"].clone())
    };
    assert_eq!(counts("history/1"), counts("history/2"), "else this shows nothing");
    assert!(report["skipped"].to_string().contains("it is of another run"), "{}", report["skipped"]);
}
