//! A run over time as the judgement and the pictures need it: one frame a step and series, in bounded memory.
//!
//! A step is one second at first. When a run has more frames than `FRAMES_MAX`, or takes more room, two steps become one,
//! and again, so that a soak of days needs no more room than an hour.

use std::collections::{BTreeMap, HashMap};

use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::stats::sketch::Sketch;

use super::aggregate::Window;

/// Some 170 bytes each, three an endpoint: an hour of five endpoints by the second, of eighty by 16 seconds. More would make
/// the memory of an analysis grow with the length of the run.
const FRAMES_MAX: usize = 60_000;
/// Of all sketches together.
const SKETCH_BYTES_MAX: usize = 12 << 20;
/// A longer run, or a clock that jumps by years, has longer steps.
const STEPS_MAX: i64 = 8_192;

/// Parts of `http_req_duration`, and what counts bytes: neither is judged, nor drawn.
pub const LEFT_OUT: [&str; 9] = [
    "http_req_blocked",
    "http_req_connecting",
    "http_req_tls_handshaking",
    "http_req_sending",
    "http_req_waiting",
    "http_req_receiving",
    "group_duration",
    "data_sent",
    "data_received",
];

/// The samples of one series in one step.
#[derive(Debug, Clone, Default, PartialEq)]
struct Frame {
    count: u64,
    nonzero_count: u64,
    sum: f64,
    /// Of the latest window.
    last: f64,
    /// Of a trend, as `stats::sketch` writes it; else empty.
    sketch: Vec<u8>,
}

impl Frame {
    fn of(window: &Window) -> Frame {
        Frame {
            count: window.count,
            nonzero_count: window.nonzero_count,
            sum: window.sum,
            last: window.last,
            sketch: window.sketch.clone().unwrap_or_default(),
        }
    }

    /// Adds a frame of the same step, or of a later one.
    fn merge(&mut self, later: &Frame) {
        self.count += later.count;
        self.nonzero_count += later.nonzero_count;
        self.sum += later.sum;
        self.last = later.last;
        if self.sketch.is_empty() {
            self.sketch.clone_from(&later.sketch);
        } else if !later.sketch.is_empty() {
            let mut sketch = self.sketch();
            sketch.merge_bytes(&later.sketch).expect("a frame's sketch was checked when it came");
            self.sketch = sketch.to_bytes();
        }
    }

    fn sketch(&self) -> Sketch {
        let mut sketch = Sketch::default();
        sketch.merge_bytes(&self.sketch).expect("a frame's sketch was checked when it came");
        sketch
    }
}

/// The samples of some series in some frames that follow each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    pub count: u64,
    pub nonzero_count: u64,
    pub sum: f64,
    pub last: f64,
    pub sketch: Sketch,
}

impl Step {
    fn take(&mut self, frame: &Frame) {
        self.count += frame.count;
        self.nonzero_count += frame.nonzero_count;
        self.sum += frame.sum;
        self.last = frame.last;
        self.sketch.merge_bytes(&frame.sketch).expect("a frame's sketch was checked when it came");
    }

    /// Adds what other series have in the same step.
    pub fn merge(&mut self, other: &Step) {
        self.count += other.count;
        self.nonzero_count += other.nonzero_count;
        self.sum += other.sum;
        self.last = other.last;
        self.sketch.merge(&other.sketch);
    }

    /// Returns the share of samples that are not 0.
    pub fn nonzero_rate(&self) -> f64 {
        self.nonzero_count as f64 / self.count as f64
    }
}

/// The frames of one series. Requests that k6 did not expect to succeed are not in its latency.
#[derive(Debug, Clone)]
pub struct FrameSeries {
    /// Without `expected_response`.
    pub key: SeriesKey,
    /// By step, counted from 1970.
    frames: BTreeMap<i64, Frame>,
}

impl FrameSeries {
    pub fn samples_count(&self) -> u64 {
        self.frames.values().map(|frame| frame.count).sum()
    }
}

