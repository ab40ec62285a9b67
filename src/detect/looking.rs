//! The live judgement: a run that is read while it goes on, looked at after every window, beside the earlier runs of its test.
//!
//! Latencies are looked at by the blocks that the history keeps, so that warm-up and stages meet their like; failures after
//! every second, but in a block that always has some only at its end. A run has one chance of a false alarm, `CHANCE`, over all
//! looks and series: each series has a share of it, so that the sum of all e-values is one of the run (`stats::sequential`,
//! `stats::failure_evidence`), and whichever crosses alone is told.
//!
//! The earlier runs are those of the newest kind, since nobody knows how long this one will last. It is looked at for as long
//! as its load is theirs. A run that is abandoned is only looked at less often.

mod grid;
mod load;
mod part;

use std::collections::BTreeMap;

use crate::model::early_finding::EarlyFinding;
use crate::model::finding::{Direction, Finding, FindingKind, SeriesReference};
use crate::model::metric::Unit;
use crate::model::report::AnalysisReport;
use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::tables::aggregate::Window;

use super::finding_id::finding_id;
use super::history::{PastRun, RUNS_MIN};
use grid::{Grid, series_of};
use load::Load;
pub use load::LoadBy;
use part::{Crossed, Part, Told};

/// Besides the whole run, the endpoints with the most requests: each costs the others some of their chance.
const ENDPOINTS_MAX: usize = 4;
/// Shares of the chance of a false alarm. The level of the whole run differs most from run to run, so it needs the most; new
/// failures are found with any share.
const SHARE_OF_FAILURES: f64 = 0.15;
const SHARE_OF_MEDIAN: f64 = 0.5;
const SHARE_OF_TAIL: f64 = 0.1;
/// Of each endpoint's latency and failures. The shares of all add up to 1; where there are fewer series, each gets more.
const SHARE_OF_ENDPOINT_LATENCY: f64 = 0.05;
const SHARE_OF_ENDPOINT_FAILURES: f64 = 0.0125;

/// What the running run is.
#[derive(Debug)]
pub struct Running<'r> {
    pub test: &'r str,
    pub load_by: LoadBy,
    /// k6 tells the latency of the requests that were expected to succeed apart, so that the report does, too.
    pub is_expected_apart: bool,
}

/// A running run beside its history.
#[derive(Debug)]
pub struct Looking {
    test: String,
    runs_count: usize,
    block_seconds: i64,
    blocks_count: usize,
    load: Load,
    /// The whole run, then its endpoints.
    parts: Vec<Part>,
    /// By the ids that the run gave its series: what their windows are part of.
    places: Vec<Option<Place>>,
    /// Since 1970.
    first_second: Option<i64>,
    second: i64,
    block: usize,
    /// The run's load was another one, or it is longer than its history.
    has_ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Latency,
    Failures,
    Load,
}

/// Where the windows of a series go.
#[derive(Debug, Clone, Copy)]
struct Place {
    what: What,
    /// Index into the parts, besides the whole.
    endpoint: Option<usize>,
}

