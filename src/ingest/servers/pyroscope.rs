//! What Pyroscope is asked: totals over the run, each kind of profile of each service over each part of it, and what slow spans did.
//!
//! Two parts that follow each other are asked for at once, as the difference of both (`Diff`): the server cuts them to the same nodes.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Server::Pyroscope;
use super::client::{AT_ONCE, Question};
use super::recorder::Recorder;
use super::selectors::{is_any, quoted};
use super::tempo::Answered;
use super::{Part, Wanted, milliseconds};
use crate::model::telemetry::hex;

const QUERIER: &str = "/querier.v1.QuerierService";
/// Functions of a profile that are kept apart: more than a picture shows.
const NODES_MAX: usize = 2_048;
const PROFILES_MAX: usize = 1_500;
/// Steps of the totals: profiles are sent every 10 or 15 s, and a server adds them up in steps.
const STEPS_MAX: f64 = 240.0;
const STEP_SECONDS_MIN: f64 = 15.0;
/// Totals that say something that metrics may not: times, and what is allocated and held.
const COUNTED: [&str; 5] = ["cpu", "delay", "alloc_space", "inuse_space", "goroutine"];
/// Of these a mean over the step is told, not the sum of all that were sent.
const HELD: [&str; 2] = ["inuse_space", "goroutine"];
/// Of each service and part with a finding; a server takes a list of their ids.
const SLOW_SPANS_MAX: usize = 100;
const SLOW_SPANS_MIN: usize = 3;
/// What a profile counts beside what it weighs: the same stacks once more.
const COUNTED_AS_WELL: [&str; 4] = ["contentions", "alloc_objects", "inuse_objects", "samples"];

/// What Pyroscope knows of a run.
#[derive(Debug, Default)]
pub struct Known {
    pub services: BTreeSet<String>,
    /// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
    types: Vec<String>,
}

