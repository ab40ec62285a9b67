//! What Prometheus is asked: the metrics of the services over the run, those that are vital first, and exemplars.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::access::Server::Prometheus;
use super::client::{AT_ONCE, Question};
use super::recorder::Recorder;
use super::selectors::{is_any, quoted};
use super::{Part, Wanted, milliseconds, values_of};
use crate::ingest::telemetry::prometheus::{exemplars as read_exemplars, label_sets, label_values};

/// Metrics that are asked for: a service in Go or Java has some hundred.
const NAMES_MAX: usize = 250;
/// More points than any chart shows; a server refuses 11,000.
const POINTS_MAX: f64 = 720.0;
/// Of each answer; a server that knows no limit ignores it.
const SERIES_MAX: usize = 5_000;
/// Histograms whose exemplars are asked for.
const EXEMPLAR_METRICS_MAX: usize = 4;

/// Returns which values each of the labels that name services has.
pub async fn labels(recorder: &Recorder, wanted: &Wanted<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let labels = wanted.service_labels.iter().copied();
    values_of(recorder, Prometheus, labels, |label| format!("/api/v1/label/{label}/values"), &span(&wanted.run)).await
}

/// Returns the services that have metrics of requests that they answer: where nothing else is known, those are the system's.
pub async fn answering(recorder: &Recorder, wanted: &Wanted<'_>) -> BTreeSet<String> {
    let mut parameters = span(&wanted.run);
    parameters
        .extend([("match[]", format!("{{__name__=~\"{ANSWERING_METRICS}\"}}")), ("limit", SERIES_MAX.to_string())]);
    let question = Question::get(Prometheus, "/api/v1/series", &parameters).where_served();
    let Some(body) = recorder.ask("answering", question).await else { return BTreeSet::new() };
    let service =
        |labels: BTreeMap<String, String>| wanted.service_labels.iter().find_map(|label| labels.get(*label).cloned());
    // The recording holds the answer: reading it says why it is none.
    label_sets(&body).unwrap_or_default().into_iter().filter_map(service).collect()
}

/// Asks for the metrics of the services.
pub async fn ask(
    recorder: &Recorder,
    wanted: &Wanted<'_>,
    labels: &BTreeMap<String, BTreeSet<String>>,
    services: &[String],
) {
    let matchers = matchers(wanted, labels, services);
    let mut parameters = span(&wanted.run);
    parameters.extend(matchers.iter().filter(|matcher| !matcher.is_empty()).map(|m| ("match[]", format!("{{{m}}}"))));
    let question = Question::get(Prometheus, "/api/v1/label/__name__/values", &parameters);
    let types = Question::get(Prometheus, "/api/v1/metadata", &[("limit_per_metric", "1".to_owned())]).where_served();
    let (body, _) = futures::join!(recorder.ask("names", question), recorder.ask("types", types));
    let Some(body) = body else { return };
    // The recording holds the answer: reading it says why it is none.
    let Ok(names) = label_values(&body) else { return };
    let (vital, others): (Vec<String>, Vec<String>) =
        names.into_iter().filter(|name| !name.ends_with("_bucket")).partition(|name| is_vital(wanted, name));
    if vital.len() > NAMES_MAX {
        let count = vital.len();
        recorder.miss(Prometheus, &format!("of {count} metrics that tell of services only {NAMES_MAX} were asked for"));
    }
    // All metrics of a system whose services are not known would be those of a data centre.
    let is_whole = vital.len() + others.len() <= NAMES_MAX;
    let others = if services.is_empty() && !is_whole { Vec::new() } else { others };
    let step = (wanted.run.seconds() / POINTS_MAX).ceil().max(1.0);
    let series = vital.into_iter().chain(others).take(NAMES_MAX).map(|name| {
        let mut parameters = span(&wanted.run);
        parameters.extend([
            ("query", query(&name, &matchers)),
            ("step", step.to_string()),
            ("limit", SERIES_MAX.to_string()),
        ]);
        let question = Question::get(Prometheus, "/api/v1/query_range", &parameters);
        async move { recorder.ask(&format!("series-{name}"), question).await }
    });
    futures::stream::iter(series).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
}

