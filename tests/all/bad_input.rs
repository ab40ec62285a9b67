//! Bad input through the front door: no panic, no hang, bounded memory; what is wrong is counted, with its line and reason,
//! and the rest is judged.

use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Output, Stdio};

use serde_json::Value;

use crate::front_door::{data, json, tidemark, with_stdin};

/// Of the process, whatever it reads; the test binary is not optimised, and its code counts as well.
const PEAK_KIBIBYTES_MAX: u64 = 400 << 10;

fn point(metric: &str, value: &str, tags: &str) -> String {
    format!(
        "{{\"metric\":\"{metric}\",\"type\":\"Point\",\"data\":{{\"time\":\"2026-11-22T20:59:43.6Z\",\"value\":{value},\"tags\":{{{tags}}}}}}}\n"
    )
}

fn good() -> String {
    point("http_reqs", "1", "\"status\":\"200\"")
}

/// Runs with what `write` writes on stdin; returns what it said, and the most memory that it had, in KiB.
fn measured(options: &[&str], write: impl FnOnce(&mut BufWriter<ChildStdin>) + Send + 'static) -> (Output, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidemark(folder.path());
    command.args(["analyze", "-", "--format", "json"]).args(options);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let mut stdin = BufWriter::with_capacity(1 << 20, stdin);
        write(&mut stdin);
        stdin.flush().unwrap();
    });
    let status = format!("/proc/{}/status", child.id());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        // The peak never falls: only the last milliseconds can be missed.
        while stopped
            .recv_timeout(std::time::Duration::from_millis(2))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(kibibytes.unwrap_or(0));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    drop(stop);
    (output, watcher.join().unwrap())
}

/// Analyses a file of these bytes without keeping the run.
fn analyze_bytes(bytes: &[u8]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input"), bytes).unwrap();
    json(&tidemark(folder.path()).args(["analyze", "input", "--no-store", "--format", "json"]).output().unwrap())
}

fn source(report: &Value) -> &Value {
    &report["run"]["sources"][0]
}

