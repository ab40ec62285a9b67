//! `tidemark history`: the kept runs, oldest first, and since which of them a test is slower or faster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::detect::dated::{DatedChange, DatedRun, dated};
use crate::ingest::otava_csv;
use crate::model::history_table::{Column, HistoryTable};
use crate::report::columns::{cut_middle, pad, thousands};
use crate::report::otava_csv::{Better, configuration, render};
use crate::report::text::second;
use crate::store::manifest::Manifest;

use super::config::Config;
use super::{StoreArgument, UsageError, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidemark history
  tidemark history --test checkout --environment staging
  tidemark history --test checkout --environment staging --format otava-csv > history.csv
  tidemark history --otava history.csv           the changes in a history that Apache Otava reads")]
pub struct History {
    /// Only the runs of this test.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Only the runs against this environment.
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Date the changes of every metric in a CSV of Apache Otava, instead of the kept runs'.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["test", "environment", "format"])]
    otava: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    store: StoreArgument,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line a run, then the dated changes.
    #[default]
    Text,
    /// A history for Apache Otava: a row a run, oldest first.
    OtavaCsv,
    /// What Otava's configuration has to say of that file.
    OtavaYaml,
}

/// How the file of a history is called in its configuration.
const OTAVA_FILE: &str = "history.csv";

const TEST_COLUMNS: usize = 14;
const ENVIRONMENT_COLUMNS: usize = 8;

impl History {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        if let Some(path) = &self.otava {
            return otava_changes(path);
        }
        let (manifests, unreadable) = self.store.open(config)?.manifests()?;
        for manifest in unreadable {
            eprintln!("tidemark: a manifest cannot be read: {manifest}");
        }
        let wanted = |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|filter| filter == value);
        let runs = manifests.iter();
        let runs = runs.filter(|run| wanted(&self.test, &run.test) && wanted(&self.environment, &run.environment));
        let runs: Vec<&Manifest> = runs.collect();
        if self.format != Format::Text {
            return otava(&runs, self.format);
        }
        let text: String = std::iter::once(head()).chain(runs.iter().copied().map(row)).collect();
        print((text + &changes(&runs)).as_bytes())?;
        Ok(0)
    }
}

/// Words the dated changes of each test in each environment: of the runs at the load of the newest one.
fn changes(runs: &[&Manifest]) -> String {
    let mut tests: BTreeMap<(&str, &str), Vec<&Manifest>> = BTreeMap::new();
    for run in runs {
        tests.entry((&run.test, &run.environment)).or_default().push(run);
    }
    let of_test = |((test, environment), all): (&(&str, &str), &Vec<&Manifest>)| {
        let newest = all.iter().rev().find(|run| !run.partial)?;
        let is_comparable =
            |run: &&&Manifest| run.incomparable_because(newest.duration_seconds, &newest.totals).is_none();
        let runs: Vec<DatedRun> = all
            .iter()
            .filter(is_comparable)
            .map(|run| DatedRun { id: &run.run_id, commit: run.commit.as_deref(), value: run.latency_p95_ms })
            .collect();
        let changes = dated(&runs).filter(|changes| !changes.is_empty())?;
        let left_out = match all.len() - runs.len() {
            0 => String::new(),
            count => format!(", without {count} at another load or partial"),
        };
        let of = format!("the p95 latency of test {test} in environment {environment}{left_out}");
        Some(format!("\n{}", told(&of, &runs, &changes)))
    };
    tests.iter().filter_map(of_test).collect()
}

