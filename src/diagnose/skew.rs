//! Clocks that differ between services: estimated from calls, whose answer lies within the caller's waiting, and corrected.
//!
//! A span that answers a call began after the call and ended before it: how far each pair is off bounds the difference of the two
//! clocks from both sides. Where the bounds of the middle pair leave out nought, the callee's clock is moved by the middle of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::telemetry::{Span, SpanKind, Telemetry};
use crate::model::time::Timestamp;

/// Calls between two services from which on they say something.
const CALLS_MIN: usize = 3;
/// Clocks that are kept in step by the network differ by less.
const SECONDS_MIN: f64 = 0.001;

/// A service whose clock was moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Skew {
    pub service: String,
    /// By which it was ahead of where requests come in; negative when it was behind.
    pub seconds: f64,
    pub calls_count: usize,
}

/// Moves the spans, log lines and profiles of services whose clock is not that of where requests come in; returns which.
///
/// Metrics have the time of the server that collected them, and stay.
pub fn correct(telemetry: &mut Telemetry) -> Vec<Skew> {
    let skews = skews(&telemetry.spans);
    if skews.is_empty() {
        return skews;
    }
    let by_service: BTreeMap<&str, f64> = skews.iter().map(|skew| (skew.service.as_str(), skew.seconds)).collect();
    let moved = |service: &str, at: Timestamp| match by_service.get(service) {
        Some(seconds) => at.after_seconds(-seconds),
        None => at,
    };
    for span in &mut telemetry.spans {
        (span.start, span.end) = (moved(&span.service, span.start), moved(&span.service, span.end));
    }
    for line in &mut telemetry.logs {
        line.at = moved(&line.service, line.at);
    }
    for pattern in &mut telemetry.log_patterns {
        pattern.counts.iter_mut().for_each(|(at, _)| *at = moved(&pattern.service, *at));
    }
    for profile in telemetry.profiles.iter_mut().chain(&mut telemetry.span_profiles) {
        (profile.from, profile.until) = (moved(&profile.service, profile.from), moved(&profile.service, profile.until));
    }
    telemetry.spans.sort_by_key(|span| (span.trace_id, span.start, span.span_id));
    telemetry.logs.sort_by_key(|line| line.at);
    skews
}

