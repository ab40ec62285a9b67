//! The tables of one run besides its samples, written as these go by.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, StringArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};

use crate::model::metric::Unit;
use crate::model::series::SeriesKey;
use crate::model::tags::TagSet;
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::schemas;

use super::manifest::TableFile;
use super::table_writer::{TableWriter, map_column};
use super::{Store, StoreError};

const BATCH_ROWS: usize = 8 << 10;

/// Writes tag sets, series and windows of one run below `data/<attempt>/`.
pub struct RunWriter<'a> {
    store: &'a Store,
    attempt: String,
    tag_sets: TableWriter<'a>,
    windows: TableWriter<'a>,
    waiting_tag_sets: Vec<(u32, Arc<TagSet>)>,
    waiting_windows: Vec<Window>,
}

impl<'a> RunWriter<'a> {
    pub fn start(store: &'a Store, attempt: String) -> Result<RunWriter<'a>, StoreError> {
        Ok(RunWriter {
            tag_sets: TableWriter::start(store, &attempt, "tag_sets", schemas::tag_sets())?,
            windows: TableWriter::start(store, &attempt, "windows", schemas::windows())?,
            store,
            attempt,
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

    /// Writes what waits, and the series; returns the files.
    pub fn finish(mut self, aggregate: &Aggregate) -> Result<Vec<TableFile>, StoreError> {
        self.write_tag_sets()?;
        self.write_windows()?;
        let mut series = TableWriter::start(self.store, &self.attempt, "series", schemas::series())?;
        series.write(series_columns(aggregate))?;
        Ok(vec![self.tag_sets.finish()?, series.finish()?, self.windows.finish()?])
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
            map_column(rows.iter().map(|(_, tags)| tags.iter())),
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
            Arc::new(rows.iter().map(|window| window.sketch.as_deref()).collect::<BinaryArray>()),
        ])
    }
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
