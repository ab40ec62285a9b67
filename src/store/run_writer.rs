//! The tables of one run, written as its samples go by.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, MapBuilder, StringArray, StringBuilder,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::model::metric::Unit;
use crate::model::series::SeriesKey;
use crate::model::tags::TagSet;
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::schemas;

use super::manifest::TableFile;
use super::upload::Upload;
use super::{Store, StoreError};

/// Rows of one metric that make a row group: enough for a scan, few enough for the memory of some dozen metrics.
const ROW_GROUP_ROWS: usize = 128 << 10;
/// Rows of all metrics that wait for their row groups, about 24 bytes each.
const PENDING_ROWS_MAX: usize = 1 << 20;
const BATCH_ROWS: usize = 8 << 10;

/// The samples of one metric that wait for their row group.
#[derive(Debug, Default)]
struct Pending {
    metric: Arc<str>,
    times_ns: Vec<i64>,
    values: Vec<f64>,
    series: Vec<u32>,
    tag_sets: Vec<u32>,
    metadata: Vec<(u32, Box<str>)>,
}

/// One Parquet file under way.
struct TableWriter<'a> {
    table: &'static str,
    writer: ArrowWriter<Upload<'a>>,
    schema: SchemaRef,
    rows: u64,
}

impl<'a> TableWriter<'a> {
    fn start(
        store: &'a Store,
        attempt: &str,
        table: &'static str,
        schema: SchemaRef,
    ) -> Result<TableWriter<'a>, StoreError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            // Measured values hardly repeat: a dictionary of them would be built for nothing.
            .set_column_dictionary_enabled(ColumnPath::from("value"), false)
            .set_column_dictionary_enabled(ColumnPath::from("time"), false)
            .set_column_encoding(ColumnPath::from("time"), Encoding::DELTA_BINARY_PACKED)
            .build();
        let upload = Upload::start(store, attempt, &format!("{table}.parquet"))?;
        let writer = ArrowWriter::try_new(upload, schema.clone(), Some(properties))
            .map_err(|error| write_error(table, error))?;
        Ok(TableWriter { table, writer, schema, rows: 0 })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), StoreError> {
        let batch =
            RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| write_error(self.table, error))?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(|error| write_error(self.table, error))
    }

    fn end_row_group(&mut self) -> Result<(), StoreError> {
        self.writer.flush().map_err(|error| write_error(self.table, error))
    }

    fn finish(self) -> Result<TableFile, StoreError> {
        let table = self.table;
        let upload = self.writer.into_inner().map_err(|error| write_error(table, error))?;
        let bytes = upload.finish().map_err(|error| write_error(table, error))?;
        Ok(TableFile { table: table.to_owned(), file: format!("{table}.parquet"), rows: self.rows, bytes })
    }
}

fn write_error(table: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Write { what: format!("the table {table}"), cause: cause.into() }
}

/// Writes the tables of one run below `data/<attempt>/`.
pub struct RunWriter<'a> {
    store: &'a Store,
    attempt: String,
    samples: TableWriter<'a>,
    tag_sets: TableWriter<'a>,
    windows: TableWriter<'a>,
    pending: Vec<Pending>,
    pending_rows: usize,
    waiting_tag_sets: Vec<(u32, Arc<TagSet>)>,
    waiting_windows: Vec<Window>,
}

/// The samples of a block, as columns of equal length, with the ids that they have in this run.
pub struct SampleColumns<'b> {
    pub times_ns: &'b [i64],
    pub values: &'b [f64],
    /// Index into `Aggregate::metrics`.
    pub metrics: &'b [u32],
    pub series: &'b [u32],
    pub tag_sets: &'b [u32],
    /// By row, ascending.
    pub metadata: &'b [(u32, Box<str>)],
}

