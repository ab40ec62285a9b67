//! k6's CSV output to blocks of samples, with the tags that its JSON output has.
//!
//! Long because it reads the rows as well, which no library does with a bound on their length.
//!
//! # Times
//!
//! k6 has six time formats and does not say which a file is in. The first row whose timestamp can be read decides for
//! the file; a later row in another format is rejected. RFC 3339, with a fraction or without, is known by its form; a
//! whole number by its size: below 1e11 it is seconds (to the year 5138), below 1e14 milliseconds (from 1973 on), below
//! 1e17 microseconds, else nanoseconds.
//!
//! # Tags
//!
//! A column is a tag when it is not empty; k6 writes an absent tag and an empty one alike. Of its own tags only `group` is
//! ever present and empty in its JSON output: on the samples of a VU outside of any group. They have a scenario; the
//! samples that k6 takes of itself (`vus`, `vus_max`: no scenario; `dropped_iterations`: a scenario, but no VU) have no
//! group. So an empty `group` is a tag where the row has a scenario, or the file has no column for it, and the metric is
//! none of those three.
//!
//! `extra_tags` and `metadata` are `k=v&k=v` with nothing escaped and in an order that changes from row to row. A piece
//! without `=` belongs to the value before it. So does one whose name is empty, begins or ends with white space, or is a
//! column's, since k6 writes the tag of a column there and nowhere else. What remains ambiguous is taken as tags: a value
//! `k=v&k2=v2` becomes two.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use csv_core::ReadRecordResult;
use rustc_hash::FxHashMap;

use crate::model::tags::TagSet;
use crate::model::time::NANOSECONDS_PER_SECOND;
use crate::tables::samples::{Label, SampleBlock};

use super::k6_time::TimeParser;
use super::number;

/// Rows of one block.
const BLOCK_ROWS: usize = 8_192;

/// Bytes of input after which a block ends early: its new labels and metadata must not fill the memory.
const BLOCK_BYTES_MAX: u64 = 8 << 20;

/// A longer row is rejected; k6's have some hundred bytes.
const ROW_BYTES_MAX: usize = 8 << 20;

/// k6 writes some 20; a tag is never a column of its own unless it is a system tag.
const COLUMNS_MAX: usize = 4_096;

/// Bytes of remembered tags beyond which the labels begin anew.
const REMEMBERED_BYTES_MAX: usize = 8 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

const NO_LABEL: u32 = u32::MAX;

/// Why an input is not k6's CSV.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    #[error("failed to read the header")]
    Read(#[source] io::Error),
    #[error("the input is empty: there is no header")]
    Empty,
    #[error("the header is longer than {bytes_max} bytes or {columns_max} columns")]
    HeaderTooLong { bytes_max: usize, columns_max: usize },
    #[error("the header has no column {missing}: {found}")]
    NoColumn { missing: &'static str, found: String },
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Metric,
    Time,
    Value,
    Group,
    Tag(String),
    ExtraTags,
    Metadata,
}

/// How a file writes its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeFormat {
    Unix { nanoseconds_per_unit: i64 },
    Rfc3339,
}

/// The tags of one combination of fields, and the label of each metric with them.
#[derive(Debug)]
struct KnownTags {
    tags: Arc<TagSet>,
    /// By metric; `NO_LABEL` where the pair was not met yet.
    labels: Vec<u32>,
}

/// What was met so far, since the labels last began anew.
#[derive(Debug, Default)]
struct Known {
    metrics: Vec<Arc<str>>,
    metric_index: FxHashMap<Box<str>, u32>,
    tags: Vec<KnownTags>,
    /// By the bytes of the fields: k6 writes the extra tags of one set in many orders.
    fields_index: FxHashMap<Box<[u8]>, u32>,
    tags_index: FxHashMap<Arc<TagSet>, u32>,
    labels_count: u32,
    remembered_bytes: usize,
}

