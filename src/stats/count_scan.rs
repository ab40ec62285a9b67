//! Bursts: intervals in which something that is counted, such as failed requests, happens more often than elsewhere.
//!
//! The statistic is that of a scan for Poisson counts: the likelihood ratio of one rate inside and another one outside
//! against one rate for all. Its chance is counted over all lengths and places. Failures come in clusters, so the
//! statistic is divided by how much more they vary than independent ones would.

use super::significance::log_chance_likelihood_ratio;

const STRIDES_PER_LENGTH: usize = 8;
const LENGTH_RATIO: f64 = 1.25;
const ROUNDS_MAX: usize = 12;
const BURSTS_MAX: usize = 20;
/// How many intervals of one length are looked at independently, for each time that the length fits into the series.
const PLACES_PER_LENGTH: f64 = 20.0;
/// Fewer events than this in an interval are a coincidence, whatever their chance.
const EVENTS_MIN: f64 = 5.0;
/// Steps with an event that a burst has at least: one bad second is none.
const STEPS_WITH_EVENTS_MIN: usize = 3;
/// Events outside of the burst from which their clustering can be told.
const EVENTS_FOR_CLUSTERING: f64 = 10.0;

/// What a burst has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The chance of any false burst in this series, as a natural logarithm.
    pub log_chance: f64,
    pub steps_min: usize,
    /// How much higher the rate in the burst is at least, as a fraction of the trials.
    pub difference_min: f64,
    /// How many times the rate elsewhere it is at least.
    pub ratio_min: f64,
}

/// One interval with more events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Index of the first step.
    pub from: usize,
    /// Index behind the last step.
    pub until: usize,
    /// Of the trials in the burst, those with the event.
    pub rate: f64,
    /// What the rate would have been there without the burst.
    pub usual_rate: f64,
    /// How many times more the events vary than independent ones.
    pub clustering: f64,
    pub log_chance: f64,
}

/// Returns the bursts, in their order.
///
/// `events` of `trials`, by step. `usual`: in proportion to the events that each step would have if all were alike.
pub fn bursts(events: &[f64], trials: &[f64], usual: &[f64], demand: &Demand) -> Vec<Burst> {
    let mut found = Vec::new();
    let mut waiting = vec![(0, events.len())];
    while let Some((from, until)) = waiting.pop() {
        if found.len() == BURSTS_MAX || until - from < 2 * demand.steps_min {
            continue;
        }
        let scan = Scan::of(&events[from..until], &usual[from..until]);
        let Some((inner_from, inner_until)) = scan.highest(demand.steps_min) else { continue };
        let (burst_from, burst_until) = (from + inner_from, from + inner_until);
        let trials_count: f64 = trials[burst_from..burst_until].iter().sum();
        let events_count = scan.events_in(inner_from, inner_until);
        let rate = events_count / trials_count.max(1.0);
        let usual_rate = scan.usual_outside(inner_from, inner_until) / trials_count.max(1.0);
        let clustering =
            scan.clustering(&events[from..until], &usual[from..until], (inner_from, inner_until), demand.steps_min);
        let ratio = 2.0 * scan.log_ratio(inner_from, inner_until) / clustering;
        let log_chance =
            log_chance_likelihood_ratio(ratio) + log_places(events.len(), inner_until - inner_from, demand);
        let steps_count = events[burst_from..burst_until].iter().filter(|events| **events > 0.0).count();
        let is_burst = log_chance < demand.log_chance
            && events_count >= EVENTS_MIN
            && steps_count >= STEPS_WITH_EVENTS_MIN
            && rate - usual_rate >= demand.difference_min
            && rate >= demand.ratio_min * usual_rate;
        if is_burst {
            found.push(Burst { from: burst_from, until: burst_until, rate, usual_rate, clustering, log_chance });
            waiting.extend([(from, burst_from), (burst_until, until)]);
        }
    }
    found.sort_by_key(|burst| burst.from);
    found
}