/// Asks for exemplars of the requests' latency; returns the traces of the slowest in each part.
pub async fn exemplars(
    recorder: &Recorder,
    wanted: &Wanted<'_>,
    labels: &BTreeMap<String, BTreeSet<String>>,
    services: &[String],
) -> Vec<[u8; 16]> {
    const SLOWEST: usize = 5;
    if !recorder.has(Prometheus) {
        return Vec::new();
    }
    let mut traces = Vec::new();
    for name in EXEMPLAR_METRICS.iter().take(EXEMPLAR_METRICS_MAX) {
        let mut parameters = span(&wanted.run);
        parameters.push(("query", query(name, &matchers(wanted, labels, services))));
        let question = Question::get(Prometheus, "/api/v1/query_exemplars", &parameters);
        let Some(body) = recorder.ask(&format!("exemplars-{name}"), question).await else { continue };
        let Ok(found) = read_exemplars(&body) else { continue };
        let all: Vec<_> = found.series.iter().flat_map(|series| &series.exemplars).collect();
        for part in &wanted.parts {
            let mut here: Vec<_> = all.iter().filter(|one| part.from <= one.at && one.at < part.until).collect();
            here.sort_by(|left, right| right.value.total_cmp(&left.value));
            traces.extend(here.iter().take(SLOWEST).map(|one| one.trace_id));
        }
    }
    traces
}

/// Of native and classic histograms and summaries, by the same conventions, and by those of Spring.
const ANSWERING_METRICS: &str = "http_server_request(_duration|s)(_seconds|_milliseconds)?(_count)?|http_requests?_duration(_seconds)?(_count)?|grpc_server_handled_total|rpc_server_duration(_milliseconds|_seconds)?_count";

/// By the conventions of OpenTelemetry, native and classic, and of Prometheus' client libraries.
const EXEMPLAR_METRICS: [&str; 3] = [
    "http_server_request_duration_seconds",
    "http_server_request_duration_seconds_bucket",
    "http_request_duration_seconds_bucket",
];

/// A native histogram has its name alone where a classic one has those of its sum and count.
fn is_vital(wanted: &Wanted, name: &str) -> bool {
    (wanted.is_vital)(name) || (wanted.is_vital)(&format!("{name}_sum")) || (wanted.is_vital)(&format!("{name}_count"))
}

/// Returns what selects the services' series: one matcher for each label that names one of them; an empty one is all series.
fn matchers(wanted: &Wanted, labels: &BTreeMap<String, BTreeSet<String>>, services: &[String]) -> Vec<String> {
    let matcher = |label: &&str| {
        let values = labels.get(*label)?;
        let named: Vec<String> = services.iter().filter(|service| values.contains(*service)).cloned().collect();
        (!named.is_empty()).then(|| is_any(label, &named))
    };
    let found: Vec<String> = wanted.service_labels.iter().filter_map(matcher).collect();
    if found.is_empty() { vec![String::new()] } else { found }
}

fn query(name: &str, matchers: &[String]) -> String {
    // Since Prometheus 3 a name may hold any letter; such a one stands in quotes within the braces.
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    let selector = |matcher: &String| match (is_plain, matcher.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{name}{{{matcher}}}"),
        (false, true) => format!("{{\"{}\"}}", quoted(name)),
        (false, false) => format!("{{\"{}\",{matcher}}}", quoted(name)),
    };
    matchers.iter().map(selector).collect::<Vec<_>>().join(" or ")
}

fn span(run: &Part) -> Vec<(&'static str, String)> {
    let time = |at| format!("{:.3}", milliseconds(at) as f64 / 1e3);
    vec![("start", time(run.from)), ("end", time(run.until))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_select_the_services_by_every_label_that_names_them() {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let labels = BTreeMap::from([
            ("service".to_owned(), all(&["cart", "auth", "else"])),
            ("job".to_owned(), all(&["shop"])),
            ("container".to_owned(), all(&["cart"])),
        ]);
        let part =
            Part { name: String::new(), from: Timestamp(0), until: Timestamp(1_500_000_000), is_of_finding: false };
        let is_vital = |name: &str| name == "h_sum";
        let wanted = Wanted {
            run: part.clone(),
            parts: vec![part],
            traced: Vec::new(),
            is_vital: &is_vital,
            service_labels: &["service", "container", "job"],
        };
        let services = ["auth".to_owned(), "cart".to_owned()];
        let matchers = matchers(&wanted, &labels, &services);
        assert_eq!(matchers, [r#"service=~"auth|cart""#, r#"container="cart""#]);
        assert_eq!(query("up", &matchers), r#"up{service=~"auth|cart"} or up{container="cart"}"#);
        assert_eq!(query("a.b\"", &[String::new()]), r#"{"a.b\""}"#);
        assert_eq!(query("a.b", &matchers[1..]), r#"{"a.b",container="cart"}"#);
        assert_eq!(query("up", &super::matchers(&wanted, &labels, &[])), "up");
        assert_eq!(span(&wanted.run), [("start", "0.000".to_owned()), ("end", "1.500".to_owned())]);
        assert!(is_vital("h_sum") && super::is_vital(&wanted, "h") && !super::is_vital(&wanted, "g"));
    }

    use crate::model::time::Timestamp;
}