/// Blocks of samples in the order of the rows.
pub struct CsvBlocks {
    rows: Rows,
    columns: Vec<Column>,
    has_scenario_column: bool,
    known: Known,
    time_format: Option<TimeFormat>,
    time: TimeParser,
    fields_key: Vec<u8>,
    /// The last row's metadata as k6 wrote it, and as JSON.
    last_metadata: (Vec<u8>, Box<str>),
    /// The header's lines belong to the first block.
    block_start_line: u64,
    truncated: bool,
    ended: bool,
}

impl CsvBlocks {
    /// Reads the header. Columns are known by their names and may come in any order; an unknown one is a tag.
    pub fn start(input: Box<dyn Read + Send>) -> Result<CsvBlocks, CsvError> {
        let mut rows = Rows::new(input);
        let end = rows.next();
        if let Some(error) = rows.failure.take() {
            return Err(CsvError::Read(error));
        }
        match end {
            RowEnd::Whole | RowEnd::AtEnd if rows.fields_count() <= COLUMNS_MAX => {}
            RowEnd::None => return Err(CsvError::Empty),
            _ => return Err(CsvError::HeaderTooLong { bytes_max: ROW_BYTES_MAX, columns_max: COLUMNS_MAX }),
        }
        let columns: Vec<Column> = (0..rows.fields_count()).map(|index| column(rows.field(index))).collect();
        for (missing, column) in
            [("metric_name", Column::Metric), ("timestamp", Column::Time), ("metric_value", Column::Value)]
        {
            if !columns.contains(&column) {
                return Err(CsvError::NoColumn { missing, found: excerpt(rows.all_fields()) });
            }
        }
        rows.expect_fields(columns.len());
        let has_scenario_column = columns.iter().any(|column| is_tag(column, "scenario"));
        Ok(CsvBlocks {
            rows,
            columns,
            has_scenario_column,
            known: Known::default(),
            time_format: None,
            time: TimeParser::default(),
            fields_key: Vec::new(),
            last_metadata: (Vec::new(), "{}".into()),
            block_start_line: 1,
            truncated: false,
            ended: false,
        })
    }

    /// Returns the next block; none at the end. An input that is still being written gives smaller blocks, as it comes.
    pub fn next_block(&mut self) -> Option<SampleBlock> {
        if self.ended {
            return None;
        }
        let mut block = SampleBlock::default();
        if self.known.remembered_bytes > REMEMBERED_BYTES_MAX {
            self.known = Known::default();
            block.labels_begin_anew = true;
        }
        let bytes_start = self.rows.bytes_read;
        while block.rows() < BLOCK_ROWS && self.rows.bytes_read - bytes_start < BLOCK_BYTES_MAX {
            if block.rows() > 0 && self.rows.would_wait() {
                break;
            }
            let end = self.rows.next();
            let line = self.rows.row_line - self.block_start_line + 1;
            let outcome = match end {
                RowEnd::None => {
                    self.ended = true;
                    // A last line without its end is a line as well.
                    self.rows.lines_skipped += u64::from(self.rows.ends_within_a_line);
                    break;
                }
                RowEnd::TooLong { bytes } => {
                    let last = self.rows.line() - self.rows.row_line;
                    Err(format!(
                        "the row has {bytes} bytes, more than {ROW_BYTES_MAX}, and {last} line ends: perhaps a quote is not closed"
                    ))
                }
                RowEnd::AtEnd if self.rows.failure.is_some() || self.rows.fields_count() < self.columns.len() => {
                    self.truncated = true;
                    Err(format!("cut row: {} of {} fields", self.rows.fields_count(), self.columns.len()))
                }
                RowEnd::Whole | RowEnd::AtEnd => self.row(&mut block),
            };
            if let Err(reason) = outcome {
                block.reject(line, reason);
            }
        }
        self.truncated |= self.ended && self.rows.failure.is_some();
        let line = self.rows.line();
        block.lines_count = line - self.block_start_line;
        self.block_start_line = line;
        // The header alone makes a block, too: its line was read.
        (block.lines_count > 0 || block.rows() > 0 || block.rejections_count > 0).then_some(block)
    }

