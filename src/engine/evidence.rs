//! What the servers said about a run: read from a folder, from what was kept beside the run, or asked for now.
//!
//! What is asked for now is first written into a folder: all three are read in one way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::diagnose::skew::{self, Skew};
use crate::diagnose::{Window, is_vital, parts};
use crate::ingest::servers::{Part, Servers, Wanted, record};
use crate::ingest::telemetry::capture;
use crate::ingest::telemetry::packed::{self, PackError};
use crate::ingest::telemetry::wire;
use crate::model::report::TracedRequest;
use crate::model::telemetry::{SERVICE_LABELS, Telemetry};

use super::EngineError;

/// Where the servers' answers come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder that holds them.
    Folder(PathBuf),
    /// The servers; the count goes on with every answer.
    Servers(Servers, Arc<AtomicU64>),
    /// What [`Evidence::pack`] returned.
    Packed(Vec<u8>),
}

impl Source {
    /// Returns what counts the answers while servers are asked.
    pub fn answers_count(&self) -> Option<Arc<AtomicU64>> {
        match self {
            Source::Servers(_, count) => Some(count.clone()),
            Source::Folder(_) | Source::Packed(_) => None,
        }
    }
}

/// The servers' answers, in a folder.
#[derive(Debug)]
pub struct Evidence {
    folder: PathBuf,
    /// Deletes the folder with this value; none where it is the user's.
    _temporary: Option<tempfile::TempDir>,
}

impl Evidence {
    /// Asks, unpacks, or takes the folder as it is.
    ///
    /// `times`: asked about apart from the rest of `run`; `traced`: requests of it whose traces are known.
    pub fn gather(
        source: &Source,
        times: &[Window],
        run: Window,
        traced: &[TracedRequest],
    ) -> Result<Evidence, EngineError> {
        let temporary = || tempfile::tempdir().map_err(EngineError::Answers);
        let temporary = match source {
            Source::Folder(folder) => return Ok(Evidence { folder: folder.clone(), _temporary: None }),
            Source::Servers(servers, answers_count) => {
                let folder = temporary()?;
                ask(servers, answers_count.clone(), (times, run, traced), folder.path())?;
                folder
            }
            Source::Packed(bytes) => {
                let folder = temporary()?;
                packed::unpack(bytes, folder.path()).map_err(EngineError::Answers)?;
                folder
            }
        };
        Ok(Evidence { folder: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// Reads the answers; clocks that differ between services are corrected, and named.
    pub fn read(&self) -> Result<(Telemetry, Vec<Skew>), EngineError> {
        let mut telemetry = capture::read(&self.folder)?.telemetry;
        let skews = skew::correct(&mut telemetry);
        Ok((telemetry, skews))
    }

    /// Returns all answers as one file.
    pub fn pack(&self) -> Result<Vec<u8>, PackError> {
        packed::pack(&self.folder)
    }

    /// Writes the answers into a folder, which is made where it is missing.
    pub fn leave_in(&self, folder: &Path) -> Result<(), EngineError> {
        let packed = self.pack()?;
        std::fs::create_dir_all(folder).map_err(EngineError::Answers)?;
        packed::unpack(&packed, folder).map_err(EngineError::Answers)
    }
}

fn ask(
    servers: &Servers,
    answers_count: Arc<AtomicU64>,
    (times, run, traced): (&[Window], Window, &[TracedRequest]),
    folder: &Path,
) -> Result<(), EngineError> {
    let is_of_finding = |window: Window| times.iter().any(|time| time.shared_seconds(window) >= 0.5 * window.seconds());
    let part = |name: String, window: Window| Part {
        name,
        from: window.from,
        until: window.until,
        is_of_finding: is_of_finding(window),
    };
    let wanted = Wanted {
        run: part("run".to_owned(), run),
        parts: parts(times, run).into_iter().zip(1..).map(|(window, n)| part(format!("part-{n}"), window)).collect(),
        traced: traced.iter().filter_map(|request| Some((request.at, wire::id(&request.trace_id)?))).collect(),
        is_vital: &is_vital,
        service_labels: &SERVICE_LABELS,
    };
    Ok(record(servers, &wanted, folder, answers_count)?)
}
