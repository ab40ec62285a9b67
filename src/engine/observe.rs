//! One question to what the servers answered about a run.

use crate::diagnose::Window;
use crate::diagnose::look::Look;
use crate::model::telemetry::Telemetry;
use crate::model::time::Timestamp;

use super::EngineError;
use super::evidence::{Evidence, Source};

/// What the servers answered, and from when to when it is of.
#[derive(Debug)]
pub struct Observed {
    pub telemetry: Telemetry,
    pub run: Window,
}

/// The time that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub run: Window,
    /// Without its beginning and end, where the load was another.
    pub steady: Window,
    /// A part of it that is looked at by itself.
    pub window: Option<Window>,
}

impl Observed {
    /// Gathers the answers, and reads them. `asked`: none is all the time that the answers are of.
    pub fn gather(source: &Source, asked: Option<Asked>) -> Result<Observed, EngineError> {
        let empty = Window { from: Timestamp(0), until: Timestamp(0) };
        let Asked { run, steady, window } = asked.unwrap_or(Asked { run: empty, steady: empty, window: None });
        let telemetry = Evidence::gather(source, window.as_slice(), run, &[])?.read()?.0;
        let run = if asked.is_some() { steady } else { time_of(&telemetry).unwrap_or(empty) };
        Ok(Observed { telemetry, run })
    }

    pub fn look(&self, window: Window) -> Look<'_> {
        Look { telemetry: &self.telemetry, run: self.run, window }
    }
}

fn time_of(telemetry: &Telemetry) -> Option<Window> {
    let ends = telemetry.metrics.iter().flat_map(|series| [series.points.first(), series.points.last()]).flatten();
    let times = ends.map(|(time, _)| *time);
    let times = times.chain(telemetry.logs.iter().map(|line| line.at));
    let times = times.chain(telemetry.spans.iter().flat_map(|span| [span.start, span.end]));
    let times: Vec<Timestamp> =
        times.chain(telemetry.profiles.iter().flat_map(|profile| [profile.from, profile.until])).collect();
    Some(Window { from: *times.iter().min()?, until: *times.iter().max()? })
}
