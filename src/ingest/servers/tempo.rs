//! What Tempo is asked: by which services requests come in, and of each part of the run slow, failed and other traces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use futures::StreamExt;
use serde::Deserialize;

use super::access::Server::Tempo;
use super::client::{AT_ONCE, Question};
use super::recorder::Recorder;
use super::selectors::is_any;
use super::{Part, Wanted, seconds};
use crate::ingest::telemetry::tempo::{FoundTrace, search as read_search, trace as read_trace};
use crate::model::in_turn::in_turn;
use crate::model::telemetry::{Span, SpanKind, hex};
use crate::model::time::Timestamp;

/// Steps of the counts of all spans: as many as a chart shows.
const STEPS_MAX: f64 = 240.0;
/// Tempo counts no finer.
const STEP_SECONDS_MIN: f64 = 1.0;
/// Traces that are looked into to learn where requests come in.
const FIRST_TRACES: usize = 8;
/// A search gives the first that it finds, which are not the slowest: as many as can be are found.
const FOUND_MAX: usize = 2_000;
/// A longer part is searched in pieces, so that what is found first is not all of its beginning.
const SLICE_SECONDS: f64 = 60.0;
const SLICES_MAX: usize = 6;
/// Of each route and part.
const SLOWEST: usize = 4;
const SPREAD: usize = 5;
/// A server may take 50 ms for each, and gets no quicker when it is asked for several at once.
const TRACES_OF_FINDING: usize = 40;
const TRACES_OF_FINDINGS_MAX: usize = 120;
const TRACES_OF_PART_MIN: usize = 8;
/// Traces that k6 knows and that are asked for to see whether the server has them.
const TRACED_TRIED: usize = 4;
/// Once it is known how long one takes, the others are asked for as long.
const TRACES_SECONDS: f64 = 2.0;
/// Traces that are asked for one by one, and then as many two at a time, to see what is quicker.
const TRIED: usize = 6;

/// Returns the services that have sent spans.
pub async fn services(recorder: &Recorder, run: &Part) -> BTreeSet<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Values {
        #[serde(default)]
        tag_values: Vec<TagValue>,
    }
    #[derive(Deserialize)]
    struct TagValue {
        value: String,
    }
    let question = Question::get(Tempo, "/api/v2/search/tag/resource.service.name/values", &span(run));
    let Some(body) = recorder.ask("services", question).await else { return BTreeSet::new() };
    let values: Option<Values> = serde_json::from_slice(&body).ok();
    values.into_iter().flat_map(|values| values.tag_values).map(|tag| tag.value).collect()
}

/// Asks how many spans there were and how long they took, by service, step by step of the run.
pub async fn count(recorder: &Recorder, run: &Part, services: &[String]) {
    let of_services = |kind: &str| match services {
        [] => format!("{{kind={kind}}}"),
        services => format!("{{{} && kind={kind}}}", is_any("resource.service.name", services)),
    };
    let (server, client) = (of_services("server"), of_services("client"));
    let queries = [
        ("requests", format!("{server} | rate() by (resource.service.name, status)")),
        ("answering", format!("{server} | sum_over_time(duration) by (resource.service.name)")),
        // Calls of databases are told apart by either name of the attribute.
        (
            "calling",
            format!(
                "{client} | sum_over_time(duration) by (resource.service.name, span.db.system, span.db.system.name)"
            ),
        ),
    ];
    let step = (run.seconds() / STEPS_MAX).ceil().max(STEP_SECONDS_MIN);
    // One after the other: traces are waited for, these are not.
    for (name, query) in queries {
        let mut parameters = span(run);
        parameters.extend([("q", query), ("step", format!("{step}s"))]);
        let question = Question::get(Tempo, "/api/metrics/query_range", &parameters).where_served();
        recorder.ask(&format!("count-{name}"), question).await;
    }
}

/// A span in which a service answered a request, for as long as it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub service: String,
    pub span_id: [u8; 8],
    pub start: Timestamp,
    pub duration_ms: f64,
}