/// The frames of one run.
#[derive(Debug, Clone)]
pub struct Frames {
    pub step_seconds: i64,
    series: Vec<FrameSeries>,
    index: HashMap<SeriesKey, usize>,
    /// By the ids that the run gave its series: where their windows go; none for those that are left out.
    places: Vec<Option<Option<usize>>>,
    frames_count: usize,
    sketch_bytes: usize,
    first_step: i64,
    last_step: i64,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            step_seconds: 1,
            series: Vec::new(),
            index: HashMap::new(),
            places: Vec::new(),
            frames_count: 0,
            sketch_bytes: 0,
            first_step: i64::MAX,
            last_step: i64::MIN,
        }
    }
}

impl Frames {
    /// Takes a closed window of the series `key`.
    pub fn add(&mut self, window: &Window, key: &SeriesKey) {
        let id = window.series as usize;
        if self.places.len() <= id {
            self.places.resize(id + 1, None);
        }
        let place = match self.places[id] {
            Some(place) => place,
            None => {
                let place = self.place(key);
                self.places[id] = Some(place);
                place
            }
        };
        let Some(place) = place else { return };
        let step = window.start_ns.div_euclid(self.step_seconds * NANOSECONDS_PER_SECOND);
        self.put(place, step, Frame::of(window));
        while self.is_too_large() {
            self.coarsen();
        }
    }

    /// Returns where the windows of a series go.
    fn place(&mut self, key: &SeriesKey) -> Option<usize> {
        let is_unexpected = key.metric == "http_req_duration" && key.expected_response == Some(false);
        if is_unexpected || LEFT_OUT.contains(&key.metric.as_str()) {
            return None;
        }
        let key = SeriesKey { expected_response: None, ..key.clone() };
        Some(*self.index.entry(key.clone()).or_insert_with(|| {
            self.series.push(FrameSeries { key, frames: BTreeMap::new() });
            self.series.len() - 1
        }))
    }

    fn put(&mut self, place: usize, step: i64, frame: Frame) {
        use std::collections::btree_map::Entry;
        self.first_step = self.first_step.min(step);
        self.last_step = self.last_step.max(step);
        match self.series[place].frames.entry(step) {
            Entry::Vacant(entry) => {
                self.frames_count += 1;
                self.sketch_bytes += frame.sketch.len();
                entry.insert(frame);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                self.sketch_bytes -= known.sketch.len();
                known.merge(&frame);
                self.sketch_bytes += known.sketch.len();
            }
        }
    }

    fn is_too_large(&self) -> bool {
        let has_more_than_one_step = self.last_step > self.first_step;
        let span = self.last_step.saturating_sub(self.first_step);
        has_more_than_one_step
            && (self.frames_count > FRAMES_MAX || self.sketch_bytes > SKETCH_BYTES_MAX || span >= STEPS_MAX)
    }

    /// Makes one step of two.
    fn coarsen(&mut self) {
        self.step_seconds *= 2;
        (self.frames_count, self.sketch_bytes) = (0, 0);
        (self.first_step, self.last_step) = (i64::MAX, i64::MIN);
        for place in 0..self.series.len() {
            for (step, frame) in std::mem::take(&mut self.series[place].frames) {
                self.put(place, step.div_euclid(2), frame);
            }
        }
    }

    /// Returns when the first step starts, in nanoseconds since 1970; none when there is no frame.
    pub fn start_ns(&self) -> Option<i64> {
        let step_ns = self.step_seconds * NANOSECONDS_PER_SECOND;
        (self.frames_count > 0).then(|| self.first_step.saturating_mul(step_ns))
    }

    /// Returns when a step begins; without any frame, as if the run had begun in 1970.
    pub fn time(&self, step: usize) -> Timestamp {
        let nanoseconds = (step as i64).saturating_mul(self.step_seconds * NANOSECONDS_PER_SECOND);
        Timestamp(self.start_ns().unwrap_or_default().saturating_add(nanoseconds))
    }

    /// From the first frame to the last, those without a sample included.
    pub fn steps_count(&self) -> usize {
        if self.frames_count == 0 { 0 } else { (self.last_step - self.first_step + 1) as usize }
    }

    pub fn series(&self) -> &[FrameSeries] {
        &self.series
    }

