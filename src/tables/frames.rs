//! A run over time as the judgement and the pictures need it: one frame a step and series, in bounded memory.
//!
//! A step is one second at first. When a run has more frames than `FRAMES_MAX`, or takes more room, two steps become one,
//! and again, so that a soak of days needs no more room than an hour.

use std::collections::HashMap;

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
    sketch: Box<[u8]>,
}

impl Frame {
    fn of(window: &Window) -> Frame {
        Frame {
            count: window.count,
            nonzero_count: window.nonzero_count,
            sum: window.sum,
            last: window.last,
            sketch: window.sketch.as_deref().unwrap_or_default().into(),
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
            let mut sketch = Sketch::default();
            for bytes in [&self.sketch, &later.sketch] {
                sketch.merge_bytes(bytes).expect("a frame's sketch was checked when it came");
            }
            self.sketch = sketch.to_bytes().into();
        }
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
    /// By step, counted from 1970, ascending.
    frames: Vec<(i64, Frame)>,
}

impl FrameSeries {
    pub fn samples_count(&self) -> u64 {
        self.frames.iter().map(|(_, frame)| frame.count).sum()
    }

    /// Returns where the frame of `step` is, or would be: nearly always at the end.
    fn find(&self, step: i64) -> Result<usize, usize> {
        match self.frames.last() {
            Some((last, _)) if *last < step => Err(self.frames.len()),
            Some((last, _)) if *last == step => Ok(self.frames.len() - 1),
            _ => self.frames.binary_search_by_key(&step, |(step, _)| *step),
        }
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
    extent: Extent,
}

/// How much the frames of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    frames_count: usize,
    sketch_bytes: usize,
    first_step: i64,
    last_step: i64,
}

const NO_EXTENT: Extent = Extent { frames_count: 0, sketch_bytes: 0, first_step: i64::MAX, last_step: i64::MIN };

impl Default for Frames {
    fn default() -> Frames {
        Frames { step_seconds: 1, series: Vec::new(), index: HashMap::new(), places: Vec::new(), extent: NO_EXTENT }
    }
}

impl Frames {
    /// Takes a closed window of the series `key`.
    pub fn add(&mut self, window: &Window, key: &SeriesKey) {
        let Some(place) = self.place_of(window, key) else { return };
        self.put(place, self.step_of(window), Frame::of(window));
        while self.is_too_large() {
            self.coarsen();
        }
    }

    /// Calls `look` with the frames as they are with `windows` as well, of the given series; afterwards they are as before.
    ///
    /// A copy would double their memory. What is open may go beyond the bounds, but for the number of steps: a clock that
    /// jumps makes the steps longer now, and not when its window is closed.
    pub fn with_open<T>(&mut self, windows: &[(Window, &SeriesKey)], look: impl FnOnce(&Frames) -> T) -> T {
        while self.span_with(windows) >= STEPS_MAX {
            self.coarsen();
        }
        let extent = self.extent;
        let mut before = Vec::new();
        for (window, key) in windows {
            let Some(place) = self.place_of(window, key) else { continue };
            let step = self.step_of(window);
            let series = &self.series[place];
            before.push((place, step, series.find(step).ok().map(|at| series.frames[at].1.clone())));
            self.put(place, step, Frame::of(window));
        }
        let seen = look(self);
        for (place, step, frame) in before.into_iter().rev() {
            let series = &mut self.series[place];
            let at = series.find(step).expect("it was put there");
            match frame {
                Some(frame) => series.frames[at].1 = frame,
                None => drop(series.frames.remove(at)),
            }
        }
        self.extent = extent;
        seen
    }

    /// Returns how far the last step would be from the first.
    fn span_with(&self, windows: &[(Window, &SeriesKey)]) -> i64 {
        let steps = windows.iter().map(|(window, _)| self.step_of(window));
        let (first, last) = steps.fold((self.extent.first_step, self.extent.last_step), |(first, last), step| {
            (first.min(step), last.max(step))
        });
        last.saturating_sub(first)
    }

    fn step_of(&self, window: &Window) -> i64 {
        window.start_ns.div_euclid(self.step_seconds * NANOSECONDS_PER_SECOND)
    }