impl<'a> RunWriter<'a> {
    pub fn start(store: &'a Store, attempt: String) -> Result<RunWriter<'a>, StoreError> {
        Ok(RunWriter {
            samples: TableWriter::start(store, &attempt, "samples", schemas::samples())?,
            tag_sets: TableWriter::start(store, &attempt, "tag_sets", schemas::tag_sets())?,
            windows: TableWriter::start(store, &attempt, "windows", schemas::windows())?,
            store,
            attempt,
            pending: Vec::new(),
            pending_rows: 0,
            waiting_tag_sets: Vec::new(),
            waiting_windows: Vec::new(),
        })
    }

    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    pub fn append_tag_set(&mut self, id: u32, tags: Arc<TagSet>) -> Result<(), StoreError> {
        self.waiting_tag_sets.push((id, tags));
        if self.waiting_tag_sets.len() >= BATCH_ROWS { self.write_tag_sets() } else { Ok(()) }
    }

    pub fn append_windows(&mut self, windows: &mut Vec<Window>) -> Result<(), StoreError> {
        self.waiting_windows.append(windows);
        if self.waiting_windows.len() >= BATCH_ROWS { self.write_windows() } else { Ok(()) }
    }

    pub fn append_samples(&mut self, columns: &SampleColumns, aggregate: &Aggregate) -> Result<(), StoreError> {
        while self.pending.len() < aggregate.metrics.len() {
            let metric = aggregate.metrics[self.pending.len()].name.clone();
            self.pending.push(Pending { metric, ..Pending::default() });
        }
        let mut metadata = columns.metadata.iter().peekable();
        for row in 0..columns.times_ns.len() {
            let pending = &mut self.pending[columns.metrics[row] as usize];
            if let Some((_, text)) = metadata.next_if(|(at, _)| *at as usize == row) {
                pending.metadata.push((pending.times_ns.len() as u32, text.clone()));
            }
            pending.times_ns.push(columns.times_ns[row]);
            pending.values.push(columns.values[row]);
            pending.series.push(columns.series[row]);
            pending.tag_sets.push(columns.tag_sets[row]);
        }
        self.pending_rows += columns.times_ns.len();
        for metric in 0..self.pending.len() {
            if self.pending[metric].times_ns.len() >= ROW_GROUP_ROWS {
                self.write_row_group(metric)?;
            }
        }
        while self.pending_rows > PENDING_ROWS_MAX {
            let largest = (0..self.pending.len()).max_by_key(|metric| self.pending[*metric].times_ns.len());
            self.write_row_group(largest.expect("rows wait, so a metric has them"))?;
        }
        Ok(())
    }

    /// Writes what waits, and the series; returns the files.
    pub fn finish(mut self, aggregate: &Aggregate) -> Result<Vec<TableFile>, StoreError> {
        for metric in 0..self.pending.len() {
            self.write_row_group(metric)?;
        }
        self.write_tag_sets()?;
        self.write_windows()?;
        let mut series = TableWriter::start(self.store, &self.attempt, "series", schemas::series())?;
        series.write(series_columns(aggregate))?;
        Ok(vec![self.samples.finish()?, self.tag_sets.finish()?, series.finish()?, self.windows.finish()?])
    }

    fn write_row_group(&mut self, metric: usize) -> Result<(), StoreError> {
        let name = self.pending[metric].metric.clone();
        let pending = std::mem::take(&mut self.pending[metric]);
        self.pending[metric].metric = name;
        let rows = pending.times_ns.len();
        if rows == 0 {
            return Ok(());
        }
        self.pending_rows -= rows;
        let metric_names = Arc::new(StringArray::from(vec![&*pending.metric]));
        let metrics = DictionaryArray::new(Int32Array::from(vec![0; rows]), metric_names);
        let times = TimestampNanosecondArray::new(ScalarBuffer::from(pending.times_ns), None).with_timezone("UTC");
        self.samples.write(vec![
            Arc::new(times),
            Arc::new(metrics),
            Arc::new(Float64Array::new(ScalarBuffer::from(pending.values), None)),
            Arc::new(UInt32Array::new(ScalarBuffer::from(pending.series), None)),
            Arc::new(UInt32Array::new(ScalarBuffer::from(pending.tag_sets), None)),
            metadata_column(&pending.metadata, rows),
        ])?;
        self.samples.end_row_group()
    }

    fn write_tag_sets(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.waiting_tag_sets);
        if rows.is_empty() {
            return Ok(());
        }
        // The metric does not matter to the endpoint.
        let keys: Vec<SeriesKey> = rows.iter().map(|(_, tags)| SeriesKey::of("", tags)).collect();
        let tag = |name: &'static str| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, tags)| tags.non_empty(name)).collect::<StringArray>())
        };
        self.tag_sets.write(vec![
            Arc::new(rows.iter().map(|(id, _)| *id).collect::<UInt32Array>()),
            Arc::new(keys.iter().map(|key| key.endpoint.as_deref()).collect::<StringArray>()),
            tag("method"),
            tag("status"),
            tag("scenario"),
            tag("group"),
            Arc::new(keys.iter().map(|key| key.expected_response).collect::<BooleanArray>()),
            tag("check"),
            tag("error_code"),
            tags_column(&rows),
        ])
    }

    fn write_windows(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.waiting_windows);
        if rows.is_empty() {
            return Ok(());
        }
        let counts = |of: fn(&Window) -> u64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<UInt64Array>()) };
        let numbers =
            |of: fn(&Window) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(of))) };
        let percentile = |index: usize| -> ArrayRef {
            let values = rows.iter().map(|window| window.percentiles.map(|percentiles| percentiles[index]));
            Arc::new(values.collect::<Float64Array>())
        };
        let starts = TimestampNanosecondArray::from_iter_values(rows.iter().map(|window| window.start_ns));
        self.windows.write(vec![
            Arc::new(starts.with_timezone("UTC")),
            Arc::new(rows.iter().map(|window| window.series).collect::<UInt32Array>()),
            counts(|window| window.count),
            counts(|window| window.nonzero_count),
            numbers(|window| window.sum),
            numbers(|window| window.min),
            numbers(|window| window.max),
            numbers(|window| window.last),
            percentile(0),
            percentile(1),
            percentile(2),
            percentile(3),
        ])
    }
}

