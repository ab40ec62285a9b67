//! `tidemark stream`: from Kafka into the store, with what stands out while runs go on.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::detect::tracker::Change;
use crate::engine::Request;
use crate::engine::baseline::Baseline;
use crate::engine::stream::counters::Counters;
use crate::engine::stream::{Door, Settings, StreamError, Told, stream};
use crate::engine::watch::News;
use crate::ingest::kafka::produce::Publisher;
use crate::model::finding::{Direction, Severity};
use crate::model::report::Skipped;
use crate::model::run::RunLabels;
use crate::model::stream_event::{EVENT_SCHEMA_VERSION, Event, StreamEvent};
use crate::model::time::Timestamp;

use crate::service::messages::Messages;
use crate::service::{http, webhook};

use super::config::{Config, Positive};
use super::kafka::KafkaArgument;
use super::known_run::known_run;
use super::logs::LogArgument;
use super::screen::{Board, Screen};
use super::servers::ServersArgument;
use super::{StoreArgument, key_value};
use super::{analyze, baseline};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Stream {
    /// Instances with the same group share the work; tidemark and the topic's name when nothing says.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// What this instance is called: with the same name it goes on at once after it was killed, instead of when its session is over.
    #[arg(long, env = "TIDEMARK_INSTANCE", value_name = "NAME")]
    instance: Option<String>,
    /// A run whose pods do not say that they ended has ended after so long without a line; 30 when nothing says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    quiet_seconds: Option<Positive>,
    /// What was read is in the store after so long, at the latest; 0.5 when nothing says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    commit_seconds: Option<Positive>,
    /// And when there is so much of all partitions, in MiB; 8 when nothing says.
    #[arg(long, value_name = "MIB")]
    commit_mib: Option<NonZeroU16>,
    /// Runs that are judged at the same time; more wait in the store. 4 when nothing says.
    #[arg(long, value_name = "N")]
    runs_at_once: Option<NonZeroU16>,
    /// End when the topic is read to its end and each of its runs is reported.
    #[arg(long)]
    until_idle: bool,
    /// Show the runs on the terminal while they go on, in the place of messages.
    #[arg(long)]
    tui: bool,
    /// The test that runs are of whose producer does not say.
    #[arg(long, env = "TIDEMARK_TEST", value_name = "NAME")]
    test: Option<String>,
    /// The environment of such runs.
    #[arg(long, env = "TIDEMARK_ENVIRONMENT", value_name = "NAME")]
    environment: Option<String>,
    /// Kept with each run.
    #[arg(long = "tag", value_name = "K=V", value_parser = key_value)]
    tags: Vec<(String, String)>,
    /// A topic for the messages that go to stdout.
    #[arg(long, value_name = "TOPIC")]
    findings_topic: Option<String>,
    /// An address that gets each of these messages as a POST.
    #[arg(long, env = "TIDEMARK_WEBHOOK", value_name = "URL", hide_env_values = true)]
    webhook: Option<Url>,
    /// Where to serve /healthz, /readyz, /metrics and, as server-sent events, /events; such as 0.0.0.0:9464.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// Ask for the end of a test in which something so grave is found: at --abort-url.
    #[arg(long, value_enum, value_name = "SEVERITY", requires = "abort_url")]
    abort_on: Option<AbortOn>,
    /// Who ends tests: gets the finding's message as a POST; or k6's own API, such as http://k6:6565/v1/status, as a PATCH.
    #[arg(long, value_name = "URL", requires = "abort_on")]
    abort_url: Option<Url>,
    #[command(flatten)]
    kafka: KafkaArgument,
    #[command(flatten)]
    servers: ServersArgument,
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    log: LogArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark stream --brokers localhost:9092 --store s3://results/tidemark
  tidemark stream --brokers localhost:9092 --topic k6 --until-idle
  tidemark stream --brokers b1:9093 --tls --sasl-user tidemark --sasl-mechanism scram-sha-512";

const QUIET_SECONDS_DEFAULT: f64 = 30.0;
const COMMIT_SECONDS_DEFAULT: f64 = 0.5;
const COMMIT_MIB_DEFAULT: usize = 8;
const RUNS_AT_ONCE_DEFAULT: usize = 4;
const SECONDS_MAX: f64 = 365.0 * 86_400.0;

/// How a topic is read and who is told, for `stream`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// Instances with the same group share the work. Default: tidemark-TOPIC, so that topics do not disturb each other.
    pub group: Option<String>,
    /// After so long without a line a run has ended whose pods do not say that they did, in seconds. Default: 30.
    pub quiet_seconds: Option<Positive>,
    /// What was read is in the store after so long, in seconds. Default: 0.5.
    pub commit_seconds: Option<Positive>,
    /// And when there is so much of all partitions, in MiB. Default: 8.
    #[schemars(range(min = 1))]
    pub commit_mib: Option<NonZeroU16>,
    /// Runs that are judged at the same time. Default: 4.
    #[schemars(range(min = 1))]
    pub runs_at_once: Option<NonZeroU16>,
    /// A topic for the messages. Default: none.
    pub findings_topic: Option<String>,
    /// An address that gets each message as a POST. Default: none.
    #[schemars(with = "Option<String>")]
    pub webhook: Option<Url>,
    /// Where to serve health, figures and messages, such as 0.0.0.0:9464. Default: nowhere.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
}

