//! Pods, zones and scenarios beside each other, through the front door: drawn runs of which the truth is known.

use std::path::Path;

use serde_json::Value;

use crate::compared::Random;
use crate::front_door::{json, tidemark};

/// When the drawn runs start, in seconds since 1970.
const START: i64 = 1_795_500_000;
const SECONDS: i64 = 150;

/// How siblings differ, by their index and the second.
struct Drawn {
    /// The tag that tells them apart; `input`: a file each.
    kind: &'static str,
    siblings: usize,
    requests_per_second: f64,
    /// Times the latency.
    factor: fn(usize, i64) -> f64,
    failing: fn(usize, i64) -> f64,
    /// Of the requests of a sibling, those that go to the slower endpoint.
    slower_share: fn(usize) -> f64,
    /// How far siblings that are alike differ all the same: sigma of ln.
    unlike: f64,
}

const ALIKE: Drawn = Drawn {
    kind: "zone",
    siblings: 4,
    requests_per_second: 60.0,
    factor: |_, _| 1.0,
    failing: |_, _| 0.0,
    slower_share: |_| 0.5,
    unlike: 0.0,
};

impl Drawn {
    /// Writes the run's files; each server remembers something of the second before, and all share a part of it.
    fn write(&self, folder: &Path, seed: u64) -> Vec<String> {
        let mut random = Random(seed);
        let files = if self.kind == "input" { self.siblings } else { 1 };
        let mut texts = vec![String::new(); files];
        let levels: Vec<f64> = (0..self.siblings).map(|_| self.unlike * random.normal()).collect();
        let (mut all, mut servers) = (0.0, vec![0.0; self.siblings]);
        for second in 0..SECONDS {
            all = 0.6 * all + 0.8 * random.normal();
            servers.iter_mut().for_each(|server| *server = 0.4 * *server + 0.9 * random.normal());
            let rate = self.requests_per_second;
            let count = (rate + rate.sqrt() * random.normal()).round().max(0.0) as i64;
            for request in 0..count {
                let sibling = (random.uniform() * self.siblings as f64) as usize;
                let (name, usual) = match random.uniform() < (self.slower_share)(sibling) {
                    true => ("slower", 60.0),
                    false => ("faster", 20.0),
                };
                let server = levels[sibling] + 0.05 * all + 0.05 * servers[sibling];
                let latency = usual * (0.5 * random.normal() + server).exp() * (self.factor)(sibling, second);
                let failed = u8::from(random.uniform() < (self.failing)(sibling, second));
                let (own, scenario) = match self.kind {
                    "input" => (String::new(), "s".to_owned()),
                    "scenario" => (String::new(), format!("s{sibling}")),
                    tag => (format!(r#","{tag}":"{}""#, char::from(b'a' + sibling as u8)), "s".to_owned()),
                };
                let tags = format!(
                    r#"{{"expected_response":"true","method":"GET","name":"{name}","scenario":"{scenario}"{own}}}"#
                );
                let file = if files > 1 { sibling } else { 0 };
                let micros = request * 900_000 / count;
                let samples = [("http_reqs", 1.0), ("http_req_duration", latency), ("http_req_failed", failed.into())];
                for (metric, value) in samples {
                    texts[file] += &line(metric, second, micros, value, &tags);
                }
                texts[file] += &line("iterations", second, micros, 1.0, "null");
            }
            texts.iter_mut().for_each(|text| *text += &line("vus", second, 999_000, 10.0, "null"));
        }
        let names = texts.iter().enumerate().map(|(file, text)| {
            let name = format!("pod-{}.json", char::from(b'a' + file as u8));
            std::fs::write(folder.join(&name), text).unwrap();
            name
        });
        names.collect()
    }

    fn findings(&self, seed: u64) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let names = self.write(folder.path(), seed);
        let mut command = tidemark(folder.path());
        let output = command.arg("analyze").args(&names).args(["--no-store", "--format", "json"]).output().unwrap();
        json(&output)["findings"].as_array().unwrap().clone()
    }
}

fn line(metric: &str, second: i64, micros: i64, value: f64, tags: &str) -> String {
    let time = chrono::DateTime::from_timestamp(START + second, micros as u32 * 1_000).unwrap();
    let time = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let data = format!(r#""data":{{"time":"{time}","value":{value},"tags":{tags}}}"#);
    format!("{{\"metric\":\"{metric}\",\"type\":\"Point\",{data}}}\n")
}

fn is_of(finding: &Value, kind: &str) -> bool {
    finding["series"]["tags"].get(kind).is_some()
}

/// Seconds from the start of the run.
fn seconds(time: &Value) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(time.as_str()?).unwrap();
    Some(time.timestamp() - START)
}

#[test]
fn the_slow_one_is_named_with_its_time_and_size() {
    for (seed, kind, name) in [(1, "zone", "b"), (2, "pod", "b"), (3, "input", "pod-b.json"), (4, "scenario", "s1")] {
        println!("seed {seed}");
        let slow = |sibling, second| if sibling == 1 && second >= 60 { 1.35 } else { 1.0 };
        let found = Drawn { kind, factor: slow, ..ALIKE }.findings(seed);
        assert_eq!(found.len(), 1, "the anomaly of all requests is a part of it: {found:#?}");
        let finding = &found[0];
        let tag = finding["series"]["tags"][kind].as_str().unwrap();
        assert!(tag.ends_with(name), "{finding:#}");
        assert_eq!((finding["kind"].as_str(), finding["direction"].as_str()), (Some("anomaly"), Some("worse")));
        assert!((seconds(&finding["from"]).unwrap() - 60).abs() <= 9, "{}", finding["title"]);
        assert!(finding.get("until").is_none(), "{}", finding["title"]);
        let change = &finding["change"];
        assert!(change["low"].as_f64() < Some(0.35) && change["high"].as_f64() > Some(0.35), "{change}");
        let title = finding["title"].as_str().unwrap();
        assert!(title.contains("% slower than 3 others on the same requests, from "), "{title}");
    }
}

#[test]
fn one_that_is_slow_all_the_time_or_fails_is_named_and_one_that_is_fast_is_not() {
    let slow = Drawn { siblings: 3, factor: |sibling, _| if sibling == 2 { 1.3 } else { 1.0 }, ..ALIKE };
    let found = slow.findings(11);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0]["title"].as_str().unwrap().ends_with("all the time"), "{}", found[0]["title"]);
    let failing = |sibling, second| if sibling == 0 && (50..110).contains(&second) { 0.08 } else { 0.002 };
    let found = Drawn { failing, ..ALIKE }.findings(12);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["series"]["metric"], "http_req_failed");
    assert_eq!(found[0]["series"]["tags"]["zone"], "a");
    let change = &found[0]["change"];
    assert!(change["low"].as_f64() < Some(0.08) && change["high"].as_f64() > Some(0.07), "{change}");
    let fast = Drawn { siblings: 3, factor: |sibling, _| if sibling == 2 { 0.6 } else { 1.0 }, ..ALIKE };
    assert_eq!(fast.findings(13), Vec::<Value>::new());
}

