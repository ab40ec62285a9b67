//! Evidence that more requests fail than in one more run of the history, which may be asked for after every window.
//!
//! Between runs the rate of failures differs by a factor, which is one draw for the whole run; within a run failures come in
//! clusters. The null hypothesis: the clusters of a block of time are Poisson with the mean `factor * usual rate * requests`,
//! and the factor has a mixture of two gamma distributions of mean 1, whose variance is what the history shows, what it
//! leaves unknown and what is believed of all tests. As in `sequential`, the history fixes a factor that an unchanged run
//! exceeds with a small chance; the chance that the running run exceeds it, given what has failed so far, is a martingale,
//! and divided by where it started it is the e-value. By Ville's inequality an unchanged run ever shows `1 / chance` with
//! that chance at most (Ramdas, Grünwald, Vovk & Shafer (2023), "Game-theoretic statistics and safe anytime-valid
//! inference", arXiv:2210.01948: test martingales).
//!
//! A likelihood ratio of two such mixtures found 0.2 where this finds 0.5 of the runs whose failures are five times as many,
//! since the factor is a single draw however long one looks.

use super::failures::{Failures, wilson};
use super::sequential::{CERTAINTY, CHANCE};
use super::special::{gamma_upper, log_gamma};

/// What is believed of the factor between runs before a run is seen: a rate of failures differs by its own size. It counts as
/// many runs as `USUAL_RUNS`.
const USUAL_VARIANCE: f64 = 1.0;
const USUAL_RUNS: f64 = 2.0;
/// What is believed of the size of clusters: a client that fails tries again. It counts as so many blocks.
const USUAL_CLUSTERING: f64 = 2.0;
const USUAL_CLUSTERING_BLOCKS: f64 = 10.0;
/// Where nothing failed, half a cluster may have been missed.
const UNSEEN_CLUSTERS: f64 = 0.5;
/// Clusters of failures that are believed to come at the run's usual rate before a block is believed to have its own.
const USUAL_BLOCK_CLUSTERS: f64 = 5.0;
/// A few runs do not tell how far runs differ: half of the null hypothesis lets them differ by so many times the variance.
const WIDER: f64 = 4.0;
/// 95 % of a normal distribution lie within.
const REACH: f64 = 1.96;

/// What earlier runs say of the failures of one more run.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureHistory {
    /// By block: failures to be expected of a request, above 0.
    rates: Vec<f64>,
    /// By block: whether a request of any run failed.
    has_failures: Vec<bool>,
    /// Of the factor between runs, whose mean is 1.
    variance: f64,
    /// Failures of one cause.
    pub clustering: f64,
    /// Of one run.
    pub requests: f64,
    /// The factor beyond which the whole run has to be to be called worse.
    limit: f64,
}

/// What was seen of the running run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    pub failed: u64,
    pub requests: u64,
    /// Failures that the history lets expect of these requests.
    pub expected: f64,
}

impl FailureHistory {
    /// Returns what the runs say together; none without two runs that have requests. `share`: of the one chance of a false alarm.
    ///
    /// `runs`: of each run one entry a block, first block first; a block that a run has not is one without requests.
    pub fn of(runs: &[Vec<Failures>], share: f64) -> Option<FailureHistory> {
        let of_run = |run: &Vec<Failures>| run.iter().fold((0.0, 0.0), added);
        let totals: Vec<(f64, f64)> = runs.iter().map(of_run).filter(|(_, requests)| *requests > 0.0).collect();
        let blocks_count = runs.iter().map(Vec::len).max()?;
        if totals.len() < 2 {
            return None;
        }
        let runs_count = totals.len() as f64;
        let (failed, requests) = totals.iter().fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
        let block = |index: usize| runs.iter().filter_map(|run| run.get(index)).fold((0.0, 0.0), added);
        let blocks: Vec<(f64, f64)> = (0..blocks_count).map(block).collect();
        let rates = |clustering: f64| -> Vec<f64> {
            let (rate, usual) = ((failed + UNSEEN_CLUSTERS * clustering) / requests, USUAL_BLOCK_CLUSTERS * clustering);
            blocks.iter().map(|(failed, requests)| rate * (failed + usual) / (rate * requests + usual)).collect()
        };
        let clustering = clustering(runs, &rates(USUAL_CLUSTERING));
        let between = between_runs(&totals, failed / requests, clustering);
        // What the history leaves unknown of the mean comes on top.
        let variance = between * (1.0 + 1.0 / runs_count) + clustering / (failed + UNSEEN_CLUSTERS * clustering);
        let mut history = FailureHistory {
            rates: rates(clustering),
            has_failures: blocks.iter().map(|(failed, _)| *failed > 0.0).collect(),
            variance,
            clustering,
            requests: requests / runs_count,
            limit: f64::INFINITY,
        };
        history.limit = history.limit_of(share * CHANCE * CERTAINTY);
        Some(history)
    }

