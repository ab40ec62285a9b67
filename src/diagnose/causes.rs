//! The causes of one contrast: whose own time, or whose errors, were added, and what that time was spent on.
//!
//! - Whose: what was added in a service itself, by its metrics and by its spans, is held against all that was added. A caller that
//!   waits for a slow callee has added nothing of its own.
//! - What on: the parts of that time (processor, locks, pools, database, collector) that grew with it; then what its spans, profiles
//!   and log lines show. Where nothing it spends time on grew, it waits for something outside.
//! - Errors: where they begin, that is, where no span below failed, and no service below fails more than before.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::diagnosis::{CauseKind, Clue};
use crate::model::telemetry::{Profile, Telemetry};

use super::account::{self, Added, added, load_ratio};
use super::clues::{profile_clue, refutation, sentence, span_clue, span_profile_clue, trace_clues, vitals_shown};
use super::contrast::{Contrast, Window};
use super::functions::{self, ProfileDifference};
use super::logs::Templates;
use super::storm;
use super::traces::{Kind, Operation, OperationTimes, Traces, mean};
use super::vitals::{Vital, Vitals};

/// Of all that was added, a cause has at least this part.
const SHARE_MIN: f64 = 0.15;
/// Of a service's own added time, a part explains it from here on.
const PART_MIN: f64 = 0.25;
const MAIN_PART: f64 = 0.4;
/// What a service waits for by itself; from so many standard errors of its whole time on, one of them may make it sure.
const WAITS: [Vital; 3] = [Vital::Database, Vital::Locks, Vital::Pools];
const LIKELY: f64 = 2.0;
/// It is named from here on where nothing else explains more.
const SMALL_PART: f64 = 0.12;
/// An operation is slower if so many pairs of traces say so, by so many milliseconds, and by so much of its entrance's time.
const CHANCE_OF_MORE_MIN: f64 = 0.8;
const ADDED_MS_MIN: f64 = 2.0;
const ADDED_PART_MIN: f64 = 0.1;
const TRACES_MIN: usize = 3;
/// More than a machine that is busy for a moment does.
const SEVERAL_TIMES: f64 = 3.0;
/// A call is on the way at least so many times as long. The way includes what both ends wait for a processor: where a machine is
/// busy for a moment, all ways are half as long again, and no network is the cause.
const WAY_RATIO_MIN: f64 = 2.0;
/// Allocations that make the collector the cause.
const ALLOCATED_RATIO: f64 = 3.0;
const COLLECTOR_PART_MIN: f64 = 0.1;
const TEMPLATES_NAMED: usize = 3;

/// A likely cause; the more of what was added it has, the likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    pub service: String,
    pub kind: CauseKind,
    /// Of all that was added, from 0 to 1.
    pub share: f64,
    /// Of that, what the kind explains.
    pub explained: f64,
    pub what: String,
    pub endpoint: Option<String>,
    pub function: Option<String>,
    pub span: Option<String>,
    pub clues: Vec<Clue>,
    pub refuted_by: String,
}

impl Cause {
    /// Takes in what the same service's time says: errors whose calls are not answered are time-outs.
    pub fn take_in(&mut self, of_time: Cause) {
        if self.kind == CauseKind::Errors && of_time.kind == CauseKind::Timeout {
            (self.kind, self.what, self.refuted_by) = (of_time.kind, of_time.what, of_time.refuted_by);
        }
        let new =
            of_time.clues.into_iter().filter(|clue| matches!(clue, Clue::Metric { .. }) && !self.clues.contains(clue));
        let new: Vec<Clue> = new.collect();
        self.clues.extend(new);
    }
}

/// All that is known of one contrast.
pub struct Scene<'t> {
    pub telemetry: &'t Telemetry,
    pub vitals: &'t Vitals,
    pub contrast: &'t Contrast,
    pub traces: Traces,
    pub templates: Templates,
}

