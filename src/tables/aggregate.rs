//! Samples in, windows and cells out: 1 s x series, closed by k6's timestamps, and the whole run by cell.
//!
//! A cell is the finest group that any figure of a report asks for: a series, split by HTTP status and by sub-metric.
//! Run-level figures are unions of cells, so nothing needs the samples again but the percentiles (`selection`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::model::metric::{Contains, MetricDeclaration, MetricKind, Submetric, ThresholdSource, builtin};
use crate::model::series::SeriesKey;
use crate::model::tags::TagSet;
use crate::model::time::NANOSECONDS_PER_SECOND;
use crate::stats::histogram::Histogram;
use crate::stats::quantile::of_sorted;
use crate::stats::sketch;
use crate::stats::sum::Sum;

use super::samples::Label;
use super::spill::Spill;

/// How long a window stays open for late samples: far more than k6's flush of 200 ms, and than a busy generator's delay.
pub const LATENESS_NS: i64 = 10 * NANOSECONDS_PER_SECOND;

/// Bounds on what an input can make us remember. What comes beyond them is put together under `OTHER` and counted.
pub const METRICS_MAX: usize = 1_000;
pub const ENDPOINTS_MAX: usize = 500;
pub const CELLS_MAX: usize = 20_000;
/// Samples in open windows, 12 bytes each.
const OPEN_SAMPLES_MAX: usize = 2_000_000;
pub const OTHER: &str = "(other)";
/// Closed windows whose memory is used again: as many as are open in a run whose samples are on time, and a few more.
const SPARE_WINDOWS_MAX: usize = 16;

/// What the run says of one metric.
#[derive(Debug)]
pub struct MetricState {
    pub name: Arc<str>,
    /// None while no line and no knowledge of k6's own metrics tells.
    pub kind: Option<MetricKind>,
    pub contains: Contains,
    pub thresholds: Vec<ThresholdSource>,
    pub submetrics: Vec<Submetric>,
    /// A `Metric` line, a summary or the user told its sub-metrics, so cells need not keep their tags.
    is_declared: bool,
    has_samples: bool,
}

/// Which sub-metrics the samples of a cell belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Membership {
    /// Indices into `MetricState::submetrics`, ascending.
    Of(Vec<u32>),
    /// The metric was not declared yet: decided at the end, by the tags.
    ByTags(Arc<TagSet>),
    /// Too many tag sets came before the declaration.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CellKey {
    series: u32,
    membership: Membership,
    /// Of requests only.
    status: Option<Arc<str>>,
    /// Of VU gauges only: the VUs of pods add up.
    source: Option<u32>,
}

/// The samples of one cell over the whole run.
#[derive(Debug)]
pub struct Cell {
    pub series: u32,
    pub metric: u32,
    pub status: Option<Arc<str>>,
    membership: Membership,
    pub count: u64,
    pub sum: Sum,
    pub min: f64,
    pub max: f64,
    pub nonzero_count: u64,
    /// The last in the order of windows, then of lines; and the window that it is from.
    pub last: f64,
    pub last_window_ns: i64,
    /// Of trends, and of metrics whose kind is not known yet.
    pub histogram: Histogram,
}

/// One series in one second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    pub start_ns: i64,
    pub series: u32,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub last: f64,
    pub nonzero_count: u64,
    /// p50, p90, p95, p99; none unless a trend.
    pub percentiles: Option<[f64; 4]>,
    /// Of the values, as `sketch::bytes_of_sorted` writes it; none unless a trend.
    pub sketch: Option<Vec<u8>>,
}

pub const WINDOW_PERCENTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// The load in one second, for the rule that finds the steady phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    pub vus: Option<f64>,
    pub iterations: f64,
}

/// The samples of one second in the order of their lines, as columns of equal length.
#[derive(Debug, Default)]
struct OpenWindow {
    cells: Vec<u32>,
    values: Vec<f64>,
}

/// Room for the samples of a window, by cell; used again for each.
#[derive(Debug, Default)]
struct Grouping {
    /// By cell: samples in this window, then where the next of them goes. All zero between two windows.
    places: Vec<u32>,
    cells: Vec<u32>,
    values: Vec<f64>,
    sorted: Vec<f64>,
}

