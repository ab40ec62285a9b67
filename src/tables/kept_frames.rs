//! The frames and the blocks of a kept run, from its tables.

use arrow::array::{Array, AsArray, RecordBatch};
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
        read_keys(&batch, &mut keys)?;
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
    let mut keys = Vec::new();
    read_keys(batch, &mut keys)?;
    let indices = column("block")?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let seconds = column("block_seconds")?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let count = |name: &str| column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong);
    let (samples, nonzero) = (count("samples_count")?, count("nonzero_count")?);
    let number = |name: &str| column(name)?.as_primitive_opt::<Float64Type>().ok_or_else(wrong);
    let (sums, percentiles) = (number("sum")?, [number("p50")?, number("p95")?, number("p99")?]);
    for (row, key) in keys.into_iter().enumerate() {
        let index = indices.value(row) as usize;
        if index >= 2 * BLOCKS_MIN {
            return Err(not_ours("blocks", "a run has fewer blocks"));
        }
        if series.last().is_none_or(|last| last.key != key) {
            series.push(BlockSeries { key, block_seconds: seconds.value(row), blocks: Vec::new() });
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

/// `keys`: by series id, which the file has ascending from 0.
fn read_keys(batch: &RecordBatch, keys: &mut Vec<SeriesKey>) -> Result<(), FramesError> {
    let text = |name: &str, row: usize| -> Option<String> {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    for row in 0..batch.num_rows() {
        let metric = text("metric", row).ok_or_else(|| not_ours("series", "a series has no metric"))?;
        let expected = batch.column_by_name("expected_response").and_then(|column| column.as_boolean_opt());
        keys.push(SeriesKey {
            metric,
            endpoint: text("endpoint", row),
            method: text("method", row),
            scenario: text("scenario", row),
            group: text("group", row),
            expected_response: expected.filter(|column| column.is_valid(row)).map(|column| column.value(row)),
            check: text("check", row),
        });
    }
    Ok(())
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
