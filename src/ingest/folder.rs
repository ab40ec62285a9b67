//! Folders as inputs: all of k6's that lies in one, found by content, and the samples of a run only once.
//!
//! - Folders are searched to any depth, in the order of their names. A name that begins with a dot is left out. Links are
//!   followed; what is reached twice is taken once.
//! - Files that are not k6's are left out and named. A folder with nothing of k6's is refused.
//! - Streams of the same samples (JSON beside CSV, or a compressed copy) are known by their first samples. One is read:
//!   JSON before CSV, then the one with the finer times, then the larger file. The others are named. This holds for files
//!   given by name as well: k6's `--out json=.. --out csv=..` is no run of two pods.
//! - The streams that remain are the pods of one run, if they ran at the same time. A stream that begins after all before it
//!   have ended is of another run: refused, since figures over several releases would be nobody's. Files given by name are
//!   taken for one run in any case.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::model::report::Skipped;
use crate::model::run::SourceKind;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

use super::bytes::End;
use super::input::{self, Input, InputError, SampleInput};

/// Files that are looked into: a folder with more is hardly that of one run.
const FILES_MAX: usize = 10_000;

/// First samples by which two streams are held against each other: values of trends among them have nanoseconds.
const OPENING_SAMPLES: usize = 64;

/// Names that a sentence lists.
const NAMES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("failed to list the folder {path}")]
    List {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the folder {path} holds more than {FILES_MAX} files: give one nearer to the run")]
    TooMany { path: PathBuf },
    #[error(
        "nothing in the folder {path} is k6's: {seen}; expected what `k6 run --out json=FILE`, `--out csv=FILE` or `--summary-export=FILE` writes"
    )]
    Nothing { path: PathBuf, seen: String },
    #[error(
        "the folder holds several runs, not the pods of one: {earlier} ends at {ended_at}, before {later} begins at {began_at}. Give one run at a time ({names}), or name the files one by one to have them read as one run"
    )]
    SeveralRuns { earlier: String, ended_at: Timestamp, later: String, began_at: Timestamp, names: String },
}

/// Inputs without folders.
#[derive(Debug)]
pub struct Expanded {
    pub paths: Vec<PathBuf>,
    /// What was not read, and why.
    pub left_out: Vec<Skipped>,
}

/// One sample as each form of k6's output has it.
#[derive(Debug, PartialEq)]
struct Opening {
    metric: Arc<str>,
    time_ns: i64,
    value: f64,
}

/// How a stream of samples begins.
#[derive(Debug)]
struct Stream {
    kind: SourceKind,
    opening: Vec<Opening>,
    first_ns: i64,
    /// Of what was read so far.
    latest_ns: i64,
    bytes: u64,
}

/// What a file turned out to be.
enum Look {
    Stream(Stream),
    Summary,
    /// What it looks like.
    Other(String),
    Unreadable(String),
}

/// One path that is to be read.
struct Candidate {
    path: PathBuf,
    /// None of what is no stream, and of what can be read only once, such as a pipe.
    stream: Option<Stream>,
    is_found: bool,
}

/// Puts the files of a folder in its place, and leaves out what holds samples that another input holds as well.
pub fn expand(inputs: &[PathBuf], stop: &Arc<AtomicBool>) -> Result<Expanded, FolderError> {
    if let [input] = inputs
        && !input.is_dir()
    {
        return Ok(Expanded { paths: inputs.to_vec(), left_out: Vec::new() });
    }
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    for input in inputs {
        if input.is_dir() {
            let (found, others) = search(input, stop)?;
            candidates.extend(found);
            left_out.extend(others);
        } else {
            let look = input.is_file().then(|| look(input, stop));
            let stream = if let Some(Look::Stream(stream)) = look { Some(stream) } else { None };
            candidates.push(Candidate { path: input.clone(), stream, is_found: false });
        }
    }
    let (kept, copies) = distinct(candidates);
    left_out.extend(copies);
    let found: Vec<&Candidate> =
        kept.iter().filter(|candidate| candidate.is_found && candidate.stream.is_some()).collect();
    if found.len() > 1 {
        assert_one_run(&found, stop)?;
        let names = listed(found.iter().map(|candidate| candidate.path.display().to_string()));
        let reason = "they ran at the same time: read as the pods of one run".to_owned();
        left_out.push(Skipped { what: format!("whether {names} are of one run"), reason });
    }
    Ok(Expanded { paths: kept.into_iter().map(|candidate| candidate.path).collect(), left_out })
}