/// Everything that is remembered of a run while its samples go by.
#[derive(Debug, Default)]
pub struct Aggregate {
    pub metrics: Vec<MetricState>,
    metric_index: HashMap<Arc<str>, u32>,
    pub series: Vec<SeriesKey>,
    series_index: HashMap<SeriesKey, u32>,
    endpoints: HashSet<String>,
    pub cells: Vec<Cell>,
    cell_index: HashMap<CellKey, u32>,
    /// Labels that were put under `OTHER`, and the first few of them.
    pub overflow_count: u64,
    pub overflow_examples: Vec<String>,
    open: BTreeMap<i64, OpenWindow>,
    open_samples: usize,
    spare: Vec<OpenWindow>,
    grouping: Grouping,
    closed_until: Option<i64>,
    /// Windows that had to be opened again, because samples came later than `LATENESS_NS`.
    pub reopened_count: u64,
    pub values: Spill,
    pub load: BTreeMap<i64, Load>,
    pub(super) sources_count: u32,
    pub first_ns: Option<i64>,
    pub last_ns: Option<i64>,
}

impl Aggregate {
    /// `sources_count`: inputs of the run, such as the pods of an operator.
    pub fn new(sources_count: u32) -> Aggregate {
        Aggregate { sources_count, ..Aggregate::default() }
    }

    /// Takes what a `Metric` line, a summary or the user says of a metric; the first word on its kind stands.
    ///
    /// Returns what does not fit what was said or seen before.
    pub fn declare(&mut self, declaration: &MetricDeclaration) -> Result<(), String> {
        let index = self.metric(&declaration.name);
        let state = &mut self.metrics[index as usize];
        if let Some(kind) = state.kind.filter(|kind| *kind != declaration.kind) {
            let (name, new) = (&declaration.name, declaration.kind.name());
            return Err(format!(
                "metric {name} is declared a {new}, but was a {} before: the first kind stays",
                kind.name()
            ));
        }
        state.kind = Some(declaration.kind);
        state.contains = declaration.contains;
        for threshold in &declaration.thresholds {
            if !state.thresholds.iter().any(|known| known.expression == threshold.expression) {
                state.thresholds.push(threshold.clone());
            }
        }
        let mut late = Vec::new();
        for submetric in &declaration.submetrics {
            if state.submetrics.iter().any(|known| known.tags == submetric.tags) {
                continue;
            }
            if state.is_declared && state.has_samples {
                late.push(submetric.name.clone());
                continue;
            }
            state.submetrics.push(submetric.clone());
        }
        state.is_declared = true;
        if late.is_empty() {
            return Ok(());
        }
        Err(format!("sub-metric {} is declared after samples of another declaration: not evaluated", late.join(", ")))
    }

    /// Returns the cell of samples with this label from this source (from 0).
    pub fn cell_of(&mut self, label: &Label, source: u32) -> u32 {
        let metric = self.metric(&label.metric);
        let series = self.series_of(metric, label);
        let state = &mut self.metrics[metric as usize];
        state.has_samples = true;
        let membership = if state.is_declared {
            let fits = |(_, submetric): &(usize, &Submetric)| label.tags.contains_all(&submetric.tags);
            Membership::Of(state.submetrics.iter().enumerate().filter(fits).map(|(index, _)| index as u32).collect())
        } else {
            Membership::ByTags(label.tags.clone())
        };
        let is_requests = &*state.name == "http_reqs";
        let is_vus = matches!(&*state.name, "vus" | "vus_max");
        let status = label.tags.non_empty("status").filter(|_| is_requests).map(Arc::from);
        let mut key = CellKey { series, membership, status, source: is_vus.then_some(source) };
        if self.cells.len() >= CELLS_MAX && !self.cell_index.contains_key(&key) {
            key = CellKey {
                series: self.other_series(metric),
                membership: Membership::Unknown,
                status: None,
                source: None,
            };
        }
        if let Some(index) = self.cell_index.get(&key) {
            return *index;
        }
        let index = self.cells.len() as u32;
        self.cells.push(Cell {
            series: key.series,
            metric,
            status: key.status.clone(),
            membership: key.membership.clone(),
            count: 0,
            sum: Sum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            nonzero_count: 0,
            last: 0.0,
            last_window_ns: i64::MIN,
            histogram: Histogram::default(),
        });
        self.cell_index.insert(key, index);
        index
    }

