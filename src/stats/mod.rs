//! Pure mathematics on numbers: no I/O, no clock, no knowledge of k6's files.

pub mod block_bootstrap;
pub mod broken_line;
pub mod change_point;
pub mod count_scan;
#[cfg(test)]
pub mod draws;
pub mod failure_evidence;
pub mod failure_rate;
pub mod failures;
pub mod histogram;
pub mod level;
pub mod monotone;
pub mod multiplicity;
pub mod noise;
pub mod normal;
pub mod omission;
pub mod on_cores;
pub mod power;
pub mod quantile;
pub mod recurrence;
pub mod regression;
pub mod robust;
mod run_chain;
pub mod run_noise;
pub mod run_statistic;
pub mod season;
pub mod segmentation;
pub mod sequential;
pub mod shrink;
pub mod significance;
pub mod sketch;
pub mod special;
pub mod step;
pub mod streaming_anomaly;
pub mod sum;
pub mod tail_shape;
pub mod trend;
