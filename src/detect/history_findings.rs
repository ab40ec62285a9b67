//! What the judgement by history says, in the terms of the comparison: figures with their change, and findings with the run
//! since which it is so.

use crate::model::finding::{Change, Direction, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::report::Detectable;
use crate::model::series::SeriesKey;
use crate::stats::run_season::Cycle;

use super::finding_id::finding_id;
use super::history::{Judged, PastRun};
use super::resampled::CONFIDENCE;
use super::subjects::{CHANGE_MIN, Moved, Subject};

/// The chance with which a change that is called detectable would be found.
const POWER: f64 = 0.8;
/// Newest runs that have a change which is called detectable: the fewest that can convict.
const DETECTABLE_RUNS: usize = 2;
/// What people ask a history for: whether +5 % could be seen.
const ASKED_CHANGE: f64 = 0.05;
/// Changes that are asked about: up to four times as high.
const CHANGE_MAX: f64 = 3.0;

/// The earlier runs of the test and what they say of the newest one.
#[derive(Debug, Default)]
pub struct History {
    /// Oldest first.
    pub past: Vec<PastRun>,
    pub judged: Vec<Judged>,
}

/// A figure over the runs, and the change of it that was found.
pub struct Course<'h> {
    pub finding: &'h Finding,
    /// The earlier runs that have the figure, oldest first.
    pub past: Vec<&'h PastRun>,
    /// Of those and of the newest run, as it was judged.
    pub values: &'h [f64],
    /// With 95 % the change began with one of the runs from the first id to the second one.
    pub began: (String, String),
}

/// What is asked of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A change that runs agree on, or one beyond any bad run.
    Stands,
    /// The newest run alone.
    Suspect,
    /// A little more from run to run.
    Drifts,
}

impl History {
    /// Returns the first run of the oldest step for the worse that is found, if an earlier run shows it already.
    pub fn first_of_step(&self) -> Option<&str> {
        let is_found =
            |judged: &&Judged| judged.is_worse && judged.convicts() && judged.judgement.effect.exp_m1() >= CHANGE_MIN;
        let first = self.judged.iter().filter(is_found).filter_map(|judged| judged.since).min()?;
        Some(&self.past[first].id)
    }

    /// Returns the course of the gravest figure that runs agree on that it is worse; `run_id`: of the newest run.
    pub fn course<'h>(&'h self, findings: &'h [Finding], run_id: &str) -> Option<Course<'h>> {
        findings.iter().find_map(|finding| {
            let since = finding.since_run.as_ref().filter(|_| finding.direction == Direction::Worse)?;
            let mut judged = self.of(&finding.series, finding.series.statistic.as_deref()?);
            let judged = judged.find(|judged| judged.is_worse)?;
            let past: Vec<&PastRun> = judged.places.iter().filter_map(|place| self.past.get(*place)).collect();
            // By the count of runs since; the newest itself is the last one.
            let id = |runs_since: usize| match past.len().checked_sub(runs_since - 1) {
                Some(index) if index < past.len() => past[index].id.clone(),
                Some(_) => run_id.to_owned(),
                None => since.clone(),
            };
            let is_dated_now = *since == id(judged.judgement.runs_since);
            let began = match judged.judgement.began_within(CONFIDENCE) {
                Some((least, most)) if is_dated_now => (id(most), id(least)),
                // What stands for longer was dated when it was found.
                _ => (since.clone(), since.clone()),
            };
            Some(Course { finding, past, values: &judged.values, began })
        })
    }

    /// Says whether a series was judged by it.
    fn knows(&self, series: &SeriesReference) -> bool {
        let key = key_of(series);
        self.judged.iter().any(|judged| judged.key == key)
    }

