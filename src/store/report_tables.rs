//! The tables that are written at the end of a run: its metrics and thresholds, also when only a summary is known, and blocks.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::model::blocks::{Block, BlockSeries};
use crate::model::report::{AnalysisReport, MetricReport, ThresholdJudge, ThresholdReport};
use crate::model::series::SeriesKey;
use crate::tables::schemas;

use super::manifest::TableFile;
use super::{Store, StoreError};

/// Writes `blocks.parquet`, `metrics.parquet` and `thresholds.parquet` below `data/<attempt>/`; returns them for the manifest.
///
/// `blocks`: none when only a summary is known.
pub fn write(
    store: &Store,
    attempt: &str,
    report: &AnalysisReport,
    blocks: &[BlockSeries],
) -> Result<Vec<TableFile>, StoreError> {
    let blocks = put(store, attempt, "blocks", schemas::blocks(), blocks_columns(blocks))?;
    let metrics = put(store, attempt, "metrics", schemas::metrics(), metrics_columns(&report.metrics))?;
    let thresholds = put(store, attempt, "thresholds", schemas::thresholds(), thresholds_columns(&report.thresholds))?;
    Ok(vec![blocks, metrics, thresholds])
}

fn put(
    store: &Store,
    attempt: &str,
    table: &str,
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
) -> Result<TableFile, StoreError> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Write {
        what: format!("the table {table}"),
        cause,
    };
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|error| failed(error.into()))?;
    let properties = WriterProperties::builder().set_compression(Compression::LZ4_RAW).build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(|error| failed(error.into()))?;
    writer.write(&batch).map_err(|error| failed(error.into()))?;
    let bytes = writer.into_inner().map_err(|error| failed(error.into()))?;
    let file = format!("{table}.parquet");
    let bytes_count = bytes.len() as u64;
    store.put(attempt, &file, bytes)?;
    Ok(TableFile { table: table.to_owned(), file, rows: batch.num_rows() as u64, bytes: bytes_count })
}

fn blocks_columns(blocks: &[BlockSeries]) -> Vec<ArrayRef> {
    let rows: Vec<(&BlockSeries, u32, &Block)> = blocks
        .iter()
        .flat_map(|series| {
            let blocks = series.blocks.iter().zip(0..);
            blocks.filter_map(move |(block, index)| Some((series, index, block.as_ref()?)))
        })
        .collect();
    let texts = |of: fn(&SeriesKey) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(|(series, _, _)| of(&series.key)).collect::<StringArray>())
    };
    let counts = |of: fn(&Block) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, _, block)| of(block))))
    };
    let percentile = |index: usize| -> ArrayRef {
        let of = |block: &Block| block.percentiles.map(|percentiles| percentiles[index]);
        Arc::new(rows.iter().map(|(_, _, block)| of(block)).collect::<Float64Array>())
    };
    vec![
        texts(|key| Some(&key.metric)),
        texts(|key| key.endpoint.as_deref()),
        texts(|key| key.method.as_deref()),
        texts(|key| key.scenario.as_deref()),
        texts(|key| key.group.as_deref()),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, index, _)| *index))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(series, _, _)| series.block_seconds))),
        counts(|block| block.samples_count),
        counts(|block| block.nonzero_count),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(_, _, block)| block.sum))),
        percentile(0),
        percentile(1),
        percentile(2),
    ]
}

fn metrics_columns(metrics: &[MetricReport]) -> Vec<ArrayRef> {
    use crate::model::metric::MetricKind::{Counter, Rate};
    let texts =
        |of: fn(&MetricReport) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(metrics.iter().map(of))) };
    let figure = |name: &str| -> ArrayRef {
        Arc::new(metrics.iter().map(|metric| metric.values.get(name).copied()).collect::<Float64Array>())
    };
    // `count` and `rate` of a counter are its sum and the sum per second.
    let figure_of = |kind, name: &str| -> ArrayRef {
        let value = |metric: &MetricReport| metric.values.get(name).copied().filter(|_| metric.kind == kind);
        Arc::new(metrics.iter().map(value).collect::<Float64Array>())
    };
    let count = |name: &str| -> ArrayRef {
        let value = |metric: &MetricReport| metric.values.get(name).map(|count| *count as i64);
        Arc::new(metrics.iter().map(value).collect::<Int64Array>())
    };
    vec![
        texts(|metric| &metric.name),
        texts(|metric| metric.kind.name()),
        texts(|metric| metric.unit.name()),
        Arc::new(metrics.iter().map(|metric| metric.count.map(|count| count as i64)).collect::<Int64Array>()),
        figure("avg"),
        figure("min"),
        figure("med"),
        figure("max"),
        figure("p90"),
        figure("p95"),
        figure("p99"),
        figure("p99_9"),
        figure_of(Counter, "count"),
        figure_of(Counter, "rate"),
        figure_of(Rate, "rate"),
        count("passes"),
        count("fails"),
        figure("value"),
        Arc::new(Float64Array::from_iter_values(metrics.iter().map(|metric| metric.quantile_error))),
    ]
}

fn thresholds_columns(thresholds: &[ThresholdReport]) -> Vec<ArrayRef> {
    let texts = |of: fn(&ThresholdReport) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(thresholds.iter().map(of)))
    };
    let flags = |of: fn(&ThresholdReport) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(thresholds.iter().map(|threshold| Some(of(threshold)))))
    };
    vec![
        texts(|threshold| &threshold.metric),
        texts(|threshold| &threshold.expression),
        flags(|threshold| threshold.passed),
        Arc::new(thresholds.iter().map(|threshold| threshold.observed).collect::<Float64Array>()),
        Arc::new(thresholds.iter().map(|threshold| threshold.headroom).collect::<Float64Array>()),
        flags(|threshold| threshold.abort_on_fail),
        texts(|threshold| match threshold.judged_by {
            ThresholdJudge::Samples => "samples",
            ThresholdJudge::Summary => "summary",
        }),
    ]
}