#[test]
fn another_mix_and_what_slows_all_are_none() {
    let mix = Drawn { slower_share: |sibling| [0.1, 0.5, 0.9, 0.4][sibling], ..ALIKE };
    assert_eq!(mix.findings(21), Vec::<Value>::new());
    let all = Drawn { factor: |_, second| if second >= 80 { 1.5 } else { 1.0 }, ..ALIKE };
    let found = all.findings(22);
    assert!(found.len() == 1 && !is_of(&found[0], "zone"), "{found:#?}");
}

#[test]
fn the_question_of_a_finding_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Drawn { factor: |sibling, _| if sibling == 1 { 1.5 } else { 1.0 }, ..ALIKE };
    let names = slow.write(folder.path(), 31);
    let report = json(&tidemark(folder.path()).arg("analyze").args(names).args(["--format", "json"]).output().unwrap());
    let evidence = report["findings"][0]["evidence"].as_array().unwrap();
    let sql = evidence.iter().find_map(|one| one["sql"].as_str()).unwrap();
    let output = tidemark(folder.path()).args(["query", sql, "--format", "json"]).output().unwrap();
    let rows = json(&output);
    assert!(rows.as_array().unwrap().iter().any(|row| row["zone"] == "b"), "{rows:#}");
}

#[test]
fn siblings_that_are_alike_are_silent() {
    let seeds = 100..112;
    println!("seeds {seeds:?}");
    let loud = seeds.filter(|seed| {
        let kind = ["zone", "input", "scenario"][*seed as usize % 3];
        let run = Drawn { kind, siblings: 3 + *seed as usize % 4, failing: |_, _| 0.01, ..ALIKE };
        run.findings(*seed).iter().any(|finding| is_of(finding, kind))
    });
    assert_eq!(loud.collect::<Vec<u64>>(), Vec::<u64>::new());
}
