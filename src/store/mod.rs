//! The run store: Parquet and a manifest per run, in a folder or a bucket.
//!
//! ```text
//! runs/<run id>.json               the manifest: a run exists if and only if this does
//! data/<attempt>/samples.parquet   what one analysis wrote; nobody sees it before the manifest names it
//!                tag_sets.parquet
//!                series.parquet
//!                windows.parquet
//!                metrics.parquet
//!                thresholds.parquet
//!                report.json
//! ```
//!
//! The manifest is put in one step after all data, so a run is visible whole or not at all, whatever is killed when. Two
//! processes write to attempts of their own; of the same run the later manifest stands.

pub mod manifest;
pub mod report_tables;
pub mod run_files;
pub mod run_writer;
pub mod upload;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

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
    #[error("no run {name:?} in the store; `tidemark history` lists them")]
    NoRun { name: String },
    #[error("{name:?} is the start of {count} run ids: give more of it")]
    Ambiguous { name: String, count: usize },
}

/// Data of an attempt that no manifest names and that is older than this was left by a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// A store of runs.
#[derive(Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    runtime: tokio::runtime::Runtime,
    pub location: String,
}

impl Store {
    /// `location`: a folder, made when it is missing, or the URL of a bucket, such as `s3://bucket/prefix`.
    pub fn open(location: &str) -> Result<Store, StoreError> {
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Open { location: location.to_owned(), cause };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| failed(error.into()))?;
        let (objects, root): (Arc<dyn ObjectStore>, Path) = if location.contains("://") {
            let url = url::Url::parse(location).map_err(|error| failed(error.into()))?;
            let environment = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
            let settings = environment.filter(|(name, _)| name.starts_with("aws_"));
            let (objects, root) = object_store::parse_url_opts(&url, settings).map_err(|error| failed(error.into()))?;
            (Arc::from(objects), root)
        } else {
            std::fs::create_dir_all(location).map_err(|error| failed(error.into()))?;
            let local = LocalFileSystem::new_with_prefix(location).map_err(|error| failed(error.into()))?;
            (Arc::new(local.with_automatic_cleanup(true)), Path::default())
        };
        Ok(Store { objects, root, runtime, location: location.to_owned() })
    }

    /// Returns the manifests of all runs, oldest first; a manifest that cannot be read is named in the second list.
    pub fn manifests(&self) -> Result<(Vec<Manifest>, Vec<String>), StoreError> {
        let folder = self.root.clone().join("runs");
        let read =
            |cause: object_store::Error| StoreError::Read { what: "the list of runs".to_owned(), cause: cause.into() };
        let contents = self.runtime.block_on(async {
            let metas: Vec<_> = self.objects.list(Some(&folder)).try_collect().await?;
            let gets = metas.into_iter().map(|meta| async move {
                let bytes = self.objects.get(&meta.location).await?.bytes().await?;
                Ok::<_, object_store::Error>((meta.location, bytes))
            });
            use futures::StreamExt;
            futures::stream::iter(gets).buffer_unordered(32).try_collect::<Vec<_>>().await
        });
        let (mut manifests, mut unreadable) = (Vec::new(), Vec::new());
        for (location, bytes) in contents.map_err(read)? {
            match serde_json::from_slice::<Manifest>(&bytes) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => unreadable.push(format!("{location}: {error}")),
            }
        }
        manifests.sort_by_key(Manifest::order_key);
        unreadable.sort();
        Ok((manifests, unreadable))
    }

    /// Resolves an id, a unique start of one, `last` or `last~2`.
    pub fn find(&self, name: &str) -> Result<Manifest, StoreError> {
        resolve(&self.manifests()?.0, name).cloned()
    }

    /// Makes a run visible: the one step after which it exists. Data that an earlier analysis of it wrote is deleted.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let path = self.root.clone().join("runs").join(format!("{}.json", manifest.run_id));
        let write =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Write { what: path.to_string(), cause };
        let earlier = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await }).ok();
        let earlier = earlier.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        let bytes = serde_json::to_vec_pretty(manifest).map_err(|error| write(error.into()))?;
        self.runtime.block_on(self.objects.put(&path, PutPayload::from(bytes))).map_err(|error| write(error.into()))?;
        if let Some(earlier) = earlier.filter(|earlier| earlier.attempt != manifest.attempt) {
            self.delete_attempt(&earlier.attempt)?;
        }
        Ok(())
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
        deleted.map_err(|error| StoreError::Write { what: format!("the deletion of {folder}"), cause: error.into() })
    }

    /// Deletes what processes left that died before their manifest; returns the attempts.
    pub fn delete_abandoned(&self, now: std::time::SystemTime) -> Result<Vec<String>, StoreError> {
        let (manifests, unreadable) = self.manifests()?;
        // An unreadable manifest may name any attempt: then nothing is certain to be abandoned.
        if !unreadable.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.root.clone().join("data");
        let read = |cause: object_store::Error| StoreError::Read { what: folder.to_string(), cause: cause.into() };
        let metas: Vec<_> = self.runtime.block_on(self.objects.list(Some(&folder)).try_collect()).map_err(read)?;
        let limit = chrono::DateTime::<chrono::Utc>::from(now) - ABANDONED_AFTER;
        let mut newest = std::collections::BTreeMap::new();
        for meta in metas {
            let Some(attempt) = meta.location.prefix_match(&folder).and_then(|mut parts| parts.next()) else {
                continue;
            };
            let time = newest.entry(attempt.as_ref().to_owned()).or_insert(meta.last_modified);
            *time = meta.last_modified.max(*time);
        }
        let is_kept = |attempt: &String| manifests.iter().any(|manifest| manifest.attempt == *attempt);
        let abandoned: Vec<String> = newest
            .into_iter()
            .filter(|(attempt, time)| *time < limit && !is_kept(attempt))
            .map(|(attempt, _)| attempt)
            .collect();
        abandoned.iter().try_for_each(|attempt| self.delete_attempt(attempt))?;
        Ok(abandoned)
    }

    fn attempt_path(&self, attempt: &str, name: &str) -> Path {
        self.root.clone().join("data").join(attempt).join(name)
    }
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
