//! A run beside the earlier runs of its test: which figures stand on another level, since which run, and what a change would
//! have to be to be seen.
//!
//! A run is one observation, however many requests it has: its figure and that figure's own uncertainty come from its blocks
//! (`stats::run_statistic`), how runs differ by themselves from the history and from the suite's other series
//! (`stats::shrink`), and what that says from `stats::regression`.

use std::collections::HashMap;

use crate::model::blocks::{Block, BlockSeries};
use crate::model::ramp::Ramp;
use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::stats::on_cores::on_cores;
use crate::stats::power::{self, chance_of_conviction};
use crate::stats::regression::{self, DRIFTING, Decision, Judgement, Level};
use crate::stats::robust::{MAD_TO_SIGMA, median};
use crate::stats::run_season::{Cycle, season};
use crate::stats::run_statistic::{RunStatistic, of_runs, warm_up_windows};
use crate::stats::shrink::{DeviationPrior, Sister, shrunk};
use crate::stats::step::STEP_RUNS_MAX;
use crate::stats::tail_shape::averaged;

use super::subjects::CHANGE_MIN;

/// With fewer earlier runs of the usual level a run is compared with the last one alone.
pub const RUNS_MIN: usize = 4;
/// Blocks that a run needs for a figure of its own.
const BLOCKS_WITH_SAMPLES_MIN: usize = 4;
/// A tail is judged where a block has samples beyond it.
const TAIL_SAMPLES_MIN: u64 = 20;
const FAR_TAIL_SAMPLES_MIN: u64 = 100;

/// An earlier run of the test.
#[derive(Debug)]
pub struct PastRun {
    pub id: String,
    pub commit: Option<String>,
    /// None where only cases are known, and no times.
    pub started_at: Option<Timestamp>,
    /// The first run of a regression that it shows and that still stands; that run may be no part of the history any more.
    pub regressed_since: Option<String>,
    pub ramp: Option<Ramp>,
    pub blocks: Vec<BlockSeries>,
}

/// A figure that is judged; a run's value is a logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Median,
    Mean,
    P95,
    P99,
    /// Samples a second, of which fewer are worse.
    Rate,
}

impl Figure {
    /// As a report names it.
    pub fn statistic(self) -> &'static str {
        match self {
            Figure::Median => "med",
            Figure::Mean => "avg",
            Figure::P95 => "p95",
            Figure::P99 => "p99",
            Figure::Rate => "rate",
        }
    }

    /// Larger is worse.
    pub(super) fn of(self, block: &Block, block_seconds: u32) -> Option<f64> {
        let percentile = |index: usize| block.percentiles.map(|percentiles| percentiles[index]);
        let value = match self {
            Figure::Median => percentile(0)?,
            Figure::P95 => percentile(1).filter(|_| block.samples_count >= TAIL_SAMPLES_MIN)?,
            Figure::P99 => percentile(2).filter(|_| block.samples_count >= FAR_TAIL_SAMPLES_MIN)?,
            Figure::Mean => block.sum / block.samples_count as f64,
            Figure::Rate => f64::from(block_seconds) / block.sum,
        };
        (value > 0.0 && value.is_finite()).then(|| value.ln())
    }
}

/// One figure of one series beside its history.
#[derive(Debug)]
pub struct Judged {
    pub key: SeriesKey,
    pub figure: Figure,
    pub judgement: Judgement,
    /// Whether a change for the worse was asked about, or one for the better.
    pub is_worse: bool,
    /// Earlier runs that have the series.
    pub runs_count: usize,
    /// Index into the earlier runs of the first one of the change; none: the newest run itself.
    pub since: Option<usize>,
    /// The earlier runs that have the figure, as indices, oldest first.
    pub places: Vec<usize>,
    /// The figure of each of them and of the newest run, as it was judged: in the unit of its metric.
    pub values: Vec<f64>,
    /// Whose part was taken out before anything was judged; none where the runs show no season.
    pub season: Option<Cycle>,
    standard_error: f64,
}

impl Judged {
    /// Returns the chance that a change by the factor `1 + change` of so many newest runs would have been convicted.
    pub fn power(&self, change: f64, runs_since: usize) -> f64 {
        chance_of_conviction(self.history(), change.ln_1p(), runs_since)
    }

    /// Returns how many runs with that change convict it with a chance of `power`; none where no number looked at does.
    pub fn runs_needed(&self, change: f64, power: f64) -> Option<usize> {
        power::runs_needed(self.history(), change.ln_1p(), power)
    }