/// Running sums of the events, and of those expected if all steps were alike.
struct Scan {
    events: Vec<f64>,
    expected: Vec<f64>,
}

impl Scan {
    fn of(events: &[f64], usual: &[f64]) -> Scan {
        let total = |values: &[f64]| values.iter().sum::<f64>();
        let scale = total(events) / total(usual).max(f64::MIN_POSITIVE);
        let running = |values: &mut dyn Iterator<Item = f64>| {
            let mut sums = vec![0.0];
            for value in values {
                sums.push(sums[sums.len() - 1] + value);
            }
            sums
        };
        Scan {
            events: running(&mut events.iter().copied()),
            expected: running(&mut usual.iter().map(|usual| usual * scale)),
        }
    }

    fn len(&self) -> usize {
        self.events.len() - 1
    }

    fn events_in(&self, from: usize, until: usize) -> f64 {
        self.events[until] - self.events[from]
    }

    fn expected_in(&self, from: usize, until: usize) -> f64 {
        self.expected[until] - self.expected[from]
    }

    /// Returns the events that the interval would have at the rate of what is outside of it.
    fn usual_outside(&self, from: usize, until: usize) -> f64 {
        let outside_events = self.events[self.len()] - self.events_in(from, until);
        let outside_expected = self.expected[self.len()] - self.expected_in(from, until);
        self.expected_in(from, until) * outside_events / outside_expected.max(f64::MIN_POSITIVE)
    }

    /// Returns the logarithm of the likelihood ratio; 0 where there are no more events than expected.
    fn log_ratio(&self, from: usize, until: usize) -> f64 {
        let (events, expected) = (self.events_in(from, until), self.expected_in(from, until));
        if events <= expected {
            return 0.0;
        }
        let total = self.events[self.len()];
        let term = |events: f64, expected: f64| {
            if events > 0.0 { events * (events / expected.max(f64::MIN_POSITIVE)).ln() } else { 0.0 }
        };
        // Rounding leaves less than nothing outside where all is inside.
        term(events, expected) + term((total - events).max(0.0), (total - expected).max(0.0))
    }

    /// Returns the interval with the highest likelihood ratio.
    fn highest(&self, steps_min: usize) -> Option<(usize, usize)> {
        let (mut best, mut best_ratio) = (None, 0.0);
        let mut consider = |from: usize, until: usize, best: &mut Option<(usize, usize)>| {
            let ratio = self.log_ratio(from, until);
            let is_better = ratio > best_ratio;
            if is_better {
                (*best, best_ratio) = (Some((from, until)), ratio);
            }
            is_better
        };
        let mut length = steps_min;
        while length < self.len() {
            let stride = (length / STRIDES_PER_LENGTH).max(1);
            let last = self.len() - length;
            for from in (0..last).step_by(stride).chain([last]) {
                consider(from, from + length, &mut best);
            }
            length = ((length as f64 * LENGTH_RATIO) as usize).max(length + 1);
        }
        let reach = best.map(|(from, until)| ((until - from) / 3).max(2 * steps_min))?;
        for _ in 0..ROUNDS_MAX {
            let (from, until) = best?;
            let mut moved = false;
            for other in from.saturating_sub(reach)..(from + reach + 1).min(until + 1 - steps_min) {
                moved |= consider(other, until, &mut best);
            }
            let (from, until) = best?;
            for other in until.saturating_sub(reach).max(from + steps_min)..(until + reach + 1).min(self.len() + 1) {
                moved |= consider(from, other, &mut best);
            }
            if !moved {
                break;
            }
        }
        best
    }

