//! Runs judged by their history, through the front door: drawn runs in k6's form, one a day, of which the truth is known.

use std::path::Path;

use serde_json::Value;

use crate::anomalies::{Course, STEADY, stream};
use crate::compared::Random;
use crate::front_door::{tidemark, with_stdin};

const DAY_SECONDS: i64 = 86_400;

/// A test that is run once a day, and differs by 2 % from day to day by itself.
pub struct Nightly<'f> {
    folder: &'f Path,
    random: Random,
    day: i64,
}

impl Nightly<'_> {
    pub fn new(folder: &Path, seed: u64) -> Nightly<'_> {
        println!("seed {seed}");
        Nightly { folder, random: Random(seed), day: 0 }
    }

    /// Analyses the next run, `factor` times as slow as the usual one; returns its report and the exit code.
    pub fn run(&mut self, factor: f64, more: &[&str]) -> (Value, i32) {
        self.run_as(&Course { level: factor, ..STEADY }, more)
    }

    pub fn run_as(&mut self, course: &Course, more: &[&str]) -> (Value, i32) {
        let text = self.drawn(course);
        let arguments = [&["analyze", "-", "--format", "json", "--test", "nightly"], more].concat();
        let output = with_stdin(tidemark(self.folder).args(arguments), &text);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{cause}: {error}"));
        (report, output.status.code().unwrap())
    }

    /// What k6 would write of the next run.
    pub fn drawn(&mut self, course: &Course) -> Vec<u8> {
        self.day += 1;
        let level = course.level * (0.02 * self.random.normal()).exp();
        let course = Course { level, at: self.day * DAY_SECONDS, ..*course };
        stream(self.random.0 ^ self.day as u64, &course)
    }
}

fn verdict(report: &Value) -> &str {
    report["verdict"]["kind"].as_str().unwrap()
}

/// Findings about the history, not about the run itself.
fn findings(report: &Value) -> Vec<&Value> {
    let of_history = |finding: &&Value| finding["kind"] != "anomaly" && finding["kind"] != "generator";
    report["findings"].as_array().unwrap().iter().filter(of_history).collect()
}

#[test]
fn a_slowdown_is_dated_to_its_first_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 1);
    let mut ids = Vec::new();
    for run in 1..=14 {
        let (report, exit_code) = nightly.run(if run < 9 { 1.0 } else { 1.08 }, &[]);
        ids.push(report["run"]["id"].as_str().unwrap().to_owned());
        if run < 9 {
            assert_eq!(findings(&report), Vec::<&Value>::new(), "run {run}");
        }
        if run >= 12 {
            assert_eq!((verdict(&report), exit_code), ("regressed", 1), "run {run}: {:#}", report["findings"]);
            let finding = findings(&report)[0];
            assert_eq!(finding["since_run"], ids[8], "run {run}: {}", finding["title"]);
            let (low, high) = (finding["change"]["low"].as_f64().unwrap(), finding["change"]["high"].as_f64().unwrap());
            assert!(low > 0.0 && low < 0.08 && high > 0.08 && high < 0.2, "{finding:#}");
            assert!(report["baseline"]["runs"].as_array().unwrap().len() >= 8, "{:#}", report["baseline"]);
            // The table is beside a run from before the change, not beside one that shows it as well.
            assert!(ids[..8].iter().any(|id| report["comparison"]["base"]["id"] == *id), "run {run}");
        }
    }
}

#[test]
fn unchanged_runs_and_those_of_another_environment_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 2);
    for run in 1..=12 {
        let (report, exit_code) = nightly.run(1.0, &[]);
        assert_eq!((findings(&report).len(), exit_code), (0, 0), "run {run}: {:#}", report["findings"]);
        if run > 5 {
            let detectable = &report["baseline"]["detectable"][0];
            let (change, power) = (detectable["change"]["point"].as_f64().unwrap(), &detectable["power"]);
            assert!((0.05..0.3).contains(&change) && *power == 0.8, "{detectable:#}");
        }
        nightly.day -= 1;
        nightly.run(1.0 + 0.2 * f64::from(run % 3), &["--environment", "another"]);
    }
}

