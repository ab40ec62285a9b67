//! How a long run goes: a steady climb, spikes that a clock makes, and neither.

use serde_json::Value;

use crate::anomalies::{Course, STEADY, stream};
use crate::front_door::{json, tidemark, with_stdin};

const SOAK: Course = Course { seconds: 1_800, requests_per_second: |_| 12.0, ..STEADY };

fn report(seed: u64, course: &Course, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["analyze", "-", "--no-store", "--format", "json"], more].concat();
    json(&with_stdin(tidemark(folder.path()).args(arguments), &stream(seed, course)))
}

fn findings(report: &Value) -> &[Value] {
    report["findings"].as_array().unwrap()
}

#[test]
fn a_climb_is_one_finding_with_its_slope_and_the_time_until_a_threshold() {
    let course = Course { factor: |second| 1.0 + 0.25 * second as f64 / 1_800.0, ..SOAK };
    let report = report(
        1,
        &course,
        &["--threshold", "http_req_duration=p(95)<200", "--threshold", "http_req_duration{name:ab}=p(95)<90"],
    );
    let [finding] = findings(&report) else { panic!("{:#}", report["findings"]) };
    assert_eq!((&finding["kind"], &finding["direction"]), (&"leak".into(), &"worse".into()), "{finding:#}");
    // +25 % in half an hour, of a line that is +25 % of its start: between 1.25^2 - 1 and 2 x 25 % an hour.
    let change = &finding["change"];
    let (low, high) = (change["low"].as_f64().unwrap(), change["high"].as_f64().unwrap());
    assert!(low < 0.56 && high > 0.45 && low > 0.3 && high < 0.85, "{change:#}");
    let title = finding["title"].as_str().unwrap();
    assert!(title.contains("climbs steadily") && title.contains("; p(95)<200 is reached after "), "{title}");
    assert_eq!(report["verdict"]["kind"], "suspect", "{:#}", report["verdict"]);
    assert!(
        finding["also"]
            .as_array()
            .unwrap()
            .iter()
            .any(|series| series["tags"]["name"] != finding["series"]["tags"]["name"])
    );
}

#[test]
fn a_step_is_no_climb_and_a_short_run_no_soak() {
    let step = Course { factor: |second| if second < 900 { 1.0 } else { 1.3 }, ..SOAK };
    let stepped = report(2, &step, &[]);
    let kinds: Vec<&Value> = findings(&stepped).iter().map(|finding| &finding["kind"]).collect();
    assert!(!kinds.contains(&&Value::from("leak")) && !kinds.is_empty(), "{:#}", stepped["findings"]);
    let short = Course { seconds: 300, factor: |second| 1.0 + 0.2 * second as f64 / 300.0, ..SOAK };
    let short = report(3, &short, &[]);
    assert!(findings(&short).iter().all(|finding| finding["kind"] != "leak"), "{:#}", short["findings"]);
}

#[test]
fn spikes_of_a_clock_are_one_finding_with_their_period() {
    let course = Course {
        seconds: 900,
        requests_per_second: |_| 40.0,
        factor: |second| if second % 60 < 5 && second > 30 { 2.0 } else { 1.0 },
        ..STEADY
    };
    let report = report(4, &course, &[]);
    let [finding] = findings(&report) else { panic!("{:#}", report["findings"]) };
    let title = finding["title"].as_str().unwrap();
    assert!(title.contains(" every 60.") || title.contains(" every 59.9"), "{title}");
    assert!(
        title.contains("14 times")
            && (title.contains("times as high for 5 s") || title.contains("times as high for 4 s")),
        "{title}"
    );
    assert_eq!((&finding["kind"], &finding["severity"]), (&"anomaly".into(), &"major".into()));
    assert_eq!(finding["also"].as_array().unwrap().len(), 1, "both endpoints: {finding:#}");
}

#[test]
fn steady_soaks_are_silent() {
    for seed in 10..14 {
        let report = report(seed, &SOAK, &[]);
        assert_eq!(findings(&report), [] as [Value; 0], "seed {seed}");
    }
    // A load that goes up and down twice, and latency with it.
    fn level(second: i64) -> f64 {
        1.5 - (second as f64 / 900.0 * std::f64::consts::TAU).cos()
    }
    let waves = Course {
        requests_per_second: |second| 10.0 * level(second),
        vus: |second| (20.0 * level(second)).round() as i64,
        factor: |second| 1.0 + 0.2 * level(second),
        ..SOAK
    };
    let report = report(20, &waves, &[]);
    assert_eq!(findings(&report), [] as [Value; 0]);
}