/// Returns what of k6's is in a folder, by path, and what was left out.
fn search(folder: &Path, stop: &Arc<AtomicBool>) -> Result<(Vec<Candidate>, Vec<Skipped>), FolderError> {
    let (mut candidates, mut others, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for path in files_in(folder, &mut left_out)? {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        match look(&path, stop) {
            Look::Stream(stream) => candidates.push(Candidate { path, stream: Some(stream), is_found: true }),
            Look::Summary => candidates.push(Candidate { path, stream: None, is_found: true }),
            Look::Other(looks_like) => others.push((name, looks_like)),
            Look::Unreadable(reason) => left_out.push(Skipped { what: path.display().to_string(), reason }),
        }
    }
    if candidates.is_empty() {
        let unreadable = left_out.iter().map(|skipped| format!("{} ({})", skipped.what, skipped.reason));
        let others = others.iter().map(|(name, looks_like)| format!("{name} ({looks_like})"));
        let seen = listed(others.chain(unreadable));
        let seen = if seen.is_empty() { "it holds no file but hidden ones".to_owned() } else { seen };
        return Err(FolderError::Nothing { path: folder.to_owned(), seen });
    }
    if !others.is_empty() {
        let files = if others.len() == 1 { "file" } else { "files" };
        let reason = format!("not k6's: {}", listed(others.iter().map(|(name, _)| name.clone())));
        left_out.push(Skipped { what: format!("{} {files} in {}", others.len(), folder.display()), reason });
    }
    Ok((candidates, left_out))
}

/// Returns the regular files below a folder, sorted by path; what is reached twice by links once.
fn files_in(root: &Path, left_out: &mut Vec<Skipped>) -> Result<Vec<PathBuf>, FolderError> {
    // Links come last, so that a file goes by its own name.
    let (mut folders, mut linked_folders) = (vec![root.to_owned()], Vec::new());
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    while let Some(folder) = folders.pop().or_else(|| linked_folders.pop()) {
        let listed = folder.canonicalize().and_then(|real| {
            if !seen.insert(real) {
                return Ok(Vec::new());
            }
            std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(cause) if folder == root => return Err(FolderError::List { path: folder, cause }),
            Err(cause) => {
                let reason = format!("failed to list it: {cause}");
                left_out.push(Skipped { what: folder.display().to_string(), reason });
                continue;
            }
        };
        // From the end of the list the first is taken next.
        paths.sort_by(|left, right| right.cmp(left));
        for path in paths.into_iter().filter(|path| !is_hidden(path)) {
            // Never a pipe or a device: reading one may wait for ever.
            if path.is_file() {
                files.push((path.is_symlink(), path));
            } else if path.is_dir() {
                let of_its_kind = if path.is_symlink() { &mut linked_folders } else { &mut folders };
                of_its_kind.push(path);
            }
        }
        if files.len() > FILES_MAX {
            return Err(FolderError::TooMany { path: root.to_owned() });
        }
    }
    files.sort();
    let is_first = |path: &PathBuf| path.canonicalize().map_or(true, |real| seen.insert(real));
    let mut files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).filter(is_first).collect();
    files.sort();
    Ok(files)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Looks into a file, as far as its first samples.
fn look(path: &Path, stop: &Arc<AtomicBool>) -> Look {
    match input::open(path, End::AtEnd, 1, stop.clone()) {
        Ok(Input::Summary(..)) => Look::Summary,
        Ok(Input::Samples(input)) => {
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            opening(input, bytes)
        }
        Err(InputError::Read { cause, .. }) => Look::Unreadable(format!("failed to read it: {cause}")),
        Err(InputError::NotK6 { looks_like, .. }) => Look::Other(looks_like.to_owned()),
        Err(InputError::Summary { .. } | InputError::TooLong { .. }) => {
            Look::Other("JSON of another program".to_owned())
        }
        Err(InputError::Csv { .. }) => Look::Other("CSV of another program".to_owned()),
    }
}

fn opening(mut input: SampleInput, bytes: u64) -> Look {
    let mut stream = Stream { kind: input.kind, opening: Vec::new(), first_ns: i64::MAX, latest_ns: i64::MIN, bytes };
    let mut metrics: Vec<Arc<str>> = Vec::new();
    let mut first_reason = None;
    while stream.opening.len() < OPENING_SAMPLES {
        let Some((_, block)) = input.stream.next_block() else { break };
        if block.labels_begin_anew {
            metrics.clear();
        }
        metrics.extend(block.new_labels.iter().map(|label| label.metric.clone()));
        first_reason = first_reason.or_else(|| block.rejections.first().map(|rejection| rejection.reason.clone()));
        for row in 0..block.rows() {
            stream.first_ns = stream.first_ns.min(block.times_ns[row]);
            stream.latest_ns = stream.latest_ns.max(block.times_ns[row]);
            if stream.opening.len() < OPENING_SAMPLES {
                let metric = metrics[block.labels[row] as usize].clone();
                stream.opening.push(Opening { metric, time_ns: block.times_ns[row], value: block.values[row] });
            }
        }
    }
    if stream.opening.is_empty() {
        let reason = first_reason.map_or(String::new(), |reason| format!(": {reason}"));
        return Look::Other(format!("lines without a sample of k6's{reason}"));
    }
    Look::Stream(stream)
}

impl Stream {
    /// Says whether both begin with the same samples, as far as both go.
    fn is_same(&self, other: &Stream) -> bool {
        let by_csv = self.kind == SourceKind::K6Csv || other.kind == SourceKind::K6Csv;
        let mut pairs = self.opening.iter().zip(&other.opening);
        pairs.all(|(left, right)| if by_csv { left.as_csv() == right.as_csv() } else { left == right })
    }

    /// Better streams first: JSON holds the kinds of metrics, finer times more than coarse ones, a larger file is plain.
    fn rank(&self) -> (bool, u32, std::cmp::Reverse<u64>) {
        let coarseness = self.opening.iter().map(Opening::coarseness).min();
        (self.kind == SourceKind::K6Csv, coarseness.unwrap_or(0), std::cmp::Reverse(self.bytes))
    }
}

impl Opening {
    /// Returns how many of the nine digits below the second are zeros at the end.
    fn coarseness(&self) -> u32 {
        (0..9).take_while(|digits| self.time_ns % 10i64.pow(digits + 1) == 0).count() as u32
    }

    /// k6's CSV cuts times to the second, unless told otherwise, and has six decimals.
    fn as_csv(&self) -> (&str, i64, String) {
        (&self.metric, self.time_ns.div_euclid(NANOSECONDS_PER_SECOND), format!("{:.6}", self.value))
    }
}

/// Keeps the best of the streams that hold the same samples, in the order in which they came; names the others.
fn distinct(candidates: Vec<Candidate>) -> (Vec<Candidate>, Vec<Skipped>) {
    let streams =
        candidates.iter().enumerate().filter_map(|(index, candidate)| Some((index, candidate.stream.as_ref()?)));
    let mut streams: Vec<(usize, &Stream)> = streams.collect();
    streams.sort_by_key(|(index, stream)| (stream.rank(), *index));
    let (mut kept, mut left_out): (Vec<(usize, &Stream)>, Vec<Skipped>) = (Vec::new(), Vec::new());
    let mut is_copy = vec![false; candidates.len()];
    for (index, stream) in streams {
        match kept.iter().find(|(_, better)| better.is_same(stream)) {
            None => kept.push((index, stream)),
            Some((better, _)) => {
                is_copy[index] = true;
                let reason =
                    format!("the same samples as {}, which is read instead", candidates[*better].path.display());
                left_out.push(Skipped { what: candidates[index].path.display().to_string(), reason });
            }
        }
    }
    let mut is_copy = is_copy.into_iter();
    let kept = candidates.into_iter().filter(|_| !is_copy.next().unwrap_or(false)).collect();
    (kept, left_out)
}

/// Says whether the streams are one run's: each begins before all those that began earlier have ended.
fn assert_one_run(found: &[&Candidate], stop: &Arc<AtomicBool>) -> Result<(), FolderError> {
    let streams = found.iter().filter_map(|candidate| Some((*candidate, candidate.stream.as_ref()?)));
    let mut streams: Vec<(&Candidate, &Stream)> = streams.collect();
    streams.sort_by_key(|(_, stream)| stream.first_ns);
    // The end of the run as far as it was read, and the stream that goes there.
    let mut reached: Option<(i64, &Candidate)> = None;
    for (index, (candidate, stream)) in streams.iter().enumerate() {
        if let Some((mut latest, mut farthest)) = reached
            && latest < stream.first_ns
        {
            // No head goes so far: one of the streams has to be read on until it does.
            for (earlier, _) in &streams[..index] {
                let end = read_until(&earlier.path, stream.first_ns, stop);
                if end > latest {
                    (latest, farthest) = (end, *earlier);
                }
                if latest >= stream.first_ns {
                    break;
                }
            }
            if latest < stream.first_ns {
                return Err(FolderError::SeveralRuns {
                    earlier: farthest.path.display().to_string(),
                    ended_at: Timestamp(latest),
                    later: candidate.path.display().to_string(),
                    began_at: Timestamp(stream.first_ns),
                    names: listed(streams.iter().map(|(candidate, _)| candidate.path.display().to_string())),
                });
            }
            reached = Some((latest, farthest));
        }
        if reached.is_none_or(|(latest, _)| latest < stream.latest_ns) {
            reached = Some((stream.latest_ns, *candidate));
        }
    }
    Ok(())
}

/// Reads a stream until its samples have come to `time_ns`, or to its end; returns its latest time.
fn read_until(path: &Path, time_ns: i64, stop: &Arc<AtomicBool>) -> i64 {
    let mut latest = i64::MIN;
    let Ok(Input::Samples(mut input)) = input::open(path, End::AtEnd, 1, stop.clone()) else { return latest };
    while let Some((_, block)) = input.stream.next_block() {
        latest = block.times_ns.iter().copied().fold(latest, i64::max);
        if latest >= time_ns {
            break;
        }
    }
    latest
}

/// Joins names, as many as a sentence bears.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
