//! Pure mathematics on numbers: no I/O, no clock, no knowledge of k6's files.

pub mod block_bootstrap;
pub mod histogram;
pub mod multiplicity;
pub mod normal;
pub mod quantile;
pub mod sketch;
pub mod sum;
