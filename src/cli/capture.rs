//! `tidemark capture`: asks the servers about a kept run, keeps their answers beside it, and says why in its report.

use std::path::PathBuf;

use crate::engine::why::{self, Explained};
use crate::model::telemetry::Telemetry;

use super::answer::Answer;
use super::config::Config;
use super::servers::ServersArgument;
use super::{StoreArgument, UsageError, exit};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Capture {
    /// An id, the start of one, last, last~2, or pinned.
    #[arg(default_value = "last")]
    run: String,
    #[command(flatten)]
    servers: ServersArgument,
    /// Leave the answers in this folder as well, for `analyze --capture`: one that is not there yet, or is empty.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark capture last --prometheus http://127.0.0.1:9090 --tempo http://127.0.0.1:3200
  tidemark capture last --folder answers/        the servers are those of tidemark.toml";

impl Capture {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let source = self.servers.source(config)?.ok_or_else(|| UsageError(NO_SERVER.to_owned()))?;
        if let Some(folder) = &self.folder
            && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
        {
            return Err(UsageError(format!("{} is not empty: name a folder that is", folder.display())).into());
        }
        let store = self.store.open(config)?;
        let manifest = super::find(&store, &self.run, config)?;
        let shown = super::progress::show_asking(&source);
        let (report, explained) = why::explain_kept(&store, manifest, &source, self.servers.grafana(config))?;
        drop(shown);
        let Some(Explained { evidence, telemetry }) = explained else {
            let reason = "it is not known when the run took place: only a summary of it was kept";
            return Err(UsageError(reason.to_owned()).into());
        };
        if let Some(folder) = &self.folder {
            evidence.leave_in(folder)?;
        }
        let kept = format!("the answers are kept in {} beside {}", store.location, report.run.id);
        self.answer.tell(&report, &kept)?;
        let Telemetry { metrics, spans, profiles, logs, .. } = telemetry;
        let is_empty = metrics.is_empty() && spans.is_empty() && profiles.is_empty() && logs.is_empty();
        Ok(if is_empty { exit::OUTSIDE_FAILED } else { 0 })
    }
}

pub const NO_SERVER: &str = "no server is known: give --prometheus, --tempo, --pyroscope or --loki with an address, or name them in [telemetry] of tidemark.toml";
