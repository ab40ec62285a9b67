//! Our detectors on labelled cases: the same functions with the same limits as in the product, one case in, one verdict out.

use serde::{Deserialize, Serialize};

use crate::model::blocks::{Block, BlockSeries};
use crate::model::series::SeriesKey;
use crate::stats::change_point::change_points;
use crate::stats::{sequential, streaming_anomaly};

use super::history::{Figure, Judged, PastRun, judge};
use super::subjects::CHANGE_MIN;

/// A history of one figure of a test, of which the newest run is to be judged.
#[derive(Debug, Deserialize)]
pub struct RegressionCase {
    pub id: String,
    pub target: Target,
    /// Oldest first.
    pub runs: Vec<CaseRun>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    P50,
    P95,
    Mean,
}

#[derive(Debug, Deserialize)]
pub struct CaseRun {
    /// Each of samples, mean, p50, p95, p99.
    pub windows: Vec<[f64; 5]>,
}

#[derive(Debug, Serialize)]
pub struct RegressionVerdict {
    pub id: String,
    pub regression: bool,
    /// The newest run alone stands out.
    pub suspect: bool,
    /// Larger is surer.
    pub score: Option<f64>,
    /// The first run of the change, from 0.
    pub at_run: Option<usize>,
    /// new / old - 1, with its interval of 95 %.
    pub effect: Option<f64>,
    pub ci: Option<[f64; 2]>,
}

pub fn regression(case: RegressionCase) -> RegressionVerdict {
    let block = |window: &[f64; 5]| {
        let [count, mean, p50, p95, p99] = *window;
        let is_usable = count >= 1.0 && window.iter().all(|figure| figure.is_finite());
        is_usable.then_some(Block {
            samples_count: count as u64,
            nonzero_count: count as u64,
            sum: mean * count,
            percentiles: Some([p50, p95, p99]),
        })
    };
    let run = |(index, run): (usize, &CaseRun)| PastRun {
        id: index.to_string(),
        commit: None,
        started_at: None,
        ramp: None,
        regressed_since: None,
        blocks: vec![BlockSeries {
            key: SeriesKey::whole("http_req_duration"),
            block_seconds: 1,
            blocks: run.windows.iter().map(block).collect(),
        }],
    };
    let mut past: Vec<PastRun> = case.runs.iter().enumerate().map(run).collect();
    let figure = match case.target {
        Target::P50 => Figure::Median,
        Target::P95 => Figure::P95,
        Target::Mean => Figure::Mean,
    };
    let newest = past.pop().map(|newest| newest.blocks).unwrap_or_default();
    let judged =
        judge(&past, &[], &newest, None, &[]).into_iter().find(|judged| judged.figure == figure && judged.is_worse);
    let told = |of: fn(&Judged) -> f64| judged.as_ref().map(of);
    let effect = told(|judged| judged.judgement.effect.exp_m1());
    let is_large = effect.is_some_and(|effect| effect >= CHANGE_MIN);
    RegressionVerdict {
        id: case.id,
        regression: is_large && judged.as_ref().is_some_and(Judged::convicts),
        suspect: is_large && judged.as_ref().is_some_and(Judged::is_suspect),
        score: told(|judged| judged.judgement.score),
        at_run: judged.as_ref().map(|judged| judged.since.unwrap_or(past.len())),
        effect,
        ci: told(|judged| judged.judgement.low.exp_m1())
            .zip(told(|judged| judged.judgement.high.exp_m1()))
            .map(<[f64; 2]>::from),
    }
}

/// A series whose level, or trend, may have changed at some of its places.
#[derive(Debug, Deserialize)]
pub struct ChangePointCase {
    pub id: String,
    pub values: Vec<Option<f64>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ChangePointVerdict {
    pub id: String,
    /// Index of the first value of each new regime, from 0.
    pub change_points: Vec<usize>,
}

pub fn change_point(case: ChangePointCase) -> ChangePointVerdict {
    let values: Vec<f64> = case.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    let history = change_points(&values);
    let changes = history.into_iter().flat_map(|history| history.changes);
    ChangePointVerdict { id: case.id, change_points: changes.map(|change| change.index).collect() }
}

/// A stream in which some values are not as usual.
#[derive(Debug, Deserialize)]
pub struct AnomalyCase {
    pub id: String,
    pub v: Vec<Option<f64>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct AnomalyVerdict {
    pub id: String,
    /// Places of the alarms, from 0; each is raised by what came up to it.
    pub anomalies: Vec<usize>,
    /// By value, 0 to 1.
    pub scores: Vec<f64>,
}

pub fn anomaly(case: AnomalyCase) -> AnomalyVerdict {
    let values: Vec<f64> = case.v.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    let judged = streaming_anomaly::judged(&values);
    let alarms = judged.iter().enumerate().filter(|(_, judged)| judged.is_alarm);
    AnomalyVerdict {
        id: case.id,
        anomalies: alarms.map(|(index, _)| index).collect(),
        scores: judged.iter().map(|judged| judged.score).collect(),
    }
}

/// A run that is looked at after each of its windows, beside the earlier runs of its test.
#[derive(Debug, Deserialize)]
pub struct LookingCase {
    pub id: String,
    /// A latency by window of each earlier run, in any unit above 0; null: a gap.
    pub history: Vec<Vec<Option<f64>>>,
    pub windows: Vec<Option<f64>>,
}

#[derive(Debug, Serialize)]
pub struct LookingVerdict {
    pub id: String,
    /// The first window after which the run is called slower, from 0.
    pub alarm_at: Option<usize>,
    /// By window: how much likelier a slower run is to look so than one more of the same.
    pub e_values: Vec<f64>,
}

pub fn looking(case: LookingCase) -> LookingVerdict {
    let logarithms = |windows: &Vec<Option<f64>>| -> Vec<f64> {
        windows.iter().map(|window| window.filter(|value| *value > 0.0).map_or(f64::NAN, f64::ln)).collect()
    };
    let history: Vec<Vec<f64>> = case.history.iter().map(logarithms).collect();
    let history = sequential::History::of(&history.iter().map(Vec::as_slice).collect::<Vec<&[f64]>>());
    let looks = history.map(|history| history.looks(&logarithms(&case.windows))).unwrap_or_default();
    LookingVerdict {
        id: case.id,
        alarm_at: looks.iter().position(|look| look.is_alarm()),
        e_values: looks.iter().map(|look| look.e_value).collect(),
    }
}
