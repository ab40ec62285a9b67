//! Pure mathematics on numbers: no I/O, no clock, no knowledge of k6's files.

pub mod block_bootstrap;
pub mod count_scan;
#[cfg(test)]
pub mod draws;
pub mod histogram;
pub mod level;
pub mod monotone;
pub mod multiplicity;
pub mod noise;
pub mod normal;
pub mod quantile;
pub mod significance;
pub mod sketch;
pub mod sum;
