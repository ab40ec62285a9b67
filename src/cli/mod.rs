//! The command line: parses, calls the engine, prints.

mod accuracy;
mod analyze;
mod answer;
mod baseline;
mod capture;
mod carry;
mod compare;
pub mod config;
mod confirm;
mod fail_on;
mod forward;
mod history;
mod kafka;
mod known_run;
mod labels;
mod logs;
mod manual;
mod observe;
mod progress;
mod prune;
mod query;
mod report;
mod schema;
mod screen;
mod servers;
mod stream;
mod telemetry_config;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::store::baselines::{self, BaselinesError};
use crate::store::bundle::BundleError;
use crate::store::manifest::Manifest;
use crate::store::{Store, StoreError};
use config::Config;

/// Judges k6 load tests: what happened, what stands out, what changed since the run before, and whether thresholds held.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    /// Defaults for the options; else tidemark.toml here or in the nearest parent folder.
    #[arg(long, env = "TIDEMARK_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  tidemark analyze k6.json.gz                    what happened, and whether the thresholds held
  k6 run --out json=- script.js | tidemark analyze -
  tidemark compare before.json.gz after.json.gz  what changed, and how sure that is
  tidemark report last --format html > page.html
  tidemark history                               the runs that were kept
  tidemark query --named slowest_endpoints       an answer from them";

/// Examples first: they answer most questions.
const HELP_TEMPLATE: &str = "{about}{after-help}\n\n{usage-heading} {usage}\n\n{all-args}";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read k6's results, keep them, judge them, report.
    Analyze(analyze::Analyze),
    /// Set two runs side by side: k6's output, summaries, or kept runs.
    Compare(compare::Compare),
    /// Tell a kept run's report again, in any form.
    Report(report::Report),
    /// List the kept runs, oldest first.
    History(history::History),
    /// Say what the runs of a test are judged against.
    Baseline(baseline::Baseline),
    /// Write a kept run to stdout as one file.
    Export(carry::Export),
    /// Keep a run that `export` wrote.
    Import(carry::Import),
    /// Delete old runs, old samples, and what died half-written.
    Prune(prune::Prune),
    /// Try our detectors on labelled cases: cases from stdin, verdicts to stdout.
    Accuracy(accuracy::Accuracy),
    /// Ask Prometheus, Tempo, Pyroscope and Loki about a kept run, and say why.
    Capture(capture::Capture),
    /// Send k6's results to Kafka while it runs.
    Forward(forward::Forward),
    /// Judge runs that come by Kafka, while they go on.
    Stream(Box<stream::Stream>),
    /// Ask what the servers answered about a run: profiles, traces, metrics, log lines.
    Observe(observe::Observe),
    /// Write the JSON Schema of the configuration or the report to stdout.
    Schema(schema::Schema),
    /// Ask the kept runs by SQL, or by the name of a question.
    Query(query::Query),
    /// Write the completions of a shell to stdout.
    #[command(after_help = "Examples:
  tidemark completions bash > ~/.local/share/bash-completion/completions/tidemark
  tidemark completions zsh > ~/.zfunc/_tidemark")]
    Completions { shell: clap_complete::Shell },
    /// Write the manual page to stdout.
    #[command(after_help = "Examples:
  tidemark man | man -l -")]
    Man,
}

/// Where runs are kept.
#[derive(Debug, clap::Args)]
struct StoreArgument {
    /// Where runs are kept: a folder, or the URL of a bucket such as s3://bucket/prefix; .tidemark when nothing says.
    #[arg(long, env = "TIDEMARK_STORE", value_name = "PATH|URL")]
    store: Option<String>,
}

impl StoreArgument {
    /// Opens the store to look at its runs.
    fn open(&self, config: &Config) -> Result<Store, StoreError> {
        Store::open(self.location(config))
    }

    /// Opens the store to keep a run in it.
    fn create(&self, config: &Config) -> Result<Store, StoreError> {
        Store::create(self.location(config))
    }

    /// Returns what the command line or the environment says, else what the configuration does, else `.tidemark`.
    fn location<'a>(&'a self, config: &'a Config) -> &'a str {
        let said = self.store.as_deref().filter(|store| !store.is_empty());
        said.or(config.store.as_deref()).unwrap_or(".tidemark")
    }
}

/// Returns the run that `name` means: an id, the start of one, last, last~2, or pinned.
fn find(store: &Store, name: &str, config: &Config) -> anyhow::Result<Manifest> {
    if name != "pinned" {
        return Ok(store.find(name)?);
    }
    let pinned = baselines::all(&baseline::folder(config))?.into_iter().filter_map(|agreed| agreed.pinned_run);
    match pinned.collect::<Vec<String>>().as_slice() {
        [run] => Ok(store.find(run)?),
        [] => Err(UsageError("no run is pinned: `tidemark baseline pin RUN` does".to_owned()).into()),
        runs => Err(UsageError(format!("several runs are pinned, name one: {}", runs.join(", "))).into()),
    }
}

