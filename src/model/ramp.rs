//! A run whose load climbs: how far, and from which load on the system under test only gets slower.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What the test made climb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    Vus,
    /// Iterations that were due a second, with an arrival rate.
    Arrivals,
}

impl Load {
    /// As it stands behind a number.
    pub fn unit(self) -> &'static str {
        match self {
            Load::Vus => "VUs",
            Load::Arrivals => "iterations/s",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ramp {
    pub load: Load,
    /// The most of it.
    pub top: f64,
    /// The median latency of all requests where the climb begins, and at its top.
    pub latency_at_bottom_ms: f64,
    pub latency_at_top_ms: f64,
    /// None where the latency climbs as steadily as the load, or not at all.
    pub knee: Option<Knee>,
}

/// The load from which on latency climbs faster than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Knee {
    pub load: f64,
    /// 95 % interval of `load`.
    pub low: f64,
    pub high: f64,
    /// When the load went beyond it.
    pub at: Timestamp,
    pub latency_ms: f64,
    /// Around the knee, and at the top.
    pub requests_per_second: f64,
    pub requests_per_second_at_top: f64,
}
