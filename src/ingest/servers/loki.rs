//! What Loki is asked: how many lines of each level there were, and all lines, or where there are too many, evenly spread ones.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::access::Server::Loki;
use super::client::{AT_ONCE, Question};
use super::recorder::Recorder;
use super::selectors::is_any;
use super::{Part, Wanted, values_of};
use crate::ingest::telemetry::loki::{LogAnswer, logs};
use crate::ingest::telemetry::prometheus::label_values;
use crate::model::telemetry::{PATTERN_STEP_SECONDS, SERVICE_LABELS};

/// What a server gives at once, unless told otherwise.
const PAGE_LINES: usize = 5_000;
const PAGES_MAX: usize = 24;
/// Steps of the counts: as many as a chart shows.
const STEPS: f64 = 120.0;

/// Returns which values each of the labels that name services has.
pub async fn labels(recorder: &Recorder, run: &Part) -> BTreeMap<String, BTreeSet<String>> {
    let question = Question::get(Loki, "/loki/api/v1/labels", &span(run));
    let Some(body) = recorder.ask("labels", question).await else { return BTreeMap::new() };
    let names = label_values(&body).unwrap_or_default();
    let known = SERVICE_LABELS.into_iter().filter(|label| names.iter().any(|name| name == label));
    values_of(recorder, Loki, known, |label| format!("/loki/api/v1/label/{label}/values"), &span(run)).await
}

/// Asks for the lines of the services.
pub async fn ask(
    recorder: &Recorder,
    wanted: &Wanted<'_>,
    labels: &BTreeMap<String, BTreeSet<String>>,
    services: &[String],
) {
    let Some((label, selector)) = selector(labels, services) else { return };
    let run = &wanted.run;
    let step = (run.seconds() / STEPS).ceil().max(1.0);
    let mut parameters = span(run);
    let query = format!("sum by ({label}, level, detected_level) (count_over_time({selector}[{step}s]))");
    parameters.extend([("query", query), ("step", step.to_string())]);
    let counts = recorder.ask("counts", Question::get(Loki, "/loki/api/v1/query_range", &parameters)).await;
    let lines_count = counts.and_then(|body| match logs(&body) {
        Ok(LogAnswer::Metrics(counts)) => {
            let points = counts.series.iter().flat_map(|series| &series.points);
            Some(points.map(|(_, count)| count).sum::<f64>())
        }
        _ => None,
    });
    if lines_count.is_none_or(|count| count <= (PAGES_MAX * PAGE_LINES) as f64) {
        pages(recorder, run, &selector).await;
    } else {
        spread(recorder, run, &selector, lines_count.unwrap_or_default()).await;
        patterns(recorder, run, &label, services).await;
    }
}

/// Asks how many lines of each pattern there were, by service: of more lines than are read the server has counted all.
async fn patterns(recorder: &Recorder, run: &Part, label: &str, services: &[String]) {
    let asked = services.iter().map(|service| {
        let mut parameters = span(run);
        let selector = format!("{{{}}}", is_any(label, std::slice::from_ref(service)));
        parameters.extend([("query", selector), ("step", format!("{PATTERN_STEP_SECONDS}s"))]);
        let question = Question::get(Loki, "/loki/api/v1/patterns", &parameters).where_served();
        async move { recorder.ask(&format!("patterns-{service}"), question).await }
    });
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
}

/// Asks for all lines, page by page: each begins after the last line of the one before.
async fn pages(recorder: &Recorder, run: &Part, selector: &str) {
    let mut from = run.from;
    for page in 0..PAGES_MAX {
        let rest = Part { from, ..run.clone() };
        let Some(body) = recorder.ask(&format!("lines-{page:02}"), lines(selector, &rest)).await else { return };
        let Ok(LogAnswer::Lines(found)) = logs(&body) else { return };
        let Some(last) = found.iter().map(|line| line.at).max().filter(|_| found.len() >= PAGE_LINES) else { return };
        from.0 = last.0 + 1;
    }
    recorder.miss(
        Loki,
        &format!("there are more than {} lines: those after {from} were not asked for", PAGES_MAX * PAGE_LINES),
    );
}

/// Asks for the first lines of many equal parts of the run.
async fn spread(recorder: &Recorder, run: &Part, selector: &str, lines_count: f64) {
    let asked = run.slices(PAGES_MAX).enumerate().map(|(index, slice)| {
        let question = lines(selector, &slice);
        async move { recorder.ask(&format!("lines-{index:02}"), question).await }
    });
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).map(drop).collect::<()>().await;
    let what = format!(
        "of {lines_count:.0} lines only {PAGES_MAX} times the first {PAGE_LINES} were asked for, evenly spread: rates of lines are too low"
    );
    recorder.miss(Loki, &what);
}

fn lines(selector: &str, part: &Part) -> Question {
    let mut parameters = span(part);
    parameters.extend([
        ("query", selector.to_owned()),
        ("direction", "forward".to_owned()),
        ("limit", PAGE_LINES.to_string()),
    ]);
    Question::get(Loki, "/loki/api/v1/query_range", &parameters)
}

/// Returns the label that names most of the services, and what selects their lines; without services, all lines with such a label.
fn selector(labels: &BTreeMap<String, BTreeSet<String>>, services: &[String]) -> Option<(String, String)> {
    let named = |label: &str| {
        let values = &labels[label];
        services.iter().filter(|service| values.contains(*service)).cloned().collect::<Vec<String>>()
    };
    let known: Vec<&str> = SERVICE_LABELS.into_iter().filter(|label| labels.contains_key(*label)).collect();
    // Of several with as many the first stays.
    let label = known.iter().rev().max_by_key(|label| named(label).len())?;
    let named = named(label);
    let selector = match (named.is_empty(), services.is_empty()) {
        (false, _) => format!("{{{}}}", is_any(label, &named)),
        (true, true) => format!("{{{label}=~\".+\"}}"),
        (true, false) => return None,
    };
    Some(((*label).to_owned(), selector))
}

fn span(part: &Part) -> Vec<(&'static str, String)> {
    vec![("start", part.from.0.to_string()), ("end", part.until.0.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_that_names_most_services_selects_their_lines() {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let labels = BTreeMap::from([
            ("service_name".to_owned(), all(&["unknown_service"])),
            ("service".to_owned(), all(&["cart", "auth"])),
            ("app".to_owned(), all(&["cart", "auth"])),
        ]);
        let services = ["auth".to_owned(), "cart".to_owned(), "gone".to_owned()];
        let found = |services: &[String]| selector(&labels, services);
        let expected = |label: &str, selector: &str| Some((label.to_owned(), selector.to_owned()));
        assert_eq!(found(&services), expected("service", r#"{service=~"auth|cart"}"#));
        assert_eq!(found(&[]), expected("service_name", r#"{service_name=~".+"}"#));
        assert_eq!(found(&services[2..]), None);
        assert_eq!(selector(&BTreeMap::new(), &services), None);
    }
}