    pub fn blocks_count(&self) -> usize {
        self.rates.len()
    }

    /// Says whether nothing ever failed in a block, so that a part of it may be looked at: where failures come within a
    /// block that has some is not known.
    pub fn is_clean(&self, block: usize) -> bool {
        self.has_failures.get(block).is_some_and(|has| !has)
    }

    /// Adds what came in a block that the history has.
    pub fn add(&self, seen: &mut Seen, block: usize, failures: Failures) {
        let Some(rate) = self.rates.get(block) else { return };
        seen.failed += failures.failed_count;
        seen.requests += failures.count;
        seen.expected += rate * failures.count as f64;
    }

    /// Returns the e-value against "one more run of the history", which starts at `share`: from `1 / CHANCE` on the run is worse.
    pub fn e_value(&self, seen: &Seen) -> f64 {
        let (clusters, expected) = (seen.failed as f64 / self.clustering, seen.expected / self.clustering);
        self.chance_beyond(clusters, expected) / (CHANCE * CERTAINTY)
    }

    /// Returns the chance that the factor is beyond the limit when so many clusters were seen and so many expected.
    fn chance_beyond(&self, clusters: f64, expected: f64) -> f64 {
        let parts = [1.0, WIDER].map(|wider| 1.0 / (wider * self.variance));
        // ln of how likely the clusters are for each part: negative binomial, less what is common to both.
        let log_likely = parts.map(|shape| {
            shape * shape.ln() - log_gamma(shape) + log_gamma(shape + clusters)
                - (shape + clusters) * (shape + expected).ln()
        });
        let largest = log_likely[0].max(log_likely[1]);
        let likely = log_likely.map(|log| (log - largest).exp());
        let beyond = parts.map(|shape| gamma_upper(shape + clusters, self.limit * (shape + expected)));
        (likely[0] * beyond[0] + likely[1] * beyond[1]) / (likely[0] + likely[1])
    }

    /// Returns what the factor of an unchanged run exceeds with `chance`, by bisection of its logarithm.
    fn limit_of(&self, chance: f64) -> f64 {
        let (mut low, mut high) = (0.0f64, 60.0f64);
        while high - low > 1e-9 {
            let middle = 0.5 * (low + high);
            let history = FailureHistory { limit: middle.exp(), ..self.clone() };
            if history.chance_beyond(0.0, 0.0) > chance { low = middle } else { high = middle }
        }
        low.exp()
    }

    /// Returns how much larger the rate is than expected, and the interval of 95 % of that: Wilson's interval of the rate, for
    /// as many requests as there are clusters, and the spread of the history, put together as by Newcombe (1998),
    /// "Interval estimation for the difference between independent proportions", method 10.
    pub fn rise(&self, seen: &Seen) -> Option<(f64, f64, f64)> {
        if seen.requests == 0 {
            return None;
        }
        let (now, usual) = (seen.failed as f64 / seen.requests as f64, seen.expected / seen.requests as f64);
        let (low, high) = wilson(now, seen.requests as f64 / self.clustering);
        let spread = REACH * usual * self.variance.sqrt();
        let (usual_low, usual_high) = ((usual - spread).max(0.0), (usual + spread).min(1.0));
        let point = now - usual;
        let below = (now - low).hypot(usual_high - usual);
        let above = (high - now).hypot(usual - usual_low);
        Some((point, (point - below).max(-1.0), (point + above).min(1.0)))
    }
}

