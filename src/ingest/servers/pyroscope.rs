//! What Pyroscope is asked: each kind of profile of each service over each part of the run, as stacks.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::access::Server::Pyroscope;
use super::client::{AT_ONCE, Question};
use super::recorder::Recorder;
use super::selectors::quoted;
use super::{Part, Wanted, milliseconds};

const QUERIER: &str = "/querier.v1.QuerierService";
/// Functions of a profile that are kept apart: more than a picture shows.
const NODES_MAX: usize = 2_048;
const PROFILES_MAX: usize = 1_500;
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

/// Asks for the profiles of the services; those of an older server by `/render`.
pub async fn ask(recorder: &Recorder, wanted: &Wanted<'_>, known: &Known, services: &[String]) {
    let profiled: Vec<&String> = services.iter().filter(|service| known.services.contains(*service)).collect();
    let mut profiles = Vec::new();
    for part in &wanted.parts {
        for service in &profiled {
            profiles.extend(known.types.iter().map(|profile_type| (part, *service, profile_type)));
        }
    }
    if profiles.len() > PROFILES_MAX {
        let count = profiles.len();
        recorder.miss(Pyroscope, &format!("of {count} profiles only {PROFILES_MAX} were asked for"));
        profiles.truncate(PROFILES_MAX);
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

type Asked<'a> = (&'a Part, &'a String, &'a String);

/// Returns the status; a server that does not know the question answers 404.
async fn ask_for_stacks(recorder: &Recorder, (part, service, profile_type): Asked<'_>) -> Option<u16> {
    let body = json!({
        "profileTypeID": profile_type, "labelSelector": selector(service), "maxNodes": NODES_MAX,
        "start": milliseconds(part.from), "end": milliseconds(part.until),
    });
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
