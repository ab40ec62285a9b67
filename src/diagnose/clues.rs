//! What a cause is told with: its sentence, what would refute it, and the pieces of evidence.

use crate::model::diagnosis::{CauseKind, Clue};
use crate::model::telemetry::{Profile, hex};

use super::functions::ProfileDifference;
use super::traces::{Operation, OperationTimes, mean};
use super::vitals::Vital;

const TRACES_NAMED: usize = 2;

/// The vital signs that show a cause, besides the time itself.
pub fn vitals_shown(kind: CauseKind) -> &'static [Vital] {
    match kind {
        CauseKind::Cpu => &[Vital::Processor, Vital::Throttled],
        CauseKind::Lock => &[Vital::Locks],
        CauseKind::Pool => &[Vital::Pools, Vital::Queue],
        CauseKind::SlowQuery => &[Vital::Database, Vital::Processor],
        CauseKind::Gc => &[Vital::Collector, Vital::Allocated, Vital::Processor],
        CauseKind::LogStorm => &[Vital::Processor],
        _ => &[],
    }
}

pub fn sentence(
    service: &str,
    kind: CauseKind,
    place: &str,
    function: Option<&str>,
    times: Option<&OperationTimes>,
) -> String {
    let by = |before: &str| function.map_or(String::new(), |function| format!("{before}{function}"));
    match kind {
        CauseKind::Cpu => format!("{service} burns more CPU{place}{}", by(", in ")),
        CauseKind::Lock => format!("requests wait for a lock of {service}{place}{}", by(", held by ")),
        CauseKind::Pool => format!("requests wait for a connection of a pool of {service}{place}"),
        CauseKind::SlowQuery => {
            let statement = times.and_then(|times| times.statement.as_deref());
            let statement = statement.map_or(String::new(), |statement| format!(": {statement}"));
            format!("{service} waits longer for its database{place}{statement}")
        }
        CauseKind::Gc => format!("{service} collects garbage{place}: it allocates far more{}", by(", in ")),
        CauseKind::LogStorm => format!("{service} writes far more log lines than its requests explain"),
        CauseKind::Timeout => format!("calls of {service}{place} are not answered before their deadline"),
        _ => format!("{service} waits{place} for something that none of its own metrics shows"),
    }
}

/// What would show that a cause is none.
pub fn refutation(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::Cpu => {
            "the same requests burn as much CPU in a healthy run, or stay slow with the function taken out"
        }
        CauseKind::Lock => {
            "as long waits for locks in the healthy time, or requests that stay slow while nobody holds the lock"
        }
        CauseKind::Pool => "free connections in the pool while requests are slow",
        CauseKind::SlowQuery => "the statement is as fast when it is run by hand at the same load",
        CauseKind::Memory => "a figure that falls back when the load ends",
        CauseKind::Gc => "as much allocated in the healthy time, or requests that stay slow with the collector off",
        CauseKind::Timeout => "the called service answers the same calls in time when it is asked by hand",
        CauseKind::Errors => "the same errors in the healthy time, or requests that fail without it",
        CauseKind::LogStorm => "as many lines in the healthy time",
        CauseKind::Network => "round trips between the two that are as short as in the healthy time",
        _ => "what it waits for answers as fast as in the healthy time",
    }
}

pub fn span_clue(operation: &Operation, times: &OperationTimes) -> Clue {
    Clue::Span {
        service: operation.service.clone(),
        operation: operation.name.clone(),
        entrance: operation.entrance.clone(),
        own_ms_healthy: mean(&times.healthy_ms),
        own_ms_faulty: mean(&times.faulty_ms),
        traces_healthy_count: times.healthy_ms.len() as u64,
        traces_faulty_count: times.faulty_ms.len() as u64,
        statement: times.statement.clone(),
        error: times.error_message.clone(),
    }
}

pub fn trace_clues(times: &OperationTimes) -> Vec<Clue> {
    times
        .slowest
        .iter()
        .take(TRACES_NAMED)
        .map(|(id, own_ms)| Clue::Trace { trace_id: hex(id), own_ms: *own_ms })
        .collect()
}

/// None where the spans burned nothing, or nothing of it in the function.
pub fn span_profile_clue(profile: &Profile, function: &str) -> Option<Clue> {
    let all: i64 = profile.stacks.iter().map(|(_, value)| value).sum();
    let spent = profile.spent().get(function).map_or(0, |spent| spent.total);
    (spent > 0).then(|| Clue::SpanProfile {
        service: profile.service.clone(),
        profile_type: profile.profile_type.clone(),
        function: function.to_owned(),
        share: spent as f64 / all as f64,
        spans_count: profile.spans_count as u64,
        from: profile.from,
        until: profile.until,
    })
}

pub fn profile_clue(service: &str, shown: &ProfileDifference) -> Option<Clue> {
    let function = shown.function()?;
    Some(Clue::Profile {
        service: service.to_owned(),
        profile_type: shown.profile_type.clone(),
        function: function.name.clone(),
        healthy_per_second: function.total_healthy,
        faulty_per_second: function.total_faulty,
        healthy_from: shown.healthy.from,
        healthy_until: shown.healthy.until,
        faulty_from: shown.faulty.from,
        faulty_until: shown.faulty.until,
    })
}
