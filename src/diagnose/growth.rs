//! Memory that grows through a run and is not given back: a leak, whether or not k6 notices.

use super::contrast::Window;
use super::vitals::{Vital, Vitals};

/// Growth that a cache may have: so large a part of what there was, and so many bytes.
const RATIO_MIN: f64 = 1.5;
const BYTES_MIN: f64 = 16.0 * 1024.0 * 1024.0;
/// Of the growth, what is left at the end.
const KEPT_MIN: f64 = 0.8;
/// Of the growth, where it begins and where it ends.
const BEGUN: f64 = 0.1;
const DONE: f64 = 0.9;
/// Parts of the growth's time, and how many of them grow: a jump is no leak.
const PARTS_COUNT: usize = 5;
const GROWING_PARTS_MIN: usize = 4;
const SECONDS_MIN: f64 = 10.0;

/// Memory of one service that grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    pub service: String,
    /// From its beginning until it ends, or the run does.
    pub window: Window,
    pub bytes_before: f64,
    pub bytes_after: f64,
    pub bytes_per_second: f64,
}

/// Returns the services whose memory grows, most first.
pub fn growing(vitals: &Vitals) -> Vec<Growth> {
    let mut growing: Vec<Growth> =
        vitals.services().into_iter().filter_map(|service| growth(vitals, service)).collect();
    growing.sort_by(|left, right| right.bytes_per_second.total_cmp(&left.bytes_per_second));
    growing
}

fn growth(vitals: &Vitals, service: &str) -> Option<Growth> {
    let values: Vec<(usize, f64)> =
        vitals.get(service, Vital::Memory)?.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
    let most = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let at_peak = values.iter().position(|(_, value)| *value == most)?;
    let before = values[..=at_peak].iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let last = values.last()?.1;
    let grown = most - before;
    if grown < BYTES_MIN || most < RATIO_MIN * before || last - before < KEPT_MIN * grown {
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
    is_steady.then(|| Growth {
        service: service.to_owned(),
        window,
        bytes_before: before,
        bytes_after: most,
        bytes_per_second: (values[done].1 - values[begun].1) / window.seconds(),
    })
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
        assert!((leak[0].bytes_per_second / (5.0 * 1024.0 * 1024.0) - 1.0).abs() < 0.1, "{leak:?}");
        assert!((leak[0].window.from.seconds_since(Timestamp(0)) - 54.0).abs() <= 3.0, "{leak:?}");
        assert!(growing(&vitals(&|second| if second > 50.0 { 200.0 } else { 40.0 })).is_empty());
        assert!(growing(&vitals(&|second| 40.0 + (second * 0.7).sin() * 8.0)).is_empty());
        assert!(growing(&vitals(&|second| 40.0 + 100.0 * (1.0 - (second - 60.0).abs() / 60.0))).is_empty());
    }
}
