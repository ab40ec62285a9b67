//! Outlying siblings: a pod, a zone or a scenario whose requests take longer, or fail more often, than those of the others.
//!
//! - Only like requests are compared: of the same endpoint and method, in the same block of time. Another mix is no outlier,
//!   and what slows all siblings at once is none either.
//! - Latency is compared by the mean of its logarithm, which needs no more than sums of each sibling, and block by block, so
//!   that the error knows of neighbours that are alike (`stats::outlying`).
//! - Who is usual is decided before anyone is measured: those that go another way have to be fewer than half, and the others
//!   closer together than the outlying one is to them; it is then measured beside these others alone.
//! - The chance that a run of siblings that are alike has any finding is `CHANCE`, over all kinds, siblings and stretches.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::Skipped;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::stats::noise::STEPS_MIN;
use crate::stats::outlying::{Outlying, Stretch, Weighed, is_far, log_chance_of_more, outlying};
use crate::stats::significance::log_chance_student;
use crate::tables::siblings::{INPUT, SCENARIO, SiblingKind, Tally};

use super::finding_id::finding_id;
use super::members::take_up;
use super::soak::Steady;

/// The chance of any finding in a run whose siblings are alike; half of it is for failures.
const CHANCE: f64 = 0.004;
const BLOCKS_MAX: i64 = 60;
/// The shortest stretch: a pause is none.
const SECONDS_MIN: f64 = 5.0;
const STRETCH_BLOCKS_MIN: usize = 3;
/// As for anomalies: 10 % is worth a word where more than 5 % is beyond doubt, since no two machines are quite alike.
const LATENCY_RATIO_MIN: f64 = 1.10;
const LATENCY_RATIO_SURE: f64 = 1.05;
const FAILED_DIFFERENCE_MIN: f64 = 0.005;
const FAILED_RATIO_MIN: f64 = 1.5;
const FAILED_COUNT_MIN: u64 = 5;
const MAJOR_RATIO: f64 = 1.25;
const MAJOR_FAILED_DIFFERENCE: f64 = 0.01;
/// Endpoints that the evidence shows, those with the most requests.
const EVIDENCE_MAX: usize = 10;
const SIGMAS_OF_INTERVAL: f64 = 1.96;

const WHAT: &str = "siblings within the run";

/// Adds a finding for each outlying sibling to `findings`; the anomalies that it explains become a part of it.
///
/// `given_up`: kinds with too many siblings to be told apart. Returns what was not judged.
pub(super) fn siblings(
    findings: &mut Vec<Finding>,
    steady: &Steady,
    kinds: &[SiblingKind],
    given_up: &[&str],
) -> Vec<Skipped> {
    let skipped = given_up.iter().map(|name| {
        let reason = "it has too many values to be siblings, and is taken for an id".to_owned();
        Skipped { what: format!("{WHAT}: {name}"), reason }
    });
    let mut skipped: Vec<Skipped> = skipped.collect();
    let mut found: Vec<Finding> = Vec::new();
    let kinds: Vec<&SiblingKind> = kinds.iter().filter(|kind| kind.siblings.len() >= 3).collect();
    let log_chance = (0.5 * CHANCE / kinds.len().max(1) as f64).ln();
    for kind in kinds {
        let Some(grid) = Grid::of(steady, kind.step_seconds) else {
            // Of a run that is too short for anything, the anomalies say so.
            if kind.step_seconds as f64 > steady.step_seconds {
                let reason = format!(
                    "its siblings and endpoints are so many that steps are {} s, too few in this run",
                    kind.step_seconds
                );
                skipped.push(Skipped { what: format!("{WHAT}: {}", kind.name), reason });
            }
            continue;
        };
        let table = Table::of(steady, kind, grid);
        for outlier in table.failing(log_chance).into_iter().chain(table.slow(log_chance)) {
            let own = outlier.finding(&table);
            // Pods of a slow zone are slow, and what waits for an error takes long: told once.
            match found.iter_mut().find(|known| is_same_time(steady, known, &own) && is_one_cause(known, &own)) {
                Some(known) => drop(take_up(known, &mut vec![own], |_| true)),
                None => {
                    let mut own = own;
                    if outlier.others_stay(&table) {
                        take_up(&mut own, findings, |finding| explains(steady, &outlier, finding));
                    }
                    found.push(own);
                }
            }
        }
    }
    findings.extend(found);
    skipped
}