    /// Returns where a window goes; none where it is left out.
    fn place_of(&mut self, window: &Window, key: &SeriesKey) -> Option<usize> {
        let id = window.series as usize;
        if self.places.len() <= id {
            self.places.resize(id + 1, None);
        }
        if self.places[id].is_none() {
            self.places[id] = Some(self.place(key));
        }
        self.places[id].flatten()
    }

    /// Returns where the windows of a series go.
    fn place(&mut self, key: &SeriesKey) -> Option<usize> {
        let is_unexpected = key.metric == "http_req_duration" && key.expected_response == Some(false);
        if is_unexpected || LEFT_OUT.contains(&key.metric.as_str()) {
            return None;
        }
        let key = SeriesKey { expected_response: None, ..key.clone() };
        Some(*self.index.entry(key.clone()).or_insert_with(|| {
            self.series.push(FrameSeries { key, frames: Vec::new() });
            self.series.len() - 1
        }))
    }

    fn put(&mut self, place: usize, step: i64, frame: Frame) {
        let Frames { series, extent, .. } = self;
        extent.first_step = extent.first_step.min(step);
        extent.last_step = extent.last_step.max(step);
        let series = &mut series[place];
        match series.find(step) {
            Err(at) => {
                extent.frames_count += 1;
                extent.sketch_bytes += frame.sketch.len();
                series.frames.insert(at, (step, frame));
            }
            Ok(at) => {
                let known = &mut series.frames[at].1;
                extent.sketch_bytes -= known.sketch.len();
                known.merge(&frame);
                extent.sketch_bytes += known.sketch.len();
            }
        }
    }

    fn is_too_large(&self) -> bool {
        let Extent { frames_count, sketch_bytes, first_step, last_step } = self.extent;
        let has_more_than_one_step = last_step > first_step;
        let span = self.span_with(&[]);
        has_more_than_one_step && (frames_count > FRAMES_MAX || sketch_bytes > SKETCH_BYTES_MAX || span >= STEPS_MAX)
    }

    /// Makes one step of two.
    fn coarsen(&mut self) {
        self.step_seconds *= 2;
        self.extent = NO_EXTENT;
        for place in 0..self.series.len() {
            for (step, frame) in std::mem::take(&mut self.series[place].frames) {
                self.put(place, step.div_euclid(2), frame);
            }
        }
    }

    /// Returns when the first step starts, in nanoseconds since 1970; none when there is no frame.
    pub fn start_ns(&self) -> Option<i64> {
        let step_ns = self.step_seconds * NANOSECONDS_PER_SECOND;
        (self.extent.frames_count > 0).then(|| self.extent.first_step.saturating_mul(step_ns))
    }

    /// Returns when a step begins; without any frame, as if the run had begun in 1970.
    pub fn time(&self, step: usize) -> Timestamp {
        let nanoseconds = (step as i64).saturating_mul(self.step_seconds * NANOSECONDS_PER_SECOND);
        Timestamp(self.start_ns().unwrap_or_default().saturating_add(nanoseconds))
    }

    /// From the first frame to the last, those without a sample included.
    pub fn steps_count(&self) -> usize {
        let Extent { frames_count, first_step, last_step, .. } = self.extent;
        if frames_count == 0 { 0 } else { (last_step - first_step + 1) as usize }
    }

    pub fn series(&self) -> &[FrameSeries] {
        &self.series
    }

    /// Calls `each` with the samples of some series together, step by step: one step for each `frames_a_step` frames from
    /// the first of the run; none where they have no sample.
    ///
    /// One step is decoded at a time: all of them would take many times the room of the frames.
    pub fn each_step<'f>(
        &'f self,
        frames_a_step: usize,
        series: impl IntoIterator<Item = &'f FrameSeries>,
        mut each: impl FnMut(usize, Option<&Step>),
    ) {
        let mut rest: Vec<&[(i64, Frame)]> = series.into_iter().map(|series| series.frames.as_slice()).collect();
        for step in 0..self.steps_count().div_ceil(frames_a_step) {
            let until = self.extent.first_step + ((step + 1) * frames_a_step) as i64;
            let (mut sum, mut has_frames) = (Step::default(), false);
            for rest in &mut rest {
                while let Some(((at, frame), later)) = rest.split_first()
                    && *at < until
                {
                    has_frames = true;
                    sum.take(frame);
                    *rest = later;
                }
            }
            each(step, has_frames.then_some(&sum));
        }
    }

