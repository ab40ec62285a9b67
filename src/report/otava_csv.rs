//! A history as Apache Otava reads it: the CSV, and the part of its `otava.yaml` that says what is in it.
//!
//! Otava takes a cell that is no number for an error and an empty one too, so a run without one of the metrics is left out.
//! Its times are `YYYY-MM-DD hh:mm:ss +0000`, a form that its `dateparser` and `tidemark import` both know.

use chrono::DateTime;

use crate::model::history_table::HistoryTable;

/// What Otava takes for an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// The CSV, and the runs that are not in it.
#[derive(Debug, PartialEq)]
pub struct OtavaCsv {
    pub csv: String,
    pub left_out_count: usize,
}

/// Returns the history as CSV, in the order of its rows.
pub fn render(history: &HistoryTable) -> OtavaCsv {
    let attributes = history.attributes.iter().map(|column| column.name.as_str());
    let metrics = history.metrics.iter().map(|column| column.name.as_str());
    let mut csv = row(["time"].into_iter().chain(attributes).chain(metrics));
    let mut left_out_count = 0;
    for (at, time) in history.times.iter().enumerate() {
        let numbers: Option<Vec<f64>> = history.metrics.iter().map(|column| column.cells[at]).collect();
        let Some(numbers) = numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite())) else {
            left_out_count += 1;
            continue;
        };
        let time = DateTime::from_timestamp_nanos(time.0).format("%Y-%m-%d %H:%M:%S %z").to_string();
        let attributes = history.attributes.iter().map(|column| column.cells[at].as_deref().unwrap_or_default());
        let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
        csv += &row([time.as_str()].into_iter().chain(attributes).chain(numbers.iter().map(String::as_str)));
    }
    OtavaCsv { csv, left_out_count }
}

/// Returns the test's part of `otava.yaml`; `better`: of each metric, in the order of the columns.
pub fn configuration(test: &str, file: &str, history: &HistoryTable, better: &[Better]) -> String {
    let attributes: Vec<String> = history.attributes.iter().map(|column| quoted(&column.name)).collect();
    let (test, file, attributes) = (quoted(test), quoted(file), attributes.join(", "));
    let mut yaml = format!(
        "tests:\n  {test}:\n    type: csv\n    file: {file}\n    time_column: time\n    attributes: [{attributes}]\n    metrics:\n"
    );
    for (column, better) in history.metrics.iter().zip(better) {
        let direction = if *better == Better::Higher { 1 } else { -1 };
        yaml += &format!("      {}:\n        direction: {direction}\n        scale: 1\n", quoted(&column.name));
    }
    yaml
}

fn row<'c>(cells: impl Iterator<Item = &'c str>) -> String {
    let needs_quotes = |cell: &str| cell.contains([',', '"', '\n', '\r']);
    let cell = |cell: &'c str| match needs_quotes(cell) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    };
    cells.map(cell).collect::<Vec<_>>().join(",") + "\n"
}

/// A JSON string is a YAML one.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::otava_csv::{Layout, read};
    use crate::model::history_table::Column;
    use crate::model::time::Timestamp;

    fn history() -> HistoryTable {
        let column = |name: &str, cells: [f64; 3]| Column { name: name.to_owned(), cells: cells.map(Some).into() };
        HistoryTable {
            times: [1_704_074_400, 1_704_160_800, 1_704_247_200].map(|second| Timestamp(second * 1_000_000_000)).into(),
            attributes: vec![Column {
                name: "commit".into(),
                cells: vec![Some("a,\"1\"".into()), None, Some("c".into())],
            }],
            metrics: vec![column("p95 of GET /a, ms", [12.5, 0.1 + 0.2, 13.0]), column("errors", [0.0, 1e-9, 0.25])],
        }
    }

    /// Python: `list(csv.reader(open(file, newline="")))`, and `dateparser.parse` of the first cells.
    #[test]
    fn rows() {
        let expected = "time,commit,\"p95 of GET /a, ms\",errors\n2024-01-01 02:00:00 +0000,\"a,\"\"1\"\"\",12.5,0\n\
                        2024-01-02 02:00:00 +0000,,0.30000000000000004,0.000000001\n2024-01-03 02:00:00 +0000,c,13,0.25\n";
        assert_eq!(render(&history()), OtavaCsv { csv: expected.to_owned(), left_out_count: 0 });
    }

    #[test]
    fn what_was_written_is_read_again() {
        let read = read(&render(&history()).csv, &Layout::default()).unwrap();
        assert_eq!((read.table, read.rejections), (history(), Vec::new()));
    }

    #[test]
    fn runs_without_a_metric_are_left_out_and_counted() {
        let mut history = history();
        history.metrics[0].cells[1] = None;
        history.metrics[1].cells[2] = Some(f64::NAN);
        let written = render(&history);
        assert_eq!((written.csv.lines().count(), written.left_out_count), (2, 2));
    }

    #[test]
    fn configuration_for_otava() {
        let expected = "tests:\n  \"shop\":\n    type: csv\n    file: \"shop.csv\"\n    time_column: time\n    attributes: [\"commit\"]\n    \
                        metrics:\n      \"p95 of GET /a, ms\":\n        direction: -1\n        scale: 1\n      \"errors\":\n        \
                        direction: -1\n        scale: 1\n";
        assert_eq!(configuration("shop", "shop.csv", &history(), &[Better::Lower; 2]), expected);
    }
}
