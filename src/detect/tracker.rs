//! Findings while a run goes on: from what each look finds, one message for each change.
//!
//! A look judges all that is known so far, so that what it finds comes and goes at the edge of what is sure. A finding is
//! told when two looks in a row have it, and taken back when `MISSING_LOOKS` in a row have not. What was told keeps its id
//! though a later look has it with another beginning, or with another series first: which of several endpoints that moved
//! together comes first may change with every look. If the report has another id in the end, the one told is taken back in
//! its favour. What was over before it was found is left to the report unless it is critical: nobody can act on it any more,
//! and each look can find some such stretch anywhere before it.

use std::collections::HashSet;

use crate::model::finding::{Finding, Severity};
use crate::model::time::Timestamp;

/// Looks in a row that must have a finding before it is told.
const LOOKS_MIN: u32 = 2;
/// Looks in a row without a finding after which it is taken back.
const MISSING_LOOKS: u32 = 3;
/// A change that is larger or smaller by this part is worth another message.
const GROWTH: f64 = 0.25;
/// Seconds after which an end is believed: one good second is none.
const CLOSED_SECONDS: f64 = 5.0;
/// Seconds of the run between two messages about the same finding.
const QUIET_SECONDS: f64 = 10.0;

/// One change of what is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Opened(Finding),
    /// Larger, smaller, or graver than was said.
    Grew(Finding),
    /// It has an end now.
    Closed(Finding),
    /// `told`: as it was told last; `replaced_by`: the id of the finding that says the same.
    Withdrawn {
        told: Finding,
        replaced_by: Option<String>,
    },
}

#[derive(Debug)]
struct Tracked {
    /// As it was found last.
    finding: Finding,
    /// As it was told last; none before that.
    told: Option<(Finding, Timestamp)>,
    found_count: u32,
    missing_count: u32,
}

/// What was found and told of one run so far.
#[derive(Debug, Default)]
pub struct Tracker {
    tracked: Vec<Tracked>,
}

impl Tracker {
    /// Takes what a look found, and returns what has changed since the last one. `at`: up to when it looked.
    pub fn take(&mut self, found: Vec<Finding>, at: Timestamp) -> Vec<Change> {
        for tracked in &mut self.tracked {
            tracked.missing_count += 1;
        }
        let ids: HashSet<String> = found.iter().map(|finding| finding.id.clone()).collect();
        for mut finding in found {
            let known = self.tracked.iter().position(|tracked| tracked.finding.id == finding.id);
            match known.or_else(|| self.told_as_another(&finding, &ids)).map(|index| &mut self.tracked[index]) {
                Some(tracked) => {
                    tracked.found_count = if tracked.missing_count > 1 { 1 } else { tracked.found_count + 1 };
                    finding.id.clone_from(&tracked.finding.id);
                    (tracked.finding, tracked.missing_count) = (finding, 0);
                }
                None => self.tracked.push(Tracked { finding, told: None, found_count: 1, missing_count: 0 }),
            }
        }
        let mut changes = Vec::new();
        for index in 0..self.tracked.len() {
            let Tracked { finding, missing_count: 0, .. } = &self.tracked[index] else { continue };
            let mut told = self.tracked.iter().filter(|tracked| tracked.told.is_some());
            let is_successor = told.any(|tracked| is_same(&tracked.finding, finding));
            changes.extend(self.tracked[index].change(at, is_successor));
        }
        self.drop_missing(&mut changes);
        changes
    }

    /// Returns the place of what was told of the same under an id that this look does not have. `ids`: those that it has.
    fn told_as_another(&self, finding: &Finding, ids: &HashSet<String>) -> Option<usize> {
        self.tracked.iter().position(|Tracked { finding: known, told, missing_count, .. }| {
            let is_free = *missing_count > 0 && !ids.contains(&known.id);
            told.is_some() && is_free && known.kind == finding.kind && is_same(known, finding)
        })
    }

    /// Returns what has to be taken back when the run is judged as a whole.
    pub fn end(self, findings: &[Finding]) -> Vec<Change> {
        let told = self.tracked.into_iter().filter_map(|tracked| tracked.told);
        let gone = told.filter(|(told, _)| findings.iter().all(|finding| finding.id != told.id));
        gone.map(|(told, _)| Change::Withdrawn {
            replaced_by: findings.iter().find(|finding| is_same(&told, finding)).map(|finding| finding.id.clone()),
            told,
        })
        .collect()
    }

