//! `tidemark accuracy`: our detectors on labelled cases, so that anyone can score them.

use std::io::{BufRead, Read};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::detect::labelled;

use super::print;

/// A longer line is no case: the longest histories have a megabyte.
const LINE_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Accuracy {
    /// What is asked of each case.
    kind: Kind,
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
}

const EXAMPLES: &str = "Examples:
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
        }
    }
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
        let case = serde_json::from_slice(&line).with_context(|| format!("line {number} is no case of this kind"))?;
        let mut verdict = serde_json::to_vec(&judge(case)).context("failed to write a verdict")?;
        verdict.push(b'\n');
        print(&verdict)?;
    }
    Ok(0)
}