/// Says whether a line was rejected for a reason.
fn is_rejected(report: &Value, line: u64, reason: &str) -> bool {
    let rejections = source(report)["rejections"].as_array().unwrap().iter();
    let mut at_line = rejections.filter(|rejection| rejection["line"] == line);
    at_line.any(|rejection| rejection["reason"].as_str().unwrap().contains(reason))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_of_a_gigabyte_is_skipped_in_bounded_memory() {
    let (output, peak) = measured(&["--no-store"], |stdin| {
        stdin.write_all(good().as_bytes()).unwrap();
        stdin.write_all(b"{\"metric\":\"").unwrap();
        let mebibyte = vec![b'x'; 1 << 20];
        (0..1024).for_each(|_| stdin.write_all(&mebibyte).unwrap());
        stdin.write_all(b"\"}\n").unwrap();
        stdin.write_all(good().as_bytes()).unwrap();
    });
    let report = json(&output);
    assert_eq!(report["totals"]["requests_count"], 2);
    assert_eq!(source(&report)["lines_rejected"], 1);
    assert!(is_rejected(&report, 2, "the line has 1073741837 bytes, more than 8388608"), "{}", source(&report));
    assert!((1..PEAK_KIBIBYTES_MAX).contains(&peak), "{peak} KiB");
}

#[cfg(target_os = "linux")]
#[test]
fn a_million_series_are_bounded_counted_and_named() {
    const SERIES: u32 = 1_000_000;
    let (output, peak) = measured(&[], |stdin| {
        let declaration = r#"{"type":"Metric","data":{"name":"http_reqs","type":"counter"},"metric":"http_reqs"}"#;
        writeln!(stdin, "{declaration}").unwrap();
        for id in 0..SERIES {
            let tags = format!("\"method\":\"GET\",\"name\":\"page-{id}-x\",\"status\":\"200\"");
            stdin.write_all(point("http_reqs", "1", &tags).as_bytes()).unwrap();
        }
    });
    let report = json(&output);
    assert_eq!(report["totals"]["requests_count"], SERIES, "what is put together is still counted");
    let endpoints = report["endpoints"].as_array().unwrap();
    assert!(endpoints.len() <= 501, "{}", endpoints.len());
    let counted: u64 = endpoints.iter().map(|endpoint| endpoint["requests_count"].as_u64().unwrap()).sum();
    assert_eq!(counted, u64::from(SERIES));
    let other = endpoints.iter().find(|endpoint| endpoint["name"] == "(other)").unwrap();
    assert_eq!(other["requests_count"], SERIES - 500);
    let skipped = report["skipped"].to_string();
    assert!(skipped.contains("999500 endpoints, checks or metrics"), "{skipped}");
    assert!(skipped.contains("put together as (other); for example page-500-x"), "{skipped}");
    assert!((1..PEAK_KIBIBYTES_MAX).contains(&peak), "{peak} KiB");
}

#[test]
fn a_cut_tail_of_each_compression_is_said_and_the_rest_is_judged() {
    let whole = lines("checkout/k6.json.gz").concat().into_bytes();
    for (form, bytes) in [("gzip", gzip(&whole)), ("zstd", zstd::encode_all(whole.as_slice(), 1).unwrap())] {
        for kept in [bytes.len() * 9 / 10, bytes.len() - 1] {
            let report = analyze_bytes(&bytes[..kept]);
            assert_eq!(source(&report)["truncated"], true, "{form} {kept}");
            assert_eq!(report["run"]["partial"], true, "{form} {kept}");
            let reasons = source(&report)["rejections"].to_string();
            assert!(reasons.contains("the input ends early: "), "{form} {kept}: {reasons}");
            let read = source(&report)["lines_read"].as_u64().unwrap();
            assert!(read > 100, "{form}: only {read} lines were read");
        }
        let mut broken = bytes.clone();
        let middle = broken.len() / 2;
        broken[middle..middle + 8].copy_from_slice(&[0xff; 8]);
        let broken = analyze_bytes_or_refusal(&broken);
        assert!(broken.contains("the input ends early") || broken.contains("failed to read"), "{form}: {broken}");
    }
    let csv = std::fs::read(data("checkout/k6.csv.gz")).unwrap();
    let report = analyze_bytes(&csv[..csv.len() / 2]);
    assert_eq!(source(&report)["truncated"], true);
    assert!(report["totals"]["requests_count"].as_u64().unwrap() > 100);
}

/// What the user sees, in JSON or as an error.
fn analyze_bytes_or_refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = with_stdin(tidemark(folder.path()).args(["analyze", "-", "--no-store", "--format", "json"]), bytes);
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{:?}", output.status);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_bomb_ends_the_input_and_what_came_before_is_judged() {
    let lines = good().repeat(3);
    let zeros = vec![0u8; 16 << 20];
    let garbage = [&[b'#'; 65_535][..], b"\n"].concat().repeat(256);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for (form, head, member) in [
        ("gzip of zeros", gzip(lines.as_bytes()), gzip(&zeros)),
        ("zstd of other lines", zstd(lines.as_bytes()), zstd(&garbage)),
    ] {
        // A gibibyte, were it inflated to its end.
        let bomb = [head, member.repeat(64)].concat();
        let report = analyze_bytes(&bomb);
        assert_eq!(report["totals"]["requests_count"], 3, "{form}");
        assert_eq!(source(&report)["truncated"], true, "{form}");
        let reasons = source(&report)["rejections"].to_string();
        assert!(reasons.contains("hold no sample: a bomb?"), "{form}: {reasons}");
        let inflated_mebibytes = reasons.split("inflate to more than ").nth(1).and_then(|rest| rest.split(' ').next());
        let inflated_mebibytes: u64 = inflated_mebibytes.unwrap().parse().unwrap();
        assert!(inflated_mebibytes < 256, "{form}: read on to {inflated_mebibytes} MiB");
    }
    // Of zeros alone the first bytes say enough.
    let refusal = analyze_bytes_or_refusal(&gzip(&zeros));
    assert!(refusal.contains("it looks like binary data"), "{refusal}");
}

#[test]
fn samples_that_compress_as_well_as_a_bomb_are_read() {
    let long_tag = format!("\"status\":\"200\",\"name\":\"{}\"", "n".repeat(64 << 10));
    let line = point("http_reqs", "1", &long_tag);
    let lines_count = (80 << 20) / line.len();
    let compressed = zstd::encode_all(line.repeat(lines_count).as_bytes(), 1).unwrap();
    assert!(compressed.len() * 200 < line.len() * lines_count, "else this shows nothing");
    let report = analyze_bytes(&compressed);
    assert_eq!(report["totals"]["requests_count"], lines_count);
    assert_eq!(source(&report)["truncated"], false);
}