impl Looking {
    /// Returns what looks at a run beside `past`; none where fewer than `RUNS_MIN` of these runs have requests.
    ///
    /// `past`: oldest first, of about one duration, none of them regressed.
    pub fn of(past: &[PastRun], running: &Running) -> Option<Looking> {
        let whole = SeriesKey::whole("http_req_duration");
        let fit: Vec<&PastRun> = past.iter().filter(|run| series_of(run, &whole).is_some()).collect();
        if fit.len() < RUNS_MIN {
            return None;
        }
        let newest = series_of(fit.last()?, &whole)?;
        let grid = Grid { block_seconds: newest.block_seconds.max(1), blocks_count: newest.blocks.len() };
        let expected = running.is_expected_apart.then(|| ("expected_response".to_owned(), "true".to_owned()));
        let endpoints = largest_endpoints(&fit);
        let of_whole = [SHARE_OF_FAILURES, SHARE_OF_MEDIAN, SHARE_OF_TAIL];
        let of_endpoint = [SHARE_OF_ENDPOINT_FAILURES, SHARE_OF_ENDPOINT_LATENCY, 0.0];
        let sum = of_whole.iter().sum::<f64>() + endpoints.len() as f64 * of_endpoint.iter().sum::<f64>();
        let mut parts = vec![Part::of(&fit, &whole, grid, of_whole.map(|share| share / sum))];
        parts[0].latency.tags.extend(expected);
        parts.extend(endpoints.iter().map(|key| Part::of(&fit, key, grid, of_endpoint.map(|share| share / sum))));
        let looks_at_any = parts.iter().any(|part| !part.figures.is_empty() || part.failures.is_some());
        looks_at_any.then(|| Looking {
            test: running.test.to_owned(),
            runs_count: fit.len(),
            block_seconds: i64::from(grid.block_seconds),
            blocks_count: grid.blocks_count,
            load: Load::of(&fit, running.load_by, grid),
            parts,
            places: Vec::new(),
            first_second: None,
            second: 0,
            block: 0,
            has_ended: false,
        })
    }

    /// Takes closed windows, oldest first, and returns what is known since. `series`: by the ids in the windows.
    ///
    /// The second of the last window is looked at when the next one comes.
    pub fn take(&mut self, windows: &[Window], series: &[SeriesKey]) -> Vec<EarlyFinding> {
        let mut found = Vec::new();
        for window in windows {
            let second = window.start_ns.div_euclid(NANOSECONDS_PER_SECOND);
            if self.first_second.is_none() {
                (self.first_second, self.second) = (Some(second), second);
            }
            if second > self.second {
                found.extend(self.look(second));
                self.second = second;
            }
            if self.has_ended {
                break;
            }
            // What comes later than its window was closed has missed its look.
            if second == self.second {
                self.add(window, series);
            }
        }
        found
    }

    fn add(&mut self, window: &Window, series: &[SeriesKey]) {
        let id = window.series as usize;
        while self.places.len() <= id {
            let place = series.get(self.places.len()).and_then(|key| self.place(key));
            self.places.push(place);
        }
        let Some(place) = self.places[id] else { return };
        if place.what == What::Load {
            self.load.add(window);
        }
        for part in std::iter::once(0).chain(place.endpoint) {
            match place.what {
                What::Latency => self.parts[part].add_latency(window),
                What::Failures => self.parts[part].add_failures(window),
                What::Load => {}
            }
        }
    }

    fn place(&self, key: &SeriesKey) -> Option<Place> {
        let what = match key.metric.as_str() {
            "http_req_duration" if key.expected_response != Some(false) => What::Latency,
            "http_req_failed" => What::Failures,
            "vus" if self.load.by == LoadBy::Vus => What::Load,
            "iterations" | "dropped_iterations" if self.load.by == LoadBy::Iterations => What::Load,
            _ => return None,
        };
        let tags = reference(key).tags;
        let endpoint = self.parts.iter().skip(1).position(|part| part.latency.tags == tags).map(|index| index + 1);
        Some(Place { what, endpoint })
    }

