//! Lines of k6's JSON output to columns.
//!
//! A line goes down the first of four paths that takes it; all give the same rows, as `tests/all/decoder.rs` proves on
//! generated lines.
//!
//! - `guessed`: metric and tags are those that followed the line before one of the last two times. A guess that holds costs
//!   two comparisons of bytes; only the time and the value are read.
//! - `ordered`: a `Point` line in k6's own key order; metric and tags are looked up by their bytes.
//! - `metric_last`: a `Point` line as k6's extension for Kafka orders it, guessed in the same way.
//! - `any`: whatever else a line is: other order, white space, escapes, a `Metric` line, garbage.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashTable;
use memchr::{memchr, memchr2, memrchr};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::metric::{Contains, MetricDeclaration, MetricKind, Submetric, ThresholdSource};
use crate::model::tags::TagSet;
use crate::tables::samples::{Label, SampleBlock};

use super::k6_time::TimeParser;
use super::number;

const POINT_START: &[u8] = b"{\"metric\":\"";
const AFTER_METRIC: &[u8] = b"\",\"type\":\"Point\",\"data\":{\"time\":\"";
const AFTER_TIME: &[u8] = b",\"value\":";
const AFTER_VALUE: &[u8] = b",\"tags\":";
const AFTER_TAGS: &[u8] = b",\"metadata\":";
const POINT_END: &[u8] = b"}}\n";
const METRIC_LAST_START: &[u8] = b"{\"type\":\"Point\",\"data\":{\"time\":\"";
const BEFORE_METRIC: &[u8] = b"},\"metric\":\"";
const METRIC_LAST_END: &[u8] = b"\"}";

/// Bytes of remembered tags beyond which a decoder begins anew: ids in tags must not fill the memory.
const REMEMBERED_BYTES_MAX: usize = 8 << 20;

/// Metrics whose labels the tags list by the metric's number: 1 KiB at most for each set of tags. Lists of all metrics would
/// take gigabytes for an input of a few megabytes that has thousands of metrics and of tags.
const LISTED_METRICS_MAX: u32 = 256;

/// What a label that is not listed takes, in the index and with what follows it.
const LABEL_BYTES: usize = 48;

const NO_LABEL: u32 = u32::MAX;

#[derive(Debug)]
struct KnownMetric {
    name: Arc<str>,
    /// A line of this metric from its start to its time.
    line_start: Box<[u8]>,
    /// A line in which the metric comes last, from behind its tags to its end.
    line_end: Box<[u8]>,
}

#[derive(Debug)]
struct KnownTags {
    /// As it stands behind a value: `,"tags":{..}`.
    text: Box<[u8]>,
    tags: Arc<TagSet>,
    /// By metric, of the first `LISTED_METRICS_MAX`; `NO_LABEL` where the pair was not met yet.
    labels: Vec<u32>,
}

impl KnownTags {
    /// The object alone.
    fn raw(&self) -> &[u8] {
        &self.text[AFTER_VALUE.len()..]
    }
}

/// A metric with tags, and what came after it.
#[derive(Debug, Clone, Copy)]
struct KnownLabel {
    metric: u32,
    tags: u32,
    /// The two labels that followed last, the newer one first.
    next: [u32; 2],
}

/// Decodes lines, block after block, and remembers metrics, tags and times between them.
#[derive(Debug)]
pub struct LineDecoder {
    metrics: Vec<KnownMetric>,
    metric_index: FxHashMap<Box<[u8]>, u32>,
    tags: Vec<KnownTags>,
    tags_index: HashTable<u32>,
    labels: Vec<KnownLabel>,
    /// By metric and tags, of the other metrics.
    more_labels: FxHashMap<(u32, u32), u32>,
    remembered_bytes: usize,
    /// Of the line before; `NO_LABEL` at the start.
    last_label: u32,
    time: TimeParser,
    /// With the closing quote.
    last_time_text: Vec<u8>,
    last_time_ns: i64,
    last_metadata: Vec<u8>,
}

