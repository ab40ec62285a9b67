//! Forward: what k6 writes, to a topic, in numbered records, until the broker has confirmed all of it.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memchr::{memchr, memchr_iter, memrchr};

use crate::ingest::kafka::access::AccessError;
use crate::ingest::kafka::produce::{Outgoing, ProduceError, Producer};
use crate::model::stream::{About, PodEnd};

/// Lines that go together: large enough that a record costs nothing, small enough for a broker's usual limit of 1 MB.
const RECORD_BYTES: usize = 128 << 10;
const BUFFER_BYTES: usize = 1 << 20;
/// A longer line is no sample: a short one that says so goes in its place, which the other end rejects and counts.
const LINE_BYTES_MAX: usize = 512 << 10;
const POLLED_FOR: Duration = Duration::from_millis(20);
const TOLD_EVERY: Duration = Duration::from_millis(200);
/// When it is stopped, what is under way to the broker has so long to be confirmed.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Produce(#[from] ProduceError),
    #[error("failed to use the spool {}", folder.display())]
    Spool {
        folder: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("failed to read {name}")]
    Read {
        name: String,
        #[source]
        cause: io::Error,
    },
}

/// What one pod writes.
pub struct PodInput {
    pub pod: String,
    pub about: About,
    /// Never waits: says [`io::ErrorKind::Interrupted`] where it would have to.
    pub reader: Box<dyn Read + Send>,
    /// What comes before that which the reader gives: an earlier life of this process has sent it.
    pub before: Sent,
}

/// How far the broker has confirmed what a pod wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub lines_count: u64,
    pub bytes: u64,
}

/// Who is asked and told meanwhile.
pub struct Door<'d> {
    /// What k6 ended with, asked when an input has ended; none: nobody knows.
    pub exit_code: &'d dyn Fn() -> Option<i32>,
    /// By pod: what the broker has confirmed, so that it need not be kept any longer.
    pub confirmed: &'d mut dyn FnMut(&[Sent]),
    /// Set to end at once: what was not sent is not, nor the pods' ends, so that nobody believes to have all.
    pub stop: &'d AtomicBool,
}

struct Pod {
    input: PodInput,
    /// `buffer[start..end]` was read and not sent.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    next_line: u64,
    /// Bytes of the pod's output up to `start`.
    input_bytes: u64,
    has_paused: bool,
    has_ended: bool,
    is_cut: bool,
    is_end_sent: bool,
    /// Of a line that is too long, left out so far.
    left_out_bytes: u64,
}

/// Sends all that the pods write, and their ends; returns what the broker has confirmed: all, unless it was stopped.
pub fn forward(
    producer: &Producer,
    run: &str,
    inputs: Vec<PodInput>,
    door: &mut Door,
) -> Result<Vec<Sent>, ForwardError> {
    producer.begin();
    let before: Vec<Sent> = inputs.iter().map(|input| input.before).collect();
    let mut pods: Vec<Pod> = inputs.into_iter().map(Pod::new).collect();
    let (mut told, mut stopped) = (Instant::now(), None);
    loop {
        let mut is_idle = true;
        if door.stop.load(Ordering::Relaxed) {
            stopped.get_or_insert_with(Instant::now);
        } else {
            for (index, pod) in pods.iter_mut().enumerate() {
                is_idle &= !pod.go_on(index, run, producer, door.exit_code)?;
            }
        }
        producer.poll(if is_idle { POLLED_FOR } else { Duration::ZERO })?;
        let is_over = match stopped {
            Some(since) => producer.in_flight_count() == 0 || since.elapsed() >= STOPPED_WITHIN,
            None => (0..pods.len()).all(|index| pods[index].is_end_sent && producer.delivered(index).has_end),
        };
        if is_over || told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            let sent: Vec<Sent> = before
                .iter()
                .enumerate()
                .map(|(index, before)| {
                    let delivered = producer.delivered(index);
                    // Nothing of what this process sent may be confirmed yet, though an earlier life's is.
                    Sent {
                        lines_count: before.lines_count.max(delivered.lines_count),
                        bytes: before.bytes.max(delivered.bytes),
                    }
                })
                .collect();
            (door.confirmed)(&sent);
            if is_over {
                return Ok(sent);
            }
        }
    }
}

