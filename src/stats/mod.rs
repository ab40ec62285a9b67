//! Pure mathematics on numbers: no I/O, no clock, no knowledge of k6's files.

pub mod histogram;
pub mod quantile;
pub mod sketch;
pub mod sum;
