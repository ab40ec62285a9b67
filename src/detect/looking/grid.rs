//! The blocks that a running run is cut into, and those of the earlier runs beside them.

use crate::detect::history::{Figure, PastRun};
use crate::model::blocks::{Block, BlockSeries};
use crate::model::series::SeriesKey;
use crate::stats::failures::Failures;

/// The blocks of the newest earlier run; runs of about its length may have others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) block_seconds: u32,
    pub(super) blocks_count: usize,
}

impl Grid {
    /// Returns the block of `series` in which the middle of our `block` lies.
    pub(super) fn block(self, series: &BlockSeries, block: usize) -> Option<Block> {
        let middle = (2 * block as u64 + 1) * u64::from(self.block_seconds);
        let index = middle / (2 * u64::from(series.block_seconds.max(1)));
        *series.blocks.get(index as usize)?
    }

    /// Returns ln of a figure by block; NaN where there is none.
    pub(super) fn windows(self, series: &BlockSeries, figure: Figure) -> Vec<f64> {
        let value = |block: usize| figure.of(&self.block(series, block)?, series.block_seconds);
        (0..self.blocks_count).map(|block| value(block).unwrap_or(f64::NAN)).collect()
    }

    pub(super) fn failures(self, series: &BlockSeries) -> Vec<Failures> {
        let of_block = |block: usize| {
            let block = self.block(series, block);
            block
                .map(|block| Failures { failed_count: block.nonzero_count, count: block.samples_count })
                .unwrap_or_default()
        };
        (0..self.blocks_count).map(of_block).collect()
    }
}

pub(super) fn series_of<'r>(run: &'r PastRun, key: &SeriesKey) -> Option<&'r BlockSeries> {
    run.blocks.iter().find(|series| series.key == *key && series.blocks.iter().any(Option::is_some))
}