impl Default for LineDecoder {
    fn default() -> LineDecoder {
        LineDecoder {
            metrics: Vec::new(),
            metric_index: FxHashMap::default(),
            tags: Vec::new(),
            tags_index: HashTable::new(),
            labels: Vec::new(),
            more_labels: FxHashMap::default(),
            remembered_bytes: 0,
            last_label: NO_LABEL,
            time: TimeParser::default(),
            last_time_text: Vec::new(),
            last_time_ns: 0,
            last_metadata: Vec::new(),
        }
    }
}

impl LineDecoder {
    /// Decodes whole lines into an empty block; the last one may lack its end.
    pub fn decode(&mut self, bytes: &[u8], block: &mut SampleBlock) {
        if self.remembered_bytes > REMEMBERED_BYTES_MAX {
            *self = LineDecoder::default();
            block.labels_begin_anew = true;
        }
        // A guess that spares most of the reallocations: k6's lines are rarely shorter.
        let rows_guess = bytes.len() / 200;
        block.times_ns.reserve(rows_guess);
        block.values.reserve(rows_guess);
        block.labels.reserve(rows_guess);
        let mut rest = bytes;
        while !rest.is_empty() {
            block.lines_count += 1;
            if let Some(length) = self.guessed(rest, 0, block) {
                rest = &rest[length..];
            } else if let Some(length) = self.guessed(rest, 1, block).or_else(|| self.ordered(rest, block)) {
                rest = &rest[length..];
            } else if let Some(length) = self.metric_last(rest, block) {
                rest = &rest[length..];
            } else {
                let end = memchr(b'\n', rest).unwrap_or(rest.len());
                if let Err(reason) = self.any(&rest[..end], block) {
                    block.reject(block.lines_count, reason);
                }
                rest = &rest[(end + 1).min(rest.len())..];
            }
        }
    }

    /// Takes a line that is as the lines before lead to expect: returns its length, none when it is anything else.
    ///
    /// `which`: of the two labels that followed the last one before.
    #[inline(always)]
    fn guessed(&mut self, rest: &[u8], which: usize, block: &mut SampleBlock) -> Option<usize> {
        let guess = self.labels.get(self.last_label as usize)?.next[which];
        let KnownLabel { metric, tags, .. } = *self.labels.get(guess as usize)?;
        let line_start = &*self.metrics[metric as usize].line_start;
        let mut at = rest.starts_with(line_start).then_some(line_start.len())?;
        at += self.read_time(&rest[at..])?;
        at += rest[at..].starts_with(AFTER_TIME).then_some(AFTER_TIME.len())?;
        let (value, length) = number::parse_prefix(&rest[at..])?;
        at += length;
        let tags_text = &*self.tags[tags as usize].text;
        at += rest[at..].starts_with(tags_text).then_some(tags_text.len())?;
        at += if rest[at..].starts_with(POINT_END) { POINT_END.len() } else { self.unusual_end(&rest[at..], block)? };
        if which == 1 {
            self.follow(guess);
        }
        self.last_label = guess;
        push(block, self.last_time_ns, value, guess);
        Some(at)
    }

    /// Takes a `Point` line in k6's own form: returns its length, none when the line at the start of `rest` is anything else.
    fn ordered(&mut self, rest: &[u8], block: &mut SampleBlock) -> Option<usize> {
        let (metric, mut at) = self.ordered_metric(rest)?;
        at += self.read_time(&rest[at..])?;
        at += rest[at..].starts_with(AFTER_TIME).then_some(AFTER_TIME.len())?;
        let (value, length) = number::parse_prefix(&rest[at..])?;
        at += length;
        at += rest[at..].starts_with(AFTER_VALUE).then_some(AFTER_VALUE.len())?;
        // Tags that are known need not be taken apart to find their end.
        let until_line_end = &rest[at..at + memchr(b'\n', &rest[at..]).unwrap_or(0)];
        let known = until_line_end.strip_suffix(b"}}").and_then(|raw| Some((self.known_tags(raw)?, raw.len())));
        let (tags, length) = match known {
            Some(known) => known,
            None => {
                let raw = &rest[at..at + object_length(&rest[at..])?];
                // White space to JSON, but the end of a line to everyone else.
                if memchr(b'\n', raw).is_some() {
                    return None;
                }
                (self.tags_of(raw).ok()?, raw.len())
            }
        };
        at += length;
        at += if rest[at..].starts_with(POINT_END) { POINT_END.len() } else { self.unusual_end(&rest[at..], block)? };
        let label = self.label(metric, tags, block);
        self.follow(label);
        push(block, self.last_time_ns, value, label);
        Some(at)
    }

