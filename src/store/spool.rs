//! A spool: what came down a pipe, on the disk until somebody has it for sure.
//!
//! ```text
//! state.json        whose it is, and how much of it was confirmed
//! <first byte>      a piece of the pipe's bytes; deleted when all of it is confirmed
//! ```
//!
//! What is taken from the pipe is in a file before anybody reads it, so that a process that is killed loses nothing: on
//! Linux the system moves the bytes by itself, and they are never in the process alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::stream::About;

const STATE: &str = "state.json";
const PIECE_BYTES: u64 = 1 << 20;
/// Taken from the pipe at once.
const TAKEN_BYTES: usize = 256 << 10;
const WAITS: Duration = Duration::from_millis(10);

/// Whose spool it is, and how far it was confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolState {
    pub run: String,
    pub pod: String,
    pub about: About,
    pub confirmed_lines: u64,
    pub confirmed_bytes: u64,
    /// The pipe had ended, so that nothing more comes.
    pub has_ended: bool,
}

/// A spool on the disk. One process uses it at a time.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    state: Mutex<SpoolState>,
    shared: Arc<Shared>,
    _lock: File,
}

#[derive(Debug, Default)]
struct Shared {
    /// All bytes that ever came.
    written: AtomicU64,
    confirmed: AtomicU64,
    has_ended: AtomicBool,
}

