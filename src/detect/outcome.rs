//! What a detector says: what it found, or why it could not look. Silence is never ambiguous.

use crate::model::finding::Finding;
use crate::model::report::Skipped;

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It looked. No finding means that nothing stands out, except in what it `skipped`.
    Judged { findings: Vec<Finding>, skipped: Vec<Skipped> },
    /// It could not look at all.
    Skipped(Skipped),
}

impl Outcome {
    pub fn skipped(what: &str, reason: impl Into<String>) -> Outcome {
        Outcome::Skipped(Skipped { what: what.to_owned(), reason: reason.into() })
    }

    /// Returns what goes into a report.
    pub fn into_parts(self) -> (Vec<Finding>, Vec<Skipped>) {
        match self {
            Outcome::Judged { findings, skipped } => (findings, skipped),
            Outcome::Skipped(skipped) => (Vec::new(), vec![skipped]),
        }
    }
}
