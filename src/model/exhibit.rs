//! What is drawn beside the likely causes: profiles, traces, signals and calls, cut to what a page can hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// From a moment until before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    pub from: Timestamp,
    pub until: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exhibits {
    pub flames: Vec<FlameDifference>,
    pub traces: Vec<TracePair>,
    pub signals: Vec<Signals>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceGraph>,
}

impl Exhibits {
    pub fn is_empty(&self) -> bool {
        self.flames.is_empty() && self.traces.is_empty() && self.signals.is_empty() && self.services.is_none()
    }

    /// Takes in what is drawn of further causes, of which the first is at `offset` in `diagnoses`.
    pub fn take_in(&mut self, other: Exhibits, offset: u32) {
        let Exhibits { flames, traces, signals, services } = other;
        self.flames.extend(flames.into_iter().map(|one| FlameDifference { diagnosis: one.diagnosis + offset, ..one }));
        self.traces.extend(traces.into_iter().map(|one| TracePair { diagnosis: one.diagnosis + offset, ..one }));
        self.signals.extend(signals.into_iter().map(|one| Signals { diagnosis: one.diagnosis + offset, ..one }));
        self.services = self.services.take().or(services);
    }

    /// Moves what is healthy back to when it was, so many seconds earlier than it was drawn.
    pub fn healthy_is_earlier(&mut self, seconds: f64) {
        for flame in &mut self.flames {
            let Period { from, until } = flame.healthy;
            flame.healthy = Period { from: from.after_seconds(-seconds), until: until.after_seconds(-seconds) };
        }
        for healthy in self.traces.iter_mut().filter_map(|pair| pair.healthy.as_mut()) {
            healthy.started_at = healthy.started_at.after_seconds(-seconds);
        }
    }
}

/// Two profiles of a service as one tree of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlameDifference {
    /// The cause that it is of, by its place in `diagnoses`, from 0.
    pub diagnosis: u32,
    pub service: String,
    /// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
    pub profile_type: String,
    pub healthy: Period,
    pub faulty: Period,
    /// Each followed by what it called; the widest, and all that is above them.
    pub frames: Vec<FlameFrame>,
    /// Frames that were left out, since they are narrower.
    pub left_out_count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlameFrame {
    /// 0: nothing called it.
    pub depth: u32,
    pub function: String,
    /// With what it called, in the profile's unit per second.
    pub healthy_per_second: f64,
    pub faulty_per_second: f64,
}

/// A trace in which the cause is to be seen, beside one of the healthy time that came in the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracePair {
    /// The cause that it is of, by its place in `diagnoses`, from 0.
    pub diagnosis: u32,
    pub faulty: TraceDrawn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<TraceDrawn>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceDrawn {
    /// In hex.
    pub trace_id: String,
    pub started_at: Timestamp,
    pub duration_ms: f64,
    /// Each followed by what it called, in the order of their start.
    pub spans: Vec<SpanDrawn>,
    /// Spans that were left out, since they are shorter.
    pub left_out_count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpanDrawn {
    pub depth: u32,
    pub service: String,
    pub operation: String,
    /// Since the start of the trace.
    pub start_ms: f64,
    pub duration_ms: f64,
    /// In which nothing below it was at work.
    pub own_ms: f64,
    pub is_error: bool,
    /// Whether it is of the operation that the cause names.
    pub is_suspect: bool,
}

/// The signals of the cause of one finding on one axis of time, in the order in which they moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signals {
    /// The cause that they are of, by its place in `diagnoses`, from 0.
    pub diagnosis: u32,
    pub run: Period,
    /// The time of the finding.
    pub window: Period,
    pub step_seconds: f64,
    pub signals: Vec<Signal>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    pub service: String,
    pub what: String,
    pub unit: String,
    /// When it had moved half of the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<Timestamp>,
    /// One a step; none where it is not known.
    pub values: Vec<Option<f64>>,
}

/// Which services call which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceGraph {
    pub services: Vec<ServiceNode>,
    pub calls: Vec<ServiceCall>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceNode {
    pub name: String,
    /// Calls between where requests come in and this service, at least.
    pub depth: u32,
    pub is_suspect: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceCall {
    pub caller: String,
    pub callee: String,
    /// As long as the caller waits, on average over the traces that were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faulty_ms: Option<f64>,
    /// Calls in the traces that were read.
    pub count: u64,
}
