//! Every true run in `data/`: counts, percentiles and thresholds equal to what k6 itself put into its summary.

use std::path::PathBuf;

use serde_json::Value;

use crate::front_door::{analyze, data, tidemark};

/// Runs with a stream and k6's `--summary-export` beside it.
fn runs() -> Vec<PathBuf> {
    let names =
        ["checkout", "aborted", "clean", "dropped", "history/1", "history/2", "history/3", "history/4", "history/5"];
    names.iter().map(|name| data(name)).collect()
}

fn stream(run: &std::path::Path) -> PathBuf {
    let compressed = run.join("k6.json.gz");
    if compressed.exists() { compressed } else { run.join("k6.json") }
}

fn summary(run: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("summary-export.json")).unwrap()).unwrap()
}

/// k6's name of a figure, and ours.
const FIGURES: [(&str, &str); 12] = [
    ("avg", "avg"),
    ("min", "min"),
    ("med", "med"),
    ("max", "max"),
    ("p(90)", "p90"),
    ("p(95)", "p95"),
    ("p(99)", "p99"),
    ("p(99.9)", "p99_9"),
    ("passes", "passes"),
    ("fails", "fails"),
    // Of a rate or a gauge.
    ("value", "rate"),
    ("value", "value"),
];

#[test]
fn every_figure_is_as_in_k6s_summary() {
    let mut compared_count = 0;
    for run in runs() {
        let (report, summary) = (analyze(&stream(&run)), summary(&run));
        for metric in report["metrics"].as_array().unwrap() {
            let name = metric["name"].as_str().unwrap();
            let Some(theirs) = summary["metrics"].get(name) else { panic!("{run:?}: k6 has no {name}") };
            let mut check = |k6_name: &str, ours: &Value| {
                let (Some(theirs), Some(ours)) = (theirs[k6_name].as_f64(), ours.as_f64()) else { return };
                let close = (theirs - ours).abs() <= 1e-9 * theirs.abs().max(1.0);
                assert!(close, "{run:?} {name} {k6_name}: k6 {theirs}, ours {ours}");
                compared_count += 1;
            };
            for (k6_name, our_name) in FIGURES {
                check(k6_name, &metric["values"][our_name]);
            }
            let count = if metric["kind"] == "counter" { &metric["values"]["count"] } else { &metric["count"] };
            check("count", count);
        }
    }
    assert!(compared_count > 500, "compared only {compared_count} figures");
}

#[test]
fn thresholds_are_judged_as_k6_did() {
    let mut compared_count = 0;
    for run in runs() {
        let (report, summary) = (analyze(&stream(&run)), summary(&run));
        for threshold in report["thresholds"].as_array().unwrap() {
            let (metric, expression) =
                (threshold["metric"].as_str().unwrap(), threshold["expression"].as_str().unwrap());
            // In this shape true means: failed.
            let failed = summary["metrics"][metric]["thresholds"][expression].as_bool();
            assert_eq!(failed, Some(!threshold["passed"].as_bool().unwrap()), "{run:?} {metric} {expression}");
            compared_count += 1;
        }
    }
    assert!(compared_count > 20, "compared only {compared_count} thresholds");
}

