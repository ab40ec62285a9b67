//! `tidemark report`: a kept run's report again, in any form.

use super::StoreArgument;
use super::answer::Answer;
use super::config::Config;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// An id, the start of one, last, last~2, or pinned.
    #[arg(default_value = "last")]
    run: String,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark report last --format html > report.html
  tidemark report last~1 --output report/";

impl Report {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let store = self.store.open(config)?;
        let manifest = super::find(&store, &self.run, config)?;
        let report = store.report(&manifest)?;
        self.answer.tell(&report, &format!("kept in {} as {}", store.location, report.run.id))?;
        Ok(0)
    }
}
