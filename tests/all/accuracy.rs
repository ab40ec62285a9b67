//! `tidemark accuracy` through the front door: cases in, verdicts out, with drawn cases whose truth is known.

use std::process::Output;

use serde_json::{Value, json};

use crate::compared::Random;
use crate::front_door::{tidemark, with_stdin};

fn asked(kind: &str, cases: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    with_stdin(tidemark(folder.path()).args(["accuracy", kind]), cases.as_bytes())
}

fn verdict(kind: &str, case: &Value) -> Value {
    let output = asked(kind, &format!("{case}\n\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["id"], case["id"]);
    verdict
}

#[test]
fn a_step_of_a_history_is_a_regression_with_its_run_and_effect() {
    let mut random = Random(7);
    let mut run = |factor: f64| {
        let level = 100.0 * factor * (0.02 * random.normal()).exp();
        let mut window = || {
            let p50 = level * (0.02 * random.normal()).exp();
            json!([250, 1.1 * p50, p50, 2.0 * p50, 3.0 * p50])
        };
        let windows: Vec<Value> = (0..12).map(|_| window()).collect();
        json!({ "windows": windows, "more": "is passed over" })
    };
    let history: Vec<Value> = (0..12).map(|number| run(if number < 9 { 1.0 } else { 1.2 })).collect();
    let stepped = verdict("regression", &json!({ "id": "a", "target": "p95", "runs": history }));
    assert_eq!((&stepped["regression"], &stepped["at_run"]), (&json!(true), &json!(9)), "{stepped}");
    let (low, high) = (stepped["ci"][0].as_f64().unwrap(), stepped["ci"][1].as_f64().unwrap());
    assert!(low > 0.1 && low < 0.2 && high > 0.2, "{stepped}");
    let before = verdict("regression", &json!({ "id": "b", "target": "p95", "runs": history[..9] }));
    assert_eq!((&before["regression"], &before["suspect"]), (&json!(false), &json!(false)), "{before}");
    let short = verdict("regression", &json!({ "id": "c", "target": "mean", "runs": history[..2] }));
    assert_eq!((&short["regression"], &short["score"]), (&json!(false), &Value::Null), "{short}");
}

#[test]
fn change_points_anomalies_and_looks_say_where() {
    let mut random = Random(8);
    let mut values: Vec<Value> = (0..60).map(|at| json!(if at < 40 { 10.0 } else { 13.0 } + random.normal())).collect();
    values[5] = Value::Null;
    let changed = verdict("change-points", &json!({ "id": "a", "values": values }));
    let places = changed["change_points"].as_array().unwrap();
    assert!(places.len() == 1 && (38..=42).contains(&places[0].as_i64().unwrap()), "{changed}");

    let mut stream: Vec<f64> = (0..400).map(|at| (at as f64 / 9.0).sin() + 0.05 * random.normal()).collect();
    stream[300] = 9.0;
    let strange = verdict("anomalies", &json!({ "id": "b", "v": stream }));
    assert_eq!(strange["anomalies"], json!([300]));
    assert_eq!(strange["scores"].as_array().unwrap().len(), 400);

    let mut run = |factor: f64| -> Vec<f64> {
        let level = 100.0 * factor * (0.02 * random.normal()).exp();
        (0..60).map(|_| level * (0.05 * random.normal()).exp()).collect()
    };
    let history: Vec<Vec<f64>> = (0..12).map(|_| run(1.0)).collect();
    let (same, slower) = (run(1.0), run(1.3));
    let silent = verdict("looking", &json!({ "id": "c", "history": history, "windows": same }));
    assert_eq!(silent["alarm_at"], Value::Null, "{silent}");
    let alarmed = verdict("looking", &json!({ "id": "d", "history": history, "windows": slower }));
    assert!(alarmed["alarm_at"].as_u64().is_some_and(|at| at < 30), "{alarmed}");
}

#[test]
fn a_line_that_is_no_case_is_named() {
    for kind in ["regression", "change-points", "anomalies", "looking"] {
        let output = asked(kind, "\n{\"id\": 1}\n");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.starts_with("tidemark: line 2 is no case of this kind: "), "{error}");
    }
}

#[test]
fn the_table_of_all_kinds_is_the_one_in_the_readme() {
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = tidemark(project).args(["accuracy", "all"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.lines().count() > 10, "{}", String::from_utf8_lossy(&output.stderr));
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    assert!(readme.contains(&table), "the README has another table than this one:\n{table}");
}

#[test]
fn without_the_cases_it_is_said_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = tidemark(folder.path()).args(["accuracy", "all"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = "tidemark: there is no folder data/accuracy: run it in this project's folder, or name --data\n";
    assert_eq!((error.as_str(), output.status.code()), (expected, Some(2)));
    std::fs::create_dir_all(folder.path().join("data/accuracy")).unwrap();
    std::fs::write(folder.path().join("data/accuracy/others.json"), "{}").unwrap();
    let output = tidemark(folder.path()).args(["accuracy", "all"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("failed to read data/accuracy/regression.truth.jsonl.gz"), "{error}");
    assert_eq!(output.status.code(), Some(3));
}