    /// Forgets what is no longer found, and takes back what was told of it.
    fn drop_missing(&mut self, changes: &mut Vec<Change>) {
        let successor = |gone: &Finding| {
            let mut told = self.tracked.iter().filter(|tracked| tracked.missing_count == 0 && tracked.told.is_some());
            told.find(|tracked| is_same(gone, &tracked.finding)).map(|tracked| tracked.finding.id.clone())
        };
        let is_gone = |tracked: &Tracked| {
            let is_replaced = tracked.missing_count > 0 && successor(&tracked.finding).is_some();
            tracked.missing_count >= MISSING_LOOKS || is_replaced
        };
        let gone: Vec<bool> = self.tracked.iter().map(is_gone).collect();
        for (tracked, _) in self.tracked.iter().zip(&gone).filter(|(_, gone)| **gone) {
            if let Some((told, _)) = &tracked.told {
                changes.push(Change::Withdrawn { told: told.clone(), replaced_by: successor(&tracked.finding) });
            }
        }
        let mut gone = gone.into_iter();
        self.tracked.retain(|_| !gone.next().unwrap_or(false));
    }
}

impl Tracked {
    /// Says what is to be told of a finding that the look at `at` has. `is_successor`: of one that was told.
    fn change(&mut self, at: Timestamp, is_successor: bool) -> Option<Change> {
        let finding = &self.finding;
        let change = match &self.told {
            None if is_over(finding, at) && !is_successor && finding.severity != Severity::Critical => return None,
            None if self.found_count >= LOOKS_MIN => Change::Opened(finding.clone()),
            None => return None,
            Some((told, when)) if !is_over(told, *when) && is_over(finding, at) => Change::Closed(finding.clone()),
            Some((told, _)) if finding.severity < told.severity => Change::Grew(finding.clone()),
            Some((told, when)) if at.seconds_since(*when) >= QUIET_SECONDS => {
                let has_begun_again = is_over(told, *when) && !is_over(finding, at);
                if !has_begun_again && !has_moved(told, finding) {
                    return None;
                }
                Change::Grew(finding.clone())
            }
            Some(_) => return None,
        };
        self.told = Some((finding.clone(), at));
        Some(change)
    }
}

fn has_moved(told: &Finding, now: &Finding) -> bool {
    let size = |finding: &Finding| finding.change.map_or(0.0, |change| change.point);
    (size(now) - size(told)).abs() > GROWTH * size(told).abs()
}

/// Says whether a finding has an end that is to be believed. `at`: up to when was looked.
fn is_over(finding: &Finding, at: Timestamp) -> bool {
    finding.until.is_some_and(|until| at.seconds_since(until) >= CLOSED_SECONDS)
}

