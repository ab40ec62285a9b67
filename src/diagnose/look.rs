//! The parts of a diagnosis by themselves, for one service and one window that somebody asks about.

use std::collections::BTreeSet;

use crate::model::telemetry::{Profile, Telemetry};

use super::account::{added, load_ratio};
use super::contrast::{Contrast, Window};
use super::functions::{self, ProfileDifference};
use super::logs::{Template, Templates};
use super::traces::{Operation, OperationTimes, Traces};
use super::vitals::{Vital, Vitals};

/// In the order in which they are told.
const VITALS: [Vital; 17] = [
    Vital::Requests,
    Vital::Failed,
    Vital::Answering,
    Vital::Calling,
    Vital::Processor,
    Vital::Throttled,
    Vital::Locks,
    Vital::Pools,
    Vital::Database,
    Vital::Collector,
    Vital::Memory,
    Vital::Allocated,
    Vital::Queue,
    Vital::Goroutines,
    Vital::Threads,
    Vital::Handles,
    Vital::Connections,
];

/// What is asked about: a window of a run.
#[derive(Debug, Clone, Copy)]
pub struct Look<'t> {
    pub telemetry: &'t Telemetry,
    pub run: Window,
    pub window: Window,
}

/// One vital sign on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct VitalChange {
    pub name: &'static str,
    pub unit: &'static str,
    /// As the server names it.
    pub metric: String,
    /// For as many requests as in the window.
    pub healthy: f64,
    pub observed: f64,
    /// The difference in standard errors.
    pub sigmas: f64,
}

/// The operations of traces, those that took longer by themselves first.
#[derive(Debug, Clone)]
pub struct TracesSeen {
    pub operations: Vec<(Operation, OperationTimes)>,
    pub healthy_count: usize,
    pub observed_count: usize,
}

/// The templates of log lines, those that are new or risen first.
#[derive(Debug, Clone)]
pub struct LogsSeen {
    pub risen: Vec<Template>,
    /// Most lines first.
    pub others: Vec<Template>,
    pub healthy_seconds: f64,
    pub observed_seconds: f64,
}

impl Look<'_> {
    fn contrast(&self) -> Contrast {
        Contrast::of(self.window, self.run, &[])
    }

    /// Returns the services that anything is known of, by name.
    pub fn services(&self) -> Vec<String> {
        let vitals = Vitals::of(&self.telemetry.metrics, self.run);
        let mut services: BTreeSet<String> = vitals.services().into_iter().map(str::to_owned).collect();
        services.extend(self.telemetry.spans.iter().map(|span| span.service.clone()));
        services.extend(self.telemetry.profiles.iter().map(|profile| profile.service.clone()));
        services.extend(self.telemetry.logs.iter().map(|line| line.service.clone()));
        services.into_iter().filter(|service| !service.is_empty()).collect()
    }

    /// Returns how many vital signs of a service are known at all.
    pub fn signs(&self, service: &str) -> usize {
        let vitals = Vitals::of(&self.telemetry.metrics, self.run);
        VITALS.into_iter().filter(|vital| vitals.get(service, *vital).is_some()).count()
    }

    /// Compares the profile of a kind (`cpu`, `mutex`, `block`, `alloc_space`, `inuse_space`) that is nearest to the window with
    /// another one; with both profiles.
    pub fn profile(&self, service: &str, kind: &str) -> Option<(ProfileDifference, [&Profile; 2])> {
        let both = functions::nearest(&self.telemetry.profiles, service, kind, self.window)?;
        Some((functions::between(both[0], both[1]), both))
    }

    /// `service`: none is all of them.
    pub fn traces(&self, service: Option<&str>) -> TracesSeen {
        let Traces { operations, healthy_count, faulty_count } = Traces::of(&self.telemetry.spans, &self.contrast());
        let mut operations: Vec<(Operation, OperationTimes)> = operations
            .into_iter()
            .filter(|(operation, _)| service.is_none_or(|service| operation.service == service))
            .collect();
        operations.sort_by(|left, right| right.1.mean_added_ms().total_cmp(&left.1.mean_added_ms()));
        TracesSeen { operations, healthy_count, observed_count: faulty_count }
    }

    pub fn metrics(&self, service: &str) -> Vec<VitalChange> {
        let vitals = Vitals::of(&self.telemetry.metrics, self.run);
        let contrast = self.contrast();
        let load = load_ratio(&vitals, service, &contrast);
        let change = |vital: Vital| {
            let load = if vital.follows_load() { load } else { 1.0 };
            let added = added(&vitals, vitals.get(service, vital)?, &contrast, load)?;
            Some(VitalChange {
                name: vital.name(),
                unit: vital.unit(),
                metric: vitals.sources.get(&(service.to_owned(), vital)).cloned().unwrap_or_default(),
                healthy: added.healthy,
                observed: added.faulty,
                sigmas: added.sigmas(),
            })
        };
        VITALS.into_iter().filter_map(change).collect()
    }

    pub fn logs(&self, service: &str) -> LogsSeen {
        let templates = Templates::of(self.telemetry, &self.contrast());
        let risen: Vec<Template> = templates.risen(service).into_iter().cloned().collect();
        let is_other = |template: &&Template| template.service == service && !risen.contains(template);
        let mut others: Vec<Template> = templates.templates.iter().filter(is_other).cloned().collect();
        let count = |template: &Template| template.healthy_count + template.faulty_count;
        others.sort_by_key(|template| std::cmp::Reverse(count(template)));
        LogsSeen {
            risen,
            others,
            healthy_seconds: templates.healthy_seconds,
            observed_seconds: templates.faulty_seconds,
        }
    }
}
