//! `tidemark history`: the kept runs, oldest first.

use crate::report::columns::{cut_middle, pad, thousands};
use crate::report::text::second;
use crate::store::manifest::Manifest;

use super::config::Config;
use super::{StoreArgument, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidemark history
  tidemark history --test checkout --environment staging")]
pub struct History {
    /// Only the runs of this test.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Only the runs against this environment.
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    store: StoreArgument,
}

const TEST_COLUMNS: usize = 14;
const ENVIRONMENT_COLUMNS: usize = 8;

impl History {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let (manifests, unreadable) = self.store.open(config)?.manifests()?;
        for manifest in unreadable {
            eprintln!("tidemark: a manifest cannot be read: {manifest}");
        }
        let wanted = |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|filter| filter == value);
        let runs = manifests.iter();
        let runs = runs.filter(|run| wanted(&self.test, &run.test) && wanted(&self.environment, &run.environment));
        let text: String = std::iter::once(head()).chain(runs.map(row)).collect();
        print(text.as_bytes())?;
        Ok(0)
    }
}

fn head() -> String {
    line(["run", "started (UTC)", "test", "env", "verdict", "requests", "failed", "p95 ms"])
}

fn row(run: &Manifest) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let partial = if run.partial { "*" } else { "" };
    line([
        &run.run_id,
        &or_dash(run.started_at.map(|start| second(start).chars().take(16).collect())),
        &run.test,
        &run.environment,
        &format!("{}{partial}", run.verdict.name()),
        &or_dash(run.totals.requests_count.map(requests)),
        &or_dash(run.totals.failed_requests_rate.map(|rate| format!("{:.1}%", rate * 100.0))),
        &or_dash(run.latency_p95_ms.map(|p95| if p95 < 10_000.0 { format!("{p95:.1}") } else { format!("{p95:.0}") })),
    ])
}

/// A count that no column holds is told in millions.
fn requests(count: u64) -> String {
    if count < 10_000_000 { thousands(count) } else { format!("{:.1} M", count as f64 / 1e6) }
}

fn line(cells: [&str; 8]) -> String {
    let [run, started, test, environment, verdict, requests, failed, p95] = cells;
    let (test, environment) = (cut_middle(test, TEST_COLUMNS), cut_middle(environment, ENVIRONMENT_COLUMNS));
    let (test, environment) = (pad(&test, TEST_COLUMNS), pad(&environment, ENVIRONMENT_COLUMNS));
    format!("{run:<16} {started:<16} {test} {environment} {verdict:<18}{requests:>10}{failed:>7}{p95:>7}\n")
}