fn added(sum: (f64, f64), failures: &Failures) -> (f64, f64) {
    (sum.0 + failures.failed_count as f64, sum.1 + failures.count as f64)
}

/// Returns the variance of the factor between runs: what their rates show beyond chance, and the usual belief, each by how
/// much it tells.
fn between_runs(totals: &[(f64, f64)], rate: f64, clustering: f64) -> f64 {
    let runs_count = totals.len() as f64;
    let (failed, requests) = totals.iter().fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
    if failed == 0.0 {
        return USUAL_VARIANCE;
    }
    let squares = totals.iter().map(|(failed, requests)| requests * (failed / requests - rate).powi(2)).sum::<f64>();
    let seen = squares * runs_count / (requests * (runs_count - 1.0)) / (rate * rate);
    let by_chance = clustering * runs_count / failed;
    // Runs of few failures tell little of how far their rates are apart.
    let weight = (runs_count - 1.0) * failed / (failed + clustering * runs_count);
    (USUAL_RUNS * USUAL_VARIANCE + weight * (seen - by_chance).max(0.0)) / (USUAL_RUNS + weight)
}

/// Returns how many failures have one cause: Pearson's chi-square of the blocks about the rate of their run, by degree of
/// freedom, and the usual belief.
fn clustering(runs: &[Vec<Failures>], rates: &[f64]) -> f64 {
    let (mut squares, mut degrees) = (USUAL_CLUSTERING * USUAL_CLUSTERING_BLOCKS, USUAL_CLUSTERING_BLOCKS);
    for run in runs {
        let usual = run.iter().zip(rates).map(|(block, rate)| rate * block.count as f64);
        let (failed, expected) = (run.iter().fold((0.0, 0.0), added).0, usual.clone().sum::<f64>());
        if failed == 0.0 || expected == 0.0 {
            continue;
        }
        let mut blocks_count = 0.0;
        for (block, usual) in run.iter().zip(usual).filter(|(block, _)| block.count > 0) {
            let expected = usual * failed / expected;
            squares += (block.failed_count as f64 - expected).powi(2) / expected;
            blocks_count += 1.0;
        }
        degrees += blocks_count - 1.0;
    }
    (squares / degrees).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn blocks(failed: &[u64], requests: u64) -> Vec<Failures> {
        failed.iter().map(|failed| Failures { failed_count: *failed, count: requests }).collect()
    }

    /// Ten runs of four blocks of 1,000 requests, none of which failed.
    fn clean() -> FailureHistory {
        FailureHistory::of(&vec![blocks(&[0; 4], 1_000); 10], 0.3).unwrap()
    }

    fn seen(history: &FailureHistory, failed: u64, requests: u64) -> Seen {
        let mut seen = Seen::default();
        history.add(&mut seen, 0, Failures { failed_count: failed, count: requests });
        seen
    }

    #[test]
    fn the_evidence_is_that_of_an_independent_implementation() {
        // SciPy, with b = 1/40000 * 10 / 10.25 as a block's rate and v = 3.1, for k of n, by integration over the factor:
        // prior = lambda f: (gamma.pdf(f, 1/v, scale=v) + gamma.pdf(f, 1/(4*v), scale=4*v)) / 2; the limit is where
        // (gamma.sf(limit, 1/v, scale=v) + gamma.sf(limit, 1/(4*v), scale=4*v)) / 2 == 0.0021; of prior * f**(k/2) *
        // exp(-f*b*n/2), the part beyond the limit, / 0.007
        let history = clean();
        assert!((history.variance - 3.1).abs() < 1e-12 && (history.clustering - 2.0).abs() < 1e-12);
        for (failed, requests, expected) in
            [(0, 1_000, 0.199_235_742), (1, 500, 2.462_880_940), (5, 300, 64.749_779_74), (20, 1_000, 142.834_208_8)]
        {
            let found = history.e_value(&seen(&history, failed, requests));
            assert!((found / expected - 1.0).abs() < 1e-5, "{failed} of {requests}: {found}");
        }
    }

    #[test]
    fn a_rise_has_the_interval_of_wilson() {
        // SciPy: binomtest(15, 500).proportion_ci(method="wilson"); the history was clean, its part is 1e-4.
        let history = clean();
        let (point, low, high) = history.rise(&seen(&history, 30, 1_000)).unwrap();
        assert!((point - 0.03).abs() < 1e-4, "{point}");
        assert!((low - 0.0183).abs() < 2e-4 && (high - 0.0489).abs() < 2e-4, "{low} {high}");
        assert_eq!(history.rise(&Seen::default()), None);
    }

    #[test]
    fn a_block_that_always_fails_is_no_news_in_itself() {
        let history = FailureHistory::of(&vec![blocks(&[40, 0, 0, 0], 1_000); 10], 1.0).unwrap();
        assert!(!history.is_clean(0) && history.is_clean(1) && !history.is_clean(4));
        let usual = seen(&history, 40, 1_000);
        assert!(history.e_value(&usual) < 1.0, "{}", history.e_value(&usual));
        let mut more = usual;
        history.add(&mut more, 1, Failures { failed_count: 400, count: 1_000 });
        assert!(history.e_value(&more) > 100.0, "{}", history.e_value(&more));
    }

    /// Runs whose rates differ by their own size, whose failures come in threes, beside eight others of the kind.
    #[test]
    fn unchanged_runs_hardly_ever_show_evidence() {
        let mut draws = Draws::seeded(3);
        let mut alarms = 0;
        for case in 0..1_000 {
            let mut run = |rate: f64| -> Vec<Failures> {
                // Log-normal with a mean of 1 and a variance of 1.
                let factor = (0.8326 * draws.normal() - 0.3466).exp();
                let mut block = || 3 * u64::from(draws.count(rate * factor * 500.0 / 3.0));
                (0..12).map(|_| Failures { failed_count: block().min(500), count: 500 }).collect()
            };
            let rate = [0.0003, 0.003, 0.03][case % 3];
            let history = FailureHistory::of(&(0..8).map(|_| run(rate)).collect::<Vec<_>>(), 1.0).unwrap();
            let mut seen = Seen::default();
            let looks = run(rate).into_iter().enumerate().map(|(block, failures)| {
                history.add(&mut seen, block, failures);
                history.e_value(&seen)
            });
            alarms += usize::from(looks.fold(0.0, f64::max) >= 100.0);
        }
        println!("{alarms}");
        assert!(alarms <= 10, "{alarms}");
    }

    #[test]
    fn edges() {
        assert_eq!(FailureHistory::of(&[], 1.0), None);
        assert_eq!(FailureHistory::of(&[blocks(&[1], 10), Vec::new(), blocks(&[0], 0)], 1.0), None);
        let all = FailureHistory::of(&vec![blocks(&[1_000; 3], 1_000); 5], 1.0).unwrap();
        assert!(all.e_value(&seen(&all, 1_000, 1_000)) < 1.0);
        let history = clean();
        let most = history.e_value(&seen(&history, u64::MAX, u64::MAX));
        assert!(most > 100.0 && most < 143.0, "{most}");
        assert!((history.e_value(&Seen::default()) - 0.3).abs() < 1e-6);
        // Beyond the history nothing is known, and nothing counts.
        let mut beyond = Seen::default();
        history.add(&mut beyond, 4, Failures { failed_count: 5, count: 5 });
        assert_eq!(beyond, Seen::default());
        let huge =
            FailureHistory::of(&vec![vec![Failures { failed_count: u64::MAX, count: u64::MAX }; 30]; 3], 1.0).unwrap();
        assert!(huge.e_value(&seen(&huge, 1, 1)).is_finite());
    }
}
