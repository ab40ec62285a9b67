//! Runs whose load climbs until the system under test has no more room: where, and whether that is earlier than before.

use std::path::Path;

use serde_json::Value;

use crate::compared::Random;
use crate::front_door::{json, tidemark, with_stdin};

const SECONDS: i64 = 180;
const VUS: f64 = 50.0;
/// How long a VU waits between two requests, in seconds.
const PAUSE: f64 = 0.1;
const SERVICE_MS: f64 = 20.0;

/// What makes the load climb.
#[derive(Clone, Copy)]
enum Climb {
    /// 1 to 50 VUs.
    Vus,
    /// 5 to 300 iterations a second.
    Arrivals,
}

/// Runs of a system with room for so many VUs, or so many iterations a second, as a part of the top of the load.
struct Ramps<'f> {
    folder: &'f Path,
    random: Random,
    run: i64,
}

impl Ramps<'_> {
    fn new(folder: &Path, seed: u64) -> Ramps<'_> {
        println!("seed {seed}");
        Ramps { folder, random: Random(seed), run: 0 }
    }

    /// Analyses the next run, with its knee at that part of the load; returns its report and the exit code.
    fn run(&mut self, climb: Climb, knee: f64) -> (Value, i32) {
        self.run += 1;
        // Room differs by 2 % from run to run, and so does the time that a request takes.
        let room = knee * (0.02 * self.random.normal()).exp();
        let service = SERVICE_MS * (0.02 * self.random.normal()).exp();
        let stream = self.stream(climb, room, service);
        let output =
            with_stdin(tidemark(self.folder).args(["analyze", "-", "--format", "json", "--test", "ramp"]), &stream);
        (json(&output), output.status.code().unwrap())
    }

    /// By Little's law: as many requests a second as VUs / (latency + pause), and never more than there is room for.
    fn stream(&mut self, climb: Climb, room: f64, service_ms: f64) -> Vec<u8> {
        let start = 1_795_500_000 + self.run * 86_400;
        let mut lines = String::new();
        let mut line = |metric: &str, second: i64, micros: i64, value: f64, tags: &str| {
            let time = chrono::DateTime::from_timestamp(start + second, micros as u32 * 1_000).unwrap();
            let time = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            let data = format!(r#""data":{{"time":"{time}","value":{value},"tags":{tags}}}"#);
            lines += &format!("{{\"metric\":\"{metric}\",\"type\":\"Point\",{data}}}\n");
        };
        let mut waiting = 0.0;
        for second in 0..SECONDS {
            let part = (second + 1) as f64 / SECONDS as f64;
            let (rate, latency_ms, vus) = match climb {
                Climb::Vus => {
                    let vus = (VUS * part).ceil();
                    let capacity = room * VUS / (service_ms / 1000.0 + PAUSE);
                    let rate = (vus / (service_ms / 1000.0 + PAUSE)).min(capacity);
                    (rate, (vus / rate - PAUSE) * 1000.0, vus)
                }
                Climb::Arrivals => {
                    let (due, capacity) = (300.0 * part, 300.0 * room);
                    waiting = f64::max(waiting + due - capacity, 0.0);
                    let rate = due.min(capacity);
                    let latency_ms = service_ms + 1000.0 * waiting / capacity;
                    (rate, latency_ms, rate * latency_ms / 1000.0 * (0.1 * self.random.normal()).exp())
                }
            };
            let count = (rate + 0.1 * rate.sqrt() * self.random.normal()).round().max(0.0) as i64;
            let tags = r#"{"expected_response":"true","method":"GET","name":"a","scenario":"s"}"#;
            for request in 0..count {
                let latency_ms = latency_ms * (0.3 * self.random.normal()).exp();
                let micros = request * 900_000 / count;
                for (metric, value) in [("http_reqs", 1.0), ("http_req_duration", latency_ms), ("iterations", 1.0)] {
                    line(metric, second, micros, value, tags);
                }
                line("http_req_failed", second, micros, 0.0, tags);
            }
            line("vus", second, 990_000, vus.round(), "null");
            line(
                "vus_max",
                second,
                990_000,
                400.0f64.min(if matches!(climb, Climb::Vus) { VUS } else { 400.0 }),
                "null",
            );
        }
        lines.into_bytes()
    }
}