impl Spool {
    /// Returns the spool that an earlier process left in `folder`, if any.
    pub fn left(folder: &Path) -> io::Result<Option<Spool>> {
        let text = match std::fs::read(folder.join(STATE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let state: SpoolState = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let spool = Spool::open(folder, state)?;
        let end = pieces(folder)?.last().map(|(start, path)| Ok::<u64, io::Error>(start + path.metadata()?.len()));
        let (written, confirmed) = (end.transpose()?.unwrap_or(0), spool.state().confirmed_bytes);
        spool.shared.written.store(written.max(confirmed), Ordering::Release);
        spool.shared.confirmed.store(confirmed, Ordering::Release);
        spool.shared.has_ended.store(spool.state().has_ended, Ordering::Release);
        Ok(Some(spool))
    }

    /// Begins a spool in a folder that holds none.
    pub fn begin(folder: &Path, state: SpoolState) -> io::Result<Spool> {
        std::fs::create_dir_all(folder)?;
        let spool = Spool::open(folder, state)?;
        spool.write_state()?;
        Ok(spool)
    }

    fn open(folder: &Path, state: SpoolState) -> io::Result<Spool> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another process uses the spool"))?;
        let folder = folder.to_owned();
        Ok(Spool { folder, state: Mutex::new(state), shared: Arc::default(), _lock: lock })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn state(&self) -> SpoolState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write_state(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.state()).map_err(io::Error::other)?;
        let new = self.folder.join("state.new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, self.folder.join(STATE))
    }

    /// Bytes that are here and not confirmed.
    pub fn waiting_bytes(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire) - self.shared.confirmed.load(Ordering::Acquire)
    }

    /// Notes how much somebody else has for sure, and deletes that.
    pub fn confirm(&self, lines: u64, bytes: u64) -> io::Result<()> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let has_ended = self.shared.has_ended.load(Ordering::Acquire);
            if (state.confirmed_bytes, state.has_ended) == (bytes, has_ended) {
                return Ok(());
            }
            (state.confirmed_lines, state.confirmed_bytes, state.has_ended) = (lines, bytes, has_ended);
        }
        self.write_state()?;
        self.shared.confirmed.store(bytes, Ordering::Release);
        let pieces = pieces(&self.folder)?;
        for ((_, path), (next, _)) in pieces.iter().zip(pieces.iter().skip(1)) {
            if *next <= bytes {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Deletes the spool, all of which is confirmed; it is not used after that.
    pub fn delete(&self) -> io::Result<()> {
        for (_, path) in pieces(&self.folder)? {
            std::fs::remove_file(path)?;
        }
        std::fs::remove_file(self.folder.join(STATE))?;
        std::fs::remove_file(self.folder.join("lock"))?;
        // Where the user keeps other things in it, it stays.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }

    /// Returns what reads the bytes that are not confirmed; it never waits, and says `Interrupted` instead.
    pub fn reader(&self) -> SpoolReader {
        let position = self.state().confirmed_bytes;
        SpoolReader { folder: self.folder.clone(), shared: self.shared.clone(), position, piece: None }
    }

    /// Takes the bytes of `pipe` until it ends or `stop` is set; waits while more than `bytes_max` are not confirmed.
    pub fn fill(&self, pipe: &File, bytes_max: u64, stop: &AtomicBool) -> io::Result<()> {
        let mut piece: Option<(u64, File)> = None;
        while !stop.load(Ordering::Relaxed) {
            if self.waiting_bytes() >= bytes_max {
                std::thread::sleep(WAITS);
                continue;
            }
            let written = self.shared.written.load(Ordering::Acquire);
            let file = match &mut piece {
                Some((start, file)) if written - *start < PIECE_BYTES => file,
                _ => {
                    let path = self.folder.join(format!("{written:020}"));
                    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
                    &mut piece.insert((written, file)).1
                }
            };
            let length = match move_bytes(pipe, file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            if length == 0 {
                self.shared.has_ended.store(true, Ordering::Release);
                return Ok(());
            }
            self.shared.written.fetch_add(length as u64, Ordering::Release);
        }
        Ok(())
    }
}

/// Moves what a pipe has into a file; waits for the first byte.
fn move_bytes(mut pipe: &File, file: &mut File) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    match rustix::pipe::splice(pipe, None, &*file, None, TAKEN_BYTES, rustix::pipe::SpliceFlags::empty()) {
        // It is no pipe, or its file system cannot do it.
        Err(rustix::io::Errno::INVAL) => {}
        result => return Ok(result?),
    }
    let mut buffer = vec![0; TAKEN_BYTES];
    let length = pipe.read(&mut buffer)?;
    file.write_all(&buffer[..length])?;
    Ok(length)
}

/// Returns the pieces by their first byte.
fn pieces(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut pieces = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(start) =
            entry.file_name().to_str().filter(|name| name.len() == 20).and_then(|name| name.parse().ok())
        {
            pieces.push((start, entry.path()));
        }
    }
    pieces.sort();
    Ok(pieces)
}

/// Reads a spool while it is filled.
#[derive(Debug)]
pub struct SpoolReader {
    folder: PathBuf,
    shared: Arc<Shared>,
    position: u64,
    /// Where the piece at hand begins, and where the next one does if there is one.
    piece: Option<(u64, File)>,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // First whether it has ended: what came before that is then all.
        let has_ended = self.shared.has_ended.load(Ordering::Acquire);
        let written = self.shared.written.load(Ordering::Acquire);
        if self.position >= written {
            return if has_ended { Ok(0) } else { Err(io::ErrorKind::Interrupted.into()) };
        }
        loop {
            if let Some((start, file)) = &mut self.piece {
                file.seek(SeekFrom::Start(self.position - *start))?;
                let wanted = buffer.len().min((written - self.position) as usize);
                let length = file.read(&mut buffer[..wanted])?;
                if length > 0 {
                    self.position += length as u64;
                    return Ok(length);
                }
            }
            // The piece is at its end: the next one begins here.
            let pieces = pieces(&self.folder)?;
            let at = pieces.partition_point(|(start, _)| *start <= self.position).checked_sub(1);
            let found =
                at.map(|at| &pieces[at]).filter(|(start, _)| self.piece.as_ref().is_none_or(|(now, _)| now < start));
            let Some((start, path)) = found else {
                return Err(io::Error::other("a piece of the spool is gone"));
            };
            self.piece = Some((*start, File::open(path)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(reader: &mut SpoolReader) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return all,
                Ok(length) => all.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return all,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn what_was_not_confirmed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        assert!(Spool::left(folder.path()).unwrap().is_none());
        let bytes: Vec<u8> = (0..20_000_000u32).map(|index| (index / 7) as u8).collect();
        let state = SpoolState { run: "r".to_owned(), pod: "p".to_owned(), ..SpoolState::default() };
        let spool = Spool::begin(&path, state.clone()).unwrap();
        spool.fill(&file_of(&bytes), u64::MAX, &AtomicBool::new(false)).unwrap();
        assert_eq!(read_all(&mut spool.reader()), bytes);
        assert!(Spool::left(&path).is_err(), "two processes at once");
        spool.confirm(3, 9_000_000).unwrap();
        let kept = pieces(&path).unwrap();
        assert!(kept[0].0 <= 9_000_000 && kept[1].0 > 9_000_000, "{kept:?}");
        drop(spool);
        let spool = Spool::left(&path).unwrap().unwrap();
        assert_eq!(spool.waiting_bytes(), 11_000_000);
        assert_eq!(spool.state().confirmed_lines, 3);
        assert_eq!(read_all(&mut spool.reader()), bytes[9_000_000..]);
        spool.delete().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_full_spool_lets_the_pipe_wait() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::begin(folder.path(), SpoolState::default()).unwrap();
        let stop = AtomicBool::new(false);
        let bytes = vec![7; 3_000_000];
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| spool.fill(&file_of(&bytes), 1_000_000, &stop));
            let mut reader = spool.reader();
            let mut read = 0;
            while read < bytes.len() {
                read += read_all(&mut reader).len();
                assert!(spool.waiting_bytes() <= 1_000_000 + TAKEN_BYTES as u64);
                spool.confirm(0, read as u64).unwrap();
            }
            filling.join().unwrap().unwrap();
        });
        spool.delete().unwrap();
    }
}
