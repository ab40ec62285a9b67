//! SQL over kept runs through the front door: what it answers, what it refuses, within which limits; and that others read the same.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::queries::KeptRuns;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check_refused(arguments: &[&str], exit_code: i32, expected: &str) {
    let output = KeptRuns::shared().query(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {said}");
    assert!(said.contains(expected), "{arguments:?}: expected {expected:?} in:\n{said}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_wrong_query_is_told_with_what_was_most_likely_meant() {
    check_refused(&["SELECT endpiont FROM samples"], 2, "no column \"endpiont\"; did you mean endpoint?");
    check_refused(&["SELECT p95 FROM runs"], 2, "did you mean latency_p95_ms?");
    check_refused(&["SELECT * FROM sampels"], 2, "did you mean samples?; the tables are runs, samples, windows");
    check_refused(&["SELECT *\nFORM samples"], 2, "at line 2, column 1\n  FORM samples\n  ^");
    check_refused(&["SELECT nonsense(value) FROM samples"], 2, "Invalid function 'nonsense'");
    check_refused(&["SELECT 1; SELECT 2"], 2, "single SQL statement");
    check_refused(&[""], 2, "No SQL");
    check_refused(&["SELECT $x + 1"], 2, "$x");
    check_refused(&["SELECT 1 / 0"], 2, "Divide by zero");
    check_refused(&["SELECT k6_percentile(value, 95) FROM samples"], 2, "for p95 write 0.95");
    check_refused(&["SELECT k6_percentile(value, value) FROM samples"], 2, "must be a constant from 0 to 1");
    check_refused(&["SELECT k6_percentile(DISTINCT value, 0.5) FROM samples"], 2, "leave out DISTINCT");
    check_refused(&["SELECT run_id FROM runs", "--run", "nope"], 2, "no run \"nope\"");
    check_refused(&["--named", "slowest_endpoint"], 2, "did you mean slowest_endpoints?");
    check_refused(&["--named", "checks", "--param", "runs=x"], 2, "did you mean run?");
    check_refused(&["--named", "slowest_endpoints", "--param", "top=ten"], 2, "expected integer");
    check_refused(&["--named", "throughput_per_window", "--param", "window=0 seconds"], 2, "expected interval");
    check_refused(&["SELECT 1", "--timeout", "0"], 2, "--timeout");
    check_refused(&[], 2, "SQL");
}

#[test]
fn nothing_can_be_written_and_no_other_file_read() {
    let refused = "the store can be read by SQL, never written";
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "DROP TABLE runs",
        "INSERT INTO runs SELECT * FROM runs",
        "DELETE FROM runs",
        "UPDATE runs SET test = 'x'",
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs",
        "COPY runs TO 'runs.csv'",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE x AS SELECT 1",
    ] {
        check_refused(&[sql], 2, refused);
    }
    check_refused(&["SELECT * FROM '/etc/passwd'"], 2, "no table");
    check_refused(&["SELECT * FROM read_csv('/etc/passwd')"], 2, "'read_csv' not found");
    assert!(!KeptRuns::shared().path().join("runs.csv").exists());
}

