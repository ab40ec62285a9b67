//! Judgement: pure functions of figures and windows; each returns what it found, or says why it could not look.

pub mod anomaly;
pub mod comparability;
pub mod compare;
pub mod dated;
pub mod finding_id;
pub mod generator;
pub mod history;
pub mod history_findings;
pub mod judge;
pub mod labelled;
pub mod like_load;
mod moved;
pub mod outcome;
pub mod phases;
mod rate_history;
pub mod rates;
pub mod resampled;
pub mod saturation;
pub mod scored;
mod shifts;
pub mod subjects;
pub mod summaries;
pub mod thresholds;
pub mod verdict;
pub mod within_run;
