//! The samples of a run: gathered by metric, encoded by several threads, written as row groups of one metric each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, StringBuilder};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Float64Type, SchemaRef, TimestampNanosecondType, UInt32Type};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;
use crate::tables::schemas;

use super::constant_column::ConstantColumn;
use super::manifest::TableFile;
use super::table_writer::{ROW_GROUP_ROWS, properties, write_error};
use super::upload::Upload;
use super::{Store, StoreError};

const TABLE: &str = "samples";
/// Where the metric stands in the schema: it is the same in all rows of a row group.
const METRIC_COLUMN: usize = 1;

/// Rows of all metrics that wait for their row groups, about 24 bytes each.
const WAITING_ROWS_MAX: usize = 512 << 10;

/// What the store calls the label of a sample.
#[derive(Debug, Clone, Copy)]
pub struct SampleIds {
    /// Index into the metrics in the order of `Gathering::append_metric`.
    pub metric: u32,
    pub series: u32,
    pub tag_set: u32,
}

/// Samples of one metric, as columns of equal length.
#[derive(Debug, Default)]
pub struct RowGroup {
    times_ns: Vec<i64>,
    values: Vec<f64>,
    series: Vec<u32>,
    tag_sets: Vec<u32>,
    /// By row, ascending.
    metadata: Vec<(u32, Box<str>)>,
    metric: Arc<str>,
}

impl RowGroup {
    fn rows(&self) -> usize {
        self.times_ns.len()
    }
}

/// Samples that wait until their metric has enough of them.
#[derive(Debug)]
pub struct Gathering {
    /// By metric.
    waiting: Vec<RowGroup>,
    waiting_rows: usize,
    /// By metric: its rows in the block at hand.
    rows_of_block: Vec<Vec<u32>>,
    spent: Pool<RowGroup>,
}

impl Gathering {
    pub fn append_metric(&mut self, name: Arc<str>) {
        self.waiting.push(RowGroup { metric: name, ..RowGroup::default() });
        self.rows_of_block.push(Vec::new());
    }

    /// Takes the samples of a block; `full` gets each row group that is due. `ids`: by the labels of the block.
    pub fn append(&mut self, block: &SampleBlock, ids: &[SampleIds], mut full: impl FnMut(RowGroup)) {
        // First the rows of each metric, then its columns one after the other: faster than row by row.
        for (row, label) in block.labels.iter().enumerate() {
            self.rows_of_block[ids[*label as usize].metric as usize].push(row as u32);
        }
        for (row, text) in &block.metadata {
            let metric = ids[block.labels[*row as usize] as usize].metric as usize;
            let before = self.rows_of_block[metric].partition_point(|of_metric| of_metric < row);
            let group = &mut self.waiting[metric];
            group.metadata.push(((group.times_ns.len() + before) as u32, text.clone()));
        }
        for (group, rows) in self.waiting.iter_mut().zip(&mut self.rows_of_block) {
            let ids_of = |row: &u32| &ids[block.labels[*row as usize] as usize];
            group.times_ns.extend(rows.iter().map(|row| block.times_ns[*row as usize]));
            group.values.extend(rows.iter().map(|row| block.values[*row as usize]));
            group.series.extend(rows.iter().map(|row| ids_of(row).series));
            group.tag_sets.extend(rows.iter().map(|row| ids_of(row).tag_set));
            rows.clear();
        }
        self.waiting_rows += block.rows();
        for metric in 0..self.waiting.len() {
            if self.waiting[metric].rows() >= ROW_GROUP_ROWS {
                full(self.take(metric));
            }
        }
        while self.waiting_rows > WAITING_ROWS_MAX {
            let largest = (0..self.waiting.len()).max_by_key(|metric| self.waiting[*metric].rows());
            full(self.take(largest.expect("rows wait, so a metric has them")));
        }
    }

    /// Hands out what waits.
    pub fn finish(mut self) -> impl Iterator<Item = RowGroup> {
        self.waiting.sort_by_key(|group| std::cmp::Reverse(group.rows()));
        self.waiting.into_iter().filter(|group| group.rows() > 0)
    }

    fn take(&mut self, metric: usize) -> RowGroup {
        let next = RowGroup { metric: self.waiting[metric].metric.clone(), ..self.spent.take() };
        let group = std::mem::replace(&mut self.waiting[metric], next);
        self.waiting_rows -= group.rows();
        group
    }
}