impl Pod {
    fn new(input: PodInput) -> Pod {
        Pod {
            next_line: input.before.lines_count,
            input_bytes: input.before.bytes,
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            has_paused: false,
            has_ended: false,
            is_cut: false,
            is_end_sent: false,
            left_out_bytes: 0,
        }
    }

    /// Reads and sends once; says whether anything moved.
    fn go_on(
        &mut self,
        index: usize,
        run: &str,
        producer: &Producer,
        exit_code: &dyn Fn() -> Option<i32>,
    ) -> Result<bool, ForwardError> {
        if self.is_end_sent {
            return Ok(false);
        }
        let mut has_moved = !self.has_ended && self.read()?;
        while let Some(length) = self.record() {
            let text = &self.buffer[self.start..self.start + length];
            let lines_count = lines_of(text);
            let outgoing = Outgoing {
                run,
                pod: &self.input.pod,
                pod_index: index,
                first_line: self.next_line,
                lines_count,
                input_end: self.input_bytes + length as u64,
                text,
                // Whoever begins in the middle has sent it in an earlier life.
                about: (self.next_line == 0).then_some(&self.input.about),
                end: None,
            };
            if !producer.send(&outgoing)? {
                return Ok(has_moved);
            }
            self.is_cut = !text.ends_with(b"\n");
            self.start += length;
            self.input_bytes += length as u64;
            self.next_line += lines_count;
            has_moved = true;
        }
        if self.has_ended && self.start == self.end {
            let end = PodEnd { lines_count: self.next_line, is_cut: self.is_cut, k6_exit_code: exit_code() };
            self.is_end_sent = producer.send(&Outgoing {
                run,
                pod: &self.input.pod,
                pod_index: index,
                first_line: self.next_line,
                lines_count: 0,
                input_end: self.input_bytes,
                text: &[],
                about: Some(&self.input.about),
                end: Some(&end),
            })?;
            has_moved |= self.is_end_sent;
        }
        Ok(has_moved)
    }

    /// Returns how many of the bytes at hand go together now: whole lines, or the unfinished last one; none while more
    /// has to come.
    fn record(&mut self) -> Option<usize> {
        if self.left_out_bytes > 0 {
            self.leave_out();
        }
        let rest = &self.buffer[self.start..self.end];
        // What has come is not held back while the writer makes one wait.
        if rest.is_empty() || rest.len() < RECORD_BYTES && !self.has_paused && !self.has_ended {
            return None;
        }
        let (near, far) = rest.split_at(rest.len().min(RECORD_BYTES));
        if let Some(last) = memrchr(b'\n', near) {
            return Some(last + 1);
        }
        if let Some(first) = memchr(b'\n', &far[..far.len().min(LINE_BYTES_MAX - RECORD_BYTES)]) {
            return Some(near.len() + first + 1);
        }
        if rest.len() >= LINE_BYTES_MAX {
            self.leave_out();
            return self.record();
        }
        self.has_ended.then_some(rest.len())
    }

    /// Puts a short line in the place of one that is too long, when its end has come.
    fn leave_out(&mut self) {
        let rest = &self.buffer[self.start..self.end];
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        let has_end = length < rest.len() || self.has_ended;
        self.left_out_bytes += length as u64;
        self.start += length;
        self.input_bytes += length as u64;
        if !has_end {
            return;
        }
        let said = format!("(a line of {} bytes was left out)", self.left_out_bytes);
        tracing::warn!(pod = self.input.pod, line = self.next_line, bytes = self.left_out_bytes, "a line was left out");
        self.left_out_bytes = 0;
        // It is counted once more when it is sent.
        self.input_bytes -= said.len() as u64;
        self.end += said.len();
        self.buffer.splice(self.start..self.start, said.into_bytes());
    }

    /// Returns whether anything came.
    fn read(&mut self) -> Result<bool, ForwardError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            return Ok(false);
        }
        match self.input.reader.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.has_ended = true,
            Ok(length) => {
                (self.end, self.has_paused) = (self.end + length, false);
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.has_paused = true,
            Err(cause) => return Err(ForwardError::Read { name: self.input.pod.clone(), cause }),
        }
        Ok(false)
    }
}

/// Returns how many lines these are, an unfinished last one among them.
fn lines_of(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64 + u64::from(!text.ends_with(b"\n"))
}
