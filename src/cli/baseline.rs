//! `tidemark baseline`: what the runs of a test are judged against, agreed on in files that are reviewed like code.

use std::path::PathBuf;

use anyhow::Context;

use crate::engine;
use crate::store::Store;
use crate::store::baselines::{self, Agreed};
use crate::store::manifest::Manifest;

use super::config::Config;
use super::{StoreArgument, print};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Baseline {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  tidemark baseline list
  tidemark baseline accept last --reason 'the new search is worth its 8 %'
  tidemark baseline pin 350e7417; tidemark baseline unpin

They write baselines/<test>/<environment>.json: commit it with the change that it is about.";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what was agreed on.
    List,
    /// Take the level of a run, with all runs since it changed, for the usual one from now on.
    Accept(Chosen),
    /// Compare every later run with this one, instead of the history.
    Pin(Chosen),
    /// Judge by the history again.
    Unpin {
        /// Default: as in tidemark.toml.
        #[arg(long, value_name = "NAME")]
        test: Option<String>,
        /// Default: as in tidemark.toml.
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// An id, the start of one, last, or last~2.
    #[arg(default_value = "last")]
    run: String,
    /// Why, for those who read the file.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    store: StoreArgument,
}

impl Baseline {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        match self.verb {
            Verb::List => list(config),
            Verb::Accept(Chosen { run, reason, store }) => accept(&store.open(config)?, &run, reason, config),
            Verb::Pin(Chosen { run, reason, store }) => {
                let manifest = super::find(&store.open(config)?, &run, config)?;
                let mut agreed = of(&manifest, config)?;
                agreed.pinned_run = Some(manifest.run_id.clone());
                agreed.reason = reason.or(agreed.reason);
                write(&agreed, config, &format!("every later run is compared with {}", manifest.run_id))
            }
            Verb::Unpin { test, environment } => {
                let (test, environment) = names(test, environment, config);
                let mut agreed = baselines::read(&folder(config), &test, &environment)?;
                agreed.pinned_run = None;
                write(&agreed, config, &format!("test {test} in environment {environment} is judged by its history"))
            }
        }
    }
}

/// Returns where agreements lie.
pub fn folder(config: &Config) -> PathBuf {
    PathBuf::from(config.baselines.as_deref().unwrap_or("baselines"))
}

/// Returns the test and environment that a command means.
pub fn names(test: Option<String>, environment: Option<String>, config: &Config) -> (String, String) {
    let or_default = |said: Option<String>, configured: &Option<String>| {
        said.or_else(|| configured.clone()).unwrap_or_else(|| "default".to_owned())
    };
    (or_default(test, &config.test), or_default(environment, &config.environment))
}

/// Returns what runs are judged against by what was agreed on. `known`: makes a baseline of a run's name.
pub fn agreed(
    test: &str,
    environment: &str,
    config: &Config,
    known: impl FnOnce(&str) -> anyhow::Result<engine::baseline::Baseline>,
) -> anyhow::Result<engine::baseline::Baseline> {
    let folder = folder(config);
    let agreed = baselines::read(&folder, test, environment)?;
    match agreed.pinned_run {
        Some(run) => known(&run).with_context(|| {
            let path = baselines::path(&folder, test, environment);
            format!("run {run} is pinned in {}, but cannot be used", path.display())
        }),
        None => Ok(engine::baseline::Baseline::Automatic { since: agreed.accepted_from_start }),
    }
}

fn of(manifest: &Manifest, config: &Config) -> anyhow::Result<Agreed> {
    Ok(baselines::read(&folder(config), &manifest.test, &manifest.environment)?)
}

fn accept(store: &Store, run: &str, reason: Option<String>, config: &Config) -> anyhow::Result<u8> {
    let manifest = super::find(store, run, config)?;
    // A regression is accepted with all runs that showed it.
    let first = match &manifest.regressed_since {
        Some(since) if *since != manifest.run_id => store.find(since)?,
        _ => manifest.clone(),
    };
    let mut agreed = of(&manifest, config)?;
    agreed.accepted_from_run = Some(first.run_id.clone());
    agreed.accepted_from_start = Some(first.started_at.unwrap_or(first.kept_at));
    agreed.reason = reason;
    write(&agreed, config, &format!("runs from {} on are the usual level", first.run_id))
}

fn write(agreed: &Agreed, config: &Config, told: &str) -> anyhow::Result<u8> {
    let path = baselines::write(&folder(config), agreed)?;
    print(format!("{told}: {}\n", path.display()).as_bytes())?;
    Ok(0)
}

fn list(config: &Config) -> anyhow::Result<u8> {
    let folder = folder(config);
    let agreed = baselines::all(&folder)?;
    let mut text = String::new();
    for Agreed { test, environment, accepted_from_run, pinned_run, reason, .. } in &agreed {
        text += &format!("test {test} in environment {environment}\n");
        if let Some(run) = pinned_run {
            text += &format!("  compared with {run}, which is pinned\n");
        }
        if let Some(run) = accepted_from_run {
            text += &format!("  judged by its runs from {run} on\n");
        }
        text += &reason.as_ref().map_or(String::new(), |reason| format!("  because {reason}\n"));
    }
    if agreed.is_empty() {
        text = format!("nothing was agreed on in {}: every test is judged by its whole history\n", folder.display());
    }
    print(text.as_bytes())?;
    Ok(0)
}
