//! Which service moved most, where nothing but metrics is known, of whatever names and scales.
//!
//! Each series' shift is its mean in the faulty time less its healthy median, in units of how much it varies when healthy; the
//! latency as a logarithm, and of errors only more of them. A service has its two largest shifts, less a part of what those that it
//! calls have: they explain it. Traffic is left out: it moves because of the fault, not before it. Two-sided robust shifts are what
//! BARO (Pham et al., FSE 2024) found hard to beat; the call graph and the symptom are ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::stats::quantile::of_sorted;

/// Healthy values from which a shift is told.
const HEALTHY_MIN: usize = 5;
/// The interquartile range of normal data, in sigma.
const RANGE_IN_SIGMA: f64 = 1.349;
/// A healthy series varies at least by this part of its standard deviation, in which outliers count,
const DEVIATION_PART: f64 = 0.75;
/// by this part of its level, as a logarithm, and of its full scale where it is a share.
const LEVEL_PART: f64 = 0.05;
const LOGARITHM_MIN: f64 = 0.05;
const SHARE_PART: f64 = 0.001;
/// A latency below this part of the usual one is none.
const LATENCY_PART_MIN: f64 = 0.01;
/// A series of the kind that the symptom is of counts more.
const SYMPTOM_WEIGHT: f64 = 1.25;
const SHIFTS_COUNTED: usize = 2;
/// Of the most moved callee's score.
const EXPLAINED_PART: f64 = 0.1;
/// Of services that the symptom's does not call, neither itself nor by others.
const UNREACHED_WEIGHT: f64 = 0.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Latency,
    /// More is worse.
    Errors,
    /// Less is worse; a share of 1 or of 100.
    Successes,
    Resource,
    Traffic,
}

impl Family {
    /// Tells by the words of a metric's name.
    pub fn of(metric: &str) -> Family {
        let name = metric.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["latency", "duration", "response_time"]) {
            Family::Latency
        } else if has(&["availab", "success"]) {
            Family::Successes
        } else if has(&["error", "fault", "fail"]) {
            Family::Errors
        } else if has(&["cpu", "mem", "syscall", "network", "bytes", "disk", "gc", "thread", "pool", "queue"]) {
            Family::Resource
        } else {
            Family::Traffic
        }
    }

    fn is_of(self, symptom: Family) -> bool {
        let tells_failures = |family| matches!(family, Family::Errors | Family::Successes);
        self == symptom || tells_failures(self) && tells_failures(symptom)
    }
}

/// One series of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSeries<'s> {
    pub name: &'s str,
    pub service: &'s str,
    pub family: Family,
    pub healthy: Vec<f64>,
    pub faulty: Vec<f64>,
}

/// What is seen of the fault, and at which service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Symptom<'s> {
    pub service: &'s str,
    pub family: Family,
}

/// A service, with the series of it that moved most.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<'s> {
    pub service: &'s str,
    pub series: &'s str,
    pub score: f64,
}

/// Orders the services by how much they moved, most first; `calls`: caller and callee.
pub fn moved_most<'s>(
    series: &[ServiceSeries<'s>],
    calls: &[(String, String)],
    symptom: Option<Symptom>,
) -> Vec<Ranked<'s>> {
    let mut shifts: BTreeMap<&str, Vec<(f64, &str)>> = BTreeMap::new();
    for one in series {
        let Some(shift) = shift(one) else { continue };
        let weight = if symptom.is_some_and(|symptom| one.family.is_of(symptom.family)) { SYMPTOM_WEIGHT } else { 1.0 };
        shifts.entry(one.service).or_default().push((weight * shift, one.name));
    }
    for of_service in shifts.values_mut() {
        of_service.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
    }
    let own = |of_service: &[(f64, &str)]| {
        let counted = of_service.iter().take(SHIFTS_COUNTED).map(|(shift, _)| shift);
        (counted.sum::<f64>() / SHIFTS_COUNTED as f64).ln_1p()
    };
    let scores: BTreeMap<&str, f64> = shifts.iter().map(|(service, of_service)| (*service, own(of_service))).collect();
    let reached = symptom
        .filter(|symptom| calls.iter().any(|(caller, callee)| caller == symptom.service || callee == symptom.service));
    let reached = reached.map(|symptom| reached_from(symptom.service, calls));
    let score = |service: &str| {
        let callees = calls.iter().filter(|(caller, callee)| caller == service && callee != service);
        let explained = callees
            .filter_map(|(_, callee)| scores.get(callee.as_str()))
            .fold(0.0, |most: f64, score| most.max(*score));
        let own = scores.get(service).copied().unwrap_or(0.0) - EXPLAINED_PART * explained;
        if reached.as_ref().is_some_and(|reached| !reached.contains(service)) { UNREACHED_WEIGHT * own } else { own }
    };
    let mut ranked: Vec<Ranked<'s>> = shifts
        .iter()
        .filter_map(|(service, of_service)| Some((*service, of_service.first()?.1)))
        .filter_map(|(service, name)| series.iter().find(|one| one.service == service && one.name == name))
        .map(|one| Ranked { service: one.service, series: one.name, score: score(one.service) })
        .collect();
    ranked.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.service.cmp(right.service)));
    ranked
}