    /// Returns how many times more the events vary than independent ones, inside or outside of the burst; 1 or more.
    fn clustering(&self, events: &[f64], usual: &[f64], burst: (usize, usize), block: usize) -> f64 {
        let (from, until) = burst;
        let excess = |parts: &[(usize, usize)], block: usize| {
            let total = |values: &[f64]| {
                parts.iter().map(|(from, until)| values[*from..*until].iter().sum::<f64>()).sum::<f64>()
            };
            let rate = total(events) / total(usual).max(f64::MIN_POSITIVE);
            let blocks = parts
                .iter()
                .flat_map(|(from, until)| events[*from..*until].chunks(block).zip(usual[*from..*until].chunks(block)));
            let squares: Vec<f64> = blocks
                .filter_map(|(events, usual)| {
                    let expected = rate * usual.iter().sum::<f64>();
                    (expected > 0.0).then(|| (events.iter().sum::<f64>() - expected).powi(2) / expected)
                })
                .collect();
            squares.iter().sum::<f64>() / squares.len().saturating_sub(1).max(1) as f64
        };
        let inside = excess(&[(from, until)], 1);
        let outside_events = self.events[self.len()] - self.events_in(from, until);
        let is_told = outside_events >= EVENTS_FOR_CLUSTERING;
        let outside = if is_told { excess(&[(0, from), (until, self.len())], block) } else { 1.0 };
        inside.max(outside).max(1.0)
    }
}

fn log_places(steps_count: usize, length: usize, demand: &Demand) -> f64 {
    let lengths = 1.0 + (steps_count as f64 / demand.steps_min as f64).ln().max(0.0);
    (PLACES_PER_LENGTH * steps_count as f64 / length as f64 * lengths).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn demand() -> Demand {
        Demand { log_chance: 0.01f64.ln(), steps_min: 5, difference_min: 0.005, ratio_min: 1.5 }
    }

    /// Of 50 trials a step, `usual_rate` fail, and `burst_rate` from step 100 to 130.
    fn check(usual_rate: f64, burst_rate: f64, expected: &[(usize, usize)]) {
        let mut draws = Draws::seeded(5);
        let rate = |step: usize| if (100..130).contains(&step) { burst_rate } else { usual_rate };
        let events: Vec<f64> = (0..300).map(|step| f64::from(draws.count(50.0 * rate(step)))).collect();
        let found = bursts(&events, &[50.0; 300], &[50.0; 300], &demand());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (from, until)) in found.iter().zip(expected) {
            assert!(found.from.abs_diff(*from) <= 2 && found.until.abs_diff(*until) <= 2, "{found:?}");
            assert!(
                (found.rate - burst_rate).abs() < 0.02 && (found.usual_rate - usual_rate).abs() < 0.01,
                "{found:?}"
            );
        }
    }

    #[test]
    fn bursts_are_found() {
        check(0.0, 0.0, &[]);
        check(0.02, 0.02, &[]);
        check(0.0, 0.05, &[(100, 130)]);
        check(0.02, 0.12, &[(100, 130)]);
    }

    #[test]
    fn a_bad_second_and_another_mix_are_none() {
        let mut events = vec![0.0; 300];
        events[100] = 50.0;
        assert_eq!(bursts(&events, &[50.0; 300], &[50.0; 300], &demand()), []);
        // As many fail as are usual for the endpoints that are asked for then.
        let usual: Vec<f64> = (0..300).map(|step| if step < 150 { 1.0 } else { 5.0 }).collect();
        assert_eq!(bursts(&usual, &[50.0; 300], &usual, &demand()), []);
        assert_eq!(bursts(&[], &[], &[], &demand()), []);
    }

    /// log(R) = c log(c / e) + (C - c) log((C - c) / (C - e)): 10 of 30 events where 3 are expected, by hand
    /// 10 log(10 / 3) + 20 log(20 / 27) = 6.0376.
    #[test]
    fn known_answer() {
        let events = [&[2.0; 5][..], &[20.0 / 45.0; 45]].concat();
        let scan = Scan::of(&events, &[1.0; 50]);
        assert!((scan.log_ratio(0, 5) - 6.0376).abs() < 1e-3, "{}", scan.log_ratio(0, 5));
        assert_eq!(scan.log_ratio(5, 10), 0.0);
    }
}