    /// Looks at what came before `next`, the first second of which something is known after it.
    fn look(&mut self, next: i64) -> Vec<EarlyFinding> {
        let mut found = Vec::new();
        let first = self.first_second.unwrap_or(next);
        let ends_at = |block: usize| first + (block as i64 + 1) * self.block_seconds;
        let ends_block = next >= ends_at(self.block);
        let is_usual_load = self.load.is_usual(self.block);
        if ends_block && !is_usual_load {
            self.has_ended = true;
            return found;
        }
        let at = if ends_block { ends_at(self.block) } else { self.second + 1 };
        for part in 0..self.parts.len() {
            // What may be the same change as that of the whole run is told once.
            let whole = if part == 0 { Told::default() } else { self.parts[0].told };
            let may_look = is_usual_load.then_some(ends_block);
            let mut crossed = Vec::new();
            crossed.extend(self.parts[part].look_at_failures(self.block, may_look, whole.failures));
            if ends_block {
                crossed.extend(self.parts[part].look_at_latency(self.block, whole.latency));
            }
            found.extend(crossed.into_iter().map(|crossed| self.early(part, crossed, at)));
        }
        if ends_block {
            self.load.next_block();
            self.block += 1;
            // A pause of the whole run has neither load nor requests: its blocks are gaps.
            while self.block < self.blocks_count && next >= first + (self.block as i64 + 1) * self.block_seconds {
                self.parts
                    .iter_mut()
                    .flat_map(|part| &mut part.figures)
                    .for_each(|figure| figure.windows.push(f64::NAN));
                self.block += 1;
            }
            self.has_ended = self.block >= self.blocks_count;
        }
        found
    }

    fn early(&self, part: usize, crossed: Crossed, at: i64) -> EarlyFinding {
        let part = &self.parts[part];
        let (kind, base, statistic, unit) = match crossed.figure {
            Some(figure) => (FindingKind::Latency, &part.latency, figure.statistic(), Unit::Milliseconds),
            None => (FindingKind::ErrorRate, &part.failure, "rate", Unit::Fraction),
        };
        let series = SeriesReference { statistic: Some(statistic.to_owned()), ..base.clone() };
        // As those that judge the whole run derive it: of a latency without, of failures with the statistic.
        let id = finding_id(&self.test, kind, if crossed.figure.is_some() { base } else { &series }, None);
        let seconds = at - self.first_second.unwrap_or(at);
        EarlyFinding {
            id,
            kind,
            series,
            at: Timestamp(at.saturating_mul(NANOSECONDS_PER_SECOND)),
            after_seconds: seconds as f64,
            windows_count: u32::try_from(seconds).unwrap_or(u32::MAX),
            change: crossed.change,
            unit,
            e_value: crossed.e_value,
            runs_count: self.runs_count as u32,
            confirmed_by: None,
        }
    }
}

/// Returns the endpoints with the most requests that enough runs have, the largest first; none where all requests are of one.
fn largest_endpoints(runs: &[&PastRun]) -> Vec<SeriesKey> {
    let mut endpoints: BTreeMap<&SeriesKey, (usize, u64)> = BTreeMap::new();
    for series in runs.iter().flat_map(|run| &run.blocks) {
        if series.key.metric == "http_req_duration" && series.key.endpoint.is_some() {
            let requests: u64 = series.blocks.iter().flatten().map(|block| block.samples_count).sum();
            let known = endpoints.entry(&series.key).or_default();
            *known = (known.0 + 1, known.1.saturating_add(requests));
        }
    }
    let mut largest: Vec<(&SeriesKey, u64)> = endpoints
        .iter()
        .filter(|(_, (runs, _))| *runs >= RUNS_MIN)
        .map(|(key, (_, requests))| (*key, *requests))
        .collect();
    largest.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let count = if endpoints.len() > 1 { ENDPOINTS_MAX } else { 0 };
    largest.into_iter().take(count).map(|(key, _)| key.clone()).collect()
}

/// Returns a series as the findings name it.
fn reference(key: &SeriesKey) -> SeriesReference {
    let tags = [("name", &key.endpoint), ("method", &key.method), ("scenario", &key.scenario), ("group", &key.group)];
    let tags = tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    SeriesReference { metric: key.metric.clone(), tags: tags.collect(), statistic: None }
}