#[test]
fn a_query_stays_within_its_limits() {
    let kept = KeptRuns::shared();
    let began = std::time::Instant::now();
    check_refused(
        &["SELECT sum(a.value + b.value + c.value) FROM samples a, samples b, samples c", "--timeout", "0.5"],
        2,
        "more than 0.5 s",
    );
    assert!(began.elapsed().as_secs() < 20, "it took {:?} to stop", began.elapsed());
    let too_many = "SELECT k6_percentile(value, 0.5) FROM generate_series(1, 100000000)";
    check_refused(&[too_many], 2, "more than the 256 MiB of memory");

    let cut = kept.query(&["SELECT value FROM samples"]);
    assert_eq!(String::from_utf8_lossy(&cut.stdout).lines().count(), 1001, "a head and 1000 rows");
    assert!(stderr(&cut).contains("the first 1000 rows, there are more"), "{}", stderr(&cut));
    let three = kept.query(&["SELECT value FROM samples", "--limit", "3", "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&three.stdout).lines().count(), 4);
    assert!(stderr(&three).contains("the first 3 rows"));
    let all = kept.query(&["SELECT value FROM samples", "--format", "csv"]);
    let counted = kept.rows(&["SELECT count(*) AS n FROM samples"])[0]["n"].as_u64().unwrap();
    assert_eq!(String::from_utf8_lossy(&all.stdout).lines().count() as u64, counted + 1);
    assert_eq!(stderr(&all), "");
    let exactly = kept.query(&["SELECT run_id FROM runs", "--limit", "8"]);
    assert_eq!(stderr(&exactly), "", "eight rows are all there are");
}

#[test]
fn tables_describe_themselves() {
    let kept = KeptRuns::shared();
    let tables = kept.rows(&["SHOW TABLES"]);
    let tables: Vec<&str> = tables
        .iter()
        .filter(|table| table["table_schema"] == "public")
        .map(|table| table["table_name"].as_str().unwrap())
        .collect();
    for table in [
        "runs",
        "samples",
        "series",
        "tag_sets",
        "windows",
        "blocks",
        "metrics",
        "thresholds",
        "host_metrics",
        "spans",
        "profiles",
        "logs",
    ] {
        assert!(tables.contains(&table), "{table} is not in {tables:?}");
        let columns = kept.rows(&[&format!("DESCRIBE {table}")]);
        assert_eq!(columns[0]["column_name"], "run_id", "{table}");
        // Every column can be read, of every run.
        assert!(kept.query(&[&format!("SELECT * FROM {table}"), "--format", "ndjson"]).status.success(), "{table}");
    }
    let plan = String::from_utf8(kept.query(&["EXPLAIN ANALYZE SELECT max(value) FROM samples"]).stdout).unwrap();
    assert!(plan.contains("Plan with Metrics"), "{plan}");
}

/// The sum over all runs of one query's figure is that of the reports.
#[test]
fn runs_side_by_side_keep_their_tags_apart() {
    let kept = KeptRuns::shared();
    let by_join = "SELECT s.run_id, t.endpoint, t.status, count(*) AS n, max(s.value) AS max FROM samples s \
                   JOIN tag_sets t ON s.run_id = t.run_id AND s.tag_set_id = t.tag_set_id \
                   GROUP BY s.run_id, t.endpoint, t.status ORDER BY 1, 2, 3";
    let looked_up = "SELECT run_id, endpoint, status, count(*) AS n, max(value) AS max FROM samples \
                     GROUP BY run_id, endpoint, status ORDER BY 1, 2, 3";
    assert_eq!(kept.rows(&[by_join]), kept.rows(&[looked_up]));
    let by_join = "SELECT w.run_id, s.metric, s.endpoint, sum(w.sum) AS sum FROM windows w \
                   JOIN series s ON s.run_id = w.run_id AND s.series_id = w.series_id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let looked_up = "SELECT run_id, metric, endpoint, sum(sum) AS sum FROM windows GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let rounded = |rows: Vec<Value>| -> Vec<Value> {
        let round = |row: Value| {
            json!([row["run_id"], row["metric"], row["endpoint"], (row["sum"].as_f64().unwrap() * 1e6).round()])
        };
        rows.into_iter().map(round).collect()
    };
    assert_eq!(rounded(kept.rows(&[by_join])), rounded(kept.rows(&[looked_up])));

    let sorted = kept.rows(&["SELECT run_id, endpoint, tags['name'] AS name, value FROM samples \
                              WHERE metric = 'http_req_duration' ORDER BY value DESC, time LIMIT 500"]);
    assert!(sorted.iter().all(|row| row["endpoint"] == row["name"]), "every name in these runs is a script's own");
    assert!(sorted.is_sorted_by(|one, next| one["value"].as_f64() >= next["value"].as_f64()));
    let runs_count = sorted.iter().map(|row| row["run_id"].as_str()).collect::<std::collections::BTreeSet<_>>().len();
    assert!(runs_count > 3, "rows of only {runs_count} runs");
}

#[test]
fn percentiles_are_those_of_the_report_to_the_last_bit() {
    let kept = KeptRuns::shared();
    let rows = kept.rows(&["SELECT m.run_id, m.metric, m.med, m.p90, m.p95, m.p99, m.p99_9, \
                            k6_percentile(s.value, 0.5) AS q50, k6_percentile(s.value, 0.9) AS q90, \
                            k6_percentile(s.value, 0.95) AS q95, k6_percentile(s.value, 0.99) AS q99, \
                            k6_percentile(s.value, 0.999) AS q99_9 FROM metrics m \
                            JOIN samples s ON s.run_id = m.run_id AND s.metric = m.metric WHERE m.kind = 'trend' \
                            GROUP BY 1, 2, 3, 4, 5, 6, 7"]);
    assert!(rows.len() > 50, "only {} metrics", rows.len());
    for row in &rows {
        for (of_report, of_sql) in [("med", "q50"), ("p90", "q90"), ("p95", "q95"), ("p99", "q99"), ("p99_9", "q99_9")]
        {
            assert_eq!(row[of_report], row[of_sql], "{row}");
        }
    }
}

#[test]
fn every_format_holds_the_same_rows() {
    let kept = KeptRuns::shared();
    let sql = "SELECT time, endpoint, expected_response, metadata, tags, value FROM samples \
               WHERE metric = 'http_req_duration' ORDER BY value DESC, time LIMIT 4";
    let rows = kept.rows(&[sql]);
    assert_eq!(rows.len(), 4);
    assert!(rows[0]["time"].as_str().unwrap().ends_with('Z') && rows[0]["tags"]["method"] == "POST", "{}", rows[0]);
    assert_eq!(rows[0].get("metadata"), Some(&Value::Null), "a column without a value is there");
    let answer = |format| kept.query(&[sql, "--format", format]).stdout;
    let lines = String::from_utf8(answer("ndjson")).unwrap();
    assert_eq!(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>(), rows);
    let csv = String::from_utf8(answer("csv")).unwrap();
    let value = rows[3]["value"].as_f64().unwrap().to_string();
    assert!(
        csv.starts_with("time,endpoint,expected_response,metadata,tags,value\n") && csv.trim_end().ends_with(&value),
        "{csv}"
    );
    let parquet = bytes::Bytes::from(answer("parquet"));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(parquet, 1024).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 4);
    let arrow = answer("arrow");
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 4);
    let infinite =
        kept.query(&["SELECT CAST('NaN' AS DOUBLE) AS x, CAST('Infinity' AS DOUBLE) AS y", "--format", "json"]);
    assert_eq!(crate::front_door::json(&infinite), json!([{"x": null, "y": null}]));
    let none = kept.query(&["SELECT value FROM samples WHERE false", "--format", "json"]);
    assert_eq!(crate::front_door::json(&none), json!([]));
}