    fn of<'h>(&'h self, series: &SeriesReference, statistic: &str) -> impl Iterator<Item = &'h Judged> {
        let (key, statistic) = (key_of(series), statistic.to_owned());
        self.judged.iter().filter(move |judged| judged.key == key && judged.figure.statistic() == statistic)
    }

    /// Returns a subject as its history judges it; as it is, when no history does.
    pub(super) fn applied(&self, subject: &Subject, asked: Asked) -> Subject {
        let mut subject = subject.clone();
        if !self.knows(&subject.series) {
            if asked != Asked::Stands {
                subject.figures.clear();
            }
            return subject;
        }
        for moved in &mut subject.figures {
            let judged = self.of(&subject.series, moved.statistic);
            let surest = judged.max_by(|left, right| left.judgement.score.total_cmp(&right.judgement.score));
            *moved = applied(moved, surest, asked);
        }
        subject
    }

    /// Returns the first run of a change; none: the newest one itself.
    ///
    /// Of a regression that stands only the newest runs are looked at; when it began was said when it was found.
    fn first_run(&self, judged: &Judged) -> Option<&String> {
        let first = match judged.since {
            Some(index) => self.past.get(index)?,
            None => self.past.last().filter(|run| judged.is_worse && run.regressed_since.is_some())?,
        };
        Some(first.regressed_since.as_ref().filter(|_| judged.is_worse).unwrap_or(&first.id))
    }

    /// Says in each finding since when it is so, and what is to be done about it.
    pub(super) fn annotate(&self, findings: &mut [Finding], asked: Asked, run_id: &str, test: &str) {
        for finding in findings {
            let statistic = finding.series.statistic.clone().unwrap_or_default();
            let worse = finding.direction == Direction::Worse;
            let Some(judged) = self.of(&finding.series, &statistic).find(|judged| judged.is_worse == worse) else {
                continue;
            };
            let runs_count = judged.runs_count;
            finding.title += judged.season.map_or("", season_words);
            match asked {
                Asked::Stands => {
                    // Runs agree on it: it will not go away.
                    if worse {
                        finding.severity = finding.severity.min(Severity::Major);
                    }
                    let first = self.first_run(judged);
                    let commit =
                        self.past.iter().find(|run| Some(&run.id) == first).and_then(|run| run.commit.as_ref());
                    finding.title += &match first {
                        Some(run) => format!(", since run {run}"),
                        None => ", in this run, farther off than any bad run before".to_owned(),
                    };
                    finding.title += &commit.map_or(String::new(), |commit| format!(" (commit {commit})"));
                    finding.since_run = Some(first.map_or(run_id.to_owned(), Clone::clone));
                }
                Asked::Suspect => {
                    finding.suspect = true;
                    finding.title += &format!(", in this run alone after {runs_count} earlier ones");
                }
                Asked::Drifts => {
                    finding.kind = FindingKind::Drift;
                    finding.id = finding_id(test, FindingKind::Drift, &finding.series, None);
                    finding.title = format!("slow drift over {} runs: {}", runs_count + 1, finding.title);
                    // No single change is to blame, and users had time to notice.
                    finding.severity = finding.severity.max(Severity::Major);
                }
            }
        }
    }

    /// Returns what would have been found of the judged figure that is known best.
    pub(super) fn detectable(&self, subject: &Subject) -> Option<Detectable> {
        let figures = subject.judged().map(|moved| moved.statistic);
        let judged = figures.flat_map(|statistic| self.of(&subject.series, statistic)).filter(|judged| judged.is_worse);
        let least = judged.filter_map(|judged| Some((judged, least_change(judged)?)));
        let (judged, change) = least.min_by(|left, right| left.1.total_cmp(&right.1))?;
        let statistic = Some(judged.figure.statistic().to_owned());
        Some(Detectable {
            series: SeriesReference { statistic, ..subject.series.clone() },
            change: Change::plain(Scale::Ratio, change.max(CHANGE_MIN)),
            power: POWER,
            runs_needed: judged.runs_needed(ASKED_CHANGE, POWER).map(|runs| runs as u32),
        })
    }
}

/// Says in a finding's title what was taken out of it.
fn season_words(cycle: Cycle) -> &'static str {
    match cycle {
        Cycle::Weekends => ", besides what weekends differ by",
        Cycle::Weekdays => ", besides what the days of the week differ by",
        Cycle::TimesOfDay => ", besides what the times of the day differ by",
    }
}

fn applied(moved: &Moved, judged: Option<&Judged>, asked: Asked) -> Moved {
    let unknown = Moved { change: None, deviation: None, p_value: f64::NAN, ..moved.clone() };
    let (Some(judged), Some(current)) = (judged, moved.current) else { return unknown };
    let judgement = &judged.judgement;
    let (effect, low, high) = match asked {
        Asked::Drifts => {
            let reach = 1.96 * judgement.drift.deviation;
            let change = judgement.drift.change;
            (change, change - reach, change + reach)
        }
        // Of a run that stands alone, how far it stands off: whether a step is behind it is what nobody knows yet.
        Asked::Suspect => {
            let reach = 1.96 * judgement.departure_deviation;
            (judgement.departure, judgement.departure - reach, judgement.departure + reach)
        }
        Asked::Stands => (judgement.effect, judgement.low, judgement.high),
    };
    let is_turned = judged.is_worse == (judged.figure == super::history::Figure::Rate);
    let (effect, low, high) = if is_turned { (-effect, -high, -low) } else { (effect, low, high) };
    let p_value = match asked {
        Asked::Stands if judged.convicts() => judgement.p_value(),
        Asked::Suspect if judged.is_suspect() => judgement.p_value_of_newest(),
        Asked::Drifts if judged.drifts() => judgement.p_value_of_drift(),
        _ => f64::NAN,
    };
    Moved {
        base: Some(current / effect.exp()),
        change: Some(Change {
            scale: Scale::Ratio,
            point: effect.exp_m1(),
            low: Some(low.exp_m1()),
            high: Some(high.exp_m1()),
            confidence: Some(CONFIDENCE),
        }),
        deviation: Some((high - low) / (2.0 * 1.96)),
        p_value,
        ..moved.clone()
    }
}

/// Returns the least rise that would be convicted with a chance of `POWER`, by bisection.
fn least_change(judged: &Judged) -> Option<f64> {
    if judged.power(CHANGE_MAX, DETECTABLE_RUNS) < POWER {
        return None;
    }
    let (mut low, mut high) = (0.0, CHANGE_MAX);
    while high - low > 1e-3 {
        let middle = 0.5 * (low + high);
        if judged.power(middle, DETECTABLE_RUNS) < POWER { low = middle } else { high = middle }
    }
    Some(high)
}

/// A reference without its statistic; that a request was expected to succeed is so for all that is judged.
pub(super) fn key_of(series: &SeriesReference) -> SeriesKey {
    let tag = |name: &str| series.tags.get(name).cloned();
    SeriesKey {
        metric: series.metric.clone(),
        endpoint: tag("name"),
        method: tag("method"),
        scenario: tag("scenario"),
        group: tag("group"),
        expected_response: None,
        check: tag("check"),
    }
}