/// Asks for traces of each part; `exemplars`: traces that are known already to be worth it. Returns the spans of services that answer.
pub async fn ask(
    recorder: &Recorder,
    wanted: &Wanted<'_>,
    services: &[String],
    exemplars: &[[u8; 16]],
) -> Vec<Answered> {
    if !recorder.has(Tempo) {
        return Vec::new();
    }
    let Some(mut api) = Api::of(recorder, wanted, services).await else { return Vec::new() };
    let requests = match &api.entrances[..] {
        [] => "kind=server".to_owned(),
        entrances => format!("{} && kind=server", is_any("resource.service.name", entrances)),
    };
    let is_traced = |id: &[u8; 16]| wanted.traced.iter().any(|(_, traced)| traced == id);
    let mut answered = Vec::new();
    let traced = if api.knows_most(recorder, &wanted.traced, &mut answered).await { &wanted.traced[..] } else { &[] };
    let mut chosen: Vec<Vec<[u8; 16]>> = Vec::new();
    let findings_count = wanted.parts.iter().filter(|part| part.is_of_finding).count();
    for part in &wanted.parts {
        let of_part_max = if part.is_of_finding {
            TRACES_OF_FINDING.min(TRACES_OF_FINDINGS_MAX / findings_count)
        } else {
            TRACES_OF_FINDING / (wanted.parts.len() - findings_count)
        };
        let of_part_max = of_part_max.max(TRACES_OF_PART_MIN);
        let all = search(recorder, &format!("{{{requests}}}"), part, "all").await;
        let failed = search(recorder, &format!("{{{requests} && status=error}}"), part, "failed").await;
        let failed: Vec<&FoundTrace> = failed.iter().collect();
        let found = spread(&failed, of_part_max / 3).into_iter().chain(choose(&all)).map(|found| found.trace_id);
        // What k6 itself saw comes first: a search may have found none of the slow ones.
        let known = traced.iter().filter(|(at, _)| part.from <= *at && *at < part.until).map(|(_, id)| *id);
        let mut of_part: Vec<[u8; 16]> = Vec::new();
        for id in known.take(of_part_max / 2).chain(found) {
            if of_part.len() < of_part_max && !of_part.contains(&id) {
                of_part.push(id);
            }
        }
        chosen.push(of_part);
    }
    chosen.push(exemplars.to_vec());
    let mut seen = api.known.clone();
    let traces: Vec<[u8; 16]> = in_turn(&chosen).copied().filter(|id| seen.insert(*id)).collect();
    let ask = async |ids: &[[u8; 16]], at_once: usize| {
        let started = Instant::now();
        let asked = ids.iter().map(|id| api.trace(recorder, *id, is_traced(id)));
        let answered: Vec<Vec<Answered>> = futures::stream::iter(asked).buffer_unordered(at_once).collect().await;
        (answered, started.elapsed())
    };
    let mut parts = traces.chunks(TRIED);
    let (first, one_by_one) = ask(parts.next().unwrap_or_default(), 1).await;
    let (more, together) = ask(parts.next().unwrap_or_default(), AT_ONCE).await;
    let at_once = if together < one_by_one { AT_ONCE } else { 1 };
    // A server that holds much takes longer for each: then fewer are asked for, of all parts alike.
    let each = one_by_one.min(together).as_secs_f64() / TRIED as f64;
    let count = ((TRACES_SECONDS / each) as usize).max(TRACES_OF_PART_MIN * wanted.parts.len());
    let rest = traces.get(2 * TRIED..).unwrap_or_default();
    let (rest, _) = ask(&rest[..count.min(rest.len())], at_once).await;
    answered.extend(first.into_iter().chain(more).chain(rest).flatten());
    answered
}

/// How this server is asked for a trace, and where requests come in.
struct Api {
    path: &'static str,
    entrances: Vec<String>,
    known: BTreeSet<[u8; 16]>,
}

