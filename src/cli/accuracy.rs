//! `tidemark accuracy`: our detectors on labelled cases, so that anyone can score them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::read::GzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::detect::{labelled, scored};
use crate::diagnose::labelled as faults;
use crate::model::score::Score;
use crate::stats::on_cores::on_cores;

use super::{UsageError, print};

/// A longer line is no case: the longest histories have a megabyte.
const LINE_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Accuracy {
    /// What is asked of each case.
    kind: Kind,
    /// Where the cases of `all` lie, with their truth; data/accuracy in this project's folder has some.
    #[arg(long, value_name = "DIR", default_value = "data/accuracy")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Is the newest run worse than its history? {"id", "target", "runs"} to {"id", "regression", "suspect", "score", ..}
    Regression,
    /// Where did the series change? {"id", "values"} to {"id", "change_points"}
    ChangePoints,
    /// Which values are not as usual, by what came before? {"id", "v"} to {"id", "anomalies", "scores"}
    Anomalies,
    /// After which window is a run called slower than its history? {"id", "history", "windows"} to {"id", "alarm_at", "e_values"}
    Looking,
    /// Which service has the fault, by its metrics alone? {"id", "inject_time", "target", "graph", "time", "series"} to {"id", "ranks"}
    RootCause,
    /// All of these, on the cases of --data, scored by their truth, as a table in Markdown.
    All,
}

const EXAMPLES: &str = "Examples:
  tidemark accuracy all
  tidemark accuracy regression < cases.jsonl > verdicts.jsonl
  tidemark accuracy change-points < cases.jsonl > verdicts.jsonl

One JSON object a line in, one out.";

impl Accuracy {
    pub fn run(self) -> anyhow::Result<u8> {
        match self.kind {
            Kind::Regression => each(labelled::regression),
            Kind::ChangePoints => each(labelled::change_point),
            Kind::Anomalies => each(labelled::anomaly),
            Kind::Looking => each(labelled::looking),
            Kind::RootCause => each(faults::root_cause),
            Kind::All => all(&self.data),
        }
    }
}

/// What other detectors reach, by kind and by score.
type Others = BTreeMap<String, BTreeMap<String, String>>;

/// Judges and scores the cases of a folder, and prints a table.
fn all(folder: &Path) -> anyhow::Result<u8> {
    if !folder.is_dir() {
        let reason =
            format!("there is no folder {}: run it in this project's folder, or name --data", folder.display());
        return Err(UsageError(reason).into());
    }
    let path = folder.join("others.json");
    let file = File::open(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let others: Others =
        serde_json::from_reader(BufReader::new(file)).with_context(|| format!("{} is broken", path.display()))?;
    let mut table = "| cases | figure | ours | others |\n|---|---|---:|---|\n".to_owned();
    let mut add = |kind: &str, (count, scores): (usize, Vec<Score>)| {
        for score in scores {
            let value = score.value.map_or("-".to_owned(), |value| format!("{value:.*}", score.decimals));
            let others = others.get(kind).and_then(|others| others.get(score.name)).map_or("", String::as_str);
            table += &format!("| {count} of {kind} | {} | {value} | {others} |\n", score.name);
        }
    };
    add("regression", of_kind(folder, "regression", labelled::regression, scored::regression)?);
    add("change-points", of_kind(folder, "change-points", labelled::change_point, scored::change_points)?);
    add("anomalies", of_kind(folder, "anomalies", labelled::anomaly, scored::anomalies)?);
    add("looking", of_kind(folder, "looking", labelled::looking, scored::looking)?);
    add("root-cause", of_kind(folder, "root-cause", faults::root_cause, faults::score)?);
    print(table.as_bytes())?;
    Ok(0)
}

/// Returns how many cases of a kind there are, and the scores of the verdicts on them.
fn of_kind<Case: DeserializeOwned + Send, Verdict: Send, Truth: DeserializeOwned>(
    folder: &Path,
    kind: &str,
    judge: fn(Case) -> Verdict,
    score: fn(&[Truth], &[Verdict]) -> Vec<Score>,
) -> anyhow::Result<(usize, Vec<Score>)> {
    let truths: Vec<Truth> = packed(&folder.join(format!("{kind}.truth.jsonl.gz")))?;
    let cases: Vec<Case> = packed(&folder.join(format!("{kind}.cases.jsonl.gz")))?;
    let count = cases.len();
    Ok((count, score(&truths, &on_cores(cases, judge))))
}

/// Reads a gzip of JSON, one object a line.
fn packed<Row: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<Row>> {
    let file = File::open(path).with_context(|| format!("failed to read {}", path.display()))?;
    let rows = serde_json::Deserializer::from_reader(BufReader::new(GzDecoder::new(file))).into_iter();
    rows.collect::<Result<_, _>>().with_context(|| format!("{} is broken", path.display()))
}

/// Reads cases from stdin to its end, and writes a verdict for each.
fn each<Case: DeserializeOwned, Verdict: Serialize>(judge: fn(Case) -> Verdict) -> anyhow::Result<u8> {
    let mut cases = std::io::stdin().lock();
    for number in 1.. {
        let mut line = Vec::new();
        let mut bounded = (&mut cases).take(LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line).context("failed to read the cases")? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        nulls_for_nan(&mut line);
        let case = serde_json::from_slice(&line).with_context(|| format!("line {number} is no case of this kind"))?;
        let mut verdict = serde_json::to_vec(&judge(case)).context("failed to write a verdict")?;
        verdict.push(b'\n');
        print(&verdict)?;
    }
    Ok(0)
}

/// Writes `null` for each `NaN` that is no part of a text: JSON has none, and some writers use it.
fn nulls_for_nan(line: &mut Vec<u8>) {
    let (mut in_text, mut is_escaped, mut places) = (false, false, Vec::new());
    for (place, byte) in line.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'N' if !in_text && line[place..].starts_with(b"NaN") => places.push(place),
            _ => {}
        }
    }
    for place in places.into_iter().rev() {
        line.splice(place..place + b"NaN".len(), *b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::nulls_for_nan;

    #[test]
    fn only_values_are_replaced() {
        let mut line = br#"{"NaN \" NaN": [NaN, 1,NaN]}"#.to_vec();
        nulls_for_nan(&mut line);
        assert_eq!(line, br#"{"NaN \" NaN": [null, 1,null]}"#);
    }
}