    /// Takes a `Point` line whose metric comes last: returns its length, none when it is anything else.
    fn metric_last(&mut self, rest: &[u8], block: &mut SampleBlock) -> Option<usize> {
        let mut at = rest.starts_with(METRIC_LAST_START).then_some(METRIC_LAST_START.len())?;
        at += self.read_time(&rest[at..])?;
        at += rest[at..].starts_with(AFTER_TIME).then_some(AFTER_TIME.len())?;
        let (value, length) = number::parse_prefix(&rest[at..])?;
        at += length;
        let guesses = self.labels.get(self.last_label as usize).map(|label| label.next).unwrap_or_default();
        let guessed = guesses.into_iter().find_map(|guess| {
            let KnownLabel { metric, tags, .. } = *self.labels.get(guess as usize)?;
            let (tags, end) = (&*self.tags[tags as usize].text, &*self.metrics[metric as usize].line_end);
            let behind_tags = rest[at..].strip_prefix(tags)?;
            behind_tags.starts_with(end).then_some((guess, tags.len() + end.len()))
        });
        if let Some((label, length)) = guessed {
            self.follow(label);
            push(block, self.last_time_ns, value, label);
            return Some(at + length);
        }
        at += rest[at..].starts_with(AFTER_VALUE).then_some(AFTER_VALUE.len())?;
        let line = &rest[at..at + memchr(b'\n', &rest[at..])?];
        let until_name = line.strip_suffix(METRIC_LAST_END)?;
        let name = &until_name[memrchr(b'"', until_name)? + 1..];
        let raw = until_name[..until_name.len() - name.len()].strip_suffix(BEFORE_METRIC)?;
        // As in `ordered_metric`.
        if !name.iter().all(|byte| *byte >= 0x20 && *byte != b'\\') {
            return None;
        }
        let tags = match self.known_tags(raw) {
            Some(known) => known,
            None => self.tags_of(raw).ok()?,
        };
        let metric = match self.metric_index.get(name) {
            Some(metric) => *metric,
            None => self.add_metric(std::str::from_utf8(name).ok()?),
        };
        let label = self.label(metric, tags, block);
        self.follow(label);
        push(block, self.last_time_ns, value, label);
        Some(at + line.len() + 1)
    }

    /// Takes the end of a line that has metadata, or is the last one and lacks its line end; returns its length.
    fn unusual_end(&mut self, rest: &[u8], block: &mut SampleBlock) -> Option<usize> {
        let mut at = 0;
        let mut metadata = None;
        if rest.starts_with(AFTER_TAGS) {
            at += AFTER_TAGS.len();
            let raw = &rest[at..at + object_length(&rest[at..])?];
            if raw != self.last_metadata.as_slice() {
                if memchr(b'\n', raw).is_some() {
                    return None;
                }
                string_pairs(raw).ok()?;
                self.last_metadata.clear();
                self.last_metadata.extend_from_slice(raw);
            }
            metadata = Some(std::str::from_utf8(raw).ok()?);
            at += raw.len();
        }
        let end = &rest[at..];
        at += if end.starts_with(POINT_END) { POINT_END.len() } else { (end == b"}}").then_some(2)? };
        if let Some(metadata) = metadata {
            block.metadata.push((block.times_ns.len() as u32, metadata.into()));
        }
        Some(at)
    }

    /// Returns the metric and where its time begins.
    fn ordered_metric(&mut self, rest: &[u8]) -> Option<(u32, usize)> {
        let name_and_more = rest.strip_prefix(POINT_START)?;
        let name = &name_and_more[..memchr(b'"', name_and_more)?];
        if !name_and_more[name.len()..].starts_with(AFTER_METRIC) {
            return None;
        }
        // `a\b` in a line is no name of those letters: the index holds names without escapes.
        if !name.iter().all(|byte| *byte >= 0x20 && *byte != b'\\') {
            return None;
        }
        let metric = match self.metric_index.get(name) {
            Some(metric) => *metric,
            None => self.add_metric(std::str::from_utf8(name).ok()?),
        };
        Some((metric, POINT_START.len() + name.len() + AFTER_METRIC.len()))
    }

