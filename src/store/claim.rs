//! Locks that tell other processes what this one is doing; the system lets go of them when it dies, however it dies.
//!
//! ```text
//! lock               held for the moment in which a manifest is replaced or deleted
//! claims/<attempt>   held while an attempt is written: its data is not left behind by anyone
//! ```
//!
//! Only for a folder: a bucket has no locks.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// An attempt that is under way; ends with this value.
#[derive(Debug)]
pub struct Claim {
    // Held for its lock.
    _file: File,
    path: PathBuf,
}

/// What is known of the process that writes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Alive,
    Dead,
    Unknown,
}

impl Claim {
    /// None when another process has it. The caller holds the lock of the runs, so that nobody sees the file unlocked.
    pub(super) fn take(store_folder: &Path, attempt: &str) -> io::Result<Option<Claim>> {
        let path = claim_path(store_folder, attempt);
        std::fs::create_dir_all(store_folder.join("claims"))?;
        let file = File::create(&path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(Some(Claim { _file: file, path })),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be deleted is an empty file whose lock is free: the next look for abandoned data deletes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Says whether the process that claimed an attempt still holds it.
pub(super) fn writer_of(store_folder: &Path, attempt: &str) -> Writer {
    match File::open(claim_path(store_folder, attempt)).map(|file| file.try_lock()) {
        Ok(Ok(())) => Writer::Dead,
        Ok(Err(TryLockError::WouldBlock)) => Writer::Alive,
        Ok(Err(TryLockError::Error(_))) | Err(_) => Writer::Unknown,
    }
}

pub(super) fn delete_claim(store_folder: &Path, attempt: &str) {
    // Most attempts have none; an empty file that stays does no harm.
    let _ = std::fs::remove_file(claim_path(store_folder, attempt));
}

/// Waits for the lock on the list of runs; it ends with the file that is returned.
pub(super) fn lock_runs(store_folder: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(store_folder.join("lock"))?;
    match file.lock() {
        // Some network file systems have no locks: there a second process is met at one's own risk, as in a bucket.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(file),
    }
}

fn claim_path(store_folder: &Path, attempt: &str) -> PathBuf {
    store_folder.join("claims").join(attempt)
}
