//! What traces say: how long each operation takes by itself, where errors begin, and which calls are never answered.
//!
//! The time of a span that none of its children has is its own; so a caller that is slow only because its callee is slow has no more
//! of its own than before. An error that no child has began there.

use std::collections::{BTreeMap, HashMap};

use crate::model::telemetry::{Span, SpanKind};

use super::contrast::{Contrast, Side};

/// Of each operation as many traces are named.
const EXAMPLES_MAX: usize = 3;

/// One operation of a service, on behalf of one entrance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    pub service: String,
    pub name: String,
    pub kind: Kind,
    /// The operation through which the request entered.
    pub entrance: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Server,
    /// A call that another service's span answers.
    Call,
    /// A call without a span that answers it.
    Unanswered,
    Database,
    Internal,
}

/// One operation on both sides of a contrast.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperationTimes {
    /// Milliseconds of its own in each trace.
    pub healthy_ms: Vec<f64>,
    pub faulty_ms: Vec<f64>,
    /// Traces in which an error began here.
    pub errors_healthy: usize,
    pub errors_faulty: usize,
    /// The statement of a database's span.
    pub statement: Option<String>,
    /// What the errors of the faulty side say.
    pub error_message: Option<String>,
    /// Whether calls ended at their deadline.
    pub timed_out: bool,
    /// The server operation of its service that it belongs to.
    pub endpoint: Option<String>,
    /// Slowest first: trace and the milliseconds of its own.
    pub slowest: Vec<([u8; 16], f64)>,
}

impl OperationTimes {
    pub fn mean_added_ms(&self) -> f64 {
        mean(&self.faulty_ms) - mean(&self.healthy_ms)
    }

    /// Returns the chance that a trace of the faulty time has more of it than a healthy one; 1/2 where both are alike.
    pub fn chance_of_more(&self) -> f64 {
        let pairs =
            self.healthy_ms.iter().flat_map(|healthy| self.faulty_ms.iter().map(move |faulty| (healthy, faulty)));
        let (more, count) = pairs.fold((0.0, 0.0), |(more, count), (healthy, faulty)| {
            let is_more = if faulty > healthy {
                1.0
            } else if faulty == healthy {
                0.5
            } else {
                0.0
            };
            (more + is_more, count + 1.0)
        });
        if count == 0.0 { 0.5 } else { more / count }
    }
}

/// The traces of both sides.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    pub operations: BTreeMap<Operation, OperationTimes>,
    pub healthy_count: usize,
    pub faulty_count: usize,
}

impl Traces {
    /// `spans`: of whole traces, in any order.
    pub fn of(spans: &[Span], contrast: &Contrast) -> Traces {
        let mut by_trace: BTreeMap<[u8; 16], Vec<&Span>> = BTreeMap::new();
        for span in spans {
            by_trace.entry(span.trace_id).or_default().push(span);
        }
        let mut traces = Traces::default();
        for spans in by_trace.values() {
            traces.take(spans, contrast);
        }
        for times in traces.operations.values_mut() {
            times.slowest.sort_by(|left, right| right.1.total_cmp(&left.1));
            times.slowest.truncate(EXAMPLES_MAX);
        }
        traces
    }

    fn take(&mut self, spans: &[&Span], contrast: &Contrast) {
        let Some(first) = spans.iter().min_by_key(|span| span.start) else { return };
        let Some(side) = contrast.side(first.start) else { return };
        match side {
            Side::Healthy => self.healthy_count += 1,
            Side::Faulty => self.faulty_count += 1,
        }
        let ids: HashMap<[u8; 8], &Span> = spans.iter().map(|span| (span.span_id, *span)).collect();
        let mut children: HashMap<[u8; 8], Vec<&Span>> = HashMap::new();
        for span in spans {
            if let Some(parent) = span.parent_id {
                children.entry(parent).or_default().push(span);
            }
        }
        // The load generator's own spans are no part of the system.
        let servers = || spans.iter().filter(|span| span.kind == SpanKind::Server);
        let Some(entrance) =
            servers().min_by_key(|span| span.start).or_else(|| spans.iter().min_by_key(|span| span.start))
        else {
            return;
        };
        let none = Vec::new();
        let mut of_trace: BTreeMap<Operation, (f64, usize)> = BTreeMap::new();
        for span in spans {
            let own_children = children.get(&span.span_id).unwrap_or(&none);
            let operation = Operation {
                service: span.service.clone(),
                name: span.name.clone(),
                kind: kind_of(span, own_children),
                entrance: entrance.name.clone(),
            };
            let begins_error =
                span.is_error && !own_children.iter().any(|child| child.is_error) && !is_given_up(span, own_children);
            let own = of_trace.entry(operation.clone()).or_default();
            own.0 += span.own_ms(own_children);
            own.1 += usize::from(begins_error);
            let times = self.operations.entry(operation).or_default();
            if times.statement.is_none() {
                times.statement = first_of(span, &["db.query.text", "db.statement"]);
            }
            if times.endpoint.is_none() {
                times.endpoint = endpoint_of(span, &ids);
            }
            if begins_error && side == Side::Faulty {
                let message = first_of(
                    span,
                    &["exception.message", "status.message", "error.message", "otel.status_description"],
                );
                times.timed_out |= message.as_deref().is_some_and(is_deadline)
                    || first_of(span, &["error.type"]).as_deref().is_some_and(is_deadline);
                times.error_message = times.error_message.take().or(message);
            }
        }
        for (operation, (own_ms, errors)) in of_trace {
            let Some(times) = self.operations.get_mut(&operation) else { continue };
            match side {
                Side::Healthy => {
                    times.healthy_ms.push(own_ms);
                    times.errors_healthy += usize::from(errors > 0);
                }
                Side::Faulty => {
                    times.faulty_ms.push(own_ms);
                    times.errors_faulty += usize::from(errors > 0);
                    times.slowest.push((first.trace_id, own_ms));
                }
            }
        }
    }
}

pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn kind_of(span: &Span, children: &[&Span]) -> Kind {
    let is_database = span.attributes.keys().any(|name| name.starts_with("db."));
    let is_answered = children.iter().any(|child| child.kind == SpanKind::Server || child.kind == SpanKind::Consumer);
    match span.kind {
        _ if is_database => Kind::Database,
        SpanKind::Server | SpanKind::Consumer => Kind::Server,
        SpanKind::Client | SpanKind::Producer if is_answered => Kind::Call,
        SpanKind::Client | SpanKind::Producer => Kind::Unanswered,
        SpanKind::Internal => Kind::Internal,
    }
}

/// Returns the name of the server's span of the same service above a span, itself included.
fn endpoint_of(span: &Span, ids: &HashMap<[u8; 8], &Span>) -> Option<String> {
    let mut at = span;
    // A hostile trace may have a circle.
    for _ in 0..ids.len() {
        if at.service != span.service {
            return None;
        }
        if at.kind == SpanKind::Server {
            return Some(at.name.clone());
        }
        at = ids.get(&at.parent_id?)?;
    }
    None
}

fn first_of(span: &Span, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| span.attributes.get(*name)).filter(|value| !value.is_empty()).cloned()
}

/// Says whether a span failed only because somebody had waited long enough: its caller, or it itself for a callee that is at work
/// still. Then the error is no more than the time.
fn is_given_up(span: &Span, children: &[&Span]) -> bool {
    let said = ["exception.message", "otel.status_description", "error.type", "http.response.status_code"];
    let said: Vec<String> =
        said.iter().filter_map(|name| first_of(span, &[name])).map(|said| said.to_ascii_lowercase()).collect();
    let is_cancelled = said.iter().any(|said| said.contains("cancel") || said == "499");
    let is_answered = children.iter().any(|child| child.service != span.service);
    is_cancelled || is_answered && said.iter().any(|said| is_deadline(said))
}

fn is_deadline(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["deadline", "timeout", "timed out", "etimedout"].iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::contrast::Window;
    use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

    fn span(trace: u8, id: u8, parent: Option<u8>, service: &str, kind: SpanKind, times_ms: (i64, i64)) -> Span {
        let time = |ms: i64| Timestamp((i64::from(trace) * 1000 + ms) * 1_000_000);
        Span {
            trace_id: [trace; 16],
            span_id: [id; 8],
            parent_id: parent.map(|id| [id; 8]),
            service: service.to_owned(),
            name: format!("op {id}"),
            kind,
            start: time(times_ms.0),
            end: time(times_ms.1),
            is_error: false,
            attributes: BTreeMap::new(),
        }
    }

    fn contrast() -> Contrast {
        let second = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        Contrast::of(Window { from: second(5), until: second(9) }, Window { from: second(0), until: second(20) }, &[])
    }

    #[test]
    fn a_caller_is_not_slow_because_its_callee_is() {
        let trace = |trace: u8, slow: i64| {
            vec![
                span(trace, 1, None, "gate", SpanKind::Server, (0, 30 + slow)),
                span(trace, 2, Some(1), "gate", SpanKind::Client, (5, 25 + slow)),
                span(trace, 3, Some(2), "cart", SpanKind::Server, (6, 24 + slow)),
                span(trace, 4, Some(3), "cart", SpanKind::Internal, (8, 20 + slow)),
                // At the same time as the other child.
                span(trace, 5, Some(3), "cart", SpanKind::Internal, (10, 12)),
            ]
        };
        let spans: Vec<Span> =
            [(1, 0), (2, 0), (6, 100), (7, 100)].into_iter().flat_map(|(id, slow)| trace(id, slow)).collect();
        let traces = Traces::of(&spans, &contrast());
        assert_eq!((traces.healthy_count, traces.faulty_count), (2, 2));
        let added: Vec<(String, f64)> = traces
            .operations
            .iter()
            .map(|(operation, times)| (operation.name.clone(), times.mean_added_ms()))
            .collect();
        assert!(
            added.iter().all(|(name, added)| (added - if name == "op 4" { 100.0 } else { 0.0 }).abs() < 1e-6),
            "{added:?}"
        );
        let slow = traces.operations.iter().find(|(operation, _)| operation.name == "op 4").unwrap();
        assert_eq!((slow.1.endpoint.as_deref(), slow.1.chance_of_more(), slow.1.slowest.len()), (Some("op 3"), 1.0, 2));
    }

    #[test]
    fn an_error_begins_where_no_child_has_one_and_a_circle_ends() {
        let mut spans = vec![
            span(6, 1, Some(2), "gate", SpanKind::Server, (0, 30)),
            span(6, 2, Some(1), "gate", SpanKind::Client, (5, 25)),
        ];
        spans.iter_mut().for_each(|span| span.is_error = true);
        spans.push(Span { is_error: true, ..span(6, 3, Some(2), "cart", SpanKind::Server, (6, 24)) });
        spans[2].attributes.insert("exception.message".to_owned(), "context deadline exceeded".to_owned());
        spans.push(span(6, 4, Some(4), "cart", SpanKind::Internal, (6, 24)));
        let traces = Traces::of(&spans, &contrast());
        let begun: Vec<(&str, bool)> = traces
            .operations
            .iter()
            .filter(|(_, times)| times.errors_faulty > 0)
            .map(|(operation, times)| (operation.service.as_str(), times.timed_out))
            .collect();
        assert_eq!(begun, [("cart", true)]);
    }
}
