//! The load of a running run beside that of its history, by block: another load is another question.

use crate::detect::history::PastRun;
use crate::model::series::SeriesKey;
use crate::stats::robust::median;
use crate::tables::aggregate::Window;

use super::grid::{Grid, series_of};

/// A load that differs by more is another, as for runs that have ended.
const LOAD_DIFFERENCE_MAX: f64 = 0.1;

/// By what the load of a run is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBy {
    Vus,
    /// Where an arrival rate made the load: iterations that were done or dropped.
    Iterations,
}

/// The load by block, beside the usual one.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) by: LoadBy,
    /// Middle of the earlier runs; none where a block has no sample.
    usual: Vec<Option<f64>>,
    largest: f64,
    sum: f64,
    samples_count: u64,
}

impl Load {
    pub(super) fn of(runs: &[&PastRun], by: LoadBy, grid: Grid) -> Load {
        let metrics: &[&str] = match by {
            LoadBy::Vus => &["vus"],
            LoadBy::Iterations => &["iterations", "dropped_iterations"],
        };
        let of_run = |run: &&PastRun, block: usize| {
            let blocks = metrics.iter().filter_map(|metric| {
                let series = series_of(run, &SeriesKey::whole(metric))?;
                grid.block(series, block)
            });
            let (sum, count) = blocks.fold((0.0, 0), |sum, block| (sum.0 + block.sum, sum.1 + block.samples_count));
            by.load(sum, count)
        };
        let usual = |block: usize| {
            let loads: Vec<f64> = runs.iter().filter_map(|run| of_run(run, block)).collect();
            (!loads.is_empty()).then(|| median(&loads))
        };
        let usual: Vec<Option<f64>> = (0..grid.blocks_count).map(usual).collect();
        let largest = usual.iter().flatten().fold(0.0, |largest: f64, load| largest.max(*load));
        Load { by, usual, largest, sum: 0.0, samples_count: 0 }
    }

    pub(super) fn add(&mut self, window: &Window) {
        self.sum += window.sum;
        self.samples_count += window.count;
    }

    pub(super) fn next_block(&mut self) {
        (self.sum, self.samples_count) = (0.0, 0);
    }

    /// Says whether the load of the block so far is not known to be another than usual, beside the largest of the history: a
    /// ramp that starts a second later is the same load.
    pub(super) fn is_usual(&self, block: usize) -> bool {
        let usual = self.usual.get(block).copied().flatten();
        let Some((usual, load)) = usual.zip(self.by.load(self.sum, self.samples_count)) else { return true };
        // Iterations end when they end: some more or less come in each block.
        let by_chance = if self.by == LoadBy::Iterations { 3.0 * usual.max(1.0).sqrt() } else { 0.0 };
        (load - usual).abs() <= LOAD_DIFFERENCE_MAX * self.largest + by_chance
    }
}

impl LoadBy {
    pub(super) fn load(self, sum: f64, samples_count: u64) -> Option<f64> {
        match self {
            LoadBy::Vus if samples_count > 0 => Some(sum / samples_count as f64),
            LoadBy::Iterations if sum > 0.0 => Some(sum),
            _ => None,
        }
    }
}