    fn history(&self) -> power::History<'_> {
        power::History {
            noise: &self.judgement.noise,
            standard_error: self.standard_error,
            runs_count: self.runs_count,
        }
    }

    /// Says whether a change is found, as far as this figure alone tells.
    pub fn convicts(&self) -> bool {
        matches!(self.judgement.decision, Decision::Regressed | Decision::Jumped) && !self.drifts()
    }

    pub fn is_suspect(&self) -> bool {
        self.judgement.decision == Decision::Suspect
    }

    /// Says whether the figure grows from run to run: surely, or at least likelier than it stepped where something did.
    pub fn drifts(&self) -> bool {
        let Judgement { decision, drift, drift_probability, sustained, .. } = &self.judgement;
        let instead_of_step = *decision == Decision::Regressed && drift_probability > sustained;
        drift.change > 0.0 && (*drift_probability > DRIFTING || instead_of_step)
    }
}

/// The runs of one series, oldest first and the newest last, with what is judged of them.
struct Runs<'r> {
    key: &'r SeriesKey,
    /// Index into the earlier runs.
    places: Vec<usize>,
    blocks: Vec<&'r BlockSeries>,
    /// In seconds since 1970; empty where a run does not say when it started.
    starts: Vec<f64>,
    warm_up: usize,
    /// With those of regressions that are over, by when they started: they tell of a season as well. None without such runs,
    /// or where a run does not say when it started.
    wider: Option<Box<Runs<'r>>>,
}

/// What one figure is in those runs that have it.
struct Figures {
    /// Indices of the runs.
    whole: Vec<usize>,
    level: Vec<RunStatistic>,
    shape: Option<Vec<RunStatistic>>,
}

/// One figure of those runs that have it.
struct Sequence {
    figure: Figure,
    level: Vec<RunStatistic>,
    shape: Option<Vec<RunStatistic>>,
    season: Option<Cycle>,
    /// Index into the earlier runs; the newest run has none.
    places: Vec<usize>,
}

/// Judges the latencies, the own trends named in `trends`, and the throughput of the newest run against `past`, oldest first.
///
/// `over`: runs of regressions that are over, which tell of seasons alone. `started_at`: of the newest run. Of series that fewer than `RUNS_MIN` earlier runs have, nothing is said.
pub fn judge(
    past: &[PastRun],
    over: &[PastRun],
    newest: &[BlockSeries],
    started_at: Option<Timestamp>,
    trends: &[&str],
) -> Vec<Judged> {
    let is_judged = |key: &SeriesKey| {
        let metric = key.metric.as_str();
        metric == "http_req_duration" || metric == "http_reqs" && key.endpoint.is_none() || trends.contains(&metric)
    };
    let past: Vec<Past> = past.iter().map(Past::of).collect();
    let over: Vec<Past> = over.iter().map(Past::of).collect();
    let judged_series = newest.iter().filter(|series| is_judged(&series.key));
    let runs: Vec<Runs> = judged_series.filter_map(|series| Runs::of(&past, &over, series, started_at)).collect();
    let sequences: Vec<(&Runs, Vec<Sequence>)> = runs.iter().map(|runs| (runs, runs.sequences())).collect();
    let sisters: Vec<Sisters> = sequences.iter().map(|(_, sequences)| Sisters::of(sequences)).collect();
    let of_series = |own: usize| {
        let (runs, sequences) = &sequences[own];
        // All figures of a series share its runs: its own must not count as sisters.
        let others = || sisters.iter().enumerate().filter(move |(index, _)| *index != own).map(|(_, sister)| sister);
        let level: Vec<Sister> = others().flat_map(|sisters| sisters.level.iter().copied()).collect();
        let shape: Vec<Sister> = others().flat_map(|sisters| sisters.shapes.iter().copied()).collect();
        let beliefs = [shrunk(DeviationPrior::LEVEL, &level), shrunk(DeviationPrior::SHAPE, &shape)];
        let mut all = judged(runs.key, sequences, beliefs, Asked::Worse);
        if sequences.iter().any(Sequence::may_be_better) {
            all.extend(judged(runs.key, sequences, beliefs, Asked::Better));
        }
        all
    };
    on_cores((0..sequences.len()).collect(), of_series).into_iter().flatten().collect()
}

/// An earlier run, to look its series up.
struct Past<'r> {
    is_usual: bool,
    started_at: Option<Timestamp>,
    series: HashMap<&'r SeriesKey, &'r BlockSeries>,
}