/// Says of each early finding which finding of the whole run confirms it.
pub fn confirm(report: &mut AnalysisReport) {
    let findings = &report.findings;
    for early in report.early.iter_mut().flatten() {
        let is_same = |series: &SeriesReference| {
            let tags = |series: &SeriesReference| {
                let tags = series.tags.iter().filter(|(name, _)| *name != "expected_response");
                tags.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
            };
            series.metric == early.series.metric && tags(series) == tags(&early.series)
        };
        let confirms = |finding: &&Finding| {
            let is_of_kind =
                finding.kind == early.kind || finding.kind == FindingKind::Drift && early.kind == FindingKind::Latency;
            is_of_kind
                && finding.direction == Direction::Worse
                && (finding.id == early.id || std::iter::once(&finding.series).chain(&finding.also).any(is_same))
        };
        early.confirmed_by = findings.iter().find(confirms).map(|finding| finding.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::blocks::{Block, BlockSeries};
    use crate::stats::draws::Draws;
    use crate::stats::sketch::bytes_of_sorted;

    const SECONDS: i64 = 60;

    fn key(metric: &str, endpoint: &str) -> SeriesKey {
        SeriesKey { endpoint: Some(endpoint.to_owned()), ..SeriesKey::whole(metric) }
    }

    fn keys() -> Vec<SeriesKey> {
        let mut keys: Vec<SeriesKey> = ["http_req_duration", "http_req_failed"]
            .iter()
            .flat_map(|metric| [key(metric, "a"), key(metric, "b")])
            .collect();
        keys.push(SeriesKey::whole("vus"));
        keys
    }

    /// A run of two endpoints, each with 20 requests a second of which `failed` fail.
    fn run(draws: &mut Draws, level: f64, vus: f64, failed: u64) -> Vec<Window> {
        let level = level * (0.02 * draws.normal()).exp();
        let mut windows = Vec::new();
        for second in 0..SECONDS {
            let mut window = |series: u32, count: u64, nonzero_count: u64, sum: f64, sketch: Option<Vec<u8>>| {
                let start_ns = (1_000 + second) * NANOSECONDS_PER_SECOND;
                let (min, max, last) = (0.0, 0.0, 0.0);
                windows.push(Window {
                    start_ns,
                    series,
                    count,
                    sum,
                    min,
                    max,
                    last,
                    nonzero_count,
                    percentiles: None,
                    sketch,
                });
            };
            for endpoint in 0..2 {
                let mut values: Vec<f64> = (0..20).map(|_| level * (0.5 * draws.normal()).exp()).collect();
                values.sort_by(f64::total_cmp);
                window(endpoint, 20, 20, values.iter().sum(), Some(bytes_of_sorted(&values)));
                window(2 + endpoint, 20, failed, failed as f64, None);
            }
            window(4, 1, 1, vus, None);
        }
        windows
    }

    /// As the store keeps it.
    fn past(id: usize, windows: &[Window]) -> PastRun {
        let mut frames = crate::tables::frames::Frames::default();
        windows.iter().for_each(|window| frames.add(window, &keys()[window.series as usize]));
        PastRun {
            id: id.to_string(),
            commit: None,
            started_at: None,
            regressed_since: None,
            ramp: None,
            blocks: crate::tables::blocks::blocks(&frames),
        }
    }

    fn history(draws: &mut Draws, runs: usize) -> Vec<PastRun> {
        (0..runs).map(|id| past(id, &run(draws, 20.0, 10.0, 0))).collect()
    }

    fn looking(past: &[PastRun]) -> Option<Looking> {
        Looking::of(past, &Running { test: "shop", load_by: LoadBy::Vus, is_expected_apart: false })
    }

    #[test]
    fn what_is_told_and_when_nothing_is() {
        let mut draws = Draws::seeded(5);
        let past = history(&mut draws, 8);
        assert!(looking(&past[..RUNS_MIN - 1]).is_none());
        let mut told = |level: f64, vus: f64, failed: u64, seconds: i64| {
            let windows = run(&mut draws, level, vus, failed);
            looking(&past).unwrap().take(&windows[..windows.len() * seconds as usize / SECONDS as usize], &keys())
        };
        assert_eq!(told(20.0, 10.0, 0, SECONDS), Vec::new());
        let slow = told(30.0, 10.0, 0, SECONDS);
        // One change of all endpoints is told once.
        assert_eq!(slow.len(), 1, "{slow:#?}");
        assert!(slow[0].after_seconds <= 20.0 && slow[0].e_value >= 100.0 && slow[0].runs_count == 8, "{slow:#?}");
        assert!(slow[0].change.low < Some(0.5) && slow[0].change.high > Some(0.5), "{slow:#?}");
        let whole = SeriesReference { statistic: None, ..slow[0].series.clone() };
        assert_eq!(slow[0].id, finding_id("shop", FindingKind::Latency, &whole, None));
        // Abandoned before the first look, and with another load.
        assert_eq!(told(30.0, 10.0, 0, 4), Vec::new());
        assert_eq!(told(30.0, 20.0, 1, SECONDS), Vec::new());
        let failing = told(20.0, 10.0, 1, SECONDS);
        assert_eq!(failing.len(), 1, "{failing:#?}");
        assert!(failing[0].kind == FindingKind::ErrorRate && failing[0].windows_count <= 6, "{failing:#?}");
        assert_eq!(failing[0].id, finding_id("shop", FindingKind::ErrorRate, &failing[0].series, None));
    }

    /// As many windows at a time as come; a pause of the whole run, and samples that come too late.
    #[test]
    fn how_windows_come_does_not_matter() {
        let mut draws = Draws::seeded(6);
        let past = history(&mut draws, 8);
        let windows = run(&mut draws, 30.0, 10.0, 0);
        let (all, one_by_one) = (&mut looking(&past).unwrap(), &mut looking(&past).unwrap());
        let single: Vec<EarlyFinding> =
            windows.iter().flat_map(|window| one_by_one.take(std::slice::from_ref(window), &keys())).collect();
        assert_eq!(all.take(&windows, &keys()), single);
        let second = |window: &Window| window.start_ns / NANOSECONDS_PER_SECOND - 1_000;
        let pause: Vec<Window> = windows.iter().filter(|window| !(7..33).contains(&second(window))).cloned().collect();
        assert_eq!(looking(&past).unwrap().take(&pause, &keys()).len(), 1);
        let late = [&windows[25..], &windows[..25]].concat();
        assert_eq!(looking(&past).unwrap().take(&late, &keys()).len(), 1);
        let far = [windows[0].clone(), Window { start_ns: i64::MAX, ..windows[1].clone() }];
        assert_eq!(looking(&past).unwrap().take(&far, &keys()), Vec::new());
    }

    #[test]
    fn hostile_histories_say_nothing_or_something_but_never_fail() {
        let mut draws = Draws::seeded(7);
        let windows = run(&mut draws, 20.0, 10.0, 1);
        let block = |value: f64| {
            Some(Block { samples_count: 1, nonzero_count: u64::MAX, sum: value, percentiles: Some([value; 3]) })
        };
        for blocks in [
            vec![],
            vec![None; 12],
            vec![block(0.0); 12],
            vec![block(f64::NAN), block(-1.0), block(f64::INFINITY)],
            vec![block(f64::MIN_POSITIVE), block(f64::MAX)],
        ] {
            for block_seconds in [0, 1, u32::MAX] {
                let series = |key: SeriesKey| BlockSeries { key, block_seconds, blocks: blocks.clone() };
                let all =
                    ["http_req_duration", "http_req_failed", "vus"].map(|metric| series(SeriesKey::whole(metric)));
                let run = || PastRun {
                    id: String::new(),
                    commit: None,
                    started_at: None,
                    regressed_since: None,
                    ramp: None,
                    blocks: all.to_vec(),
                };
                let past: Vec<PastRun> = (0..5).map(|_| run()).collect();
                if let Some(mut looking) = looking(&past) {
                    let told = looking.take(&windows, &keys());
                    assert!(told.iter().all(|early| early.change.point.is_finite() && early.e_value.is_finite()));
                }
            }
        }
    }
}
