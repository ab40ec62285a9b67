//! Waiting that comes from next to nothing, whether or not k6 notices: for locks, for connections of a pool, for the processor.
//!
//! Few requests meet it, or they are slow by themselves, and then k6 sees nothing for sure; but a healthy service hardly waits at all.

use crate::stats::robust::median;

use super::contrast::Window;
use super::storm::{PART_SECONDS, parts_window, stretch};
use super::traces::mean;
use super::vitals::{Vital, Vitals};

const WAITS: [Vital; 3] = [Vital::Locks, Vital::Pools, Vital::Throttled];
/// Seconds a second that are worth a word, and how many times the usual ones.
const SECONDS_MIN: f64 = 0.03;
const RATIO_MIN: f64 = 10.0;

/// A service that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub service: String,
    pub vital: Vital,
    pub window: Window,
}

/// Returns the services that wait for a while, by name.
pub fn waiting(vitals: &Vitals, run: Window) -> Vec<Wait> {
    let steps = (PART_SECONDS / vitals.step_seconds).round().max(1.0) as usize;
    let wait = |service: &str, vital: Vital| {
        let values = vitals.get(service, vital)?;
        let known =
            |values: &[f64]| mean(&values.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<f64>>());
        let parts: Vec<f64> = values.chunks(steps).map(known).collect();
        let (from, until) = stretch(&parts, SECONDS_MIN.max(RATIO_MIN * median(&parts)))?;
        Some(Wait { service: service.to_owned(), vital, window: parts_window(run, from, until) })
    };
    let services = vitals.services();
    services.into_iter().flat_map(|service| WAITS.into_iter().filter_map(move |vital| wait(service, vital))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn what_comes_from_nothing_is_told_and_what_is_always_there_is_not() {
        let run = Window { from: Timestamp(0), until: Timestamp(0).after_seconds(120.0) };
        let found = |values: &dyn Fn(usize) -> f64| {
            waiting(&Vitals::of_values(Vital::Pools, (0..120).map(values).collect()), run).len()
        };
        assert_eq!(found(&|step| if (50..80).contains(&step) { 0.2 } else { 0.0 }), 1);
        assert_eq!(found(&|step| if (50..80).contains(&step) { 0.2 } else { 0.1 }), 0);
        assert_eq!(found(&|step| if step == 50 { 3.0 } else { 0.0 }), 0);
        assert_eq!(found(&|step| 0.01 * (step % 3) as f64), 0);
        assert_eq!(found(&|_| f64::NAN), 0);
    }
}