    /// Says whether the last row was cut, or the compressed form is cut or broken; after the last block.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Returns why the reading ended before the end of the input; after the last block.
    pub fn failure(&self) -> Option<&io::Error> {
        self.rows.failure.as_ref()
    }

    /// Appends the row that was read last.
    fn row(&mut self, block: &mut SampleBlock) -> Result<(), String> {
        if self.rows.fields_count() != self.columns.len() {
            return Err(format!("{} fields, where the header has {}", self.rows.fields_count(), self.columns.len()));
        }
        let (mut metric, mut time, mut value, mut metadata): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"", b"", b"");
        for (index, column) in self.columns.iter().enumerate() {
            let field = self.rows.field(index);
            match column {
                Column::Metric => metric = field,
                Column::Time => time = field,
                Column::Value => value = field,
                Column::Metadata => metadata = field,
                Column::Group | Column::Tag(_) | Column::ExtraTags => {}
            }
        }
        let metric = std::str::from_utf8(metric).map_err(|_| "invalid UTF-8 in metric_name".to_owned())?;
        if metric.is_empty() {
            return Err("no metric_name".to_owned());
        }
        let time_ns = time_ns(time, &mut self.time_format, &mut self.time)
            .ok_or_else(|| format!("timestamp {} is not {}", excerpt(time), expected_time(self.time_format)))?;
        let number = number::parse_prefix(value).filter(|(_, length)| *length == value.len());
        let (number, _) =
            number.ok_or_else(|| format!("metric_value {} is not a number within f64", excerpt(value)))?;

        let has_vu = !matches!(metric, "vus" | "vus_max" | "dropped_iterations");
        self.fields_key.clear();
        self.fields_key.push(u8::from(has_vu));
        for (index, column) in self.columns.iter().enumerate() {
            if matches!(column, Column::Group | Column::Tag(_) | Column::ExtraTags) {
                self.fields_key.extend_from_slice(self.rows.field(index));
                // Never in UTF-8, and a row that is not UTF-8 is never remembered: the fields can not run together.
                self.fields_key.push(0xff);
            }
        }
        let tags = match self.known.fields_index.get(self.fields_key.as_slice()) {
            Some(tags) => *tags,
            None => {
                let tags = tags_of(&self.columns, &self.rows, has_vu, self.has_scenario_column)?;
                self.known.add_tags(&self.fields_key, tags)
            }
        };
        if !metadata.is_empty() {
            if metadata != self.last_metadata.0.as_slice() {
                let text = std::str::from_utf8(metadata).map_err(|_| "invalid UTF-8 in metadata".to_owned())?;
                self.last_metadata = (metadata.to_vec(), metadata_json(text, &self.columns).into());
            }
            block.metadata.push((block.times_ns.len() as u32, self.last_metadata.1.clone()));
        }
        let metric = self.known.metric(metric);
        let label = self.known.label(metric, tags, block);
        block.times_ns.push(time_ns);
        block.values.push(number);
        block.labels.push(label);
        Ok(())
    }
}

impl std::fmt::Debug for CsvBlocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("CsvBlocks");
        debug.field("columns", &self.columns).field("time_format", &self.time_format).finish_non_exhaustive()
    }
}

impl Known {
    fn metric(&mut self, name: &str) -> u32 {
        if let Some(metric) = self.metric_index.get(name) {
            return *metric;
        }
        let metric = self.metrics.len() as u32;
        self.remembered_bytes += 2 * name.len() + 64;
        self.metrics.push(Arc::from(name));
        self.metric_index.insert(name.into(), metric);
        metric
    }

