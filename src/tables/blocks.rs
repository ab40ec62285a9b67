//! The blocks of a run, from its frames.

use std::collections::BTreeSet;

use crate::model::blocks::{BLOCKS_MIN, Block, BlockSeries};
use crate::model::series::SeriesKey;

use super::frames::{FrameSeries, Frames, Step};

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
        let is_its = |series: &FrameSeries| series.key.metric == metric;
        (SeriesKey::whole(metric), frames.steps_together(frames_a_block, is_its, block))
    });
    let is_part =
        |key: &SeriesKey| OF_REQUESTS.contains(&key.metric.as_str()) && key.endpoint.is_some() || key.check.is_some();
    let parts = frames.series().iter().filter(|series| is_part(&series.key));
    let parts = parts.map(|series| (series.key.clone(), frames.steps_of(series, frames_a_block, block)));
    let series = wholes.chain(parts).map(|(key, mut blocks)| {
        blocks.truncate(blocks_count);
        BlockSeries { key, block_seconds, blocks }
    });
    series.collect()
}

fn block(step: &Step) -> Block {
    Block {
        samples_count: step.count,
        nonzero_count: step.nonzero_count,
        sum: step.sum,
        percentiles: percentiles(step),
    }
}

fn percentiles(step: &Step) -> Option<[f64; 3]> {
    let [p50, p95, p99] = PERCENTILES.map(|p| step.sketch.quantile(p));
    Some([p50?, p95?, p99?])
}