/// Words the changes of one figure.
fn told(of: &str, runs: &[DatedRun], changes: &[DatedChange]) -> String {
    let mut text = format!("Changes of {of}\n");
    for change in changes {
        let DatedRun { id, commit, .. } = runs[change.run];
        let commit = commit.map_or(String::new(), |commit| format!(", commit {commit}"));
        let perhaps = if change.earliest == change.latest {
            String::new()
        } else {
            format!(" (95 %: from {} to {})", runs[change.earliest].id, runs[change.latest].id)
        };
        let change = change.change;
        let interval = change
            .low
            .zip(change.high)
            .map_or(String::new(), |(low, high)| format!(" (95 %: {:+.1} % to {:+.1} %)", 100.0 * low, 100.0 * high));
        text += &format!("  {:+.1} %{interval} since run {id}{commit}{perhaps}\n", 100.0 * change.point);
    }
    text
}

/// Dates the changes in a history that another tool keeps.
fn otava_changes(path: &Path) -> anyhow::Result<u8> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let otava_csv::OtavaCsv { table, rejections } = otava_csv::read(&text, &otava_csv::Layout::default())
        .with_context(|| format!("{} is no history of Otava's", path.display()))?;
    for (line, reason) in rejections {
        eprintln!("tidemark: {} line {line}: {reason}", path.display());
    }
    let attribute = |name: &str| table.attributes.iter().find(|column| column.name == name);
    let (run, commit) = (attribute("run"), attribute("commit"));
    let names: Vec<String> = table
        .times
        .iter()
        .enumerate()
        .map(|(row, time)| run.and_then(|run| run.cells[row].clone()).unwrap_or_else(|| second(*time)))
        .collect();
    let mut text = String::new();
    for metric in &table.metrics {
        let run = |(row, value): (usize, &Option<f64>)| DatedRun {
            id: &names[row],
            commit: commit.and_then(|commit| commit.cells[row].as_deref()),
            value: *value,
        };
        let runs: Vec<DatedRun> = metric.cells.iter().enumerate().map(run).collect();
        text += &match dated(&runs) {
            Some(changes) if changes.is_empty() => format!("No change of {} in {} runs\n", metric.name, runs.len()),
            Some(changes) => told(&metric.name, &runs, &changes),
            None => format!("{} has too few runs to date a change\n", metric.name),
        };
    }
    print(text.as_bytes())?;
    Ok(0)
}

/// Writes the history of one test as Otava reads it.
fn otava(runs: &[&Manifest], format: Format) -> anyhow::Result<u8> {
    let tests: BTreeSet<(&str, &str)> = runs.iter().map(|run| (run.test.as_str(), run.environment.as_str())).collect();
    let mut tests = tests.into_iter();
    let (Some((test, _)), None) = (tests.next(), tests.next()) else {
        let reason =
            "a history of Otava's is of one test in one environment: give --test and --environment of kept runs";
        return Err(UsageError(reason.to_owned()).into());
    };
    let metric = |name: &str, of: fn(&Manifest) -> Option<f64>| Column {
        name: name.to_owned(),
        cells: runs.iter().map(|run| of(run)).collect(),
    };
    let attribute = |name: &str, of: fn(&Manifest) -> Option<String>| Column {
        name: name.to_owned(),
        cells: runs.iter().map(|run| of(run)).collect(),
    };
    let table = HistoryTable {
        times: runs.iter().map(|run| run.started_at.unwrap_or(run.kept_at)).collect(),
        attributes: vec![
            attribute("run", |run| Some(run.run_id.clone())),
            attribute("commit", |run| run.commit.clone()),
        ],
        metrics: vec![
            metric("latency_p95_ms", |run| run.latency_p95_ms),
            metric("failed_requests_rate", |run| run.totals.failed_requests_rate),
            metric("requests_per_second", |run| run.totals.requests_per_second),
        ],
    };
    if format == Format::OtavaYaml {
        let better = [Better::Lower, Better::Lower, Better::Higher];
        print(configuration(test, OTAVA_FILE, &table, &better).as_bytes())?;
        return Ok(0);
    }
    let written = render(&table);
    if written.left_out_count > 0 {
        eprintln!("tidemark: {} runs lack one of the figures and are left out", written.left_out_count);
    }
    print(written.csv.as_bytes())?;
    Ok(0)
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