    /// Takes samples: columns of equal length.
    pub fn push(&mut self, times_ns: &[i64], cells: &[u32], values: &[f64]) {
        let mut row = 0;
        while row < times_ns.len() {
            let start = window_start(times_ns[row]);
            let end = start.saturating_add(NANOSECONDS_PER_SECOND);
            let is_within = |time: &&i64| (start..end).contains(*time);
            // The last second that i64 holds has no end within it.
            let length = times_ns[row..].iter().take_while(is_within).count().max(1);
            let rows = row..row + length;
            let window = match self.open.entry(start) {
                Entry::Occupied(window) => window.into_mut(),
                Entry::Vacant(place) => {
                    self.reopened_count += u64::from(self.closed_until.is_some_and(|until| start < until));
                    place.insert(self.spare.pop().unwrap_or_default())
                }
            };
            window.cells.extend_from_slice(&cells[rows.clone()]);
            window.values.extend_from_slice(&values[rows.clone()]);
            self.open_samples += length;
            let (first, last) = (times_ns[rows.clone()].iter().min(), times_ns[rows].iter().max());
            self.first_ns = self.first_ns.into_iter().chain(first.copied()).min();
            self.last_ns = self.last_ns.max(last.copied());
            row += length;
        }
    }

    /// Closes the windows that end `LATENESS_NS` before `watermark_ns`, and the oldest when too much is open.
    pub fn close_until(&mut self, watermark_ns: i64, windows: &mut Vec<Window>) -> io::Result<()> {
        let until = window_start(watermark_ns.saturating_sub(LATENESS_NS));
        while let Some((&start, _)) = self.open.first_key_value() {
            if start >= until && self.open_samples <= OPEN_SAMPLES_MAX {
                break;
            }
            self.close_first(windows)?;
        }
        Ok(())
    }

    /// Returns the open windows that end at `until_ns` or before, as they are now: more of their samples may come.
    pub fn open_until(&self, until_ns: i64) -> Vec<Window> {
        let mut windows = Vec::new();
        for (start_ns, window) in self.open.range(..window_start(until_ns)) {
            // By series, then by cell, in the order of the lines.
            let mut by_series: BTreeMap<u32, BTreeMap<u32, Vec<f64>>> = BTreeMap::new();
            for (cell, value) in window.cells.iter().zip(&window.values) {
                by_series.entry(self.series_of_cell(*cell)).or_default().entry(*cell).or_default().push(*value);
            }
            windows.extend(by_series.into_iter().map(|(series, cells)| self.as_it_is(*start_ns, series, &cells)));
        }
        windows
    }

    /// `cells`: at least one, each with a value.
    fn as_it_is(&self, start_ns: i64, series: u32, cells: &BTreeMap<u32, Vec<f64>>) -> Window {
        let metric = cells.keys().next().map_or(0, |cell| self.cells[*cell as usize].metric as usize);
        let mut lasts = cells.values().filter_map(|values| values.last().copied());
        let last = if self.adds_up(metric) { lasts.sum() } else { lasts.next_back().unwrap_or_default() };
        let mut sorted: Vec<f64> = cells.values().flatten().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let nonzero_count = sorted.iter().filter(|value| **value != 0.0).count() as u64;
        let sum = Sum::of(&sorted).value();
        let is_trend = self.keeps_values(metric);
        window_of(&sorted, is_trend, Window { start_ns, series, last, sum, nonzero_count, ..Window::default() })
    }

    fn keeps_values(&self, metric: usize) -> bool {
        matches!(self.metrics[metric].kind, None | Some(MetricKind::Trend))
    }

    /// Says whether the last values of several inputs add up.
    fn adds_up(&self, metric: usize) -> bool {
        matches!(&*self.metrics[metric].name, "vus" | "vus_max")
    }

    pub fn open_windows_count(&self) -> usize {
        self.open.len()
    }

    pub fn close_all(&mut self, windows: &mut Vec<Window>) -> io::Result<()> {
        while !self.open.is_empty() {
            self.close_first(windows)?;
        }
        Ok(())
    }

