//! The bytes of an input: opened, counted, hashed, followed while they grow, decompressed.
//!
//! A reader that would have to wait for its writer says so once, by [`io::ErrorKind::Interrupted`], and waits in the read
//! after that: what has come so far is not held back, and whoever has nothing to hand over only reads again.

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

/// An input that can be read.
pub struct Opened {
    pub reader: Box<dyn Read + Send>,
    pub progress: Arc<Progress>,
    /// The file itself, when it is long, whole and not compressed: its parts can be read side by side.
    pub plain: Option<PlainFile>,
}

/// Opens `path` (`-` is stdin). The reader ends early, as at the end of the file, when `stop` is set.
pub fn open(path: &Path, end: End, stop: Arc<AtomicBool>) -> io::Result<Opened> {
    let progress = Arc::new(Progress::default());
    let mut size_known = 0;
    let mut plain = None;
    let file: Box<dyn Read + Send> = if path == Path::new("-") {
        widen_pipe();
        Box::new(Piped { stdin: io::stdin(), has_paused: false })
    } else {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        size_known = metadata.len();
        match end {
            End::AtEnd => {
                // What is hashed must be read in order.
                if metadata.is_file() && size_known > HASHED_BYTES_MAX {
                    let (progress, stop) = (progress.clone(), stop.clone());
                    plain = Some(PlainFile::new(file.try_clone()?, progress, stop)?);
                }
                Box::new(file)
            }
            End::Quiet(quiet) => Box::new(Growing {
                path: path.to_owned(),
                file,
                quiet,
                writer_seen: false,
                has_paused: false,
                stop: stop.clone(),
            }),
        }
    };
    let is_hashed = size_known <= HASHED_BYTES_MAX;
    let mut counted = Counted { inner: file, progress: progress.clone(), is_hashed, stop };
    let mut magic = [0; 4];
    let length = fill(&mut counted, &mut magic)?;
    let magic = &magic[..length];
    let whole = io::Cursor::new(magic.to_vec()).chain(counted);
    let reader: Box<dyn Read + Send> = match magic {
        [0x1f, 0x8b, ..] => {
            Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(256 << 10, whole)))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => return Ok(Opened { reader: Box::new(whole), progress, plain }),
    };
    Ok(Opened { reader, progress, plain: None })
}

/// Counts and hashes what `inner` gives; it ends early when `stop` is set.
pub fn counted(inner: Box<dyn Read + Send>, stop: Arc<AtomicBool>) -> (Box<dyn Read + Send>, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    (Box::new(Counted { inner, progress: progress.clone(), is_hashed: true, stop }), progress)
}

/// A file whose length was taken once: what is appended later is not read.
#[derive(Debug)]
pub struct PlainFile {
    file: File,
    bytes: u64,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

impl PlainFile {
    pub fn new(file: File, progress: Arc<Progress>, stop: Arc<AtomicBool>) -> io::Result<PlainFile> {
        Ok(PlainFile { bytes: file.metadata()?.len(), file, progress, stop })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says whether to end early, as at the end of the file.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Forgets what was read to recognise the file: its parts are counted from the start.
    pub fn begin(&self) {
        self.progress.bytes_read.store(0, Ordering::Relaxed);
    }

    /// For the progress that is shown.
    pub fn note_read(&self, bytes: usize) {
        self.progress.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Reads from `offset` until `buffer` is full or the file ends; returns how much was read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(&mut At { file: &self.file, offset }, buffer)
    }
}

/// A place in a file, which other threads read at other places.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let length = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        #[cfg(windows)]
        let length = std::os::windows::fs::FileExt::seek_read(self.file, buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// Lets a pipe hold more before its writer must wait: with the usual 64 KiB both ends mostly sleep.
fn widen_pipe() {
    #[cfg(target_os = "linux")]
    // A file is no pipe, and a user may have too many pages in pipes already: it is slower then, not wrong.
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), PIPE_BYTES);
}

/// Stdin, which its writer may fill slowly.
struct Piped {
    stdin: io::Stdin,
    has_paused: bool,
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_paused && stdin_would_wait() {
            self.has_paused = true;
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.has_paused = false;
        self.stdin.read(buffer)
    }
}

/// Says whether nothing is there to be read, at the end of a pipe as well; where the system does not tell: no.
fn stdin_would_wait() -> bool {
    #[cfg(unix)]
    return rustix::io::ioctl_fionread(io::stdin()).is_ok_and(|bytes| bytes == 0);
    #[cfg(not(unix))]
    return false;
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
    has_paused: bool,
    stop: Arc<AtomicBool>,
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let quiet_since = Instant::now();
        loop {
            let length = self.file.read(buffer)?;
            if length > 0 || self.stop.load(Ordering::Relaxed) {
                self.has_paused = false;
                return Ok(length);
            }
            if !self.has_paused {
                self.has_paused = true;
                return Err(io::ErrorKind::Interrupted.into());
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
