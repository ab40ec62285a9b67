//! What stands out within a run, through the front door: streams in k6's form whose truth is known, since they are drawn.

use serde_json::Value;

use crate::compared::Random;
use crate::front_door::{json, tidemark, with_stdin};

/// How a drawn run goes, by second.
pub struct Course {
    /// When it starts, in seconds after `START`.
    pub at: i64,
    pub seconds: i64,
    pub requests_per_second: fn(i64) -> f64,
    pub vus: fn(i64) -> i64,
    /// Times the latency.
    pub factor: fn(i64) -> f64,
    /// Times the latency of the whole run.
    pub level: f64,
    /// Every so many requests one fails; 0: none.
    pub failed_every: i64,
}

pub const STEADY: Course = Course {
    at: 0,
    seconds: 120,
    requests_per_second: |_| 40.0,
    vus: |_| 10,
    factor: |_| 1.0,
    level: 1.0,
    failed_every: 0,
};

/// When the drawn runs start, in seconds since 1970.
const START: i64 = 1_795_500_000;

/// Two endpoints, log-normal with sigma 0.5 around 20 ms; the number of requests varies from second to second.
pub fn stream(seed: u64, course: &Course) -> Vec<u8> {
    let mut random = Random(seed);
    let mut requests_count = 0;
    let mut lines = String::new();
    let mut line = |metric: &str, time: i64, micros: i64, value: f64, tags: &str| {
        let time = chrono::DateTime::from_timestamp(START + course.at + time, micros as u32 * 1_000).unwrap();
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let data = format!(r#""data":{{"time":"{time}","value":{value},"tags":{tags}}}"#);
        lines += &format!("{{\"metric\":\"{metric}\",\"type\":\"Point\",{data}}}\n");
    };
    for second in 0..course.seconds {
        let rate = (course.requests_per_second)(second);
        let count = (rate + rate.sqrt() * random.normal()).round().max(0.0) as i64;
        for request in 0..count {
            let name = if random.uniform() < 0.5 { "a" } else { "b" };
            let tags = format!(r#"{{"expected_response":"true","method":"GET","name":"{name}","scenario":"s"}}"#);
            let milliseconds = 20.0 * (0.5 * random.normal()).exp() * (course.factor)(second) * course.level;
            let micros = request * 900_000 / count;
            for (metric, value) in [("http_reqs", 1.0), ("http_req_duration", milliseconds), ("iterations", 1.0)] {
                line(metric, second, micros, value, &tags);
            }
            requests_count += 1;
            let is_failed = course.failed_every > 0 && requests_count % course.failed_every == 0;
            line("http_req_failed", second, micros, f64::from(u8::from(is_failed)), &tags);
        }
        line("vus", second, 999_000, (course.vus)(second) as f64, "null");
    }
    lines.into_bytes()
}

fn findings(seed: u64, course: &Course) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidemark(folder.path());
    let output = with_stdin(command.args(["analyze", "-", "--no-store", "--format", "json"]), &stream(seed, course));
    json(&output)["findings"].as_array().unwrap().clone()
}

/// Seconds from the start of the run.
fn seconds(time: &Value) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(time.as_str()?).unwrap();
    Some(time.timestamp() - START)
}

#[test]
fn stationary_runs_are_silent() {
    let seeds = 100..125;
    println!("seeds {seeds:?}");
    let loud: Vec<u64> = seeds.filter(|seed| !findings(*seed, &STEADY).is_empty()).collect();
    // One in twenty may be wrong.
    assert!(loud.len() <= 1, "{loud:?}");
}

#[test]
fn a_step_is_dated_and_a_bump_has_its_end() {
    let step = Course { factor: |second| if second >= 80 { 1.4 } else { 1.0 }, ..STEADY };
    let bump = Course { factor: |second| if (50..75).contains(&second) { 1.6 } else { 1.0 }, ..STEADY };
    for seed in 1..4 {
        println!("seed {seed}");
        for (course, from, until, size) in [(&step, 80, None, 0.4), (&bump, 50, Some(75), 0.6)] {
            let findings = findings(seed, course);
            assert_eq!(findings.len(), 1, "two endpoints that move at once are one finding: {findings:#?}");
            let finding = &findings[0];
            assert_eq!((finding["kind"].as_str(), finding["direction"].as_str()), (Some("anomaly"), Some("worse")));
            assert!((seconds(&finding["from"]).unwrap() - from).abs() <= 3, "{}", finding["title"]);
            let end = seconds(&finding["until"]);
            assert_eq!(end.is_some(), until.is_some(), "{}", finding["title"]);
            assert!(end.zip(until).is_none_or(|(end, until)| (end - until).abs() <= 3), "{}", finding["title"]);
            let change = &finding["change"];
            assert!(
                change["low"].as_f64() < Some(size + 0.1) && change["high"].as_f64() > Some(size - 0.1),
                "{change}"
            );
            assert!(finding["series"]["tags"]["name"] != finding["also"][0]["tags"]["name"], "{:#}", finding["also"]);
        }
    }
}

#[test]
fn a_ramp_that_only_follows_its_load_is_silent() {
    fn level(second: i64) -> f64 {
        second.min(180 - second) as f64 / 90.0
    }
    let ramp = Course {
        seconds: 180,
        requests_per_second: |second| 10.0 + 70.0 * level(second),
        vus: |second| (2.0 + 16.0 * level(second)) as i64,
        factor: |second| 1.0 + 1.5 * level(second),
        ..STEADY
    };
    for seed in 1..4 {
        let findings = findings(seed, &ramp);
        assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
    }
}

#[test]
fn a_stall_is_fewer_requests_with_as_many_vus_and_says_what_was_not_sent() {
    let stall = Course {
        requests_per_second: |second| match second {
            60..80 => 0.0,
            80 => 10.0,
            _ => 40.0,
        },
        // Ten VUs that waited for twenty seconds.
        factor: |second| if second == 80 { 1000.0 } else { 1.0 },
        ..STEADY
    };
    for seed in 1..4 {
        let findings = findings(seed, &stall);
        let of_kind = |kind: &str| findings.iter().find(|finding| finding["kind"] == kind);
        let collapse = of_kind("anomaly").unwrap_or_else(|| panic!("seed {seed}: {findings:#?}"));
        assert_eq!(collapse["series"]["metric"], "http_reqs", "{findings:#?}");
        let (from, until) = (seconds(&collapse["from"]).unwrap(), seconds(&collapse["until"]).unwrap());
        assert!((from - 60).abs() <= 1 && (until - 81).abs() <= 2, "{}", collapse["title"]);
        let omission = of_kind("coordinated_omission").unwrap_or_else(|| panic!("seed {seed}: {findings:#?}"));
        assert!(omission["title"].as_str().unwrap().contains("estimate"), "{omission:#}");
        // A sixth of the time was the stall: 1 % of all that was due waited for nearly all of the longest wait, which is drawn as well.
        let estimated = omission["observed"].as_f64().unwrap();
        assert!((12_000.0..60_000.0).contains(&estimated), "{estimated}");
        assert_eq!(findings.len(), 2, "{findings:#?}");
    }
}
