//! How sure the change between two runs is: their time is cut into as many blocks, and pairs of blocks are drawn again.
//!
//! A pair is the same part of both runs, so a load that rises through the test rises in every draw.

use crate::stats::block_bootstrap::{draws, reach, standard_error};
use crate::stats::sketch::{RELATIVE_ERROR, middle_of};
use crate::tables::frames::{FrameSeries, Frames, Step};

/// Blocks of a run; fewer when it is shorter.
const BLOCKS_MAX: usize = 24;
/// With fewer the error of a figure cannot be told.
const BLOCKS_MIN: usize = 6;
pub const CONFIDENCE: f64 = 0.95;

/// The same series of two runs, block by block.
pub struct Paired {
    base: Vec<Option<Step>>,
    current: Vec<Option<Step>>,
}

/// How far a change of one figure would be off by chance, on its scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChanceError {
    pub standard_error: f64,
    pub blocks_count: usize,
}

impl ChanceError {
    /// Standard errors that an interval reaches to each side.
    pub fn reach(self) -> f64 {
        reach(CONFIDENCE, self.blocks_count)
    }
}

impl Paired {
    /// Cuts both runs into blocks; `is_its` says which series are meant. None when either run is too short.
    pub fn cut(base: &Frames, current: &Frames, is_its: impl Fn(&FrameSeries) -> bool) -> Option<Paired> {
        let blocks_count = BLOCKS_MAX.min(base.steps_count()).min(current.steps_count());
        let cut = |frames: &Frames| {
            let frames_a_block = frames.steps_count().div_ceil(blocks_count.max(1)).max(1);
            frames.steps_together(frames_a_block, &is_its, Step::clone)
        };
        let (mut base, mut current) = (cut(base), cut(current));
        let pairs = base.len().min(current.len());
        base.truncate(pairs);
        current.truncate(pairs);
        (pairs >= BLOCKS_MIN).then_some(Paired { base, current })
    }

    pub fn blocks_count(&self) -> usize {
        self.base.len()
    }

    /// Returns the errors of ln(current / base) for the average and for each of the quantiles `ps`, which ascend, in this order.
    pub fn of_trend(&self, ps: &[f64]) -> Vec<Option<ChanceError>> {
        let (base, current) = (Blocks::of(&self.base, ps), Blocks::of(&self.current, ps));
        let mut changes = vec![Vec::new(); ps.len() + 1];
        for times in draws(self.blocks_count()) {
            let (base, current) = (base.figures(&times), current.figures(&times));
            for ((changes, base), current) in changes.iter_mut().zip(base).zip(current) {
                changes.push((current / base).ln());
            }
        }
        changes.iter().map(|changes| self.error(changes)).collect()
    }

    /// Returns the error of the difference of a ratio of sums, such as failed requests / requests.
    pub fn of_difference(&self, ratio: impl Fn(&Step) -> (f64, f64)) -> Option<ChanceError> {
        self.of_ratios(ratio, |base, current| current - base)
    }

    /// Returns the error of ln(current / base) of a sum a block, such as requests a second.
    pub fn of_sum(&self, sum: impl Fn(&Step) -> f64) -> Option<ChanceError> {
        self.of_ratios(|step| (sum(step), 0.0), |base, current| (current / base).ln())
    }

    fn of_ratios(&self, ratio: impl Fn(&Step) -> (f64, f64), change: impl Fn(f64, f64) -> f64) -> Option<ChanceError> {
        let sides = |blocks: &[Option<Step>]| -> Vec<(f64, f64)> {
            // Without a sample nothing was counted.
            blocks.iter().map(|step| step.as_ref().map_or((0.0, 0.0), &ratio)).collect()
        };
        let (base, current) = (sides(&self.base), sides(&self.current));
        let of = |side: &[(f64, f64)], times: &[u32]| {
            let (above, below) = side.iter().zip(times).fold((0.0, 0.0), |(above, below), (side, times)| {
                (above + side.0 * f64::from(*times), below + side.1 * f64::from(*times))
            });
            if below == 0.0 { above } else { above / below }
        };
        let changes: Vec<f64> =
            draws(self.blocks_count()).iter().map(|times| change(of(&base, times), of(&current, times))).collect();
        self.error(&changes)
    }

    fn error(&self, changes: &[f64]) -> Option<ChanceError> {
        let blocks_count = self.blocks_count();
        Some(ChanceError { standard_error: standard_error(changes, blocks_count)?, blocks_count })
    }
}

/// The blocks of one run as a matrix.
struct Blocks<'p> {
    /// Ascending.
    buckets: Vec<u32>,
    /// By block, then by bucket: samples.
    counts: Vec<Vec<u64>>,
    /// By block.
    sums: Vec<f64>,
    ps: &'p [f64],
}

impl<'p> Blocks<'p> {
    fn of(blocks: &[Option<Step>], ps: &'p [f64]) -> Blocks<'p> {
        let mut buckets: Vec<u32> =
            blocks.iter().flatten().flat_map(|step| step.sketch.buckets()).map(|(bucket, _)| *bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let row = |step: &Option<Step>| {
            let mut row = vec![0; buckets.len()];
            for (bucket, count) in step.iter().flat_map(|step| step.sketch.buckets()) {
                row[buckets.binary_search(bucket).expect("it was put in")] = *count;
            }
            row
        };
        let counts = blocks.iter().map(row).collect();
        let sums = blocks.iter().map(|step| step.as_ref().map_or(0.0, |step| step.sum)).collect();
        Blocks { buckets, counts, sums, ps }
    }

    /// Returns the average and the quantiles of blocks that are drawn so many `times`; NaN of no sample.
    fn figures(&self, times: &[u32]) -> Vec<f64> {
        let mut together = vec![0u64; self.buckets.len()];
        let mut sum = 0.0;
        for ((row, of_block), times) in self.counts.iter().zip(&self.sums).zip(times).filter(|(_, times)| **times > 0) {
            sum += of_block * f64::from(*times);
            together.iter_mut().zip(row).for_each(|(sum, count)| *sum += count * u64::from(*times));
        }
        let count: u64 = together.iter().sum();
        let mut figures = vec![sum / count as f64];
        figures.resize(1 + self.ps.len(), f64::NAN);
        self.quantiles(&together, count as f64, &mut figures[1..]);
        figures
    }

    /// Writes for each of `ps`, which ascend, the value below which this part of the samples is, spread evenly over its bucket: a
    /// step of a whole bucket would be the error that is looked for.
    fn quantiles(&self, counts: &[u64], count: f64, values: &mut [f64]) {
        let mut below = 0.0;
        let mut asked = self.ps.iter().zip(values).peekable();
        for (bucket, in_bucket) in self.buckets.iter().zip(counts).filter(|(_, count)| **count > 0) {
            let in_bucket = *in_bucket as f64;
            while let Some((p, value)) = asked.next_if(|(p, _)| below + in_bucket >= **p * count) {
                let within = (p * count - below) / in_bucket - 0.5;
                *value = middle_of(*bucket) * (1.0 + 2.0 * RELATIVE_ERROR * within);
            }
            below += in_bucket;
        }
    }
}
