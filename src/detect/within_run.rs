//! What stands out within one run, and the health of the load generator.

use crate::model::finding::Finding;
use crate::model::report::{AnalysisReport, GeneratorReport, Skipped};
use crate::tables::frames::Frames;

pub struct WithinRun {
    pub findings: Vec<Finding>,
    pub generator: GeneratorReport,
    pub skipped: Vec<Skipped>,
}

pub fn within_run(_report: &AnalysisReport, _frames: &Frames) -> WithinRun {
    WithinRun {
        findings: Vec::new(),
        generator: GeneratorReport { healthy: true, reasons: Vec::new() },
        skipped: Vec::new(),
    }
}