#[test]
fn numbers_at_the_edge_of_f64_count_and_beyond_it_are_rejected() {
    let values = [
        "1.7976931348623157e308",
        "1.7976931348623157e308",
        "-0.0",
        "5e-324",
        "1e-400",
        "123456789012345678901234567890",
    ];
    let mut input: String = values.iter().map(|value| point("edge", value, "")).collect();
    input = format!(
        "{{\"type\":\"Metric\",\"data\":{{\"name\":\"edge\",\"type\":\"trend\"}},\"metric\":\"edge\"}}\n{input}"
    );
    input += &point("edge", "1e309", "");
    input += &point("edge", "-1e309", "");
    let report = analyze_bytes(input.as_bytes());
    let edge = report["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "edge").unwrap();
    assert_eq!(edge["count"], 6);
    assert_eq!(edge["values"]["max"].as_f64(), Some(f64::MAX));
    assert_eq!(edge["values"]["min"].as_f64(), Some(0.0));
    assert_eq!(source(&report)["lines_rejected"], 2);
    assert!(is_rejected(&report, 8, "1e309 is not a number within f64"), "{}", source(&report));
    // Their sum is beyond f64: a figure that does not exist is absent, not null beside a name.
    let values = edge["values"].as_object().unwrap();
    assert!(values.values().all(Value::is_number), "{values:?}");
}

/// Found by `tests/fuzz`.
#[test]
fn a_line_end_within_an_object_is_the_end_of_the_line() {
    let broken = good().replace("\"tags\":{", "\"tags\":{\n");
    let with_metadata = good().replace("\"}}}", "\"},\"metadata\":{\n\"vu\":\"1\"}}}");
    let report = analyze_bytes([good(), broken, with_metadata].concat().as_bytes());
    assert_eq!(report["totals"]["requests_count"], 1);
    assert_eq!((&source(&report)["lines_read"], &source(&report)["lines_rejected"]), (&5.into(), &4.into()));
}

/// Found while reading what `tests/fuzz` found: a name without escapes must not be taken for one with them.
#[test]
fn a_metric_name_with_an_escape_is_not_the_name_of_the_same_bytes() {
    let input =
        [point("a\\\\b", "1", ""), point("a\\b", "2", ""), point("a\\\\b", "3", ""), point("a\nb", "4", "")].concat();
    let report = analyze_bytes(input.as_bytes());
    let count = |name: &str| {
        let metrics = report["metrics"].as_array().unwrap().iter();
        metrics.filter(|metric| metric["name"] == name).map(|metric| metric["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((count("a\\b"), count("a\u{8}")), (2, 1), "{}", report["metrics"]);
    assert_eq!(source(&report)["lines_rejected"], 2, "a name does not go over a line end");
}

/// Found by `tests/fuzz`.
#[test]
fn a_last_row_without_its_line_end_is_counted() {
    let header = "metric_name,timestamp,metric_value,status\n";
    let report = analyze_bytes(format!("{header}http_reqs,1790000000,1,200\nhttp_reqs,1790000000,1,200").as_bytes());
    assert_eq!((&report["totals"]["requests_count"], &source(&report)["lines_read"]), (&2.into(), &3.into()));
    let report = analyze_bytes(format!("{header}http_reqs,1790000000,1,200\nhttp_reqs,17900").as_bytes());
    assert_eq!((&source(&report)["lines_read"], &source(&report)["lines_rejected"]), (&3.into(), &1.into()));
    assert!(is_rejected(&report, 3, "cut row: 2 of 4 fields"), "{}", source(&report));
    // A CR ends a row, but no line.
    let report = analyze_bytes(format!("{header}http_reqs,1790000000,1,200\nhttp_reqs,1790000000\r").as_bytes());
    assert_eq!((&source(&report)["lines_read"], &source(&report)["lines_rejected"]), (&3.into(), &1.into()));
    assert!(is_rejected(&report, 3, "2 fields, where the header has 4"), "{}", source(&report));
}

#[test]
fn a_key_that_stands_twice() {
    let tags = point("http_reqs", "1", "\"name\":\"a\",\"status\":\"200\",\"status\":\"503\"");
    let report = analyze_bytes([good(), tags].concat().as_bytes());
    let statuses = &report["endpoints"][0]["statuses"];
    assert_eq!(*statuses, serde_json::json!({"503": 1}), "the last stands, as in other readers of JSON");
    let data_twice = good().replace("\"value\":1", "\"value\":1,\"value\":2");
    let report = analyze_bytes([good(), data_twice].concat().as_bytes());
    assert_eq!(source(&report)["lines_rejected"], 1);
    assert!(is_rejected(&report, 2, "duplicate field `value`"), "{}", source(&report));
}

#[test]
fn nul_bytes_and_invalid_utf_8_wherever_they_stand() {
    let whole = good();
    let mut in_a_tag = whole.clone().into_bytes();
    let at = whole.find("200").unwrap();
    in_a_tag[at] = 0xff;
    let mut nul_in_a_tag = whole.clone().into_bytes();
    nul_in_a_tag[at] = 0;
    // A power cut leaves a tail of NUL bytes on some file systems.
    let tail = vec![0u8; 5000];
    let input = [whole.as_bytes(), &in_a_tag, &nul_in_a_tag, whole.as_bytes(), &tail].concat();
    let report = analyze_bytes(&input);
    assert_eq!(report["totals"]["requests_count"], 2);
    assert_eq!((&source(&report)["lines_read"], &source(&report)["lines_rejected"]), (&5.into(), &3.into()));
    assert!(is_rejected(&report, 2, "invalid UTF-8 at byte"), "{}", source(&report));
    assert!(is_rejected(&report, 3, "control character"), "{}", source(&report));
    assert!(is_rejected(&report, 5, "not a line of k6"), "{}", source(&report));
    assert_eq!(source(&report)["truncated"], true);
}

#[test]
fn a_clock_that_goes_back_by_years_counts_and_is_named() {
    let at = |year: u32| good().replace("2026", &year.to_string());
    let report = analyze_bytes([at(2026), at(2020), at(2026), at(2020)].concat().as_bytes());
    assert_eq!(report["totals"]["requests_count"], 4);
    assert!(report["run"]["started_at"].as_str().unwrap().starts_with("2020-11-22T20:59:43.6"));
    assert_eq!(source(&report)["lines_rejected"], 0);
}

#[test]
fn what_is_not_k6s_is_told_by_what_it_looks_like() {
    let script = std::fs::read(data("checkout/script.ts")).unwrap();
    let console = std::fs::read(data("clean/console.txt")).unwrap();
    let k6 = std::fs::read(data("checkout/k6.json.gz")).unwrap();
    let cases: [(&[u8], &str); 15] = [
        (b"", "nothing: it is empty"),
        (b" \r\n\t\n", "nothing: it is empty"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04\x14\x00", "a zip archive: unpack it first"),
        (&gzip(&k6), "a file that was compressed twice"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<?xml version=\"1.0\"?><testsuites/>", "XML"),
        (b"timeStamp,elapsed,label,responseCode\n1,2,x,200\n", "JMeter's CSV results"),
        (&console, "what k6 prints for people: give it `--out json=FILE` or `--summary-export=FILE`"),
        (&script, "a k6 script: run it with `k6 run --out json=FILE` and give that file"),
        (b"{\"level\":\"info\",\"msg\":\"x\"}\n", "JSON of another program"),
        (b"[1, 2]\n", "JSON of another program"),
        (&[0x7f, b'E', b'L', b'F', 0, 0, 0, 0xff], "binary data"),
        (b"name,value\na,1\n", "text of another program"),
        (b"hello\n", "text of another program"),
    ];
    for (bytes, looks_like) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("input"), bytes).unwrap();
        let output = tidemark(folder.path()).args(["analyze", "input"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{looks_like}: {error}");
        assert!(error.contains(&format!("input is not k6's: it looks like {looks_like}; expected")), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_writer_that_is_killed_leaves_a_cut_line() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Command::new("sh")
        .args(["-c", "head -c 40000 \"$0\"; kill -9 $$"])
        .arg(data("clean/k6.json"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = writer;
    let pipe = writer.stdout.take().unwrap();
    let output =
        tidemark(folder.path()).args(["analyze", "-", "--format", "json"]).stdin(Stdio::from(pipe)).output().unwrap();
    assert!(writer.wait().unwrap().code().is_none(), "it was killed");
    let report = json(&output);
    assert_eq!((&source(&report)["truncated"], &report["run"]["partial"]), (&true.into(), &true.into()));
    let lines = source(&report)["lines_read"].as_u64().unwrap();
    assert!(is_rejected(&report, lines, "cut JSON"), "{}", source(&report));
    assert!(report["totals"]["requests_count"].as_u64().unwrap() > 5);
}

#[cfg(unix)]
#[test]
fn a_reader_of_the_answer_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = tidemark(folder.path())
        .args(["analyze", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let bytes = std::fs::read(data("clean/k6.json")).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let status = child.wait().unwrap();
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((status.code(), error.as_str()), (Some(0), ""));
}

/// The lines of a true run.
fn lines(run: &str) -> Vec<String> {
    let file = std::fs::File::open(data(run)).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn metric_lines_that_come_last_give_the_same_report() {
    for run in ["checkout/k6.json.gz", "unusual/k6.json.gz", "machine-summary/k6.json.gz"] {
        let lines = lines(run);
        let (declarations, points): (Vec<&String>, Vec<&String>) =
            lines.iter().partition(|line| line.starts_with("{\"type\":\"Metric\""));
        let reports = [[&declarations[..], &points[..]], [&points[..], &declarations[..]]].map(|parts| {
            let text: String = parts.concat().into_iter().map(String::as_str).collect();
            let mut report = analyze_bytes(text.as_bytes());
            report["run"].as_object_mut().unwrap().remove("sources");
            report
        });
        let submetrics = reports[0]["metrics"].to_string().matches('{').count();
        assert!(submetrics > 20, "{run}");
        assert_eq!(reports[0], reports[1], "{run}");
    }
}

#[test]
fn names_metadata_and_feature_flags_are_kept_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(
        &tidemark(folder.path())
            .args(["analyze", "--format", "json"])
            .arg(data("unusual/k6.json.gz"))
            .output()
            .unwrap(),
    );
    assert_eq!(source(&report)["lines_rejected"], 0);
    let points: Vec<Value> = lines("unusual/k6.json.gz")
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["type"] == "Point")
        .collect();
    let mut expected: Vec<(Value, Value)> =
        points.iter().map(|point| (point["data"]["tags"].clone(), point["data"]["metadata"].clone())).collect();
    assert!(expected.iter().any(|(tags, _)| tags["k6_feature_native_histograms"] == "true"));
    assert!(expected.iter().filter(|(_, metadata)| metadata.is_object()).count() > 800);
    let mut kept = kept_tags_and_metadata(folder.path());
    let by_text = |pair: &(Value, Value)| (pair.0.to_string(), pair.1.to_string());
    expected.sort_by_key(by_text);
    kept.sort_by_key(by_text);
    assert_eq!(kept.len(), expected.len());
    for (kept, expected) in kept.iter().zip(&expected) {
        assert_eq!(kept, expected);
    }
    let named = report["endpoints"].as_array().unwrap().iter().any(|endpoint| endpoint["name"] == "カート 🛒 – é è ü");
    assert!(named, "{}", report["endpoints"]);
}

/// The tags and the metadata of every sample in the store's Parquet.
fn kept_tags_and_metadata(folder: &Path) -> Vec<(Value, Value)> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::UInt32Type;
    let tables = |name: &str| {
        let attempt = std::fs::read_dir(folder.join(".tidemark/data")).unwrap().next().unwrap().unwrap().path();
        let file = std::fs::File::open(attempt.join(name)).unwrap();
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
            .map(Result::unwrap)
    };
    let mut tag_sets = std::collections::HashMap::new();
    for batch in tables("tag_sets.parquet") {
        let ids = batch.column_by_name("tag_set_id").unwrap().as_primitive::<UInt32Type>().clone();
        let tags = batch.column_by_name("tags").unwrap().as_map().clone();
        for row in 0..batch.num_rows() {
            let pairs = tags.value(row);
            let (names, values) =
                (pairs.column(0).as_string::<i32>().clone(), pairs.column(1).as_string::<i32>().clone());
            let object =
                names.iter().zip(values.iter()).map(|(name, value)| (name.unwrap().to_owned(), value.unwrap().into()));
            tag_sets.insert(ids.value(row), Value::Object(object.collect()));
        }
    }
    let mut kept = Vec::new();
    for batch in tables("samples.parquet") {
        let ids = batch.column_by_name("tag_set_id").unwrap().as_primitive::<UInt32Type>().clone();
        let metadata = batch.column_by_name("metadata").unwrap().as_string::<i32>().clone();
        for row in 0..batch.num_rows() {
            let text = metadata.is_valid(row).then(|| metadata.value(row));
            let metadata = text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
            kept.push((tag_sets[&ids.value(row)].clone(), metadata));
        }
    }
    kept
}
