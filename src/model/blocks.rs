//! A run cut into equal stretches of time: what later runs of the test are judged by.

use super::series::SeriesKey;

/// A run has at least as many blocks, if it has as many seconds, and fewer than twice as many.
pub const BLOCKS_MIN: usize = 12;

/// The samples of one series in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    pub samples_count: u64,
    /// Of a rate such as `http_req_failed`: the samples that are not 0.
    pub nonzero_count: u64,
    pub sum: f64,
    /// p50, p95, p99; none unless a trend.
    pub percentiles: Option<[f64; 3]>,
}

/// A series of a run by block, oldest first; a block without a sample is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockSeries {
    /// Without an endpoint: all series of the metric together.
    pub key: SeriesKey,
    /// How long each block is; runs of about one length may have blocks of another.
    pub block_seconds: u32,
    pub blocks: Vec<Option<Block>>,
}