/// The file of a run's samples; several threads may append to it at once.
pub struct SampleFile<'a> {
    writer: Mutex<SerializedFileWriter<Upload<'a>>>,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    metric_column: ColumnDescPtr,
    rows: AtomicU64,
    spent: Pool<RowGroup>,
}

/// A row group as it goes into the file.
struct Encoded {
    metric: ConstantColumn,
    /// The other columns, in the order of the schema.
    chunks: Vec<ArrowColumnChunk>,
}

impl<'a> SampleFile<'a> {
    pub fn start(store: &'a Store, attempt: &str) -> Result<SampleFile<'a>, StoreError> {
        let failed = |error: ParquetError| write_error(TABLE, error);
        let schema = schemas::samples();
        let upload = Upload::start(store, attempt, &format!("{TABLE}.parquet"))?;
        let parquet_schema = ArrowSchemaConverter::new().convert(&schema).map_err(failed)?;
        let writer = SerializedFileWriter::new(upload, parquet_schema.root_schema_ptr(), Arc::new(properties()));
        let writer = writer.map_err(failed)?;
        let metric_column = parquet_schema.column(METRIC_COLUMN);
        let columns = ArrowRowGroupWriterFactory::new(&writer, schema.clone());
        let (writer, rows, spent) = (Mutex::new(writer), AtomicU64::new(0), Pool::default());
        Ok(SampleFile { writer, columns, schema, metric_column, rows, spent })
    }

    pub fn gathering(&self) -> Gathering {
        let spent = self.spent.clone();
        Gathering { waiting: Vec::new(), waiting_rows: 0, rows_of_block: Vec::new(), spent }
    }

    /// Encodes a row group beside other threads, then writes it.
    pub fn append(&self, group: RowGroup) -> Result<(), StoreError> {
        self.rows.fetch_add(group.rows() as u64, Ordering::Relaxed);
        let Encoded { metric, chunks } = self.encode(group).map_err(|error| write_error(TABLE, error))?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.next_row_group().and_then(|mut group| {
            let mut chunks = chunks.into_iter();
            chunks.by_ref().take(METRIC_COLUMN).try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
            group.append_column(&metric.bytes, metric.close)?;
            chunks.try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
            group.close()
        });
        written.map(drop).map_err(|error| write_error(TABLE, error))
    }

    pub fn finish(self) -> Result<TableFile, StoreError> {
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let upload = writer.into_inner().map_err(|error| write_error(TABLE, error))?;
        let bytes = upload.finish().map_err(|error| write_error(TABLE, error))?;
        Ok(TableFile { table: TABLE.to_owned(), file: format!("{TABLE}.parquet"), rows: self.rows.into_inner(), bytes })
    }

    fn encode(&self, mut group: RowGroup) -> Result<Encoded, ParquetError> {
        let rows = group.rows();
        let metric = ConstantColumn::encode(self.metric_column.clone(), &group.metric, rows)?;
        let times = array::<TimestampNanosecondType>(&mut group.times_ns);
        let values = array::<Float64Type>(&mut group.values);
        let series = array::<UInt32Type>(&mut group.series);
        let tag_sets = array::<UInt32Type>(&mut group.tag_sets);
        let columns: [ArrayRef; 5] = [
            Arc::new(times.clone().with_timezone("UTC")),
            Arc::new(values.clone()),
            Arc::new(series.clone()),
            Arc::new(tag_sets.clone()),
            metadata_column(&group.metadata, rows),
        ];
        // No column is nested, so each has one leaf and one writer; their place in the file is not known yet, nor asked.
        let mut chunks = Vec::with_capacity(columns.len());
        let mut writers = self.columns.create_column_writers(0)?;
        writers.remove(METRIC_COLUMN);
        let fields = self.schema.fields().iter().enumerate().filter(|(index, _)| *index != METRIC_COLUMN);
        for (((_, field), column), mut writer) in fields.zip(columns).zip(writers) {
            for leaf in compute_leaves(field, &column)? {
                writer.write(&leaf)?;
            }
            chunks.push(writer.close()?);
        }
        group.times_ns = emptied(times);
        group.values = emptied(values);
        group.series = emptied(series);
        group.tag_sets = emptied(tag_sets);
        group.metadata.clear();
        self.spent.give(group);
        Ok(Encoded { metric, chunks })
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
