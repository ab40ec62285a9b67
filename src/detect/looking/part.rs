//! The whole run or an endpoint of it while it is looked at: its latency by block, its failures by second.

use crate::detect::history::{Figure, PastRun, RUNS_MIN};
use crate::detect::rates::{FAILURES_MIN, RISE_MIN};
use crate::detect::resampled::CONFIDENCE;
use crate::detect::subjects::CHANGE_MIN;
use crate::model::blocks::Block;
use crate::model::finding::{Change, Scale, SeriesReference};
use crate::model::series::SeriesKey;
use crate::stats::failure_evidence::{FailureHistory, Seen};
use crate::stats::failures::Failures;
use crate::stats::robust::median;
use crate::stats::sequential::{self, CHANCE};
use crate::stats::sketch::Sketch;
use crate::tables::aggregate::Window;

use super::grid::{Grid, series_of};
use super::reference;

/// Failures in fewer seconds may be one moment's.
const FAILING_SECONDS_MIN: u32 = 3;

/// The whole run or an endpoint.
#[derive(Debug)]
pub(super) struct Part {
    /// Of its latency, and of its failures; without a statistic.
    pub(super) latency: SeriesReference,
    pub(super) failure: SeriesReference,
    pub(super) figures: Vec<LatencyLooked>,
    pub(super) failures: Option<FailuresLooked>,
    /// Of the block that is being read.
    requests: u64,
    /// By block: in the middle of the earlier runs.
    usual_requests: Vec<f64>,
    sum: f64,
    sketch: Sketch,
    /// The interval that was told last of its latency, as ln, and of its failures.
    pub(super) told: Told,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) latency: Option<(f64, f64)>,
    pub(super) failures: Option<(f64, f64)>,
}

#[derive(Debug)]
pub(super) struct LatencyLooked {
    figure: Figure,
    history: sequential::History,
    /// By block, as far as the run has come.
    pub(super) windows: Vec<f64>,
    is_told: bool,
}

#[derive(Debug)]
pub(super) struct FailuresLooked {
    history: FailureHistory,
    seen: Seen,
    /// Of the second that is being read.
    second: Failures,
    failing_seconds: u32,
    is_told: bool,
}

/// A series whose evidence crossed.
pub(super) struct Crossed {
    /// None: failures.
    pub(super) figure: Option<Figure>,
    pub(super) change: Change,
    pub(super) e_value: f64,
}

impl Part {
    /// `shares`: of failures, of the median and of the tail.
    pub(super) fn of(runs: &[&PastRun], key: &SeriesKey, grid: Grid, shares: [f64; 3]) -> Part {
        let of_metric = |metric: &str| SeriesKey { metric: metric.to_owned(), ..key.clone() };
        let latency = |figure: Figure, share: f64| {
            let key = of_metric("http_req_duration");
            let windows: Vec<Vec<f64>> =
                runs.iter().filter_map(|run| series_of(run, &key)).map(|series| grid.windows(series, figure)).collect();
            let windows: Vec<&[f64]> = windows.iter().map(Vec::as_slice).collect();
            let history = sequential::History::sharing(&windows, share, CHANGE_MIN.ln_1p());
            let history = history.filter(|_| windows.len() >= RUNS_MIN && share > 0.0)?;
            Some(LatencyLooked { figure, history, windows: Vec::new(), is_told: false })
        };
        let latencies = of_metric("http_req_duration");
        let usual_requests = |block: usize| {
            let of_run = |run: &&PastRun| Some(grid.block(series_of(run, &latencies)?, block)?.samples_count as f64);
            median(&runs.iter().filter_map(of_run).collect::<Vec<f64>>())
        };
        let key = of_metric("http_req_failed");
        let failures: Vec<Vec<Failures>> =
            runs.iter().filter_map(|run| series_of(run, &key)).map(|series| grid.failures(series)).collect();
        let failures = FailureHistory::of(&failures, shares[0]).filter(|_| failures.len() >= RUNS_MIN);
        Part {
            latency: SeriesReference { metric: "http_req_duration".to_owned(), ..reference(&key) },
            failure: reference(&key),
            figures: [(Figure::Median, shares[1]), (Figure::P95, shares[2])]
                .into_iter()
                .filter_map(|(figure, share)| latency(figure, share))
                .collect(),
            failures: failures.map(|history| FailuresLooked {
                history,
                seen: Seen::default(),
                second: Failures::default(),
                failing_seconds: 0,
                is_told: false,
            }),
            requests: 0,
            usual_requests: (0..grid.blocks_count).map(usual_requests).collect(),
            sum: 0.0,
            sketch: Sketch::default(),
            told: Told::default(),
        }
    }