pub async fn known(recorder: &Recorder, run: &Part) -> Known {
    #[derive(Deserialize)]
    struct Names {
        #[serde(default)]
        names: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Types {
        #[serde(default)]
        profile_types: Vec<Type>,
    }
    #[derive(Deserialize)]
    struct Type {
        #[serde(rename = "ID", alias = "id")]
        id: String,
    }
    let [start, end] = [run.from, run.until].map(milliseconds);
    let span = json!({ "start": start, "end": end });
    let types = recorder.ask("types", Question::post(Pyroscope, &format!("{QUERIER}/ProfileTypes"), span)).await;
    let types = types.and_then(|body| serde_json::from_slice::<Types>(&body).ok());
    let services = json!({ "name": "service_name", "start": start, "end": end });
    let services =
        recorder.ask("services", Question::post(Pyroscope, &format!("{QUERIER}/LabelValues"), services)).await;
    let services = services.and_then(|body| serde_json::from_slice::<Names>(&body).ok());
    let is_own = |id: &String| !id.split(':').nth(1).is_some_and(|sample| COUNTED_AS_WELL.contains(&sample));
    let types = types.map_or(Vec::new(), |types| types.profile_types.into_iter().map(|one| one.id).collect());
    Known {
        services: services.map_or(BTreeSet::new(), |services| services.names.into_iter().collect()),
        types: types.into_iter().filter(is_own).collect(),
    }
}

/// Asks for the totals and the profiles of the services; those of an older server part by part, or by `/render`.
pub async fn ask(recorder: &Recorder, wanted: &Wanted<'_>, known: &Known, services: &[String]) {
    let profiled: Vec<String> = services.iter().filter(|service| known.services.contains(*service)).cloned().collect();
    if profiled.is_empty() {
        return;
    }
    totals(recorder, &wanted.run, known, &profiled).await;
    let mut pairs = Vec::new();
    let mut profiles = Vec::new();
    for service in &profiled {
        for profile_type in &known.types {
            let (both, odd) = wanted.parts.as_chunks::<2>();
            pairs.extend(both.iter().map(|[left, right]| (left, right, service, profile_type)));
            profiles.extend(odd.iter().map(|part| (part, service, profile_type)));
        }
    }
    let count = 2 * pairs.len() + profiles.len();
    if count > PROFILES_MAX {
        recorder.miss(Pyroscope, &format!("of {count} profiles only {PROFILES_MAX} were asked for"));
        pairs.truncate(PROFILES_MAX / 2);
        profiles.truncate(PROFILES_MAX - 2 * pairs.len());
    }
    if let Some((first, others)) = pairs.split_first() {
        // An older server does not know differences: then each part is asked for by itself.
        if ask_for_both(recorder, *first, Question::where_served).await {
            let asked = others.iter().map(|pair| ask_for_both(recorder, *pair, |question| question));
            futures::stream::iter(asked).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
        } else {
            let parts = pairs
                .iter()
                .flat_map(|(left, right, service, one)| [(*left, *service, *one), (*right, *service, *one)]);
            profiles.extend(parts);
        }
    }
    let Some((first, others)) = profiles.split_first() else { return };
    let has_stacks = ask_for_stacks(recorder, *first).await != Some(404);
    let ask = |profile| async move {
        if has_stacks { ask_for_stacks(recorder, profile).await.map(drop) } else { render(recorder, profile).await }
    };
    if !has_stacks {
        ask(*first).await;
    }
    futures::stream::iter(others.iter().copied().map(ask)).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
}

/// Asks for the total of each kind of profile, step by step, by service.
async fn totals(recorder: &Recorder, run: &Part, known: &Known, services: &[String]) {
    let step = (run.seconds() / STEPS_MAX).ceil().max(STEP_SECONDS_MIN);
    let is_of =
        |profile_type: &str, samples: &[&str]| profile_type.split(':').nth(1).is_some_and(|one| samples.contains(&one));
    let asked = known.types.iter().filter(|profile_type| is_of(profile_type, &COUNTED)).map(|profile_type| {
        let mut body = json!({
            "profileTypeID": profile_type, "labelSelector": format!("{{{}}}", is_any("service_name", services)),
            "groupBy": ["service_name"], "step": step, "start": milliseconds(run.from), "end": milliseconds(run.until),
        });
        if is_of(profile_type, &HELD) {
            body["aggregation"] = Value::from("TIME_SERIES_AGGREGATION_TYPE_AVERAGE");
        }
        let question = Question::post(Pyroscope, &format!("{QUERIER}/SelectSeries"), body).where_served();
        let name = format!("totals-{}", profile_type.split(':').nth(1).unwrap_or(profile_type));
        async move { recorder.ask(&name, question).await }
    });
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
}

/// Asks what the processor did in the slowest of the spans in which services answered requests, in the times of findings.
///
/// Programs that do not name their spans to the profiler have no such profiles.
pub async fn ask_of_spans(recorder: &Recorder, wanted: &Wanted<'_>, known: &Known, answered: &[Answered]) {
    let Some(profile_type) = known.types.iter().find(|profile_type| profile_type.split(':').nth(1) == Some("cpu"))
    else {
        return;
    };
    let mut asked = Vec::new();
    for part in wanted.parts.iter().filter(|part| part.is_of_finding) {
        let mut of_service: BTreeMap<&String, Vec<&Answered>> = BTreeMap::new();
        for span in answered.iter().filter(|span| part.from <= span.start && span.start < part.until) {
            of_service.entry(&span.service).or_default().push(span);
        }
        for (service, mut spans) in of_service {
            if !known.services.contains(service) || spans.len() < SLOW_SPANS_MIN {
                continue;
            }
            spans.sort_by(|left, right| right.duration_ms.total_cmp(&left.duration_ms));
            // The slower half: what is usual there is not what they are slow by.
            spans.truncate(spans.len().div_ceil(2).clamp(SLOW_SPANS_MIN, SLOW_SPANS_MAX));
            asked.push((part, service, spans.iter().map(|span| hex(&span.span_id)).collect::<Vec<String>>()));
        }
    }
    let Some((first, others)) = asked.split_first() else { return };
    // `SelectMergeStacktraces` takes the same selector in newer servers; an older one ignores it, and answers for all requests.
    let ask = |(part, service, spans): &(&Part, &String, Vec<String>), changed: fn(Question) -> Question| {
        let mut body = stacks_body(part, service, profile_type);
        body["spanSelector"] = json!(spans);
        let question = changed(Question::post(Pyroscope, &format!("{QUERIER}/SelectMergeSpanProfile"), body));
        let name = name("spans", part, service, profile_type);
        async move { recorder.ask(&name, question).await }
    };
    if ask(first, Question::where_served).await.is_some() {
        let asked = others.iter().map(|one| ask(one, |question| question));
        futures::stream::iter(asked).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
    }
}

/// Asks for a profile of two parts, by a question that `changed` may change; says whether the server answered it.
async fn ask_for_both(
    recorder: &Recorder,
    (left, right, service, profile_type): (&Part, &Part, &String, &String),
    changed: fn(Question) -> Question,
) -> bool {
    let body =
        json!({ "left": stacks_body(left, service, profile_type), "right": stacks_body(right, service, profile_type) });
    let question = changed(Question::post(Pyroscope, &format!("{QUERIER}/Diff"), body));
    let asked = recorder.ask_for_status(&name("diff", left, service, profile_type), question).await;
    asked.is_some_and(|answer| answer.status == 200)
}

fn stacks_body(part: &Part, service: &str, profile_type: &str) -> Value {
    json!({
        "profileTypeID": profile_type, "labelSelector": selector(service), "maxNodes": NODES_MAX,
        "start": milliseconds(part.from), "end": milliseconds(part.until),
    })
}

type Asked<'a> = (&'a Part, &'a String, &'a String);

/// Returns the status; a server that does not know the question answers 404.
async fn ask_for_stacks(recorder: &Recorder, (part, service, profile_type): Asked<'_>) -> Option<u16> {
    let body = stacks_body(part, service, profile_type);
    let question = Question::post(Pyroscope, &format!("{QUERIER}/SelectMergeStacktraces"), body);
    let answer = recorder.ask_for_status(&name("merge", part, service, profile_type), question).await;
    answer.map(|answer| answer.status)
}

async fn render(recorder: &Recorder, (part, service, profile_type): Asked<'_>) -> Option<()> {
    let parameters = [
        ("query", format!("{profile_type}{}", selector(service))),
        ("format", "json".to_owned()),
        ("maxNodes", NODES_MAX.to_string()),
        ("from", milliseconds(part.from).to_string()),
        ("until", milliseconds(part.until).to_string()),
    ];
    let question = Question::get(Pyroscope, "/pyroscope/render", &parameters);
    recorder.ask(&name("render", part, service, profile_type), question).await.map(drop)
}

fn selector(service: &str) -> String {
    format!("{{service_name=\"{}\"}}", quoted(service))
}

fn name(by: &str, part: &Part, service: &str, profile_type: &str) -> String {
    let kind = profile_type.split(':').nth(1).unwrap_or(profile_type);
    format!("{by}-{service}-{kind}-{}", part.name)
}