    /// Returns the samples of a series, one entry for each `frames_a_step` frames from the first of the run; none where
    /// it has no sample.
    pub fn steps_of(&self, series: &FrameSeries, frames_a_step: usize) -> Vec<Option<Step>> {
        let mut steps: Vec<Option<Step>> = vec![None; self.steps_count().div_ceil(frames_a_step)];
        for (step, frame) in &series.frames {
            let index = (step - self.first_step) as usize / frames_a_step;
            steps[index].get_or_insert_default().take(frame);
        }
        steps
    }

    /// Adds up the steps of several series, one after the other: decoded, all of them would take many times their room.
    pub fn steps_together(&self, frames_a_step: usize, is_its: impl Fn(&FrameSeries) -> bool) -> Vec<Option<Step>> {
        let mut sum: Vec<Option<Step>> = vec![None; self.steps_count().div_ceil(frames_a_step)];
        for series in self.series.iter().filter(|series| is_its(series)) {
            for (sum, step) in sum.iter_mut().zip(self.steps_of(series, frames_a_step)) {
                match (&mut *sum, step) {
                    (Some(sum), Some(step)) => sum.merge(&step),
                    (None, Some(step)) => *sum = Some(step),
                    (_, None) => {}
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sketch::bytes_of_sorted;

    fn window(second: i64, series: u32, values: &[f64]) -> Window {
        Window {
            start_ns: second * NANOSECONDS_PER_SECOND,
            series,
            count: values.len() as u64,
            sum: values.iter().sum(),
            min: 0.0,
            max: 0.0,
            last: *values.last().unwrap(),
            nonzero_count: values.iter().filter(|value| **value != 0.0).count() as u64,
            percentiles: None,
            sketch: Some(bytes_of_sorted(values)),
        }
    }

    fn key(metric: &str, expected_response: Option<bool>) -> SeriesKey {
        SeriesKey { expected_response, ..SeriesKey::whole(metric) }
    }

    #[test]
    fn gaps_stay_and_parts_of_a_request_go() {
        let mut frames = Frames::default();
        frames.add(&window(10, 0, &[1.0, 2.0]), &key("http_req_duration", Some(true)));
        frames.add(&window(13, 0, &[4.0]), &key("http_req_duration", Some(true)));
        frames.add(&window(10, 1, &[9.0]), &key("http_req_duration", Some(false)));
        frames.add(&window(9, 2, &[9.0]), &key("http_req_waiting", None));
        assert_eq!((frames.start_ns(), frames.steps_count()), (Some(10 * NANOSECONDS_PER_SECOND), 4));
        let counts = |steps: Vec<Option<Step>>| -> Vec<Option<u64>> {
            steps.iter().map(|step| Some(step.as_ref()?.count)).collect()
        };
        assert_eq!(frames.series().len(), 1);
        assert_eq!(counts(frames.steps_of(&frames.series()[0], 1)), [Some(2), None, None, Some(1)]);
        assert_eq!(counts(frames.steps_of(&frames.series()[0], 3)), [Some(2), Some(1)]);
        frames.add(&window(11, 3, &[7.0]), &key("http_reqs", None));
        assert_eq!(counts(frames.steps_together(3, |_| true)), [Some(3), Some(1)]);
        assert_eq!(counts(frames.steps_together(3, |series| series.key.metric == "http_reqs")), [Some(1), None]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_loses_nothing() {
        let mut frames = Frames::default();
        for second in -5..3 * STEPS_MAX {
            frames.add(&window(second, 0, &[1.0, 3.0]), &key("http_req_duration", None));
        }
        assert_eq!(frames.step_seconds, 4);
        let steps = frames.steps_of(&frames.series()[0], 1);
        assert!(steps.len() as i64 <= STEPS_MAX);
        assert_eq!(steps.iter().flatten().map(|step| step.count).sum::<u64>(), 2 * (3 * STEPS_MAX as u64 + 5));
        assert_eq!(steps[10].as_ref().unwrap().sketch.quantile(1.0).map(f64::round), Some(3.0));
    }

    #[test]
    fn a_clock_that_jumps_by_centuries_ends() {
        let mut frames = Frames::default();
        for second in [0, 9_000_000_000, -9_000_000_000] {
            frames.add(&window(second, 0, &[1.0]), &key("vus", None));
        }
        assert_eq!(frames.steps_of(&frames.series()[0], 1).iter().flatten().count(), 3);
    }
}
