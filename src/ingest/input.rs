//! One input opened: recognised by its content, and either a stream of samples or a summary.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::run::{SourceKind, SourceReport};
use crate::model::summary::Summary;
use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;

use super::bytes::{self, End, Opened, Progress};
use super::k6_csv::{CsvBlocks, CsvError};
use super::k6_json::{BlockStream, StreamEnd};
use super::k6_summary::{self, SummaryError};
use super::recognise::{HEAD_BYTES, Recognised, recognise};

/// A summary of a large suite has some hundred kilobytes; a machine-readable one holds its script as well.
const SUMMARY_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("failed to read {name}")]
    Read {
        name: String,
        #[source]
        cause: io::Error,
    },
    #[error(
        "{name} is not k6's: it looks like {looks_like}; expected what `k6 run --out json=FILE`, `--out csv=FILE` or `--summary-export=FILE` writes"
    )]
    NotK6 { name: String, looks_like: &'static str },
    #[error("{name} is not a summary of k6")]
    Summary {
        name: String,
        #[source]
        cause: SummaryError,
    },
    #[error("{name} is not k6's CSV")]
    Csv {
        name: String,
        #[source]
        cause: CsvError,
    },
    #[error("{name} has more than {SUMMARY_BYTES_MAX} bytes without a line of k6: too many for a summary")]
    TooLong { name: String },
}

/// What one input turned out to be.
pub enum Input {
    Samples(SampleInput),
    Summary(Summary, SourceReport),
}

/// One stream of samples; several are the pods of one run.
pub struct SampleInput {
    pub name: String,
    pub kind: SourceKind,
    pub stream: SampleStream,
    pub progress: Arc<Progress>,
}

/// Blocks of samples, in the order of the input.
pub enum SampleStream {
    Json(BlockStream),
    Csv(Box<CsvBlocks>),
}

impl SampleStream {
    /// Returns the next block, and the decoder that its labels belong to; none at the end.
    pub fn next_block(&mut self) -> Option<(usize, SampleBlock)> {
        match self {
            SampleStream::Json(blocks) => blocks.next_block(),
            SampleStream::Csv(rows) => rows.next_block().map(|block| (0, block)),
        }
    }

    pub fn decoders(&self) -> usize {
        match self {
            SampleStream::Json(blocks) => blocks.decoders(),
            SampleStream::Csv(_) => 1,
        }
    }

    /// Where blocks go when nobody needs them any more; none when they are not used again.
    pub fn spent_blocks(&self) -> Option<Pool<SampleBlock>> {
        match self {
            SampleStream::Json(blocks) => Some(blocks.spent_blocks().clone()),
            SampleStream::Csv(_) => None,
        }
    }

    /// After the last block.
    pub fn end(&self) -> StreamEnd {
        match self {
            SampleStream::Json(blocks) => blocks.end().clone(),
            SampleStream::Csv(rows) => {
                StreamEnd { truncated: rows.truncated(), reason: rows.failure().map(ToString::to_string) }
            }
        }
    }
}

