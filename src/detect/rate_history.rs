//! Failed requests and checks of a run beside those of all earlier runs: each earlier run is one observation.

use std::collections::HashMap;

use crate::model::blocks::BlockSeries;
use crate::model::finding::{Change, Scale, SeriesReference};
use crate::model::report::Detectable;
use crate::model::series::SeriesKey;
use crate::stats::failure_rate::{self, HISTORY_RUNS_MIN, RatePosterior};
use crate::stats::failures::Failures;
use crate::stats::normal;

use super::history::PastRun;
use super::rates::{FAILURES_MIN, RISE_MIN};
use super::resampled::CONFIDENCE;

/// The chance with which a rise that is called detectable would be found.
const POWER: f64 = 0.8;

/// What the earlier runs say of one rate.
pub(super) struct ByHistory {
    /// Of the runs before the change, together.
    pub before: Failures,
    pub runs_count: usize,
    pub change: Change,
    pub is_found: bool,
    /// The newest run alone shows it, and earlier ones were bad now and then.
    pub is_suspect: bool,
    /// The first run that shows it; none: the newest itself.
    pub since_run: Option<String>,
}

/// What failed in each of the earlier runs, by rate.
pub(super) struct RateHistories<'p> {
    past: &'p [PastRun],
    /// By the key of a rate: the runs that have it, as indices, oldest first.
    failures: HashMap<SeriesKey, Vec<(usize, Failures)>>,
}

/// One rate in the earlier runs.
pub(super) struct RateHistory<'p> {
    /// The runs that have it, oldest first.
    runs: Vec<&'p PastRun>,
    failures: Vec<Failures>,
    /// Of all of `failures`.
    posterior: RatePosterior,
}

impl<'p> RateHistories<'p> {
    pub fn of(past: &'p [PastRun]) -> RateHistories<'p> {
        let mut failures: HashMap<SeriesKey, Vec<(usize, Failures)>> = HashMap::new();
        for (run, series) in past.iter().enumerate().flat_map(|(run, past)| past.blocks.iter().map(move |of| (run, of)))
        {
            let Some(failed) = failed_of(series) else { continue };
            // Whether a request was expected to succeed is a part of what is counted, and no series of its own here.
            let of_rate = failures.entry(SeriesKey { expected_response: None, ..series.key.clone() }).or_default();
            match of_rate.last_mut() {
                Some((last, sum)) if *last == run => *sum = Failures::sum([*sum, failed].into_iter()),
                _ => of_rate.push((run, failed)),
            }
        }
        RateHistories { past, failures }
    }

    /// Returns the history of one rate; none where too few runs that did not regress have it.
    pub fn of_rate(&self, key: &SeriesKey) -> Option<RateHistory<'p>> {
        let of_rate = self.failures.get(key)?.iter().filter(|(_, failures)| failures.count > 0);
        let (runs, failures): (Vec<&PastRun>, Vec<Failures>) =
            of_rate.map(|(run, failures)| (&self.past[*run], *failures)).unzip();
        // Else a regression that stands would become what is usual.
        let usual_count = runs.iter().filter(|run| run.regressed_since.is_none()).count();
        (usual_count >= HISTORY_RUNS_MIN).then(|| {
            let posterior = RatePosterior::of(&failures);
            RateHistory { runs, failures, posterior }
        })
    }
}

impl RateHistory<'_> {
    /// Judges the rate of the newest run; `variance`: of that rate, by what varies within the run.
    pub fn judge(&self, current: Failures, variance: f64) -> ByHistory {
        let newest_rate = current.rate();
        let rise = failure_rate::rise(&self.failures, &self.posterior, current);
        let since = rise.map_or(1, |rise| rise.runs_since);
        let before = &self.failures[..self.failures.len() + 1 - since];
        let usual = Failures::sum(before.iter().copied());
        let of_before = (since > 1).then(|| RatePosterior::of(before));
        let posterior = of_before.as_ref().unwrap_or(&self.posterior);
        let is_better = || posterior.chance_of_so_few(current) <= failure_rate::CHANCE_MAX;
        let point = newest_rate - usual.rate();
        let more = if point > 0.0 { current } else { usual };
        let is_large = point.abs() >= RISE_MIN && more.failed_count >= FAILURES_MIN;
        let is_found = is_large && if point > 0.0 { rise.is_some() } else { is_better() };
        let between = posterior.deviation_between_runs().powi(2);
        let binomial = usual.rate() * (1.0 - usual.rate()) / usual.count.max(1) as f64;
        let spread = if is_found { between / before.len() as f64 } else { between };
        let reach = normal::quantile(0.5 + 0.5 * CONFIDENCE) * (variance + spread + binomial).sqrt();
        let first = (since > 1).then(|| self.runs[before.len()]);
        ByHistory {
            before: usual,
            runs_count: before.len(),
            change: Change {
                scale: Scale::Difference,
                point,
                // No rate is below 0.
                low: Some((point - reach).max(-usual.rate())),
                high: Some((point + reach).min(1.0)),
                confidence: Some(CONFIDENCE),
            },
            is_found,
            is_suspect: is_found && rise.is_some_and(|rise| rise.is_suspect),
            since_run: first.map(|run| run.regressed_since.clone().unwrap_or_else(|| run.id.clone())),
        }
    }

    /// Returns the least rise of a rate that would be found in a run of so many requests or checks; none where none would be.
    pub fn detectable(&self, series: &SeriesReference, current: Failures) -> Option<Detectable> {
        let usual = Failures::sum(self.failures.iter().copied()).rate();
        let count = current.count;
        let convicts = |failed_count: u64| {
            let seen = Failures { failed_count, count };
            failed_count >= FAILURES_MIN
                && seen.rate() - usual >= RISE_MIN
                && seen.rate() > failure_rate::worst_allowed(&self.failures)
                && self.posterior.chance_of_so_many(seen, 1) <= failure_rate::CHANCE_MAX
        };
        if !convicts(count) {
            return None;
        }
        let (mut too_few, mut enough) = (0, count);
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if convicts(middle) { enough = middle } else { too_few = middle }
        }
        // A Poisson count reaches n with the chance `POWER` where its mean is half of that quantile of chi-squared with 2n degrees:
        // by Wilson and Hilferty's cube.
        let n = enough as f64;
        let mean = n * (1.0 - 1.0 / (9.0 * n) + normal::quantile(POWER) / (3.0 * n.sqrt())).powi(3);
        let rate = mean / count as f64;
        (rate <= 1.0).then(|| Detectable {
            series: series.clone(),
            change: Change::plain(Scale::Difference, rate - usual),
            power: POWER,
            runs_needed: None,
        })
    }
}

/// What failed in all blocks of a series of a rate.
fn failed_of(series: &BlockSeries) -> Option<Failures> {
    let is_checks = match series.key.metric.as_str() {
        "checks" => true,
        "http_req_failed" => false,
        _ => return None,
    };
    Some(Failures::sum(series.blocks.iter().flatten().map(|block| Failures {
        failed_count: if is_checks { block.samples_count - block.nonzero_count } else { block.nonzero_count },
        count: block.samples_count,
    })))
}
