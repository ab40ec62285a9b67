//! A run as one file: a tar of its manifest, its report and its tables, in this order; to carry it from store to store.

use std::io::{self, Read, Write};

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::manifest::{FORMAT_VERSION, Manifest};
use super::upload::Upload;
use super::{Store, StoreError};

const MANIFEST: &str = "manifest.json";
const REPORT: &str = "report.json";
/// The report of a run with thousands of endpoints has some ten megabytes.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// Of a table, in memory at once.
const PIECE_BYTES: usize = 4 << 20;
const COPY_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("failed to write the bundle")]
    Write(#[source] io::Error),
    #[error("failed to read the bundle: is it what `tidemark export` wrote, and whole?")]
    Read(#[source] io::Error),
    #[error("not a bundle of a run: {reason}")]
    NotOurs { reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Writes a kept run to `out`.
    pub fn export(&self, manifest: &Manifest, out: impl Write) -> Result<(), BundleError> {
        let mut bundle = tar::Builder::new(out);
        let json = serde_json::to_vec_pretty(manifest).map_err(|error| BundleError::Write(error.into()))?;
        append(&mut bundle, MANIFEST, json.len() as u64, &json[..])?;
        let report = self.read(&manifest.attempt, REPORT)?;
        append(&mut bundle, REPORT, report.len() as u64, &report[..])?;
        for table in &manifest.tables {
            let path = self.attempt_path(&manifest.attempt, &table.file);
            let pieces = Pieces { store: self, path, at: 0, end: table.bytes };
            let pieces = io::BufReader::with_capacity(PIECE_BYTES, pieces);
            append(&mut bundle, &table.file, table.bytes, pieces)?;
        }
        bundle.finish().map_err(BundleError::Write)
    }

    /// Reads a run from what `export` wrote, into the data folder `attempt`, and makes it visible; returns its manifest.
    ///
    /// After an error nothing of it is left.
    pub fn import(&self, input: impl Read, attempt: &str) -> Result<Manifest, BundleError> {
        let imported = self.import_data(input, attempt);
        match imported {
            Ok(manifest) => {
                self.commit(&manifest)?;
                Ok(manifest)
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.delete_attempt(attempt);
                Err(error)
            }
        }
    }

    fn import_data(&self, input: impl Read, attempt: &str) -> Result<Manifest, BundleError> {
        let not_ours = |reason: String| BundleError::NotOurs { reason };
        let mut bundle = tar::Archive::new(input);
        let mut manifest: Option<Manifest> = None;
        let mut missing: Vec<String> = Vec::new();
        for entry in bundle.entries().map_err(BundleError::Read)? {
            let mut entry = entry.map_err(BundleError::Read)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let bytes = entry.size();
            match &manifest {
                None if name == MANIFEST => {
                    let json = read_json(&mut entry, bytes, &name)?;
                    let read: Manifest = serde_json::from_slice(&json).map_err(|error| not_ours(error.to_string()))?;
                    missing = check(&read)?;
                    manifest = Some(Manifest { attempt: attempt.to_owned(), ..read });
                }
                None => return Err(not_ours(format!("it begins with {name:?}, not with {MANIFEST}"))),
                Some(_) if name == REPORT && missing.contains(&name) => {
                    self.put(attempt, REPORT, read_json(&mut entry, bytes, &name)?)?;
                }
                Some(manifest) if missing.contains(&name) => {
                    let told = manifest.tables.iter().find(|table| table.file == name).map(|table| table.bytes);
                    if told != Some(bytes) {
                        return Err(not_ours(format!("{name} has another size than its manifest says")));
                    }
                    self.copy_in(&mut entry, attempt, &name)?;
                }
                Some(_) => return Err(not_ours(format!("its manifest does not name {name:?}, or it comes twice"))),
            }
            missing.retain(|file| *file != name);
        }
        match (manifest, missing.first()) {
            (None, _) => Err(not_ours("it is empty".to_owned())),
            (Some(_), Some(file)) => Err(not_ours(format!("{file} is missing: was it cut?"))),
            (Some(manifest), None) => Ok(manifest),
        }
    }

    fn copy_in(&self, entry: &mut impl Read, attempt: &str, name: &str) -> Result<(), BundleError> {
        let failed = |cause: io::Error| StoreError::Write { what: name.to_owned(), cause: cause.into() };
        let mut upload = Upload::start(self, attempt, name)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let length = entry.read(&mut buffer).map_err(BundleError::Read)?;
            if length == 0 {
                break;
            }
            upload.write_all(&buffer[..length]).map_err(failed)?;
        }
        upload.finish().map_err(failed)?;
        Ok(())
    }
}

fn append(
    bundle: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> Result<(), BundleError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    bundle.append_data(&mut header, name, content).map_err(BundleError::Write)
}

fn read_json(entry: &mut impl Read, bytes: u64, name: &str) -> Result<Vec<u8>, BundleError> {
    if bytes > JSON_BYTES_MAX {
        return Err(BundleError::NotOurs { reason: format!("{name} has {bytes} bytes, more than {JSON_BYTES_MAX}") });
    }
    let mut json = Vec::new();
    entry.read_to_end(&mut json).map_err(BundleError::Read)?;
    Ok(json)
}

/// Returns the files that must follow a manifest. It comes from outside: no name in it may lead anywhere else.
fn check(manifest: &Manifest) -> Result<Vec<String>, BundleError> {
    let not_ours = |reason: String| Err(BundleError::NotOurs { reason });
    if manifest.format_version > FORMAT_VERSION {
        return not_ours(format!(
            "format {}, and this program knows up to {FORMAT_VERSION}: a newer tidemark wrote it",
            manifest.format_version
        ));
    }
    let is_id = manifest.run_id.len() == 16 && manifest.run_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return not_ours(format!("{:?} is no run id", manifest.run_id));
    }
    let is_plain = |file: &str| {
        // The servers' answers are no Parquet.
        file.strip_suffix(".parquet").or(file.strip_suffix(".tar")).is_some_and(|stem| {
            !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    match manifest.tables.iter().find(|table| !is_plain(&table.file)) {
        Some(table) => not_ours(format!("{:?} is no name of a table's file", table.file)),
        None => Ok(manifest.tables.iter().map(|table| table.file.clone()).chain([REPORT.to_owned()]).collect()),
    }
}

/// An object read piece by piece, so that a large table is never in memory as a whole.
struct Pieces<'s> {
    store: &'s Store,
    path: Path,
    at: u64,
    end: u64,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.end - self.at);
        if length == 0 {
            return Ok(0);
        }
        let range = self.at..self.at + length;
        let piece = self.store.runtime.block_on(self.store.objects.get_range(&self.path, range))?;
        buffer[..piece.len()].copy_from_slice(&piece);
        self.at += piece.len() as u64;
        Ok(piece.len())
    }
}
