//! The vital signs of each service from the metrics that are common: time that requests spent in it, and what it spent it on.
//!
//! All times are in seconds per second, so that they add up: the time of the requests that a service answers, less the time of the
//! calls that it waits for, is its own; its processor, its locks, its pools and its database are parts of that. Names are those of
//! the conventions of OpenTelemetry and of Prometheus' client libraries.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::telemetry::{CountedBy, MetricSeries, increase};
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

use super::contrast::Window;

/// Labels that name the service that is called, most specific first.
const PEER_LABELS: [&str; 5] = ["service_peer_name", "peer_service", "server_address", "upstream", "target"];
/// More steps than a chart has pixels say nothing more.
const STEPS_MAX: usize = 720;
const STEP_SECONDS_MIN: f64 = 1.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vital {
    /// Of the requests that a service answers, seconds a second.
    Answering,
    /// Of the calls that it makes, seconds a second.
    Calling,
    Processor,
    /// Waiting for locks.
    Locks,
    /// Waiting for a connection of a pool.
    Pools,
    Database,
    /// Collecting garbage.
    Collector,
    /// Kept from the processor by a limit.
    Throttled,
    /// Bytes.
    Memory,
    /// Bytes a second.
    Allocated,
    /// Requests a second, and those of them that failed on the server's side.
    Requests,
    Failed,
    /// Requests that wait to be taken up.
    Queue,
    /// What a process holds, as counts.
    Goroutines,
    Threads,
    Handles,
    Connections,
}

impl Vital {
    pub fn name(self) -> &'static str {
        match self {
            Vital::Answering => "time in requests",
            Vital::Calling => "time in calls",
            Vital::Processor => "processor time",
            Vital::Locks => "waiting for locks",
            Vital::Pools => "waiting for connections",
            Vital::Database => "time in the database",
            Vital::Collector => "garbage collection",
            Vital::Throttled => "throttled by the processor limit",
            Vital::Memory => "memory",
            Vital::Allocated => "allocated",
            Vital::Requests => "requests",
            Vital::Failed => "failed requests",
            Vital::Queue => "requests in the queue",
            Vital::Goroutines => "goroutines",
            Vital::Threads => "threads",
            Vital::Handles => "open files",
            Vital::Connections => "open connections",
        }
    }

    /// Says whether there is more of it where there are more requests.
    pub fn follows_load(self) -> bool {
        use Vital::{Connections, Goroutines, Handles, Memory, Queue, Requests, Threads};
        !matches!(self, Requests | Memory | Queue | Goroutines | Threads | Handles | Connections)
    }

    pub fn unit(self) -> &'static str {
        match self {
            Vital::Memory => "bytes",
            Vital::Allocated => "bytes/s",
            Vital::Requests | Vital::Failed => "1/s",
            Vital::Queue => "requests",
            Vital::Goroutines | Vital::Threads | Vital::Handles | Vital::Connections => "",
            _ => "s/s",
        }
    }
}

/// Says whether a metric of that name is read at all.
pub fn is_vital(name: &str) -> bool {
    !vitals_of(name, &BTreeMap::new()).is_empty()
}