impl<'t> Scene<'t> {
    pub fn of(telemetry: &'t Telemetry, vitals: &'t Vitals, contrast: &'t Contrast) -> Scene<'t> {
        Scene {
            telemetry,
            vitals,
            contrast,
            traces: Traces::of(&telemetry.spans, contrast),
            templates: Templates::of(telemetry, contrast),
        }
    }

    /// Returns the causes of what took longer, most likely first.
    pub fn of_time(&self) -> Vec<Cause> {
        let by_service = self.added_by_service();
        let mut causes: Vec<Cause> =
            by_service.iter().filter_map(|(service, share)| self.slow(service, *share)).collect();
        causes.extend(self.unanswered());
        sorted(causes)
    }

    /// Returns the causes of what failed, most likely first.
    pub fn of_failures(&self) -> Vec<Cause> {
        let mut begun: BTreeMap<&str, f64> = BTreeMap::new();
        let per_trace = |count: usize, traces: usize| count as f64 / traces.max(1) as f64;
        for (operation, times) in &self.traces.operations {
            let more = per_trace(times.errors_faulty, self.traces.faulty_count)
                - per_trace(times.errors_healthy, self.traces.healthy_count);
            if more > 0.0 && times.errors_faulty >= 2 {
                *begun.entry(operation.service.as_str()).or_default() += more;
            }
        }
        if begun.is_empty() && self.traces.faulty_count == 0 {
            self.failing_origins().into_iter().for_each(|(service, added)| *begun.entry(service).or_default() += added);
        }
        let all: f64 = begun.values().sum();
        let causes = begun.iter().map(|(service, more)| self.failing(service, more / all)).collect();
        sorted(causes)
    }

    /// Returns each service's part of all the time that was added, by metrics and by spans as far as they are there.
    fn added_by_service(&self) -> Vec<(String, f64)> {
        let by_metrics = shares(self.vitals.services().into_iter().filter_map(|service| {
            let own = self.own(service)?;
            (own.is_sure() || self.is_sure_by_a_wait(service, own)).then(|| (service.to_owned(), own.difference()))
        }));
        let slower = self.slower_operations().into_iter().filter(|(operation, _)| !self.is_refuted(operation));
        let by_spans = shares(slower.map(|(operation, added)| (operation.service.clone(), added)));
        let services: BTreeSet<&String> = by_metrics.keys().chain(by_spans.keys()).collect();
        let share = |service: &String| {
            let of =
                |known: &BTreeMap<String, f64>| (!known.is_empty()).then(|| known.get(service).copied().unwrap_or(0.0));
            let known: Vec<f64> = [of(&by_metrics), of(&by_spans)].into_iter().flatten().collect();
            mean(&known)
        };
        services.into_iter().map(|service| (service.clone(), share(service))).collect()
    }

    fn own(&self, service: &str) -> Option<Added> {
        let own = self.vitals.own(service)?;
        added(self.vitals, &own, self.contrast, load_ratio(self.vitals, service, self.contrast))
    }

    /// Says whether a service surely waits longer for something of its own, and that is much of what it seems to take longer: the
    /// time of few slow requests drowns in that of many others, their wait does not.
    fn is_sure_by_a_wait(&self, service: &str, own: Added) -> bool {
        let is_much = |part: Added| part.is_sure() && part.difference() >= MAIN_PART * own.difference();
        own.sigmas() >= LIKELY && WAITS.iter().any(|vital| self.part(service, *vital).is_some_and(is_much))
    }

    /// Says whether metrics know all the time of an operation's service and are not sure of more, nor is the operation several times
    /// as long: of a few traces of slow requests, held against a few others, some span always is longer.
    fn is_refuted(&self, operation: &Operation) -> bool {
        let Some(own) = self.own(&operation.service) else { return false };
        let is_several_times = self
            .traces
            .operations
            .get(operation)
            .is_some_and(|times| mean(&times.faulty_ms) >= SEVERAL_TIMES * mean(&times.healthy_ms));
        let is_sure = own.is_sure() || self.is_sure_by_a_wait(&operation.service, own);
        let is_likely = own.sigmas() >= LIKELY && is_several_times;
        // What is waited for and not answered is no time of the service's own.
        !is_sure && !is_likely && operation.kind != Kind::Unanswered
    }

    fn part(&self, service: &str, vital: Vital) -> Option<Added> {
        let values = self.vitals.get(service, vital)?;
        added(self.vitals, values, self.contrast, load_ratio(self.vitals, service, self.contrast))
    }

    /// Returns the operations that take longer by themselves, with the milliseconds added in a trace.
    fn slower_operations(&self) -> Vec<(&Operation, f64)> {
        let mut entrances: BTreeMap<&str, f64> = BTreeMap::new();
        for (operation, times) in &self.traces.operations {
            *entrances.entry(operation.entrance.as_str()).or_default() += mean(&times.healthy_ms);
        }
        let slower = self.traces.operations.iter().filter_map(|(operation, times)| {
            // A call that got no answer has no healthy counterpart of its kind.
            let is_known = times.faulty_ms.len() >= TRACES_MIN && times.healthy_ms.len() >= TRACES_MIN;
            let added = times.mean_added_ms();
            let usual = entrances.get(operation.entrance.as_str()).copied().unwrap_or(0.0);
            let is_slower = is_known
                && times.chance_of_more() >= CHANCE_OF_MORE_MIN
                && added >= ADDED_MS_MIN.max(ADDED_PART_MIN * usual);
            is_slower.then_some((operation, added))
        });
        slower.collect()
    }

    /// Says what a service that takes longer by itself spends that on.
    fn slow(&self, service: &str, share: f64) -> Option<Cause> {
        if share < SHARE_MIN {
            return None;
        }
        let own = self.own(service);
        let slower: Vec<(&Operation, f64)> =
            self.slower_operations().into_iter().filter(|(operation, _)| operation.service == service).collect();
        let top = slower.iter().max_by(|left, right| left.1.total_cmp(&right.1)).map(|(operation, _)| *operation);
        let times = top.and_then(|operation| self.traces.operations.get(operation));
        let profile = |kind: &str| functions::difference(&self.telemetry.profiles, service, kind, self.contrast);
        // Few slow requests vary by much: spans may be sure of what the sum of all is not, and its parts may be as well.
        let whole = own.map(Added::difference).filter(|added| *added > 0.0);
        // Of the service's own added time.
        let part_of = |vital: Vital, profile: Option<&ProfileDifference>| -> f64 {
            let by_metric = self.part(service, vital).filter(|part| part.is_sure()).map(Added::difference);
            let by_profile =
                profile.map(|profile| profile.added() / NANOSECONDS_PER_SECOND).filter(|added| *added > 0.0);
            let part = by_metric.or(if self.vitals.get(service, vital).is_some() { None } else { by_profile });
            part.zip(whole).map_or(0.0, |(part, whole)| (part / whole).min(1.0))
        };
        let of_database = {
            let all: f64 = slower.iter().map(|(_, added)| added).sum();
            let database: f64 =
                slower.iter().filter(|(operation, _)| operation.kind == Kind::Database).map(|(_, added)| added).sum();
            part_of(Vital::Database, None).max(if all > 0.0 { database / all } else { 0.0 })
        };
        let (processor, locks) = (profile("cpu"), profile("mutex"));
        let of_processor = part_of(Vital::Processor, processor.as_ref());
        let of_locks = part_of(Vital::Locks, locks.as_ref());
        let of_pools = part_of(Vital::Pools, None);
        let of_collector = part_of(Vital::Collector, None);
        let of_throttling = part_of(Vital::Throttled, None);
        let allocates =
            self.part(service, Vital::Allocated).is_some_and(|part| part.faulty >= ALLOCATED_RATIO * part.healthy);
        let (lines_before, lines_now) = self.templates.rates(service);
        let load = load_ratio(self.vitals, service, self.contrast);
        let is_storm =
            lines_now >= storm::RATIO_MIN * lines_before * load && lines_now - lines_before * load >= storm::LINES_MIN;
        let is_unanswered = top.is_some_and(|operation| operation.kind == Kind::Unanswered);
        let (kind, explained) = if allocates && of_collector >= COLLECTOR_PART_MIN {
            (CauseKind::Gc, (of_processor.max(of_collector)).min(1.0))
        } else if of_database >= MAIN_PART {
            (CauseKind::SlowQuery, of_database)
        } else if of_locks >= PART_MIN {
            (CauseKind::Lock, of_locks)
        } else if of_pools >= PART_MIN {
            (CauseKind::Pool, of_pools)
        } else if is_storm {
            // Slow requests are logged as well: only where nothing waits are the lines the cause.
            (CauseKind::LogStorm, 1.0)
        } else if of_processor >= MAIN_PART || of_throttling >= PART_MIN {
            (CauseKind::Cpu, of_processor.max(of_throttling))
        } else if is_unanswered && times.is_some_and(|times| times.timed_out) {
            (CauseKind::Timeout, 1.0)
        } else if of_processor.max(of_locks).max(of_pools) >= SMALL_PART {
            // On a host that is busy the time is longer than what the processor was at work for.
            let parts = [(CauseKind::Cpu, of_processor), (CauseKind::Lock, of_locks), (CauseKind::Pool, of_pools)];
            let most = parts.into_iter().max_by(|left, right| left.1.total_cmp(&right.1));
            most.unwrap_or((CauseKind::SlowDependency, 0.0))
        } else {
            (CauseKind::SlowDependency, 1.0 - of_processor.max(of_locks).max(of_pools))
        };
        let shown = match kind {
            CauseKind::Lock => locks,
            CauseKind::Pool => profile("block"),
            CauseKind::Gc => profile("alloc_space"),
            CauseKind::Cpu | CauseKind::SlowQuery | CauseKind::LogStorm => processor,
            _ => None,
        };
        let function = shown.as_ref().and_then(|shown| shown.function()).map(|function| function.name.clone());
        let mut clues = Vec::new();
        clues.extend(own.map(|own| self.own_clue(service, own)));
        clues.extend(vitals_shown(kind).iter().filter_map(|vital| self.vital_clue(service, *vital)));
        clues.extend(top.zip(times).map(|(operation, times)| span_clue(operation, times)));
        clues.extend(times.into_iter().flat_map(trace_clues));
        clues.extend(shown.as_ref().and_then(|shown| profile_clue(service, shown)));
        if kind == CauseKind::Cpu {
            clues.extend(function.as_deref().and_then(|function| self.span_profile_clue(service, function)));
        }
        clues.extend(self.log_clues(service));
        let place = top.map_or(String::new(), |operation| format!(" in {}", operation.name));
        let what = sentence(service, kind, &place, function.as_deref(), times);
        Some(Cause {
            service: service.to_owned(),
            kind,
            share,
            explained,
            what,
            endpoint: times.and_then(|times| times.endpoint.clone()),
            function,
            span: top.map(|operation| operation.name.clone()),
            clues,
            refuted_by: refutation(kind).to_owned(),
        })
    }

    /// Says which part of what the slow requests themselves burned is of a function.
    fn span_profile_clue(&self, service: &str, function: &str) -> Option<Clue> {
        let shared = |profile: &Profile| {
            Window { from: profile.from, until: profile.until }.shared_seconds(self.contrast.faulty)
        };
        let of_service = self.telemetry.span_profiles.iter().filter(|profile| profile.service == service);
        let nearest = of_service.max_by(|left, right| shared(left).total_cmp(&shared(right)));
        span_profile_clue(nearest.filter(|profile| shared(profile) > 0.0)?, function)
    }

    /// Says what a service that waits, for locks, a pool or the processor, waits for and where.
    pub fn waits(&self, service: &str, vital: Vital) -> Cause {
        let (kind, profile) = match vital {
            Vital::Locks => (CauseKind::Lock, "mutex"),
            Vital::Pools => (CauseKind::Pool, "block"),
            _ => (CauseKind::Cpu, "cpu"),
        };
        let added = |times: &OperationTimes| times.mean_added_ms();
        let of_service = self.traces.operations.iter().filter(|(operation, times)| {
            operation.service == service && times.healthy_ms.len() >= TRACES_MIN && times.faulty_ms.len() >= TRACES_MIN
        });
        let top = of_service
            .max_by(|left, right| added(left.1).total_cmp(&added(right.1)))
            .filter(|top| added(top.1) > ADDED_MS_MIN);
        let shown = functions::difference(&self.telemetry.profiles, service, profile, self.contrast);
        let function = shown.as_ref().and_then(|shown| shown.function()).map(|function| function.name.clone());
        let mut clues: Vec<Clue> = self.vital_clue(service, vital).into_iter().collect();
        clues.extend(top.map(|(operation, times)| span_clue(operation, times)));
        clues.extend(top.into_iter().flat_map(|(_, times)| trace_clues(times)));
        clues.extend(shown.as_ref().and_then(|shown| profile_clue(service, shown)));
        let place = top.map_or(String::new(), |(operation, _)| format!(" in {}", operation.name));
        let times = top.map(|(_, times)| times);
        Cause {
            service: service.to_owned(),
            kind,
            share: 1.0,
            explained: 1.0,
            what: sentence(service, kind, &place, function.as_deref(), times),
            endpoint: times.and_then(|times| times.endpoint.clone()),
            function,
            span: top.map(|(operation, _)| operation.name.clone()),
            clues,
            refuted_by: refutation(kind).to_owned(),
        }
    }

    /// Returns calls that are waited for and not answered: their time is neither the caller's own nor the callee's.
    fn unanswered(&self) -> Vec<Cause> {
        let callees: BTreeSet<&String> = self.vitals.calls.keys().map(|(_, callee)| callee).collect();
        let mut found: Vec<(&str, &str, f64)> = Vec::new();
        let mut all: f64 = self
            .vitals
            .services()
            .into_iter()
            .filter_map(|service| self.own(service))
            .filter(|own| own.is_sure())
            .map(Added::difference)
            .sum();
        for callee in callees {
            let on_the_way =
                self.vitals.on_the_way(callee).and_then(|values| added(self.vitals, &values, self.contrast, 1.0));
            let is_longer = |way: &Added| way.is_sure() && way.faulty >= WAY_RATIO_MIN * way.healthy;
            let Some(lost) = on_the_way.filter(is_longer) else { continue };
            let of_caller = |(edge, values): (&(String, String), &Vec<f64>)| {
                let more = added(self.vitals, values, self.contrast, 1.0)?;
                (edge.1 == *callee).then_some((edge.0.clone(), more.difference()))
            };
            let most = self.vitals.calls.iter().filter_map(of_caller).max_by(|left, right| left.1.total_cmp(&right.1));
            let Some((caller, _)) = most else { continue };
            let Some(caller) = self.vitals.services().into_iter().find(|service| *service == caller) else { continue };
            all += lost.difference();
            found.push((caller, callee.as_str(), lost.difference()));
        }
        found
            .into_iter()
            .filter(|(_, _, lost)| *lost >= SHARE_MIN * all)
            .map(|(caller, callee, lost)| self.lost(caller, callee, lost / all))
            .collect()
    }

    fn lost(&self, caller: &str, callee: &str, share: f64) -> Cause {
        let is_its = |operation: &Operation| operation.service == caller && operation.kind == Kind::Unanswered;
        let top = self
            .traces
            .operations
            .iter()
            .filter(|(operation, times)| is_its(operation) && !times.faulty_ms.is_empty())
            .max_by(|left, right| mean(&left.1.faulty_ms).total_cmp(&mean(&right.1.faulty_ms)));
        let fails = self.part(caller, Vital::Failed).is_some_and(Added::is_sure);
        let timed_out = top.is_some_and(|(_, times)| times.timed_out);
        let kind = if timed_out || fails { CauseKind::Timeout } else { CauseKind::Network };
        let mut clues: Vec<Clue> = Vec::new();
        let way = self
            .vitals
            .on_the_way(callee)
            .and_then(|values| Some((added(self.vitals, &values, self.contrast, 1.0)?, values)));
        clues.extend(way.map(|(added, values)| {
            self.clue(
                callee,
                "time in which callers wait for it and it does not answer",
                "s/s",
                &self.source(caller, Vital::Calling),
                added,
                &values,
            )
        }));
        clues.extend(self.failure_clues(caller, top));
        let what = match kind {
            CauseKind::Timeout => format!("calls from {caller} to {callee} are not answered before their deadline"),
            _ => format!("calls from {caller} to {callee} take longer on the way than {callee} takes to answer"),
        };
        Cause {
            service: if kind == CauseKind::Timeout { caller } else { callee }.to_owned(),
            kind,
            share,
            explained: 1.0,
            what,
            endpoint: top.and_then(|(_, times)| times.endpoint.clone()),
            function: None,
            span: top.map(|(operation, _)| operation.name.clone()),
            clues,
            refuted_by: refutation(kind).to_owned(),
        }
    }

    /// Returns the services that fail more than before, and whose callees do not.
    fn failing_origins(&self) -> Vec<(&str, f64)> {
        let more =
            |service: &str| self.part(service, Vital::Failed).filter(|added| added.is_sure()).map(Added::difference);
        let failing: Vec<(&str, f64)> =
            self.vitals.services().into_iter().filter_map(|service| Some((service, more(service)?))).collect();
        let calls_failing = |service: &str| {
            let callees =
                self.vitals.calls.keys().filter(|(caller, _)| caller == service).map(|(_, callee)| callee.as_str());
            callees.into_iter().any(|callee| failing.iter().any(|(other, _)| *other == callee))
        };
        failing.iter().filter(|(service, _)| !calls_failing(service)).copied().collect()
    }

    fn failing(&self, service: &str, share: f64) -> Cause {
        let top = self
            .traces
            .operations
            .iter()
            .filter(|(operation, times)| operation.service == service && times.errors_faulty > 0)
            .max_by_key(|(_, times)| times.errors_faulty);
        let timed_out = top.is_some_and(|(_, times)| times.timed_out);
        let kind = if timed_out { CauseKind::Timeout } else { CauseKind::Errors };
        let logs = self.log_clues(service);
        let said = top.and_then(|(_, times)| times.error_message.clone()).or_else(|| match logs.first() {
            Some(Clue::Log { template, .. }) => Some(template.clone()),
            _ => None,
        });
        let place = top.map_or(String::new(), |(operation, _)| format!(" in {}", operation.name));
        let said = said.map_or(String::new(), |said| format!(": {said}"));
        let what = match kind {
            CauseKind::Timeout => format!("calls of {service}{place} are not answered before their deadline{said}"),
            _ => format!("{service} fails by itself{place}{said}"),
        };
        Cause {
            service: service.to_owned(),
            kind,
            share,
            explained: 1.0,
            what,
            endpoint: top.and_then(|(_, times)| times.endpoint.clone()),
            function: None,
            span: top.map(|(operation, _)| operation.name.clone()),
            clues: self.failure_clues(service, top),
            refuted_by: refutation(kind).to_owned(),
        }
    }

    /// What shows that a service fails: how often, in which operation, in which traces, with which words.
    fn failure_clues(&self, service: &str, top: Option<(&Operation, &OperationTimes)>) -> Vec<Clue> {
        let mut clues: Vec<Clue> = self.vital_clue(service, Vital::Failed).into_iter().collect();
        clues.extend(top.map(|(operation, times)| span_clue(operation, times)));
        clues.extend(top.into_iter().flat_map(|(_, times)| trace_clues(times)));
        clues.extend(self.log_clues(service));
        clues
    }

    fn source(&self, service: &str, vital: Vital) -> String {
        self.vitals.sources.get(&(service.to_owned(), vital)).cloned().unwrap_or_default()
    }

    fn own_clue(&self, service: &str, own: Added) -> Clue {
        let values = self.vitals.own(service).unwrap_or_default();
        self.clue(
            service,
            "time in requests, without calls to other services",
            "s/s",
            &self.source(service, Vital::Answering),
            own,
            &values,
        )
    }

    pub fn vital_clue(&self, service: &str, vital: Vital) -> Option<Clue> {
        let added = self.part(service, vital)?;
        let values = self.vitals.get(service, vital)?;
        let is_more = added.difference() > account::SURE * added.standard_error;
        is_more.then(|| self.clue(service, vital.name(), vital.unit(), &self.source(service, vital), added, values))
    }

    fn clue(&self, service: &str, what: &str, unit: &str, metric: &str, added: Added, values: &[f64]) -> Clue {
        Clue::Metric {
            service: service.to_owned(),
            metric: metric.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            healthy: added.healthy,
            faulty: added.faulty,
            moved_at: account::onset(self.vitals, values, self.contrast, added).map(|step| self.vitals.time(step)),
            query: None,
        }
    }

    pub fn log_clues(&self, service: &str) -> Vec<Clue> {
        let risen = self.templates.risen(service);
        let clue = |template: &&super::logs::Template| Clue::Log {
            service: service.to_owned(),
            level: template.level.clone(),
            template: template.text(),
            healthy_per_second: self.templates.rate_healthy(template),
            faulty_per_second: self.templates.rate_faulty(template),
            example: template.example.clone(),
            query: self.telemetry.log_query.clone(),
        };
        risen.iter().take(TEMPLATES_NAMED).map(clue).collect()
    }
}

const NANOSECONDS_PER_SECOND: f64 = 1e9;

fn sorted(mut causes: Vec<Cause>) -> Vec<Cause> {
    causes.retain(|cause| cause.share >= SHARE_MIN);
    causes.sort_by(|left, right| right.share.total_cmp(&left.share));
    causes
}

/// Returns the part of each in the sum of those above 0.
fn shares(added: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (service, added) in added.filter(|(_, added)| *added > 0.0) {
        *sums.entry(service).or_default() += added;
    }
    let all: f64 = sums.values().sum();
    sums.values_mut().for_each(|share| *share /= all);
    sums
}
