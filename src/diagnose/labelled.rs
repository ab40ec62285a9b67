//! Labelled faults: cases in and verdicts out, by the function that the product itself uses, and how good they are.
//!
//! The forms are those of the collections of cases; unknown fields are ignored. AC@k and Avg@5 as in RCAEval (Pham et al., 2024):
//! the share of cases whose service is among the first k, and the mean of it over k from 1 to 5.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::score::Score;

use super::moved_most::{Family, ServiceSeries, Symptom, moved_most};

const RANKS: usize = 5;

/// The metrics of a system around a fault.
#[derive(Debug, Deserialize)]
pub struct RootCauseCase {
    pub id: String,
    /// Seconds since 1970; what is before is healthy.
    pub inject_time: f64,
    #[serde(default)]
    pub target: Option<Target>,
    #[serde(default)]
    pub graph: Vec<(String, String)>,
    pub time: Vec<f64>,
    /// By `<service>_<metric>`.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// Where the fault was seen.
#[derive(Debug, Deserialize)]
pub struct Target {
    pub service: String,
    pub metric: String,
}

#[derive(Debug, Serialize)]
pub struct RootCauseVerdict {
    pub id: String,
    /// Of each service the series that moved most, best first.
    pub ranks: Vec<String>,
    #[serde(skip)]
    services: Vec<String>,
}

pub fn root_cause(case: RootCauseCase) -> RootCauseVerdict {
    // A service's name may hold the mark that parts it from its metric.
    let of_graph = case.graph.iter().flat_map(|(caller, callee)| [caller.as_str(), callee.as_str()]);
    let of_names = case.series.keys().filter_map(|name| Some(name.rsplit_once('_')?.0));
    let services: BTreeSet<&str> = of_graph.chain(of_names).collect();
    let service_of = |name: &str| {
        let owns = |service: &&&str| name.strip_prefix(**service).is_some_and(|metric| metric.starts_with('_'));
        services.iter().filter(owns).max_by_key(|service| service.len()).copied()
    };
    let series: Vec<ServiceSeries> = case
        .series
        .iter()
        .filter_map(|(name, values)| {
            let service = service_of(name)?;
            let known = |is_healthy: bool| -> Vec<f64> {
                let timed = case.time.iter().zip(values).filter(|(time, _)| (**time < case.inject_time) == is_healthy);
                timed.filter_map(|(_, value)| value.filter(|value| value.is_finite())).collect()
            };
            let family = Family::of(&name[service.len() + 1..]);
            Some(ServiceSeries { name, service, family, healthy: known(true), faulty: known(false) })
        })
        .collect();
    let symptom =
        case.target.as_ref().map(|target| Symptom { service: &target.service, family: Family::of(&target.metric) });
    let ranked = moved_most(&series, &case.graph, symptom);
    RootCauseVerdict {
        ranks: ranked.iter().map(|one| one.series.to_owned()).collect(),
        services: ranked.iter().map(|one| one.service.to_owned()).collect(),
        id: case.id,
    }
}

/// Which service had the fault.
#[derive(Debug, Deserialize)]
pub struct RootCauseTruth {
    pub id: String,
    pub service: String,
    pub system: String,
}

/// Scores verdicts; a case without one counts as "nowhere".
pub fn score(truths: &[RootCauseTruth], verdicts: &[RootCauseVerdict]) -> Vec<Score> {
    let place = |truth: &RootCauseTruth| {
        let verdict = verdicts.iter().find(|verdict| verdict.id == truth.id)?;
        verdict.services.iter().position(|service| *service == truth.service)
    };
    let of_system = |name: &'static str, system: &str, ranks: &dyn Fn(Option<usize>) -> f64| {
        let of: Vec<f64> =
            truths.iter().filter(|truth| truth.system.starts_with(system)).map(|truth| ranks(place(truth))).collect();
        let value = (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        Score { name, value, decimals: 2 }
    };
    let first = |place: Option<usize>| f64::from(u8::from(place == Some(0)));
    let average = |place: Option<usize>| place.map_or(0.0, |place| RANKS.saturating_sub(place) as f64 / RANKS as f64);
    vec![
        of_system("Online Boutique, service first", "online-boutique", &first),
        of_system("Online Boutique, Avg@5", "online-boutique", &average),
        of_system("PetShop, service first", "petshop", &first),
        of_system("PetShop, Avg@5", "petshop", &average),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_ranked_and_scored() {
        let mut series = serde_json::json!({});
        for (name, faulty) in [("a_b_latency", 9.0), ("c_latency", 1.0)] {
            let values: Vec<f64> =
                (0..30).map(|step| if step >= 20 { faulty } else { 1.0 + 0.1 * f64::from(step % 3) }).collect();
            series[name] = values.into();
        }
        let time: Vec<i32> = (0..30).collect();
        let case = serde_json::json!({"id": "1", "system": "petshop", "inject_time": 20, "target": null, "graph": [["c", "a_b"]], "time": time, "series": series});
        let verdict = root_cause(serde_json::from_value(case).unwrap());
        assert_eq!(verdict.ranks, ["a_b_latency", "c_latency"]);
        let truth = |service: &str| RootCauseTruth {
            id: "1".to_owned(),
            service: service.to_owned(),
            system: "petshop".to_owned(),
        };
        let values = |truth: RootCauseTruth, verdict: &RootCauseVerdict| -> Vec<Option<f64>> {
            score(&[truth], std::slice::from_ref(verdict)).iter().map(|score| score.value).collect()
        };
        assert_eq!(values(truth("a_b"), &verdict), [None, None, Some(1.0), Some(1.0)]);
        assert_eq!(values(truth("c"), &verdict), [None, None, Some(0.0), Some(0.8)]);
    }
}