    fn close_first(&mut self, windows: &mut Vec<Window>) -> io::Result<()> {
        let Some((start_ns, mut window)) = self.open.pop_first() else { return Ok(()) };
        self.open_samples -= window.values.len();
        self.closed_until = self.closed_until.max(Some(start_ns.saturating_add(NANOSECONDS_PER_SECOND)));
        let mut grouping = std::mem::take(&mut self.grouping);
        self.group(&window, &mut grouping);
        let (mut begin, mut rest) = (0, grouping.cells.as_slice());
        while let Some(first) = rest.first() {
            let series = self.series_of_cell(*first);
            let length = rest.iter().take_while(|cell| self.series_of_cell(**cell) == series).count();
            let (cells, others) = rest.split_at(length);
            let ends = cells.iter().map(|cell| grouping.places[*cell as usize] as usize);
            let closed = self.close_series(start_ns, begin, cells, ends, &grouping.values, &mut grouping.sorted)?;
            begin += closed.count as usize;
            windows.push(closed);
            rest = others;
        }
        for cell in grouping.cells.drain(..) {
            grouping.places[cell as usize] = 0;
        }
        self.grouping = grouping;
        window.cells.clear();
        window.values.clear();
        if self.spare.len() < SPARE_WINDOWS_MAX {
            self.spare.push(window);
        }
        Ok(())
    }

    fn series_of_cell(&self, cell: u32) -> u32 {
        self.cells[cell as usize].series
    }

    /// Orders the samples of `window` by series and cell; within a cell they stay in the order of their lines, which the
    /// last value of a gauge needs. Afterwards `places` says where each cell's samples end.
    fn group(&self, window: &OpenWindow, grouping: &mut Grouping) {
        let Grouping { places, cells, values, .. } = grouping;
        places.resize(self.cells.len(), 0);
        for cell in &window.cells {
            let count = &mut places[*cell as usize];
            if *count == 0 {
                cells.push(*cell);
            }
            *count += 1;
        }
        cells.sort_unstable_by_key(|cell| (self.series_of_cell(*cell), *cell));
        let mut begin = 0;
        for cell in &*cells {
            let place = &mut places[*cell as usize];
            begin += std::mem::replace(place, begin);
        }
        values.resize(window.values.len(), 0.0);
        for (cell, value) in window.cells.iter().zip(&window.values) {
            let place = &mut places[*cell as usize];
            values[*place as usize] = *value;
            *place += 1;
        }
    }

    /// Closes one series in one window: its `cells`, whose samples follow each other in `values` from `begin` to `ends`.
    fn close_series(
        &mut self,
        start_ns: i64,
        mut begin: usize,
        cells: &[u32],
        ends: impl Iterator<Item = usize>,
        values: &[f64],
        sorted: &mut Vec<f64>,
    ) -> io::Result<Window> {
        let metric = self.cells[cells[0] as usize].metric as usize;
        let (keeps_values, adds_up) = (self.keeps_values(metric), self.adds_up(metric));
        let series = self.series_of_cell(cells[0]);
        let (mut last, mut nonzero_count, mut sum) = (0.0, 0, Sum::default());
        sorted.clear();
        for (index, end) in cells.iter().zip(ends) {
            let of_cell = sorted.len();
            sorted.extend_from_slice(&values[begin..end]);
            begin = end;
            let same = &mut sorted[of_cell..];
            let last_of_cell = same[same.len() - 1];
            last = if adds_up { last + last_of_cell } else { last_of_cell };
            same.sort_unstable_by(f64::total_cmp);
            let cell = &mut self.cells[*index as usize];
            cell.count += same.len() as u64;
            cell.min = cell.min.min(same[0]);
            cell.max = cell.max.max(same[same.len() - 1]);
            if start_ns >= cell.last_window_ns {
                (cell.last, cell.last_window_ns) = (last_of_cell, start_ns);
            }
            let nonzero = same.iter().filter(|value| **value != 0.0).count() as u64;
            cell.nonzero_count += nonzero;
            nonzero_count += nonzero;
            let sum_of_cell = Sum::of(same);
            cell.sum.merge(sum_of_cell);
            sum.merge(sum_of_cell);
            if keeps_values {
                cell.histogram.record_sorted(same);
                self.values.append(*index, same)?;
            }
        }
        if cells.len() > 1 {
            sorted.sort_unstable_by(f64::total_cmp);
        }
        note_load(&mut self.load, &self.metrics[metric].name, start_ns, last, sum.value());
        let sum = sum.value();
        Ok(window_of(sorted, keeps_values, Window { start_ns, series, last, sum, nonzero_count, ..Window::default() }))
    }