impl<'r> Past<'r> {
    fn of(run: &'r PastRun) -> Past<'r> {
        let series = run.blocks.iter().map(|series| (&series.key, series)).collect();
        Past { is_usual: run.regressed_since.is_none(), started_at: run.started_at, series }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Worse,
    Better,
}

/// How far the runs of one series differ by themselves.
struct Sisters {
    level: Option<Sister>,
    shapes: Vec<Sister>,
}

impl Sisters {
    fn of(sequences: &[Sequence]) -> Sisters {
        let shapes = sequences.iter().filter_map(|sequence| sequence.shape.as_deref());
        Sisters {
            level: sequences.first().map(|sequence| sister(&sequence.level)),
            shapes: shapes.map(sister).collect(),
        }
    }
}

/// Judges all figures of a series. `beliefs`: about its level and its shapes.
fn judged(key: &SeriesKey, sequences: &[Sequence], beliefs: [DeviationPrior; 2], asked: Asked) -> Vec<Judged> {
    let turned = |runs: &[RunStatistic]| -> Vec<RunStatistic> {
        let sign = if asked == Asked::Worse { 1.0 } else { -1.0 };
        runs.iter().map(|run| RunStatistic { value: sign * run.value, ..*run }).collect()
    };
    let mut judged = Vec::new();
    let mut rest = sequences;
    // Figures of the same runs have one level, which is fitted once.
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|sequence| sequence.places == first.places).count();
        let (together, others) = rest.split_at(alike);
        rest = others;
        let level = turned(&first.level);
        let shapes: Vec<Option<Vec<RunStatistic>>> =
            together.iter().map(|sequence| sequence.shape.as_deref().map(turned)).collect();
        let known: Vec<&[RunStatistic]> = shapes.iter().flatten().map(Vec::as_slice).collect();
        let Some(fitted) = Level::of(&level, &known, beliefs[0]) else { continue };
        let runs_count = level.len() - 1;
        for (sequence, shape) in together.iter().zip(&shapes) {
            let judgement = regression::judge(&fitted, shape.as_deref(), beliefs[1]);
            // The newest run is the last of those since the change.
            let since = (level.len() - judgement.runs_since..runs_count).next().map(|run| sequence.places[run]);
            judged.push(Judged {
                key: key.clone(),
                figure: sequence.figure,
                judgement,
                is_worse: asked == Asked::Worse,
                runs_count,
                since,
                places: sequence.places.clone(),
                values: sequence.values(),
                season: sequence.season,
                standard_error: level[runs_count].standard_error,
            });
        }
    }
    judged
}

