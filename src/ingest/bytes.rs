//! The bytes of an input: opened, counted, hashed, followed while they grow, decompressed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// How often a growing file is looked at.
const POLL: Duration = Duration::from_millis(50);

/// As much as Linux grants without privileges, pipe(7).
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// What is known of an input's bytes; shared with whoever shows progress.
#[derive(Debug, Default)]
pub struct Progress {
    /// Read so far, as they lie on the disk or come down the pipe.
    pub bytes_read: AtomicU64,
    hasher: Mutex<Sha256>,
}

/// A larger input is not hashed: its SHA-256 alone would take as long as its analysis. k6's gzip of 1 GB is below it.
const HASHED_BYTES_MAX: u64 = 64 << 20;

impl Progress {
    /// Returns the SHA-256 of the bytes read so far, in hexadecimal; none when they are too many.
    pub fn sha256(&self) -> Option<String> {
        if self.bytes_read.load(Ordering::Relaxed) > HASHED_BYTES_MAX {
            return None;
        }
        let hasher = self.hasher.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// When a reader stops waiting for more.
#[derive(Debug, Clone)]
pub enum End {
    /// At the end of the file or pipe.
    AtEnd,
    /// The file grows: once its writer has closed it, or after so long without a byte.
    Quiet(Duration),
}

/// Opens `path` (`-` is stdin). The reader ends early, as at the end of the file, when `stop` is set.
pub fn open(path: &Path, end: End, stop: Arc<AtomicBool>) -> io::Result<(Box<dyn Read + Send>, Arc<Progress>)> {
    let progress = Arc::new(Progress::default());
    let mut size_known = 0;
    let file: Box<dyn Read + Send> = if path == Path::new("-") {
        widen_pipe();
        Box::new(io::stdin())
    } else {
        let file = File::open(path)?;
        size_known = file.metadata()?.len();
        match end {
            End::AtEnd => Box::new(file),
            End::Quiet(quiet) => {
                Box::new(Growing { path: path.to_owned(), file, quiet, writer_seen: false, stop: stop.clone() })
            }
        }
    };
    let is_hashed = size_known <= HASHED_BYTES_MAX;
    let counted = Counted { inner: file, progress: progress.clone(), is_hashed, stop };
    Ok((decompressed(Box::new(counted))?, progress))
}

/// Lets a pipe hold more before its writer must wait: with the usual 64 KiB both ends mostly sleep.
fn widen_pipe() {
    #[cfg(target_os = "linux")]
    // A file is no pipe, and a user may have too many pages in pipes already: it is slower then, not wrong.
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), PIPE_BYTES);
}

/// Recognises gzip and zstd by their first bytes.
fn decompressed(mut raw: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = [0; 4];
    let length = fill(&mut raw, &mut magic)?;
    let start = io::Cursor::new(magic[..length].to_vec());
    let whole = start.chain(raw);
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => {
            Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(256 << 10, whole)))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// Reads until `buffer` is full or the input ends; returns how much was read.
pub fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

struct Counted {
    inner: Box<dyn Read + Send>,
    progress: Arc<Progress>,
    is_hashed: bool,
    stop: Arc<AtomicBool>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let length = match self.inner.read(buffer) {
            // A signal wakes a blocked pipe; `stop` then says whether to end.
            Err(error) if error.kind() == io::ErrorKind::Interrupted && self.stop.load(Ordering::Relaxed) => 0,
            result => result?,
        };
        let before = self.progress.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        if self.is_hashed && before <= HASHED_BYTES_MAX {
            let mut hasher = self.progress.hasher.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            hasher.update(&buffer[..length]);
        }
        Ok(length)
    }
}

/// A file that its writer still appends to.
struct Growing {
    path: std::path::PathBuf,
    file: File,
    quiet: Duration,
    writer_seen: bool,
    stop: Arc<AtomicBool>,
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let quiet_since = Instant::now();
        loop {
            let length = self.file.read(buffer)?;
            if length > 0 || self.stop.load(Ordering::Relaxed) {
                return Ok(length);
            }
            let has_writer = has_writer(&self.path);
            if self.writer_seen && has_writer == Some(false) {
                // What was written between our last read and the writer's end.
                return self.file.read(buffer);
            }
            self.writer_seen |= has_writer == Some(true);
            if quiet_since.elapsed() >= self.quiet {
                return Ok(0);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Says whether a process that we may look into has `path` open for writing; none where the system does not tell.
///
/// Linux: `/proc/PID/fd` and the `flags` line of `/proc/PID/fdinfo`, proc(5).
fn has_writer(path: &Path) -> Option<bool> {
    let path = path.canonicalize().ok()?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            if std::fs::read_link(descriptor.path()).is_ok_and(|target| target == path)
                && is_writing(&process.path(), &descriptor.file_name())
            {
                return Some(true);
            }
        }
    }
    Some(false)
}

fn is_writing(process: &Path, descriptor: &std::ffi::OsStr) -> bool {
    let Ok(info) = std::fs::read_to_string(process.join("fdinfo").join(descriptor)) else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    // The two lowest bits are the access mode: 0 is read-only.
    flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & 0o3 != 0)
}
