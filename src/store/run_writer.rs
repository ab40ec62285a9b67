//! The tables of one run, written as its samples go by.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, DictionaryArray, Float64Array, Int32Array, MapBuilder, PrimitiveArray,
    StringArray, StringBuilder, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Float64Type, SchemaRef, TimestampNanosecondType, UInt32Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::model::metric::Unit;
use crate::model::series::SeriesKey;
use crate::model::tags::TagSet;
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::samples::SampleBlock;
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
    rows_of_block: Vec<u32>,
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
            // Measured values hardly repeat and ids are short: only of texts a dictionary is worth its time.
            .set_dictionary_enabled(false)
            .set_column_dictionary_enabled(ColumnPath::from("metric"), true)
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

/// What the store calls the label of a sample.
#[derive(Debug, Clone, Copy)]
pub struct SampleIds {
    /// Index into the metrics in the order of `append_metric`.
    pub metric: u32,
    pub series: u32,
    pub tag_set: u32,
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

    pub fn append_metric(&mut self, name: Arc<str>) {
        self.pending.push(Pending { metric: name, ..Pending::default() });
    }

    /// `ids`: by the labels of the block.
    pub fn append_samples(&mut self, block: &SampleBlock, ids: &[SampleIds]) -> Result<(), StoreError> {
        // First the rows of each metric, then its columns one after the other: four times faster than row by row.
        for (row, label) in block.labels.iter().enumerate() {
            self.pending[ids[*label as usize].metric as usize].rows_of_block.push(row as u32);
        }
        for (row, text) in &block.metadata {
            let pending = &mut self.pending[ids[block.labels[*row as usize] as usize].metric as usize];
            let before = pending.rows_of_block.partition_point(|of_metric| of_metric < row);
            pending.metadata.push(((pending.times_ns.len() + before) as u32, text.clone()));
        }
        for pending in &mut self.pending {
            let Pending { rows_of_block, times_ns, values, series, tag_sets, .. } = pending;
            let ids_of = |row: &u32| &ids[block.labels[*row as usize] as usize];
            times_ns.extend(rows_of_block.iter().map(|row| block.times_ns[*row as usize]));
            values.extend(rows_of_block.iter().map(|row| block.values[*row as usize]));
            series.extend(rows_of_block.iter().map(|row| ids_of(row).series));
            tag_sets.extend(rows_of_block.iter().map(|row| ids_of(row).tag_set));
            rows_of_block.clear();
        }
        self.pending_rows += block.rows();
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

    /// Writes the samples, tag sets and windows that wait.
    pub fn finish_samples(&mut self) -> Result<(), StoreError> {
        for metric in 0..self.pending.len() {
            self.write_row_group(metric)?;
        }
        self.write_tag_sets()?;
        self.write_windows()
    }

    /// After `finish_samples`: writes the series; returns the files.
    pub fn finish(self, aggregate: &Aggregate) -> Result<Vec<TableFile>, StoreError> {
        let mut series = TableWriter::start(self.store, &self.attempt, "series", schemas::series())?;
        series.write(series_columns(aggregate))?;
        Ok(vec![self.samples.finish()?, self.tag_sets.finish()?, series.finish()?, self.windows.finish()?])
    }

    fn write_row_group(&mut self, metric: usize) -> Result<(), StoreError> {
        let pending = &mut self.pending[metric];
        let rows = pending.times_ns.len();
        if rows == 0 {
            return Ok(());
        }
        self.pending_rows -= rows;
        let metric_names = Arc::new(StringArray::from(vec![&*pending.metric]));
        let metrics = DictionaryArray::new(Int32Array::from(vec![0; rows]), metric_names);
        let times = array::<TimestampNanosecondType>(&mut pending.times_ns);
        let values = array::<Float64Type>(&mut pending.values);
        let series = array::<UInt32Type>(&mut pending.series);
        let tag_sets = array::<UInt32Type>(&mut pending.tag_sets);
        let metadata = metadata_column(&pending.metadata, rows);
        pending.metadata.clear();
        self.samples.write(vec![
            Arc::new(times.clone().with_timezone("UTC")),
            Arc::new(metrics),
            Arc::new(values.clone()),
            Arc::new(series.clone()),
            Arc::new(tag_sets.clone()),
            metadata,
        ])?;
        self.samples.end_row_group()?;
        let pending = &mut self.pending[metric];
        pending.times_ns = emptied(times);
        pending.values = emptied(values);
        pending.series = emptied(series);
        pending.tag_sets = emptied(tag_sets);
        Ok(())
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

/// Hands a column over without a copy.
fn array<T: ArrowPrimitiveType>(column: &mut Vec<T::Native>) -> PrimitiveArray<T> {
    PrimitiveArray::new(ScalarBuffer::from(std::mem::take(column)), None)
}

/// Takes the memory of a column back that is written, for the next row group.
fn emptied<T: ArrowPrimitiveType>(array: PrimitiveArray<T>) -> Vec<T::Native> {
    let (_, values, _) = array.into_parts();
    let mut column = Vec::from(values);
    column.clear();
    column
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