/// Says whether two stretches share at least half of the longer one.
fn is_same_time(steady: &Steady, left: &Finding, right: &Finding) -> bool {
    let span = |finding: &Finding| {
        let until = finding.until.unwrap_or(steady.time(steady.until));
        finding.from.map(|from| (from.0, until.0))
    };
    let Some((left, right)) = span(left).zip(span(right)) else { return false };
    let shared = left.1.min(right.1).saturating_sub(left.0.max(right.0));
    shared.saturating_mul(2) >= (left.1 - left.0).max(right.1 - right.0)
}

/// Two siblings of one kind are two findings; siblings of two kinds, and two figures of one sibling, are not.
fn is_one_cause(known: &Finding, own: &Finding) -> bool {
    known.series.tags == own.series.tags || known.series.tags.keys().ne(own.series.tags.keys())
}

fn explains(steady: &Steady, outlier: &Outlier, finding: &Finding) -> bool {
    let is_its = finding.series.metric == outlier.metric() && finding.series.statistic.as_deref() != Some("deviation");
    let is_worse = finding.kind == FindingKind::Anomaly && finding.direction == Direction::Worse;
    let own = Finding { from: Some(outlier.from), until: outlier.until, ..finding.clone() };
    is_its && is_worse && is_same_time(steady, finding, &own)
}

/// Blocks of time of the steady part.
#[derive(Debug, Clone, Copy)]
struct Grid {
    first_step: i64,
    block_steps: i64,
    blocks: usize,
    step_seconds: i64,
}

impl Grid {
    fn of(steady: &Steady, step_seconds: i64) -> Option<Grid> {
        let step_ns = step_seconds * NANOSECONDS_PER_SECOND;
        let (from, until) = (steady.time(steady.from).0, steady.time(steady.until).0);
        let first_step = from.div_euclid(step_ns) + i64::from(from.rem_euclid(step_ns) > 0);
        let steps = until.div_euclid(step_ns) - first_step;
        let block_steps = (steps.max(1) as u64).div_ceil(BLOCKS_MAX as u64) as i64;
        let blocks = (steps / block_steps).max(0) as usize;
        (blocks >= STEPS_MIN).then_some(Grid { first_step, block_steps, blocks, step_seconds })
    }

    fn time(&self, block: usize) -> Timestamp {
        let steps = self.first_step + block as i64 * self.block_steps;
        Timestamp(steps.saturating_mul(self.step_seconds * NANOSECONDS_PER_SECOND))
    }

    fn blocks_min(&self) -> usize {
        let block_seconds = (self.block_steps * self.step_seconds) as f64;
        ((SECONDS_MIN / block_seconds).ceil() as usize).max(STRETCH_BLOCKS_MIN)
    }
}

/// What the siblings of a kind saw, by block.
struct Table<'k> {
    test: &'k str,
    kind: &'k SiblingKind,
    grid: Grid,
    /// By like requests, then by sibling; empty where it sent none.
    tallies: Vec<Vec<Vec<Tally>>>,
}

/// One sibling that is worse than the others.
struct Outlier {
    sibling: usize,
    others: Vec<usize>,
    stretch: Stretch,
    from: Timestamp,
    /// None: to the end.
    until: Option<Timestamp>,
    is_failing: bool,
    change: Change,
    observed: f64,
    expected: f64,
}

/// The failures of one sibling in a block, and those that it would have at the rate of all.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    failed: f64,
    expected: f64,
    /// Of it and the others.
    all_failed: f64,
}

impl Failures {
    fn sum<'f>(all: impl Iterator<Item = &'f Failures>) -> Failures {
        all.fold(Failures::default(), |sum, one| Failures {
            failed: sum.failed + one.failed,
            expected: sum.expected + one.expected,
            all_failed: sum.all_failed + one.all_failed,
        })
    }
}