/// Which vital signs a metric is of, and the factor to their unit.
fn vitals_of(name: &str, labels: &BTreeMap<String, String>) -> Vec<(Vital, f64)> {
    let is_sum = name.ends_with("_sum");
    let scale = if name.contains("milliseconds") { 1e-3 } else { 1.0 };
    let has = |part: &str| name.contains(part);
    let is_time = (has("duration") || has("latency")) && is_sum;
    let is_database = name.starts_with("db_") || has("_db_") || has("sql_");
    match name {
        "process_cpu_seconds_total" | "container_cpu_usage_seconds_total" | "process_cpu_time_seconds_total" => {
            vec![(Vital::Processor, 1.0)]
        }
        "container_cpu_cfs_throttled_seconds_total" => vec![(Vital::Throttled, 1.0)],
        "pyroscope:process_cpu_cpu_seconds_total" => vec![(Vital::Processor, 1.0)],
        "go_sync_mutex_wait_total_seconds_total" | "pyroscope:mutex_delay_seconds_total" => vec![(Vital::Locks, 1.0)],
        "go_cpu_classes_gc_total_cpu_seconds_total" | "jvm_gc_duration_seconds_sum" | "jvm_gc_pause_seconds_sum" => {
            vec![(Vital::Collector, 1.0)]
        }
        "process_resident_memory_bytes" | "container_memory_working_set_bytes" | "pyroscope:inuse_space_bytes" => {
            vec![(Vital::Memory, 1.0)]
        }
        "go_memstats_alloc_bytes_total"
        | "jvm_gc_memory_allocated_bytes_total"
        | "pyroscope:alloc_space_bytes_total" => {
            vec![(Vital::Allocated, 1.0)]
        }
        "go_goroutines" | "pyroscope:goroutines_goroutine" => vec![(Vital::Goroutines, 1.0)],
        "process_threads" | "jvm_threads_live_threads" | "jvm_threads_current" | "jvm_thread_count" => {
            vec![(Vital::Threads, 1.0)]
        }
        "process_open_fds" | "process_files_open_files" => vec![(Vital::Handles, 1.0)],
        "go_sql_open_connections" | "hikaricp_connections_active" | "db_client_connections_usage" => {
            vec![(Vital::Connections, 1.0)]
        }
        "http_server_queue_length" => vec![(Vital::Queue, 1.0)],
        _ if is_sum && (has("pool_wait") || has("connection_wait") || has("connections_acquire")) => {
            vec![(Vital::Pools, scale)]
        }
        "go_sql_wait_duration_seconds_total" => vec![(Vital::Pools, 1.0)],
        _ if is_time && is_database => vec![(Vital::Database, scale)],
        _ if is_time && has("client") && !has("sched") => vec![(Vital::Calling, scale)],
        _ if is_time && (has("server") || has("http_request")) => vec![(Vital::Answering, scale)],
        _ if name.ends_with("_count")
            && has("duration")
            && !is_database
            && !has("client")
            && (has("server") || has("http_request")) =>
        {
            let mut vitals = vec![(Vital::Requests, 1.0)];
            let status = ["http_response_status_code", "code", "status", "status_code"];
            let status = status.iter().find_map(|label| labels.get(*label));
            // Of spans, the status is that of the operation.
            if status.is_some_and(|status| status.starts_with('5') || status == "error") {
                vitals.push((Vital::Failed, 1.0));
            }
            vitals
        }
        _ => Vec::new(),
    }
}

/// The vital signs of all services, on one grid of steps.
#[derive(Debug, Clone)]
pub struct Vitals {
    pub start: Timestamp,
    pub step_seconds: f64,
    pub steps_count: usize,
    /// By service and sign: one value a step, summed over instances and labels; NaN where it is not known.
    pub of_service: BTreeMap<(String, Vital), Vec<f64>>,
    /// By caller and callee: seconds a second.
    pub calls: BTreeMap<(String, String), Vec<f64>>,
    /// The metrics that each sign was read from.
    pub sources: BTreeMap<(String, Vital), String>,
}

