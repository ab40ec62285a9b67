//! The run store: Parquet and a manifest per run, in a folder or a bucket.
//!
//! ```text
//! runs/<run id>.json               the manifest: a run exists if and only if this does
//! data/<attempt>/samples.parquet   what one analysis wrote; nobody sees it before the manifest names it
//!                tag_sets.parquet
//!                series.parquet
//!                windows.parquet
//!                blocks.parquet
//!                metrics.parquet
//!                thresholds.parquet
//!                host_metrics.parquet, spans.parquet, profiles.parquet, logs.parquet: where the servers were asked
//!                report.json
//!                capture.tar          what the servers answered about the run, where they were asked
//! lock, claims/                    for a folder: who is at work, see `claim`
//! ```
//!
//! The manifest is put in one step after all data, so a run is visible whole or not at all, whatever is killed when. Two
//! processes write to attempts of their own; of the same run the later manifest stands.

pub mod abandoned;
pub mod baselines;
pub mod bundle;
pub mod claim;
mod constant_column;
pub mod journal;
pub mod journal_lines;
pub mod manifest;
pub mod report_tables;
pub mod retention;
pub mod run_files;
pub mod run_writer;
pub mod sample_file;
pub mod spool;
mod table_writer;
pub mod telemetry_tables;
pub mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::model::report::AnalysisReport;
use crate::model::time::Timestamp;
use manifest::Manifest;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to open the store {location}")]
    Open {
        location: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("failed to write {what} to the store")]
    Write {
        what: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("failed to read {what} from the store")]
    Read {
        what: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("run {run_id} was analysed anew or deleted meanwhile: try again")]
    Replaced { run_id: String },
    #[error("no run {name:?} in the store; `tidemark history` lists them")]
    NoRun { name: String },
    #[error("{name:?} is the start of {count} run ids: give more of it")]
    Ambiguous { name: String, count: usize },
}

/// What the servers answered about a run, as a table of its manifest.
pub const CAPTURE: &str = "capture";

/// A bucket answers each in some ten milliseconds.
const REQUESTS_UNDER_WAY_MAX: usize = 32;

/// Names a folder for data that no other process writes to: the time, and this process.
pub fn attempt(now: Timestamp) -> String {
    format!("{:020}-{}", now.0, std::process::id())
}

/// A store of runs.
#[derive(Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    /// None for a bucket.
    folder: Option<PathBuf>,
    runtime: tokio::runtime::Runtime,
    pub location: String,
}

impl Store {
    /// Opens a store to keep runs in: a folder is made when it is missing.
    pub fn create(location: &str) -> Result<Store, StoreError> {
        if !location.contains("://") {
            std::fs::create_dir_all(location)
                .map_err(|error| StoreError::Open { location: location.to_owned(), cause: error.into() })?;
        }
        Store::open(location)
    }

