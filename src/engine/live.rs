//! What a run looks like just now: the figures of its last seconds, for those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::time::NANOSECONDS_PER_SECOND;
use crate::stats::quantile::of_sorted;
use crate::tables::aggregate::Aggregate;
use crate::tables::samples::SampleBlock;

/// k6 flushes some times a second, so the second at hand is never whole: some whole ones steady the figures.
const SECONDS: usize = 5;
/// Seconds of which each endpoint's course is remembered.
const COURSE_SECONDS: usize = 60;
/// Endpoints that are watched by themselves: the first that come.
const ENDPOINTS_MAX: usize = 100;

/// Shared between the reader, who writes, and whoever paints.
#[derive(Debug, Default)]
pub struct Live {
    latest: Mutex<Latest>,
    pub samples_count: AtomicU64,
    pub rejected_lines_count: AtomicU64,
    /// Windows that samples opened again which came too late.
    pub late_windows_count: AtomicU64,
    pub open_windows_count: AtomicU64,
}

#[derive(Debug, Default)]
struct Latest {
    whole: Course,
    vus: Option<f64>,
    /// By method and name.
    endpoints: BTreeMap<String, Course>,
    /// By cell: what its samples tell, and of which endpoint.
    cells: Vec<Option<(Told, Option<String>)>>,
}

/// What the samples of a cell tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Vus,
    Requests,
    Failed,
    Latency,
}

/// By second, oldest first.
#[derive(Debug, Default)]
struct Course {
    seconds: VecDeque<Second>,
    requests_count: f64,
    failed_count: f64,
}

#[derive(Debug, Default)]
struct Second {
    second: i64,
    requests: f64,
    failed: f64,
    latencies_ms: Vec<f64>,
    /// Of a second that is over.
    p95_ms: Option<f64>,
}

/// The last whole seconds of a run, or of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveFigures {
    pub requests_per_second: f64,
    pub p95_ms: Option<f64>,
    /// 0 to 1.
    pub failed_requests_rate: f64,
    pub vus: Option<f64>,
}

/// An endpoint as it is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveEndpoint {
    pub name: String,
    pub requests_count: f64,
    pub figures: LiveFigures,
    /// By second, oldest first; none in one without a request.
    pub p95_ms: Vec<Option<f64>>,
}

impl Live {
    fn lock(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a block; `cells`: of its samples.
    pub fn add(&self, block: &SampleBlock, cells: &[u32], aggregate: &Aggregate) {
        self.samples_count.fetch_add(block.rows() as u64, Ordering::Relaxed);
        self.rejected_lines_count.fetch_add(block.rejections_count, Ordering::Relaxed);
        self.late_windows_count.store(aggregate.reopened_count, Ordering::Relaxed);
        self.open_windows_count.store(aggregate.open_windows_count() as u64, Ordering::Relaxed);
        let Latest { whole, vus, endpoints, cells: known } = &mut *self.lock();
        for cell in known.len()..aggregate.cells.len() {
            known.push(told(aggregate, cell));
        }
        for ((time_ns, value), cell) in block.times_ns.iter().zip(&block.values).zip(cells) {
            let Some((told, endpoint)) = &known[*cell as usize] else { continue };
            if *told == Told::Vus {
                *vus = Some(*value);
                continue;
            }
            let second = time_ns.div_euclid(NANOSECONDS_PER_SECOND);
            whole.add(second, *told, *value, SECONDS);
            if let Some(name) = endpoint {
                if let Some(course) = endpoints.get_mut(name) {
                    course.add(second, *told, *value, COURSE_SECONDS);
                } else if endpoints.len() < ENDPOINTS_MAX {
                    endpoints.entry(name.clone()).or_default().add(second, *told, *value, COURSE_SECONDS);
                }
            }
        }
    }

    /// Returns the figures of the last whole seconds; none before there is one.
    pub fn figures(&self) -> Option<LiveFigures> {
        let latest = self.lock();
        latest.whole.figures(latest.whole.newest()?).map(|figures| LiveFigures { vus: latest.vus, ..figures })
    }

    /// Returns the endpoints, the one with the most requests first.
    pub fn endpoints(&self) -> Vec<LiveEndpoint> {
        let latest = self.lock();
        let Some(newest) = latest.whole.newest() else { return Vec::new() };
        let endpoint = |(name, course): (&String, &Course)| {
            let figures = course.figures(newest)?;
            let (name, requests_count, p95_ms) = (name.clone(), course.requests_count, course.p95s(newest));
            Some(LiveEndpoint { name, requests_count, figures, p95_ms })
        };
        let mut endpoints: Vec<LiveEndpoint> = latest.endpoints.iter().filter_map(endpoint).collect();
        endpoints.sort_by(|one, other| other.requests_count.total_cmp(&one.requests_count));
        endpoints
    }

    /// Returns the part of all requests so far that failed; none before the first.
    pub fn failed_requests_rate(&self) -> Option<f64> {
        let latest = self.lock();
        (latest.whole.requests_count > 0.0).then(|| latest.whole.failed_count / latest.whole.requests_count)
    }
}

fn told(aggregate: &Aggregate, cell: usize) -> Option<(Told, Option<String>)> {
    let cell = &aggregate.cells[cell];
    let told = match &*aggregate.metrics[cell.metric as usize].name {
        "vus" => Told::Vus,
        "http_reqs" => Told::Requests,
        "http_req_failed" => Told::Failed,
        "http_req_duration" => Told::Latency,
        _ => return None,
    };
    let key = &aggregate.series[cell.series as usize];
    let name = key.endpoint.as_ref().map(|name| match &key.method {
        Some(method) => format!("{method} {name}"),
        None => name.clone(),
    });
    Some((told, name))
}

impl Course {
    fn add(&mut self, second: i64, told: Told, value: f64, seconds_max: usize) {
        match told {
            Told::Requests => self.requests_count += value,
            Told::Failed => self.failed_count += value,
            Told::Vus | Told::Latency => {}
        }
        let Some(second) = self.second(second, seconds_max) else { return };
        match told {
            Told::Requests => second.requests += value,
            Told::Failed => second.failed += value,
            Told::Latency => second.latencies_ms.push(value),
            Told::Vus => {}
        }
    }

