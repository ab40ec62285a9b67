//! The named queries: what each answers on true runs is what DuckDB answers from k6's own files (`tests/queries/expected.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::util::display::array_value_to_string;
use sqllogictest::{DBOutput, DefaultColumnType, Runner, strict_column_validator};

use crate::front_door::{data, tidemark};

/// As `tests/queries/expected.py` knows them: a name, inputs, the test.
const RUNS: [(&str, &[&str], &str); 8] = [
    ("history-1", &["history/1/k6.json.gz"], "history"),
    ("history-2", &["history/2/k6.json.gz"], "history"),
    ("history-3", &["history/3/k6.json.gz"], "history"),
    ("history-4", &["history/4/k6.json.gz"], "history"),
    ("history-5", &["history/5/k6.json.gz"], "history"),
    ("aborted", &["aborted/k6.json.gz"], "aborted"),
    ("checkout", &["checkout/k6.json.gz", "checkout/summary-export.json"], "checkout"),
    ("dropped", &["dropped/k6.json.gz"], "dropped"),
];

/// A store with true runs, made once for all tests that only read it.
pub struct KeptRuns {
    folder: tempfile::TempDir,
    /// By name.
    pub run_ids: BTreeMap<&'static str, String>,
}

impl KeptRuns {
    pub fn shared() -> &'static KeptRuns {
        static KEPT: OnceLock<KeptRuns> = OnceLock::new();
        KEPT.get_or_init(KeptRuns::make)
    }

    pub fn make() -> KeptRuns {
        let folder = tempfile::tempdir().unwrap();
        let mut run_ids = BTreeMap::new();
        for (name, inputs, test) in RUNS {
            let output = tidemark(folder.path())
                .args(["analyze", "--baseline", "none", "--format", "json", "--test", test])
                .args(inputs.iter().map(|input| data(input)))
                .output()
                .unwrap();
            let report = crate::front_door::json(&output);
            run_ids.insert(name, report["run"]["id"].as_str().unwrap().to_owned());
        }
        KeptRuns { folder, run_ids }
    }

    /// A store with a run that was recorded together with what the servers said about it.
    pub fn recorded() -> &'static KeptRuns {
        static KEPT: OnceLock<KeptRuns> = OnceLock::new();
        KEPT.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let recording = data("recordings/gc-catalog");
            let mut command = tidemark(folder.path());
            command
                .args(["analyze", "--format", "json", "--capture"])
                .arg(&recording)
                .arg(recording.join("k6.json.gz"));
            let report = crate::front_door::json(&command.output().unwrap());
            let run_ids = BTreeMap::from([("recorded", report["run"]["id"].as_str().unwrap().to_owned())]);
            KeptRuns { folder, run_ids }
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn query(&self, arguments: &[&str]) -> Output {
        tidemark(self.path()).arg("query").args(arguments).output().unwrap()
    }

    /// Returns the rows of an answer, each as a JSON object.
    pub fn rows(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let output = self.query(&[arguments, &["--format", "json"]].concat());
        let rows = crate::front_door::json(&output);
        rows.as_array().unwrap().clone()
    }
}

/// What the runner of .slt files asks: `named NAME`, then a line a parameter.
struct Asker;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl sqllogictest::DB for Asker {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, asked: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let kept = if asked.contains("@recorded") { KeptRuns::recorded() } else { KeptRuns::shared() };
        let asked =
            kept.run_ids.iter().fold(asked.to_owned(), |text, (name, id)| text.replace(&format!("@{name}"), id));
        let mut lines = asked.lines();
        let name = lines.next().and_then(|line| line.strip_prefix("named ")).unwrap();
        let mut arguments = vec!["--named", name, "--format", "arrow"];
        lines.for_each(|parameter| arguments.extend(["--param", parameter]));
        let output = kept.query(&arguments);
        if !output.status.success() {
            return Err(Refused(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let reader = StreamReader::try_new(output.stdout.as_slice(), None).unwrap();
        let types = reader.schema().fields().iter().map(|field| column_type(field.data_type())).collect();
        let rows = reader.flat_map(|batch| rows_of(&batch.unwrap())).map(|row| kept.name_runs(row)).collect();
        Ok(DBOutput::Rows { types, rows })
    }
}

impl KeptRuns {
    fn name_runs(&self, row: Vec<String>) -> Vec<String> {
        let name = |cell: String| {
            self.run_ids.iter().find(|(_, id)| **id == cell).map_or(cell, |(name, _)| format!("@{name}"))
        };
        row.into_iter().map(name).collect()
    }
}

fn column_type(kind: &DataType) -> DefaultColumnType {
    match kind {
        DataType::Float64 => DefaultColumnType::FloatingPoint,
        kind if kind.is_integer() => DefaultColumnType::Integer,
        _ => DefaultColumnType::Text,
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Timestamp(..) => {
            let nanoseconds = column.as_primitive::<TimestampNanosecondType>().value(row);
            chrono::DateTime::from_timestamp_nanos(nanoseconds).format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
        }
        _ => array_value_to_string(column, row).unwrap(),
    }
}

/// Word by word; numbers may differ as far as the order of a sum makes them.
fn is_same(normalizer: sqllogictest::Normalizer, ours: &[Vec<String>], expected: &[String]) -> bool {
    let word_is_same = |(ours, expected): (&str, &str)| match (ours.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(ours), Ok(expected)) => (ours - expected).abs() <= 1e-12 * expected.abs(),
        _ => ours == expected,
    };
    let row_is_same = |(ours, expected): (&Vec<String>, &String)| {
        let (ours, expected) = (normalizer(&ours.join(" ")), normalizer(expected));
        let (ours, expected): (Vec<&str>, Vec<&str>) = (ours.split(' ').collect(), expected.split(' ').collect());
        ours.len() == expected.len() && ours.into_iter().zip(expected).all(word_is_same)
    };
    ours.len() == expected.len() && ours.iter().zip(expected).all(row_is_same)
}

fn slt_paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queries");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "slt")).collect();
    paths.sort();
    paths
}

#[test]
fn named_queries_answer_as_duckdb_does() {
    let paths = slt_paths();
    assert!(paths.len() >= 10, "only {} files", paths.len());
    for path in paths {
        let mut runner = Runner::new(|| async { Ok(Asker) });
        runner.with_column_validator(strict_column_validator);
        runner.with_validator(is_same);
        runner.run_file(&path).unwrap_or_else(|error| {
            let mend = "tests/queries/expected.py writes the file: run it when a query or what is asked has changed.";
            panic!("{}: {error}\n{mend}", path.display())
        });
    }
}

#[test]
fn the_list_names_every_query_and_each_can_be_asked_without_parameters() {
    let kept = KeptRuns::shared();
    let list = String::from_utf8(kept.query(&["--list"]).stdout).unwrap();
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("queries")).unwrap();
    let mut asked_count = 0;
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            list.lines().any(|line| line == name),
            "{name} is not listed: name it in FILES of src/tables/queries.rs"
        );
        let output = kept.query(&["--named", name, "--run", "last", "--run", "last~1"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        asked_count += 1;
    }
    assert!(asked_count >= 10);
}