impl Stream {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        // Lines of the log would run through the screen.
        self.log.begin(if self.tui { "off" } else { "info" });
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).context("failed to listen for signals")?;
        }
        let configured = &config.stream;
        let access = self.kafka.access(config)?;
        let store = Arc::new(self.store.create(config)?);
        store.delete_abandoned(SystemTime::now())?;
        let mut tags = config.tags.clone();
        tags.extend(self.tags.iter().cloned());
        let topic = self.kafka.topic(config);
        let settings = Settings {
            group: self.group.clone().or(configured.group.clone()).unwrap_or_else(|| format!("tidemark-{topic}")),
            topic,
            instance: self.instance.clone(),
            quiet: duration(self.quiet_seconds.or(configured.quiet_seconds), QUIET_SECONDS_DEFAULT),
            commit_every: duration(self.commit_seconds.or(configured.commit_seconds), COMMIT_SECONDS_DEFAULT),
            commit_bytes: count(self.commit_mib.or(configured.commit_mib), COMMIT_MIB_DEFAULT) << 20,
            runs_at_once: count(self.runs_at_once.or(configured.runs_at_once), RUNS_AT_ONCE_DEFAULT),
            labels: RunLabels {
                test: self.test.clone().or_else(|| config.test.clone()),
                environment: self.environment.clone().or_else(|| config.environment.clone()),
                tags,
                ..RunLabels::default()
            },
            is_until_idle: self.until_idle,
        };
        let evidence = self.servers.source(config)?;
        let grafana = self.servers.grafana(config);
        let request = |labels: RunLabels| {
            let (baseline, left_out) = self.baseline(&labels, config, &stop);
            let (evidence, grafana) = (evidence.clone(), grafana.clone());
            Request { baseline, evidence, grafana, labels, left_out, ..analyze::configured(config, &[]) }
        };
        let (counters, messages) = (Arc::new(Counters::default()), Messages::default());
        let findings_topic = self.findings_topic.as_ref().or(configured.findings_topic.as_ref());
        let publisher = findings_topic.map(|topic| Publisher::start(&access, topic));
        let publisher = publisher.transpose().map_err(StreamError::from)?;
        let webhook = self
            .webhook
            .clone()
            .or_else(|| configured.webhook.clone())
            .map(|address| webhook::post_all(address, &messages));
        let webhook = webhook.transpose().context("failed to start the webhook")?;
        let aborts = Messages::default();
        let abort = self.abort_url.clone().map(|address| webhook::abort_all(address, &aborts));
        let abort = abort.transpose().context("failed to start what ends tests")?;
        if let Some(address) = self.listen.or(configured.listen) {
            let served_at = http::serve(address, counters.clone(), messages.clone(), stop.clone())?;
            tracing::info!(%served_at, "serving /healthz, /readyz, /metrics and /events");
        }
        let stdout = Mutex::new(std::io::stdout());
        let board = Board::default();
        let screen = self.tui.then(|| Screen::show(&board)).flatten();
        let tell = |told: Told| {
            match &told {
                Told::Began { run, live, .. } => board.begin(run, Arc::clone(live)),
                Told::News { run, news, .. } => board.news(run, news),
                Told::Reported { run, report, .. } => {
                    let verdict = report.map_or("nothing could be read", |report| report.verdict.kind.name());
                    board.end(run, verdict.to_owned());
                }
            }
            let event = event(told, SystemTime::now().into());
            let Ok(message) = serde_json::to_string(&event) else { return };
            // The messages would run through the screen, unless they go elsewhere.
            let is_shown = screen.is_some() && std::io::stdout().is_terminal();
            if !is_shown {
                say(&mut stdout.lock().unwrap_or_else(PoisonError::into_inner), &message, &stop);
            }
            messages.tell(&message);
            if publisher.as_ref().is_some_and(|publisher| !publisher.publish(&event.run, &message)) {
                tracing::warn!("a message was lost: the topic of findings is too slow");
            }
            if self.abort_on.is_some_and(|least| least.is_reached_by(&event)) {
                tracing::warn!(run = event.run, "asking for the end of the test");
                aborts.tell(&message);
            }
        };
        let door = Door { request: &request, tell: &tell, counters, stop: stop.clone() };
        let result = stream(&access, &store, &settings, &door);
        drop(screen);
        messages.end();
        aborts.end();
        for thread in [webhook, abort].into_iter().flatten() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        if publisher.is_some_and(|publisher| !publisher.finish()) {
            tracing::warn!("messages were lost: the topic of findings did not take them in time");
        }
        result?;
        Ok(0)
    }

    /// Returns what a run is judged against; where what was agreed on cannot be used, its history, and says why.
    fn baseline(&self, labels: &RunLabels, config: &Config, stop: &Arc<AtomicBool>) -> (Baseline, Vec<Skipped>) {
        let (test, environment) = baseline::names(labels.test.clone(), labels.environment.clone(), config);
        let known = |name: &str| {
            let known = known_run(name, || Ok(self.store.open(config)?), config, stop)?;
            Ok(Baseline::Given(Box::new(known)))
        };
        match baseline::agreed(&test, &environment, config, known) {
            Ok(baseline) => (baseline, Vec::new()),
            Err(error) => {
                let (what, reason) = ("what was agreed on for the test".to_owned(), super::chain(&error));
                (Baseline::Automatic { since: None }, vec![Skipped { what, reason }])
            }
        }
    }
}