impl Vitals {
    fn empty(start: Timestamp, step_seconds: f64, steps_count: usize) -> Vitals {
        Vitals {
            start,
            step_seconds,
            steps_count,
            of_service: BTreeMap::new(),
            calls: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    pub fn of(metrics: &[MetricSeries], run: Window) -> Vitals {
        let distance = typical_distance(metrics).unwrap_or(STEP_SECONDS_MIN);
        let step_seconds = distance.max(STEP_SECONDS_MIN).max(run.seconds() / STEPS_MAX as f64);
        let steps_count = (run.seconds() / step_seconds) as usize;
        let mut vitals = Vitals::empty(run.from, step_seconds, steps_count);
        // A service's own metrics first: what servers of traces and profiles counted would be the same once more.
        let (elsewhere, own): (Vec<&MetricSeries>, Vec<&MetricSeries>) =
            metrics.iter().partition(|series| CountedBy::of(&series.name).is_some());
        let mut measured: BTreeSet<(String, Vital)> = BTreeSet::new();
        for (index, series) in own.iter().chain(&elsewhere).enumerate() {
            if index == own.len() {
                measured = vitals.of_service.keys().cloned().collect();
            }
            let Some(service) = series.service().map(str::to_owned) else { continue };
            let peer = PEER_LABELS.iter().find_map(|name| series.labels.get(*name));
            let signs = vitals_of(&series.name, &series.labels);
            for (vital, scale) in signs.into_iter().filter(|(vital, _)| !measured.contains(&(service.clone(), *vital)))
            {
                let values = vitals.on_grid(series, scale);
                let own = vitals.of_service.entry((service.clone(), vital)).or_default();
                add(own, &values);
                vitals.sources.entry((service.clone(), vital)).or_insert_with(|| series.name.clone());
                if let (Vital::Calling, Some(peer)) = (vital, peer) {
                    add(vitals.calls.entry((service.clone(), peer.clone())).or_default(), &values);
                }
            }
        }
        vitals
    }

    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = self.of_service.keys().map(|(service, _)| service.as_str()).collect();
        services.dedup();
        services
    }

    pub fn get(&self, service: &str, vital: Vital) -> Option<&[f64]> {
        self.of_service.get(&(service.to_owned(), vital)).map(Vec::as_slice)
    }

    /// Returns the time of a service's requests in which it waits for no other service; none where that is not known.
    pub fn own(&self, service: &str) -> Option<Vec<f64>> {
        let answering = self.get(service, Vital::Answering)?;
        let calling = self.get(service, Vital::Calling);
        let called = |step: usize| calling.and_then(|calling| calling.get(step)).copied().filter(|time| !time.is_nan());
        Some(answering.iter().enumerate().map(|(step, time)| time - called(step).unwrap_or(0.0)).collect())
    }

    /// Returns the time in which callers of a service wait for it and it does not answer: the network, or nothing.
    pub fn on_the_way(&self, callee: &str) -> Option<Vec<f64>> {
        let answering = self.get(callee, Vital::Answering)?;
        let mut waiting: Vec<f64> = Vec::new();
        self.calls.iter().filter(|((_, to), _)| to == callee).for_each(|(_, values)| add(&mut waiting, values));
        (!waiting.is_empty()).then(|| waiting.iter().zip(answering).map(|(waiting, own)| waiting - own).collect())
    }

    pub fn time(&self, step: usize) -> Timestamp {
        self.start.after_seconds(step as f64 * self.step_seconds)
    }

    /// Returns the values of the steps that lie wholly in a window.
    pub fn within<'v>(&'v self, values: &'v [f64], window: Window) -> impl Iterator<Item = f64> + 'v {
        let is_in = move |step: usize| window.has(self.time(step)) && self.time(step + 1) <= window.until;
        values.iter().enumerate().filter(move |(step, value)| is_in(*step) && !value.is_nan()).map(|(_, value)| *value)
    }

    /// Returns the values of a series a step, times `scale`; of one that counts up, its increase a second.
    pub fn on_grid(&self, series: &MetricSeries, scale: f64) -> Vec<f64> {
        let counts_up = series.counts_up();
        // Profiles are counted in longer steps than metrics are scraped: evenly within each, as far as is known.
        let distance = match &series.points[..] {
            [first, .., last] => last.0.seconds_since(first.0) / (series.points.len() - 1) as f64,
            _ => 0.0,
        };
        let is_coarse = counts_up && distance > COARSE_STEPS * self.step_seconds;
        let value = |time| match is_coarse {
            true => value_between(series, time),
            false => value_at(series, time, STALE_STEPS * self.step_seconds),
        };
        let edges: Vec<Option<f64>> = (0..=self.steps_count).map(|step| value(self.time(step))).collect();
        edges
            .windows(2)
            .map(|edge| match (edge[0], edge[1]) {
                (Some(before), Some(after)) if counts_up => scale * increase(before, after) / self.step_seconds,
                (_, Some(after)) if !counts_up => scale * after,
                // It came into being within the step: with all that it counted.
                (None, Some(after)) if counts_up && series.points.first().is_some_and(|first| self.start < first.0) => {
                    scale * after / self.step_seconds
                }
                _ => f64::NAN,
            })
            .collect()
    }
}

/// A series without a point for so many steps has ended: its process did, or it was of another run.
const STALE_STEPS: f64 = 10.0;

/// A counter whose points are farther apart than so many steps is not read point by point.
const COARSE_STEPS: f64 = 3.0;

/// Returns the value of a counter at a time between two of its points.
fn value_between(series: &MetricSeries, time: Timestamp) -> Option<f64> {
    let behind = series.points.partition_point(|(at, _)| *at < time);
    let (after_at, after) = *series.points.get(behind)?;
    if after_at == time {
        return Some(after);
    }
    let (before_at, before) = series.points[behind.checked_sub(1)?];
    let part = time.seconds_since(before_at) / after_at.seconds_since(before_at);
    // One that fell was started anew somewhere between.
    (after >= before).then_some(before + part * (after - before))
}

/// Returns the last value that was known at a time; none when it is older than `seconds_max`.
fn value_at(series: &MetricSeries, time: Timestamp, seconds_max: f64) -> Option<f64> {
    let behind = series.points.partition_point(|(at, _)| *at <= time);
    let (at, value) = series.points[behind.checked_sub(1)?];
    (time.seconds_since(at) <= seconds_max).then_some(value)
}

/// Adds values to a sum; what is not known on one side is that of the other.
pub fn add(sum: &mut Vec<f64>, values: &[f64]) {
    if sum.is_empty() {
        sum.extend(values);
        return;
    }
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = match (sum.is_nan(), value.is_nan()) {
            (true, _) => *value,
            (_, true) => *sum,
            _ => *sum + value,
        };
    }
}