fn verdict(report: &Value) -> &str {
    report["verdict"]["kind"].as_str().unwrap()
}

fn worse(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["direction"] == "worse").collect()
}

fn check(climb: Climb, seed: u64, unit: &str, top: f64) {
    let folder = tempfile::tempdir().unwrap();
    let mut ramps = Ramps::new(folder.path(), seed);
    for run in 0..10 {
        let (report, exit_code) = ramps.run(climb, 0.88);
        assert_eq!(worse(&report), Vec::<&Value>::new(), "run {run}: {:#}", report["ramp"]);
        let expected = if run == 0 { "inconclusive" } else { "pass" };
        assert_eq!((verdict(&report), exit_code), (expected, 0), "run {run}: {:#}", report["verdict"]);
        let knee = report["ramp"]["knee"]["load"].as_f64().unwrap_or_else(|| panic!("{:#}", report["ramp"]));
        assert!((0.8..1.0).contains(&(knee / top)), "run {run}: {:#}", report["ramp"]);
        let told = |finding: &&Value| finding["kind"] == "saturation" && finding["direction"] == "changed";
        assert_eq!(report["findings"].as_array().unwrap().iter().filter(told).count(), 1, "run {run}");
    }
    let (report, _) = ramps.run(climb, 0.7);
    let [finding] = worse(&report)[..] else { panic!("one cause is one finding: {:#}", report["findings"]) };
    assert_eq!(finding["kind"], "saturation", "{finding:#}");
    let title = finding["title"].as_str().unwrap();
    assert!(title.starts_with("saturates earlier: at ") && title.contains(unit), "{title}");
    let knee = finding["observed"].as_f64().unwrap();
    assert!((0.62..0.76).contains(&(knee / top)), "{title}");
    let (low, high) = (finding["change"]["low"].as_f64().unwrap(), finding["change"]["high"].as_f64().unwrap());
    assert!(low < 0.7 / 0.88 - 1.0 && high > 0.7 / 0.88 - 1.0 && high < -0.05, "{finding:#}");
    assert!(matches!(verdict(&report), "suspect" | "regressed"), "{:#}", report["verdict"]);
    // Once more: two runs agree.
    let (again, exit_code) = ramps.run(climb, 0.7);
    assert_eq!((verdict(&again), exit_code), ("regressed", 1), "{:#}", again["verdict"]);
    let [finding] = worse(&again)[..] else { panic!("one cause is one finding: {:#}", again["findings"]) };
    assert_eq!((&finding["kind"], &finding["since_run"]), (&"saturation".into(), &report["run"]["id"]), "{finding:#}");
}

#[test]
fn a_ramp_of_vus_that_saturates_as_always_passes_and_an_earlier_knee_is_found() {
    check(Climb::Vus, 1, "VUs", VUS);
}

#[test]
fn a_ramp_of_arrivals_that_saturates_as_always_passes_and_an_earlier_knee_is_found() {
    check(Climb::Arrivals, 2, "iterations/s", 300.0);
}

#[test]
fn a_ramp_with_room_to_its_top_has_no_knee() {
    let folder = tempfile::tempdir().unwrap();
    let mut ramps = Ramps::new(folder.path(), 3);
    for _ in 0..5 {
        let (report, _) = ramps.run(Climb::Vus, 2.0);
        assert_eq!(report["ramp"]["knee"], Value::Null, "{:#}", report["ramp"]);
        assert_eq!(report["findings"], Value::Array(Vec::new()));
    }
    let (report, _) = ramps.run(Climb::Vus, 0.6);
    assert_eq!(worse(&report)[0]["kind"], "saturation", "{:#}", report["findings"]);
}