impl Api {
    /// Looks into some traces of the run.
    async fn of(recorder: &Recorder, wanted: &Wanted<'_>, services: &[String]) -> Option<Api> {
        let of_services = if services.is_empty() {
            "{kind=server}".to_owned()
        } else {
            format!("{{{} && kind=server}}", is_any("resource.service.name", services))
        };
        let mut parameters = span(&wanted.run);
        parameters.extend([("q", of_services), ("limit", FIRST_TRACES.to_string())]);
        let body = recorder.ask("search-first", Question::get(Tempo, "/api/search", &parameters)).await?;
        let found = read_search(&body).ok()?;
        let mut api = Api { path: "/api/v2/traces", entrances: Vec::new(), known: BTreeSet::new() };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for found in &found {
            let mut answer = recorder.ask_for_status("trace", trace_question(api.path, found.trace_id)).await?;
            // Before Tempo 2.5 there was only the first version.
            if answer.status == 404 && api.known.is_empty() {
                api.path = "/api/traces";
                answer = recorder.ask_for_status("trace", trace_question(api.path, found.trace_id)).await?;
            }
            let Ok(trace) = read_trace(&answer.body) else { continue };
            api.known.insert(found.trace_id);
            entrances(&trace.spans).into_iter().for_each(|service| *counts.entry(service).or_default() += 1);
        }
        api.entrances =
            counts.into_keys().filter(|service| services.is_empty() || services.contains(service)).collect();
        Some(api)
    }

    /// Says whether the server has most of the traces that k6 knows: of some systems only one request in many is traced.
    async fn knows_most(
        &mut self,
        recorder: &Recorder,
        traced: &[(Timestamp, [u8; 16])],
        answered: &mut Vec<Answered>,
    ) -> bool {
        let stride = traced.len().div_ceil(TRACED_TRIED).max(1);
        let tried = || traced.iter().step_by(stride);
        let mut found_count = 0;
        for (_, id) in tried() {
            let found = self.trace(recorder, *id, true).await;
            self.known.insert(*id);
            found_count += usize::from(!found.is_empty());
            answered.extend(found);
        }
        2 * found_count > tried().count()
    }

    /// `may_be_absent`: k6 knows its id, and nobody has said that the server does.
    async fn trace(&self, recorder: &Recorder, id: [u8; 16], may_be_absent: bool) -> Vec<Answered> {
        let (name, question) = (format!("trace-{}", hex(&id)), trace_question(self.path, id));
        let body = if may_be_absent {
            recorder.ask_whether(&name, question, has_spans).await
        } else {
            recorder.ask(&name, question).await
        };
        let trace = body.and_then(|body| read_trace(&body).ok()).unwrap_or_default();
        let answered = trace.spans.into_iter().filter(|span| span.kind == SpanKind::Server).map(|span| Answered {
            duration_ms: span.duration_ms(),
            service: span.service,
            span_id: span.span_id,
            start: span.start,
        });
        answered.collect()
    }
}

/// Returns the services of the spans that answer requests from outside of what the trace shows.
fn entrances(spans: &[Span]) -> BTreeSet<String> {
    let by_id: HashMap<[u8; 8], &Span> = spans.iter().map(|span| (span.span_id, span)).collect();
    let is_inner = |span: &Span| {
        let mut above = span.parent_id.and_then(|id| by_id.get(&id).copied());
        // A trace is foreign: its parents may go in circles.
        for _ in 0..spans.len() {
            match above {
                Some(one) if one.kind == SpanKind::Server => return true,
                Some(one) => above = one.parent_id.and_then(|id| by_id.get(&id).copied()),
                None => return false,
            }
        }
        true
    };
    let outer = spans.iter().filter(|span| span.kind == SpanKind::Server && !is_inner(span));
    outer.map(|span| span.service.clone()).collect()
}

async fn search(recorder: &Recorder, query: &str, part: &Part, which: &str) -> Vec<FoundTrace> {
    let slices = ((part.seconds() / SLICE_SECONDS).ceil() as usize).clamp(1, SLICES_MAX);
    let asked = part.slices(slices).enumerate().map(|(index, slice)| {
        let mut parameters = span(&slice);
        // Without `select` an answer leaves out the spans' names, by which routes are told apart.
        let query = format!("{query} | select(name, span.http.response.status_code)");
        let limit = (FOUND_MAX / slices).to_string();
        parameters.extend([("q", query), ("limit", limit), ("spss", "1".to_owned())]);
        let name = format!("search-{which}-{}-{index}", part.name);
        async move { recorder.ask(&name, Question::get(Tempo, "/api/search", &parameters)).await }
    });
    let bodies: Vec<Option<Vec<u8>>> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    bodies.iter().flatten().flat_map(|body| read_search(body).unwrap_or_default()).collect()
}