    /// Sets `last_time_ns`; returns the length of the time's text with its closing quote.
    #[inline(always)]
    fn read_time(&mut self, rest: &[u8]) -> Option<usize> {
        if !self.last_time_text.is_empty() && rest.starts_with(&self.last_time_text) {
            return Some(self.last_time_text.len());
        }
        // Whatever fails below, the text must not stand for another time.
        self.last_time_text.clear();
        let (time_ns, length) = self.time.parse_prefix(rest)?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.last_time_ns = time_ns;
        self.last_time_text.extend_from_slice(&rest[..=length]);
        Some(length + 1)
    }

    /// Notes which label came after the last one.
    fn follow(&mut self, label: u32) {
        if let Some(KnownLabel { next, .. }) = self.labels.get_mut(self.last_label as usize)
            && next[0] != label
        {
            *next = [label, next[0]];
        }
        self.last_label = label;
    }

    /// Reads a line of any form.
    fn any(&mut self, line: &[u8], block: &mut SampleBlock) -> Result<(), String> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let text =
            std::str::from_utf8(line).map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))?;
        let line: Line = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
        let data = line.data.ok_or("no \"data\"")?;
        match line.kind.as_deref() {
            Some("Point") => self.any_point(&line.metric.ok_or("no \"metric\"")?, data, block),
            Some("Metric") => {
                block.declarations.push(declaration(data)?);
                Ok(())
            }
            Some(other) => Err(format!("type {other:?} is neither Metric nor Point")),
            None => Err("no \"type\"".to_owned()),
        }
    }

    fn any_point(&mut self, metric: &str, data: &RawValue, block: &mut SampleBlock) -> Result<(), String> {
        let point: Point = serde_json::from_str(data.get()).map_err(|error| error.to_string())?;
        let time_ns = self.time.parse(point.time.as_bytes());
        let time_ns = time_ns.ok_or_else(|| format!("time {:?} is not RFC 3339 between 1678 and 2261", point.time))?;
        let number = point.value.get().as_bytes();
        let value = number::parse_prefix(number).filter(|(_, length)| *length == number.len());
        let (value, _) = value.ok_or_else(|| format!("value {} is not a number within f64", point.value.get()))?;
        let tags = match point.tags {
            Some(raw) => self.tags_of(raw.get().as_bytes())?,
            None => self.tags_of(b"{}")?,
        };
        let metric = match self.metric_index.get(metric.as_bytes()) {
            Some(metric) => *metric,
            None => self.add_metric(metric),
        };
        if let Some(metadata) = point.metadata {
            string_pairs(metadata.get().as_bytes()).map_err(|reason| format!("metadata: {reason}"))?;
            block.metadata.push((block.times_ns.len() as u32, metadata.get().into()));
        }
        let label = self.label(metric, tags, block);
        self.follow(label);
        push(block, time_ns, value, label);
        Ok(())
    }

    fn add_metric(&mut self, name: &str) -> u32 {
        let index = self.metrics.len() as u32;
        // As k6 writes the name in a line.
        let escaped = serde_json::Value::from(name).to_string();
        let name_as_written = &escaped.as_bytes()[1..escaped.len() - 1];
        let line_start = [POINT_START, name_as_written, AFTER_METRIC].concat().into();
        let line_end = [BEFORE_METRIC, name_as_written, METRIC_LAST_END, b"\n"].concat().into();
        self.remembered_bytes += 5 * name.len() + 96;
        self.metrics.push(KnownMetric { name: Arc::from(name), line_start, line_end });
        self.metric_index.insert(name.as_bytes().into(), index);
        index
    }

    fn known_tags(&self, raw: &[u8]) -> Option<u32> {
        self.tags_index.find(hash(raw), |index| *self.tags[*index as usize].raw() == *raw).copied()
    }

    fn tags_of(&mut self, raw: &[u8]) -> Result<u32, String> {
        if let Some(index) = self.known_tags(raw) {
            return Ok(index);
        }
        let parsed = TagSet::from_pairs(string_pairs(raw).map_err(|reason| format!("tags: {reason}"))?);
        let index = self.tags.len() as u32;
        self.remembered_bytes += 3 * raw.len() + 128;
        let text = [AFTER_VALUE, raw].concat().into();
        self.tags.push(KnownTags { text, tags: Arc::new(parsed), labels: Vec::new() });
        let tags = &self.tags;
        self.tags_index.insert_unique(hash(raw), index, |index| self::hash(tags[*index as usize].raw()));
        Ok(index)
    }

    #[inline]
    fn label(&mut self, metric: u32, tags: u32, block: &mut SampleBlock) -> u32 {
        let known = &mut self.tags[tags as usize];
        let label = if metric < LISTED_METRICS_MAX {
            if known.labels.len() <= metric as usize {
                known.labels.resize(metric as usize + 1, NO_LABEL);
            }
            &mut known.labels[metric as usize]
        } else {
            self.more_labels.entry((metric, tags)).or_insert_with(|| {
                self.remembered_bytes += LABEL_BYTES;
                NO_LABEL
            })
        };
        if *label == NO_LABEL {
            *label = self.labels.len() as u32;
            self.labels.push(KnownLabel { metric, tags, next: [*label; 2] });
            let metric = self.metrics[metric as usize].name.clone();
            block.new_labels.push(Label { metric, tags: known.tags.clone() });
        }
        *label
    }
}