/// Writes a message to stdout; whoever read it and has gone wants no more.
fn say(stdout: &mut std::io::Stdout, message: &str, stop: &AtomicBool) {
    if let Err(error) = writeln!(stdout, "{message}").and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "stdout takes no more: ending");
        stop.store(true, Ordering::Relaxed);
    }
}

/// From which severity on a test is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AbortOn {
    Critical,
    Major,
}

impl AbortOn {
    fn is_reached_by(self, event: &StreamEvent) -> bool {
        let least = if self == AbortOn::Critical { Severity::Critical } else { Severity::Major };
        match &event.event {
            Event::FindingOpened { finding } | Event::FindingGrew { finding } => {
                finding.severity <= least && finding.direction == Direction::Worse
            }
            _ => false,
        }
    }
}

fn of_change(change: Change) -> Event {
    match change {
        Change::Opened(finding) => Event::FindingOpened { finding: Box::new(finding) },
        Change::Grew(finding) => Event::FindingGrew { finding: Box::new(finding) },
        Change::Closed(finding) => Event::FindingClosed { finding: Box::new(finding) },
        Change::Withdrawn { told, replaced_by } => Event::FindingWithdrawn { finding: Box::new(told), replaced_by },
    }
}

/// Words what a stream tells as others read it. `at`: now.
fn event(told: Told, at: Timestamp) -> StreamEvent {
    let or_default = |label: Option<&String>| label.cloned().unwrap_or_else(|| "default".to_owned());
    let names = |labels: &RunLabels| (or_default(labels.test.as_ref()), or_default(labels.environment.as_ref()));
    let mut looked_until = None;
    let (run, (test, environment), event) = match told {
        Told::Began { run, labels, .. } => (run, names(labels), Event::RunBegan),
        Told::News { run, labels, news } => {
            let (at, event) = match *news {
                News::Early(finding) => (finding.at, Event::FindingEarly { finding: Box::new(finding) }),
                News::Change { change, at } => (at, of_change(change)),
            };
            looked_until = Some(at);
            (run, names(labels), event)
        }
        Told::Reported { run, report: Some(report), .. } => {
            let event = Event::RunReported {
                run_id: report.run.id.clone(),
                verdict: report.verdict.clone(),
                findings: report.findings.iter().map(|finding| finding.id.clone()).collect(),
                partial: report.run.partial,
            };
            (run, (report.run.test.clone(), report.run.environment.clone()), event)
        }
        Told::Reported { run, report: None, reason } => {
            (run, names(&RunLabels::default()), Event::RunUnreadable { reason: reason.unwrap_or_default() })
        }
    };
    StreamEvent {
        schema_version: EVENT_SCHEMA_VERSION,
        run: run.to_owned(),
        test,
        environment,
        at,
        looked_until,
        event,
    }
}

fn duration(said: Option<Positive>, default: f64) -> Duration {
    // A year is beyond any wait; and no clock of the system holds every number.
    Duration::from_secs_f64(said.map_or(default, |seconds| seconds.0.min(SECONDS_MAX)))
}

fn count(said: Option<NonZeroU16>, default: usize) -> usize {
    said.map_or(default, |said| usize::from(said.get()))
}

fn seconds(text: &str) -> Result<Positive, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if number > 0.0 && number <= SECONDS_MAX {
        Ok(Positive(number))
    } else {
        Err("expected more than 0 seconds".to_owned())
    }
}