/// Picks the slowest of each route, and some of all its durations: a route that few requests take is not crowded out.
fn choose(all: &[FoundTrace]) -> Vec<&FoundTrace> {
    let mut routes: BTreeMap<&str, Vec<&FoundTrace>> = BTreeMap::new();
    for found in all {
        let route = found.span_name.as_deref().or(found.root_name.as_deref()).unwrap_or_default();
        routes.entry(route).or_default().push(found);
    }
    let mut lists: Vec<Vec<&FoundTrace>> = Vec::new();
    for mut found in routes.into_values() {
        found.sort_by_key(|trace| (std::cmp::Reverse(trace.duration_ms), trace.trace_id));
        // Those of all durations first: both sides of a finding are to be alike.
        let mut list = spread(&found, SPREAD);
        list.extend(found.iter().copied().take(SLOWEST).filter(|slow| !spread(&found, SPREAD).contains(slow)));
        lists.push(list);
    }
    // A bound leaves out no route.
    in_turn(&lists).copied().collect()
}

/// Picks `count` at even distances, the first and the last among them.
fn spread<'t>(list: &[&'t FoundTrace], count: usize) -> Vec<&'t FoundTrace> {
    if list.len() <= count {
        return list.to_vec();
    }
    (0..count).map(|index| list[index * (list.len() - 1) / (count - 1)]).collect()
}

fn has_spans(body: &[u8]) -> bool {
    read_trace(body).is_ok_and(|trace| !trace.spans.is_empty())
}

fn trace_question(path: &str, id: [u8; 16]) -> Question {
    Question::get(Tempo, &format!("{path}/{}", hex(&id)), &[])
}

fn span(part: &Part) -> Vec<(&'static str, String)> {
    vec![("start", seconds(part.from).to_string()), ("end", (seconds(part.until) + 1).to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(of: &[(u8, u8, &str, SpanKind)]) -> Vec<Span> {
        let one = |(id, parent, service, kind): &(u8, u8, &str, SpanKind)| Span {
            trace_id: [1; 16],
            span_id: [*id; 8],
            parent_id: (*parent > 0).then_some([*parent; 8]),
            service: (*service).to_owned(),
            name: String::new(),
            kind: *kind,
            start: Timestamp(0),
            end: Timestamp(1),
            is_error: false,
            attributes: BTreeMap::new(),
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn requests_come_in_where_no_server_is_above() {
        use SpanKind::{Client, Internal, Server};
        let trace = spans(&[
            (1, 9, "gate", Server),
            (2, 1, "gate", Client),
            (3, 2, "cart", Server),
            (4, 4, "own parent", Server),
            (5, 6, "circle", Internal),
            (6, 5, "circle", Server),
        ]);
        assert_eq!(entrances(&trace), BTreeSet::from(["gate".to_owned()]));
        assert!(entrances(&[]).is_empty());
    }

    fn found(route: &str, duration_ms: u64) -> FoundTrace {
        FoundTrace {
            trace_id: [duration_ms as u8; 16],
            start: Timestamp(0),
            duration_ms,
            root_service: None,
            root_name: None,
            span_name: Some(route.to_owned()),
            services: BTreeMap::new(),
        }
    }

    #[test]
    fn the_slowest_and_some_of_all_durations_of_each_route() {
        let mut all: Vec<FoundTrace> = (0..100).map(|ms| found("GET /a", ms)).collect();
        all.push(found("GET /rare", 3));
        let chosen: Vec<(&str, u64)> =
            choose(&all).iter().map(|found| (found.span_name.as_deref().unwrap(), found.duration_ms)).collect();
        assert_eq!(chosen[..3], [("GET /a", 99), ("GET /rare", 3), ("GET /a", 75)]);
        let of_a: Vec<u64> = chosen.iter().filter(|(route, _)| *route == "GET /a").map(|(_, ms)| *ms).collect();
        assert_eq!(of_a, [99, 75, 50, 25, 0, 98, 97, 96]);
        assert!(choose(&[]).is_empty());
    }
}
