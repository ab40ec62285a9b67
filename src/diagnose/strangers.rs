//! The likeliest service where metrics bear names that no convention knows, and there are no spans: the one that moved most.

use std::collections::BTreeMap;

use crate::model::diagnosis::{CauseKind, Clue};
use crate::model::telemetry::MetricSeries;

use super::causes::Cause;
use super::clues;
use super::contrast::Contrast;
use super::moved_most::{Family, ServiceSeries, moved_most};
use super::traces::mean;
use super::vitals::Vitals;

/// A service is named if it moved by so much (e^2.3 - 1 is nine times what it varies), and by so much more than the next one.
const SCORE_MIN: f64 = 2.3;
const LEAD_MIN: f64 = 1.25;

/// Returns the service that moved far more than all others; none where there is none.
pub fn far_ahead(metrics: &[MetricSeries], vitals: &Vitals, contrast: &Contrast) -> Option<Cause> {
    let of_service = by_service(metrics, vitals);
    let series: Vec<ServiceSeries> = of_service
        .iter()
        .map(|((service, name), values)| ServiceSeries {
            name,
            service,
            family: Family::of(name),
            healthy: contrast.healthy.iter().flat_map(|window| vitals.within(values, *window)).collect(),
            faulty: vitals.within(values, contrast.faulty).collect(),
        })
        .collect();
    let calls: Vec<(String, String)> = vitals.calls.keys().cloned().collect();
    let ranked = moved_most(&series, &calls, None);
    let first = ranked.first().filter(|first| first.score >= SCORE_MIN)?;
    if ranked.get(1).is_some_and(|second| first.score < LEAD_MIN * second.score) {
        return None;
    }
    let moved = series.iter().find(|one| one.service == first.service && one.name == first.series)?;
    let has = |word: &str| first.series.to_ascii_lowercase().contains(word);
    let kind = match moved.family {
        Family::Errors | Family::Successes => CauseKind::Errors,
        _ if has("cpu") => CauseKind::Cpu,
        _ => CauseKind::Unknown,
    };
    Some(Cause {
        service: first.service.to_owned(),
        kind,
        share: 0.5,
        explained: 0.0,
        what: format!("{} moved far more than the other services, most of all its {}", first.service, first.series),
        endpoint: None,
        function: None,
        span: None,
        clues: vec![Clue::Metric {
            service: first.service.to_owned(),
            metric: first.series.to_owned(),
            what: "mean".to_owned(),
            unit: String::new(),
            healthy: mean(&moved.healthy),
            faulty: mean(&moved.faulty),
            moved_at: None,
            query: None,
        }],
        refuted_by: clues::refutation(kind).to_owned(),
    })
}

/// Returns the values a step of each metric of each service: counters as rates, sums by their counts, summed over labels.
fn by_service(metrics: &[MetricSeries], vitals: &Vitals) -> BTreeMap<(String, String), Vec<f64>> {
    let mut sums: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for series in metrics.iter().filter(|series| !series.name.ends_with("_bucket")) {
        let Some(service) = series.service() else { continue };
        let values = vitals.on_grid(series, 1.0);
        super::vitals::add(sums.entry((service.to_owned(), series.name.clone())).or_default(), &values);
    }
    let counts: BTreeMap<(String, String), Vec<f64>> = sums
        .iter()
        .filter(|((_, name), _)| name.ends_with("_count"))
        .map(|(key, values)| (key.clone(), values.clone()))
        .collect();
    for ((service, name), values) in &mut sums {
        let Some(stem) = name.strip_suffix("_sum") else { continue };
        let Some(counts) = counts.get(&(service.clone(), format!("{stem}_count"))) else { continue };
        values
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum = if *count > 0.0 { *sum / count } else { f64::NAN });
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::contrast::Window;
    use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

    #[test]
    fn one_service_far_ahead_is_named_and_a_draw_is_not() {
        let time = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        let run = Window { from: time(0), until: time(120) };
        let contrast = Contrast::of(Window { from: time(60), until: time(80) }, run, &[]);
        let series = |service: &str, factor: f64| MetricSeries {
            name: "queue_depth_of_ours".to_owned(),
            labels: [("service".to_owned(), service.to_owned())].into(),
            points: (0..120)
                .map(|second| {
                    let level = if (60..80).contains(&second) { factor } else { 1.0 };
                    (time(second), level * (5.0 + 0.1 * (second % 7) as f64))
                })
                .collect(),
            is_counter: None,
        };
        let found = |factors: [f64; 2]| {
            let metrics = [series("a", factors[0]), series("b", factors[1])];
            far_ahead(&metrics, &Vitals::of(&metrics, run), &contrast).map(|cause| cause.service)
        };
        assert_eq!(found([9.0, 1.0]).as_deref(), Some("a"));
        assert_eq!(found([9.0, 9.0]), None);
        assert_eq!(found([1.0, 1.0]), None);
    }
}