/// Opens `path` (`-` is stdin) and looks at its beginning.
///
/// `decoders`: threads for a JSON stream. The input ends early when `stop` is set.
pub fn open(path: &Path, end: End, decoders: usize, stop: Arc<AtomicBool>) -> Result<Input, InputError> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let failed = |cause| InputError::Read { name: name.clone(), cause };
    let Opened { mut reader, progress, plain } = bytes::open(path, end, stop).map_err(failed)?;
    let head = read_head(&mut reader).map_err(failed)?;
    let recognised = recognise(&head);
    let inflated = Inflated { inner: reader, progress: progress.clone(), inflated_bytes: 0, barren_bytes: 0 };
    let mut whole: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(inflated));
    match recognised {
        Recognised::Json => {
            let blocks = match plain {
                Some(file) => BlockStream::of_file(file, decoders),
                None => BlockStream::start(whole, decoders),
            };
            let stream = SampleStream::Json(blocks);
            Ok(Input::Samples(SampleInput { name, kind: SourceKind::K6Json, stream, progress }))
        }
        Recognised::Csv => {
            let rows = CsvBlocks::start(whole).map_err(|cause| InputError::Csv { name: name.clone(), cause })?;
            let stream = SampleStream::Csv(Box::new(rows));
            Ok(Input::Samples(SampleInput { name, kind: SourceKind::K6Csv, stream, progress }))
        }
        Recognised::Object => {
            let mut text = Vec::new();
            (&mut whole).take(SUMMARY_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
            if text.len() as u64 > SUMMARY_BYTES_MAX {
                return Err(InputError::TooLong { name });
            }
            let summary =
                k6_summary::parse(&text).map_err(|cause| InputError::Summary { name: name.clone(), cause })?;
            let source = SourceReport {
                name,
                kind: summary.kind,
                bytes: progress.bytes_read.load(Ordering::Relaxed),
                sha256: progress.sha256(),
                lines_read: memchr::memchr_iter(b'\n', &text).count() as u64 + u64::from(!text.ends_with(b"\n")),
                lines_rejected: 0,
                truncated: false,
                rejections: Vec::new(),
            };
            Ok(Input::Summary(summary, source))
        }
        Recognised::Other(looks_like) => Err(InputError::NotK6 { name, looks_like }),
    }
}

/// Lines of k6's JSON that come from elsewhere than a file. The input ends early when `stop` is set.
pub fn of_lines(
    name: String,
    kind: SourceKind,
    lines: Box<dyn Read + Send>,
    decoders: usize,
    stop: Arc<AtomicBool>,
) -> SampleInput {
    let (reader, progress) = bytes::counted(lines, stop);
    SampleInput { name, kind, stream: SampleStream::Json(BlockStream::start(reader, decoders)), progress }
}

/// Bytes without a sample after which an input may be a bomb: k6 writes samples every second, some hundred bytes each.
const BARREN_BYTES_MAX: u64 = 32 << 20;

/// k6's output has at most about 30 bytes in one of gzip's.
const RATIO_MAX: u64 = 100;

/// Ends an input that inflates to nothing of k6's: a few kilobytes can hold gigabytes.
///
/// What is not compressed is never as much longer than itself. Whole samples may repeat at any ratio.
struct Inflated {
    inner: Box<dyn Read + Send>,
    progress: Arc<Progress>,
    inflated_bytes: u64,
    /// Since something last looked like samples.
    barren_bytes: u64,
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let bytes = &buffer[..length];
        self.inflated_bytes += length as u64;
        self.barren_bytes += length as u64;
        if looks_like_samples(bytes) {
            self.barren_bytes = 0;
        }
        let compressed_bytes = self.progress.bytes_read.load(Ordering::Relaxed);
        if self.barren_bytes > BARREN_BYTES_MAX && self.inflated_bytes / RATIO_MAX > compressed_bytes {
            return Err(io::Error::other(format!(
                "{compressed_bytes} bytes inflate to more than {} MiB, and the last {} MiB hold no sample: a bomb?",
                self.inflated_bytes >> 20,
                self.barren_bytes >> 20
            )));
        }
        Ok(length)
    }
}

/// Asks for a mark of each form, which the first bytes of k6's output have: so it costs nothing to ask.
fn looks_like_samples(bytes: &[u8]) -> bool {
    let is_csv_line = |line: &[u8]| memchr::memchr_iter(b',', line).take(3).count() == 3;
    memchr::memmem::find(bytes, b"\"Point\"").is_some()
        || memchr::memchr(b'\n', bytes).is_some_and(|end| is_csv_line(&bytes[..end]))
}

/// Reads until the input can be told: the first line of a live stream is enough, anything else is read further.
fn read_head(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while head.len() < HEAD_BYTES {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A cut gzip: what came before is judged, and the stream meets the error again.
            Err(_) if !head.is_empty() => break,
            Err(error) => return Err(error),
        };
        head.extend_from_slice(&buffer[..length]);
        let has_line = memchr::memchr(b'\n', &head).is_some();
        if has_line && matches!(recognise(&head), Recognised::Json | Recognised::Csv) {
            break;
        }
    }
    Ok(head)
}
