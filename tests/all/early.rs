//! What is known before a run ends, through the front door: drawn runs that come slowly, beside a history of the same test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::anomalies::{Course, STEADY, stream};
use crate::compared::Random;
use crate::front_door::{json, tidemark, with_stdin};

const DAY_SECONDS: i64 = 86_400;
const RUNS: i64 = 7;
/// A machine under load answers late; a line that has not come until then will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// The text of the run of that day, which differs by 2 % from the others by itself.
fn night(day: i64, course: &Course) -> Vec<u8> {
    let level = course.level * (0.02 * Random(day as u64).normal()).exp();
    stream(100 + day as u64, &Course { level, at: day * DAY_SECONDS, ..*course })
}

/// A store with as many usual runs.
fn history(runs: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for day in 0..runs {
        let output = with_stdin(tidemark(folder.path()).args(["analyze", "-"]), &night(day, &STEADY));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    folder
}

/// Lines of stderr as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (send, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    lines
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = tidemark(folder);
    command.arg("analyze").args(arguments).args(["--format", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads the report, and whatever else was said after what was read before.
fn finish(mut child: Child, lines: &Receiver<String>) -> (Value, Vec<String>) {
    let mut report = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut report).unwrap();
    child.wait().unwrap();
    (serde_json::from_slice(&report).unwrap(), lines.iter().collect())
}

fn text_of_last(folder: &Path) -> String {
    let output = tidemark(folder).args(["report", "last", "--format", "text"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn finding_ids(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().map(|finding| &finding["id"]).collect()
}

#[test]
fn a_slow_run_is_told_once_before_its_end_and_the_end_confirms_it() {
    let folder = history(RUNS);
    let text = night(RUNS, &Course { level: 1.35, ..STEADY });
    let (first, rest) = text.split_at(text.len() / 2);
    let mut child = start(folder.path(), &["-"]);
    let lines = lines(&mut child);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(first).unwrap();
    // The rest comes only when the line has.
    let told = lines.recv_timeout(PATIENCE).unwrap();
    assert!(told.contains(": slower than in 7 earlier runs, http_req_duration"), "{told}");
    stdin.write_all(rest).unwrap();
    drop(stdin);
    let (report, more) = finish(child, &lines);
    assert_eq!(more, Vec::<String>::new());
    let early = &report["early"][0];
    assert!(early["after_seconds"].as_f64() < Some(60.0) && early["e_value"].as_f64() >= Some(100.0), "{early:#}");
    assert!(early["change"]["low"].as_f64() < Some(0.35) && early["change"]["high"].as_f64() > Some(0.35), "{early:#}");
    assert!(finding_ids(&report).contains(&&early["confirmed_by"]), "{early:#}: {:#}", report["findings"]);
    let text = text_of_last(folder.path());
    assert!(text.contains("known after ") && text.contains(" of 2 min 00 s") && !text.contains("Told early"), "{text}");
}

#[test]
fn failures_are_told_of_a_file_that_grows_by_the_id_of_their_finding() {
    let folder = history(RUNS);
    let text = night(RUNS, &Course { failed_every: 50, ..STEADY });
    let (first, rest) = text.split_at(text.len() / 2);
    let path = folder.path().join("k6.json");
    std::fs::write(&path, first).unwrap();
    let mut child = start(folder.path(), &["k6.json", "--follow", "--quiet-seconds", "30"]);
    let lines = lines(&mut child);
    let told = lines.recv_timeout(PATIENCE).unwrap();
    assert!(told.contains(": more requests fail than in 7 earlier runs, http_req_failed rate +"), "{told}");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(rest).unwrap();
    drop(file);
    let (report, more) = finish(child, &lines);
    assert_eq!(more, Vec::<String>::new());
    let early = &report["early"][0];
    assert_eq!((&early["kind"], &early["id"]), (&"error_rate".into(), &early["confirmed_by"]), "{early:#}");
    assert!(finding_ids(&report).contains(&&early["id"]), "{:#}", report["findings"]);
}

#[test]
fn the_usual_run_a_short_history_and_a_file_that_is_whole_are_silent() {
    let folder = history(3);
    let check = |day: i64, level: f64, is_looked_at: bool| {
        let text = night(day, &Course { level, ..STEADY });
        let output = with_stdin(tidemark(folder.path()).args(["analyze", "-", "--format", "json"]), &text);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let report = json(&output);
        assert_eq!(report.get("early"), is_looked_at.then_some(&Value::Array(Vec::new())), "day {day}");
    };
    check(3, 1.0, false);
    for day in 4..8 {
        check(day, 1.0, true);
    }
    std::fs::write(folder.path().join("k6.json"), night(8, &Course { level: 1.5, ..STEADY })).unwrap();
    let output = tidemark(folder.path()).args(["analyze", "k6.json", "--format", "json"]).output().unwrap();
    assert!(output.stderr.is_empty() && json(&output).get("early").is_none());
    // A slow run of another environment has no history there.
    let arguments = ["analyze", "-", "--format", "json", "--environment", "another"];
    let output = with_stdin(tidemark(folder.path()).args(arguments), &night(9, &Course { level: 1.5, ..STEADY }));
    assert!(output.stderr.is_empty() && json(&output).get("early").is_none());
}

#[test]
fn what_goes_away_is_told_as_that() {
    let folder = history(RUNS);
    let text = night(RUNS, &Course { factor: |second| if second < 15 { 2.0 } else { 1.0 }, ..STEADY });
    let output = with_stdin(tidemark(folder.path()).args(["analyze", "-", "--format", "json"]), &text);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("after 10.0 s: slower than in 7 earlier runs, http_req_duration"), "{said}");
    let report = json(&output);
    assert_eq!(report["early"][0].get("confirmed_by"), None, "{:#}", report["findings"]);
    let text = text_of_last(folder.path());
    assert!(text.contains("Told early told after 10.0 s, but it went away: http_req_duration"), "{text}");
}