fn reached_from<'c>(start: &'c str, calls: &'c [(String, String)]) -> BTreeSet<&'c str> {
    let (mut reached, mut waiting) = (BTreeSet::from([start]), vec![start]);
    while let Some(caller) = waiting.pop() {
        for (_, callee) in calls.iter().filter(|(from, _)| from == caller) {
            if reached.insert(callee.as_str()) {
                waiting.push(callee);
            }
        }
    }
    reached
}

/// Returns how far a series moved, in units of how much it varies; none where too little of it is known, or it is traffic.
fn shift(series: &ServiceSeries) -> Option<f64> {
    if series.healthy.len() < HEALTHY_MIN || series.faulty.is_empty() || series.family == Family::Traffic {
        return None;
    }
    let most = series.healthy.iter().chain(&series.faulty).fold(f64::NEG_INFINITY, |most, value| most.max(*value));
    let full = if most > 1.5 { 100.0 } else { 1.0 };
    let usual = sorted(&series.healthy);
    let least = LATENCY_PART_MIN * of_sorted(&usual, 0.5)?.max(f64::MIN_POSITIVE);
    let on_scale = |value: f64| match series.family {
        Family::Latency => value.max(least).ln(),
        Family::Successes => full - value,
        _ => value,
    };
    let healthy: Vec<f64> = sorted(&series.healthy.iter().map(|value| on_scale(*value)).collect::<Vec<f64>>());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let faulty = mean(&series.faulty.iter().map(|value| on_scale(*value)).collect::<Vec<f64>>());
    let middle = of_sorted(&healthy, 0.5)?;
    let average = mean(&healthy);
    let deviation = mean(&healthy.iter().map(|value| (value - average).powi(2)).collect::<Vec<f64>>()).sqrt();
    let range = (of_sorted(&healthy, 0.75)? - of_sorted(&healthy, 0.25)?) / RANGE_IN_SIGMA;
    let floor = match series.family {
        Family::Latency => LOGARITHM_MIN,
        Family::Successes => (SHARE_PART * full).max(LEVEL_PART * middle.abs()),
        _ => LEVEL_PART * middle.abs(),
    };
    let scale = range.max(DEVIATION_PART * deviation).max(floor).max(1e-9);
    let moved = (faulty - middle) / scale;
    let counts = if matches!(series.family, Family::Errors | Family::Successes) { moved.max(0.0) } else { moved.abs() };
    counts.is_finite().then_some(counts)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &'static str, service: &'static str, healthy: f64, faulty: f64) -> ServiceSeries<'static> {
        let wander = |value: f64| (0..20).map(|step| value * (1.0 + 0.01 * f64::from(step % 5))).collect();
        ServiceSeries { name, service, family: Family::of(name), healthy: wander(healthy), faulty: wander(faulty) }
    }

    fn order(series: &[ServiceSeries<'static>], calls: &[(&str, &str)]) -> Vec<&'static str> {
        let calls: Vec<(String, String)> =
            calls.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let symptom = Symptom { service: "gate", family: Family::Latency };
        moved_most(series, &calls, Some(symptom)).into_iter().map(|ranked| ranked.service).collect()
    }

    #[test]
    fn a_callee_explains_its_caller_and_traffic_explains_nothing() {
        let all = [
            series("gate_latency", "gate", 0.1, 0.4),
            series("cart_latency", "cart", 0.01, 0.04),
            series("cart_cpu", "cart", 0.2, 0.8),
            series("stock_requests", "stock", 10.0, 1.0),
            series("stock_availability", "stock", 100.0, 100.0),
            series("other_latency", "other", 0.01, 0.04),
        ];
        let order = order(&all, &[("gate", "cart"), ("gate", "stock")]);
        assert_eq!(order, ["cart", "gate", "other", "stock"]);
    }

    #[test]
    fn odd_values_are_ranked_and_do_not_panic() {
        let odd = |values: Vec<f64>| ServiceSeries {
            faulty: values.clone(),
            healthy: values,
            ..series("a_latency", "a", 1.0, 1.0)
        };
        for values in [vec![0.0; 9], vec![-5.0; 9], vec![1e300; 9], vec![]] {
            let ranked = moved_most(&[odd(values)], &[], None);
            assert!(ranked.iter().all(|one| one.score.is_finite()), "{ranked:?}");
        }
    }
}