/// The command line is wrong in a way that its parser does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Exit codes that others rely on.
mod exit {
    pub const FELL_SHORT: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const BAD_INPUT: u8 = 3;
    pub const INCONCLUSIVE: u8 = 4;
    pub const OUTSIDE_FAILED: u8 = 5;
    pub const INTERRUPTED: u8 = 130;
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = match Arguments::from_arg_matches(&command().get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run_verb(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tidemark: {}", chain(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

fn run_verb(arguments: Arguments) -> anyhow::Result<u8> {
    // A broken configuration must not keep anyone from the schema that says what is wrong with it.
    let config = || {
        let here = std::env::current_dir().unwrap_or_default();
        config::load(arguments.config.as_deref().filter(|path| !path.as_os_str().is_empty()), &here)
    };
    match arguments.verb {
        Verb::Analyze(analyze) => analyze.run(&config()?),
        Verb::Compare(compare) => compare.run(&config()?),
        Verb::Report(report) => report.run(&config()?),
        Verb::History(history) => history.run(&config()?),
        Verb::Baseline(baseline) => baseline.run(&config()?),
        Verb::Export(export) => export.run(&config()?),
        Verb::Import(import) => import.run(&config()?),
        Verb::Prune(prune) => prune.run(&config()?),
        Verb::Query(query) => query.run(&config()?),
        Verb::Accuracy(accuracy) => accuracy.run(),
        Verb::Capture(capture) => capture.run(&config()?),
        Verb::Forward(forward) => forward.run(&config()?),
        Verb::Stream(stream) => stream.run(&config()?),
        Verb::Observe(observe) => observe.run(&config()?),
        Verb::Schema(schema) => schema.run(),
        Verb::Completions { shell } => print(&manual::completions(shell, command())).map(|()| 0),
        Verb::Man => print(&manual::page(command())?).map(|()| 0),
    }
}

/// Words an error and its causes; a cause that an error above it already words is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn command() -> clap::Command {
    Arguments::command().help_template(HELP_TEMPLATE).mut_subcommands(|verb| verb.help_template(HELP_TEMPLATE))
}

fn code_of(error: &anyhow::Error) -> u8 {
    use crate::engine::EngineError;
    use crate::engine::forward::ForwardError;
    use crate::engine::query::AskError;
    use crate::engine::stream::StreamError;
    use crate::ingest::kafka::access::AccessError;
    use crate::ingest::servers::RecordError;
    use crate::ingest::telemetry::packed::PackError;
    match error.downcast_ref::<AskError>() {
        Some(AskError::Run(_)) => return exit::USAGE,
        Some(AskError::Store(_)) => return exit::OUTSIDE_FAILED,
        Some(AskError::Query(error)) => return code_of_query(error),
        None => {}
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_query(error);
    }
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::Store(_) | EngineError::Spill(_) | EngineError::Answers(_) | EngineError::Dropped) => {
            return exit::OUTSIDE_FAILED;
        }
        Some(EngineError::Record(RecordError::Client { .. })) => return exit::USAGE,
        Some(EngineError::Record(RecordError::Keep(_))) => return exit::OUTSIDE_FAILED,
        Some(EngineError::Pack(PackError::Read(_) | PackError::TooLarge)) => return exit::OUTSIDE_FAILED,
        Some(
            EngineError::NothingRead { .. }
            | EngineError::SeveralSummaries { .. }
            | EngineError::Capture(_)
            | EngineError::Pack(PackError::Manifest(_)),
        ) => return exit::BAD_INPUT,
        None => {}
    }
    if let Some(error) = error.downcast_ref::<StreamError>() {
        return match error {
            StreamError::Access(AccessError::Options(_)) => exit::USAGE,
            _ => exit::OUTSIDE_FAILED,
        };
    }
    match error.downcast_ref::<ForwardError>() {
        Some(ForwardError::Access(AccessError::Options(_))) => return exit::USAGE,
        Some(ForwardError::Access(_) | ForwardError::Produce(_) | ForwardError::Spool { .. }) => {
            return exit::OUTSIDE_FAILED;
        }
        Some(ForwardError::Read { .. }) => return exit::BAD_INPUT,
        None => {}
    }
    match error.downcast_ref::<BundleError>() {
        Some(BundleError::Store(_) | BundleError::Write(_)) => return exit::OUTSIDE_FAILED,
        Some(BundleError::Read(_) | BundleError::NotOurs { .. }) => return exit::BAD_INPUT,
        None => {}
    }
    match error.downcast_ref::<BaselinesError>() {
        Some(BaselinesError::Write { .. }) => return exit::OUTSIDE_FAILED,
        Some(_) => return exit::USAGE,
        None => {}
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::NoRun { .. } | StoreError::Ambiguous { .. }) => return exit::USAGE,
        Some(_) => return exit::OUTSIDE_FAILED,
        None => {}
    }
    if error.is::<crate::service::http::ListenError>() {
        return exit::OUTSIDE_FAILED;
    }
    let is_usage = error.is::<UsageError>() || error.is::<config::ConfigError>();
    if is_usage { exit::USAGE } else { exit::BAD_INPUT }
}

fn code_of_query(error: &crate::tables::query_error::QueryError) -> u8 {
    use crate::tables::query_error::QueryError;
    match error {
        QueryError::Read(_) | QueryError::Answer(_) | QueryError::Start(_) | QueryError::NoAnswer => {
            exit::OUTSIDE_FAILED
        }
        _ => exit::USAGE,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Reads `K=V`.
fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected K=V")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Writes the answer; a reader that went away (`| head`) wants no more, and that is no error.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
