//! `tidemark compare`: two runs, files or summaries side by side.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::engine;
use crate::engine::baseline::KnownRun;
use crate::report::comparison_md::{self, Layout1Comparison, Layout1Summary};

use super::answer::Answer;
use super::config::Config;
use super::fail_on::FailOnArgument;
use super::known_run::known_run;
use super::{StoreArgument, print};

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
  tidemark compare summary-1.json summary-2.json --format markdown
  tidemark compare k6-summary-1.json k6-summary-2.json --format comparison-md";

/// Layout 1 keeps its summaries in `reports/<client>/<test>/`; elsewhere the run itself says what it is of.
fn layout_1(path: &str, base: &KnownRun, current: &KnownRun) -> Layout1Comparison {
    let folders: Vec<String> = Path::new(path)
        .ancestors()
        .skip(1)
        .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let is_layout_1 = folders.iter().any(|folder| folder == "reports");
    let below = folders.iter().take_while(|folder| *folder != "reports").cloned().collect::<Vec<_>>();
    // From the file upwards: the last folder below `reports` is the client, those before it are the test.
    let (client, test) = match below.split_last() {
        Some((client, test)) if is_layout_1 && !test.is_empty() => {
            (client.clone(), test.iter().rev().cloned().collect::<Vec<_>>().join("/"))
        }
        _ => (current.report.run.environment.clone(), current.report.run.test.clone()),
    };
    let summary = |run: &KnownRun| {
        let name =
            Path::new(&run.name).file_name().map_or(run.name.clone(), |name| name.to_string_lossy().into_owned());
        Layout1Summary::of(name, &run.report)
    };
    let date = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true);
    Layout1Comparison { client, test, date, current: summary(current), baselines: vec![summary(base)] }
}

impl Compare {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let stop = Arc::new(AtomicBool::new(false));
        let open_store = || Ok(self.store.open(config)?);
        let base = known_run(&self.base, open_store, config, &stop)?;
        let current = known_run(&self.current, open_store, config, &stop)?;
        if self.answer.is_comparison_md() {
            let comparison = layout_1(&self.current, &base, &current);
            let report = engine::compare(&base, current);
            print(comparison_md::render(&comparison).as_bytes())?;
            return Ok(self.fail_on.exit_code(config, &report));
        }
        let report = engine::compare(&base, current);
        self.answer.tell(&report, &format!("{} compared with {}", self.current, self.base))?;
        Ok(self.fail_on.exit_code(config, &report))
    }
}
