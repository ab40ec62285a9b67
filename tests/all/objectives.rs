//! Thresholds over time, and error budgets.

use serde_json::Value;

use crate::anomalies::{Course, STEADY, stream};
use crate::front_door::{json, tidemark, with_stdin};

fn analyzed(config: &str, course: &Course, more: &[&str]) -> (Value, i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidemark.toml"), config).unwrap();
    let arguments = [&["analyze", "-", "--format", "json"], more].concat();
    let output = with_stdin(tidemark(folder.path()).args(arguments), &stream(9, course));
    let code = output.status.code().unwrap();
    let text = tidemark(folder.path()).args(["report", "last"]).output().unwrap();
    (json(&output), code, String::from_utf8(text.stdout).unwrap())
}

#[test]
fn a_threshold_that_holds_tells_when_it_was_broken() {
    let course = Course { factor: |second| if (40..70).contains(&second) { 2.0 } else { 1.0 }, ..STEADY };
    let (report, _, text) = analyzed("", &course, &["--threshold", "http_req_duration=med<30"]);
    let threshold = &report["thresholds"][0];
    let course = &threshold["over_time"];
    assert_eq!(threshold["passed"], true, "{threshold:#}");
    let broken = course["broken_seconds"].as_f64().unwrap();
    assert!((20.0..=50.0).contains(&broken) && course["worst"].as_f64() > Some(30.0), "{course:#}");
    assert!(course["longest_from"].as_str().unwrap().contains(":00:"), "{course:#}");
    assert!(text.contains("\n         broken for "), "{text}");
    // Of a metric whose seconds do not tell, and of a tag that no second keeps, nothing is said.
    let more = ["--threshold", "http_reqs=count>10", "--threshold", "http_req_duration{status:200}=p(95)<500"];
    let (report, ..) = analyzed("", &STEADY, &more);
    for threshold in report["thresholds"].as_array().unwrap() {
        assert_eq!(threshold["over_time"], Value::Null, "{threshold:#}");
    }
}

#[test]
fn one_failure_at_low_traffic_breaks_no_window() {
    let low = Course { requests_per_second: |_| 3.0, failed_every: 150, ..STEADY };
    let (report, ..) = analyzed("", &low, &["--threshold", "http_req_failed=rate<0.1"]);
    let course = &report["thresholds"][0]["over_time"];
    assert!(course["windows_count"].as_u64() >= Some(3) && course["broken_windows_count"] == 0, "{course:#}");
}

const BUDGETS: &str = "
[[objectives]]
name = \"availability\"
objective = 0.99

[[objectives]]
name = \"a in time\"
endpoint = \"a\"
latency_ms = 200
objective = 0.9
window_days = 7
";

#[test]
fn a_budget_burns_where_the_interval_says_so() {
    let (report, code, text) = analyzed(BUDGETS, &Course { failed_every: 20, ..STEADY }, &[]);
    let objectives = report["objectives"].as_array().unwrap();
    assert_eq!(
        (&objectives[0]["status"], &objectives[1]["status"]),
        (&"burning".into(), &"held".into()),
        "{objectives:#?}"
    );
    let (low, high) = (objectives[0]["low"].as_f64().unwrap(), objectives[0]["high"].as_f64().unwrap());
    assert!(low > 4.0 && low < 5.0 && high > 5.0 && high < 6.0, "{:#}", objectives[0]);
    assert_eq!((report["verdict"]["kind"].as_str(), code), (Some("thresholds_failed"), 1), "{:#}", report["verdict"]);
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == "objective").unwrap();
    let title = finding["title"].as_str().unwrap();
    assert!(
        title.starts_with("objective availability: 5.00 % of requests failed, and 1.00 % may: 5.0 times"),
        "{title}"
    );
    assert!(text.contains("Objectives\n  burning  availability: 99 % of requests good; "), "{text}");
}

#[test]
fn few_requests_decide_nothing_and_a_slow_endpoint_burns() {
    let few = Course { seconds: 60, requests_per_second: |_| 1.0, failed_every: 40, ..STEADY };
    let (report, ..) = analyzed(BUDGETS, &few, &[]);
    assert_eq!(report["objectives"][0]["status"], "not_enough_requests", "{:#}", report["objectives"]);
    assert_ne!(report["verdict"]["kind"], "thresholds_failed");
    let (report, ..) = analyzed(BUDGETS, &Course { level: 8.0, ..STEADY }, &[]);
    assert_eq!(report["objectives"][1]["status"], "burning", "{:#}", report["objectives"]);
    assert!(report["verdict"]["reasons"].to_string().contains("took more than 200 ms"), "{:#}", report["verdict"]);
}
