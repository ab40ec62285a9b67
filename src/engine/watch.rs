//! Watching: a run that is read while it goes on, beside the earlier runs of its test, and whoever is told what is known early.

use crate::detect::looking::{LoadBy, Looking, Running};
use crate::model::early_finding::EarlyFinding;
use crate::model::report::RunReport;
use crate::model::time::Timestamp;
use crate::store::Store;
use crate::tables::aggregate::{Aggregate, Window};

use super::past;

/// Who is told an early finding, at once.
pub struct Teller(pub Box<dyn Fn(&EarlyFinding) + Send + Sync>);

impl std::fmt::Debug for Teller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Teller")
    }
}

/// What looks at a run while its windows are closed.
pub struct Watch<'a> {
    store: &'a Store,
    /// What is known of it before it begins.
    run: RunReport,
    since: Option<Timestamp>,
    teller: &'a Teller,
    state: State,
}

enum State {
    /// No window was closed: when the run began is not known.
    Waits,
    Looks(Box<Looking>, Vec<EarlyFinding>),
    /// There are too few earlier runs to look by.
    Sleeps,
}

impl<'a> Watch<'a> {
    pub fn new(store: &'a Store, run: RunReport, since: Option<Timestamp>, teller: &'a Teller) -> Watch<'a> {
        Watch { store, run, since, teller, state: State::Waits }
    }

    /// Takes windows as they are closed, and tells what is known since.
    pub fn closed(&mut self, windows: &[Window], aggregate: &Aggregate) {
        if matches!(self.state, State::Waits)
            && let Some(first) = windows.first()
        {
            self.state = match self.looking(first.start_ns, aggregate) {
                Some(looking) => State::Looks(Box::new(looking), Vec::new()),
                None => State::Sleeps,
            };
        }
        if let State::Looks(looking, told) = &mut self.state {
            for early in looking.take(windows, &aggregate.series) {
                (self.teller.0)(&early);
                told.push(early);
            }
        }
    }

    /// Returns what was told; none where nothing could be looked at.
    pub fn told(self) -> Option<Vec<EarlyFinding>> {
        match self.state {
            State::Looks(_, told) => Some(told),
            State::Waits | State::Sleeps => None,
        }
    }

    fn looking(&mut self, start_ns: i64, aggregate: &Aggregate) -> Option<Looking> {
        self.run.started_at = Some(aggregate.first_ns.map_or(Timestamp(start_ns), Timestamp));
        // A store that cannot be read is said at the end, when the run is judged; until then it is a store without runs.
        let (past, is_by_arrivals) = past::to_look_by(self.store, &self.run, self.since).ok()?;
        let expected = "http_req_duration{expected_response:true}";
        let mut submetrics = aggregate.metrics.iter().flat_map(|metric| &metric.submetrics);
        let running = Running {
            test: &self.run.test,
            load_by: if is_by_arrivals { LoadBy::Iterations } else { LoadBy::Vus },
            is_expected_apart: submetrics.any(|submetric| submetric.name == expected),
        };
        Looking::of(&past, &running)
    }
}