    fn add_tags(&mut self, fields: &[u8], tags: TagSet) -> u32 {
        let index = match self.tags_index.get(&tags) {
            Some(index) => *index,
            None => {
                let (index, tags) = (self.tags.len() as u32, Arc::new(tags));
                self.remembered_bytes += 2 * fields.len() + 128;
                self.tags.push(KnownTags { tags: tags.clone(), labels: Vec::new() });
                self.tags_index.insert(tags, index);
                index
            }
        };
        self.remembered_bytes += fields.len() + 64;
        self.fields_index.insert(fields.into(), index);
        index
    }

    fn label(&mut self, metric: u32, tags: u32, block: &mut SampleBlock) -> u32 {
        let known = &mut self.tags[tags as usize];
        if let Some(label) = known.labels.get(metric as usize)
            && *label != NO_LABEL
        {
            return *label;
        }
        if known.labels.len() <= metric as usize {
            self.remembered_bytes += 4 * (metric as usize + 1 - known.labels.len());
            known.labels.resize(metric as usize + 1, NO_LABEL);
        }
        let label = self.labels_count;
        known.labels[metric as usize] = label;
        self.labels_count += 1;
        block.new_labels.push(Label { metric: self.metrics[metric as usize].clone(), tags: known.tags.clone() });
        label
    }
}

fn column(name: &[u8]) -> Column {
    let name = String::from_utf8_lossy(name);
    match name.trim_start_matches('\u{feff}') {
        "metric_name" => Column::Metric,
        "timestamp" => Column::Time,
        "metric_value" => Column::Value,
        "group" => Column::Group,
        "extra_tags" => Column::ExtraTags,
        "metadata" => Column::Metadata,
        other => Column::Tag(other.to_owned()),
    }
}

fn is_tag(column: &Column, name: &str) -> bool {
    match column {
        Column::Tag(tag) => tag == name,
        Column::Group => name == "group",
        _ => false,
    }
}

/// Reads a time in the file's format, and finds the format with the first.
fn time_ns(text: &[u8], format: &mut Option<TimeFormat>, parser: &mut TimeParser) -> Option<i64> {
    let is_number = !text.is_empty() && text.len() <= 19 && text.iter().all(u8::is_ascii_digit);
    let number = || std::str::from_utf8(text).ok().filter(|_| is_number)?.parse::<i64>().ok();
    let this = match format {
        Some(format) => *format,
        None if is_number => TimeFormat::Unix { nanoseconds_per_unit: nanoseconds_per_unit(number()?) },
        None => TimeFormat::Rfc3339,
    };
    let time_ns = match this {
        TimeFormat::Unix { nanoseconds_per_unit } => number()?.checked_mul(nanoseconds_per_unit)?,
        TimeFormat::Rfc3339 => parser.parse(text)?,
    };
    *format = Some(this);
    Some(time_ns)
}

fn nanoseconds_per_unit(time: i64) -> i64 {
    match time {
        ..=99_999_999_999 => NANOSECONDS_PER_SECOND,
        100_000_000_000..=99_999_999_999_999 => NANOSECONDS_PER_SECOND / 1_000,
        100_000_000_000_000..=99_999_999_999_999_999 => NANOSECONDS_PER_SECOND / 1_000_000,
        _ => 1,
    }
}

fn expected_time(format: Option<TimeFormat>) -> &'static str {
    match format {
        None => "a time of k6's",
        Some(TimeFormat::Rfc3339) => "RFC 3339 between 1678 and 2261, as in the rows before",
        Some(TimeFormat::Unix { nanoseconds_per_unit: NANOSECONDS_PER_SECOND }) => {
            "Unix seconds, as in the rows before"
        }
        Some(TimeFormat::Unix { nanoseconds_per_unit: 1_000_000 }) => "Unix milliseconds, as in the rows before",
        Some(TimeFormat::Unix { nanoseconds_per_unit: 1_000 }) => "Unix microseconds, as in the rows before",
        Some(TimeFormat::Unix { .. }) => "Unix nanoseconds, as in the rows before",
    }
}

