//! A k6 JSON stream to blocks of samples: all cores decode, the blocks stay in order.
//!
//! One thread reads a stream and deals its lines out; of a long file each decoder reads parts of its own.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use memchr::{memchr, memrchr};

use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;

use super::bytes::PlainFile;
use super::k6_json_parts::decode_parts;
use super::k6_line::LineDecoder;

/// Bytes that are decoded at once. With half as many the threads spend more on waking each other than the nearer cache
/// gains; with twice as many nothing is gained.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// Blocks that wait for one decoder, or from it: enough that no thread sleeps because another one has just been woken.
const WAITING_MAX: usize = 4;

/// A longer line is rejected unread; k6's have some hundred bytes.
pub(super) const LINE_BYTES_MAX: usize = 8 << 20;

/// What a reader learned at the end of its input.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// The last line lacks its end, or the compressed form is cut or broken.
    pub truncated: bool,
    /// Why the reading ended before the end of the input.
    pub reason: Option<String>,
}

/// Bytes that were read: `bytes[..length]`. What is behind them is room that was used before.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

enum Work {
    Lines(Buffer),
    /// A line of so many bytes, not kept.
    TooLong(u64),
}

/// Blocks of samples in the order of the stream.
#[derive(Debug)]
pub struct BlockStream {
    blocks: Vec<Receiver<SampleBlock>>,
    next: usize,
    decoders: usize,
    /// Who reads: one thread, or all decoders.
    readers: Vec<JoinHandle<StreamEnd>>,
    end: StreamEnd,
    spent_blocks: Pool<SampleBlock>,
}

impl BlockStream {
    /// Starts to read; `decoders`: threads that decode, at least 1.
    pub fn start(input: Box<dyn Read + Send>, decoders: usize) -> BlockStream {
        let mut lines = Vec::new();
        let mut blocks = Vec::new();
        let (spent_buffers, spent_blocks) = (Pool::default(), Pool::default());
        let decoders = decoders.max(1);
        for _ in 0..decoders {
            let (lines_in, lines_out) = sync_channel::<Work>(WAITING_MAX);
            let (blocks_in, blocks_out) = sync_channel(WAITING_MAX);
            let (spent_buffers, spent_blocks) = (spent_buffers.clone(), spent_blocks.clone());
            spawn("decode", move || decode_all(&lines_out, &blocks_in, &spent_buffers, &spent_blocks));
            lines.push(lines_in);
            blocks.push(blocks_out);
        }
        let readers = vec![spawn("read", move || read_all(input, &lines, &spent_buffers))];
        BlockStream { blocks, next: 0, decoders, readers, end: StreamEnd::default(), spent_blocks }
    }

    /// Starts to read a file part by part.
    pub fn of_file(file: PlainFile, decoders: usize) -> BlockStream {
        let file = Arc::new(file);
        file.begin();
        let (mut readers, mut blocks) = (Vec::new(), Vec::new());
        let spent_blocks = Pool::default();
        let decoders = decoders.max(1);
        for first in 0..decoders {
            let (blocks_in, blocks_out) = sync_channel(WAITING_MAX);
            let (file, spent_blocks) = (file.clone(), spent_blocks.clone());
            let parts = (first as u64..).step_by(decoders);
            readers.push(spawn("decode", move || decode_parts(&file, parts, &blocks_in, &spent_blocks)));
            blocks.push(blocks_out);
        }
        BlockStream { blocks, next: 0, decoders, readers, end: StreamEnd::default(), spent_blocks }
    }

    /// Where the blocks go when nobody needs them any more.
    pub fn spent_blocks(&self) -> &Pool<SampleBlock> {
        &self.spent_blocks
    }

    /// Returns the next block, and the decoder that its labels belong to; none at the end.
    pub fn next_block(&mut self) -> Option<(usize, SampleBlock)> {
        let decoder = self.next;
        if let Some(Ok(block)) = self.blocks.get(decoder).map(Receiver::recv) {
            self.next = (decoder + 1) % self.decoders;
            return Some((decoder, block));
        }
        // Whoever still waits to hand over a block after the end must not wait any more.
        self.blocks.clear();
        for reader in self.readers.drain(..) {
            let failed = || StreamEnd { truncated: true, reason: Some("the reader failed".to_owned()) };
            let end = reader.join().unwrap_or_else(|_| failed());
            self.end.truncated |= end.truncated;
            self.end.reason = self.end.reason.take().or(end.reason);
        }
        None
    }

    pub fn decoders(&self) -> usize {
        self.decoders
    }

    /// After the last block.
    pub fn end(&self) -> &StreamEnd {
        &self.end
    }
}

/// Names the thread, so that a profile tells who is busy.
fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("the system starts a thread")
}

