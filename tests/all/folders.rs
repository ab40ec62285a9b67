//! Folders as inputs: everything of k6's in them, each sample once, and never two runs in one.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::front_door::{analyze, data, json, tidemark};

fn run(arguments: &[&str], folder: &Path) -> Output {
    tidemark(folder).args(["analyze", "--no-store"]).args(arguments).output().unwrap()
}

fn report_of(path: &Path) -> Value {
    let folder = tempfile::tempdir().unwrap();
    json(&run(&["--format", "json", path.to_str().unwrap()], folder.path()))
}

/// The file names of what was read.
fn sources(report: &Value) -> Vec<&str> {
    let names = report["run"]["sources"].as_array().unwrap().iter().map(|source| source["name"].as_str().unwrap());
    names.map(|name| name.rsplit('/').next().unwrap()).collect()
}

/// Says whether something of `what` was left out for `reason`.
fn is_left_out(report: &Value, what: &str, reason: &str) -> bool {
    report["skipped"].as_array().unwrap().iter().any(|skipped| {
        skipped["what"].as_str().unwrap().contains(what) && skipped["reason"].as_str().unwrap().contains(reason)
    })
}

/// k6's own count of requests.
fn requests_by_k6(summaries: &[&str]) -> u64 {
    let count = |name: &&str| {
        let summary: Value = serde_json::from_slice(&std::fs::read(data(name)).unwrap()).unwrap();
        if let Some(metrics) = summary["results"]["metrics"].as_array() {
            let metric = metrics.iter().find(|metric| metric["name"] == "http_reqs").unwrap();
            return metric["values"]["count"].as_u64().unwrap();
        }
        summary["metrics"]["http_reqs"]["count"].as_u64().unwrap()
    };
    summaries.iter().map(count).sum()
}

#[test]
fn every_folder_of_true_runs_is_one_run() {
    let cases: [(&str, &[&str], &[&str]); 8] = [
        ("checkout", &["k6.json.gz", "handle-summary.json"], &["checkout/summary-export.json"]),
        ("machine-summary", &["k6.json.gz", "handle-summary.json"], &["machine-summary/summary-export.json"]),
        ("unusual", &["k6.json.gz", "summary-export.json"], &["unusual/summary-export.json"]),
        ("aborted", &["k6.json.gz", "summary-export.json"], &["aborted/summary-export.json"]),
        ("clean", &["k6.json", "summary-export.json"], &["clean/summary-export.json"]),
        ("history/4", &["k6.json.gz", "summary-export.json"], &["history/4/summary-export.json"]),
        ("layout-2", &["summary-20261124-023325.json"], &["checkout/summary-export.json"]),
        (
            "pods",
            &[
                "k6-1.json.gz",
                "k6-2.json.gz",
                "k6-3.json.gz",
                "summary-export-1.json",
                "summary-export-2.json",
                "summary-export-3.json",
            ],
            &["pods/summary-export-1.json", "pods/summary-export-2.json", "pods/summary-export-3.json"],
        ),
    ];
    for (folder, expected_sources, summaries) in cases {
        let report = report_of(&data(folder));
        assert_eq!(sources(&report), expected_sources, "{folder}");
        assert_eq!(report["totals"]["requests_count"], requests_by_k6(summaries), "{folder}");
        assert!(!is_left_out(&report, "summary", "another run"), "{folder}: {}", report["skipped"]);
        let others = if folder.starts_with("history") { "not k6's: console.txt, exit_code" } else { "README.md" };
        assert!(is_left_out(&report, "files in ", others), "{folder}: {}", report["skipped"]);
    }
}

#[test]
fn the_same_run_in_several_forms_is_counted_once() {
    let report = report_of(&data("checkout"));
    assert!(is_left_out(&report, "checkout/k6.csv.gz", "the same samples as"), "{}", report["skipped"]);
    assert!(is_left_out(&report, "summary-export.json", "the summary of the same run"), "{}", report["skipped"]);
    assert_eq!(report["run"]["id"], analyze(&data("checkout/k6.json.gz"))["run"]["id"]);

    let clocks = report_of(&data("csv-time-formats"));
    assert_eq!(sources(&clocks), ["k6.json.gz"]);
    for name in ["unix.csv", "unix_milli", "unix_micro", "unix_nano", "rfc3339.csv", "rfc3339_nano"] {
        assert!(is_left_out(&clocks, name, "the same samples as"), "{name}: {}", clocks["skipped"]);
    }

    let folder = tempfile::tempdir().unwrap();
    let plain = std::fs::read(data("clean/k6.json")).unwrap();
    std::fs::create_dir_all(folder.path().join("old/packed")).unwrap();
    std::fs::write(folder.path().join("old/packed/k6.zst"), zstd::encode_all(plain.as_slice(), 3).unwrap()).unwrap();
    std::fs::write(folder.path().join("k6.json"), &plain).unwrap();
    std::fs::write(folder.path().join("again.json"), &plain).unwrap();
    let copies = report_of(folder.path());
    assert_eq!(sources(&copies), ["again.json"], "of equal ones the first by name");
    assert_eq!(copies["totals"], analyze(&data("clean/k6.json"))["totals"]);
}

