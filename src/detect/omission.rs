//! Coordinated omission: with VUs that wait for each response, what the percentiles would have been had the requests kept coming.
//!
//! Only of a closed test: with an arrival rate k6 starts iterations whether or not others are answered. A VU's usual interval is
//! the median over the steady steps of VUs / requests a second; what each request left out is reckoned from it
//! (`stats::omission`). It is a finding where it makes a difference that nobody would ignore, marked as the estimate that it is.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::CoordinatedOmission;
use crate::stats::omission::Corrected;
use crate::stats::robust::median;
use crate::stats::sketch::Sketch;

use super::finding_id::finding_id;
use super::soak::Steady;
use super::subjects::reference;

/// The 99th percentile is at least half as high again, and so large a part of the requests is left out: fewer do not move it.
const RATIO_MIN: f64 = 1.5;
const OMITTED_SHARE_MIN: f64 = 0.01;
const MILLISECONDS_PER_SECOND: f64 = 1000.0;

/// Returns the estimate for the steady part of a closed test; none where no VUs were sampled, or nothing was requested.
///
/// `latency`: of all requests in the steady steps; `vus`, `requests_per_second`: by step of the run.
pub(super) fn omission(
    steady: &Steady,
    vus: &[Option<f64>],
    requests_per_second: &[f64],
    latency: &Sketch,
) -> Option<CoordinatedOmission> {
    let steps = steady.from..steady.until.min(vus.len());
    let of_step = |(vus, rate): (&Option<f64>, &f64)| {
        let vus = vus.filter(|vus| *vus >= 1.0 && *rate > 0.0)?;
        Some((vus / rate * MILLISECONDS_PER_SECOND, vus))
    };
    let known: Vec<(f64, f64)> =
        vus.get(steps.clone())?.iter().zip(requests_per_second.get(steps)?).filter_map(of_step).collect();
    let intervals: Vec<f64> = known.iter().map(|(interval, _)| *interval).collect();
    if intervals.is_empty() {
        return None;
    }
    let interval_ms = median(&intervals);
    let corrected = Corrected::of(latency, interval_ms);
    let vus_usual = median(&known.iter().map(|(_, vus)| *vus).collect::<Vec<f64>>());
    Some(CoordinatedOmission {
        interval_ms,
        intended_requests_per_second: vus_usual * MILLISECONDS_PER_SECOND / interval_ms,
        omitted_requests_count: corrected.omitted_count,
        measured_requests_count: latency.count(),
        latency_ms_p95: latency.quantile(0.95)?,
        latency_ms_p99: latency.quantile(0.99)?,
        estimated_latency_ms_p95: corrected.quantile(0.95)?,
        estimated_latency_ms_p99: corrected.quantile(0.99)?,
    })
}

/// Returns the finding, where the estimate is far from what was measured.
pub(super) fn omitted(steady: &Steady, omission: &CoordinatedOmission) -> Option<Finding> {
    let ratio = omission.estimated_latency_ms_p99 / omission.latency_ms_p99;
    let share = omission.omitted_requests_count as f64 / omission.measured_requests_count.max(1) as f64;
    if !(ratio.is_finite() && ratio >= RATIO_MIN && share >= OMITTED_SHARE_MIN) {
        return None;
    }
    let series = SeriesReference { statistic: Some("p99".to_owned()), ..reference("http_req_duration", Vec::new()) };
    let title = format!(
        "by an estimate the p99 latency would have been {:.0} ms and not {:.0} ms, had requests kept coming at {:.1}/s: VUs that \
         waited left out about {} of them",
        omission.estimated_latency_ms_p99,
        omission.latency_ms_p99,
        omission.intended_requests_per_second,
        omission.omitted_requests_count
    );
    let change = Change::plain(Scale::Ratio, ratio - 1.0);
    let evidence = |statistic: &str, measured: f64, estimated: f64| Evidence::Metric {
        series: SeriesReference { statistic: Some(statistic.to_owned()), ..series.clone() },
        observed: measured,
        expected: Some(estimated),
        unit: Unit::Milliseconds,
        change: None,
        note: Some("measured, and estimated for requests that keep coming".to_owned()),
    };
    Some(Finding {
        id: finding_id(steady.test, FindingKind::CoordinatedOmission, &series, None),
        kind: FindingKind::CoordinatedOmission,
        title,
        severity: Severity::Minor,
        direction: Direction::Worse,
        evidence: vec![
            evidence("p95", omission.latency_ms_p95, omission.estimated_latency_ms_p95),
            evidence("p99", omission.latency_ms_p99, omission.estimated_latency_ms_p99),
        ],
        series,
        also: Vec::new(),
        from: None,
        until: None,
        since_run: None,
        suspect: false,
        observed: omission.estimated_latency_ms_p99,
        expected: Some(omission.latency_ms_p99),
        unit: Unit::Milliseconds,
        change: Some(change),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::stats::draws::Draws;
    use crate::stats::sketch::bytes_of_sorted;

    const STEPS: usize = 120;

    fn steady() -> Steady<'static> {
        Steady { test: "t", start: Timestamp(0), step_seconds: 1.0, from: 0, until: STEPS }
    }

    /// Ten VUs, each a request every half a second; `stall_seconds` in which none is answered.
    fn run(seed: u64, sigma: f64, stall_seconds: usize) -> (Vec<f64>, Sketch) {
        let mut draws = Draws::seeded(seed);
        let stall = 60..60 + stall_seconds;
        let mut latency = Sketch::default();
        let rates = (0..STEPS)
            .map(|second| {
                let mut values: Vec<f64> = if stall.contains(&second) {
                    Vec::new()
                } else {
                    (0..20).map(|_| 50.0 * (sigma * draws.normal()).exp()).collect()
                };
                if stall_seconds > 0 && second == stall.end {
                    values.extend(vec![stall_seconds as f64 * 1_000.0; 10]);
                }
                values.sort_unstable_by(f64::total_cmp);
                latency.merge_bytes(&bytes_of_sorted(&values)).unwrap();
                values.len() as f64
            })
            .collect();
        (rates, latency)
    }

    #[test]
    fn a_stall_is_told_with_what_it_left_out() {
        let (rates, latency) = run(1, 0.3, 20);
        let found = omission(&steady(), &[Some(10.0); STEPS], &rates, &latency).unwrap();
        assert!((found.interval_ms - 500.0).abs() < 1.0 && (found.intended_requests_per_second - 20.0).abs() < 0.1);
        // Twenty requests a second for twenty seconds, but for the ten that waited and the last one of each VU.
        assert!(found.omitted_requests_count.abs_diff(390) <= 20, "{found:?}");
        // 400 of 2,400 waited from 0 to 20 s: 1 % of all is above 18.8 s.
        assert!((found.estimated_latency_ms_p99 / 18_800.0 - 1.0).abs() < 0.03, "{found:?}");
        let finding = omitted(&steady(), &found).unwrap();
        assert!(finding.title.contains("estimate"), "{}", finding.title);
    }

    #[test]
    fn what_varies_by_itself_leaves_out_nothing_that_matters() {
        for seed in 0..20 {
            let (rates, latency) = run(seed, 0.8, 0);
            let found = omission(&steady(), &[Some(10.0); STEPS], &rates, &latency).unwrap();
            assert_eq!(omitted(&steady(), &found), None, "{found:?}");
        }
        assert_eq!(omission(&steady(), &[None; STEPS], &[20.0; STEPS], &Sketch::default()), None);
    }
}