#[test]
fn one_bad_run_is_suspect_and_does_not_spoil_the_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 3);
    for _ in 0..9 {
        nightly.run(1.0, &[]);
    }
    let (report, exit_code) = nightly.run(1.35, &[]);
    assert_eq!((verdict(&report), exit_code), ("suspect", 0), "{:#}", report["findings"]);
    assert_eq!(findings(&report)[0]["suspect"], true);
    // It says how far this run is off, not how far a step would be that nobody knows of yet.
    let change = &findings(&report)[0]["change"];
    let (low, high) = (change["low"].as_f64().unwrap(), change["high"].as_f64().unwrap());
    assert!(low > 0.2 && low < 0.35 && high > 0.35 && high < 0.6, "{change:#}");
    let reason = report["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.ends_with("in this run alone after 9 earlier ones"), "{reason}");
    let (report, exit_code) = nightly.run(1.0, &[]);
    assert_eq!((findings(&report).len(), exit_code), (0, 0), "{:#}", report["findings"]);
    // The same again, and once more: two runs agree.
    nightly.run(1.35, &[]);
    let (report, exit_code) = nightly.run(1.35, &[]);
    assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["findings"]);
}

#[test]
fn errors_after_a_clean_history_convict_at_once_and_one_error_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 4);
    for _ in 0..6 {
        nightly.run(1.0, &[]);
    }
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 200, ..STEADY }, &[]);
    assert_eq!((verdict(&report), exit_code), ("regressed", 1));
    let first = findings(&report)[0];
    assert_eq!((first["kind"].as_str(), first["change"]["scale"].as_str()), (Some("error_rate"), Some("difference")));
    assert!(
        first["change"]["low"].as_f64() < Some(0.005) && first["change"]["high"].as_f64() > Some(0.005),
        "{first:#}"
    );
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 4_000, ..STEADY }, &[]);
    assert_eq!((findings(&report).len(), exit_code), (0, 0), "{:#}", report["findings"]);
}

#[test]
fn a_slow_drift_is_reported_although_no_two_neighbours_differ() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 5);
    let mut last = Value::Null;
    for run in 0..20 {
        (last, _) = nightly.run(1.01_f64.powi(run), &[]);
    }
    // A step at one of the newest runs may explain it as well: it is told as what is likelier, and never kept silent.
    let found = findings(&last);
    let kinds: Vec<&str> = found.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"drift") || kinds.contains(&"latency"), "{:#}", last["findings"]);
    assert_ne!(verdict(&last), "pass");
}

#[test]
fn what_is_accepted_is_the_usual_level_from_then_on_and_a_pin_overrules_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 6);
    for _ in 0..7 {
        nightly.run(1.0, &[]);
    }
    let first = nightly.run(1.3, &[]).0["run"]["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        nightly.run(1.3, &[]);
    }
    // It does not become the usual level by itself, however often it is seen.
    for _ in 0..6 {
        let (report, exit_code) = nightly.run(1.3, &[]);
        assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["verdict"]);
        assert_eq!(findings(&report)[0]["since_run"], first);
    }
    let said = |arguments: &[&str]| {
        let output = tidemark(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let accepted = said(&["baseline", "accept", "last", "--reason", "worth it"]);
    assert_eq!(accepted, format!("runs from {first} on are the usual level: baselines/nightly/default.json\n"));
    let (report, exit_code) = nightly.run(1.3, &[]);
    assert_eq!((findings(&report).len(), exit_code), (0, 0), "{:#}", report["findings"]);
    assert_eq!(report["baseline"]["runs"].as_array().unwrap().len(), 10);
    let listed = said(&["baseline", "list"]);
    let expected =
        format!("test nightly in environment default\n  judged by its runs from {first} on\n  because worth it\n");
    assert_eq!(listed, expected);

    said(&["baseline", "pin", "last"]);
    let pinned = report["run"]["id"].as_str().unwrap();
    let (report, _) = nightly.run(1.3, &[]);
    assert_eq!((&report["baseline"]["kind"], &report["baseline"]["runs"][0]), (&"pinned".into(), &pinned.into()));
    assert!(said(&["report", "pinned"]).contains(pinned));
    said(&["baseline", "unpin", "--test", "nightly"]);
    let (report, _) = nightly.run(1.3, &[]);
    assert_eq!(report["baseline"]["kind"], "history");
}

/// Three runs and a slower one are no history yet: the next slow run was once called a pass, since it was judged by all four.
#[test]
fn a_regression_of_a_short_history_stands_in_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let analyze = |number: &str| {
        let input = crate::front_door::data("history").join(number).join("k6.json.gz");
        let output = tidemark(folder.path()).arg("analyze").arg(input).args(["--format", "json"]).output().unwrap();
        crate::front_door::json(&output)
    };
    let verdicts: Vec<String> = ["1", "2", "3", "4", "5"].map(|run| verdict(&analyze(run)).to_owned()).into();
    assert_eq!(verdicts, ["pass", "pass", "pass", "regressed", "regressed"]);
}

