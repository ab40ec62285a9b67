//! `tidemark history`: the kept runs, oldest first.

use std::fmt::Write;

use crate::store::Store;

use super::{StoreArgument, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tidemark history --test checkout --environment staging")]
pub struct History {
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    store: StoreArgument,
}

impl History {
    pub fn run(self) -> anyhow::Result<u8> {
        let (manifests, unreadable) = Store::open(&self.store.store)?.manifests()?;
        for manifest in unreadable {
            eprintln!("tidemark: a manifest cannot be read: {manifest}");
        }
        let wanted = |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|filter| filter == value);
        let mut text =
            format!("{:<18}{:<26}{:<18}{:<19}{:>10}{:>9}\n", "run", "started", "test", "verdict", "requests", "p95 ms");
        for run in
            manifests.iter().filter(|run| wanted(&self.test, &run.test) && wanted(&self.environment, &run.environment))
        {
            let started = run.started_at.map_or("-".to_owned(), |time| time.to_string().chars().take(19).collect());
            let requests = run.totals.requests_count.map_or("-".to_owned(), |count| count.to_string());
            let p95 = run.latency_p95_ms.map_or("-".to_owned(), |p95| format!("{p95:.1}"));
            let (id, test, verdict) = (&run.run_id, &run.test, run.verdict.name());
            writeln!(text, "{id:<18}{started:<26}{test:<18}{verdict:<19}{requests:>10}{p95:>9}")?;
        }
        print(text.as_bytes())?;
        Ok(0)
    }
}