impl<'k> Table<'k> {
    fn of(steady: &'k Steady, kind: &'k SiblingKind, grid: Grid) -> Table<'k> {
        let mut tallies = vec![vec![Vec::new(); kind.siblings.len()]; kind.likes.len()];
        for series in &kind.series {
            let own: &mut Vec<Tally> = &mut tallies[series.like][series.sibling];
            own.resize(grid.blocks, Tally::default());
            let steps = grid.first_step..grid.first_step + grid.blocks as i64 * grid.block_steps;
            for (step, tally) in series.tallies.range(steps) {
                own[((step - grid.first_step) / grid.block_steps) as usize].merge(tally);
            }
        }
        Table { test: steady.test, kind, grid, tallies }
    }

    /// Returns what some siblings together saw of like requests in a block.
    fn pooled(&self, like: usize, block: usize, siblings: &[usize]) -> Tally {
        let mut sum = Tally::default();
        for tallies in siblings.iter().map(|sibling| &self.tallies[like][*sibling]) {
            tallies.get(block).into_iter().for_each(|tally| sum.merge(tally));
        }
        sum
    }

    /// Returns the likes that a sibling has.
    fn likes_of(&self, sibling: usize) -> impl Iterator<Item = usize> {
        (0..self.tallies.len()).filter(move |like| !self.tallies[*like][sibling].is_empty())
    }

    /// Returns by block how much longer a sibling's requests took, as ln, than the same requests of `pool` in the same block,
    /// and the requests that this rests on.
    fn longer(&self, sibling: usize, likes: &[usize], pool: &[Vec<Tally>]) -> Vec<(f64, f64)> {
        let of_block = |block: usize| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for like in likes {
                let (own, pool) = (&self.tallies[*like][sibling][block], &pool[*like][block]);
                if own.latency_count == 0 || pool.latency_count == 0 {
                    continue;
                }
                let (own_count, pool_count) = (own.latency_count as f64, pool.latency_count as f64);
                let weight = own_count * pool_count / (own_count + pool_count);
                sum += weight * (own.logarithms_sum() / own_count - pool.logarithms_sum() / pool_count);
                weights += weight;
            }
            if weights > 0.0 { (sum / weights, weights) } else { (0.0, 0.0) }
        };
        (0..self.grid.blocks).map(of_block).collect()
    }

    /// Returns what some siblings saw together, by like requests and block.
    fn pool(&self, siblings: &[usize]) -> Vec<Vec<Tally>> {
        let of_like = |like| (0..self.grid.blocks).map(|block| self.pooled(like, block, siblings)).collect();
        (0..self.tallies.len()).map(of_like).collect()
    }

    /// Returns the siblings whose requests take longer.
    fn slow(&self, log_chance: f64) -> Vec<Outlier> {
        let all: Vec<usize> = (0..self.kind.siblings.len()).collect();
        let pool = self.pool(&all);
        // Likes that one sibling alone sends are compared with themselves: they weigh, and say nothing.
        let is_shared = |like: &usize| self.tallies[*like].iter().filter(|own| !own.is_empty()).count() > 1;
        let likes: Vec<Vec<usize>> = all.iter().map(|own| self.likes_of(*own).filter(is_shared).collect()).collect();
        let weighed = |own: &usize| Some((*own, Weighed::of(&self.longer(*own, &likes[*own], &pool))?));
        let (judged, rows): (Vec<usize>, Vec<Weighed>) = all.iter().filter_map(weighed).unzip();
        let candidates = outlying(&rows, self.grid.blocks_min(), LATENCY_RATIO_MIN.ln(), log_chance);
        let of_candidate = |found: &Outlying| {
            let others = usual(found, &candidates, judged.len())?;
            let level = |place: usize| rows[place].level(&found.stretch).map(|level| level.mean);
            let levels: Vec<f64> = others.iter().filter_map(|place| level(*place)).collect();
            if found.difference <= 0.0 || levels.len() < 2 || !is_far(level(found.sibling)?, &levels) {
                return None;
            }
            let (own, others) = (judged[found.sibling], others.iter().map(|place| judged[*place]).collect::<Vec<_>>());
            let rows = Weighed::of(&self.longer(own, &likes[own], &self.pool(&others)))?;
            let level = rows.settled(&found.stretch).level(&found.stretch)?;
            let sure = (level.mean - LATENCY_RATIO_SURE.ln()).max(0.0) / level.standard_error;
            let chance = log_chance_student(sure, level.degrees_of_freedom);
            let chance = chance + found.stretch.log_places() + (judged.len() as f64).ln();
            if level.mean < LATENCY_RATIO_MIN.ln() || chance >= log_chance {
                return None;
            }
            let total = self.total(own, &likes[own], &found.stretch);
            let observed = (total.logarithms_sum() / total.latency_count.max(1) as f64).exp();
            let change = Change::of_logarithm(level.mean, SIGMAS_OF_INTERVAL * level.standard_error, 0.95);
            Some(self.outlier(own, others, found.stretch, false, change, (observed, observed / level.mean.exp())))
        };
        candidates.iter().filter_map(of_candidate).collect()
    }

    fn total(&self, sibling: usize, likes: &[usize], stretch: &Stretch) -> Tally {
        let mut sum = Tally::default();
        for like in likes.iter().filter(|like| !self.tallies[**like][sibling].is_empty()) {
            self.tallies[*like][sibling][stretch.from..stretch.until].iter().for_each(|tally| sum.merge(tally));
        }
        sum
    }

    fn outlier(
        &self,
        sibling: usize,
        others: Vec<usize>,
        stretch: Stretch,
        is_failing: bool,
        change: Change,
        (observed, expected): (f64, f64),
    ) -> Outlier {
        let (from, until) = (self.grid.time(stretch.from), self.grid.time(stretch.until));
        let until = (stretch.until < stretch.count).then_some(until);
        Outlier { sibling, others, stretch, from, until, is_failing, change, observed, expected }
    }

    /// Returns the siblings whose requests fail more often.
    fn failing(&self, log_chance: f64) -> Vec<Outlier> {
        let all: Vec<usize> = (0..self.kind.siblings.len()).collect();
        let pool = self.pool(&all);
        let has_failed = pool.iter().flatten().any(|tally| tally.failed_count > 0);
        let sends = |own: &usize| self.likes_of(*own).any(|like| self.tallies[like][*own].iter().any(is_asked));
        let judged: Vec<usize> = all.iter().copied().filter(|own| has_failed && sends(own)).collect();
        if judged.len() < 3 {
            return Vec::new();
        }
        let log_siblings = (judged.len() as f64).ln();
        let of_sibling = |(place, own): (usize, &usize)| {
            let rows = self.failures(*own, &pool);
            let stretches = Stretch::all(self.grid.blocks, self.grid.blocks_min());
            let scored = stretches.map(|stretch| (log_chance_of(&rows, &stretch), stretch));
            let (chance, stretch) = scored.min_by(|left, right| left.0.total_cmp(&right.0))?;
            let log_chance = chance + log_siblings;
            Some(Outlying { sibling: place, stretch, difference: 0.0, log_chance })
        };
        let found = judged.iter().enumerate().filter_map(of_sibling);
        let candidates: Vec<Outlying> = found.filter(|found| found.log_chance < log_chance).collect();
        let of_candidate = |found: &Outlying| {
            let others: Vec<usize> =
                usual(found, &candidates, judged.len())?.into_iter().map(|place| judged[place]).collect();
            let (own, stretch) = (judged[found.sibling], found.stretch);
            let with_own: Vec<usize> = others.iter().copied().chain([own]).collect();
            let rows = self.failures(own, &self.pool(&with_own));
            let chance = log_chance_of(&rows, &stretch) + log_siblings;
            let likes: Vec<usize> = self.likes_of(own).collect();
            let (failed, requests, expected) = self.rates(own, &others, &likes, &stretch)?;
            let failing_blocks = rows[stretch.from..stretch.until].iter().filter(|row| row.failed > 0.0).count();
            let (rate, usual) = (failed as f64 / requests, expected / requests);
            let is_found = chance < log_chance
                && failed >= FAILED_COUNT_MIN
                && failing_blocks >= STRETCH_BLOCKS_MIN
                && rate - usual >= FAILED_DIFFERENCE_MIN
                && rate >= FAILED_RATIO_MIN * usual;
            if !is_found {
                return None;
            }
            let clustering = clustering(&rows, &stretch);
            // The others' rate is that of at least as many siblings, but need not be of more requests.
            let variance = (rate * (1.0 - rate) + usual * (1.0 - usual)) * clustering / requests;
            let (point, reach) = (rate - usual, SIGMAS_OF_INTERVAL * variance.sqrt());
            let change = Change {
                scale: Scale::Difference,
                point,
                low: Some(point - reach),
                high: Some((point + reach).min(1.0)),
                confidence: Some(0.95),
            };
            Some(self.outlier(own, others, stretch, true, change, (rate, usual)))
        };
        candidates.iter().filter_map(of_candidate).collect()
    }

    /// Returns a sibling's failures by block, beside its share of those in `pool`, which holds it as well.
    fn failures(&self, sibling: usize, pool: &[Vec<Tally>]) -> Vec<Failures> {
        let mut rows = vec![Failures::default(); self.grid.blocks];
        for like in self.likes_of(sibling) {
            for ((row, own), all) in rows.iter_mut().zip(&self.tallies[like][sibling]).zip(&pool[like]) {
                // Of requests that nobody else sent there is nothing to compare.
                if own.requests_count == 0 || own.requests_count == all.requests_count {
                    continue;
                }
                row.failed += own.failed_count as f64;
                row.expected += all.failed_count as f64 * own.requests_count as f64 / all.requests_count as f64;
                row.all_failed += all.failed_count as f64;
            }
        }
        rows
    }

    /// Returns a sibling's failed requests in a stretch, all of them, and how many would have failed at the others' rate of the
    /// same endpoints; of endpoints that others have as well.
    fn rates(&self, own: usize, others: &[usize], likes: &[usize], stretch: &Stretch) -> Option<(u64, f64, f64)> {
        let (mut failed, mut requests, mut expected) = (0, 0.0, 0.0);
        for like in likes {
            let total = self.total(own, &[*like], stretch);
            let mut usual = Tally::default();
            others.iter().for_each(|other| usual.merge(&self.total(*other, &[*like], stretch)));
            if usual.requests_count > 0 {
                failed += total.failed_count;
                requests += total.requests_count as f64;
                expected += total.requests_count as f64 * usual.failed_count as f64 / usual.requests_count as f64;
            }
        }
        (requests > 0.0).then_some((failed, requests, expected))
    }
}

