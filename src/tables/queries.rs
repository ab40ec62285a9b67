//! The named queries: the files of `queries/`, and what their headers say of them.
//!
//! A header is the comment lines at a file's top: the question; `Parameters:`, each as `$name (type)` or
//! `$name (type, default value)`, or `none`; `Returns:`; then what may surprise.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::common::ScalarValue;

use crate::model::time::Timestamp;

use super::query_error::{QueryError, nearest};

const FILES: [(&str, &str); 12] = [
    ("checks", include_str!("../../queries/checks.sql")),
    ("dropped_iterations", include_str!("../../queries/dropped_iterations.sql")),
    ("endpoint_latency_per_window", include_str!("../../queries/endpoint_latency_per_window.sql")),
    ("errors_by_status_and_endpoint", include_str!("../../queries/errors_by_status_and_endpoint.sql")),
    ("metric_history", include_str!("../../queries/metric_history.sql")),
    ("slowest_endpoints", include_str!("../../queries/slowest_endpoints.sql")),
    ("slowest_requests", include_str!("../../queries/slowest_requests.sql")),
    ("system_per_window", include_str!("../../queries/system_per_window.sql")),
    ("threshold_headroom", include_str!("../../queries/threshold_headroom.sql")),
    ("throughput_per_window", include_str!("../../queries/throughput_per_window.sql")),
    ("two_runs_compared", include_str!("../../queries/two_runs_compared.sql")),
    ("vus_and_iterations", include_str!("../../queries/vus_and_iterations.sql")),
];

/// A question that can be asked by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedQuery {
    pub name: &'static str,
    pub question: String,
    pub parameters: Vec<Parameter>,
    /// The columns with their types and units, and the order of the rows.
    pub returns: String,
    /// What may surprise.
    pub notes: Vec<String>,
    pub sql: &'static str,
}

/// A `$name` in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    /// None: it must be given. `none` stands for SQL's NULL.
    pub default: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// An id, a unique start of one, `last`, `last~2`.
    Run,
    Text,
    Integer,
    Number,
    /// Such as `10 seconds`.
    Interval,
    /// RFC 3339.
    Timestamp,
}

impl ParameterKind {
    const ALL: [ParameterKind; 6] = [
        ParameterKind::Run,
        ParameterKind::Text,
        ParameterKind::Integer,
        ParameterKind::Number,
        ParameterKind::Interval,
        ParameterKind::Timestamp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ParameterKind::Run => "run",
            ParameterKind::Text => "text",
            ParameterKind::Integer => "integer",
            ParameterKind::Number => "number",
            ParameterKind::Interval => "interval",
            ParameterKind::Timestamp => "timestamp",
        }
    }

    /// Returns the value that `text` stands for; a run's must be an id already.
    pub fn value(self, parameter: &str, text: &str) -> Result<ScalarValue, QueryError> {
        let wrong = |example: &str| QueryError::Parameter {
            message: format!("--param {parameter}={text}: expected {}, such as {example}", self.name()),
        };
        Ok(match self {
            ParameterKind::Run | ParameterKind::Text => ScalarValue::from(text),
            ParameterKind::Integer => ScalarValue::Int64(Some(text.parse().map_err(|_| wrong("10"))?)),
            ParameterKind::Number => {
                let number: f64 = text.parse().map_err(|_| wrong("0.95"))?;
                ScalarValue::Float64(Some(
                    Some(number).filter(|number| number.is_finite()).ok_or_else(|| wrong("0.95"))?,
                ))
            }
            ParameterKind::Interval => {
                let interval = parse_interval_month_day_nano(text).map_err(|_| wrong("'10 seconds'"))?;
                if (interval.months, interval.days) == (0, 0) && interval.nanoseconds <= 0 {
                    return Err(wrong("'10 seconds'"));
                }
                ScalarValue::IntervalMonthDayNano(Some(interval))
            }
            ParameterKind::Timestamp => {
                let time: Timestamp = text.parse().map_err(|_| wrong("2026-11-24T02:33:25Z"))?;
                ScalarValue::TimestampNanosecond(Some(time.0), Some("UTC".into()))
            }
        })
    }

    /// Returns SQL's NULL of this type.
    pub fn none(self) -> ScalarValue {
        match self {
            ParameterKind::Run | ParameterKind::Text => ScalarValue::Utf8(None),
            ParameterKind::Integer => ScalarValue::Int64(None),
            ParameterKind::Number => ScalarValue::Float64(None),
            ParameterKind::Interval => ScalarValue::IntervalMonthDayNano(None),
            ParameterKind::Timestamp => ScalarValue::TimestampNanosecond(None, Some("UTC".into())),
        }
    }
}

/// Returns all named queries, by name.
pub fn named_queries() -> Vec<NamedQuery> {
    FILES.iter().map(|(name, sql)| parse(name, sql)).collect()
}

pub fn named_query(name: &str) -> Result<NamedQuery, QueryError> {
    let found = FILES.iter().find(|(known, _)| *known == name).map(|(name, sql)| parse(name, sql));
    found.ok_or_else(|| QueryError::NoQuery {
        name: name.to_owned(),
        nearest: nearest(name, FILES.iter().map(|(name, _)| *name)),
    })
}

/// Reads a query's header. A file that has none is a fault that the house rules find.
fn parse(name: &'static str, sql: &'static str) -> NamedQuery {
    let mut header = sql.lines().map_while(|line| line.strip_prefix("-- "));
    let question = header.next().unwrap_or_default().to_owned();
    let mut query =
        NamedQuery { name, question, parameters: Vec::new(), returns: String::new(), notes: Vec::new(), sql };
    for line in header {
        if let Some(parameters) = line.strip_prefix("Parameters:") {
            query.parameters = parameters.split('$').skip(1).filter_map(parameter).collect();
        } else if let Some(returns) = line.strip_prefix("Returns:") {
            query.returns = returns.trim().to_owned();
        } else {
            query.notes.push(line.to_owned());
        }
    }
    query
}

/// Reads `name (type)` or `name (type, default value)`.
fn parameter(text: &str) -> Option<Parameter> {
    let (name, rest) = text.split_once(" (")?;
    let inside = rest.split_once(')')?.0;
    let (kind, default) = match inside.split_once(", default ") {
        Some((kind, default)) => (kind, Some(default.to_owned())),
        None => (inside, None),
    };
    let kind = ParameterKind::ALL.into_iter().find(|known| known.name() == kind)?;
    Some(Parameter { name: name.to_owned(), kind, default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_in_a_header_is_read() {
        for query in named_queries() {
            let named = query
                .sql
                .lines()
                .filter(|line| line.starts_with("-- Parameters:"))
                .flat_map(|line| line.split('$').skip(1));
            assert_eq!(named.count(), query.parameters.len(), "{}", query.name);
            assert!(!query.question.is_empty() && !query.returns.is_empty(), "{}", query.name);
            for parameter in query.parameters.iter().filter(|parameter| parameter.kind != ParameterKind::Run) {
                let default = parameter.default.as_deref().filter(|default| *default != "none");
                default.map(|default| parameter.kind.value(&parameter.name, default).unwrap());
            }
        }
    }

    #[test]
    fn a_value_that_is_not_of_its_type_is_refused() {
        for (kind, text) in [
            (ParameterKind::Integer, "ten"),
            (ParameterKind::Number, "NaN"),
            (ParameterKind::Interval, "10 lightyears"),
            (ParameterKind::Interval, "0 seconds"),
            (ParameterKind::Timestamp, "yesterday"),
        ] {
            assert!(kind.value("p", text).is_err(), "{} {text}", kind.name());
        }
    }
}
