//! The blocks of a run, from its frames.

use std::collections::BTreeSet;

use crate::model::blocks::{BLOCKS_MIN, Block, BlockSeries};
use crate::model::series::SeriesKey;

use super::frames::{Frames, Step};

/// Metrics whose endpoints are judged one by one.
const OF_REQUESTS: [&str; 3] = ["http_req_duration", "http_req_failed", "http_reqs"];
const PERCENTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// Returns every metric as a whole, those of requests by endpoint, and each check as well. What does not fill a block at the run's end
/// is left out: k6 lets the last iterations run out there.
pub fn blocks(frames: &Frames) -> Vec<BlockSeries> {
    let frames_a_block = (frames.steps_count() / BLOCKS_MIN).max(1);
    let blocks_count = frames.steps_count() / frames_a_block;
    let block_seconds = frames_a_block as u32 * frames.step_seconds as u32;
    let metrics: BTreeSet<&str> = frames.series().iter().map(|series| series.key.metric.as_str()).collect();
    let wholes = metrics.into_iter().map(|metric| {
        let steps = frames.steps_together(frames_a_block, |series| series.key.metric == metric);
        block_series(SeriesKey::whole(metric), block_seconds, &steps[..blocks_count])
    });
    let is_part =
        |key: &SeriesKey| OF_REQUESTS.contains(&key.metric.as_str()) && key.endpoint.is_some() || key.check.is_some();
    let parts = frames.series().iter().filter(|series| is_part(&series.key));
    let parts = parts.map(|series| {
        block_series(series.key.clone(), block_seconds, &frames.steps_of(series, frames_a_block)[..blocks_count])
    });
    wholes.chain(parts).collect()
}

fn block_series(key: SeriesKey, block_seconds: u32, steps: &[Option<Step>]) -> BlockSeries {
    let block = |step: &Step| Block {
        samples_count: step.count,
        nonzero_count: step.nonzero_count,
        sum: step.sum,
        percentiles: percentiles(step),
    };
    BlockSeries { key, block_seconds, blocks: steps.iter().map(|step| step.as_ref().map(block)).collect() }
}

fn percentiles(step: &Step) -> Option<[f64; 3]> {
    let [p50, p95, p99] = PERCENTILES.map(|p| step.sketch.quantile(p));
    Some([p50?, p95?, p99?])
}
