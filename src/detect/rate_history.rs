//! Failed requests and checks of a run beside those of all earlier runs: each earlier run is one observation.

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

/// Judges a rate by the earlier runs; none where too few of them have it.
///
/// `key`: of the rate. `variance`: of the run's own rate, by what varies within it.
pub(super) fn by_history(past: &[PastRun], key: &SeriesKey, current: Failures, variance: f64) -> Option<ByHistory> {
    let (ids, history) = history_of(past, key)?;
    let newest_rate = current.rate();
    let rise = failure_rate::rise(&history, current);
    let since = rise.map_or(1, |rise| rise.runs_since);
    let before = &history[..history.len() + 1 - since];
    let usual = Failures::sum(before.iter().copied());
    let posterior = RatePosterior::of(before);
    let is_better = || posterior.chance_of_so_few(current) <= failure_rate::CHANCE_MAX;
    let point = newest_rate - usual.rate();
    let more = if point > 0.0 { current } else { usual };
    let is_large = point.abs() >= RISE_MIN && more.failed_count >= FAILURES_MIN;
    let is_found = is_large && if point > 0.0 { rise.is_some() } else { is_better() };
    let between = posterior.deviation_between_runs().powi(2);
    let binomial = usual.rate() * (1.0 - usual.rate()) / usual.count.max(1) as f64;
    let spread = if is_found { between / before.len() as f64 } else { between };
    let reach = normal::quantile(0.5 + 0.5 * CONFIDENCE) * (variance + spread + binomial).sqrt();
    let first = (since > 1).then(|| &past[ids[history.len() + 1 - since]]);
    Some(ByHistory {
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
    })
}

/// Returns the least rise of a rate that would be found in a run of so many requests or checks; none where none would be.
pub(super) fn detectable(
    past: &[PastRun],
    key: &SeriesKey,
    series: &SeriesReference,
    current: Failures,
) -> Option<Detectable> {
    let (_, history) = history_of(past, key)?;
    let usual = Failures::sum(history.iter().copied()).rate();
    let count = current.count;
    let posterior = RatePosterior::of(&history);
    let convicts = |failed_count: u64| {
        let seen = Failures { failed_count, count };
        failed_count >= FAILURES_MIN
            && seen.rate() - usual >= RISE_MIN
            && seen.rate() > failure_rate::worst_allowed(&history)
            && posterior.chance_of_so_many(seen, 1) <= failure_rate::CHANCE_MAX
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

/// Returns the earlier runs that have a rate, as indices, and what failed in each.
fn history_of(past: &[PastRun], key: &SeriesKey) -> Option<(Vec<usize>, Vec<Failures>)> {
    let of_run = |(index, run): (usize, &PastRun)| failures(run, key).map(|failures| (index, failures));
    let (ids, history): (Vec<usize>, Vec<Failures>) = past.iter().enumerate().filter_map(of_run).unzip();
    (history.len() >= HISTORY_RUNS_MIN).then_some((ids, history))
}

/// Whether a request was expected to succeed is a part of what is counted, and no series of its own here.
fn failures(run: &PastRun, key: &SeriesKey) -> Option<Failures> {
    let is_its = |other: &SeriesKey| SeriesKey { expected_response: None, ..other.clone() } == *key;
    let blocks = run.blocks.iter().filter(|series| series.key.metric == key.metric && is_its(&series.key));
    let sum = Failures::sum(blocks.flat_map(|series| series.blocks.iter().flatten()).map(|block| Failures {
        failed_count: if key.metric == "checks" {
            block.samples_count - block.nonzero_count
        } else {
            block.nonzero_count
        },
        count: block.samples_count,
    }));
    (sum.count > 0).then_some(sum)
}