#[test]
fn of_several_csv_files_of_a_run_the_finest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["unix.csv", "unix_milli.csv.gz", "rfc3339.csv.gz", "rfc3339_nano.csv.gz"] {
        std::fs::copy(data("csv-time-formats").join(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(sources(&report_of(folder.path())), ["rfc3339_nano.csv.gz"]);
}

#[test]
fn several_runs_are_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for several in ["history", ""] {
        let output = run(&[data(several).to_str().unwrap()], folder.path());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{several}: {error}");
        assert!(error.contains("several runs, not the pods of one"), "{error}");
        assert!(error.contains("history/1/k6.json.gz ends at 2026-11-24T"), "{error}");
        assert!(error.contains("Give one run at a time"), "{error}");
    }
    let error = run(&[data("history").to_str().unwrap()], folder.path()).stderr;
    let error = String::from_utf8_lossy(&error).into_owned();
    for release in 1..=5 {
        assert!(error.contains(&format!("history/{release}/k6.json.gz")), "{error}");
    }
    // Named one by one they are one run: the user says so.
    let named: Vec<String> =
        (1..=2).map(|release| data(&format!("history/{release}/k6.json.gz")).display().to_string()).collect();
    let report = json(&run(&["--format", "json", &named[0], &named[1]], folder.path()));
    let expected = requests_by_k6(&["history/1/summary-export.json", "history/2/summary-export.json"]);
    assert_eq!(report["totals"]["requests_count"], expected);
}

#[test]
fn several_summaries_alone_are_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for release in 1..=2 {
        let summary = data(&format!("history/{release}/summary-export.json"));
        std::fs::copy(summary, folder.path().join(format!("{release}.json"))).unwrap();
    }
    let output = run(&["."], folder.path());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("each is a run of its own") && error.contains("1.json, ./2.json"), "{error}");
}

#[test]
fn a_json_and_a_csv_of_one_run_that_are_named_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let named = [data("checkout/k6.csv.gz"), data("checkout/k6.json.gz")];
    let report =
        json(&run(&["--format", "json", named[0].to_str().unwrap(), named[1].to_str().unwrap()], folder.path()));
    assert_eq!(sources(&report), ["k6.json.gz"]);
    assert!(is_left_out(&report, "k6.csv.gz", "the same samples as"), "{}", report["skipped"]);
    assert_eq!(report["totals"]["requests_count"], requests_by_k6(&["checkout/summary-export.json"]));
}

#[cfg(unix)]
#[test]
fn hidden_names_links_and_pipes_do_no_harm() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("run/deep")).unwrap();
    std::fs::create_dir_all(path(".other")).unwrap();
    std::fs::copy(data("clean/k6.json"), path("run/deep/k6")).unwrap();
    std::fs::copy(data("history/1/k6.json.gz"), path(".other/k6.json.gz")).unwrap();
    std::fs::copy(data("history/1/k6.json.gz"), path("run/.k6.json.gz")).unwrap();
    symlink("deep/k6", path("run/a-link")).unwrap();
    symlink("..", path("run/deep/loop")).unwrap();
    symlink("nowhere", path("run/dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(path("run/pipe")).status().unwrap().success());
    let report = report_of(folder.path());
    assert_eq!(sources(&report), ["k6"]);
    assert_eq!(report["totals"], analyze(&data("clean/k6.json"))["totals"]);
    assert_eq!(report_of(folder.path()), report, "the same again");
}

#[test]
fn a_folder_with_nothing_of_k6s_says_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |expected: &[&str]| {
        let output = run(&["."], folder.path());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(expected.iter().all(|part| error.contains(part)), "{expected:?} in {error}");
        assert!(output.stdout.is_empty());
    };
    refused(&["nothing in the folder . is k6's: it holds no file but hidden ones"]);
    std::fs::copy(data("checkout/console.txt"), folder.path().join("console.txt")).unwrap();
    std::fs::copy(data("checkout/script.ts"), folder.path().join("script.ts")).unwrap();
    std::fs::write(folder.path().join("places.ndjson"), "{\"type\":\"Point\",\"coordinates\":[1,2]}\n".repeat(9))
        .unwrap();
    refused(&[
        "console.txt (what k6 prints for people",
        "script.ts (a k6 script",
        "places.ndjson (lines without a sample of k6's: no \"data\")",
        "--out json=FILE",
    ]);
    let follow = run(&["--follow", "."], folder.path());
    assert!(String::from_utf8_lossy(&follow.stderr).contains("name the files that grow"));
}
