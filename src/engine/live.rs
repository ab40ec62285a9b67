//! What a run looks like just now: the figures of its last seconds, for a line that people watch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::time::NANOSECONDS_PER_SECOND;
use crate::stats::quantile::of_sorted;
use crate::tables::aggregate::Aggregate;
use crate::tables::samples::SampleBlock;

/// k6 flushes some times a second, so the second at hand is never whole: some whole ones steady the figures.
const SECONDS: usize = 5;

/// Shared between the reader, who writes, and whoever paints the line.
#[derive(Debug, Default)]
pub struct Live {
    latest: Mutex<Latest>,
    pub samples_count: AtomicU64,
    pub rejected_lines_count: AtomicU64,
    /// Windows that samples opened again which came too late.
    pub late_windows_count: AtomicU64,
    pub open_windows_count: AtomicU64,
}

/// By second, oldest first.
#[derive(Debug, Default)]
struct Latest {
    seconds: VecDeque<Second>,
    vus: Option<f64>,
}

#[derive(Debug, Default)]
struct Second {
    second: i64,
    requests: f64,
    failed: f64,
    latencies_ms: Vec<f64>,
}

/// The last whole seconds of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveFigures {
    pub requests_per_second: f64,
    pub p95_ms: Option<f64>,
    /// 0 to 1.
    pub failed_requests_rate: f64,
    pub vus: Option<f64>,
}

impl Live {
    /// Takes a block; `cells`: of its samples.
    pub fn add(&self, block: &SampleBlock, cells: &[u32], aggregate: &Aggregate) {
        self.samples_count.fetch_add(block.rows() as u64, Ordering::Relaxed);
        self.rejected_lines_count.fetch_add(block.rejections_count, Ordering::Relaxed);
        self.late_windows_count.store(aggregate.reopened_count, Ordering::Relaxed);
        self.open_windows_count.store(aggregate.open_windows_count() as u64, Ordering::Relaxed);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for ((time_ns, value), cell) in block.times_ns.iter().zip(&block.values).zip(cells) {
            let metric = aggregate.cells[*cell as usize].metric as usize;
            match &*aggregate.metrics[metric].name {
                "vus" => latest.vus = Some(*value),
                name @ ("http_reqs" | "http_req_failed" | "http_req_duration") => {
                    let Some(second) = latest.second(time_ns.div_euclid(NANOSECONDS_PER_SECOND)) else { continue };
                    match name {
                        "http_reqs" => second.requests += value,
                        "http_req_failed" => second.failed += value,
                        _ => second.latencies_ms.push(*value),
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the figures of the last whole seconds; none before there is one.
    pub fn figures(&self) -> Option<LiveFigures> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = latest.seconds.len().checked_sub(1).filter(|count| *count > 0)?;
        let seconds = || latest.seconds.iter().take(whole);
        let span = latest.seconds[whole - 1].second - latest.seconds[0].second + 1;
        let requests: f64 = seconds().map(|second| second.requests).sum();
        let failed: f64 = seconds().map(|second| second.failed).sum();
        let mut latencies: Vec<f64> = seconds().flat_map(|second| second.latencies_ms.iter().copied()).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        Some(LiveFigures {
            requests_per_second: requests / span as f64,
            p95_ms: of_sorted(&latencies, 0.95),
            failed_requests_rate: if requests > 0.0 { failed / requests } else { 0.0 },
            vus: latest.vus,
        })
    }
}

impl Latest {
    /// Returns the room of one second; none for one that is over.
    fn second(&mut self, second: i64) -> Option<&mut Second> {
        if self.seconds.back().is_none_or(|last| last.second < second) {
            self.seconds.push_back(Second { second, ..Second::default() });
            while self.seconds.front().is_some_and(|first| first.second + (SECONDS as i64) < second) {
                self.seconds.pop_front();
            }
        }
        self.seconds.iter_mut().rev().find(|known| known.second == second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_whole_seconds_count() {
        let mut latest = Latest::default();
        for second in 0..10 {
            let room = latest.second(second).unwrap();
            room.requests = if second == 9 { 1.0 } else { 20.0 };
            room.failed = 2.0;
            room.latencies_ms = vec![10.0, second as f64];
        }
        assert!(latest.second(2).is_none());
        let live = Live { latest: Mutex::new(latest), ..Live::default() };
        let figures = live.figures().unwrap();
        assert_eq!((figures.requests_per_second, figures.failed_requests_rate), (20.0, 0.1));
        assert_eq!(figures.p95_ms, Some(10.0));
        assert_eq!(Live::default().figures(), None);
    }
}
