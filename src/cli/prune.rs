//! `tidemark prune`: says what the store need not keep, then deletes it.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use crate::model::time::Timestamp;
use crate::report::columns::{counted, cut_middle, pad, thousands};
use crate::store::Store;
use crate::store::abandoned::Abandoned;
use crate::store::retention::{Deletion, Part, Retention, deletions};

use super::config::Config;
use super::{StoreArgument, UsageError, print};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Prune {
    /// Keep the newest N runs of each test and environment; older ones are deleted whole.
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    /// Delete the samples of runs that started more than DAYS days ago, and of what the servers said spans, log lines and raw
    /// answers; their report, series and windows stay.
    #[arg(long, value_name = "DAYS")]
    samples_days: Option<u32>,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = "Examples:
  tidemark prune --keep 50 --samples-days 30 --dry-run
  tidemark prune                                 what [retention] in tidemark.toml says";

impl Prune {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let retention = Retention {
            keep_runs: self.keep.or(config.retention.keep).map(usize::from),
            samples_days: self.samples_days.or(config.retention.samples_days),
        };
        if retention == Retention::default() {
            let reason =
                "nothing says what to keep: give --keep N or --samples-days DAYS, or [retention] in tidemark.toml";
            return Err(UsageError(reason.to_owned()).into());
        }
        let store = self.store.open(config)?;
        let now = SystemTime::now();
        let (manifests, unreadable) = store.manifests()?;
        for manifest in unreadable {
            eprintln!("tidemark: a manifest cannot be read, its run is left alone: {manifest}");
        }
        let deletions = deletions(&manifests, retention, Timestamp::from(now));
        let abandoned = store.abandoned(now)?;
        print(said(&deletions, &abandoned).as_bytes())?;
        if self.dry_run {
            return print(b"nothing was deleted: --dry-run\n").map(|()| 0);
        }
        let replaced_count = delete(&store, &deletions, &abandoned)?;
        store.delete_unnamed_samples(&manifests)?;
        if replaced_count > 0 {
            eprintln!(
                "tidemark: {replaced_count} of them are left to other processes, which analysed or deleted them meanwhile"
            );
        }
        Ok(0)
    }
}

/// Returns how many runs other processes replaced or deleted meanwhile.
fn delete(store: &Store, deletions: &[Deletion], abandoned: &[Abandoned]) -> anyhow::Result<usize> {
    for left in abandoned {
        store.delete_attempt(&left.attempt)?;
    }
    let mut replaced_count = 0;
    for deletion in deletions {
        replaced_count += usize::from(!store.delete(deletion)?);
    }
    Ok(replaced_count)
}

fn said(deletions: &[Deletion], abandoned: &[Abandoned]) -> String {
    let mut text = String::new();
    if deletions.is_empty() && abandoned.is_empty() {
        return "nothing to delete\n".to_owned();
    }
    let row = |run: &str, test: &str, environment: &str, age: &str, what: &str, bytes: &str| {
        let (test, environment) = (cut_middle(test, 21), cut_middle(environment, 15));
        format!("{run:<18}{}{}{age:>9}  {what:<16}{bytes:>16}", pad(&test, 23), pad(&environment, 16))
    };
    let mut line = |words: String| writeln!(text, "{}", words.trim_end()).expect("a String takes everything");
    line(row("run", "test", "environment", "age days", "to delete", "bytes"));
    for deletion in deletions {
        let what = match deletion.part {
            Part::Run => "run",
            Part::Samples => "samples",
        };
        let (run, age) = (&deletion.manifest, format!("{:.1}", deletion.age_days));
        let bytes = thousands(deletion.bytes);
        line(row(&run.run_id, &run.test, &run.environment, &age, what, &bytes));
    }
    for left in abandoned {
        line(row("-", "", "", "", "unfinished data", &thousands(left.bytes)));
    }
    let parts_count = |part| deletions.iter().filter(|deletion| deletion.part == part).count() as u64;
    let sums = [
        (parts_count(Part::Run), counted(parts_count(Part::Run), "run")),
        (parts_count(Part::Samples), format!("the samples of {}", counted(parts_count(Part::Samples), "run"))),
        (abandoned.len() as u64, counted(abandoned.len() as u64, "unfinished folder")),
    ];
    let sums: Vec<String> = sums.into_iter().filter(|(count, _)| *count > 0).map(|(_, words)| words).collect();
    let bytes = deletions.iter().map(|deletion| deletion.bytes).chain(abandoned.iter().map(|left| left.bytes)).sum();
    line(format!("{}: {} bytes", sums.join(", "), thousands(bytes)));
    text
}
