//! What processes left that died before their manifest.
//!
//! In a folder the lock of an attempt's claim tells whether its writer lives. In a bucket, and where a claim is missing,
//! only age tells.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;

use super::claim::{self, Writer};
use super::{Store, StoreError};

/// Data that no manifest names, whose writer is unknown and that is older than this was left by a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// An attempt without a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    pub attempt: String,
    pub bytes: u64,
}

#[derive(Debug)]
struct Written {
    bytes: u64,
    newest: SystemTime,
}

impl Store {
    /// Returns the attempts that nobody writes and no manifest names.
    pub fn abandoned(&self, now: SystemTime) -> Result<Vec<Abandoned>, StoreError> {
        let written = match &self.folder {
            Some(folder) => written_in_folder(folder)
                .map_err(|error| StoreError::Read { what: "the list of attempts".to_owned(), cause: error.into() })?,
            None => self.written_in_bucket()?,
        };
        let limit = now.checked_sub(ABANDONED_AFTER).unwrap_or(SystemTime::UNIX_EPOCH);
        let is_left = |attempt: &str, newest: SystemTime| {
            let writer = self.folder.as_deref().map_or(Writer::Unknown, |folder| claim::writer_of(folder, attempt));
            writer == Writer::Dead || writer == Writer::Unknown && newest < limit
        };
        // Nobody is between making a claim and locking it.
        let lock = self.lock_runs()?;
        let mut left: Vec<Abandoned> = written
            .into_iter()
            .filter(|(attempt, written)| is_left(attempt, written.newest))
            .map(|(attempt, written)| Abandoned { attempt, bytes: written.bytes })
            .collect();
        drop(lock);
        if left.is_empty() {
            return Ok(left);
        }
        // Read after the claims: a writer that ended well meanwhile has put its manifest before it let go.
        let (manifests, unreadable) = self.manifests()?;
        // An unreadable manifest may name any attempt: then nothing is certain to be abandoned.
        if !unreadable.is_empty() {
            return Ok(Vec::new());
        }
        let named: HashSet<&str> = manifests.iter().map(|manifest| manifest.attempt.as_str()).collect();
        left.retain(|left| !named.contains(left.attempt.as_str()));
        Ok(left)
    }

    pub fn delete_abandoned(&self, now: SystemTime) -> Result<Vec<Abandoned>, StoreError> {
        let abandoned = self.abandoned(now)?;
        for left in &abandoned {
            self.delete_attempt(&left.attempt)?;
        }
        Ok(abandoned)
    }

    fn written_in_bucket(&self) -> Result<BTreeMap<String, Written>, StoreError> {
        let folder = self.root.clone().join("data");
        let read = |cause: object_store::Error| StoreError::Read { what: folder.to_string(), cause: cause.into() };
        let metas: Vec<_> = self.runtime.block_on(self.objects.list(Some(&folder)).try_collect()).map_err(read)?;
        let mut written = BTreeMap::new();
        for meta in metas {
            let Some(attempt) = meta.location.prefix_match(&folder).and_then(|mut parts| parts.next()) else {
                continue;
            };
            add(&mut written, attempt.as_ref(), meta.size, meta.last_modified.into());
        }
        Ok(written)
    }

    /// Deletes what is no object: parts of a file that was never finished, and the folder itself.
    pub(super) fn delete_folder_of(&self, attempt: &str) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match std::fs::remove_dir_all(folder.join("data").join(attempt)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Write { what: format!("the deletion of {attempt}"), cause: error.into() });
            }
            _ => claim::delete_claim(folder, attempt),
        }
        Ok(())
    }
}

fn add(written: &mut BTreeMap<String, Written>, attempt: &str, bytes: u64, modified: SystemTime) {
    let entry = written.entry(attempt.to_owned()).or_insert(Written { bytes: 0, newest: modified });
    entry.bytes += bytes;
    entry.newest = entry.newest.max(modified);
}

/// With claims that nothing was written for, and unfinished files, which no list of objects shows. What vanishes meanwhile is somebody else's deletion.
fn written_in_folder(store_folder: &Path) -> io::Result<BTreeMap<String, Written>> {
    let mut written = BTreeMap::new();
    for of_attempts in ["data", "claims"] {
        let attempts = match std::fs::read_dir(store_folder.join(of_attempts)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            attempts => attempts?,
        };
        for attempt in attempts.flatten() {
            let name = attempt.file_name().to_string_lossy().into_owned();
            let Ok(metadata) = attempt.metadata() else { continue };
            add(&mut written, &name, 0, metadata.modified()?);
            let files = metadata.is_dir().then(|| std::fs::read_dir(attempt.path()).into_iter().flatten().flatten());
            for metadata in files.into_iter().flatten().filter_map(|file| file.metadata().ok()) {
                add(&mut written, &name, metadata.len(), metadata.modified()?);
            }
        }
    }
    Ok(written)
}
