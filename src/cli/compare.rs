//! `tidemark compare`: two runs, files or summaries side by side.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::engine;

use super::StoreArgument;
use super::answer::Answer;
use super::config::Config;
use super::fail_on::FailOnArgument;
use super::known_run::known_run;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Compare {
    /// What CURRENT is measured by: a run of the store (an id, the start of one, last, last~2), k6's output, its summary, or
    /// a folder of these.
    base: String,
    /// The run that is judged.
    current: String,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    fail_on: FailOnArgument,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark compare last~1 last
  tidemark compare before.json.gz after.json.gz --output report/
  tidemark compare summary-1.json summary-2.json --format markdown";

impl Compare {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let stop = Arc::new(AtomicBool::new(false));
        let open_store = || Ok(self.store.open(config)?);
        let base = known_run(&self.base, open_store, &stop)?;
        let current = known_run(&self.current, open_store, &stop)?;
        let report = engine::compare(&base, current);
        self.answer.tell(&report, &format!("{} compared with {}", self.current, self.base))?;
        Ok(self.fail_on.exit_code(config, &report))
    }
}
