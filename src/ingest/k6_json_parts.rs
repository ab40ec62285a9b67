//! A long file of k6's JSON in parts: each decoder reads its own, so that the bytes are still in its core's cache.
//!
//! A line belongs to the part in which it begins.

use std::io;
use std::sync::mpsc::SyncSender;

use memchr::{memchr, memrchr};

use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;

use super::bytes::PlainFile;
use super::k6_json::{BLOCK_BYTES, LINE_BYTES_MAX, StreamEnd, ends_within_a_line, reject_too_long};
use super::k6_line::LineDecoder;

/// Read beyond a part to find the end of its last line: k6's lines have some hundred bytes, so once is nearly always enough.
const BEYOND_BYTES: usize = 4 << 10;

/// Decodes the given parts of `file`, counted from 0, until it ends or nobody takes the blocks; every part gives a block.
pub fn decode_parts(
    file: &PlainFile,
    parts: impl Iterator<Item = u64>,
    blocks: &SyncSender<SampleBlock>,
    spent_blocks: &Pool<SampleBlock>,
) -> StreamEnd {
    let mut decoder = LineDecoder::default();
    let mut buffer = Vec::new();
    for offset in parts.map(|part| part * BLOCK_BYTES as u64) {
        if offset >= file.bytes() || file.is_stopped() {
            break;
        }
        let mut block = spent_blocks.take();
        block.clear();
        let end = decode_part(file, offset, &mut decoder, &mut buffer, &mut block)
            .unwrap_or_else(|error| StreamEnd { truncated: true, reason: Some(error.to_string()) });
        if blocks.send(block).is_err() || end != StreamEnd::default() {
            return end;
        }
    }
    StreamEnd::default()
}

fn decode_part(
    file: &PlainFile,
    offset: u64,
    decoder: &mut LineDecoder,
    buffer: &mut Vec<u8>,
    block: &mut SampleBlock,
) -> io::Result<StreamEnd> {
    // The byte before the part says whether a line begins with the part.
    let from = offset.saturating_sub(1);
    let length = (file.bytes() - from).min((offset - from) + BLOCK_BYTES as u64) as usize;
    buffer.resize((file.bytes() - from).min((length + BEYOND_BYTES) as u64) as usize, 0);
    let read = file.read_at(buffer, from)?;
    file.note_read(length - (offset - from) as usize);
    if read < buffer.len() {
        return Err(io::Error::other("the file became shorter while it was read"));
    }
    // A line end in the part's last byte begins a line of the next part.
    let before = &buffer[..length - 1];
    let begin = if offset == 0 { Some(0) } else { memchr(b'\n', before).map(|at| at + 1) };
    let Some(begin) = begin else { return Ok(StreamEnd::default()) };
    let last_line = memrchr(b'\n', before).map_or(begin, |at| at + 1);
    let end = match end_of_line(file, from, length - 1, last_line, buffer)? {
        LineEnd::At(end) => end,
        LineEnd::TooLong(bytes) => {
            decoder.decode(&buffer[begin..last_line], block);
            reject_too_long(block, bytes);
            return Ok(StreamEnd::default());
        }
    };
    let lines = &buffer[begin..end];
    decoder.decode(lines, block);
    Ok(StreamEnd { truncated: ends_within_a_line(lines), reason: None })
}

enum LineEnd {
    /// Behind the line and its line end, if it has one.
    At(usize),
    /// The bytes of a line that was not kept.
    TooLong(u64),
}