/// Returns the tags of the row that was read last.
///
/// `has_vu`: k6 did not take the sample of itself, so that it has a group even where that is empty.
fn tags_of(columns: &[Column], rows: &Rows, has_vu: bool, has_scenario_column: bool) -> Result<TagSet, String> {
    let mut extra = Vec::new();
    let mut tags = Vec::new();
    let mut has_empty_group = false;
    let mut has_scenario = !has_scenario_column;
    for (index, column) in columns.iter().enumerate() {
        let name = match column {
            Column::Group => "group",
            Column::Tag(name) => name,
            Column::ExtraTags => "extra_tags",
            _ => continue,
        };
        let field = rows.field(index);
        let text = std::str::from_utf8(field).map_err(|_| format!("invalid UTF-8 in {}", excerpt(name.as_bytes())))?;
        match column {
            Column::ExtraTags => extra.extend(pairs(text, columns)),
            Column::Group if text.is_empty() => has_empty_group = true,
            _ if text.is_empty() => {}
            _ => {
                has_scenario |= name == "scenario";
                tags.push((name.to_owned(), text.to_owned()));
            }
        }
    }
    if has_empty_group && has_scenario && has_vu {
        tags.push(("group".to_owned(), String::new()));
    }
    // The last of a name stays: a column's value is not to be doubted.
    extra.append(&mut tags);
    Ok(TagSet::from_pairs(extra))
}

/// Splits `k=v&k=v` as well as can be: see the module's words.
fn pairs(text: &str, columns: &[Column]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    if text.is_empty() {
        return pairs;
    }
    for piece in text.split('&') {
        let pair = piece.split_once('=');
        let is_name = |name: &str| {
            !name.is_empty() && name.trim().len() == name.len() && !columns.iter().any(|column| is_tag(column, name))
        };
        match (pair, pairs.last_mut()) {
            (Some((name, value)), Some(_)) if is_name(name) => pairs.push((name.to_owned(), value.to_owned())),
            (_, Some((_, before))) => {
                before.push('&');
                before.push_str(piece);
            }
            (Some((name, value)), None) => pairs.push((name.to_owned(), value.to_owned())),
            (None, None) => pairs.push((piece.to_owned(), String::new())),
        }
    }
    pairs
}

/// Writes metadata as k6's JSON output does: an object of texts, sorted by name.
fn metadata_json(text: &str, columns: &[Column]) -> String {
    let object: BTreeMap<String, serde_json::Value> =
        pairs(text, columns).into_iter().map(|(name, value)| (name, serde_json::Value::String(value))).collect();
    serde_json::json!(object).to_string()
}

