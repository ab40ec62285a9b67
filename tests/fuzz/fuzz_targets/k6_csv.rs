//! k6's CSV: read at once and a few bytes at a time, the rows are the same, and each is a row of the file.

#![no_main]

use std::io::{Cursor, Read};

use libfuzzer_sys::fuzz_target;
use tidemark::ingest::k6_csv::CsvBlocks;
use tidemark::tables::samples::Label;

/// What an input gave.
#[derive(Debug, PartialEq)]
struct Outcome {
    rows: Vec<(Label, i64, u64, Option<String>)>,
    lines: u64,
    rejected: u64,
    truncated: bool,
}

/// Gives no more than so many bytes at a time.
struct Drip {
    bytes: Cursor<Vec<u8>>,
    at_most: usize,
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.at_most);
        self.bytes.read(&mut buffer[..length])
    }
}

fn read(bytes: &[u8], at_most: usize) -> Option<Outcome> {
    let mut blocks = CsvBlocks::start(Box::new(Drip { bytes: Cursor::new(bytes.to_vec()), at_most })).ok()?;
    let (mut labels, mut rows, mut lines, mut rejected) = (Vec::new(), Vec::new(), 0, 0);
    let mut rejected_lines = Vec::new();
    while let Some(block) = blocks.next_block() {
        if block.labels_begin_anew {
            labels.clear();
        }
        labels.extend(block.new_labels.iter().cloned());
        rejected_lines.extend(block.rejections.iter().map(|rejection| lines + rejection.line));
        lines += block.lines_count;
        rejected += block.rejections_count;
        let mut metadata = block.metadata.iter().peekable();
        for row in 0..block.rows() {
            assert!(block.values[row].is_finite());
            let label: Label = labels[block.labels[row] as usize].clone();
            let metadata = metadata.next_if(|(at, _)| *at as usize == row).map(|(_, text)| text.to_string());
            if let Some(text) = &metadata {
                assert!(serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object()));
            }
            rows.push((label, block.times_ns[row], block.values[row].to_bits(), metadata));
        }
        assert!(metadata.next().is_none(), "metadata of a row that is not there");
    }
    assert!(blocks.next_block().is_none(), "the end is the end");
    assert!(rejected_lines.iter().all(|line| (1..=lines).contains(line)), "{rejected_lines:?} of {lines} lines");
    Some(Outcome { rows, lines, rejected, truncated: blocks.truncated() })
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, usize::MAX);
    assert_eq!(read(bytes, 1), whole);
    assert_eq!(read(bytes, 7), whole);
    if let Some(whole) = &whole {
        let line_ends = bytes.iter().filter(|byte| **byte == b'\n' || **byte == b'\r').count() as u64;
        assert!(whole.rows.len() as u64 + whole.rejected <= line_ends + 1, "at most a row a line");
    }
});