fn decode_all(
    lines: &Receiver<Work>,
    blocks: &SyncSender<SampleBlock>,
    spent_buffers: &Pool<Buffer>,
    spent_blocks: &Pool<SampleBlock>,
) {
    let mut decoder = LineDecoder::default();
    for work in lines {
        let mut block = spent_blocks.take();
        block.clear();
        match work {
            Work::Lines(buffer) => {
                decoder.decode(buffer.filled(), &mut block);
                if buffer.bytes.len() <= 2 * BLOCK_BYTES {
                    spent_buffers.give(buffer);
                }
            }
            Work::TooLong(bytes) => {
                reject_too_long(&mut block, bytes);
            }
        }
        if blocks.send(block).is_err() {
            return;
        }
    }
}

/// Counts a line of so many bytes, which was not kept.
pub(super) fn reject_too_long(block: &mut SampleBlock, bytes: u64) {
    block.lines_count += 1;
    block.reject(block.lines_count, format!("the line has {bytes} bytes, more than {LINE_BYTES_MAX}"));
}

/// Deals whole lines to the decoders in turn until the input ends or the decoders are gone.
fn read_all(mut input: Box<dyn Read + Send>, decoders: &[SyncSender<Work>], spent: &Pool<Buffer>) -> StreamEnd {
    let mut turn = 0;
    let mut send = |work: Work| {
        let sent = decoders[turn].send(work).is_ok();
        turn = (turn + 1) % decoders.len();
        sent
    };
    let mut buffer = Buffer::default();
    loop {
        let more = read_more(&mut input, &mut buffer);
        if more.ended || more.failure.is_some() {
            let mut end = stream_end(more.failure, buffer.filled());
            if buffer.length > 0 && !send(Work::Lines(buffer)) {
                end.truncated = true;
            }
            return end;
        }
        match memrchr(b'\n', buffer.filled()) {
            Some(last) => {
                let mut next = spent.take();
                next.length = 0;
                fill(&mut next, &buffer.filled()[last + 1..]);
                buffer.length = last + 1;
                if !send(Work::Lines(buffer)) {
                    return StreamEnd { truncated: true, reason: None };
                }
                buffer = next;
            }
            None if buffer.length > LINE_BYTES_MAX => match skip_line(&mut input, buffer.length as u64) {
                Ok((bytes, after)) => {
                    if !send(Work::TooLong(bytes)) {
                        return StreamEnd { truncated: true, reason: None };
                    }
                    buffer = Buffer::default();
                    fill(&mut buffer, &after);
                }
                Err(error) => return StreamEnd { truncated: true, reason: Some(error.to_string()) },
            },
            None => {}
        }
    }
}

/// Appends `bytes`.
fn fill(buffer: &mut Buffer, bytes: &[u8]) {
    let end = buffer.length + bytes.len();
    if buffer.bytes.len() < end {
        buffer.bytes.resize(end.max(BLOCK_BYTES), 0);
    }
    buffer.bytes[buffer.length..end].copy_from_slice(bytes);
    buffer.length = end;
}

/// What came of reading once more.
struct More {
    ended: bool,
    failure: Option<io::Error>,
}

/// Appends to `buffer`: a slow stream is decoded as it comes, a fast one in full blocks.
fn read_more(input: &mut dyn Read, buffer: &mut Buffer) -> More {
    // What is left of the last line before, and at least half a block more.
    if buffer.bytes.len() < buffer.length + BLOCK_BYTES / 2 {
        buffer.bytes.resize(buffer.length + BLOCK_BYTES, 0);
    }
    let mut more = More { ended: false, failure: None };
    let before = buffer.length;
    // Pipes and decompressors give little at a time: go on until a block is half full, or the stream waits for its writer.
    while buffer.length < before + BLOCK_BYTES / 2 {
        match input.read(&mut buffer.bytes[buffer.length..]) {
            Ok(0) => {
                more.ended = true;
                break;
            }
            Ok(read) => buffer.length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if buffer.length > before {
                    break;
                }
            }
            Err(error) => {
                more.failure = Some(error);
                break;
            }
        }
    }
    more
}

fn stream_end(failure: Option<io::Error>, unfinished: &[u8]) -> StreamEnd {
    if let Some(error) = failure {
        return StreamEnd { truncated: true, reason: Some(error.to_string()) };
    }
    StreamEnd { truncated: ends_within_a_line(unfinished), reason: None }
}

/// Says whether the last line was cut. k6 ends every line; one without its end is whole when it is a whole object.
pub(super) fn ends_within_a_line(text: &[u8]) -> bool {
    let last_line = &text[memrchr(b'\n', text).map_or(0, |end| end + 1)..];
    !last_line.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(last_line).is_err()
}

/// Reads to the end of a line that is too long; returns its bytes and what came after it.
fn skip_line(input: &mut dyn Read, mut bytes: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok((bytes, Vec::new())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(end) = memchr(b'\n', &buffer[..length]) {
            return Ok((bytes + end as u64, buffer[end + 1..length].to_vec()));
        }
        bytes += length as u64;
    }
}
