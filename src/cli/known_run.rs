//! A run that the command line names: one of the store, or files that are read for this.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::detect::judge::BaseKind;
use crate::engine::baseline::{self, Baseline, KnownRun};
use crate::engine::{self, Request};
use crate::ingest::bytes::End;
use crate::ingest::folder;
use crate::ingest::input;
use crate::store::Store;

use super::config::Config;

/// Returns the run that `name` means: a file or folder that exists, else a run of the store.
///
/// `open_store`: called only when it is needed, since it makes the store's folder.
pub fn known_run(
    name: &str,
    open_store: impl FnOnce() -> anyhow::Result<Store>,
    config: &Config,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<KnownRun> {
    if name == "-" || Path::new(name).exists() {
        return read(name, stop);
    }
    let store = open_store()?;
    let manifest = super::find(&store, name, config)?;
    Ok(baseline::kept(&store, &manifest, BaseKind::Pinned)?)
}

fn read(name: &str, stop: &Arc<AtomicBool>) -> anyhow::Result<KnownRun> {
    let folder::Expanded { paths, left_out } = folder::expand(&[PathBuf::from(name)], stop)?;
    let decoders = (super::cores() / paths.len()).max(1);
    let open = |path: &PathBuf| input::open(path, End::AtEnd, decoders, stop.clone());
    let inputs = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let request = Request { left_out, baseline: Baseline::None, ..Request::default() };
    let analysis = engine::analyze(inputs, &request, None, stop)?;
    Ok(KnownRun { report: analysis.report, frames: analysis.frames, kind: BaseKind::File, name: name.to_owned() })
}
