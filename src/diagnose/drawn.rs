//! What is drawn beside the causes: the difference of two profiles, a trace beside a healthy one, the signals in the order in which
//! they moved, and which service calls which. Cut to what a page can hold.

mod flame;
mod graph;
mod signals;
mod waterfall;

pub use flame::difference as flame;

use crate::model::diagnosis::{Clue, Diagnosis};
use crate::model::exhibit::{Exhibits, Period};
use crate::model::finding::Finding;
use crate::model::telemetry::{Profile, Telemetry};

use super::contrast::{Contrast, Window};
use super::time_of;
use super::vitals::Vitals;

/// Causes with pictures.
const CAUSES_MAX: usize = 4;
/// Frames of a profile on a page.
pub const FRAMES_MAX: usize = 400;

impl From<Window> for Period {
    fn from(window: Window) -> Period {
        Period { from: window.from, until: window.until }
    }
}

/// Draws the likeliest cause of each finding. `run`: as for [`super::diagnose`], which said the causes.
pub fn draw(diagnoses: &[Diagnosis], findings: &[Finding], run: Window, telemetry: &Telemetry) -> Exhibits {
    let vitals = Vitals::of(&telemetry.metrics, run);
    let mut exhibits = Exhibits::default();
    let first = diagnoses.iter().zip(0u32..).filter(|(cause, _)| cause.rank == 1).take(CAUSES_MAX);
    for (cause, index) in first {
        exhibits.flames.extend(flame_of(cause, index, telemetry));
        let Some(window) = window_of(cause, findings, run) else { continue };
        let contrast = Contrast::of(window, run, &[]);
        exhibits.traces.extend(waterfall::pair(cause, index, &telemetry.spans, &contrast));
        exhibits.signals.extend(signals::signals(cause, index, run, &vitals, telemetry, &contrast));
        if exhibits.services.is_none() {
            exhibits.services = graph::graph(diagnoses, &vitals, &telemetry.spans, &contrast);
        }
    }
    exhibits
}

/// Returns the time of the cause's finding; of what only the servers saw, the time from its first move on.
fn window_of(cause: &Diagnosis, findings: &[Finding], run: Window) -> Option<Window> {
    if let Some(id) = &cause.finding {
        return findings.iter().find(|finding| finding.id == *id).and_then(|finding| time_of(finding, run));
    }
    let moved = cause.evidence.iter().filter_map(|clue| match clue {
        Clue::Metric { moved_at, .. } => *moved_at,
        Clue::Profile { faulty_from, .. } => Some(*faulty_from),
        _ => None,
    });
    let from = moved.min()?.max(run.from);
    let window = Window { from, until: run.until };
    (window.seconds() > 0.0).then_some(window)
}

fn flame_of(cause: &Diagnosis, index: u32, telemetry: &Telemetry) -> Option<crate::model::exhibit::FlameDifference> {
    cause.evidence.iter().find_map(|clue| {
        let Clue::Profile { service, profile_type, healthy_from, healthy_until, faulty_from, faulty_until, .. } = clue
        else {
            return None;
        };
        let of = |from, until| -> Option<&Profile> {
            let is_it = |profile: &&Profile| {
                profile.service == *service
                    && profile.profile_type == *profile_type
                    && (profile.from, profile.until) == (from, until)
            };
            telemetry.profiles.iter().find(is_it)
        };
        let both = (of(*healthy_from, *healthy_until)?, of(*faulty_from, *faulty_until)?);
        Some(flame::difference(both.0, both.1, index, FRAMES_MAX))
    })
}