/// Quotes the start of a field for a reason.
fn excerpt(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(&field[..field.len().min(200)]);
    let start: String = text.chars().take(40).collect();
    format!("{start:?}")
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowEnd {
    /// By the end of its line.
    Whole,
    /// By the end of the input.
    AtEnd,
    TooLong {
        bytes: u64,
    },
    /// There is no row any more.
    None,
}

/// Rows of a CSV input, one at a time, with bounded memory.
///
/// Over `csv_core`, since the `csv` crate keeps a row of any length.
struct Rows {
    input: Box<dyn Read + Send>,
    parser: csv_core::Reader,
    buffer: Box<[u8]>,
    /// What of `buffer` is not parsed yet.
    unread: std::ops::Range<usize>,
    bytes_read: u64,
    at_end: bool,
    /// As far as it was read: rows may be ended by CR alone.
    ends_within_a_line: bool,
    failure: Option<io::Error>,
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// Of the last row; `fields_beyond` of its fields were more than expected and not kept.
    ends_count: usize,
    fields_beyond: usize,
    row_line: u64,
    /// Line ends that the parser did not see.
    lines_skipped: u64,
}

impl Rows {
    fn new(input: Box<dyn Read + Send>) -> Rows {
        Rows {
            input,
            parser: csv_core::Reader::new(),
            buffer: vec![0; READ_BYTES].into(),
            unread: 0..0,
            bytes_read: 0,
            at_end: false,
            ends_within_a_line: false,
            failure: None,
            fields: vec![0; 4 << 10],
            ends: vec![0; COLUMNS_MAX],
            ends_count: 0,
            fields_beyond: 0,
            row_line: 1,
            lines_skipped: 0,
        }
    }

    /// Keeps no more fields of a row than `count`; counts the others.
    fn expect_fields(&mut self, count: usize) {
        self.ends = vec![0; count.max(1)];
    }

    /// Of the last row.
    fn fields_count(&self) -> usize {
        self.ends_count + self.fields_beyond
    }

    /// Of the last row, which has so many and no more than expected.
    fn field(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.fields[start..self.ends[index]]
    }

    fn all_fields(&self) -> &[u8] {
        let end = self.ends[..self.ends_count].last();
        &self.fields[..end.copied().unwrap_or(0)]
    }

    /// The line that would be read next, from 1.
    fn line(&self) -> u64 {
        self.parser.line() + self.lines_skipped
    }

    /// Says whether all that came is parsed, and the next row has to be waited for.
    fn would_wait(&mut self) -> bool {
        self.unread.is_empty() && !self.at_end && !self.read_once()
    }

    fn next(&mut self) -> RowEnd {
        self.skip_line_ends();
        self.row_line = self.line();
        (self.ends_count, self.fields_beyond) = (0, 0);
        let mut fields_bytes = 0;
        let mut is_too_long = false;
        let bytes_start = self.bytes_parsed();
        loop {
            if self.unread.is_empty() {
                self.fill();
            }
            let is_last = self.unread.is_empty();
            let (result, parsed, written, ends) = self.parser.read_record(
                &self.buffer[self.unread.clone()],
                &mut self.fields[fields_bytes..],
                &mut self.ends[self.ends_count..],
            );
            self.unread.start += parsed;
            fields_bytes += written;
            self.ends_count += ends;
            match result {
                ReadRecordResult::InputEmpty if is_last => return RowEnd::None,
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() < ROW_BYTES_MAX => {
                    self.fields.resize((2 * self.fields.len()).min(ROW_BYTES_MAX), 0);
                }
                ReadRecordResult::OutputFull => {
                    is_too_long = true;
                    fields_bytes = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    self.fields_beyond += self.ends_count;
                    self.ends_count = 0;
                }
                ReadRecordResult::Record if is_too_long => {
                    return RowEnd::TooLong { bytes: self.bytes_parsed() - bytes_start };
                }
                ReadRecordResult::Record if is_last => return RowEnd::AtEnd,
                ReadRecordResult::Record => return RowEnd::Whole,
                ReadRecordResult::End => return RowEnd::None,
            }
        }
    }

    fn bytes_parsed(&self) -> u64 {
        self.bytes_read - self.unread.len() as u64
    }

    /// Skips empty lines and the rest of a CR LF, so that a row's line is the one it begins on.
    fn skip_line_ends(&mut self) {
        loop {
            if self.unread.is_empty() {
                self.fill();
            }
            match self.buffer[self.unread.clone()].first() {
                Some(b'\n') => self.lines_skipped += 1,
                Some(b'\r') => {}
                _ => return,
            }
            self.unread.start += 1;
        }
    }

    fn fill(&mut self) {
        while !self.at_end && !self.read_once() {}
    }

    /// Says whether something came of it: bytes, the end or a failure.
    fn read_once(&mut self) -> bool {
        match self.input.read(&mut self.buffer) {
            Ok(bytes) => {
                self.unread = 0..bytes;
                self.bytes_read += bytes as u64;
                self.at_end = bytes == 0;
                if let Some(last) = self.buffer[..bytes].last() {
                    self.ends_within_a_line = *last != b'\n';
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            Err(error) => {
                self.failure = Some(error);
                self.at_end = true;
            }
        }
        true
    }
}