    /// Returns the room of one second; none for one that is over.
    fn second(&mut self, second: i64, seconds_max: usize) -> Option<&mut Second> {
        if self.seconds.back().is_none_or(|last| last.second < second) {
            // A few more are still filled by late samples; of the others their percentile is enough.
            for over in self.seconds.iter_mut().rev().skip(SECONDS).take_while(|over| over.p95_ms.is_none()) {
                over.p95_ms = p95(&mut over.latencies_ms);
                over.latencies_ms = Vec::new();
            }
            self.seconds.push_back(Second { second, ..Second::default() });
            while self.seconds.front().is_some_and(|first| first.second.saturating_add(seconds_max as i64) < second) {
                self.seconds.pop_front();
            }
        }
        self.seconds.iter_mut().rev().take(SECONDS + 1).find(|known| known.second == second)
    }

    fn newest(&self) -> Option<i64> {
        self.seconds.back().map(|second| second.second)
    }

    /// Returns the figures of the last whole seconds before `newest`; none where there is none.
    fn figures(&self, newest: i64) -> Option<LiveFigures> {
        let first = newest.saturating_sub(SECONDS as i64);
        let whole = || self.seconds.iter().filter(|second| (first..newest).contains(&second.second));
        let began = self.seconds.front()?.second.max(first);
        let span = newest.checked_sub(began).filter(|span| *span > 0)?;
        let requests: f64 = whole().map(|second| second.requests).sum();
        let failed: f64 = whole().map(|second| second.failed).sum();
        let mut latencies: Vec<f64> = whole().flat_map(|second| second.latencies_ms.iter().copied()).collect();
        Some(LiveFigures {
            requests_per_second: requests / span as f64,
            p95_ms: p95(&mut latencies),
            failed_requests_rate: if requests > 0.0 { failed / requests } else { 0.0 },
            vus: None,
        })
    }

    fn p95s(&self, newest: i64) -> Vec<Option<f64>> {
        let mut p95s = vec![None; COURSE_SECONDS];
        for second in &self.seconds {
            let back = newest.saturating_sub(second.second);
            if (1..=COURSE_SECONDS as i64).contains(&back) {
                let own = second.p95_ms.or_else(|| p95(&mut second.latencies_ms.clone()));
                p95s[COURSE_SECONDS - back as usize] = own;
            }
        }
        p95s
    }
}

fn p95(latencies_ms: &mut [f64]) -> Option<f64> {
    latencies_ms.sort_unstable_by(f64::total_cmp);
    of_sorted(latencies_ms, 0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_whole_seconds_count() {
        let mut course = Course::default();
        for second in 0..10 {
            course.add(second, Told::Requests, if second == 9 { 1.0 } else { 20.0 }, SECONDS);
            course.add(second, Told::Failed, 2.0, SECONDS);
            course.add(second, Told::Latency, 10.0, SECONDS);
            course.add(second, Told::Latency, second as f64, SECONDS);
        }
        assert!(course.second(2, SECONDS).is_none());
        let live = Live { latest: Mutex::new(Latest { whole: course, ..Latest::default() }), ..Live::default() };
        let figures = live.figures().unwrap();
        assert_eq!((figures.requests_per_second, figures.failed_requests_rate), (20.0, 0.1));
        assert_eq!(figures.p95_ms, Some(10.0));
        assert_eq!(live.failed_requests_rate(), Some(20.0 / 181.0));
        assert_eq!(Live::default().figures(), None);
    }

    #[test]
    fn a_course_remembers_a_minute_and_its_gaps() {
        let mut course = Course::default();
        for second in (0..200).filter(|second| second % 10 != 5) {
            course.add(second, Told::Latency, second as f64, COURSE_SECONDS);
            // Late samples are of their own second.
            course.add(second - 1, Told::Latency, 1000.0, COURSE_SECONDS);
        }
        let p95s = course.p95s(199);
        assert_eq!(p95s.len(), COURSE_SECONDS);
        assert_eq!(p95s.iter().filter(|p95| p95.is_none()).count(), 6);
        assert!(p95s[COURSE_SECONDS - 1].is_some_and(|p95| p95 > 900.0), "{p95s:?}");
    }
}
