//! The words for what time tells of thresholds and objectives.

use crate::model::report::{ObjectiveReport, ObjectiveStatus, ThresholdOverTime};

use super::columns::thousands;
use super::words::{duration, percent, sentence};

/// Words for how long a threshold was broken; none where it never was.
pub fn over_time(course: &ThresholdOverTime) -> Option<String> {
    if course.broken_windows_count == 0 {
        return None;
    }
    let longest = match (course.longest_from, course.longest_until) {
        (Some(from), Some(until)) => format!(", longest from {} to {}", from.clock(), until.clock()),
        _ => String::new(),
    };
    Some(format!("broken for {} of {}{longest}", duration(course.broken_seconds), duration(course.judged_seconds)))
}

/// Words for how fast an error budget burns.
pub fn objective(report: &ObjectiveReport) -> String {
    let objective = &report.objective;
    let whose =
        objective.endpoint.as_ref().map_or("requests".to_owned(), |name| format!("requests of {}", sentence(name)));
    let good = objective.latency_ms.map_or("good".to_owned(), |limit| format!("good within {limit} ms"));
    let figures = format!(
        "{}: {} of {whose} {good}; {} of {} bad, {:.1} times the budget (95 %: {:.1} to {:.1})",
        sentence(&objective.name),
        percent(objective.objective),
        thousands(report.bad_count),
        thousands(report.count),
        report.burn_rate,
        report.low,
        report.high
    );
    let worst = match (report.worst_burn_rate, report.worst_from, report.worst_until) {
        (Some(rate), Some(from), Some(until)) if rate > 1.0 => {
            format!("; {rate:.1} times from {} to {}", from.clock(), until.clock())
        }
        _ => String::new(),
    };
    figures + &worst
}

/// As it stands before an objective.
pub fn status(status: ObjectiveStatus) -> &'static str {
    match status {
        ObjectiveStatus::Held => "held",
        ObjectiveStatus::Burning => "burning",
        ObjectiveStatus::NotEnoughRequests => "not enough requests",
    }
}
