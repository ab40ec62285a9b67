//! Judgement: pure functions of figures and windows; each returns what it found, or says why it could not look.

pub mod phases;
pub mod summaries;
pub mod thresholds;
pub mod verdict;
