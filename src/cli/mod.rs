//! The command line: parses, calls the engine, prints.

mod analyze;
mod history;
mod query;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Judges k6 load tests.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  tidemark analyze k6.json.gz                    what happened, and whether the thresholds held
  k6 run --out json=- script.js | tidemark analyze -
  tidemark history                               the runs that were kept
  tidemark query --named slowest_endpoints       an answer from them";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read k6's results, keep them, judge them, report.
    Analyze(analyze::Analyze),
    /// List the kept runs.
    History(history::History),
    /// Ask the kept runs by SQL, or by the name of a question.
    Query(query::Query),
    /// Write the completions of a shell to stdout.
    Completions { shell: clap_complete::Shell },
    /// Write the manual page to stdout.
    Man,
}

/// Where runs are kept.
#[derive(Debug, clap::Args)]
struct StoreArgument {
    /// A folder, or the URL of a bucket such as s3://bucket/prefix.
    #[arg(long, env = "TIDEMARK_STORE", default_value = ".tidemark", value_name = "PATH|URL")]
    store: String,
}

/// Exit codes that others rely on.
mod exit {
    pub const FELL_SHORT: u8 = 1;
    pub const WRONG_COMMAND: u8 = 2;
    pub const BAD_INPUT: u8 = 3;
    pub const INCONCLUSIVE: u8 = 4;
    pub const OUTSIDE_FAILED: u8 = 5;
    pub const INTERRUPTED: u8 = 130;
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.verb {
        Verb::Analyze(analyze) => analyze.run(),
        Verb::History(history) => history.run(),
        Verb::Query(query) => query.run(),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "tidemark", &mut script);
            print(&script).map(|()| 0)
        }
        Verb::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command())
                .render(&mut page)
                .map_err(anyhow::Error::from)
                .and_then(|()| print(&page))
                .map(|()| 0)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tidemark: {}", chain(&error));
            ExitCode::from(code_of(&error))
        }
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
    <Arguments as clap::CommandFactory>::command()
}

fn code_of(error: &anyhow::Error) -> u8 {
    use crate::engine::EngineError;
    use crate::engine::query::AskError;
    match error.downcast_ref::<AskError>() {
        Some(AskError::Run(_)) => return exit::WRONG_COMMAND,
        Some(AskError::Store(_)) => return exit::OUTSIDE_FAILED,
        Some(AskError::Query(error)) => return code_of_query(error),
        None => {}
    }
    if let Some(error) = error.downcast_ref() {
        return code_of_query(error);
    }
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::Store(_) | EngineError::Spill(_)) => exit::OUTSIDE_FAILED,
        Some(EngineError::NothingRead { .. } | EngineError::SeveralSummaries) => exit::BAD_INPUT,
        None if error.is::<crate::store::StoreError>() => exit::OUTSIDE_FAILED,
        None => exit::BAD_INPUT,
    }
}

fn code_of_query(error: &crate::tables::query_error::QueryError) -> u8 {
    use crate::tables::query_error::QueryError;
    match error {
        QueryError::Read(_) | QueryError::Answer(_) | QueryError::Start(_) | QueryError::NoAnswer => {
            exit::OUTSIDE_FAILED
        }
        _ => exit::WRONG_COMMAND,
    }
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
