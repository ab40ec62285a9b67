//! The frames and the blocks of a kept run, from its tables.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::model::blocks::{BLOCKS_MIN, Block, BlockSeries};
use crate::model::series::SeriesKey;
use crate::stats::sketch::Sketch;

use super::aggregate::Window;
use super::frames::Frames;
use super::schemas;

#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    #[error("failed to read the table {table}")]
    Read {
        table: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the table {table} is not as it was written: {reason}")]
    NotOurs { table: &'static str, reason: String },
}

/// Reads frames from the files of a run's tables `series` and `windows`.
pub fn frames(series: Bytes, windows: Bytes) -> Result<Frames, FramesError> {
    let mut keys = Vec::new();
    for batch in batches(
        "series",
        series,
        &["series_id", "metric", "endpoint", "method", "scenario", "group", "expected_response", "check"],
    )? {
        let columns = KeyColumns::of(&batch)?;
        // By series id, which the file has ascending from 0.
        keys.extend((0..batch.num_rows()).map(|row| columns.key(row)));
    }
    let mut frames = Frames::default();
    let columns = ["window_start", "series_id", "samples_count", "nonzero_count", "sum", "last", "sketch"];
    for batch in batches("windows", windows, &columns)? {
        read_windows(&batch, &keys, &mut frames)?;
    }
    Ok(frames)
}

/// Reads blocks from the file of a run's table `blocks`.
pub fn blocks(file: Bytes) -> Result<Vec<BlockSeries>, FramesError> {
    let columns: Vec<String> = schemas::blocks().fields().iter().map(|field| field.name().clone()).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut series: Vec<BlockSeries> = Vec::new();
    for batch in batches("blocks", file, &columns)? {
        read_blocks(&batch, &mut series)?;
    }
    Ok(series)
}

/// The rows of a series follow each other, by block.
fn read_blocks(batch: &RecordBatch, series: &mut Vec<BlockSeries>) -> Result<(), FramesError> {
    let wrong = || not_ours("blocks", "a column has another type");
    let column = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
    let keys = KeyColumns::of(batch)?;
    let indices = column("block")?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let seconds = column("block_seconds")?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let count = |name: &str| column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong);
    let (samples, nonzero) = (count("samples_count")?, count("nonzero_count")?);
    let number = |name: &str| column(name)?.as_primitive_opt::<Float64Type>().ok_or_else(wrong);
    let (sums, percentiles) = (number("sum")?, [number("p50")?, number("p95")?, number("p99")?]);
    for row in 0..batch.num_rows() {
        let index = indices.value(row) as usize;
        if index >= 2 * BLOCKS_MIN {
            return Err(not_ours("blocks", "a run has fewer blocks"));
        }
        let goes_on = match row.checked_sub(1) {
            Some(before) => keys.is_same(row, before),
            None => series.last().is_some_and(|last| last.key == keys.key(row)),
        };
        if !goes_on {
            series.push(BlockSeries { key: keys.key(row), block_seconds: seconds.value(row), blocks: Vec::new() });
        }
        let blocks = &mut series.last_mut().expect("one was there or was put in").blocks;
        if blocks.len() <= index {
            blocks.resize(index + 1, None);
        }
        blocks[index] = Some(Block {
            samples_count: samples.value(row),
            nonzero_count: nonzero.value(row),
            sum: sums.value(row),
            percentiles: percentiles[0].is_valid(row).then(|| percentiles.map(|column| column.value(row))),
        });
    }
    Ok(())
}

/// Reads `columns` of a file, which come in the order of the file.
fn batches(table: &'static str, file: Bytes, columns: &[&str]) -> Result<Vec<RecordBatch>, FramesError> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| FramesError::Read { table, cause };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(error.into()))?;
    if let Some(column) = columns.iter().find(|column| builder.schema().column_with_name(column).is_none()) {
        return Err(FramesError::NotOurs { table, reason: format!("it has no column {column}") });
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|error| failed(error.into()))?;
    reader.collect::<Result<_, _>>().map_err(|error| failed(error.into()))
}

/// The columns that name a series.
struct KeyColumns<'b> {
    metric: &'b StringArray,
    /// Endpoint, method, scenario, group, check.
    tags: [Option<&'b StringArray>; 5],
    expected_response: Option<&'b BooleanArray>,
}

impl<'b> KeyColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<KeyColumns<'b>, FramesError> {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
        let metric = text("metric").filter(|metric| metric.null_count() == 0);
        Ok(KeyColumns {
            metric: metric.ok_or_else(|| not_ours("series", "a series has no metric"))?,
            tags: ["endpoint", "method", "scenario", "group", "check"].map(text),
            expected_response: batch.column_by_name("expected_response").and_then(|column| column.as_boolean_opt()),
        })
    }

    fn key(&self, row: usize) -> SeriesKey {
        let [endpoint, method, scenario, group, check] = self.tags.map(|tag| text_of(tag, row).map(str::to_owned));
        let metric = self.metric.value(row).to_owned();
        SeriesKey { metric, endpoint, method, scenario, group, expected_response: self.expected(row), check }
    }

    /// Says whether two rows are of one series.
    fn is_same(&self, row: usize, other: usize) -> bool {
        self.metric.value(row) == self.metric.value(other)
            && self.tags.iter().all(|tag| text_of(*tag, row) == text_of(*tag, other))
            && self.expected(row) == self.expected(other)
    }

    fn expected(&self, row: usize) -> Option<bool> {
        self.expected_response.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }
}

fn text_of(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn read_windows(batch: &RecordBatch, keys: &[SeriesKey], frames: &mut Frames) -> Result<(), FramesError> {
    let wrong = || not_ours("windows", "a column has another type");
    let column = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
    let starts = column("window_start")?.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(wrong)?;
    let series = column("series_id")?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let count = |name: &str| column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong);
    let (counts, nonzero) = (count("samples_count")?, count("nonzero_count")?);
    let number = |name: &str| column(name)?.as_primitive_opt::<Float64Type>().ok_or_else(wrong);
    let (sums, lasts) = (number("sum")?, number("last")?);
    let sketches = column("sketch")?.as_binary_opt::<i32>().ok_or_else(wrong)?;
    for row in 0..batch.num_rows() {
        let sketch = sketches.is_valid(row).then(|| sketches.value(row).to_vec());
        if let Some(bytes) = &sketch {
            Sketch::default().merge_bytes(bytes).map_err(|error| not_ours("windows", &error.to_string()))?;
        }
        let key =
            keys.get(series.value(row) as usize).ok_or_else(|| not_ours("windows", "it names an unknown series"))?;
        let window = Window {
            start_ns: starts.value(row),
            series: series.value(row),
            count: counts.value(row),
            sum: sums.value(row),
            // Frames do not keep the extremes.
            min: f64::NAN,
            max: f64::NAN,
            last: lasts.value(row),
            nonzero_count: nonzero.value(row),
            percentiles: None,
            sketch,
        };
        frames.add(&window, key);
    }
    Ok(())
}

fn not_ours(table: &'static str, reason: &str) -> FramesError {
    FramesError::NotOurs { table, reason: reason.to_owned() }
}
