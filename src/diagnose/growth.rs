//! What grows through a run and is not given back: memory, goroutines, threads, handles, connections; whether or not k6 notices.

use crate::stats::trend::trend;

use super::contrast::Window;
use super::traces::mean;
use super::vitals::{Vital, Vitals};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// What can leak, and how much of it a cache or a pool may take up. What holds memory comes before it.
const LEAKS: [(Vital, f64); 5] = [
    (Vital::Goroutines, 100.0),
    (Vital::Threads, 50.0),
    (Vital::Handles, 100.0),
    (Vital::Connections, 20.0),
    (Vital::Memory, 16.0 * MEBIBYTE),
];
/// So large a part of what there was is growth that nobody minds.
const RATIO_MIN: f64 = 1.5;
/// What grows hardly more than the requests do serves them.
const MORE_THAN_LOAD: f64 = 1.2;
/// Of the growth, what is left at the end.
const KEPT_MIN: f64 = 0.8;
/// Of the growth, where it begins and where it ends.
const BEGUN: f64 = 0.1;
const DONE: f64 = 0.9;
/// Parts of the growth's time, and how many of them grow: a jump is no leak.
const PARTS_COUNT: usize = 5;
const GROWING_PARTS_MIN: usize = 4;
const SECONDS_MIN: f64 = 10.0;
/// Standard errors of an interval of 95 %.
const CONFIDENCE: f64 = 1.96;

/// Something of one service that grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    pub service: String,
    pub vital: Vital,
    /// From its beginning until it ends, or the run does.
    pub window: Window,
    /// In the unit of the vital sign.
    pub before: f64,
    pub after: f64,
    pub per_second: f64,
    /// At 95 %, by a line through the growth; none where there are too few values for one.
    pub interval: Option<(f64, f64)>,
}

/// Returns what grows, by service: what is most likely to hold the rest first.
pub fn growing(vitals: &Vitals) -> Vec<Vec<Growth>> {
    let services = vitals.services().into_iter();
    let of_service = services.map(|service| {
        LEAKS.into_iter().filter_map(|(vital, least)| growth(vitals, service, vital, least)).collect::<Vec<Growth>>()
    });
    of_service.filter(|grown| !grown.is_empty()).collect()
}

fn growth(vitals: &Vitals, service: &str, vital: Vital, least: f64) -> Option<Growth> {
    let values: Vec<(usize, f64)> =
        vitals.get(service, vital)?.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
    let most = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let at_peak = values.iter().position(|(_, value)| *value == most)?;
    let before = values[..=at_peak].iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let last = values.last()?.1;
    let grown = most - before;
    if grown < least || most < RATIO_MIN * before || last - before < KEPT_MIN * grown {
        return None;
    }
    let begun =
        values.iter().rposition(|(step, value)| *step <= values[at_peak].0 && *value <= before + BEGUN * grown)?;
    let done = values.iter().position(|(step, value)| *step >= values[begun].0 && *value >= before + DONE * grown)?;
    let part = |index: usize| values[begun + (done - begun) * index / PARTS_COUNT].1;
    let growing_parts = (0..PARTS_COUNT)
        .filter(|index| part(index + 1) - part(*index) >= 0.5 * DONE * grown / PARTS_COUNT as f64)
        .count();
    let window = Window { from: vitals.time(values[begun].0), until: vitals.time(values[done].0 + 1) };
    let is_steady = growing_parts >= GROWING_PARTS_MIN && window.seconds() >= SECONDS_MIN;
    let load = vitals.get(service, Vital::Requests).and_then(|requests| end_to_begin(vitals, requests, window));
    let own = end_to_begin(vitals, vitals.get(service, vital)?, window);
    if !is_steady || own.zip(load).is_some_and(|(own, load)| own < MORE_THAN_LOAD * load) {
        return None;
    }
    let line: Vec<f64> = values[begun..=done].iter().map(|(_, value)| *value).collect();
    let interval = trend(&line).map(|line| {
        let error = CONFIDENCE * line.standard_error;
        ((line.slope - error) / vitals.step_seconds, (line.slope + error) / vitals.step_seconds)
    });
    Some(Growth {
        service: service.to_owned(),
        vital,
        window,
        before,
        after: most,
        per_second: (values[done].1 - values[begun].1) / window.seconds(),
        interval,
    })
}

/// Returns how many times as much there is in the last part of a window as in the first.
fn end_to_begin(vitals: &Vitals, values: &[f64], window: Window) -> Option<f64> {
    let part = window.seconds() / PARTS_COUNT as f64;
    let within = |from| {
        let part = Window { from, until: from.after_seconds(part) };
        mean(&vitals.within(values, part).collect::<Vec<f64>>())
    };
    let (first, last) = (within(window.from), within(window.until.after_seconds(-part)));
    (first > 0.0).then_some(last / first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn vitals(values: &dyn Fn(f64) -> f64) -> Vitals {
        Vitals::of_values(Vital::Memory, (0..120).map(|step| values(f64::from(step)) * 1024.0 * 1024.0).collect())
    }

    #[test]
    fn only_what_grows_steadily_and_stays_is_a_leak() {
        let leak = growing(&vitals(&|second| 40.0 + 5.0 * (second - 50.0).clamp(0.0, 40.0)));
        assert_eq!(leak.len(), 1);
        let leak = &leak[0];
        assert!((leak[0].per_second / (5.0 * MEBIBYTE) - 1.0).abs() < 0.1, "{leak:?}");
        let (low, high) = leak[0].interval.unwrap();
        assert!(low <= 5.0 * MEBIBYTE * 1.01 && high >= 5.0 * MEBIBYTE * 0.99, "{leak:?}");
        assert!((leak[0].window.from.seconds_since(Timestamp(0)) - 54.0).abs() <= 3.0, "{leak:?}");
        assert!(growing(&vitals(&|second| if second > 50.0 { 200.0 } else { 40.0 })).is_empty());
        assert!(growing(&vitals(&|second| 40.0 + (second * 0.7).sin() * 8.0)).is_empty());
        assert!(growing(&vitals(&|second| 40.0 + 100.0 * (1.0 - (second - 60.0).abs() / 60.0))).is_empty());
    }

    #[test]
    fn what_grows_with_the_load_is_no_leak() {
        let climbing = |ratio: f64| {
            let steps = || (0..120).map(f64::from);
            let mut all = Vitals::of_values(Vital::Goroutines, steps().map(|step| 50.0 + 4.0 * step).collect());
            let service = all.services()[0].to_owned();
            let requests = steps().map(|step| 10.0 * (1.0 + (ratio - 1.0) * step / 120.0)).collect();
            all.of_service.insert((service, Vital::Requests), requests);
            growing(&all).len()
        };
        assert_eq!((climbing(1.0), climbing(10.0)), (1, 0));
    }
}
