//! Twelve true runs of one test against a true server, and the last four of them once more with a part that is 8 % slower.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::front_door::{data, tidemark};

const NIGHTS: [&str; 12] = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];
/// The first of the nights that were recorded slow, too.
const SLOW_FROM: &str = "09";

fn night(name: &str) -> PathBuf {
    data("nightly").join(format!("{name}.json.gz"))
}

/// Analyses a file as the next run; returns its report and the exit code.
fn analyzed(folder: &Path, file: &Path, more: &[&str]) -> (Value, i32) {
    let arguments = ["analyze", "--format", "json"];
    let output = tidemark(folder).args(arguments).args(more).arg(file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{cause}: {error}"));
    (report, output.status.code().unwrap())
}

/// Analyses twelve nights, slow ones from the ninth on if `is_slow`; returns all reports and the last exit code.
fn twelve(folder: &Path, is_slow: bool) -> (Vec<Value>, i32) {
    let mut last = 0;
    let reports = NIGHTS.map(|name| {
        let slow = if is_slow && name >= SLOW_FROM { "-slow" } else { "" };
        let (report, code) = analyzed(folder, &night(&format!("{name}{slow}")), &[]);
        last = code;
        report
    });
    (reports.to_vec(), last)
}

fn worse(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["direction"] == "worse").collect()
}

#[test]
fn a_part_that_is_8_percent_slower_from_the_ninth_run_on_is_dated_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (reports, code) = twelve(folder.path(), true);
    let last = reports.last().unwrap();
    assert_eq!((last["verdict"]["kind"].as_str(), code), (Some("regressed"), 1), "{last:#}");
    let [finding] = worse(last)[..] else { panic!("one cause is one finding: {:#}", last["findings"]) };
    assert_eq!(finding["since_run"], reports[8]["run"]["id"], "{finding:#}");
    assert_eq!(finding["series"]["tags"]["name"], "products", "{finding:#}");
    let change = &finding["change"];
    let (low, high) = (change["low"].as_f64().unwrap(), change["high"].as_f64().unwrap());
    assert!(low > 0.03 && low < 0.08 && high > 0.08 && high < 0.13, "{change:#}");
    // The history shows that figure, with the change dated.
    let history = &last["history"];
    assert_eq!((&history["series"], history["runs"].as_array().unwrap().len()), (&finding["series"], 12));
    assert_eq!(history["changes"][0]["since_run"], finding["since_run"]);
    for report in &reports[..8] {
        assert_eq!(worse(report), Vec::<&Value>::new());
    }
}

#[test]
fn without_it_nothing_is_found_and_runs_of_another_kind_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (reports, code) = twelve(folder.path(), false);
    for report in &reports {
        assert_eq!(worse(report), Vec::<&Value>::new(), "{:#}", report["verdict"]);
    }
    assert_eq!((reports[11]["verdict"]["kind"].as_str(), code), (Some("pass"), 0));

    // Slow runs of another environment, and of another load, lie in the same store.
    let mixed = tempfile::tempdir().unwrap();
    for name in ["09", "10", "11", "12"] {
        analyzed(mixed.path(), &night(&format!("{name}-slow")), &["--environment", "staging"]);
    }
    for run in 1..=5 {
        analyzed(mixed.path(), &data(&format!("history/{run}/k6.json.gz")), &[]);
    }
    let (again, code) = twelve(mixed.path(), false);
    let (last, mixed_last) = (reports.last().unwrap(), again.last().unwrap());
    assert_eq!((&mixed_last["verdict"]["kind"], code), (&last["verdict"]["kind"], 0), "{mixed_last:#}");
    assert_eq!((&mixed_last["findings"], &mixed_last["baseline"]), (&last["findings"], &last["baseline"]));
}