/// Finds the end of the line that begins at `line`, reading on as far as need be.
///
/// `buffer` holds the file from `from`; the line has no end before `searched`.
fn end_of_line(
    file: &PlainFile,
    from: u64,
    mut searched: usize,
    line: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<LineEnd> {
    loop {
        if let Some(at) = memchr(b'\n', &buffer[searched..]) {
            return Ok(LineEnd::At(searched + at + 1));
        }
        searched = buffer.len();
        let left = file.bytes() - from - searched as u64;
        if left == 0 {
            return Ok(LineEnd::At(searched));
        }
        if searched - line > LINE_BYTES_MAX {
            let beyond = bytes_to_line_end(file, from + searched as u64)?;
            return Ok(LineEnd::TooLong((searched - line) as u64 + beyond));
        }
        buffer.resize(searched + left.min(BLOCK_BYTES as u64) as usize, 0);
        let read = file.read_at(&mut buffer[searched..], from + searched as u64)?;
        buffer.truncate(searched + read);
        if read == 0 {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
    }
}

/// Counts the bytes from `offset` to the next line end, or to the end of the file.
fn bytes_to_line_end(file: &PlainFile, offset: u64) -> io::Result<u64> {
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut bytes = 0;
    while offset + bytes < file.bytes() && !file.is_stopped() {
        let length = file.read_at(&mut buffer, offset + bytes)?;
        match memchr(b'\n', &buffer[..length]) {
            Some(at) => return Ok(bytes + at as u64),
            None if length == 0 => break,
            None => bytes += length as u64,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Cursor;
    use std::sync::Arc;

    use super::super::k6_json::BlockStream;
    use super::*;

    /// What a stream gave, without where its blocks begin.
    #[derive(Debug, PartialEq)]
    struct Content {
        samples: Vec<(i64, f64, String)>,
        lines: u64,
        rejections: Vec<(u64, String)>,
        end: StreamEnd,
    }

    fn content(mut stream: BlockStream) -> Content {
        let (mut samples, mut lines, mut rejections) = (Vec::new(), 0, Vec::new());
        let mut labels = vec![Vec::new(); stream.decoders()];
        while let Some((decoder, block)) = stream.next_block() {
            labels[decoder].extend(block.new_labels.iter().map(|label| format!("{} {:?}", label.metric, label.tags)));
            for ((time, value), label) in block.times_ns.iter().zip(&block.values).zip(&block.labels) {
                samples.push((*time, *value, labels[decoder][*label as usize].clone()));
            }
            rejections.extend(block.rejections.iter().map(|known| (lines + known.line, known.reason.clone())));
            lines += block.lines_count;
        }
        Content { samples, lines, rejections, end: stream.end().clone() }
    }

    fn check(text: &[u8]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k6.json");
        std::fs::write(&path, text).unwrap();
        let expected = content(BlockStream::start(Box::new(Cursor::new(text.to_vec())), 2));
        for decoders in [1, 2, 3] {
            let file = PlainFile::new(File::open(&path).unwrap(), Arc::default(), Arc::default()).unwrap();
            assert!(content(BlockStream::of_file(file, decoders)) == expected, "{decoders} decoders");
        }
    }

    fn point(number: usize, padding: usize) -> String {
        format!(
            "{{\"metric\":\"m{}\",\"type\":\"Point\",\"data\":{{\"time\":\"2026-11-22T12:00:{:02}Z\",\"value\":{number},\"tags\":{{\"t\":\"{}\"}}}}}}\n",
            number % 5,
            number % 60,
            "x".repeat(padding)
        )
    }

    #[test]
    fn parts_hold_what_the_stream_holds() {
        let mut text = String::new();
        for number in 0..12_000 {
            text.push_str(&point(number, number % 97));
            match number {
                3_000 => text.push_str("garbage\n\n"),
                // Longer than a part; longer than any line may be.
                4_000 => text.push_str(&point(number, 3 * BLOCK_BYTES / 2)),
                8_000 => text.push_str(&point(number, LINE_BYTES_MAX + BLOCK_BYTES)),
                _ => {}
            }
        }
        check(text.as_bytes());
        check(&text.as_bytes()[..text.len() - 1]);
        check(&text.as_bytes()[..text.len() - 9]);
        check(&text.as_bytes()[..text.len() / 2]);
    }

    #[test]
    fn a_line_may_begin_and_end_anywhere_beside_the_border_of_a_part() {
        let line = point(1, 0);
        let filler = point(2, 0);
        for shift in [0, 1, 2, line.len() - 1, line.len(), line.len() + 1] {
            let blank = "\n".repeat((BLOCK_BYTES - shift) % filler.len());
            let text = blank.clone() + &filler.repeat((BLOCK_BYTES - shift) / filler.len()) + &line + &line;
            check(text.as_bytes());
        }
    }

    #[test]
    fn a_file_that_becomes_shorter_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k6.json");
        std::fs::write(&path, point(1, 0).repeat(20_000)).unwrap();
        let file = PlainFile::new(File::open(&path).unwrap(), Arc::default(), Arc::default()).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1_000).unwrap();
        let content = content(BlockStream::of_file(file, 2));
        let reason = Some("the file became shorter while it was read".to_owned());
        assert_eq!(content.end, StreamEnd { truncated: true, reason });
    }
}