impl<'r> Runs<'r> {
    fn of(
        past: &[Past<'r>],
        over: &[Past<'r>],
        newest: &'r BlockSeries,
        started_at: Option<Timestamp>,
    ) -> Option<Runs<'r>> {
        let (places, mut blocks): (Vec<usize>, Vec<&BlockSeries>) =
            past.iter().enumerate().filter_map(|(place, run)| Some((place, *run.series.get(&newest.key)?))).unzip();
        if places.iter().filter(|place| past[**place].is_usual).count() < RUNS_MIN {
            return None;
        }
        blocks.push(newest);
        let seconds = |start: Option<Timestamp>| Some(start?.0 as f64 / NANOSECONDS_PER_SECOND as f64);
        let starts = places.iter().map(|place| past[*place].started_at).chain([started_at]).map(seconds);
        let starts = starts.collect::<Option<Vec<f64>>>().unwrap_or_default();
        let mut runs = Runs { key: &newest.key, places, blocks, starts, warm_up: 0, wider: None };
        runs.warm_up = warm_up_windows(&runs.windows(runs.figures()[0]));
        let over = over.iter().filter_map(|run| Some((seconds(run.started_at)?, *run.series.get(&newest.key)?)));
        runs.wider = runs.with(over.collect()).map(Box::new);
        Some(runs)
    }

    /// Returns these runs with others, by when they started; none where there are no others, or times are not known.
    fn with(&self, others: Vec<(f64, &'r BlockSeries)>) -> Option<Runs<'r>> {
        if others.is_empty() || self.starts.is_empty() {
            return None;
        }
        let own = self.starts.iter().copied().zip(self.blocks.iter().copied());
        let mut all: Vec<(f64, &BlockSeries)> = own.chain(others).collect();
        all.sort_by(|left, right| left.0.total_cmp(&right.0));
        let (starts, blocks) = all.into_iter().unzip();
        Some(Runs { key: self.key, places: Vec::new(), blocks, starts, warm_up: self.warm_up, wider: None })
    }

    fn figures(&self) -> &'static [Figure] {
        if self.key.metric == "http_reqs" {
            &[Figure::Rate]
        } else {
            &[Figure::Median, Figure::Mean, Figure::P95, Figure::P99]
        }
    }

    /// Returns a figure of every block of every run; NaN where a block has none.
    fn windows(&self, figure: Figure) -> Vec<Vec<f64>> {
        let of_run = |series: &&BlockSeries| {
            let value = |block: &Option<Block>| figure.of(block.as_ref()?, series.block_seconds);
            series.blocks.iter().map(|block| value(block).unwrap_or(f64::NAN)).collect()
        };
        self.blocks.iter().map(of_run).collect()
    }

    /// Returns the figures that the newest run and enough earlier ones have.
    fn sequences(&self) -> Vec<Sequence> {
        let (medians, levels) = self.main();
        let wider = self.wider.as_ref().map(|wider| (&**wider, wider.main()));
        let of_figure = |figure: &Figure| {
            let mut of = self.of_figure(*figure, &medians, &levels);
            // The newest run itself must have the figure, and enough of those before.
            if of.whole.len() <= RUNS_MIN || of.whole.last() != Some(&(levels.len() - 1)) {
                return None;
            }
            let season = match &wider {
                Some((wider, (medians, levels))) => {
                    let telling = wider.of_figure(*figure, medians, levels);
                    self.deseasoned(&mut of, &wider.starts_of(&telling.whole), &telling.level, &telling.shape)
                }
                None => {
                    let (starts, level, shape) = (self.starts_of(&of.whole), of.level.clone(), of.shape.clone());
                    self.deseasoned(&mut of, &starts, &level, &shape)
                }
            };
            let Figures { whole, level, shape } = of;
            let places = whole[..whole.len() - 1].iter().map(|run| self.places[*run]).collect();
            Some(Sequence { figure: *figure, level, shape, season, places })
        };
        self.figures().iter().filter_map(of_figure).collect()
    }

    /// Returns ln of the main figure by run and block, and the level of each run.
    fn main(&self) -> (Vec<Vec<f64>>, Vec<Option<RunStatistic>>) {
        let medians = self.windows(self.figures()[0]);
        let levels = of_runs(&medians, self.warm_up);
        (medians, levels)
    }

    fn starts_of(&self, whole: &[usize]) -> Vec<f64> {
        whole.iter().filter_map(|run| self.starts.get(*run).copied()).collect()
    }

    /// Takes the season that some runs show out of the figures of these, if they show one.
    fn deseasoned(
        &self,
        of: &mut Figures,
        starts: &[f64],
        level: &[RunStatistic],
        shape: &Option<Vec<RunStatistic>>,
    ) -> Option<Cycle> {
        let own = self.starts_of(&of.whole);
        // A step is looked for at the newest runs: they must not say what is usual.
        let held_from = *own.get(own.len().checked_sub(STEP_RUNS_MAX)?)?;
        let take = |figure: &mut [RunStatistic], telling: &[RunStatistic]| {
            let season = season(starts, &values(telling), held_from).filter(|_| figure.len() == own.len())?;
            figure.iter_mut().zip(&own).for_each(|(figure, start)| *figure = season.without(*start, *figure));
            Some(season.cycle)
        };
        let of_level = take(&mut of.level, level);
        let of_shape = of.shape.as_mut().zip(shape.as_ref()).and_then(|(figure, telling)| take(figure, telling));
        of_level.or(of_shape)
    }

    /// `medians`: ln of the main figure by run and block. `levels`: of each run.
    fn of_figure(&self, figure: Figure, medians: &[Vec<f64>], levels: &[Option<RunStatistic>]) -> Figures {
        let main = self.figures()[0];
        let off = |figure: Figure| -> Vec<Vec<f64>> {
            let of_run = |(windows, medians): (Vec<f64>, &Vec<f64>)| -> Vec<f64> {
                windows.iter().zip(medians).map(|(window, median)| window - median).collect()
            };
            self.windows(figure).into_iter().zip(medians).map(of_run).collect()
        };
        let shapes = match figure {
            _ if figure == main => None,
            // Two percentiles of a tail tell more of it than one.
            Figure::P95 => Some(averaged(&off(Figure::P95), &off(Figure::P99))),
            Figure::P99 => Some(averaged(&off(Figure::P99), &off(Figure::P95))),
            _ => Some(off(figure)),
        };
        let has_enough =
            |windows: &Vec<f64>| windows.iter().filter(|window| window.is_finite()).count() >= BLOCKS_WITH_SAMPLES_MIN;
        let is_whole =
            |run: &usize| has_enough(&medians[*run]) && shapes.as_ref().is_none_or(|shapes| has_enough(&shapes[*run]));
        let whole: Vec<usize> = (0..levels.len()).filter(is_whole).collect();
        let shapes = shapes.map(|shapes| of_runs(&shapes, 0));
        Figures {
            level: whole.iter().filter_map(|run| levels[*run]).collect(),
            shape: shapes.map(|shapes| whole.iter().filter_map(|run| shapes[*run]).collect()),
            whole,
        }
    }
}

impl Sequence {
    /// Returns the figure of each run, in the unit of its metric.
    fn values(&self) -> Vec<f64> {
        let off = |run: usize| self.shape.as_deref().map_or(0.0, |shape| shape[run].value);
        let sign = if self.figure == Figure::Rate { -1.0 } else { 1.0 };
        self.level.iter().enumerate().map(|(run, level)| (sign * (level.value + off(run))).exp()).collect()
    }

    /// Says whether the newest run is low enough that an improvement could be found: asking costs as much as the rest.
    fn may_be_better(&self) -> bool {
        let Some((newest, before)) = self.level.split_last() else { return false };
        let shape_change = self.shape.as_deref().and_then(|shape| {
            let (newest, before) = shape.split_last()?;
            Some(newest.value - median(&values(before)))
        });
        let change = newest.value - median(&values(before)) + shape_change.unwrap_or(0.0);
        change < -0.5 * CHANGE_MIN
    }
}

/// Returns the spread of runs about their middle, less what varies within them.
fn sister(runs: &[RunStatistic]) -> Sister {
    let middle = median(&values(runs));
    let off: Vec<f64> = runs.iter().map(|run| (run.value - middle).abs()).collect();
    // Steps and bad runs hardly count.
    let spread = MAD_TO_SIGMA * median(&off);
    let within = runs.iter().map(|run| run.standard_error.powi(2)).sum::<f64>() / runs.len().max(1) as f64;
    Sister { deviation: (spread * spread - within).max(0.0).sqrt(), runs_count: runs.len() }
}

fn values(runs: &[RunStatistic]) -> Vec<f64> {
    runs.iter().map(|run| run.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    /// Nights of one series, from a Monday on; `season`: what a Saturday and a Sunday add to ln.
    fn nights(draws: &mut Draws, count: usize, season: f64, step: f64) -> Vec<PastRun> {
        let run = |night: usize| {
            let weekend = if night % 7 >= 5 { season } else { 0.0 };
            let level = 3.0 + 0.03 * draws.normal() + weekend + if night + 4 >= count { step } else { 0.0 };
            let mut block = || {
                let median = (level + 0.03 * draws.normal()).exp();
                let percentiles = Some([median, 2.3 * median, 3.5 * median]);
                Some(Block { samples_count: 400, nonzero_count: 400, sum: 460.0 * median, percentiles })
            };
            let blocks = (0..14).map(|_| block()).collect();
            let key = SeriesKey::whole("http_req_duration");
            PastRun {
                id: night.to_string(),
                commit: None,
                started_at: Some(Timestamp((1_793_584_800 + night as i64 * 86_400) * NANOSECONDS_PER_SECOND)),
                regressed_since: None,
                ramp: None,
                blocks: vec![BlockSeries { key, block_seconds: 5, blocks }],
            }
        };
        (0..count).map(run).collect()
    }

    fn judged(mut runs: Vec<PastRun>, has_times: bool) -> Vec<Judged> {
        let newest = runs.pop().unwrap();
        judge(&runs, &[], &newest.blocks, newest.started_at.filter(|_| has_times), &[])
    }

    #[test]
    fn without_a_season_times_change_no_bit() {
        for seed in 0..10 {
            let of = |has_times: bool| judged(nights(&mut Draws::seeded(seed), 36, 0.0, 0.1), has_times);
            assert_eq!(format!("{:?}", of(true)), format!("{:?}", of(false)), "seed {seed}");
        }
    }

    #[test]
    fn a_season_hides_no_step_and_is_none() {
        let told = |season: f64, step: f64, has_times: bool| {
            let is_told = |seed: &u64| {
                let judged = judged(nights(&mut Draws::seeded(*seed), 36, season, step), has_times);
                judged.iter().any(|judged| judged.is_worse && judged.convicts())
            };
            (100..120).filter(is_told).count()
        };
        assert_eq!(told(0.18, 0.0, true), 0);
        let (plain, deseasoned, hidden) = (told(0.0, 0.1, false), told(0.18, 0.1, true), told(0.18, 0.1, false));
        assert!(deseasoned + 3 >= plain && deseasoned > hidden + 5, "{plain}, {deseasoned}, {hidden} of 20");
    }
}