    pub(super) fn add_latency(&mut self, window: &Window) {
        let Some(sketch) = window.sketch.as_ref().filter(|_| !self.figures.is_empty()) else { return };
        // What is no sketch adds nothing; of a window that was just closed it is one.
        if self.sketch.merge_bytes(sketch).is_ok() {
            self.requests += window.count;
            self.sum += window.sum;
        }
    }

    pub(super) fn add_failures(&mut self, window: &Window) {
        if let Some(looked) = &mut self.failures {
            looked.second.failed_count += window.nonzero_count;
            looked.second.count += window.count;
        }
    }

    /// Looks at the failures after a second, and within a block only where the history has none in it.
    ///
    /// `ends_block`: none where the load is not the usual one. `whole`: what was told of the whole run.
    pub(super) fn look_at_failures(
        &mut self,
        block: usize,
        ends_block: Option<bool>,
        whole: Option<(f64, f64)>,
    ) -> Option<Crossed> {
        let looked = self.failures.as_mut()?;
        let second = std::mem::take(&mut looked.second);
        looked.failing_seconds += u32::from(second.failed_count > 0);
        looked.history.add(&mut looked.seen, block, second);
        let ends_block = ends_block?;
        let may_look = ends_block || second.failed_count > 0 && looked.history.is_clean(block);
        if looked.is_told || !may_look {
            return None;
        }
        let seen = &looked.seen;
        // Even if nothing more fails, the whole run will have risen by so much.
        let least = (seen.failed as f64 - seen.expected) / looked.history.requests.max(seen.requests as f64);
        let is_enough =
            seen.failed >= FAILURES_MIN && looked.failing_seconds >= FAILING_SECONDS_MIN && least >= RISE_MIN;
        let e_value = looked.history.e_value(seen);
        if !is_enough || e_value < 1.0 / CHANCE {
            return None;
        }
        looked.is_told = true;
        let (point, low, high) = looked.history.rise(seen)?;
        if whole.is_some_and(|told| overlap(told, (low, high))) {
            return None;
        }
        self.told.failures = Some((low, high));
        let change =
            Change { scale: Scale::Difference, point, low: Some(low), high: Some(high), confidence: Some(CONFIDENCE) };
        Some(Crossed { figure: None, change, e_value })
    }

    /// Ends a block. `whole`: what was told of the whole run.
    ///
    /// A block that is mostly a pause would tell less than the history's blocks do: what came in it counts with the next.
    pub(super) fn look_at_latency(&mut self, block: usize, whole: Option<(f64, f64)>) -> Vec<Crossed> {
        let usual = self.usual_requests.get(block).copied().unwrap_or(0.0);
        let block = if 2.0 * self.requests as f64 >= usual { self.block() } else { None };
        let mut crossed = Vec::new();
        for looked in &mut self.figures {
            let value = block.as_ref().and_then(|block| looked.figure.of(block, 1));
            looked.windows.push(value.unwrap_or(f64::NAN));
            let Some((look, reach)) = looked.history.look(&looked.windows).filter(|_| value.is_some()) else {
                continue;
            };
            if looked.is_told || !look.is_alarm() {
                continue;
            }
            let change = Change::of_logarithm(look.difference, reach, CONFIDENCE);
            if !change.high.is_some_and(f64::is_finite) {
                continue;
            }
            looked.is_told = true;
            let interval = (look.difference - reach, look.difference + reach);
            if self.told.latency.into_iter().chain(whole).any(|told| overlap(told, interval)) {
                continue;
            }
            self.told.latency = Some(interval);
            crossed.push(Crossed { figure: Some(looked.figure), change, e_value: look.e_value });
        }
        crossed
    }

    /// Takes what came in the block.
    pub(super) fn block(&mut self) -> Option<Block> {
        let (requests, sum, sketch) =
            (std::mem::take(&mut self.requests), std::mem::take(&mut self.sum), std::mem::take(&mut self.sketch));
        let percentiles = [0.5, 0.95, 0.99].map(|p| sketch.quantile(p));
        let [Some(p50), Some(p95), Some(p99)] = percentiles else { return None };
        Some(Block { samples_count: requests, nonzero_count: requests, sum, percentiles: Some([p50, p95, p99]) })
    }
}

fn overlap(left: (f64, f64), right: (f64, f64)) -> bool {
    left.0 <= right.1 && right.0 <= left.1
}
