//! A k6 JSON stream to blocks of samples: one thread reads, all cores decode, the blocks stay in order.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use memchr::{memchr, memrchr};

use crate::tables::samples::SampleBlock;

use super::k6_line::LineDecoder;

/// Bytes that are decoded at once: small enough for the second-level cache.
const BLOCK_BYTES: usize = 1 << 20;

/// A read that gives less is taken for a stream that waits for its writer.
const SLOW_READ_BYTES: usize = 4 << 10;

/// A longer line is rejected unread; k6's have some hundred bytes.
const LINE_BYTES_MAX: usize = 8 << 20;

/// What the reader learned at the end of its input.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// The last line lacks its end, or the compressed form is cut or broken.
    pub truncated: bool,
    /// Why the reading ended before the end of the input.
    pub reason: Option<String>,
}

enum Work {
    Lines(Vec<u8>),
    /// A line of so many bytes, not kept.
    TooLong(u64),
}

/// Blocks of samples in the order of the stream.
#[derive(Debug)]
pub struct BlockStream {
    blocks: Vec<Receiver<SampleBlock>>,
    next: usize,
    reader: Option<JoinHandle<StreamEnd>>,
    end: StreamEnd,
}

impl BlockStream {
    /// Starts to read; `decoders`: threads that decode, at least 1.
    pub fn start(input: Box<dyn Read + Send>, decoders: usize) -> BlockStream {
        let mut lines = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..decoders.max(1) {
            let (lines_in, lines_out) = sync_channel::<Work>(1);
            let (blocks_in, blocks_out) = sync_channel(1);
            std::thread::spawn(move || decode_all(&lines_out, &blocks_in));
            lines.push(lines_in);
            blocks.push(blocks_out);
        }
        let reader = std::thread::spawn(move || read_all(input, &lines));
        BlockStream { blocks, next: 0, reader: Some(reader), end: StreamEnd::default() }
    }

    /// Returns the next block, and the decoder that its labels belong to; none at the end.
    pub fn next_block(&mut self) -> Option<(usize, SampleBlock)> {
        let decoder = self.next;
        match self.blocks[decoder].recv() {
            Ok(block) => {
                self.next = (decoder + 1) % self.blocks.len();
                Some((decoder, block))
            }
            Err(_) => {
                if let Some(reader) = self.reader.take() {
                    self.end = reader
                        .join()
                        .unwrap_or(StreamEnd { truncated: true, reason: Some("the reader failed".to_owned()) });
                }
                None
            }
        }
    }

    pub fn decoders(&self) -> usize {
        self.blocks.len()
    }

    /// After the last block.
    pub fn end(&self) -> &StreamEnd {
        &self.end
    }
}

fn decode_all(lines: &Receiver<Work>, blocks: &SyncSender<SampleBlock>) {
    let mut decoder = LineDecoder::default();
    for work in lines {
        let block = match work {
            Work::Lines(bytes) => decoder.decode(&bytes),
            Work::TooLong(bytes) => {
                let mut block = SampleBlock { lines_count: 1, ..SampleBlock::default() };
                block.reject(1, format!("the line has {bytes} bytes, more than {LINE_BYTES_MAX}"));
                block
            }
        };
        if blocks.send(block).is_err() {
            return;
        }
    }
}

/// Deals whole lines to the decoders in turn until the input ends or the decoders are gone.
fn read_all(mut input: Box<dyn Read + Send>, decoders: &[SyncSender<Work>]) -> StreamEnd {
    let mut turn = 0;
    let mut send = |work: Work| {
        let sent = decoders[turn].send(work).is_ok();
        turn = (turn + 1) % decoders.len();
        sent
    };
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(BLOCK_BYTES + rest.len());
        buffer.append(&mut rest);
        let more = read_more(&mut input, &mut buffer);
        if more.ended || more.failure.is_some() {
            let mut end = stream_end(more.failure, &buffer);
            if !buffer.is_empty() && !send(Work::Lines(buffer)) {
                end.truncated = true;
            }
            return end;
        }
        match memrchr(b'\n', &buffer) {
            Some(last) => {
                rest = buffer.split_off(last + 1);
                if !send(Work::Lines(buffer)) {
                    return StreamEnd { truncated: true, reason: None };
                }
            }
            None if buffer.len() > LINE_BYTES_MAX => match skip_line(&mut input, buffer.len() as u64) {
                Ok((bytes, after)) => {
                    if !send(Work::TooLong(bytes)) {
                        return StreamEnd { truncated: true, reason: None };
                    }
                    rest = after;
                }
                Err(error) => return StreamEnd { truncated: true, reason: Some(error.to_string()) },
            },
            None => rest = buffer,
        }
    }
}

/// What came of reading once more.
struct More {
    ended: bool,
    failure: Option<io::Error>,
}

/// Appends to `buffer`: a slow stream is decoded as it comes, a fast one in full blocks.
fn read_more(input: &mut dyn Read, buffer: &mut Vec<u8>) -> More {
    let start = buffer.len();
    buffer.resize(start + BLOCK_BYTES, 0);
    let mut length = 0;
    let mut more = More { ended: false, failure: None };
    // Pipes and decompressors give little at a time: go on until a block is half full, unless the stream is slow.
    while length < BLOCK_BYTES / 2 {
        match input.read(&mut buffer[start + length..]) {
            Ok(0) => {
                more.ended = true;
                break;
            }
            Ok(read) => {
                length += read;
                if read < SLOW_READ_BYTES {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                more.failure = Some(error);
                break;
            }
        }
    }
    buffer.truncate(start + length);
    more
}

fn stream_end(failure: Option<io::Error>, unfinished: &[u8]) -> StreamEnd {
    if let Some(error) = failure {
        return StreamEnd { truncated: true, reason: Some(error.to_string()) };
    }
    // k6 ends every line; a last line without its end is whole when it is a whole object.
    let last_line = &unfinished[memrchr(b'\n', unfinished).map_or(0, |end| end + 1)..];
    let is_whole = last_line.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(last_line).is_ok();
    StreamEnd { truncated: !is_whole, reason: None }
}

/// Reads to the end of a line that is too long; returns its bytes and what came after it.
fn skip_line(input: &mut dyn Read, mut bytes: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            return Ok((bytes, Vec::new()));
        }
        if let Some(end) = memchr(b'\n', &buffer[..length]) {
            return Ok((bytes + end as u64, buffer[end + 1..length].to_vec()));
        }
        bytes += length as u64;
    }
}