#[test]
fn endpoints_add_up_to_the_run() {
    for run in runs() {
        let report = analyze(&stream(&run));
        let endpoints = report["endpoints"].as_array().unwrap();
        let requests: u64 = endpoints.iter().map(|endpoint| endpoint["requests_count"].as_u64().unwrap()).sum();
        assert_eq!(Some(requests), report["totals"]["requests_count"].as_u64());
        for endpoint in endpoints {
            let statuses: u64 =
                endpoint["statuses"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!(Some(statuses), endpoint["requests_count"].as_u64());
        }
    }
}

/// Analyses several inputs as one run.
fn analyze_together(inputs: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let inputs = inputs.iter().map(|name| data(name));
    crate::front_door::json(
        &tidemark(folder.path()).args(["analyze", "--format", "json"]).args(inputs).output().unwrap(),
    )
}

#[test]
fn with_the_summary_every_threshold_is_judged_from_the_samples_as_k6_did() {
    let summary = summary(&data("checkout"));
    for stream in ["checkout/k6.json.gz", "checkout/k6.csv.gz"] {
        for shape in ["checkout/summary-export.json", "checkout/handle-summary.json"] {
            let report = analyze_together(&[stream, shape]);
            let judged = report["thresholds"].as_array().unwrap();
            let mut compared_count = 0;
            for (metric, figures) in summary["metrics"].as_object().unwrap() {
                for (expression, failed) in figures["thresholds"].as_object().into_iter().flatten() {
                    let found =
                        judged.iter().find(|ours| ours["metric"] == **metric && ours["expression"] == **expression);
                    let found = found.unwrap_or_else(|| panic!("{stream} {metric} {expression} is not judged"));
                    assert_eq!(found["passed"].as_bool(), Some(!failed.as_bool().unwrap()), "{metric} {expression}");
                    assert_eq!(found["judged_by"], "samples");
                    compared_count += 1;
                }
            }
            assert_eq!(judged.len(), compared_count, "no threshold that k6 does not have");
        }
    }
}

#[test]
fn a_summary_alone_keeps_k6s_verdicts() {
    let report = analyze_together(&["checkout/summary-export.json"]);
    assert_eq!(report["verdict"]["kind"], "thresholds_failed");
    assert_eq!(report["totals"]["requests_count"], summary(&data("checkout"))["metrics"]["http_reqs"]["count"]);
    let machine = analyze_together(&["machine-summary/summary-export.json"]);
    assert_eq!(machine["verdict"]["kind"], "inconclusive", "this shape holds no threshold");
    assert_eq!(machine["run"]["k6_version"], "2.2.0");
}

#[test]
fn a_summary_of_another_run_is_left_out_and_named() {
    let report = analyze_together(&["checkout/k6.json.gz", "clean/summary-export.json"]);
    let skipped = report["skipped"].to_string();
    assert!(skipped.contains("clean/summary-export.json") && skipped.contains("another run"), "{skipped}");
}

#[test]
fn csv_gives_the_figures_of_the_json_as_far_as_it_holds_them() {
    let (json, csv) = (analyze(&data("checkout/k6.json.gz")), analyze(&data("checkout/k6.csv.gz")));
    let latency = |report: &Value| -> Vec<Value> {
        let endpoints = report["endpoints"].as_array().unwrap().iter();
        endpoints
            .map(|endpoint| serde_json::json!([endpoint["name"], endpoint["latency_ms"], endpoint["statuses"]]))
            .collect()
    };
    assert_eq!(latency(&json), latency(&csv));
    for total in ["requests_count", "failed_requests_count", "iterations_count", "checks_passed_count", "vus_max"] {
        assert_eq!(json["totals"][total], csv["totals"][total], "{total}");
    }
}

#[test]
fn a_threshold_of_a_submetric_is_judged_when_it_is_given() {
    let run = data("checkout");
    let summary = summary(&run);
    let (mut arguments, mut expected) = (Vec::new(), Vec::new());
    for (metric, figures) in summary["metrics"].as_object().unwrap() {
        for (expression, failed) in figures["thresholds"].as_object().into_iter().flatten() {
            if metric.contains('{') {
                arguments.extend(["--threshold".to_owned(), format!("{metric}={expression}")]);
                expected.push((metric.clone(), expression.clone(), !failed.as_bool().unwrap()));
            }
        }
    }
    assert!(expected.len() > 3);
    let folder = tempfile::tempdir().unwrap();
    let output =
        tidemark(folder.path()).args(["analyze", "--format", "json"]).args(arguments).arg(stream(&run)).output();
    let report = crate::front_door::json(&output.unwrap());
    for (metric, expression, passed) in expected {
        let found = report["thresholds"]
            .as_array()
            .unwrap()
            .iter()
            .find(|threshold| threshold["metric"] == *metric && threshold["expression"] == *expression);
        assert_eq!(
            found.unwrap_or_else(|| panic!("{metric} {expression} is not judged"))["passed"],
            passed,
            "{metric} {expression}"
        );
    }
}
