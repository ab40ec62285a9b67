//! What the servers said about a run as tables: metrics, spans, profiles, log lines.
//!
//! They are written some thousand rows at a time: as arrays a recording would be in memory once more.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, StringBuilder, TimestampNanosecondArray,
};

use crate::model::telemetry::{LogLine, MetricSeries, Profile, Span, Spent, Telemetry, hex, increase, words_of};
use crate::model::time::Timestamp;
use crate::tables::schemas;

use super::manifest::TableFile;
use super::table_writer::{TableWriter, map_column};
use super::{Store, StoreError};

/// Rows of one batch.
const ROWS: usize = 8 << 10;

/// The tables that this module writes.
pub const NAMES: [&str; 4] = ["host_metrics", "spans", "profiles", "logs"];

/// Writes one file a table below `data/<attempt>/`; returns them for the manifest. What the servers said nothing of has no table.
pub fn write(store: &Store, attempt: &str, telemetry: &Telemetry) -> Result<Vec<TableFile>, StoreError> {
    let [host_metrics, spans, profiles, logs] = NAMES;
    let mut tables = Vec::new();
    if !telemetry.metrics.is_empty() {
        let mut table = TableWriter::start(store, attempt, host_metrics, schemas::host_metrics())?;
        for series in &telemetry.metrics {
            for from in (0..series.points.len()).step_by(ROWS) {
                table.write(metric_columns(series, from))?;
            }
        }
        tables.push(table.finish()?);
    }
    if !telemetry.spans.is_empty() {
        let mut table = TableWriter::start(store, attempt, spans, schemas::spans())?;
        let children = children(&telemetry.spans);
        for rows in telemetry.spans.chunks(ROWS) {
            table.write(span_columns(rows, &children))?;
        }
        tables.push(table.finish()?);
    }
    if !telemetry.profiles.is_empty() {
        let mut table = TableWriter::start(store, attempt, profiles, schemas::profiles())?;
        for profile in &telemetry.profiles {
            let spent: Vec<(&str, Spent)> = profile.spent().into_iter().collect();
            for rows in spent.chunks(ROWS) {
                table.write(profile_columns(profile, rows))?;
            }
        }
        tables.push(table.finish()?);
    }
    if !telemetry.logs.is_empty() {
        let mut table = TableWriter::start(store, attempt, logs, schemas::logs())?;
        for rows in telemetry.logs.chunks(ROWS) {
            table.write(log_columns(rows))?;
        }
        tables.push(table.finish()?);
    }
    Ok(tables)
}

fn metric_columns(series: &MetricSeries, from: usize) -> Vec<ArrayRef> {
    let until = (from + ROWS).min(series.points.len());
    let points = &series.points[from..until];
    let counts_up = series.counts_up();
    let rate = |index: usize| {
        let (before, at) = (series.points.get(index.checked_sub(1)?)?, series.points[index]);
        let seconds = at.0.seconds_since(before.0);
        (counts_up && seconds > 0.0).then(|| increase(before.1, at.1) / seconds)
    };
    let labels = || series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    vec![
        times(points.iter().map(|(at, _)| *at)),
        repeated(&series.name, points.len()),
        match series.service() {
            Some(service) => repeated(service, points.len()),
            None => Arc::new(StringArray::new_null(points.len())),
        },
        Arc::new(Float64Array::from_iter_values(points.iter().map(|(_, value)| *value))),
        Arc::new((from..until).map(rate).collect::<Float64Array>()),
        map_column(points.iter().map(|_| labels())),
    ]
}

type Children<'s> = HashMap<([u8; 16], [u8; 8]), Vec<&'s Span>>;

fn children(spans: &[Span]) -> Children<'_> {
    let mut children: Children = HashMap::new();
    for span in spans {
        if let Some(parent) = span.parent_id {
            children.entry((span.trace_id, parent)).or_default().push(span);
        }
    }
    children
}

fn span_columns(rows: &[Span], children: &Children) -> Vec<ArrayRef> {
    let own_ms = |span: &Span| {
        let below = children.get(&(span.trace_id, span.span_id));
        span.own_ms(below.map_or(&[], Vec::as_slice))
    };
    let attributes =
        rows.iter().map(|span| span.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    vec![
        times(rows.iter().map(|span| span.start)),
        times(rows.iter().map(|span| span.end)),
        texts(rows.iter().map(|span| span.service.as_str())),
        texts(rows.iter().map(|span| span.name.as_str())),
        texts(rows.iter().map(|span| span.kind.name())),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(Span::duration_ms))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(own_ms))),
        Arc::new(rows.iter().map(|span| Some(span.is_error)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|span| Some(hex(&span.trace_id))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|span| Some(hex(&span.span_id))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|span| span.parent_id.map(|id| hex(&id))).collect::<StringArray>()),
        map_column(attributes),
    ]
}

fn profile_columns(profile: &Profile, rows: &[(&str, Spent)]) -> Vec<ArrayRef> {
    let time = |at: Timestamp| times(rows.iter().map(|_| at));
    vec![
        time(profile.from),
        time(profile.until),
        repeated(&profile.service, rows.len()),
        repeated(&profile.profile_type, rows.len()),
        texts(rows.iter().map(|(function, _)| *function)),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, spent)| spent.by_itself))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, spent)| spent.total))),
        repeated(profile.unit(), rows.len()),
    ]
}

fn log_columns(rows: &[LogLine]) -> Vec<ArrayRef> {
    let template = |line: &LogLine| words_of(&line.said()).join(" ");
    let labels = rows.iter().map(|line| line.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    vec![
        times(rows.iter().map(|line| line.at)),
        texts(rows.iter().map(|line| line.service.as_str())),
        Arc::new(rows.iter().map(|line| line.level.as_deref()).collect::<StringArray>()),
        texts(rows.iter().map(|line| line.message.as_str())),
        Arc::new(StringArray::from_iter_values(rows.iter().map(template))),
        Arc::new(rows.iter().map(|line| line.trace_id.map(|id| hex(&id))).collect::<StringArray>()),
        map_column(labels),
    ]
}

fn times(of: impl Iterator<Item = Timestamp>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(of.map(|at| at.0)).with_timezone("UTC"))
}

fn texts<'t>(of: impl Iterator<Item = &'t str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(of))
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(rows, text.len() * rows);
    for _ in 0..rows {
        builder.append_value(text);
    }
    Arc::new(builder.finish())
}
