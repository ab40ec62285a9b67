//! A trace in which a cause is to be seen, beside a healthy one.

use std::collections::{HashMap, HashSet};

use crate::diagnose::contrast::{Contrast, Side};
use crate::model::diagnosis::{Clue, Diagnosis};
use crate::model::exhibit::{SpanDrawn, TraceDrawn, TracePair};
use crate::model::telemetry::{Span, SpanKind, hex};

const SPANS_MAX: usize = 60;
const MILLISECONDS_PER_SECOND: f64 = 1000.0;

/// What the cause says of the span that is slow.
struct Suspect<'c> {
    service: &'c str,
    operation: &'c str,
    entrance: &'c str,
}

/// Returns the first trace that the cause names, and the healthy one of the same entrance that is the middle one by duration.
pub fn pair(cause: &Diagnosis, diagnosis: u32, spans: &[Span], contrast: &Contrast) -> Option<TracePair> {
    let named = cause.evidence.iter().find_map(|clue| match clue {
        Clue::Trace { trace_id, .. } => Some(trace_id),
        _ => None,
    })?;
    let suspect = cause.evidence.iter().find_map(|clue| match clue {
        Clue::Span { service, operation, entrance, .. } => Some(Suspect { service, operation, entrance }),
        _ => None,
    })?;
    let mut by_trace: HashMap<[u8; 16], Vec<&Span>> = HashMap::new();
    for span in spans {
        by_trace.entry(span.trace_id).or_default().push(span);
    }
    let faulty = by_trace.iter().find(|(id, _)| hex(*id) == *named)?;
    let healthy = by_trace.iter().filter(|(_, spans)| {
        let start = spans.iter().map(|span| span.start).min();
        let is_healthy = start.and_then(|start| contrast.side(start)) == Some(Side::Healthy);
        is_healthy && entrance(spans).is_some_and(|entrance| entrance.name == suspect.entrance)
    });
    let mut healthy: Vec<(&[u8; 16], &Vec<&Span>)> = healthy.collect();
    let duration = |spans: &[&Span]| entrance(spans).map_or(0.0, Span::duration_ms);
    healthy.sort_by(|left, right| duration(left.1).total_cmp(&duration(right.1)).then(left.0.cmp(right.0)));
    let middle = healthy.get(healthy.len() / 2);
    Some(TracePair {
        diagnosis,
        faulty: drawn(*faulty.0, faulty.1, &suspect)?,
        healthy: middle.and_then(|(id, spans)| drawn(**id, spans, &suspect)),
    })
}

fn entrance<'s>(spans: &[&'s Span]) -> Option<&'s Span> {
    let servers = spans.iter().filter(|span| span.kind == SpanKind::Server);
    servers.min_by_key(|span| span.start).or_else(|| spans.iter().min_by_key(|span| span.start)).copied()
}

fn drawn(id: [u8; 16], spans: &[&Span], suspect: &Suspect) -> Option<TraceDrawn> {
    let start = spans.iter().map(|span| span.start).min()?;
    let end = spans.iter().map(|span| span.end).max()?;
    let ids: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    let mut below: HashMap<[u8; 8], Vec<&Span>> = HashMap::new();
    let mut waiting: Vec<(&Span, u32)> = Vec::new();
    for span in spans {
        match span.parent_id.filter(|parent| ids.contains(parent) && *parent != span.span_id) {
            Some(parent) => below.entry(parent).or_default().push(span),
            None => waiting.push((span, 0)),
        }
    }
    let by_start = |span: &&Span| std::cmp::Reverse((span.start, span.span_id));
    below.values_mut().for_each(|spans| spans.sort_by_key(by_start));
    waiting.sort_by_key(|(span, _)| by_start(span));
    // The longest stay; what is above a span nearly always is longer.
    let mut longest: Vec<&Span> = spans.to_vec();
    longest
        .sort_by(|left, right| right.duration_ms().total_cmp(&left.duration_ms()).then(left.start.cmp(&right.start)));
    let is_suspect = |span: &Span| span.service == suspect.service && span.name == suspect.operation;
    let kept: HashSet<[u8; 8]> = longest
        .iter()
        .enumerate()
        .filter(|(rank, span)| *rank < SPANS_MAX || is_suspect(span))
        .map(|(_, span)| span.span_id)
        .collect();
    let mut rows = Vec::new();
    // A circle is below no root, and so is never come to.
    while let Some((span, depth)) = waiting.pop() {
        let children = below.remove(&span.span_id).unwrap_or_default();
        if kept.contains(&span.span_id) && rows.len() < 2 * SPANS_MAX {
            rows.push(SpanDrawn {
                depth,
                service: span.service.clone(),
                operation: span.name.clone(),
                start_ms: span.start.seconds_since(start) * MILLISECONDS_PER_SECOND,
                duration_ms: span.duration_ms(),
                own_ms: span.own_ms(&children),
                is_error: span.is_error,
                is_suspect: is_suspect(span),
            });
        }
        waiting.extend(children.into_iter().map(|child| (child, depth + 1)));
    }
    Some(TraceDrawn {
        trace_id: hex(&id),
        started_at: start,
        duration_ms: end.seconds_since(start) * MILLISECONDS_PER_SECOND,
        left_out_count: spans.len().saturating_sub(rows.len()) as u64,
        spans: rows,
    })
}
