//! The likely causes in words: one way for all forms.

use crate::model::diagnosis::{Clue, Diagnosis};

use super::words;

/// Letters of a text from outside that are shown: a line of a log may be a page.
const OUTSIDE_LETTERS_MAX: usize = 240;

/// Returns the head of a cause: how likely, who, what.
pub fn head(diagnosis: &Diagnosis) -> String {
    let kind = diagnosis.kind.name().replace('_', " ");
    format!("{}. {} in {}: {}", diagnosis.rank, kind, short(&diagnosis.service), short(&diagnosis.what))
}

/// Returns what a piece of evidence says.
pub fn clue(clue: &Clue) -> String {
    match clue {
        Clue::Metric { service, metric, what, unit, healthy, faulty, moved_at } => {
            let since = moved_at.map_or(String::new(), |time| format!(", from {}", time.clock()));
            let by = if metric.is_empty() { String::new() } else { format!(" ({})", short(metric)) };
            format!("{}: {what} {} to {}{since}{by}", short(service), figure(*healthy, unit), figure(*faulty, unit))
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
            let entered = if operation == entrance { String::new() } else { format!(" (of {})", short(entrance)) };
            let statement = statement.as_ref().map_or(String::new(), |statement| format!("; {}", short(statement)));
            let error = error.as_ref().map_or(String::new(), |error| format!("; fails with {}", short(error)));
            format!(
                "span {} of {}{entered}: {} to {} by itself, in {traces_healthy_count} and {traces_faulty_count} traces{statement}{error}",
                short(operation),
                short(service),
                figure(*own_ms_healthy, "ms"),
                figure(*own_ms_faulty, "ms")
            )
        }
        Clue::Trace { trace_id, own_ms } => format!("trace {}: {} of it", short(trace_id), figure(*own_ms, "ms")),
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
            let (healthy, faulty) =
                (per_second(*healthy_per_second, profile_type), per_second(*faulty_per_second, profile_type));
            format!(
                "{} profile of {} to {}: {} {healthy} to {faulty}",
                short(&kind),
                faulty_from.clock(),
                faulty_until.clock(),
                short(function)
            )
        }
        Clue::Log { level, template, healthy_per_second, faulty_per_second, .. } => format!(
            "{}log line {}: {} to {}",
            if level.is_empty() { String::new() } else { format!("{} ", short(level)) },
            short(template),
            figure(*healthy_per_second, "lines/s"),
            figure(*faulty_per_second, "lines/s")
        ),
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

fn figure(value: f64, unit: &str) -> String {
    match unit {
        "bytes" | "bytes/s" => format!("{}{}", words::bytes(value), unit.trim_start_matches("bytes")),
        _ => format!("{} {unit}", words::short(value)),
    }
}

fn per_second(value: f64, profile_type: &str) -> String {
    if profile_type.contains("nanoseconds") {
        figure(value / 1e9, "s/s")
    } else if profile_type.contains("bytes") {
        figure(value, "bytes/s")
    } else {
        figure(value, "1/s")
    }
}
