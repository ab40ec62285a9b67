//! Runs the built binary as a user does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

pub fn tidemark(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    for name in ["STORE", "CONFIG", "TEST", "ENVIRONMENT", "PROMETHEUS", "TEMPO", "PYROSCOPE", "LOKI"] {
        command.env_remove(format!("TIDEMARK_{name}"));
    }
    // Inside a CI of its own it would write to that job's summary.
    for name in ["GITHUB_ACTIONS", "GITLAB_CI"] {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs with `input` on stdin.
pub fn with_stdin(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

pub fn json(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|cause| panic!("no JSON on stdout ({cause}); stderr: {error}"))
}

/// Analyses one file and returns the report.
pub fn analyze(path: &Path) -> Value {
    let folder = tempfile::tempdir().unwrap();
    json(&tidemark(folder.path()).args(["analyze", "--format", "json"]).arg(path).output().unwrap())
}

fn check_bad_input(input: &[u8], exit_code: i32, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = with_stdin(tidemark(folder.path()).args(["analyze", "-"]), input);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit_code), "{said}");
    assert!(said.contains(expected), "expected {expected:?} in:\n{said}");
}

const GOOD: &str = r#"{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T20:59:43.6Z","value":1,"tags":{"status":"200"}}}"#;

fn beside_good(bad: impl AsRef<[u8]>) -> Vec<u8> {
    [GOOD.as_bytes(), b"\n", bad.as_ref(), b"\n", GOOD.as_bytes(), b"\n"].concat()
}

#[test]
fn what_holds_no_sample_is_refused() {
    check_bad_input(b"", 3, "it looks like nothing: it is empty");
    check_bad_input(b"\n\n", 3, "it is empty");
    check_bad_input(b"<html>\n</html>\n", 3, "an HTML page");
    check_bad_input(&[0; 4096], 3, "binary data");
    check_bad_input(b"{\"log\": 1}", 3, "JSON of another program");
    check_bad_input(GOOD.replace("2026", "0001").as_bytes(), 3, "holds no k6 sample: line 1: time");
}

#[test]
fn a_bad_line_is_counted_with_its_place_and_reason_and_the_rest_is_judged() {
    let point = |value: &str| GOOD.replace("\"value\":1", &format!("\"value\":{value}"));
    for (bad, reason) in [
        ("\0\0\0".as_bytes().to_vec(), "not a line of k6"),
        (b"{\"metric\":\"\xff\xfe\"}".to_vec(), "invalid UTF-8"),
        (point("NaN").into_bytes(), "not a line of k6"),
        (point("1e999").into_bytes(), "not a number within f64"),
        (point("\"x\"").into_bytes(), "not a number within f64"),
        (GOOD.as_bytes()[..40].to_vec(), "cut JSON"),
        (GOOD.replace("2026", "0001").into_bytes(), "is not RFC 3339"),
        (GOOD.replace("Point", "Dot").into_bytes(), "neither Metric nor Point"),
        (GOOD.replace("\"status\":\"200\"", "\"status\":200").into_bytes(), "tags"),
        (GOOD.replace("\"type\":\"Point\"", "\"type\":\"Point\",\"type\":\"Point\"").into_bytes(), "duplicate field"),
    ] {
        let input = beside_good(&bad);
        check_bad_input(&input, 0, "1 of 3 lines");
        check_bad_input(&input, 0, "line 2: ");
        check_bad_input(&input, 0, reason);
        check_bad_input(&input, 0, "requests 2 ");
    }
}

#[test]
fn a_line_beyond_the_bound_is_skipped_unread() {
    check_bad_input(&beside_good(vec![b'x'; 40 << 20]), 0, "more than 8388608");
    check_bad_input(&beside_good(vec![b'x'; 40 << 20]), 0, "requests 2 ");
}

#[test]
fn a_cut_end_is_said_and_the_rest_is_judged() {
    let whole = [GOOD, "\n", GOOD].concat();
    check_bad_input(&whole.as_bytes()[..GOOD.len() + 30], 0, "cut at its end");
    let gzip = std::fs::read(data("history/1/k6.json.gz")).unwrap();
    check_bad_input(&gzip[..gzip.len() / 2], 0, "cut at its end");
}

#[test]
fn a_metric_that_changes_its_kind_keeps_the_first() {
    let declaration = |kind: &str| format!(r#"{{"type":"Metric","data":{{"name":"m","type":"{kind}"}},"metric":"m"}}"#);
    let input = beside_good([declaration("trend"), declaration("rate")].join("\n"));
    check_bad_input(&input, 0, "metric m is declared a rate, but was a trend before");
}

#[test]
fn samples_of_a_clock_that_goes_back_all_count() {
    let at = |hour: u32| GOOD.replace("T20", &format!("T{hour:02}"));
    check_bad_input(&beside_good([at(10), at(23), at(3)].join("\n")), 0, "requests 5 ");
}

#[test]
fn a_million_tag_sets_are_bounded_and_the_overflow_is_named() {
    let line = |id: u32| GOOD.replace("\"status\":\"200\"", &format!("\"name\":\"n{id}x\",\"status\":\"200\"")) + "\n";
    let input: String = (0..30_000).map(line).collect();
    check_bad_input(input.as_bytes(), 0, "put together as (other)");
    check_bad_input(input.as_bytes(), 0, "requests 30,000 ");
}

#[test]
fn a_missing_file_and_a_wrong_option_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let missing = run(&["analyze", "nowhere.json"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere.json"));
    assert_eq!(run(&["analyze"]).status.code(), Some(2));
    assert_eq!(run(&["analyze", "x", "--threshold", "m=p(95)"]).status.code(), Some(2));
}

#[test]
fn a_kept_run_is_listed_once_however_often_it_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = tidemark(folder.path()).arg("analyze").arg(data("clean/k6.json")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let history = tidemark(folder.path()).arg("history").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&history.stdout).lines().count(), 2, "a head and one run");
    let attempts = std::fs::read_dir(folder.path().join(".tidemark/data")).unwrap();
    let with_files =
        attempts.filter(|attempt| std::fs::read_dir(attempt.as_ref().unwrap().path()).unwrap().count() > 0);
    assert_eq!(with_files.count(), 1, "the data of the earlier analysis is gone");
}
