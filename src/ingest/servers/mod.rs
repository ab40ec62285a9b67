//! Asking servers about a run: which questions, and what is found out to ask them.
//!
//! Given only addresses: which services there are, how each server names them, which metrics are theirs and which kinds of profiles
//! there are is asked first. Then each server is asked for what a diagnosis looks at, part by part of the run: the times of findings
//! and the rest. All answers are kept as they come ([`recorder`]) and read by [`crate::ingest::telemetry::capture`].
//!
//! | server | found out first | asked then |
//! |---|---|---|
//! | Prometheus | values of the labels that name services, which of them answer requests, names and types of metrics | each metric over the run, exemplars |
//! | Tempo | services, which of them requests enter by | counts and times of all spans, slow, failed and other traces of each part |
//! | Pyroscope | services, kinds of profiles | totals over the run, each kind of each service over each part, and of slow spans |
//! | Loki | the label that names services | counts by level, all lines, or evenly spread ones and the counts of patterns |
//!
//! Nothing goes to an address that was not given. All of it ends within a time that is given; what was not answered by then is named.

pub mod access;
pub mod client;
mod loki;
mod prometheus;
mod pyroscope;
pub mod recorder;
pub mod selectors;
mod tempo;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ingest::telemetry::prometheus::label_values;
use crate::model::telemetry::SERVICE_LABELS;
use crate::model::time::Timestamp;
use access::{Access, Server};
use client::{Client, ClientError, Question};
use recorder::Recorder;

/// Services that are asked about; more are of other systems.
const SERVICES_MAX: usize = 60;

/// Of the time for all questions, what the first ones may take, before a server is left alone.
const FIRST_PART_OF_TIME: f64 = 0.25;

/// Where the servers are.
#[derive(Debug, Clone)]
pub struct Servers {
    pub access: BTreeMap<Server, Access>,
    /// Which services are asked about; none: all that took part in traces, else all that are known.
    pub services: Vec<String>,
    /// For all questions together.
    pub time_limit: Duration,
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub name: String,
    #[serde(rename = "start")]
    pub from: Timestamp,
    #[serde(rename = "end")]
    pub until: Timestamp,
    /// Whether something was found in it; of the others together as many traces are asked for as of one such part.
    #[serde(skip)]
    pub is_of_finding: bool,
}

impl Part {
    pub fn seconds(&self) -> f64 {
        self.until.seconds_since(self.from)
    }

    /// Cuts it into equal parts.
    fn slices(&self, count: usize) -> impl Iterator<Item = Part> + '_ {
        let nanoseconds = self.until.0 - self.from.0;
        let at =
            move |index: usize| Timestamp(self.from.0 + (nanoseconds as i128 * index as i128 / count as i128) as i64);
        (0..count).map(move |index| Part { from: at(index), until: at(index + 1), ..self.clone() })
    }
}

/// What is asked about.
pub struct Wanted<'a> {
    pub run: Part,
    /// Its parts, in order: profiles and traces are asked for each.
    pub parts: Vec<Part>,
    /// Traces that k6 knows, with their times: those of slow requests and some of others.
    pub traced: Vec<(Timestamp, [u8; 16])>,
    /// Which metrics are asked for first, by their names.
    pub is_vital: &'a (dyn Fn(&str) -> bool + Sync),
    /// Labels that name a service in metrics, most specific first.
    pub service_labels: &'a [&'a str],
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("failed to prepare asking {server}")]
    Client {
        server: &'static str,
        #[source]
        cause: ClientError,
    },
    #[error("failed to keep the servers' answers")]
    Keep(#[source] io::Error),
}

