//! `tidemark analyze`: k6's results in, a report out.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::engine::{self, Keep, Request};
use crate::ingest::bytes::End;
use crate::ingest::input::{self, Input};
use crate::model::metric::ThresholdSource;
use crate::model::report::{AnalysisReport, VerdictKind};
use crate::model::run::RunLabels;
use crate::model::threshold::Expression;
use crate::model::time::Timestamp;
use crate::report::text::{self, Colour};
use crate::store::Store;

use super::{StoreArgument, exit, key_value, print};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Analyze {
    /// k6's JSON or CSV output, plain or compressed (`-` is stdin; several are the pods of one run), or its summary, alone
    /// or beside them.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The test that this is a run of.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The commit of the system under test.
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// Kept with the run.
    #[arg(long = "tag", value_name = "K=V", value_parser = key_value)]
    tags: Vec<(String, String)>,
    /// A threshold that the input does not hold, such as 'http_req_duration{name:pay}=p(95)<80'.
    #[arg(long = "threshold", value_name = "METRIC=EXPRESSION", value_parser = threshold)]
    thresholds: Vec<(String, ThresholdSource)>,
    /// The input is still being written: end when its writer has closed it, or after --quiet-seconds without a byte.
    #[arg(long)]
    follow: bool,
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", requires = "follow")]
    quiet_seconds: f64,
    /// What k6 ended with.
    #[arg(long, value_name = "N")]
    k6_exit_code: Option<i32>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Verdicts that end this command with 1 (with 4 for inconclusive).
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [FailOn::Regressed, FailOn::Thresholds], value_name = "LIST")]
    fail_on: Vec<FailOn>,
    /// Keep nothing.
    #[arg(long)]
    no_store: bool,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark analyze k6.json.gz --test checkout --environment staging
  tidemark analyze pod-1.json pod-2.json pod-3.json
  tidemark analyze --follow k6.json
  k6 run --out json=- script.js | tidemark analyze - --format json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Regressed,
    Thresholds,
    Suspect,
    Inconclusive,
}

/// k6 ends with these when the test itself is bad; 103, 105 and 108 are deliberate stops.
const K6_TEST_IS_BAD: [i32; 7] = [100, 101, 102, 104, 106, 107, 109];

impl Analyze {
    pub fn run(self) -> anyhow::Result<u8> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).context("failed to listen for signals")?;
        }
        let store = if self.no_store { None } else { Some(Store::open(&self.store.store)?) };
        let now = SystemTime::now();
        if let Some(store) = &store {
            store.delete_abandoned(now)?;
        }
        let inputs = self.open(&stop)?;
        let request = Request {
            labels: RunLabels {
                test: self.test.clone(),
                environment: self.environment.clone(),
                commit: self.commit.clone(),
                tags: self.tags.iter().cloned().collect(),
            },
            thresholds: self.thresholds(),
            k6_exit_code: self.k6_exit_code,
        };
        let keep = store.as_ref().map(|store| Keep { store, attempt: attempt(now), now: Timestamp(nanoseconds(now)) });
        let report = engine::analyze(inputs, &request, keep, &stop)?;
        self.print(&report)?;
        let interrupted = stop.load(std::sync::atomic::Ordering::Relaxed);
        Ok(if interrupted { exit::INTERRUPTED } else { self.exit_code(&report) })
    }

    fn open(&self, stop: &Arc<AtomicBool>) -> anyhow::Result<Vec<Input>> {
        if !(self.quiet_seconds >= 0.0 && self.quiet_seconds < 1e9) {
            bail!("--quiet-seconds {} is not a number of seconds", self.quiet_seconds);
        }
        let end = if self.follow { End::Quiet(Duration::from_secs_f64(self.quiet_seconds)) } else { End::AtEnd };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoders = (cores / self.inputs.len()).max(1);
        let open = |path: &PathBuf| input::open(path, end.clone(), decoders, stop.clone());
        Ok(self.inputs.iter().map(open).collect::<Result<_, _>>()?)
    }

    fn thresholds(&self) -> crate::detect::thresholds::Thresholds {
        let mut thresholds = crate::detect::thresholds::Thresholds::new();
        for (metric, source) in &self.thresholds {
            thresholds.entry(metric.clone()).or_default().push(source.clone());
        }
        thresholds
    }

    fn print(&self, report: &AnalysisReport) -> anyhow::Result<()> {
        let answer = match self.format {
            Format::Json => serde_json::to_string_pretty(report)? + "\n",
            Format::Text => {
                let colour = if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
                    Colour::On
                } else {
                    Colour::Off
                };
                let kept = if self.no_store {
                    "not kept".to_owned()
                } else {
                    format!("kept in {} as {}", self.store.store, report.run.id)
                };
                format!("{}\n{kept}\n", text::render(report, colour))
            }
        };
        print(answer.as_bytes())
    }

    fn exit_code(&self, report: &AnalysisReport) -> u8 {
        if self.k6_exit_code.is_some_and(|code| K6_TEST_IS_BAD.contains(&code)) {
            return exit::BAD_INPUT;
        }
        let fails = |kind| self.fail_on.contains(&kind);
        match report.verdict.kind {
            VerdictKind::Regressed if fails(FailOn::Regressed) => exit::FELL_SHORT,
            VerdictKind::ThresholdsFailed if fails(FailOn::Thresholds) => exit::FELL_SHORT,
            VerdictKind::Suspect if fails(FailOn::Suspect) => exit::FELL_SHORT,
            VerdictKind::Inconclusive if fails(FailOn::Inconclusive) => exit::INCONCLUSIVE,
            _ => 0,
        }
    }
}

/// Names a folder that no other analysis has: the time, this process, and its place in it.
fn attempt(now: SystemTime) -> String {
    format!("{:020}-{}", nanoseconds(now), std::process::id())
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn threshold(text: &str) -> Result<(String, ThresholdSource), String> {
    // A metric's filter may hold '=', the expression's operators hold it too: the metric ends at its brace, or at the first '='.
    let metric_end = text.find('}').map_or(0, |brace| brace + 1);
    let equals = text[metric_end..].find('=').ok_or("expected METRIC=EXPRESSION")? + metric_end;
    let (metric, expression) = (text[..equals].to_owned(), text[equals + 1..].to_owned());
    Expression::parse(&expression).map_err(|error| error.to_string())?;
    Ok((metric, ThresholdSource { expression, abort_on_fail: false, delay_abort_eval: None }))
}
