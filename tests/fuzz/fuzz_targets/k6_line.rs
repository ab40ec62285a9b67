//! k6's JSON lines: the fast path against the other path, and both against `serde_json`.

#![no_main]

use std::collections::{BTreeMap, HashMap};

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tidemark::ingest::k6_line::LineDecoder;
use tidemark::ingest::recognise::recognise;
use tidemark::model::time::Timestamp;
use tidemark::tables::samples::{Label, SampleBlock};

/// What one line gave.
#[derive(Debug, PartialEq)]
struct Row {
    label: Label,
    time_ns: i64,
    value_bits: u64,
    metadata: Option<String>,
}

fn decoded(decoder: &mut LineDecoder, bytes: &[u8]) -> SampleBlock {
    let mut block = SampleBlock::default();
    decoder.decode(bytes, &mut block);
    block
}

/// The rows of `blocks` of one decoder, and how many lines were read and rejected.
fn rows(blocks: impl Iterator<Item = SampleBlock>) -> (Vec<Row>, u64, u64) {
    let (mut labels, mut rows, mut lines, mut rejected) = (Vec::new(), Vec::new(), 0, 0);
    for block in blocks {
        if block.labels_begin_anew {
            labels.clear();
        }
        labels.extend(block.new_labels.iter().cloned());
        lines += block.lines_count;
        rejected += block.rejections_count;
        let mut metadata = block.metadata.iter().peekable();
        for row in 0..block.rows() {
            rows.push(Row {
                label: labels[block.labels[row] as usize].clone(),
                time_ns: block.times_ns[row],
                value_bits: block.values[row].to_bits(),
                metadata: metadata.next_if(|(at, _)| *at as usize == row).map(|(_, text)| text.to_string()),
            });
        }
        assert!(metadata.next().is_none(), "metadata of a row that is not there");
    }
    (rows, lines, rejected)
}

/// A row is the line that `serde_json` reads.
fn assert_is_line(row: &Row, line: &[u8]) {
    // Only what a row is made of: a number, a text or a depth that no `Value` takes may stand elsewhere in its line.
    let line: HashMap<String, Box<RawValue>> = serde_json::from_slice(line).expect("a row comes from an object");
    let data: HashMap<String, Box<RawValue>> = serde_json::from_str(line["data"].get()).expect("an object of data");
    let text = |part: &RawValue| serde_json::from_str::<String>(part.get()).expect("a text");
    assert_eq!(text(&line["type"]), "Point");
    assert_eq!(text(&line["metric"]), *row.label.metric);
    let value: f64 = data["value"].get().parse().expect("a number");
    assert_eq!(value.to_bits(), row.value_bits, "{}", data["value"]);
    let time: Timestamp = text(&data["time"]).parse().expect("RFC 3339");
    assert_eq!(time.0, row.time_ns, "{}", data["time"]);
    // Of a name that stands twice, both readers take the last.
    let tags = data.get("tags").map_or("null", |tags| tags.get());
    let tags: Option<BTreeMap<String, String>> = serde_json::from_str(tags).expect("tags are texts");
    let tags = tags.unwrap_or_default();
    assert!(row.label.tags.iter().eq(tags.iter().map(|(name, value)| (&**name, &**value))), "{row:?}");
}

fuzz_target!(|bytes: &[u8]| {
    recognise(bytes);
    let fast = rows(std::iter::once(decoded(&mut LineDecoder::default(), bytes)));
    assert!(fast.0.len() as u64 <= fast.1, "at most a row a line");

    // Line by line, as a slow pipe gives them.
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut decoder = LineDecoder::default();
    assert_eq!(rows(lines.iter().map(|line| decoded(&mut decoder, line))), fast);

    // A space before a line sends it to the other path.
    let spaced: Vec<u8> = lines.iter().flat_map(|line| [b" ", *line].concat()).collect();
    assert_eq!(rows(std::iter::once(decoded(&mut LineDecoder::default(), &spaced))), fast);

    for line in lines {
        for row in &rows(std::iter::once(decoded(&mut LineDecoder::default(), line))).0 {
            assert_is_line(row, line);
        }
    }
});
