//! One run through a file, gzip, zstd, stdin, a followed file and three parts gives one report, field by field.

use std::path::Path;

use serde_json::Value;

use crate::front_door::{analyze, data, json, tidemark, with_stdin};

/// Without what names the input itself.
fn without_sources(mut report: Value) -> Value {
    let run = report["run"].as_object_mut().unwrap();
    run.remove("sources").unwrap();
    report
}

fn plain() -> Vec<u8> {
    let file = std::fs::File::open(data("checkout/k6.json.gz")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file), &mut bytes).unwrap();
    bytes
}

fn check(arguments: &[&str], folder: &Path) {
    let expected = without_sources(analyze(&data("checkout/k6.json.gz")));
    let output = tidemark(folder).args(["analyze", "--format", "json"]).args(arguments).output().unwrap();
    assert_eq!(without_sources(json(&output)), expected, "{arguments:?}");
}

#[test]
fn files_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = plain();
    std::fs::write(folder.path().join("k6"), &bytes).unwrap();
    std::fs::write(folder.path().join("z"), zstd::encode_all(bytes.as_slice(), 3).unwrap()).unwrap();
    check(&["k6"], folder.path());
    check(&["z"], folder.path());
    check(&["k6", "--follow", "--quiet-seconds", "0.2"], folder.path());
}

#[test]
fn stdin() {
    let folder = tempfile::tempdir().unwrap();
    let output = with_stdin(tidemark(folder.path()).args(["analyze", "-", "--format", "json"]), &plain());
    assert_eq!(without_sources(json(&output)), without_sources(analyze(&data("checkout/k6.json.gz"))));
}

#[test]
fn lines_dealt_to_three_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = [const { Vec::new() }; 3];
    for (index, line) in plain().split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_declaration = line.starts_with(b"{\"type\":\"Metric\"");
        for (part_index, part) in parts.iter_mut().enumerate() {
            // Each pod declares its metrics itself.
            if is_declaration || index % 3 == part_index {
                part.extend_from_slice(line);
            }
        }
    }
    for (index, part) in parts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index}.json")), part).unwrap();
    }
    check(&["0.json", "1.json", "2.json"], folder.path());
}

#[test]
fn keys_in_another_order_with_white_space() {
    let folder = tempfile::tempdir().unwrap();
    let text = String::from_utf8(plain()).unwrap();
    let spaced: String = text
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let fields = value.as_object().unwrap().iter().rev();
            let fields: Vec<String> = fields.map(|(name, value)| format!(" \"{name}\" : {value}")).collect();
            format!("{{{} }} \r\n", fields.join(" ,"))
        })
        .collect();
    std::fs::write(folder.path().join("spaced.json"), spaced).unwrap();
    check(&["spaced.json"], folder.path());
}