fn samples_file(kept: &KeptRuns, run: &str) -> PathBuf {
    let manifest = kept.path().join(format!(".tidemark/runs/{}.json", kept.run_ids[run]));
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    kept.path().join(".tidemark/data").join(manifest["attempt"].as_str().unwrap()).join("samples.parquet")
}

#[test]
fn what_a_filter_on_the_run_leaves_out_is_not_opened_and_what_is_damaged_is_told() {
    let kept = KeptRuns::make();
    std::fs::write(samples_file(&kept, "checkout"), b"no longer Parquet").unwrap();
    let aborted = &kept.run_ids["aborted"];
    let count = "SELECT count(value) AS n, max(endpoint) AS endpoint FROM samples WHERE ";
    for filter in [
        format!("run_id = '{aborted}'"),
        format!("run_id IN ('{aborted}', 'other')"),
        format!("'{aborted}' = run_id AND value >= 0"),
        format!("run_id LIKE '{}%'", &aborted[..8]),
    ] {
        let rows = kept.rows(&[&format!("{count}{filter}")]);
        assert_eq!(rows[0], json!({"n": 1268, "endpoint": "POST /pay"}), "{filter}");
    }
    assert_eq!(kept.rows(&[&format!("{count}true"), "--run", aborted])[0]["n"], 1268);
    let whole = kept.query(&["SELECT sum(value) FROM samples"]);
    assert_eq!(whole.status.code(), Some(5), "{}", stderr(&whole));
    assert!(stderr(&whole).contains("failed to read the kept tables"), "{}", stderr(&whole));
}

#[test]
fn a_run_without_its_samples_has_no_rows_there_and_is_still_a_run() {
    let kept = KeptRuns::make();
    std::fs::remove_file(samples_file(&kept, "checkout")).unwrap();
    let path = kept.path().join(format!(".tidemark/runs/{}.json", kept.run_ids["checkout"]));
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["tables"].as_array_mut().unwrap().retain(|table| table["table"] != "samples");
    std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let run = ["--run", kept.run_ids["checkout"].as_str()];
    let rows = |sql: &str| kept.rows(&[&[sql][..], &run].concat());
    assert_eq!(rows("SELECT value FROM samples"), Vec::<Value>::new());
    assert_eq!(
        rows("SELECT samples_count, requests_count FROM runs"),
        [json!({"samples_count": 0, "requests_count": 641})]
    );
    assert_eq!(rows("SELECT sum(sum) AS n FROM windows WHERE metric = 'http_reqs'"), [json!({"n": 641.0})]);
    let named = kept.query(&[&["--named", "slowest_endpoints"][..], &run].concat());
    assert!(named.status.success() && stderr(&named).contains("no rows (run "), "{}", stderr(&named));
}

