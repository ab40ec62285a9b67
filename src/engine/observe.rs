//! One question to what the servers answered about a run.

use std::path::Path;

use crate::diagnose::Window;
use crate::diagnose::look::Look;
use crate::ingest::telemetry::capture;
use crate::model::telemetry::Telemetry;
use crate::model::time::Timestamp;

use super::EngineError;

/// What a folder of answers holds, and from when to when.
#[derive(Debug)]
pub struct Observed {
    pub telemetry: Telemetry,
    pub run: Window,
}

impl Observed {
    /// Reads a folder of answers; its time is that of what it holds.
    pub fn read(folder: &Path) -> Result<Observed, EngineError> {
        let telemetry = capture::read(folder)?.telemetry;
        let ends = telemetry.metrics.iter().flat_map(|series| [series.points.first(), series.points.last()]).flatten();
        let times = ends.map(|(time, _)| *time);
        let times = times.chain(telemetry.logs.iter().map(|line| line.at));
        let times = times.chain(telemetry.spans.iter().flat_map(|span| [span.start, span.end]));
        let times: Vec<Timestamp> =
            times.chain(telemetry.profiles.iter().flat_map(|profile| [profile.from, profile.until])).collect();
        let (from, until) = times.iter().min().zip(times.iter().max()).unwrap_or((&Timestamp(0), &Timestamp(0)));
        let run = Window { from: *from, until: *until };
        Ok(Observed { telemetry, run })
    }

    pub fn look(&self, window: Window) -> Look<'_> {
        Look { telemetry: &self.telemetry, run: self.run, window }
    }
}
