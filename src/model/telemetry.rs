//! What the servers said while a run went on: metrics, spans, profiles and log lines, as plain values.
//!
//! All of it came from outside: names and texts are cut to a bound where they are decoded, and escaped where they are shown.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::{NANOSECONDS_PER_SECOND, Timestamp};

/// Labels that name a service, in metrics, profiles and logs, most specific first.
pub const SERVICE_LABELS: [&str; 6] = ["service_name", "service", "app", "container", "application", "job"];

/// One time series of a metrics server, as its answer held it: a counter is still a counter.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSeries {
    pub name: String,
    /// Without `__name__`.
    pub labels: BTreeMap<String, String>,
    /// In the order of time; finite values only.
    pub points: Vec<(Timestamp, f64)>,
    /// Whether it counts up, as far as the server knows the types of its metrics.
    pub is_counter: Option<bool>,
}

impl MetricSeries {
    /// Returns the service that it is of, by the label that names one.
    pub fn service(&self) -> Option<&str> {
        SERVICE_LABELS.iter().find_map(|label| self.labels.get(*label)).map(String::as_str)
    }

    /// Says whether it counts up: as the server says, else as the conventions of OpenTelemetry and Prometheus name such metrics.
    pub fn counts_up(&self) -> bool {
        let is_named_so = || ["_total", "_sum", "_count", "_bucket"].iter().any(|end| self.name.ends_with(end));
        self.is_counter.unwrap_or_else(is_named_so)
    }
}

/// A server that counts series itself, besides that of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    Tempo,
    Pyroscope,
}

impl CountedBy {
    /// What the names of its series begin with.
    fn prefix(self) -> &'static str {
        match self {
            CountedBy::Tempo => "tempo:",
            CountedBy::Pyroscope => "pyroscope:",
        }
    }

    pub fn series(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// Returns who counted a series of that name; none: the server of the metrics holds it.
    pub fn of(name: &str) -> Option<CountedBy> {
        [CountedBy::Tempo, CountedBy::Pyroscope].into_iter().find(|server| name.starts_with(server.prefix()))
    }
}

/// Returns by how much a counter rose between two of its values; one that fell was started anew.
pub fn increase(before: f64, after: f64) -> f64 {
    if after >= before { after - before } else { after }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    Server,
    Client,
    Producer,
    Consumer,
    Internal,
}

impl SpanKind {
    pub fn name(self) -> &'static str {
        match self {
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Internal => "internal",
        }
    }
}

/// One operation of one service within a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// None for the root; of k6's own root often only the id is known.
    pub parent_id: Option<[u8; 8]>,
    pub service: String,
    /// The operation, such as `GET /cart/{id}`.
    pub name: String,
    pub kind: SpanKind,
    pub start: Timestamp,
    pub end: Timestamp,
    pub is_error: bool,
    /// Of the span, its status and its exceptions: `http.route`, `db.query.text`, `exception.message`.
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// Returns the milliseconds in which none of `children` is at work.
    pub fn own_ms(&self, children: &[&Span]) -> f64 {
        let mut parts: Vec<(i64, i64)> =
            children.iter().map(|child| (child.start.0.max(self.start.0), child.end.0.min(self.end.0))).collect();
        parts.sort_unstable();
        let (mut covered, mut until) = (0i64, self.start.0);
        for (from, to) in parts {
            let from = from.max(until);
            if to > from {
                covered = covered.saturating_add(to.saturating_sub(from));
                until = to;
            }
        }
        let own = self.end.0.saturating_sub(self.start.0).saturating_sub(covered).max(0);
        own as f64 / NANOSECONDS_PER_SECOND as f64 * MILLISECONDS_PER_SECOND
    }

    pub fn duration_ms(&self) -> f64 {
        self.end.seconds_since(self.start) * MILLISECONDS_PER_SECOND
    }
}

const MILLISECONDS_PER_SECOND: f64 = 1000.0;

/// A profile of one service over a window, as stacks of functions.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub service: String,
    /// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
    pub profile_type: String,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Spans in which it was taken; 0: all that the service did.
    pub spans_count: usize,
    pub functions: Vec<String>,
    /// Each stack from the root on, as indices into `functions`, with what was spent in its last one itself.
    pub stacks: Vec<(Vec<u32>, i64)>,
}

/// What one function has in a profile, in the profile's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub by_itself: i64,
    /// With what it called.
    pub total: i64,
    /// Frames above it, at most.
    pub depth: usize,
}

impl Profile {
    /// Returns what each function has; one that calls itself has its time once.
    pub fn spent(&self) -> BTreeMap<&str, Spent> {
        let mut values: BTreeMap<&str, Spent> = BTreeMap::new();
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let name = |function: u32| self.functions.get(function as usize).map(String::as_str);
        for (stack, value) in &self.stacks {
            seen.clear();
            for (depth, function) in stack.iter().enumerate().filter(|(_, function)| seen.insert(**function)) {
                if let Some(name) = name(*function) {
                    let spent = values.entry(name).or_default();
                    spent.total = spent.total.saturating_add(*value);
                    spent.depth = spent.depth.max(depth);
                }
            }
            if let Some(name) = stack.last().and_then(|last| name(*last)) {
                let spent = values.entry(name).or_default();
                spent.by_itself = spent.by_itself.saturating_add(*value);
            }
        }
        values
    }