    /// Returns a figure of each step of one series, as `each_step` tells them.
    pub fn steps_of<T>(
        &self,
        series: &FrameSeries,
        frames_a_step: usize,
        mut figure: impl FnMut(&Step) -> T,
    ) -> Vec<Option<T>> {
        let mut steps = Vec::new();
        self.each_step(frames_a_step, [series], |_, step| steps.push(step.map(&mut figure)));
        steps
    }

    /// Returns a figure of each step of several series together, as `each_step` tells them.
    pub fn steps_together<T>(
        &self,
        frames_a_step: usize,
        is_its: impl Fn(&FrameSeries) -> bool,
        mut figure: impl FnMut(&Step) -> T,
    ) -> Vec<Option<T>> {
        let mut steps = Vec::new();
        let series = self.series.iter().filter(|series| is_its(series));
        self.each_step(frames_a_step, series, |_, step| steps.push(step.map(&mut figure)));
        steps
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
        let count = |step: &Step| step.count;
        assert_eq!(frames.series().len(), 1);
        assert_eq!(frames.steps_of(&frames.series()[0], 1, count), [Some(2), None, None, Some(1)]);
        assert_eq!(frames.steps_of(&frames.series()[0], 3, count), [Some(2), Some(1)]);
        frames.add(&window(11, 3, &[7.0]), &key("http_reqs", None));
        assert_eq!(frames.steps_together(3, |_| true, count), [Some(3), Some(1)]);
        assert_eq!(frames.steps_together(3, |series| series.key.metric == "http_reqs", count), [Some(1), None]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_loses_nothing() {
        let mut frames = Frames::default();
        for second in -5..3 * STEPS_MAX {
            frames.add(&window(second, 0, &[1.0, 3.0]), &key("http_req_duration", None));
        }
        assert_eq!(frames.step_seconds, 4);
        let steps = frames.steps_of(&frames.series()[0], 1, Step::clone);
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
        assert_eq!(frames.steps_of(&frames.series()[0], 1, |_| ()).iter().flatten().count(), 3);
    }

    #[test]
    fn open_windows_are_seen_and_gone_again() {
        let latency = key("http_req_duration", None);
        let mut frames = Frames::default();
        frames.add(&window(10, 0, &[1.0, 2.0]), &latency);
        frames.add(&window(12, 0, &[5.0]), &latency);
        let counts = |frames: &Frames| frames.steps_together(1, |_| true, |step| (step.count, step.sum));
        let before = (counts(&frames), frames.extent);
        let requests = key("http_reqs", None);
        let open = [(10, 0, [7.0], &latency), (11, 0, [3.0], &latency), (13, 1, [1.0], &requests)];
        let open = open.map(|(second, series, values, key)| (window(second, series, &values), key));
        let seen = frames.with_open(&open, counts);
        assert_eq!(seen, [Some((3, 10.0)), Some((1, 3.0)), Some((1, 5.0)), Some((1, 1.0))]);
        assert_eq!((counts(&frames), frames.extent), before);
    }

    #[test]
    fn an_open_window_of_a_clock_that_jumps_ends() {
        let latency = key("http_req_duration", None);
        let mut frames = Frames::default();
        frames.add(&window(10, 0, &[1.0]), &latency);
        let open = [(window(9_000_000_000, 0, &[2.0]), &latency)];
        let seen = frames.with_open(&open, |frames| frames.steps_together(1, |_| true, |_| ()).len() as i64);
        assert!((2..=STEPS_MAX).contains(&seen), "{seen}");
        assert_eq!(frames.with_open(&[], Frames::steps_count), 1);
        assert_eq!(Frames::default().with_open(&[], Frames::steps_count), 0);
    }

    #[test]
    fn any_order_of_windows_gives_the_same_frames() {
        let latency = key("http_req_duration", None);
        let of = |seconds: &mut dyn Iterator<Item = i64>| {
            let mut frames = Frames::default();
            seconds.for_each(|second| frames.add(&window(second, 0, &[second as f64]), &latency));
            frames.steps_of(&frames.series()[0], 1, |step| step.sum)
        };
        let ascending = of(&mut (0..2 * STEPS_MAX));
        assert_eq!(of(&mut (0..2 * STEPS_MAX).rev()), ascending);
        // The stride and the length have no common divisor.
        assert_eq!(of(&mut (0..2 * STEPS_MAX).map(|second| second * 4_097 % (2 * STEPS_MAX))), ascending);
    }
}