fn is_asked(tally: &Tally) -> bool {
    tally.requests_count > 0
}

/// Returns the siblings that are usual while `found` is not; none where they are not more than half.
fn usual(found: &Outlying, candidates: &[Outlying], count: usize) -> Option<Vec<usize>> {
    let is_odd = |place: &usize| {
        candidates.iter().any(|other| other.sibling == *place && other.stretch.overlaps(&found.stretch))
    };
    let others: Vec<usize> = (0..count).filter(|place| !is_odd(place)).collect();
    (2 * others.len() > count).then_some(others)
}

/// Returns the chance that so many of all failures, or more, are one sibling's, over the stretches like this one.
fn log_chance_of(rows: &[Failures], stretch: &Stretch) -> f64 {
    let sum = Failures::sum(rows[stretch.from..stretch.until].iter());
    match log_chance_of_more(sum.failed, sum.expected, sum.all_failed) {
        chance if chance < 0.0 => chance / clustering(rows, stretch) + stretch.log_places(),
        chance => chance,
    }
}

/// Returns how many times more the failures vary from block to block than independent ones, about the rate within the stretch
/// and that outside of it; at least 1.
fn clustering(rows: &[Failures], stretch: &Stretch) -> f64 {
    let (before, rest) = rows.split_at(stretch.from);
    let (inside, after) = rest.split_at(stretch.until - stretch.from);
    let of = |rows: &mut dyn Iterator<Item = &Failures>| {
        let rows: Vec<&Failures> = rows.filter(|row| row.expected > 0.0).collect();
        let sum = Failures::sum(rows.iter().copied());
        let ratio = sum.failed / sum.expected.max(f64::MIN_POSITIVE);
        let squares = rows.iter().filter(|_| ratio > 0.0).map(|row| {
            let expected = ratio * row.expected;
            (row.failed - expected).powi(2) / expected
        });
        (squares.sum::<f64>(), rows.len())
    };
    let ((inner, inner_count), (outer, outer_count)) = (of(&mut inside.iter()), of(&mut before.iter().chain(after)));
    ((inner + outer) / (inner_count + outer_count).saturating_sub(2).max(1) as f64).max(1.0)
}

