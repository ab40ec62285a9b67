//! Answers kept as they come, in a folder with a manifest that names the question of each.
//!
//! The form is that of a recording, which [`crate::ingest::telemetry::capture`] reads: what was just asked takes the path of
//! what was recorded long ago. A question without an answer is named in the manifest, with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Part;
use super::access::Server;
use super::client::{Answer, AskError, Client, Question};
use crate::ingest::telemetry::wire;
use crate::model::time::Timestamp;

/// All answers together, before they are compressed.
const ALL_BYTES_MAX: u64 = 512 << 20;
/// A server that fails so often without an answer between is not asked any more.
const FAILURES_MAX: u32 = 3;
const NAME_BYTES_MAX: usize = 60;

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    start: Timestamp,
    end: Timestamp,
    services: &'a [String],
    windows: &'a [Part],
    files: Vec<Kept>,
    missing: Vec<String>,
    encodings: &'static str,
}

/// A file, and the question that it answers.
#[derive(Debug, Serialize)]
struct Kept {
    file: String,
    server: &'static str,
    #[serde(flatten)]
    question: Question,
    status: u16,
    bytes: usize,
}

/// Asks, keeps what is answered, and notes what is not.
pub struct Recorder {
    folder: PathBuf,
    clients: BTreeMap<Server, Client>,
    deadline: Instant,
    answers_count: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: Vec<Kept>,
    bytes: u64,
    missing: Vec<String>,
    /// Failures in a row.
    failures: BTreeMap<Server, u32>,
    /// Questions that were not asked, by the reason.
    unasked: BTreeMap<(Server, &'static str), u64>,
    /// The first failure to keep something.
    unkept: Option<io::Error>,
}

impl Recorder {
    /// `folder`: has to be there. `answers_count`: counts on with every answer.
    pub fn new(
        folder: &Path,
        clients: BTreeMap<Server, Client>,
        deadline: Instant,
        answers_count: Arc<AtomicU64>,
    ) -> Recorder {
        let state = Mutex::new(State::default());
        Recorder { folder: folder.to_owned(), clients, deadline, answers_count, state }
    }

    pub fn has(&self, server: Server) -> bool {
        self.clients.contains_key(&server)
    }

    /// Waits for the answers to the first questions to a server; one that takes longer than `limit` is not asked any more, so that
    /// the others are not kept waiting.
    pub async fn within<T: Default>(&self, limit: Duration, server: Server, first: impl Future<Output = T>) -> T {
        match tokio::time::timeout(limit, first).await {
            Ok(found) => found,
            Err(_) => {
                let seconds = limit.as_secs_f64();
                self.miss(server, &format!("it did not answer the first questions within {seconds:.1} s"));
                self.state().failures.insert(server, FAILURES_MAX);
                T::default()
            }
        }
    }

    /// Asks, and keeps the answer as `<server>/<number>-<name>`; returns it if it is one (status 200).
    pub async fn ask(&self, name: &str, question: Question) -> Option<Vec<u8>> {
        let answer = self.ask_for_status(name, question).await?;
        (answer.status == 200).then_some(answer.body)
    }

    /// As [`Recorder::ask`], of what may not be there: an answer that is not `wanted` is not kept, and nobody misses it.
    pub async fn ask_whether(&self, name: &str, question: Question, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let is_wanted = |answer: &Answer| answer.status == 200 && wanted(&answer.body);
        self.ask_and_keep(name, question.where_served(), is_wanted).await.map(|answer| answer.body)
    }

    /// As [`Recorder::ask`], with whatever status the server has said.
    pub async fn ask_for_status(&self, name: &str, question: Question) -> Option<Answer> {
        self.ask_and_keep(name, question, |_| true).await
    }

