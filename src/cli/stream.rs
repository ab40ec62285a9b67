//! `tidemark stream`: from Kafka into the store, with what stands out while runs go on.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::engine::Request;
use crate::engine::baseline::Baseline;
use crate::engine::stream::counters::Counters;
use crate::engine::stream::{Door, Settings, Told, stream};
use crate::model::run::RunLabels;
use crate::model::stream_event::{EVENT_SCHEMA_VERSION, Event, StreamEvent};

use super::analyze;
use super::config::Config;
use super::kafka::KafkaArgument;
use super::logs::LogArgument;
use super::servers::ServersArgument;
use super::{StoreArgument, key_value};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Stream {
    /// Instances with the same group share the work.
    #[arg(long, default_value = "tidemark", value_name = "NAME")]
    group: String,
    /// What this instance is called: with the same name it goes on at once after it was killed, instead of when its session is over.
    #[arg(long, env = "TIDEMARK_INSTANCE", value_name = "NAME")]
    instance: Option<String>,
    /// A run whose pods do not say that they ended has ended after so long without a line.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = above_zero)]
    quiet_seconds: f64,
    /// What was read is in the store after so long, at the latest.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = above_zero)]
    commit_seconds: f64,
    /// And when there is so much of one partition, in MiB.
    #[arg(long, default_value_t = 8, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=256))]
    commit_mib: u64,
    /// Runs that are judged at the same time; more wait in the store.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    runs_at_once: u64,
    /// End when the topic is read to its end and each of its runs is reported.
    #[arg(long)]
    until_idle: bool,
    /// The test that runs are of whose producer does not say.
    #[arg(long, env = "TIDEMARK_TEST", value_name = "NAME")]
    test: Option<String>,
    /// The environment of such runs.
    #[arg(long, env = "TIDEMARK_ENVIRONMENT", value_name = "NAME")]
    environment: Option<String>,
    /// Kept with each run.
    #[arg(long = "tag", value_name = "K=V", value_parser = key_value)]
    tags: Vec<(String, String)>,
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

impl Stream {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        self.log.begin("info");
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).context("failed to listen for signals")?;
        }
        let access = self.kafka.access(config)?;
        let store = Arc::new(self.store.create(config)?);
        store.delete_abandoned(SystemTime::now())?;
        let mut tags = config.tags.clone();
        tags.extend(self.tags.iter().cloned());
        let settings = Settings {
            topic: self.kafka.topic(config),
            group: self.group.clone(),
            instance: self.instance.clone(),
            quiet: Duration::from_secs_f64(self.quiet_seconds),
            commit_every: Duration::from_secs_f64(self.commit_seconds),
            commit_bytes: (self.commit_mib as usize) << 20,
            runs_at_once: self.runs_at_once as usize,
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
        let request = |labels: RunLabels| Request {
            baseline: Baseline::Automatic { since: None },
            evidence: evidence.clone(),
            grafana: grafana.clone(),
            labels,
            ..analyze::configured(config, &[])
        };
        let stdout = Mutex::new(std::io::stdout());
        let counters = Arc::new(Counters::default());
        let tell = |told: Told| {
            if let Some(line) = line(&told) {
                let mut stdout = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
                    tracing::warn!(%error, "stdout takes no more: ending");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        let door = Door { request: &request, tell: &tell, counters, stop: stop.clone() };
        stream(&access, &store, &settings, &door)?;
        Ok(0)
    }
}

fn line(told: &Told) -> Option<String> {
    let or_default = |label: Option<&String>| label.cloned().unwrap_or_else(|| "default".to_owned());
    let (run, test, environment, event) = match told {
        Told::Began { run, labels } => {
            (run, or_default(labels.test.as_ref()), or_default(labels.environment.as_ref()), Event::RunBegan)
        }
        Told::Reported { run, report: Some(report), .. } => {
            let event = Event::RunReported {
                run_id: report.run.id.clone(),
                verdict: report.verdict.clone(),
                findings: report.findings.iter().map(|finding| finding.id.clone()).collect(),
                partial: report.run.partial,
            };
            (run, report.run.test.clone(), report.run.environment.clone(), event)
        }
        Told::Reported { run, report: None, reason } => {
            let reason = reason.clone().unwrap_or_default();
            (run, or_default(None), or_default(None), Event::RunUnreadable { reason })
        }
    };
    let at = SystemTime::now().into();
    let event =
        StreamEvent { schema_version: EVENT_SCHEMA_VERSION, run: (*run).to_owned(), test, environment, at, event };
    serde_json::to_string(&event).ok()
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if number > 0.0 && number <= 86_400.0 {
        Ok(number)
    } else {
        Err("expected more than 0, and at most a day".to_owned())
    }
}
