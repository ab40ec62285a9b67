//! The likely causes in words: one way for all forms.

use crate::model::diagnosis::{Clue, Diagnosis};

use super::words;

/// Letters of a text from outside that are shown: a line of a log may be a page.
const OUTSIDE_LETTERS_MAX: usize = 240;

/// Returns the head of a cause: what kind, who, what.
pub fn head(diagnosis: &Diagnosis) -> String {
    let kind = diagnosis.kind.name().replace('_', " ");
    let beside = diagnosis.beside_run.as_ref().map_or(String::new(), |run| format!(", beside run {}", short(run)));
    format!("{kind} in {}: {}{beside}", short(&diagnosis.service), short(&diagnosis.what))
}

/// A piece of evidence: what it is of, what it was when all was well and in the time of the finding, and what else is to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub what: String,
    pub healthy: Option<String>,
    pub faulty: String,
    pub note: String,
}

/// Returns what a piece of evidence says, in one line.
pub fn clue(clue: &Clue) -> String {
    let Row { what, healthy, faulty, note } = row(clue);
    let before = healthy.map_or(String::new(), |healthy| format!("{healthy} to "));
    let note = if note.is_empty() { String::new() } else { format!(", {note}") };
    format!("{what}: {before}{faulty}{note}")
}

pub fn row(clue: &Clue) -> Row {
    match clue {
        Clue::Metric { service, metric, what, unit, healthy, faulty, moved_at, .. } => {
            let since = moved_at.map(|time| format!("from {}", time.clock()));
            let by = (!metric.is_empty()).then(|| format!("by {}", short(metric)));
            Row {
                what: format!("{}: {}", short(service), short(what)),
                healthy: Some(figure(*healthy, unit)),
                faulty: figure(*faulty, unit),
                note: since.into_iter().chain(by).collect::<Vec<_>>().join(", "),
            }
        }
        Clue::Span {
            service,
            operation,
            entrance,
            own_ms_healthy,
            own_ms_faulty,
            traces_healthy_count,
            traces_faulty_count,
            statement,
            error,
        } => {
            let entered = (operation != entrance).then(|| format!("of {}", short(entrance)));
            let seen = format!("in {traces_healthy_count} and {traces_faulty_count} traces");
            let statement = statement.as_ref().map(|statement| short(statement));
            let error = error.as_ref().map(|error| format!("fails with {}", short(error)));
            Row {
                what: format!("span {} of {}, by itself", short(operation), short(service)),
                healthy: (*traces_healthy_count > 0).then(|| figure(*own_ms_healthy, "ms")),
                faulty: figure(*own_ms_faulty, "ms"),
                note: entered.into_iter().chain([seen]).chain(statement).chain(error).collect::<Vec<_>>().join(", "),
            }
        }
        Clue::Trace { trace_id, own_ms } => Row {
            what: format!("trace {}", short(trace_id)),
            healthy: None,
            faulty: figure(*own_ms, "ms"),
            note: "in that span by itself".to_owned(),
        },
        Clue::Profile {
            profile_type,
            function,
            healthy_per_second,
            faulty_per_second,
            faulty_from,
            faulty_until,
            ..
        } => {
            let kind = profile_type.split(':').take(2).collect::<Vec<_>>().join(" ");
            Row {
                what: format!("function {}", short(function)),
                healthy: Some(per_second(*healthy_per_second, profile_type)),
                faulty: per_second(*faulty_per_second, profile_type),
                note: format!("{} profile of {} to {}", short(&kind), faulty_from.clock(), faulty_until.clock()),
            }
        }
        Clue::SpanProfile { profile_type, function, share, spans_count, from, until, .. } => {
            let kind = profile_type.split(':').take(2).collect::<Vec<_>>().join(" ");
            Row {
                what: format!("function {} in slow requests", short(function)),
                healthy: None,
                faulty: words::percent(*share),
                note: format!(
                    "of the {} profile of their {spans_count} spans from {} to {}",
                    short(&kind),
                    from.clock(),
                    until.clock()
                ),
            }
        }
        Clue::Log { level, template, healthy_per_second, faulty_per_second, .. } => Row {
            what: format!("log line {}", short(template)),
            healthy: Some(figure(*healthy_per_second, "a second")),
            faulty: figure(*faulty_per_second, "a second"),
            note: short(level),
        },
    }
}

/// Returns a text from outside on one line, cut where it is long.
pub fn short(text: &str) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.chars().count() <= OUTSIDE_LETTERS_MAX {
        return line;
    }
    line.chars().take(OUTSIDE_LETTERS_MAX - 1).chain(['…']).collect()
}

/// Returns a value with its unit, as the vital signs have it.
pub fn figure(value: f64, unit: &str) -> String {
    match unit {
        "bytes" => words::bytes(value),
        "bytes/s" => format!("{} a second", words::bytes(value)),
        "s/s" => format!("{} s a second", words::short(value)),
        "1/s" => format!("{} a second", words::short(value)),
        "" => words::short(value),
        _ => format!("{} {}", words::short(value), short(unit)),
    }
}

/// Returns what a profile has a second.
pub fn per_second(value: f64, profile_type: &str) -> String {
    format!("{} a second", of_a_second(value, profile_type))
}

/// Returns what a profile has of each second, where all stands beside figures of as many: seconds, bytes, or a count.
pub fn of_a_second(value: f64, profile_type: &str) -> String {
    const NANOSECONDS: f64 = 1e9;
    if profile_type.contains("nanoseconds") {
        format!("{} s", words::short(value / NANOSECONDS))
    } else if profile_type.contains("bytes") {
        words::bytes(value)
    } else {
        words::short(value)
    }
}