#[inline(always)]
fn push(block: &mut SampleBlock, time_ns: i64, value: f64, label: u32) {
    block.times_ns.push(time_ns);
    block.values.push(value);
    block.labels.push(label);
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Returns the length of the flat JSON object at the start of `text`, by its quotes and braces alone.
fn object_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'}', text.get(at..)?)?;
        if text[at] == b'}' {
            return Some(at + 1);
        }
        at += 1;
        loop {
            at += memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                break;
            }
            at += 2;
        }
        at += 1;
    }
}

/// Parses a JSON object whose values are all strings.
fn string_pairs(raw: &[u8]) -> Result<Vec<(String, String)>, String> {
    struct Pairs;
    impl<'de> serde::de::Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("an object of strings")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(raw);
    let pairs = serde::Deserializer::deserialize_map(&mut deserializer, Pairs).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(pairs)
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metric: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Point<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: MetricKind,
    contains: Option<Contains>,
    thresholds: Option<Vec<Threshold>>,
    submetrics: Option<Vec<Sub>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Threshold {
    Plain(String),
    #[serde(rename_all = "camelCase")]
    Full {
        threshold: String,
        #[serde(default)]
        abort_on_fail: bool,
        delay_abort_eval: Option<String>,
    },
}

#[derive(Deserialize)]
struct Sub {
    name: String,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
}

fn declaration(data: &RawValue) -> Result<MetricDeclaration, String> {
    let metric: Metric = serde_json::from_str(data.get()).map_err(|error| error.to_string())?;
    let thresholds = metric.thresholds.unwrap_or_default().into_iter().map(|threshold| match threshold {
        Threshold::Plain(expression) => ThresholdSource { expression, abort_on_fail: false, delay_abort_eval: None },
        Threshold::Full { threshold, abort_on_fail, delay_abort_eval } => {
            ThresholdSource { expression: threshold, abort_on_fail, delay_abort_eval }
        }
    });
    let submetrics = metric.submetrics.unwrap_or_default().into_iter();
    let submetrics =
        submetrics.map(|sub| Submetric { name: sub.name, tags: TagSet::from_pairs(sub.tags.into_iter().collect()) });
    Ok(MetricDeclaration {
        name: metric.name,
        kind: metric.kind,
        contains: metric.contains.unwrap_or(Contains::Default),
        thresholds: thresholds.collect(),
        submetrics: submetrics.collect(),
    })
}

/// Words why a line is not one of k6's; the start of the line says more than the parser's position.
fn not_json(text: &str, error: &serde_json::Error) -> String {
    let start: String =
        text.chars().take(40).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    let what = if error.is_eof() { "cut JSON" } else { "not a line of k6" };
    format!("{what}: {error}, in {start:?}")
}