/// The differences of clocks that one pair of services allows, call by call, in seconds.
#[derive(Debug, Default)]
struct Bounds {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Bounds {
    /// Returns by how much the callee is ahead; 0 where both may be right.
    fn ahead(&mut self) -> f64 {
        let middle = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (low, high) = (middle(&mut self.low), middle(&mut self.high));
        let (low, high) = (low.min(high), low.max(high));
        if low <= SECONDS_MIN && high >= -SECONDS_MIN { 0.0 } else { (low + high) / 2.0 }
    }
}

fn skews(spans: &[Span]) -> Vec<Skew> {
    let by_id: HashMap<([u8; 16], [u8; 8]), &Span> = spans
        .iter()
        .filter(|span| span.kind != SpanKind::Server)
        .map(|span| ((span.trace_id, span.span_id), span))
        .collect();
    let mut bounds: BTreeMap<(&str, &str), Bounds> = BTreeMap::new();
    for answer in spans.iter().filter(|span| span.kind == SpanKind::Server) {
        let call = answer.parent_id.and_then(|parent| by_id.get(&(answer.trace_id, parent)));
        let Some(call) = call.filter(|call| call.service != answer.service) else { continue };
        // One that goes on after its caller gave up says nothing.
        if answer.duration_ms() > call.duration_ms() {
            continue;
        }
        let bounds = bounds.entry((&call.service, &answer.service)).or_default();
        bounds.low.push(answer.end.seconds_since(call.end));
        bounds.high.push(answer.start.seconds_since(call.start));
    }
    bounds.retain(|_, bounds| bounds.low.len() >= CALLS_MIN);
    let callees: BTreeSet<&str> = bounds.keys().map(|(_, callee)| *callee).collect();
    let callers: BTreeSet<&str> = bounds.keys().map(|(caller, _)| *caller).collect();
    // From where requests come in on, each service by the caller that is known first.
    let mut known: Vec<(&str, f64, usize)> = callers.difference(&callees).map(|service| (*service, 0.0, 0)).collect();
    let mut at = 0;
    while let Some((caller, seconds, _)) = known.get(at).copied() {
        at += 1;
        for ((from, to), bounds) in &mut bounds {
            if *from == caller && !known.iter().any(|(service, ..)| service == to) {
                known.push((to, seconds + bounds.ahead(), bounds.low.len()));
            }
        }
    }
    let off = known.into_iter().filter(|(_, seconds, _)| seconds.abs() >= SECONDS_MIN);
    off.map(|(service, seconds, calls_count)| Skew { service: service.to_owned(), seconds, calls_count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::telemetry::LogLine;
    use crate::model::time::NANOSECONDS_PER_SECOND;

    /// Calls from `gate` to `cart` to `stock`, each 10 ms shorter on either side, with clocks so many seconds ahead.
    fn telemetry(cart_ahead: f64, stock_ahead: f64) -> Telemetry {
        let at = |second: f64| Timestamp((second * NANOSECONDS_PER_SECOND as f64) as i64);
        let mut spans = Vec::new();
        for trace in 1..=5u8 {
            let start = f64::from(trace) * 10.0;
            let mut span = |id: u8, parent: u8, service: &str, kind: SpanKind, inset: f64, ahead: f64| {
                spans.push(Span {
                    trace_id: [trace; 16],
                    span_id: [id; 8],
                    parent_id: (parent > 0).then_some([parent; 8]),
                    service: service.to_owned(),
                    name: String::new(),
                    kind,
                    start: at(start + inset + ahead),
                    end: at(start + 0.2 - inset + ahead),
                    is_error: false,
                    attributes: BTreeMap::new(),
                });
            };
            span(1, 0, "gate", SpanKind::Server, 0.0, 0.0);
            span(2, 1, "gate", SpanKind::Client, 0.01, 0.0);
            span(3, 2, "cart", SpanKind::Server, 0.02, cart_ahead);
            span(4, 3, "cart", SpanKind::Client, 0.03, cart_ahead);
            span(5, 4, "stock", SpanKind::Server, 0.04, stock_ahead);
        }
        let line = |service: &str| LogLine {
            at: at(100.0),
            service: service.to_owned(),
            level: None,
            message: String::new(),
            trace_id: None,
            labels: BTreeMap::new(),
        };
        Telemetry { spans, logs: vec![line("gate"), line("cart")], ..Telemetry::default() }
    }

    #[test]
    fn clocks_that_differ_are_moved_and_others_stay() {
        let right = telemetry(0.0, 0.0);
        let mut same = right.clone();
        assert_eq!((correct(&mut same), &same), (Vec::new(), &right));
        // Within what the calls leave open, nobody knows.
        assert_eq!(correct(&mut telemetry(0.005, 0.0)), []);
        let mut off = telemetry(90.0, -0.5);
        let skews = correct(&mut off);
        let found: Vec<(&str, i64, usize)> = skews
            .iter()
            .map(|skew| (skew.service.as_str(), (skew.seconds * 1e3).round() as i64, skew.calls_count))
            .collect();
        assert_eq!(found, [("cart", 90_000, 5), ("stock", -500, 5)]);
        for (moved, span) in off.spans.iter().zip(&right.spans) {
            assert!(moved.start.seconds_since(span.start).abs() < 1e-6, "{moved:?} {span:?}");
        }
        assert_eq!(off.logs.iter().map(|line| line.service.as_str()).collect::<Vec<_>>(), ["cart", "gate"]);
        assert_eq!(correct(&mut Telemetry::default()), []);
    }
}