    async fn ask_and_keep(
        &self,
        name: &str,
        question: Question,
        is_wanted: impl Fn(&Answer) -> bool,
    ) -> Option<Answer> {
        let server = question.server;
        let client = self.clients.get(&server)?;
        if let Some(reason) = self.reason_not_to_ask(server) {
            *self.state().unasked.entry((server, reason)).or_default() += 1;
            return None;
        }
        let asked = client.ask(&question, self.deadline).await;
        if question.is_optional && !matches!(asked, Ok(Answer { status: 200, .. })) {
            return asked.ok();
        }
        self.note(server, &asked, name);
        let answer = asked.ok().filter(is_wanted)?;
        self.answers_count.fetch_add(1, Ordering::Relaxed);
        self.keep(name, question, &answer);
        Some(answer)
    }

    /// Notes what could not be had, besides what the servers' failures say.
    pub fn miss(&self, server: Server, what: &str) {
        self.state().missing.push(wire::cut(format!("{}: {what}", server.name())));
    }

    fn reason_not_to_ask(&self, server: Server) -> Option<&'static str> {
        let state = self.state();
        if state.failures.get(&server).is_some_and(|failures| *failures >= FAILURES_MAX) {
            return Some("since it had failed before");
        }
        if state.bytes >= ALL_BYTES_MAX {
            return Some("since there were more than 512 MiB of answers");
        }
        (Instant::now() >= self.deadline).then_some("since the time for asking was over")
    }

    fn note(&self, server: Server, asked: &Result<Answer, AskError>, name: &str) {
        let mut state = self.state();
        let failures = state.failures.entry(server).or_default();
        match asked {
            // Nobody is let in by asking again.
            Ok(Answer { status: 401 | 403, .. }) => *failures = FAILURES_MAX,
            Ok(Answer { status: 429 | 500.., .. }) => *failures += 1,
            Ok(_) => *failures = 0,
            Err(AskError::Late) => {
                *state.unasked.entry((server, "since the time for asking was over")).or_default() += 1;
                return;
            }
            Err(AskError::Unreachable(_) | AskError::Page | AskError::LedElsewhere { .. }) => *failures = FAILURES_MAX,
            Err(AskError::TooLong) => {}
            Err(AskError::Slow { .. } | AskError::Broken(_)) => *failures += 1,
        }
        if let Err(error) = asked {
            state.missing.push(wire::cut(format!("{}: {name}: {error}", server.name())));
        }
    }

    fn keep(&self, name: &str, question: Question, answer: &Answer) {
        let server = question.server.name();
        let mut state = self.state();
        let file = format!("{server}/{:04}-{}.json.gz", state.files.len(), file_name(name));
        state.bytes += answer.body.len() as u64;
        let (status, bytes) = (answer.status, answer.body.len());
        state.files.push(Kept { file: file.clone(), server, question, status, bytes });
        drop(state);
        if let Err(error) = write(&self.folder.join(&file), &answer.body) {
            self.state().unkept.get_or_insert(error);
        }
    }

    /// Writes the manifest; an answer that could not be kept is an error here.
    pub fn finish(self, run: &Part, services: &[String], windows: &[Part]) -> io::Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.unkept {
            return Err(error);
        }
        let mut missing = state.missing;
        missing.extend(state.unasked.into_iter().map(|((server, reason), count)| {
            let questions = if count == 1 { "1 question was".to_owned() } else { format!("{count} questions were") };
            format!("{}: {questions} not asked, {reason}", server.name())
        }));
        let manifest = Manifest {
            start: run.from,
            end: run.until,
            services,
            windows,
            files: state.files,
            missing,
            encodings: "every file holds one answer's body as it came, gzipped",
        };
        let json = serde_json::to_vec_pretty(&manifest)?;
        fs::write(self.folder.join("manifest.json"), json)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names come from servers: only letters, digits and some marks stay.
fn file_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '-' };
    name.chars().take(NAME_BYTES_MAX).map(plain).collect()
}

fn write(path: &Path, body: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut encoder = GzEncoder::new(fs::File::create(path)?, Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(drop)
}