    /// Opens a store to look at what is kept. `location`: a folder, or the URL of a bucket, such as `s3://bucket/prefix`.
    pub fn open(location: &str) -> Result<Store, StoreError> {
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Open { location: location.to_owned(), cause };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| failed(error.into()))?;
        let (objects, root, folder): (Arc<dyn ObjectStore>, Path, Option<PathBuf>) = if location.contains("://") {
            let url = url::Url::parse(location).map_err(|error| failed(error.into()))?;
            let environment = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
            let settings = environment.filter(|(name, _)| name.starts_with("aws_"));
            let (objects, root) = object_store::parse_url_opts(&url, settings).map_err(|error| failed(error.into()))?;
            (Arc::from(objects), root, None)
        } else if !std::path::Path::new(location).exists() {
            // Nothing was kept yet, and a question makes no folder.
            (Arc::new(InMemory::new()), Path::default(), None)
        } else {
            let local = LocalFileSystem::new_with_prefix(location).map_err(|error| failed(error.into()))?;
            (Arc::new(local.with_automatic_cleanup(true)), Path::default(), Some(PathBuf::from(location)))
        };
        Ok(Store { objects, root, folder, runtime, location: location.to_owned() })
    }

    /// Returns the manifests of all runs, oldest first; a manifest that cannot be read is named in the second list.
    pub fn manifests(&self) -> Result<(Vec<Manifest>, Vec<String>), StoreError> {
        let contents = match &self.folder {
            Some(folder) => contents_of_folder(&folder.join("runs")).map_err(Box::from),
            None => self.runtime.block_on(self.contents_of_bucket()).map_err(Box::from),
        };
        let contents = contents.map_err(|cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Read {
            what: "the list of runs".to_owned(),
            cause,
        })?;
        let (mut manifests, mut unreadable) = (Vec::new(), Vec::new());
        for (location, bytes) in contents {
            match serde_json::from_slice::<Manifest>(&bytes) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => unreadable.push(format!("{location}: {error}")),
            }
        }
        manifests.sort_by_cached_key(Manifest::order_key);
        unreadable.sort();
        Ok((manifests, unreadable))
    }

    /// One request for each manifest, and many of them under way.
    async fn contents_of_bucket(&self) -> Result<Vec<(String, Vec<u8>)>, object_store::Error> {
        let metas: Vec<_> = self.objects.list(Some(&self.root.clone().join("runs"))).try_collect().await?;
        let gets = metas.into_iter().map(|meta| async move {
            match async { self.objects.get(&meta.location).await?.bytes().await }.await {
                Ok(bytes) => Ok(Some((meta.location.to_string(), Vec::from(bytes)))),
                // Deleted since it was listed.
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let contents = futures::stream::iter(gets).buffer_unordered(REQUESTS_UNDER_WAY_MAX);
        Ok(contents.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Resolves an id, a unique start of one, `last` or `last~2`.
    pub fn find(&self, name: &str) -> Result<Manifest, StoreError> {
        resolve(&self.manifests()?.0, name).cloned()
    }

    /// Makes a run visible: the one step after which it exists. Data that an earlier analysis of it wrote is deleted.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let lock = self.lock_runs()?;
        // What an unreadable manifest named is found as abandoned data.
        let earlier = self.manifest_of(&manifest.run_id).ok().flatten();
        self.put_manifest(manifest)?;
        drop(lock);
        if let Some(earlier) = earlier.filter(|earlier| earlier.attempt != manifest.attempt) {
            self.delete_attempt(&earlier.attempt)?;
        }
        Ok(())
    }

    /// Puts another manifest in the place of that of the same attempt.
    pub fn amend(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let _lock = self.lock_runs()?;
        let now = self.manifest_of(&manifest.run_id)?;
        if now.is_none_or(|now| now.attempt != manifest.attempt) {
            return Err(StoreError::Replaced { run_id: manifest.run_id.clone() });
        }
        self.put_manifest(manifest)
    }

    /// Tells other processes that `attempt` is being written, until the result is dropped. None for a bucket.
    pub fn claim(&self, attempt: &str) -> Result<Option<claim::Claim>, StoreError> {
        let _lock = self.lock_runs()?;
        self.claim_under_lock(attempt)
    }

    fn claim_under_lock(&self, attempt: &str) -> Result<Option<claim::Claim>, StoreError> {
        let claim = self.folder.as_deref().map(|folder| claim::Claim::take(folder, attempt)).transpose();
        let failed =
            |error: std::io::Error| StoreError::Write { what: format!("the claim of {attempt}"), cause: error.into() };
        Ok(claim.map_err(failed)?.flatten())
    }

    fn manifest_path(&self, run_id: &str) -> Path {
        self.root.clone().join("runs").join(format!("{run_id}.json"))
    }

    /// Returns the manifest of a run, if it is kept.
    pub fn manifest_of(&self, run_id: &str) -> Result<Option<Manifest>, StoreError> {
        self.manifest_at(&self.manifest_path(run_id))
    }

    fn manifest_at(&self, path: &Path) -> Result<Option<Manifest>, StoreError> {
        let read = |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Read { what: path.to_string(), cause };
        match self.runtime.block_on(async { self.objects.get(path).await?.bytes().await }) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| read(error.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(read(error.into())),
        }
    }

    fn put_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let path = self.manifest_path(&manifest.run_id);
        let write =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Write { what: path.to_string(), cause };
        let bytes = serde_json::to_vec_pretty(manifest).map_err(|error| write(error.into()))?;
        let put = self.runtime.block_on(self.objects.put(&path, PutPayload::from(bytes)));
        put.map(drop).map_err(|error| write(error.into()))
    }

    pub fn put(&self, attempt: &str, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let path = self.attempt_path(attempt, name);
        let put = self.runtime.block_on(self.objects.put(&path, PutPayload::from(bytes)));
        put.map(drop).map_err(|error| StoreError::Write { what: path.to_string(), cause: error.into() })
    }

    pub fn read(&self, attempt: &str, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.attempt_path(attempt, name);
        let bytes = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await });
        bytes.map(Vec::from).map_err(|error| StoreError::Read { what: path.to_string(), cause: error.into() })
    }

    pub fn put_report(&self, attempt: &str, report: &AnalysisReport) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(report)
            .map_err(|error| StoreError::Write { what: "the report".to_owned(), cause: error.into() })?;
        self.put(attempt, "report.json", bytes)
    }

    /// Returns the report of a kept run, also when an older program wrote it.
    pub fn report(&self, manifest: &Manifest) -> Result<AnalysisReport, StoreError> {
        let bytes = self.read(&manifest.attempt, "report.json")?;
        let what = format!("the report of run {}", manifest.run_id);
        serde_json::from_slice(&bytes).map_err(|error| StoreError::Read { what, cause: error.into() })
    }

    /// Deletes what an attempt wrote; what is already gone is no error.
    pub fn delete_attempt(&self, attempt: &str) -> Result<(), StoreError> {
        let folder = self.root.clone().join("data").join(attempt);
        let deleted = self.runtime.block_on(async {
            let metas: Vec<_> = self.objects.list(Some(&folder)).try_collect().await?;
            for meta in metas {
                match self.objects.delete(&meta.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        deleted
            .map_err(|error| StoreError::Write { what: format!("the deletion of {folder}"), cause: error.into() })?;
        self.delete_folder_of(attempt)
    }

    fn attempt_path(&self, attempt: &str, name: &str) -> Path {
        self.root.clone().join("data").join(attempt).join(name)
    }
}

/// Reads plainly: a task of the runtime for each of a thousand small files takes longer than the files.
fn contents_of_folder(folder: &std::path::Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    use std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut contents = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // What is put has another name until it is whole.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match std::fs::read(&path) {
            Ok(bytes) => contents.push((path.display().to_string(), bytes)),
            // Deleted since it was listed.
            Err(error) if error.kind() == NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(contents)
}

/// Resolves an id, a unique start of one, `last` or `last~2` among `manifests`, oldest first.
pub fn resolve<'m>(manifests: &'m [Manifest], name: &str) -> Result<&'m Manifest, StoreError> {
    let missing = || StoreError::NoRun { name: name.to_owned() };
    if let Some(back) = last_index(name) {
        let index = manifests.len().checked_sub(back + 1).ok_or_else(missing)?;
        return Ok(&manifests[index]);
    }
    if let Some(exact) = manifests.iter().find(|manifest| manifest.run_id == name) {
        return Ok(exact);
    }
    let starts_so = |manifest: &&Manifest| !name.is_empty() && manifest.run_id.starts_with(name);
    match manifests.iter().filter(starts_so).collect::<Vec<_>>()[..] {
        [] => Err(missing()),
        [one] => Ok(one),
        ref several => Err(StoreError::Ambiguous { name: name.to_owned(), count: several.len() }),
    }
}

/// Reads `last` and `last~2`: how many runs before the newest.
fn last_index(name: &str) -> Option<usize> {
    let back = name.strip_prefix("last")?;
    if back.is_empty() { Some(0) } else { back.strip_prefix('~')?.parse().ok() }
}
