//! The signals of a cause on one axis of time, in the order in which they moved.

use crate::diagnose::account::{added, load_ratio, onset};
use crate::diagnose::contrast::{Contrast, Window};
use crate::diagnose::vitals::{Vital, Vitals};
use crate::model::diagnosis::{Clue, Diagnosis};
use crate::model::exhibit::{Signal, Signals};
use crate::model::telemetry::{BLANK, LogLine, Telemetry, words_of};
use crate::model::time::Timestamp;

const SIGNALS_MAX: usize = 12;
/// Values of a signal: as many as its picture has pixels across, or so.
const VALUES_MAX: usize = 240;

/// Returns the vital signs of the suspect that rose, the time in requests and the failures of all services that did, and its lines
/// that are new or risen.
pub fn signals(
    cause: &Diagnosis,
    diagnosis: u32,
    run: Window,
    vitals: &Vitals,
    telemetry: &Telemetry,
    contrast: &Contrast,
) -> Option<Signals> {
    let mut found: Vec<(f64, Signal)> = Vec::new();
    for ((service, vital), values) in &vitals.of_service {
        let is_load = matches!(vital, Vital::Requests);
        let is_of_cause = *service == cause.service;
        if is_load || !(is_of_cause || matches!(vital, Vital::Answering | Vital::Failed)) {
            continue;
        }
        let load = if vital.follows_load() { load_ratio(vitals, service, contrast) } else { 1.0 };
        let Some(shift) = added(vitals, values, contrast, load).filter(|shift| shift.is_sure()) else {
            continue;
        };
        let moved_at = onset(vitals, values, contrast, shift).map(|step| vitals.time(step));
        let signal = Signal {
            service: service.clone(),
            what: vital.name().to_owned(),
            unit: vital.unit().to_owned(),
            moved_at,
            values: values.iter().map(|value| value.is_finite().then_some(*value)).collect(),
        };
        found.push((shift.sigmas(), signal));
    }
    // The suspect's own first, then what moved most.
    found.sort_by(|left, right| {
        let is_other = |signal: &Signal| signal.service != cause.service;
        is_other(&left.1).cmp(&is_other(&right.1)).then(right.0.total_cmp(&left.0))
    });
    let mut signals: Vec<Signal> = found.into_iter().map(|(_, signal)| signal).take(SIGNALS_MAX - 1).collect();
    signals.extend(lines_of(cause, &telemetry.logs, vitals, contrast));
    if signals.is_empty() {
        return None;
    }
    signals.sort_by_key(|signal| signal.moved_at.unwrap_or(Timestamp(i64::MAX)));
    let together = vitals.steps_count.div_ceil(VALUES_MAX).max(1);
    for signal in &mut signals {
        signal.values = signal.values.chunks(together).map(mean).collect();
    }
    Some(Signals {
        diagnosis,
        run: run.into(),
        window: contrast.faulty.into(),
        step_seconds: vitals.step_seconds * together as f64,
        signals,
    })
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// Returns the lines a second of the first template that the cause names.
fn lines_of(cause: &Diagnosis, logs: &[LogLine], vitals: &Vitals, contrast: &Contrast) -> Option<Signal> {
    let (service, template) = cause.evidence.iter().find_map(|clue| match clue {
        Clue::Log { service, template, .. } => Some((service, template)),
        _ => None,
    })?;
    let words: Vec<&str> = template.split(' ').collect();
    let is_it = |line: &LogLine| {
        let said = line.said();
        let own = words_of(&said);
        own.len() == words.len() && own.iter().zip(&words).all(|(own, word)| own == word || *word == BLANK)
    };
    let mut values = vec![0.0; vitals.steps_count];
    let mut moved_at: Option<Timestamp> = None;
    for line in logs.iter().filter(|line| line.service == *service && is_it(line)) {
        let step = line.at.seconds_since(vitals.start) / vitals.step_seconds;
        if let Some(value) = values.get_mut(step.max(0.0) as usize).filter(|_| step >= 0.0) {
            *value += 1.0 / vitals.step_seconds;
        }
        if contrast.faulty.has(line.at) {
            moved_at = Some(moved_at.map_or(line.at, |first| first.min(line.at)));
        }
    }
    Some(Signal {
        service: service.clone(),
        what: format!("log line {template}"),
        unit: "1/s".to_owned(),
        moved_at,
        values: values.into_iter().map(Some).collect(),
    })
}
