//! `analyze --confirm`: a suspect run is run again, and all runs are judged together.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::anomalies::{Course, STEADY};
use crate::front_door::tidemark;
use crate::histories::Nightly;

/// Analyses `k6.json` with `command` behind `--confirm`.
fn confirmed(folder: &Path, rounds: &str, command: &[&str]) -> Output {
    let arguments = ["analyze", "k6.json", "--format", "json", "--test", "nightly", "--confirm", rounds, "--"];
    tidemark(folder).args(arguments).args(command).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Nine usual runs in a store, and a slow one waiting in `k6.json`.
fn with_a_bad_run(folder: &Path, seed: u64) -> Nightly<'_> {
    let mut nightly = Nightly::new(folder, seed);
    for _ in 0..9 {
        nightly.run(1.0, &[]);
    }
    let slow = nightly.drawn(&Course { level: 1.35, ..STEADY });
    std::fs::write(folder.join("k6.json"), slow).unwrap();
    nightly
}

#[test]
fn a_usual_run_clears_a_suspect_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = with_a_bad_run(folder.path(), 11);
    std::fs::write(folder.path().join("next.json"), nightly.drawn(&STEADY)).unwrap();
    let output = confirmed(folder.path(), "3", &["cp", "next.json", "k6.json"]);
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    let at_first = String::from_utf8_lossy(&output.stdout);
    assert!(error.contains("suspect: running it again, 1 of at most 3: cp next.json k6.json\n"), "{error}{at_first}");
    assert!(!error.contains("2 of at most 3"), "{error}");
    let report = report(&output);
    assert_eq!((report["verdict"]["kind"].as_str(), output.status.code()), (Some("pass"), Some(0)), "{report:#}");
}

#[test]
fn another_slow_run_convicts_and_is_dated_to_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = with_a_bad_run(folder.path(), 12);
    let again = nightly.drawn(&Course { level: 1.35, ..STEADY });
    std::fs::write(folder.path().join("next.json"), again).unwrap();
    // What the command prints is not the report.
    let output = confirmed(folder.path(), "1", &["sh", "-c", "echo k6 says something; cp next.json k6.json"]);
    let report = report(&output);
    assert_eq!((report["verdict"]["kind"].as_str(), output.status.code()), (Some("regressed"), Some(1)), "{report:#}");
    let first = report["findings"][0]["since_run"].as_str().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("k6 says something"), "{told}");
    let kept = tidemark(folder.path()).arg("history").output().unwrap();
    let kept = String::from_utf8(kept.stdout).unwrap();
    let runs: Vec<&str> = kept.lines().filter(|line| line.contains("nightly")).collect();
    assert!(runs.len() >= 11 && kept.contains(first), "{kept}");
}

#[test]
fn what_cannot_be_confirmed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _nightly = with_a_bad_run(folder.path(), 13);
    let check = |output: Output, code: i32, expected: &str| {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "expected {expected:?} in {error}");
        assert_eq!(output.status.code(), Some(code), "{error}");
    };
    let asked = |arguments: &[&str]| tidemark(folder.path()).arg("analyze").args(arguments).output().unwrap();
    check(asked(&["k6.json", "--no-store", "--confirm", "1", "--", "true"]), 2, "leave out --no-store");
    check(asked(&["-", "--confirm", "1", "--", "true"]), 2, "it cannot be stdin");
    check(asked(&["k6.json", "--confirm", "1"]), 2, "required");
    check(asked(&["k6.json", "--confirm", "0", "--", "true"]), 2, "invalid value");
    check(confirmed(folder.path(), "2", &["./no-such-k6"]), 2, "--confirm cannot run ./no-such-k6: ");
    check(
        confirmed(folder.path(), "2", &["true"]),
        3,
        "--confirm found no new run in k6.json after its command had ended",
    );
}
