//! A stream's own figures, as Prometheus reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::stream::counters::Counters;

/// Reads the counters when it is asked.
#[derive(Debug)]
struct Stream(Arc<Counters>);

impl Collector for Stream {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let counters = &*self.0;
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (commit_seconds, last_commit_seconds) = counters.commit_seconds();
        let counts = [
            ("messages", "Records read from the topic", number(&counters.messages_count)),
            ("payload_bytes", "Bytes of their payloads", number(&counters.bytes_count)),
            ("rejected_messages", "Records that are none of k6's", number(&counters.rejected_messages_count)),
            (
                "lost_messages",
                "Records that the broker deleted, or that cannot be read",
                number(&counters.lost_messages_count),
            ),
            (
                "repeated_lines",
                "Lines that had come before, known when a run ends",
                number(&counters.repeated_lines_count),
            ),
            ("samples", "Samples judged", number(&counters.samples_count)),
            ("rejected_lines", "Lines that are none of k6's", number(&counters.rejected_lines_count)),
            (
                "late_windows",
                "Windows opened again by samples that came too late",
                number(&counters.late_windows_count),
            ),
            ("commits", "Segments kept in the store", number(&counters.commits_count)),
            (
                "failed_commits",
                "Segments that could not be kept at the first try",
                number(&counters.failed_commits_count),
            ),
            ("reports", "Runs reported", number(&counters.reports_count)),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(
                &format!("tidemark_stream_{name}"),
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let seconds = ConstCounter::new(commit_seconds);
        let help = "How long keeping the segments took together";
        seconds.encode(encoder.encode_descriptor(
            "tidemark_stream_commit",
            help,
            Some(&Unit::Seconds),
            seconds.metric_type(),
        )?)?;
        let gauges = [
            ("tidemark_stream_last_commit_seconds", "How long keeping the last segment took", last_commit_seconds),
            ("tidemark_stream_open_runs", "Runs that are not reported yet", number(&counters.open_runs_count) as f64),
            (
                "tidemark_stream_open_windows",
                "Windows that wait for late samples",
                number(&counters.open_windows_count) as f64,
            ),
            ("tidemark_stream_partitions", "Partitions of this instance", counters.reach().len() as f64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let lag = ConstGauge::new(0u64);
        let help = "Records that the broker has and that are not read yet";
        let mut family = encoder.encode_descriptor("tidemark_stream_lag_messages", help, None, lag.metric_type())?;
        for (partition, count) in counters.lag_by_partition() {
            let labels = [("partition", partition.to_string())];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        let said = ConstCounter::new(0u64);
        let help = "Messages about findings";
        let mut family = encoder.encode_descriptor("tidemark_stream_findings", help, None, said.metric_type())?;
        for (event, count) in locked(&counters.findings).iter() {
            ConstCounter::new(*count).encode(family.encode_family(&[("event", *event)])?)?;
        }
        let help = "Findings of runs under way that are told and not over";
        let mut family = encoder.encode_descriptor("tidemark_stream_open_findings", help, None, lag.metric_type())?;
        for (severity, count) in locked(&counters.open_findings).iter() {
            ConstGauge::new(*count).encode(family.encode_family(&[("severity", severity.name())])?)?;
        }
        if let Some(bytes) = resident_bytes() {
            let memory = ConstGauge::new(bytes);
            let name = "process_resident_memory_bytes";
            memory.encode(encoder.encode_descriptor(name, "Memory of this process", None, memory.metric_type())?)?;
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the figures in OpenMetrics' text format.
pub fn text(counters: &Arc<Counters>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Stream(counters.clone())));
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// Returns the memory of this process; none where the system does not tell. Linux: `/proc/self/status`, proc(5).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let kilobytes: u64 = fields.get("VmRSS")?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_there_with_its_type() {
        let counters = Arc::new(Counters::default());
        counters.messages_count.store(7, Ordering::Relaxed);
        counters.lag.lock().unwrap().extend([(0, 5), (3, 0)]);
        let text = text(&counters);
        for line in [
            "# TYPE tidemark_stream_messages counter",
            "tidemark_stream_messages_total 7",
            "tidemark_stream_lag_messages{partition=\"0\"} 5",
            "tidemark_stream_lag_messages{partition=\"3\"} 0",
            "tidemark_stream_commit_seconds_total 0.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|written| written == line), "{line:?} in\n{text}");
        }
    }
}
