//! Log lines that become far more for a while, whether or not k6 notices: they cost disks and money before they cost time.

use std::collections::BTreeMap;

use crate::model::telemetry::Telemetry;
use crate::model::time::Timestamp;
use crate::stats::robust::median;

use super::contrast::Window;

/// Lines are counted in parts of so many seconds; a storm lasts for as many parts, and for no more than a share of the run.
pub const PART_SECONDS: f64 = 5.0;
const PARTS_MIN: usize = 2;
const SHARE_MAX: f64 = 0.6;
/// Lines a second that are a storm: so many times the usual ones, and so many more.
pub const RATIO_MIN: f64 = 5.0;
pub const LINES_MIN: f64 = 5.0;

/// A storm of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Storm {
    pub service: String,
    pub window: Window,
    pub usual_per_second: f64,
    pub lines_per_second: f64,
}

/// Returns the storms of a run, by service: of each the longest.
///
/// By the lines that were read, or by the patterns that the server counted where it knows of more lines.
pub fn storms(telemetry: &Telemetry, run: Window) -> Vec<Storm> {
    let parts_count = (run.seconds() / PART_SECONDS) as usize;
    let mut counts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (service, at, lines) in counted(telemetry) {
        let of_service = counts.entry(service).or_insert_with(|| vec![0.0; parts_count]);
        let part = (at.seconds_since(run.from) / PART_SECONDS) as usize;
        if let Some(count) = of_service.get_mut(part).filter(|_| run.has(at)) {
            *count += lines;
        }
    }
    counts.into_iter().filter_map(|(service, counts)| storm(service, &counts, run)).collect()
}

/// Returns how many lines of which service there were when; those of a pattern evenly over its steps.
fn counted(telemetry: &Telemetry) -> Vec<(&str, Timestamp, f64)> {
    if !telemetry.has_more_patterns_than_lines() {
        return telemetry.logs.iter().map(|line| (line.service.as_str(), line.at, 1.0)).collect();
    }
    let mut counted = Vec::new();
    for pattern in &telemetry.log_patterns {
        let seconds = pattern.step_seconds();
        let pieces = (seconds / PART_SECONDS).ceil().max(1.0);
        for (at, lines) in &pattern.counts {
            let piece = |index: u32| at.after_seconds(seconds * f64::from(index) / pieces);
            counted.extend((0..pieces as u32).map(|index| (pattern.service.as_str(), piece(index), lines / pieces)));
        }
    }
    counted
}

fn storm(service: &str, counts: &[f64], run: Window) -> Option<Storm> {
    let usual = median(counts);
    let limit = (RATIO_MIN * usual).max(usual + LINES_MIN * PART_SECONDS);
    let (from, until) = stretch(counts, limit)?;
    let lines: f64 = counts[from..until].iter().sum();
    Some(Storm {
        service: service.to_owned(),
        window: parts_window(run, from, until),
        usual_per_second: usual / PART_SECONDS,
        lines_per_second: lines / PART_SECONDS / (until - from) as f64,
    })
}

/// Returns the longest stretch of parts that reach a limit; none that is too short, or so long that it is the usual.
pub fn stretch(parts: &[f64], limit: f64) -> Option<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for part in (0..parts.len()).filter(|part| parts[*part] >= limit) {
        match spans.last_mut() {
            Some((_, until)) if *until == part => *until = part + 1,
            _ => spans.push((part, part + 1)),
        }
    }
    let longest = spans.into_iter().max_by_key(|(from, until)| until - from);
    longest.filter(|(from, until)| until - from >= PARTS_MIN && (until - from) as f64 <= SHARE_MAX * parts.len() as f64)
}

/// Returns the time of some parts of a run.
pub fn parts_window(run: Window, from: usize, until: usize) -> Window {
    let time = |part: usize| run.from.after_seconds(part as f64 * PART_SECONDS);
    Window { from: time(from), until: time(until) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::telemetry::{LogLine, LogPattern};
    use crate::model::time::NANOSECONDS_PER_SECOND;

    #[test]
    fn a_storm_is_told_and_a_busy_service_is_not() {
        let time = |ms: i64| Timestamp(ms * NANOSECONDS_PER_SECOND / 1000);
        let run = Window { from: time(0), until: time(100_000) };
        let lines = |rate: &dyn Fn(i64) -> i64| -> Telemetry {
            let of_second = |second: i64| (0..rate(second)).map(move |line| second * 1000 + line);
            let at = (0..100).flat_map(of_second);
            let logs = at.map(|ms| LogLine {
                at: time(ms),
                service: "gate".to_owned(),
                level: None,
                message: String::new(),
                trace_id: None,
                labels: BTreeMap::new(),
            });
            Telemetry { logs: logs.collect(), ..Telemetry::default() }
        };
        let found = storms(&lines(&|second| if (40..60).contains(&second) { 30 } else { 2 }), run);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].window, found[0].lines_per_second),
            (Window { from: time(40_000), until: time(60_000) }, 30.0)
        );
        assert!(storms(&lines(&|_| 30), run).is_empty());
        assert!(storms(&lines(&|second| if second == 50 { 60 } else { 2 }), run).is_empty());
        assert!(storms(&Telemetry::default(), run).is_empty());

        let count = |step: i64| (time(step * 10_000), if (4..6).contains(&step) { 300.0 } else { 20.0 });
        let counts = (0..10).map(count).collect();
        let pattern = LogPattern { service: "gate".to_owned(), level: None, text: String::new(), counts };
        let counted = Telemetry { log_patterns: vec![pattern], ..lines(&|second| second % 2) };
        assert_eq!(storms(&counted, run), found);
    }
}
