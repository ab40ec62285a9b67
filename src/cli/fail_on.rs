//! Which verdicts make a command fail, and with what exit code.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::report::{AnalysisReport, VerdictKind};

use super::config::Config;
use super::exit;

/// Verdicts that make a command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailOn {
    Regressed,
    Thresholds,
    Suspect,
    Inconclusive,
}

const DEFAULT: [FailOn; 2] = [FailOn::Regressed, FailOn::Thresholds];

#[derive(Debug, clap::Args)]
pub struct FailOnArgument {
    /// Verdicts that end this command with 1 (with 4 for inconclusive); regressed,thresholds when nothing says.
    #[arg(long, value_delimiter = ',', value_enum, value_name = "LIST")]
    fail_on: Option<Vec<FailOn>>,
}

impl FailOnArgument {
    pub fn exit_code(&self, config: &Config, report: &AnalysisReport) -> u8 {
        let fail_on = self.fail_on.as_deref().or(config.fail_on.as_deref()).unwrap_or(&DEFAULT);
        let fails = |kind| fail_on.contains(&kind);
        match report.verdict.kind {
            VerdictKind::Regressed if fails(FailOn::Regressed) => exit::FELL_SHORT,
            VerdictKind::ThresholdsFailed if fails(FailOn::Thresholds) => exit::FELL_SHORT,
            VerdictKind::Suspect if fails(FailOn::Suspect) => exit::FELL_SHORT,
            VerdictKind::Inconclusive if fails(FailOn::Inconclusive) => exit::INCONCLUSIVE,
            _ => 0,
        }
    }
}
