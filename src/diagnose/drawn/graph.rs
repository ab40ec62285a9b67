//! Which service calls which, and how long it waits for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::diagnose::contrast::{Contrast, Side};
use crate::diagnose::traces::mean;
use crate::diagnose::vitals::Vitals;
use crate::model::diagnosis::Diagnosis;
use crate::model::exhibit::{ServiceCall, ServiceGraph, ServiceNode};
use crate::model::telemetry::{Span, SpanKind};

const SERVICES_MAX: usize = 40;
const CALLS_MAX: usize = 80;

#[derive(Debug, Default)]
struct Waits {
    healthy_ms: Vec<f64>,
    faulty_ms: Vec<f64>,
    count: u64,
}

/// Returns the calls that spans show, or where there are none, that the metrics of callers do; none when there is no call.
pub fn graph(diagnoses: &[Diagnosis], vitals: &Vitals, spans: &[Span], contrast: &Contrast) -> Option<ServiceGraph> {
    let mut calls = by_spans(spans, contrast);
    if calls.is_empty() {
        calls.extend(vitals.calls.keys().map(|between| (between.clone(), Waits::default())));
    }
    let mut calls: Vec<((String, String), Waits)> = calls.into_iter().collect();
    calls.sort_by(|left, right| right.1.count.cmp(&left.1.count).then(left.0.cmp(&right.0)));
    calls.truncate(CALLS_MAX);
    let depths = depths(&calls);
    let suspects: BTreeSet<&str> =
        diagnoses.iter().filter(|cause| cause.rank == 1).map(|cause| cause.service.as_str()).collect();
    let services: Vec<ServiceNode> = depths
        .iter()
        .take(SERVICES_MAX)
        .map(|(name, depth)| ServiceNode {
            name: name.clone(),
            depth: *depth,
            is_suspect: suspects.contains(name.as_str()),
        })
        .collect();
    let is_shown = |name: &String| services.iter().any(|service| service.name == *name);
    let of = |values: &[f64]| (!values.is_empty()).then(|| mean(values));
    let calls: Vec<ServiceCall> = calls
        .into_iter()
        .filter(|((caller, callee), _)| is_shown(caller) && is_shown(callee))
        .map(|((caller, callee), waits)| ServiceCall {
            caller,
            callee,
            healthy_ms: of(&waits.healthy_ms),
            faulty_ms: of(&waits.faulty_ms),
            count: waits.count,
        })
        .collect();
    (!calls.is_empty()).then_some(ServiceGraph { services, calls })
}

fn by_spans(spans: &[Span], contrast: &Contrast) -> BTreeMap<(String, String), Waits> {
    let by_id: HashMap<([u8; 16], [u8; 8]), &Span> =
        spans.iter().map(|span| ((span.trace_id, span.span_id), span)).collect();
    let answered: BTreeSet<([u8; 16], [u8; 8])> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Server)
        .filter_map(|span| Some((span.trace_id, span.parent_id?)))
        .collect();
    let mut calls: BTreeMap<(String, String), Waits> = BTreeMap::new();
    let mut add = |between: (String, String), waiting: &Span| {
        let waits = calls.entry(between).or_default();
        waits.count += 1;
        match contrast.side(waiting.start) {
            Some(Side::Healthy) => waits.healthy_ms.push(waiting.duration_ms()),
            Some(Side::Faulty) => waits.faulty_ms.push(waiting.duration_ms()),
            None => {}
        }
    };
    for span in spans {
        let above = span.parent_id.and_then(|parent| by_id.get(&(span.trace_id, parent)));
        if let Some(caller) = above.filter(|above| above.service != span.service) {
            add((caller.service.clone(), span.service.clone()), caller);
        }
        // What has no spans of its own: a database, a queue.
        let is_call = span.kind == SpanKind::Client && !answered.contains(&(span.trace_id, span.span_id));
        let names = ["peer.service", "db.system.name", "db.system", "messaging.system"];
        let callee = names.iter().find_map(|name| span.attributes.get(*name));
        if let Some(callee) = callee.filter(|callee| is_call && **callee != span.service) {
            add((span.service.clone(), callee.clone()), span);
        }
    }
    calls
}

/// Returns the longest way of calls to each service, where calls that go in a circle do not count; in that order.
fn depths(calls: &[((String, String), Waits)]) -> Vec<(String, u32)> {
    let names: BTreeSet<&String> = calls.iter().flat_map(|((caller, callee), _)| [caller, callee]).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let place = |name: &String| names.binary_search(&name).unwrap_or_default();
    let edges: Vec<(usize, usize)> = calls.iter().map(|((caller, callee), _)| (place(caller), place(callee))).collect();
    let mut reaches = vec![vec![false; names.len()]; names.len()];
    edges.iter().for_each(|(from, to)| reaches[*from][*to] = true);
    for middle in 0..names.len() {
        for from in 0..names.len() {
            for to in 0..names.len() {
                reaches[from][to] |= reaches[from][middle] && reaches[middle][to];
            }
        }
    }
    let mut depths = vec![0u32; names.len()];
    // A way without a circle has no more steps than there are services.
    for _ in 0..names.len() {
        for (from, to) in &edges {
            // Those of one circle stand in one column.
            let step = u32::from(!reaches[*to][*from]);
            depths[*to] = depths[*to].max(depths[*from] + step);
        }
    }
    let mut ordered: Vec<(String, u32)> = names.into_iter().cloned().zip(depths).collect();
    ordered.sort_by_key(|(_, depth)| *depth);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_stand_behind_all_that_call_them_and_a_circle_ends() {
        let calls =
            [("gate", "orders"), ("gate", "cart"), ("orders", "cart"), ("cart", "db"), ("db", "cart"), ("a", "a")];
        let calls: Vec<((String, String), Waits)> =
            calls.iter().map(|(from, to)| (((*from).to_owned(), (*to).to_owned()), Waits::default())).collect();
        let found = depths(&calls);
        let found: Vec<(&str, u32)> = found.iter().map(|(name, depth)| (name.as_str(), *depth)).collect();
        assert_eq!(found, [("a", 0), ("gate", 0), ("orders", 1), ("cart", 2), ("db", 2)]);
    }
}