    /// Returns the unit of its values, such as `nanoseconds`: the third part of its type.
    pub fn unit(&self) -> &str {
        self.profile_type.split(':').nth(2).unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    pub at: Timestamp,
    pub service: String,
    pub level: Option<String>,
    pub message: String,
    pub trace_id: Option<[u8; 16]>,
    pub labels: BTreeMap<String, String>,
}

impl LogLine {
    /// Returns the message of a line that is JSON or logfmt, else the line.
    pub fn said(&self) -> String {
        said(&self.message)
    }
}

fn said(message: &str) -> String {
    let text = message.trim();
    if text.starts_with('{')
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str::<serde_json::Value>(text)
        && let Some(message) = ["message", "msg", "event", "body"].iter().find_map(|name| fields.get(*name)?.as_str())
    {
        return message.to_owned();
    }
    let of_logfmt = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split_once('"').map(|(message, _)| message.to_owned())
    };
    of_logfmt(" msg=\"").or_else(|| of_logfmt(" message=\"")).unwrap_or_else(|| text.to_owned())
}

/// Lines that are the same but for their values, as the server of the logs counted them.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPattern {
    pub service: String,
    pub level: Option<String>,
    /// Its text, with [`BLANK`] in the place of values.
    pub text: String,
    /// In the order of time: lines from then on, for one step.
    pub counts: Vec<(Timestamp, f64)>,
}

/// Loki's step.
pub const PATTERN_STEP_SECONDS: f64 = 10.0;

impl LogPattern {
    /// Returns what its text says, as [`LogLine::said`] does.
    pub fn said(&self) -> String {
        said(&self.text)
    }

    /// Returns the seconds that each count is of; Loki's own where there are too few to tell.
    pub fn step_seconds(&self) -> f64 {
        let steps = self.counts.windows(2).map(|pair| pair[1].0.seconds_since(pair[0].0));
        steps.fold(f64::INFINITY, f64::min).clamp(1.0, PATTERN_STEP_SECONDS)
    }
}

/// Returns an id as servers and people write it.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands in the place of a value in the text of a log line.
pub const BLANK: &str = "<*>";
const WORDS_MAX: usize = 60;

/// Returns the words of what a line says, those with a digit blank: they are values.
pub fn words_of(said: &str) -> Vec<&str> {
    let masked = |word| if str::bytes(word).any(|byte| byte.is_ascii_digit()) { BLANK } else { word };
    said.split_whitespace().take(WORDS_MAX).map(masked).collect()
}

/// A question that got no answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unavailable {
    /// `prometheus`, `tempo`, `pyroscope` or `loki`.
    pub backend: String,
    pub reason: String,
}

/// What all servers said of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    pub metrics: Vec<MetricSeries>,
    pub spans: Vec<Span>,
    pub profiles: Vec<Profile>,
    /// Of single spans: what slow requests did themselves.
    pub span_profiles: Vec<Profile>,
    pub logs: Vec<LogLine>,
    /// Asked for where there are more lines than are read.
    pub log_patterns: Vec<LogPattern>,
    pub unavailable: Vec<Unavailable>,
    /// What a server was asked: by the metric that it answered with.
    pub metric_queries: BTreeMap<String, String>,
    /// For log lines, the first.
    pub log_query: Option<String>,
}

impl Telemetry {
    /// Moves all of it in time.
    pub fn shift(&mut self, seconds: f64) {
        let shift = |at: &mut Timestamp| *at = at.after_seconds(seconds);
        self.metrics.iter_mut().flat_map(|series| &mut series.points).for_each(|(at, _)| shift(at));
        self.spans.iter_mut().flat_map(|span| [&mut span.start, &mut span.end]).for_each(shift);
        let profiles = self.profiles.iter_mut().chain(&mut self.span_profiles);
        profiles.flat_map(|profile| [&mut profile.from, &mut profile.until]).for_each(shift);
        self.logs.iter_mut().for_each(|line| shift(&mut line.at));
        self.log_patterns.iter_mut().flat_map(|pattern| &mut pattern.counts).for_each(|(at, _)| shift(at));
    }

    /// Says whether the server's counts of patterns are of more lines than were read.
    pub fn has_more_patterns_than_lines(&self) -> bool {
        let counted: f64 = self.log_patterns.iter().flat_map(|pattern| &pattern.counts).map(|(_, count)| count).sum();
        counted > self.logs.len() as f64
    }

    /// Takes in what was said of another time; series of one name stay apart.
    pub fn take_in(&mut self, other: Telemetry) {
        self.metrics.extend(other.metrics);
        self.spans.extend(other.spans);
        self.profiles.extend(other.profiles);
        self.span_profiles.extend(other.span_profiles);
        self.logs.extend(other.logs);
        self.log_patterns.extend(other.log_patterns);
    }
}
