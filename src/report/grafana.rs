//! Where a piece of evidence is looked up: the query that got it, and the address at which Grafana's Explore shows it.

use serde_json::json;

use crate::ingest::servers::selectors::{is_any, quoted};
use crate::model::diagnosis::Clue;
use crate::model::exhibit::Period;
use crate::model::report::Grafana;
use crate::model::telemetry::CountedBy;
use crate::model::time::Timestamp;

/// A query, and the kind of server that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// As Grafana names the type of the data source.
    pub source: &'static str,
    pub query: String,
}

/// Seconds around what is looked up, so that its beginning and end are seen.
const MARGIN_SECONDS: f64 = 30.0;

/// Grafana's type of data source.
const PYROSCOPE: &str = "grafana-pyroscope-datasource";

/// Returns what got a piece of evidence; none where that is not known.
pub fn lookup(clue: &Clue) -> Option<Lookup> {
    let one = |label: &str, value: &String| is_any(label, std::slice::from_ref(value));
    let (source, query) = match clue {
        Clue::Metric { service, metric, query, .. } => match CountedBy::of(metric) {
            None => ("prometheus", query.clone()?),
            Some(CountedBy::Tempo) => ("tempo", query.clone()?),
            // What was asked is a type of profile.
            Some(CountedBy::Pyroscope) => {
                (PYROSCOPE, format!("{}{{{}}}", query.as_ref()?, one("service_name", service)))
            }
        },
        Clue::Span { service, operation, .. } => {
            let query = format!("{{{} && name=\"{}\"}}", one("resource.service.name", service), quoted(operation));
            ("tempo", query)
        }
        Clue::Trace { trace_id, .. } => ("tempo", trace_id.clone()),
        Clue::Profile { service, profile_type, .. } | Clue::SpanProfile { service, profile_type, .. } => {
            (PYROSCOPE, format!("{profile_type}{{{}}}", one("service_name", service)))
        }
        Clue::Log { query, .. } => ("loki", query.clone()?),
    };
    Some(Lookup { source, query })
}

/// Returns the address of Grafana's Explore with a query in it, over a period and a little around it.
///
/// As Grafana 10 and later read it: `schemaVersion=1` and `panes`, a JSON document.
pub fn link(grafana: &Grafana, lookup: &Lookup, period: Period) -> String {
    let known = grafana.datasources.get(lookup.source);
    let uid = known.map_or(lookup.source, String::as_str);
    let datasource = json!({ "type": lookup.source, "uid": uid });
    let query = match lookup.source {
        "tempo" => json!({ "refId": "A", "datasource": datasource, "queryType": "traceql", "query": lookup.query }),
        PYROSCOPE => {
            let (profile_type, selector) = lookup.query.split_at(lookup.query.find('{').unwrap_or(lookup.query.len()));
            json!({ "refId": "A", "datasource": datasource, "queryType": "profile", "profileTypeId": profile_type, "labelSelector": selector })
        }
        _ => json!({ "refId": "A", "datasource": datasource, "expr": lookup.query }),
    };
    let milliseconds = |at: Timestamp, seconds: f64| at.after_seconds(seconds).0.div_euclid(1_000_000).to_string();
    let range =
        json!({ "from": milliseconds(period.from, -MARGIN_SECONDS), "to": milliseconds(period.until, MARGIN_SECONDS) });
    let panes = json!({ "why": { "datasource": uid, "queries": [query], "range": range } }).to_string();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("schemaVersion", "1"), ("orgId", "1"), ("panes", &panes)])
        .finish();
    format!("{}/explore?{form}", grafana.url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_link_holds_the_query_and_the_time_whatever_names_hold() {
        let datasources = BTreeMap::from([("loki".to_owned(), "my-loki".to_owned())]);
        let grafana = Grafana { url: "https://grafana.test/sub/".to_owned(), datasources };
        let clue = Clue::Log {
            service: "a".to_owned(),
            level: String::new(),
            template: String::new(),
            healthy_per_second: 0.0,
            faulty_per_second: 1.0,
            example: String::new(),
            query: Some("{app=\"a&b\"}".to_owned()),
        };
        let period = Period { from: Timestamp(60_000_000_000), until: Timestamp(90_000_000_000) };
        let address = link(&grafana, &lookup(&clue).unwrap(), period);
        let (start, form) = address.split_once('?').unwrap();
        assert_eq!(start, "https://grafana.test/sub/explore");
        let pairs: BTreeMap<String, String> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let panes: Value = serde_json::from_str(&pairs["panes"]).unwrap();
        assert_eq!(panes["why"]["datasource"], "my-loki");
        assert_eq!(panes["why"]["queries"][0]["expr"], "{app=\"a&b\"}");
        assert_eq!(panes["why"]["range"], json!({ "from": "30000", "to": "120000" }));
        let profile = Clue::Profile {
            service: "a\"b".to_owned(),
            profile_type: "p:cpu".to_owned(),
            function: String::new(),
            healthy_per_second: 0.0,
            faulty_per_second: 0.0,
            healthy_from: period.from,
            healthy_until: period.until,
            faulty_from: period.from,
            faulty_until: period.until,
        };
        let counted = |metric: &str, query: &str| {
            let metric = Clue::Metric {
                service: "auth".to_owned(),
                metric: metric.to_owned(),
                what: String::new(),
                unit: String::new(),
                healthy: 0.0,
                faulty: 0.0,
                moved_at: None,
                query: Some(query.to_owned()),
            };
            lookup(&metric).map(|found| (found.source, found.query)).unwrap()
        };
        assert_eq!(counted("up", "up{}"), ("prometheus", "up{}".to_owned()));
        assert_eq!(counted("tempo:server_duration_seconds_sum", "{} | rate()"), ("tempo", "{} | rate()".to_owned()));
        let of_profiles = counted("pyroscope:mutex_delay_seconds_total", "mutex:delay");
        assert_eq!(of_profiles, (PYROSCOPE, "mutex:delay{service_name=\"auth\"}".to_owned()));
        let profile = lookup(&profile).unwrap();
        assert_eq!(profile.query, "p:cpu{service_name=\"a\\\"b\"}");
        assert!(link(&grafana, &profile, period).contains("profileTypeId"));
    }
}