impl Outlier {
    fn metric(&self) -> &'static str {
        if self.is_failing { "http_req_failed" } else { "http_req_duration" }
    }

    fn series(&self, table: &Table, like: Option<usize>) -> SeriesReference {
        let mut tags: std::collections::BTreeMap<String, String> =
            [(table.kind.name.to_owned(), table.kind.siblings[self.sibling].clone())].into();
        if let Some(like) = like.map(|like| &table.kind.likes[like]) {
            tags.insert("name".to_owned(), like.endpoint.clone());
            tags.extend(like.method.iter().map(|method| ("method".to_owned(), method.clone())));
            tags.extend(like.scenario.iter().map(|scenario| ("scenario".to_owned(), scenario.clone())));
        }
        let statistic = (!self.is_failing).then(|| "geomean".to_owned());
        SeriesReference { metric: self.metric().to_owned(), tags, statistic }
    }

    /// Says whether the others are as they were while this one was not; all the time is no change of anyone.
    fn others_stay(&self, table: &Table) -> bool {
        let Stretch { from, until, count } = self.stretch;
        let (mut moved, mut weights) = (0.0, 0.0);
        for like in 0..table.tallies.len() {
            let (mut inside, mut outside) = (Tally::default(), Tally::default());
            for block in 0..count {
                let into = if (from..until).contains(&block) { &mut inside } else { &mut outside };
                into.merge(&table.pooled(like, block, &self.others));
            }
            let figure = |tally: &Tally| match self.is_failing {
                true => (tally.failed_count as f64, tally.requests_count as f64),
                false => (tally.logarithms_sum(), tally.latency_count as f64),
            };
            let ((inner, inner_count), (outer, outer_count)) = (figure(&inside), figure(&outside));
            if inner_count > 0.0 && outer_count > 0.0 {
                moved += inner_count * (inner / inner_count - outer / outer_count);
                weights += inner_count;
            }
        }
        let limit = if self.is_failing { FAILED_DIFFERENCE_MIN } else { LATENCY_RATIO_SURE.ln() };
        weights > 0.0 && moved / weights < limit
    }

    fn evidence(&self, table: &Table) -> Vec<Evidence> {
        let requests = |like: &usize| {
            let total = table.total(self.sibling, &[*like], &self.stretch);
            if self.is_failing { total.requests_count } else { total.latency_count }
        };
        let mut likes: Vec<usize> = table.likes_of(self.sibling).collect();
        likes.sort_by_key(|like| (std::cmp::Reverse(requests(like)), *like));
        let pool = table.pool(&self.others);
        let of_like = |like: usize| {
            let (observed, expected, change, unit) = match self.is_failing {
                true => {
                    let (failed, requests, expected) =
                        table.rates(self.sibling, &self.others, &[like], &self.stretch)?;
                    let (rate, usual) = (failed as f64 / requests, expected / requests);
                    (rate, usual, Change::plain(Scale::Difference, rate - usual), Unit::Fraction)
                }
                false => {
                    let rows = &table.longer(self.sibling, &[like], &pool)[self.stretch.from..self.stretch.until];
                    let weight: f64 = rows.iter().map(|(_, weight)| weight).sum();
                    let longer = rows.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight;
                    let total = table.total(self.sibling, &[like], &self.stretch);
                    let observed = (total.logarithms_sum() / total.latency_count as f64).exp();
                    if !longer.is_finite() || !observed.is_finite() {
                        return None;
                    }
                    let change = Change::plain(Scale::Ratio, longer.exp_m1());
                    (observed, observed / longer.exp(), change, Unit::Milliseconds)
                }
            };
            let note = format!("beside {}", self.beside(table));
            let (series, expected) = (self.series(table, Some(like)), Some(expected));
            Some(Evidence::Metric { series, observed, expected, unit, change: Some(change), note: Some(note) })
        };
        likes.into_iter().filter_map(of_like).take(EVIDENCE_MAX).collect()
    }

    /// Names the others, as far as they are few.
    fn beside(&self, table: &Table) -> String {
        let names: Vec<&str> = self.others.iter().map(|other| table.kind.siblings[*other].as_str()).collect();
        if names.len() <= 5 { names.join(", ") } else { format!("{} others", names.len()) }
    }

    /// Returns the question that shows the siblings by the minute; none of inputs, which no table tells apart.
    fn sql(&self, table: &Table) -> Option<String> {
        let kind = table.kind.name;
        let sibling = match kind {
            INPUT => return None,
            SCENARIO => "scenario".to_owned(),
            tag => format!("tags['{tag}']"),
        };
        let figure = match self.is_failing {
            true => "avg(value) AS failed_rate",
            false => "exp(avg(ln(value))) AS latency_ms_geomean",
        };
        let filter = match self.is_failing {
            true => "",
            false => "\n  AND expected_response IS DISTINCT FROM false AND value > 0",
        };
        Some(format!(
            "SELECT date_bin(INTERVAL '1 minute', time) AS minute, endpoint, {sibling} AS {kind}, count(*) AS requests_count, \
             {figure}\nFROM samples\nWHERE metric = '{}'{filter}\nGROUP BY minute, endpoint, {sibling}\n\
             ORDER BY endpoint, minute, {kind}",
            self.metric()
        ))
    }

    fn title(&self, table: &Table) -> String {
        let (kind, name) = (table.kind.name, &table.kind.siblings[self.sibling]);
        let others = format!("{} others", self.others.len());
        let when = match self.until {
            None if self.stretch.from == 0 => "all the time".to_owned(),
            None => format!("from {} to the end", self.from.clock()),
            Some(until) => format!("from {} to {}", self.from.clock(), until.clock()),
        };
        let point = self.change.point;
        match self.is_failing {
            true => format!(
                "{:.1} % of the requests of {kind} {name} failed, {:.1} % of the same requests of {others}, {when}",
                100.0 * self.observed,
                100.0 * self.expected
            ),
            false if point >= 1.0 => {
                format!(
                    "{kind} {name} takes {:.1} times as long as {others} for the same requests, {when}",
                    1.0 + point
                )
            }
            false => {
                format!("{kind} {name} is {:.0} % slower than {others} on the same requests, {when}", 100.0 * point)
            }
        }
    }

    fn finding(&self, table: &Table) -> Finding {
        let series = self.series(table, None);
        let major = if self.is_failing { MAJOR_FAILED_DIFFERENCE } else { MAJOR_RATIO - 1.0 };
        // Scenarios may differ by what they ask for, machines should not.
        let is_major = self.change.point >= major && table.kind.name != SCENARIO;
        let mut evidence = self.evidence(table);
        evidence.extend(self.sql(table).map(|sql| Evidence::Query { sql }));
        Finding {
            id: finding_id(table.test, FindingKind::Anomaly, &series, Some(self.from)),
            kind: FindingKind::Anomaly,
            title: self.title(table),
            severity: if is_major { Severity::Major } else { Severity::Minor },
            direction: Direction::Worse,
            series,
            also: Vec::new(),
            from: Some(self.from),
            until: self.until,
            since_run: None,
            suspect: false,
            observed: self.observed,
            expected: Some(self.expected),
            unit: if self.is_failing { Unit::Fraction } else { Unit::Milliseconds },
            change: Some(self.change),
            evidence,
        }
    }
}