#[test]
fn a_first_run_that_was_fast_is_not_the_measure_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 5);
    nightly.run(0.75, &[]);
    let reports: Vec<Value> = (2..=10).map(|_| nightly.run(1.0, &[]).0).collect();
    let verdicts: Vec<&str> = reports.iter().map(verdict).collect();
    // As long as nobody can know better, it counts.
    assert_eq!(verdicts[..4], ["regressed"; 4], "{verdicts:?}");
    assert_eq!(verdicts[4..], ["pass"; 5], "{verdicts:?}");
    let told = reports[4]["skipped"].to_string();
    assert!(told.contains("it rests on one earlier run, and 4 runs show it"), "{told}");
    // What comes then is judged by those runs.
    let slow: Vec<Value> = (0..3).map(|_| nightly.run(1.2, &[]).0).collect();
    assert_eq!(verdict(&slow[2]), "regressed", "{:#}", slow[2]["findings"]);
    assert_eq!(findings(&slow[2])[0]["since_run"], slow[0]["run"]["id"]);
}

#[test]
fn failures_that_began_in_the_second_run_stay_until_they_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 6);
    nightly.run(1.0, &[]);
    for _ in 2..=8 {
        let (report, _) = nightly.run_as(&Course { failed_every: 20, ..STEADY }, &[]);
        assert_eq!(verdict(&report), "regressed", "{:#}", report["findings"]);
    }
}

/// Blocks of a run of 35 s have 2 s and those of 36 s have 3: counted by block, the longer run had half as many requests again.
#[test]
fn a_second_more_or_less_is_no_change_of_throughput() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 7);
    for run in 0..9 {
        let (report, _) = nightly.run_as(&Course { seconds: if run < 6 { 36 } else { 35 }, ..STEADY }, &[]);
        assert_eq!(findings(&report), Vec::<&Value>::new(), "run {run}");
        assert!(run < 5 || report["baseline"]["runs"].as_array().unwrap().len() > 3, "{:#}", report["baseline"]);
    }
}

/// A generator that could not send what was asked for tells of itself: only failures are the system's for sure.
#[test]
fn a_run_that_its_generator_limited_is_inconclusive_and_no_measure_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 8);
    for _ in 0..9 {
        nightly.run(1.0, &[]);
    }
    let limited = |nightly: &mut Nightly, course: &Course| {
        let stream = String::from_utf8(nightly.drawn(course)).unwrap();
        let dropped = stream.lines().filter(|line| line.contains(r#""metric":"vus""#));
        let dropped: String = dropped.map(|line| line.replace(r#""vus""#, r#""dropped_iterations""#) + "\n").collect();
        let arguments = ["analyze", "-", "--format", "json", "--test", "nightly"];
        let output = with_stdin(tidemark(folder.path()).args(arguments), (stream + &dropped).as_bytes());
        (crate::front_door::json(&output), output.status.code().unwrap())
    };
    for level in [3.0, 1.3, 1.0] {
        let (report, exit_code) = limited(&mut nightly, &Course { level, ..STEADY });
        assert_eq!((verdict(&report), exit_code), ("inconclusive", 0), "{level}: {:#}", report["verdict"]);
        let first = report["verdict"]["reasons"][0].as_str().unwrap();
        assert!(first.starts_with("load generator: ") && first.contains("iterations were dropped"), "{first}");
    }
    let (report, exit_code) = limited(&mut nightly, &Course { failed_every: 50, ..STEADY });
    assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["verdict"]);
    // The same slowness without trouble, after all of them.
    let (report, exit_code) = nightly.run(3.0, &[]);
    assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["verdict"]);
    assert_eq!(report["baseline"]["runs"].as_array().unwrap().len(), 9);
}