#[test]
fn windows_give_k6s_percentiles_to_within_the_sketchs_error_when_the_samples_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| crate::front_door::tidemark(folder.path()).args(arguments).output().unwrap();
    run(&["analyze", crate::front_door::data("checkout/k6.json.gz").to_str().unwrap()]);
    let pruned = run(&["prune", "--keep", "1", "--samples-days", "0"]);
    assert!(pruned.status.success(), "{pruned:?}");
    let count = "SELECT count(*) AS n FROM samples";
    assert_eq!(crate::front_door::json(&run(&["query", count, "--format", "json"])), json!([{"n": 0}]));
    let sql = "SELECT metric, sketch_percentile(sketch, 0.5) AS p50, sketch_percentile(sketch, 0.95) AS p95, \
               sketch_percentile(sketch, 0.999) AS p99_9 FROM windows WHERE sketch IS NOT NULL GROUP BY metric";
    let summary = std::fs::read(crate::front_door::data("checkout/summary-export.json")).unwrap();
    let told: Value = serde_json::from_slice(&summary).unwrap();
    let mut compared_count = 0;
    for row in crate::front_door::json(&run(&["query", sql, "--format", "json"])).as_array().unwrap() {
        let figures = &told["metrics"][row["metric"].as_str().unwrap()];
        for (ours, theirs) in [("p50", "med"), ("p95", "p(95)"), ("p99_9", "p(99.9)")] {
            let (ours, theirs) = (row[ours].as_f64().unwrap(), figures[theirs].as_f64().unwrap());
            assert!((ours - theirs).abs() <= theirs / 256.0, "{row}: k6 has {theirs}");
            compared_count += 1;
        }
    }
    assert!(compared_count >= 30, "compared only {compared_count} percentiles");
}

#[test]
fn a_run_of_which_only_a_summary_is_known_has_metrics_and_thresholds() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| crate::front_door::tidemark(folder.path()).args(arguments).output().unwrap();
    let summary = crate::front_door::data("checkout/summary-export.json");
    run(&["analyze", summary.to_str().unwrap()]);
    let told: Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    let sql = "SELECT metric, avg, p95, p99_9, max FROM metrics WHERE kind = 'trend'";
    for row in crate::front_door::json(&run(&["query", sql, "--format", "json"])).as_array().unwrap() {
        let figures = &told["metrics"][row["metric"].as_str().unwrap()];
        for (ours, theirs) in [("avg", "avg"), ("p95", "p(95)"), ("p99_9", "p(99.9)"), ("max", "max")] {
            assert_eq!(row[ours].as_f64(), figures[theirs].as_f64(), "{row}");
        }
    }
    let sql =
        "SELECT count(*) AS n, count(*) FILTER (WHERE NOT passed) AS failed, min(judged_by) AS judge FROM thresholds";
    let rows = crate::front_door::json(&run(&["query", sql, "--format", "json"]));
    let all = told["metrics"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|metric| metric["thresholds"].as_object().into_iter().flatten());
    let failed = all.clone().filter(|(_, failed)| **failed == true).count();
    assert_eq!(rows, json!([{"n": all.count(), "failed": failed, "judge": "summary"}]));
    assert_eq!(run(&["query", "SELECT * FROM samples"]).status.code(), Some(0));
}

/// Python that can import duckdb.
fn duckdb_python() -> Option<String> {
    let python = std::env::var("TIDEMARK_DUCKDB_PYTHON").ok()?;
    let imports = Command::new(&python).args(["-c", "import duckdb"]).output();
    imports.is_ok_and(|output| output.status.success()).then_some(python)
}

/// Counts and exact percentiles of every endpoint of every run, as a list of rows, from the Parquet files alone.
const DUCKDB_SCRIPT: &str = "
import json, pathlib, sys
import duckdb
rows = []
for manifest in sorted(pathlib.Path(sys.argv[1]).glob('runs/*.json')):
    manifest = json.loads(manifest.read_text())
    folder = pathlib.Path(sys.argv[1]) / 'data' / manifest['attempt']
    answer = duckdb.execute(f'''
        SELECT endpoint, method, count(*), quantile_cont(value, 0.5), quantile_cont(value, 0.95), quantile_cont(value, 0.999)
        FROM read_parquet('{folder}/samples.parquet') JOIN read_parquet('{folder}/tag_sets.parquet') USING (tag_set_id)
        WHERE metric = 'http_req_duration' AND expected_response GROUP BY ALL ORDER BY ALL''')
    rows += [[manifest['run_id'], *row] for row in answer.fetchall()]
