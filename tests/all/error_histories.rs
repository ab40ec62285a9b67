//! Failures beside a history: what was clean convicts at once, what was bad now and then does not.

use serde_json::Value;

use crate::anomalies::{Course, STEADY};
use crate::front_door::{json, tidemark, with_stdin};
use crate::histories::Nightly;

fn verdict(report: &Value) -> &str {
    report["verdict"]["kind"].as_str().unwrap()
}

fn worse(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["direction"] == "worse").collect()
}

/// What is said about the rate of failed requests that would have been found, in points.
fn detectable(report: &Value) -> f64 {
    let all = report["baseline"]["detectable"].as_array().unwrap();
    let whole = all.iter().find(|one| {
        one["series"]["metric"] == "http_req_failed" && one["series"]["tags"] == Value::Object(Default::default())
    });
    whole.unwrap_or_else(|| panic!("{all:#?}"))["change"]["point"].as_f64().unwrap()
}

#[test]
fn half_a_percent_of_errors_after_ten_clean_runs_convicts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 41);
    let course = Course { requests_per_second: |_| 167.0, ..STEADY };
    for _ in 0..10 {
        nightly.run_as(&course, &[]);
    }
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 200, ..course }, &[]);
    assert!(report["totals"]["requests_count"].as_u64().unwrap() > 19_000);
    assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["verdict"]);
    let first = &report["findings"][0];
    assert_eq!((&first["kind"], worse(&report).len()), (&"error_rate".into(), 1), "{:#}", report["findings"]);
    let title = first["title"].as_str().unwrap();
    assert_eq!(title, "0.50 % of requests failed, 0.00 % before in 10 runs");
    let (low, high) = (first["change"]["low"].as_f64().unwrap(), first["change"]["high"].as_f64().unwrap());
    assert!(low > 0.003 && low < 0.005 && high > 0.005 && high < 0.007, "{first:#}");
    assert!((0.0005..0.005).contains(&detectable(&report)), "{}", detectable(&report));
    // The next clean run is no regression, and no improvement either: it is as it always was.
    let (report, exit_code) = nightly.run_as(&course, &[]);
    assert_eq!((verdict(&report), exit_code), ("pass", 0), "{:#}", report["verdict"]);
    // With errors again, it is dated to the first run that has them.
    let (first, _) = nightly.run_as(&Course { failed_every: 200, ..course }, &[]);
    let (again, _) = nightly.run_as(&Course { failed_every: 200, ..course }, &[]);
    assert_eq!(verdict(&first), "regressed");
    assert_eq!(again["findings"][0]["since_run"], first["run"]["id"], "{:#}", again["findings"]);
}

#[test]
fn one_error_of_fifty_requests_is_not_convicted_and_the_power_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 42);
    let small = Course { requests_per_second: |second| f64::from(u8::from(second % 12 < 5)), ..STEADY };
    for _ in 0..10 {
        nightly.run_as(&small, &[]);
    }
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 40, ..small }, &[]);
    let totals = &report["totals"];
    assert!(totals["requests_count"].as_u64().unwrap() < 80 && totals["failed_requests_count"] == 1, "{totals:#}");
    assert_eq!((worse(&report).len(), exit_code), (0, 0), "{:#}", report["findings"]);
    assert!(detectable(&report) > 0.05, "{}", detectable(&report));
    let output = tidemark(folder.path()).args(["report", "last"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("failed requests: +")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("points"), "{line}");
}

#[test]
fn a_history_with_bad_runs_makes_one_more_of_them_no_regression() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 43);
    for failed_every in [0, 50, 0, 200, 0, 0, 65, 0, 100, 0] {
        nightly.run_as(&Course { failed_every, ..STEADY }, &["--baseline", "none"]);
    }
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 66, ..STEADY }, &[]);
    assert_eq!(exit_code, 0, "{:#}", report["verdict"]);
    assert!(worse(&report).iter().all(|finding| finding["suspect"] == true), "{:#}", report["findings"]);
    // Far beyond the worst of them.
    let (report, exit_code) = nightly.run_as(&Course { failed_every: 5, ..STEADY }, &[]);
    assert_eq!((verdict(&report), exit_code), ("regressed", 1), "{:#}", report["verdict"]);
}

#[test]
fn errors_of_one_endpoint_and_failing_checks_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 44);
    let mut run = |failed_b: bool, failed_check: i64, more: &[&str]| {
        let stream = String::from_utf8(nightly.drawn(&STEADY)).unwrap();
        let (mut lines, mut of_b, mut checks) = (String::new(), 0, 0);
        for line in stream.lines() {
            let is_failure = line.contains(r#""metric":"http_req_failed""#);
            of_b += i64::from(is_failure && line.contains(r#""name":"b""#));
            let fails = is_failure && failed_b && line.contains(r#""name":"b""#) && of_b % 20 == 0;
            lines += &if fails { line.replace(r#""value":0"#, r#""value":1"#) } else { line.to_owned() };
            lines.push('\n');
            if is_failure {
                checks += 1;
                let value = i64::from(failed_check == 0 || checks % failed_check != 0);
                let check = line.replace(r#""http_req_failed""#, r#""checks""#);
                let check = check.replace(r#""value":0"#, &format!(r#""value":{value}"#));
                lines += &check.replace(r#""scenario":"s""#, r#""check":"has items","scenario":"s""#);
                lines.push('\n');
            }
        }
        let arguments = [&["analyze", "-", "--format", "json", "--test", "nightly"], more].concat();
        json(&with_stdin(tidemark(folder.path()).args(arguments), lines.as_bytes()))
    };
    for _ in 0..7 {
        run(false, 0, &[]);
    }
    let report = run(true, 0, &[]);
    let kinds: Vec<&str> = worse(&report).iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["error_rate"], "{:#}", report["findings"]);
    let series: Vec<&Value> =
        [&worse(&report)[0]["series"]].into_iter().chain(worse(&report)[0]["also"].as_array().unwrap()).collect();
    assert!(series.iter().any(|series| series["tags"]["name"] == "b"), "{series:?}");
    assert!(!series.iter().any(|series| series["tags"]["name"] == "a"), "{series:?}");
    let report = run(false, 30, &[]);
    assert_eq!(worse(&report)[0]["kind"], "checks", "{:#}", report["findings"]);
    assert!(report["findings"].to_string().contains("has items"), "{:#}", report["findings"]);
}

#[test]
fn recovery_is_an_improvement() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 45);
    for _ in 0..7 {
        nightly.run_as(&Course { failed_every: 20, ..STEADY }, &[]);
    }
    let (report, exit_code) = nightly.run_as(&STEADY, &[]);
    assert_eq!((verdict(&report), exit_code), ("pass", 0), "{:#}", report["verdict"]);
    let [finding] = &report["findings"].as_array().unwrap()[..] else { panic!("{:#}", report["findings"]) };
    assert_eq!((&finding["kind"], &finding["direction"]), (&"error_rate".into(), &"better".into()));
    let (low, high) = (finding["change"]["low"].as_f64().unwrap(), finding["change"]["high"].as_f64().unwrap());
    assert!(low < -0.0495 && high < -0.04, "{finding:#}");
}