/// Returns the seconds between scrapes: how often values change, not how often they were asked for.
fn typical_distance(metrics: &[MetricSeries]) -> Option<f64> {
    let of_series = |series: &MetricSeries| -> Option<f64> {
        let mut changes = series.points.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0);
        let (first, last) = (changes.next()?, changes.next_back()?);
        let count = series.points.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        Some((last.0 - first.0) as f64 / NANOSECONDS_PER_SECOND as f64 / (count - 1) as f64)
    };
    let mut distances: Vec<f64> = metrics.iter().filter_map(of_series).filter(|distance| *distance > 0.0).collect();
    distances.sort_unstable_by(f64::total_cmp);
    distances.get(distances.len() / 10).copied()
}

#[cfg(test)]
impl Vitals {
    /// One sign of a service named `a`, by second from 0 on.
    pub fn of_values(vital: Vital, values: Vec<f64>) -> Vitals {
        let mut vitals = Vitals::empty(Timestamp(0), 1.0, values.len());
        vitals.of_service.insert(("a".to_owned(), vital), values);
        vitals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &[(&str, &str)], points: &[(i64, f64)]) -> MetricSeries {
        MetricSeries {
            name: name.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            points: points.iter().map(|(second, value)| (Timestamp(second * NANOSECONDS_PER_SECOND), *value)).collect(),
            is_counter: None,
        }
    }

    fn run() -> Window {
        Window { from: Timestamp(0), until: Timestamp(5 * NANOSECONDS_PER_SECOND) }
    }

    #[test]
    fn what_servers_of_traces_and_profiles_counted_is_used_where_nothing_else_is_known() {
        let all = [
            series("tempo:server_duration_seconds_sum", &[("service_name", "a")], &[(0, 0.0), (4, 8.0)]),
            series("tempo:client_duration_seconds_sum", &[("service_name", "a")], &[(0, 0.0), (4, 4.0)]),
            series("pyroscope:process_cpu_cpu_seconds_total", &[("service_name", "a")], &[(0, 0.0), (4, 2.0)]),
            series("process_cpu_seconds_total", &[("service", "a")], &[(0, 0.0), (2, 2.0), (4, 4.0)]),
        ];
        let mean = |vitals: &Vitals, vital: Vital| {
            let values: Vec<f64> = vitals.within(vitals.get("a", vital).unwrap(), run()).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let vitals = Vitals::of(&all, run());
        assert_eq!(
            [Vital::Answering, Vital::Calling, Vital::Processor].map(|vital| mean(&vitals, vital)),
            [2.0, 1.0, 1.0]
        );
        assert_eq!(vitals.sources[&("a".to_owned(), Vital::Processor)], "process_cpu_seconds_total");
        assert_eq!(mean(&Vitals::of(&all[..3], run()), Vital::Processor), 0.5);
    }

    #[test]
    fn counters_become_rates_and_what_was_called_is_not_its_own() {
        let server = series(
            "http_server_request_duration_seconds_sum",
            &[("service", "cart")],
            &[(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 0.5), (5, 1.0)],
        );
        let client = series(
            "http_client_request_duration_seconds_sum",
            &[("service", "cart"), ("service_peer_name", "stock")],
            &[(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0), (5, 1.25)],
        );
        let stock = series(
            "http_server_request_duration_seconds_sum",
            &[("service", "stock")],
            &[(0, 0.0), (1, 0.2), (2, 0.4), (3, 0.6), (4, 0.8), (5, 1.0)],
        );
        let vitals = Vitals::of(&[server, client, stock], run());
        assert_eq!(vitals.step_seconds, 1.0);
        assert_eq!(vitals.get("cart", Vital::Answering).unwrap(), [1.0, 1.0, 2.0, 0.5, 0.5]);
        assert_eq!(vitals.own("cart").unwrap(), [0.75, 0.75, 1.75, 0.25, 0.25]);
        let on_the_way = vitals.on_the_way("stock").unwrap();
        assert!(on_the_way.iter().all(|time| (time - 0.05).abs() < 1e-9), "{on_the_way:?}");
        assert_eq!(vitals.services(), ["cart", "stock"]);
        assert_eq!(vitals.within(vitals.get("cart", Vital::Answering).unwrap(), run()).sum::<f64>(), 5.0);
    }

    #[test]
    fn gauges_stay_and_strangers_are_left_out() {
        let memory = series("process_resident_memory_bytes", &[("job", "a")], &[(1, 5.0), (3, 7.0)]);
        let odd = series("anything_else", &[("job", "a")], &[(1, 5.0)]);
        let nameless = series("process_resident_memory_bytes", &[], &[(1, 5.0)]);
        let vitals = Vitals::of(&[memory, odd, nameless], run());
        assert_eq!(vitals.of_service.len(), 1);
        let values = vitals.get("a", Vital::Memory).unwrap();
        assert_eq!(
            values.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<f64>>(),
            [5.0, 5.0, 7.0, 7.0, 7.0]
        );
        assert!(Vitals::of(&[], run()).services().is_empty());
    }
}