print(json.dumps(rows))
";

#[test]
fn others_read_it() {
    let Some(python) = duckdb_python() else {
        crate::store_faults::skipped("others_read_it: TIDEMARK_DUCKDB_PYTHON names no Python that can import duckdb");
        return;
    };
    let kept = KeptRuns::shared();
    let output = Command::new(python).args(["-c", DUCKDB_SCRIPT]).arg(kept.path().join(".tidemark")).output().unwrap();
    let theirs: Vec<Value> = crate::front_door::json(&output).as_array().unwrap().clone();
    let ours = kept.rows(&["SELECT run_id, endpoint, method, count(*) AS n, k6_percentile(value, 0.5) AS p50, \
                            k6_percentile(value, 0.95) AS p95, k6_percentile(value, 0.999) AS p99_9 FROM samples \
                            WHERE metric = 'http_req_duration' AND expected_response GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"]);
    assert!(ours.len() > 15 && ours.len() == theirs.len(), "{} rows, theirs {}", ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(
            json!([ours["run_id"], ours["endpoint"], ours["method"], ours["n"]]),
            json!(theirs.as_array().unwrap()[..4])
        );
        for (index, name) in ["p50", "p95", "p99_9"].iter().enumerate() {
            let (ours, theirs) = (ours[name].as_f64().unwrap(), theirs[4 + index].as_f64().unwrap());
            assert!((ours - theirs).abs() <= 1e-12 * theirs, "{name}: {ours}, theirs {theirs}");
        }
    }
}

#[test]
fn what_the_servers_said_is_read_by_others_as_well() {
    let Some(python) = duckdb_python() else {
        crate::store_faults::skipped(
            "what_the_servers_said_is_read_by_others_as_well: no Python that can import duckdb",
        );
        return;
    };
    let kept = KeptRuns::recorded();
    let asked = [
        ("host_metrics", "count(*)", "sum(rate_per_second)"),
        ("spans", "count(DISTINCT trace_id)", "sum(own_ms)"),
        ("profiles", "count(DISTINCT function)", "CAST(sum(self_value) AS DOUBLE)"),
        ("logs", "count(DISTINCT template)", "CAST(count(trace_id) AS DOUBLE)"),
    ];
    for (table, count, sum) in asked {
        let ours = &kept.rows(&[&format!("SELECT {count} AS n, {sum} AS s FROM {table}")])[0];
        let script = format!(
            "import sys, duckdb; print(list(duckdb.sql(f\"SELECT {count}, {sum} FROM '{{sys.argv[1]}}/data/*/{table}.parquet'\").fetchall()[0]))"
        );
        let output = Command::new(&python).args(["-c", &script]).arg(kept.path().join(".tidemark")).output().unwrap();
        let theirs = crate::front_door::json(&output);
        let (ours_sum, theirs_sum) = (ours["s"].as_f64().unwrap(), theirs[1].as_f64().unwrap());
        assert!(ours["n"] == theirs[0] && ours["n"].as_u64().unwrap() > 0, "{table}: {ours} {theirs}");
        assert!((ours_sum - theirs_sum).abs() <= 1e-9 * theirs_sum.abs(), "{table}: {ours} {theirs}");
    }
    // Each profile's functions add up to it.
    let uneven = kept.rows(&["SELECT service FROM profiles GROUP BY service, profile_type, window_start \
                              HAVING max(total_value) <> sum(self_value) AND max(total_value) > sum(self_value)"]);
    assert_eq!(uneven.len(), 0, "{uneven:?}");
}

#[test]
fn the_reader_may_go_away() {
    let kept = KeptRuns::shared();
    let mut child = crate::front_door::tidemark(kept.path())
        .args(["query", "SELECT * FROM samples a, samples b", "--format", "csv"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 100]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn the_help_names_every_table_and_column() {
    let help = KeptRuns::shared().query(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    for table in ["runs", "samples", "series", "tag_sets", "windows", "blocks", "metrics", "thresholds"] {
        for column in KeptRuns::shared().rows(&[&format!("DESCRIBE {table}")]) {
            let name = column["column_name"].as_str().unwrap();
            assert!(help.contains(name), "{table}.{name} is not in the help");
        }
    }
}