/// Asks the servers, and keeps their answers in `folder`, which has to be there and empty.
///
/// Only what is wrong on this side is an error; a server that fails is named in the manifest. `answers_count` counts on meanwhile.
pub fn record(
    servers: &Servers,
    wanted: &Wanted,
    folder: &Path,
    answers_count: Arc<AtomicU64>,
) -> Result<(), RecordError> {
    let mut clients = BTreeMap::new();
    for (server, access) in &servers.access {
        let failed = |cause| RecordError::Client { server: server.name(), cause };
        clients.insert(*server, Client::new(access.clone()).map_err(failed)?);
    }
    let recorder = Recorder::new(folder, clients, Instant::now() + servers.time_limit, answers_count);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(RecordError::Keep)?;
    let services = runtime.block_on(ask_all(&recorder, servers, wanted));
    recorder.finish(&wanted.run, &services, &wanted.parts).map_err(RecordError::Keep)
}

/// Returns the services that were asked about.
async fn ask_all(recorder: &Recorder, servers: &Servers, wanted: &Wanted<'_>) -> Vec<String> {
    let run = &wanted.run;
    let first = servers.time_limit.mul_f64(FIRST_PART_OF_TIME);
    let (traced, profiled, logged, (labelled, answering)) = futures::join!(
        recorder.within(first, Server::Tempo, tempo::services(recorder, run)),
        recorder.within(first, Server::Pyroscope, pyroscope::known(recorder, run)),
        recorder.within(first, Server::Loki, loki::labels(recorder, run)),
        recorder.within(first, Server::Prometheus, async {
            futures::join!(prometheus::labels(recorder, wanted), prometheus::answering(recorder, wanted))
        }),
    );
    let services = services(recorder, servers, [&traced, &profiled.services, &logged_services(&logged), &answering]);
    let exemplars = prometheus::exemplars(recorder, wanted, &labelled, &services);
    let traces = async {
        let found = recorder.within(first, Server::Prometheus, exemplars).await;
        tempo::ask(recorder, wanted, &services, &found).await
    };
    let (spans, ..) = futures::join!(
        traces,
        tempo::count(recorder, run, &services),
        prometheus::ask(recorder, wanted, &labelled, &services),
        pyroscope::ask(recorder, wanted, &profiled, &services),
        loki::ask(recorder, wanted, &logged, &services),
    );
    pyroscope::ask_of_spans(recorder, wanted, &profiled, &spans).await;
    services
}

fn logged_services(logged: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    SERVICE_LABELS.iter().find_map(|label| logged.get(*label)).cloned().unwrap_or_default()
}

/// Says which services are asked about: those that the user names, those that took part in traces, all that send profiles or lines,
/// or those whose metrics are of requests that they answer.
fn services(
    recorder: &Recorder,
    servers: &Servers,
    [traced, profiled, logged, answering]: [&BTreeSet<String>; 4],
) -> Vec<String> {
    if !servers.services.is_empty() {
        return servers.services.clone();
    }
    let sending: BTreeSet<String> = profiled | logged;
    let known = [traced, &sending, answering].into_iter().find(|known| !known.is_empty());
    let mut known: Vec<String> = known.into_iter().flatten().cloned().collect();
    if known.len() > SERVICES_MAX {
        for server in Server::ALL.into_iter().filter(|server| recorder.has(*server)).take(1) {
            let what = format!(
                "{} services are known, and only the first {SERVICES_MAX} were asked about: name those of this test as services in [telemetry]",
                known.len()
            );
            recorder.miss(server, &what);
        }
        known.truncate(SERVICES_MAX);
    }
    known
}

/// Asks which values some labels have; `path`: of the values of one. All are asked for at once.
async fn values_of(
    recorder: &Recorder,
    server: Server,
    labels: impl Iterator<Item = &str>,
    path: impl Fn(&str) -> String,
    span: &[(&str, String)],
) -> BTreeMap<String, BTreeSet<String>> {
    let values = labels.map(|label| {
        let question = Question::get(server, &path(label), span);
        async move {
            let body = recorder.ask(&format!("label-{label}"), question).await?;
            Some((label.to_owned(), label_values(&body).ok()?.into_iter().collect()))
        }
    });
    futures::future::join_all(values).await.into_iter().flatten().collect()
}

fn seconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000_000)
}

fn milliseconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}
