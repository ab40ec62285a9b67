//! Judgement: pure functions of figures and windows; each returns what it found, or says why it could not look.

pub mod anomaly;
pub mod finding_id;
pub mod generator;
pub mod like_load;
mod moved;
pub mod outcome;
pub mod phases;
pub mod summaries;
pub mod thresholds;
pub mod verdict;
