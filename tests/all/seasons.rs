//! Nightly runs whose weekends are slower, through the front door: a season is learned, and hides nothing.

use serde_json::Value;

use crate::anomalies::{Course, STEADY};
use crate::histories::Nightly;

const SHORT: Course = Course { seconds: 60, ..STEADY };
/// From then on three weekends are known, the newest runs left aside.
const LEARNED_FROM: i64 = 20;

fn findings(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] != "anomaly").collect()
}

#[test]
fn slower_weekends_are_no_steps_and_hide_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut nightly = Nightly::new(folder.path(), 5);
    let step_from = 29;
    let mut last = Value::Null;
    for night in 1..=step_from + 4 {
        // The first night is that of a Wednesday.
        let weekend = if (night + 1) % 7 >= 5 { 1.2 } else { 1.0 };
        let step = if night >= step_from { 1.1 } else { 1.0 };
        let (report, exit_code) = nightly.run_as(&Course { level: weekend * step, ..SHORT }, &[]);
        if (LEARNED_FROM..step_from).contains(&night) {
            assert_eq!((findings(&report).len(), exit_code), (0, 0), "night {night}: {:#}", report["findings"]);
            let method = report["comparison"]["method"].as_str().unwrap();
            assert!(method.contains("differ by weekends"), "{method}");
        }
        last = report;
    }
    assert_eq!(last["verdict"]["kind"], "regressed", "{:#}", last["findings"]);
    let finding = findings(&last)[0];
    assert!(finding["title"].as_str().unwrap().contains("besides what weekends differ by"), "{finding:#}");
    let (low, high) = (finding["change"]["low"].as_f64().unwrap(), finding["change"]["high"].as_f64().unwrap());
    assert!(low > 0.0 && low < 0.1 && high > 0.1 && high < 0.25, "{finding:#}");
}