/// Says whether two findings tell of the same time, and in the same direction.
fn is_same(one: &Finding, other: &Finding) -> bool {
    let end = |finding: &Finding| finding.until.unwrap_or(Timestamp(i64::MAX));
    let overlap = match (one.from, other.from) {
        (Some(one_from), Some(other_from)) => one_from < end(other) && other_from < end(one),
        // Of the whole run: the same unless the series says otherwise.
        (None, None) => one.series.metric == other.series.metric,
        _ => false,
    };
    overlap && one.direction == other.direction && one.id != other.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Direction, FindingKind, Scale, SeriesReference, Severity};
    use crate::model::metric::Unit;
    use crate::model::time::NANOSECONDS_PER_SECOND;

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds * NANOSECONDS_PER_SECOND)
    }

    fn finding(id: &str, from: i64, until: Option<i64>, point: f64, severity: Severity) -> Finding {
        let change = crate::model::finding::Change {
            scale: Scale::Ratio,
            point,
            low: Some(point - 0.1),
            high: Some(point + 0.1),
            confidence: Some(0.95),
        };
        Finding {
            id: id.to_owned(),
            kind: FindingKind::Anomaly,
            title: String::new(),
            severity,
            direction: Direction::Worse,
            series: SeriesReference { metric: "m".to_owned(), tags: Default::default(), statistic: None },
            also: Vec::new(),
            from: Some(seconds(from)),
            until: until.map(seconds),
            since_run: None,
            suspect: false,
            observed: 1.0,
            expected: None,
            unit: Unit::Milliseconds,
            change: Some(change),
            evidence: Vec::new(),
        }
    }

    /// Each look by what it finds, and what is said of it.
    fn check(looks: &[(&[Finding], &[&str])], end: (&[Finding], &[&str])) {
        let said = |changes: Vec<Change>| -> Vec<String> {
            let one = |change: Change| match change {
                Change::Opened(finding) => format!("opened {}", finding.id),
                Change::Grew(finding) => format!("grew {}", finding.id),
                Change::Closed(finding) => format!("closed {}", finding.id),
                Change::Withdrawn { told, replaced_by } => {
                    format!("withdrawn {}{}", told.id, replaced_by.map_or(String::new(), |by| format!(" for {by}")))
                }
            };
            changes.into_iter().map(one).collect()
        };
        let mut tracker = Tracker::default();
        for (second, (found, expected)) in looks.iter().enumerate() {
            assert_eq!(said(tracker.take(found.to_vec(), seconds(second as i64))), *expected, "look {second}");
        }
        assert_eq!(said(tracker.end(end.0)), end.1);
    }

    #[test]
    fn one_message_for_each_change() {
        use Severity::{Critical, Major};
        let a = |until, point, severity| [finding("a", 0, until, point, severity)];
        check(
            &[
                (&[], &[]),
                (&a(None, 0.5, Major), &[]),
                (&a(None, 0.5, Major), &["opened a"]),
                (&a(None, 0.55, Major), &[]),
                (&a(None, 1.5, Critical), &["grew a"]),
                (&[], &[]),
                (&a(Some(5), 1.5, Critical), &[]),
                (&a(None, 1.5, Critical), &[]),
                (&a(Some(3), 1.5, Critical), &["closed a"]),
                (&a(Some(3), 1.5, Critical), &[]),
            ],
            (&a(Some(3), 1.4, Critical), &[]),
        );
    }

    #[test]
    fn what_flickers_is_not_told_and_what_goes_away_is_taken_back() {
        let a = [finding("a", 10, None, 0.5, Severity::Major)];
        check(&[(&a, &[]), (&[], &[]), (&a, &[]), (&[], &[])], (&[], &[]));
        check(&[(&a, &[]), (&a, &["opened a"]), (&[], &[]), (&[], &[]), (&[], &["withdrawn a"])], (&[], &[]));
        check(&[(&a, &[]), (&a, &["opened a"])], (&[], &["withdrawn a"]));
    }

    #[test]
    fn what_was_over_before_it_was_found_is_left_to_the_report_unless_it_is_critical() {
        let over = |severity| [finding("a", -20, Some(-10), 0.5, severity)];
        let (major, critical) = (over(Severity::Major), over(Severity::Critical));
        check(&[(&major, &[]), (&major, &[]), (&major, &[])], (&major, &[]));
        check(&[(&critical, &[]), (&critical, &["opened a"])], (&critical, &[]));
        // Of what was told the end has to be.
        let told = [finding("b", -19, None, 0.5, Severity::Major)];
        check(&[(&told, &[]), (&told, &["opened b"]), (&major, &["closed b"])], (&major, &["withdrawn b for a"]));
    }

    #[test]
    fn what_was_told_keeps_its_id_until_the_report_has_another() {
        let a = [finding("a", 19, None, 0.5, Severity::Major)];
        let b = [finding("b", 20, None, 0.5, Severity::Major)];
        check(&[(&a, &[]), (&a, &["opened a"]), (&b, &[]), (&a, &[]), (&b, &[])], (&a, &[]));
        check(&[(&a, &[]), (&a, &["opened a"]), (&b, &[]), (&b, &[])], (&b, &["withdrawn a for b"]));
        // Two at once are two.
        let both = [b[0].clone(), a[0].clone()];
        check(&[(&a, &[]), (&a, &["opened a"]), (&both, &[]), (&both, &["opened b"])], (&both, &[]));
        // Of another kind it is another.
        let mut leak = b.clone();
        leak[0].kind = FindingKind::Leak;
        let looks: &[(&[Finding], &[&str])] =
            &[(&a, &[]), (&a, &["opened a"]), (&leak, &[]), (&leak, &["opened b", "withdrawn a for b"])];
        check(looks, (&leak, &[]));
    }
}