/// `metadata`: by row, ascending.
fn metadata_column(metadata: &[(u32, Box<str>)], rows: usize) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for (row, text) in metadata {
        builder.append_nulls(*row as usize - builder_len(&builder));
        builder.append_value(text);
    }
    builder.append_nulls(rows - builder_len(&builder));
    Arc::new(builder.finish())
}

fn builder_len(builder: &StringBuilder) -> usize {
    arrow::array::ArrayBuilder::len(builder)
}

fn tags_column(rows: &[(u32, Arc<TagSet>)]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (_, tags) in rows {
        for (name, value) in tags.iter() {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true).expect("each name has a value");
    }
    Arc::new(builder.finish())
}

fn series_columns(aggregate: &Aggregate) -> Vec<ArrayRef> {
    let series = &aggregate.series;
    let text =
        |of: fn(&SeriesKey) -> Option<&str>| -> ArrayRef { Arc::new(series.iter().map(of).collect::<StringArray>()) };
    let facts: HashMap<&str, (&str, &str)> = aggregate
        .metrics
        .iter()
        .map(|metric| {
            let kind = metric.kind.map_or("unknown", |kind| kind.name());
            let unit = metric.kind.map_or(Unit::None, |kind| Unit::of(kind, metric.contains));
            (&*metric.name, (kind, unit.name()))
        })
        .collect();
    let fact = |key: &SeriesKey| facts.get(key.metric.as_str()).copied().unwrap_or(("unknown", "none"));
    vec![
        Arc::new(UInt32Array::from_iter_values(0..series.len() as u32)),
        text(|key| Some(&key.metric)),
        Arc::new(series.iter().map(|key| Some(fact(key).0)).collect::<StringArray>()),
        Arc::new(series.iter().map(|key| Some(fact(key).1)).collect::<StringArray>()),
        text(|key| key.endpoint.as_deref()),
        text(|key| key.method.as_deref()),
        text(|key| key.scenario.as_deref()),
        text(|key| key.group.as_deref()),
        Arc::new(series.iter().map(|key| key.expected_response).collect::<BooleanArray>()),
        text(|key| key.check.as_deref()),
    ]
}