    /// Says whether the samples of `cell` belong to sub-metric `submetric` of their metric; none when it cannot be known.
    pub fn is_member(&self, cell: &Cell, submetric: usize) -> Option<bool> {
        match &cell.membership {
            Membership::Of(indices) => Some(indices.contains(&(submetric as u32))),
            Membership::ByTags(tags) => {
                Some(tags.contains_all(&self.metrics[cell.metric as usize].submetrics[submetric].tags))
            }
            Membership::Unknown => None,
        }
    }

    /// Returns the metric's index; a new one is made, as far as the bound allows.
    fn metric(&mut self, name: &str) -> u32 {
        if let Some(index) = self.metric_index.get(name) {
            return *index;
        }
        if self.metrics.len() >= METRICS_MAX && name != OTHER {
            self.note_overflow(name);
            return self.metric(OTHER);
        }
        let (kind, contains) = match builtin(name) {
            Some((kind, contains)) => (Some(kind), contains),
            None => (None, Contains::Default),
        };
        let (name, index) = (Arc::<str>::from(name), self.metrics.len() as u32);
        self.metrics.push(MetricState {
            name: name.clone(),
            kind,
            contains,
            thresholds: Vec::new(),
            submetrics: Vec::new(),
            is_declared: false,
            has_samples: false,
        });
        self.metric_index.insert(name, index);
        index
    }

    fn series_of(&mut self, metric: u32, label: &Label) -> u32 {
        let name = self.metrics[metric as usize].name.clone();
        let mut key = SeriesKey::of(&name, &label.tags);
        if let Some(endpoint) = &key.endpoint
            && !self.endpoints.contains(endpoint)
        {
            if self.endpoints.len() < ENDPOINTS_MAX {
                self.endpoints.insert(endpoint.clone());
            } else {
                self.note_overflow(endpoint);
                key.endpoint = Some(OTHER.to_owned());
            }
        }
        if self.series.len() >= CELLS_MAX && !self.series_index.contains_key(&key) {
            self.note_overflow(key.check.as_deref().or(key.endpoint.as_deref()).unwrap_or(&name));
            return self.other_series(metric);
        }
        self.intern_series(key)
    }

    fn other_series(&mut self, metric: u32) -> u32 {
        let metric = self.metrics[metric as usize].name.to_string();
        let endpoint = Some(OTHER.to_owned());
        let (method, scenario, group, check) = (None, None, None, None);
        self.intern_series(SeriesKey { metric, endpoint, method, scenario, group, expected_response: None, check })
    }

    fn intern_series(&mut self, key: SeriesKey) -> u32 {
        if let Some(index) = self.series_index.get(&key) {
            return *index;
        }
        let index = self.series.len() as u32;
        self.series.push(key.clone());
        self.series_index.insert(key, index);
        index
    }

    fn note_overflow(&mut self, what: &str) {
        self.overflow_count += 1;
        if self.overflow_examples.len() < 5 {
            self.overflow_examples.push(what.chars().take(120).collect());
        }
    }
}

/// Fills a window with what its values tell in their order. `sorted`: ascending, not empty.
fn window_of(sorted: &[f64], is_trend: bool, window: Window) -> Window {
    let percentile = |p: &f64| of_sorted(sorted, *p).unwrap_or(f64::NAN);
    Window {
        count: sorted.len() as u64,
        min: sorted[0],
        max: sorted[sorted.len() - 1],
        percentiles: is_trend.then(|| WINDOW_PERCENTILES.each_ref().map(percentile)),
        sketch: is_trend.then(|| sketch::bytes_of_sorted(sorted)),
        ..window
    }
}

/// Adds what a window of `metric` says of the load: `last` and `sum` of its values.
pub fn note_load(load: &mut BTreeMap<i64, Load>, metric: &str, start_ns: i64, last: f64, sum: f64) {
    match metric {
        "vus" => load.entry(start_ns).or_default().vus = Some(last),
        "iterations" => load.entry(start_ns).or_default().iterations += sum,
        _ => {}
    }
}

fn window_start(time_ns: i64) -> i64 {
    // Saturating: the second in which i64 begins starts before it.
    time_ns.saturating_sub(time_ns.rem_euclid(NANOSECONDS_PER_SECOND))
}
