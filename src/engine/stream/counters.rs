//! What a stream has done so far, and where it stands: for whoever watches the service.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::ingest::kafka::consume::High;
use crate::model::finding::Severity;

/// Rejected records that the log names; all are counted.
const REJECTIONS_LOGGED_MAX: u64 = 100;

/// How far each partition of an instance was read: all that the broker had at that time is kept. None: less than it had when
/// the partition was given to it.
pub type Reach = BTreeMap<i32, Option<Instant>>;

/// Shared between all threads of a stream.
#[derive(Debug, Default)]
pub struct Counters {
    pub is_joined: AtomicBool,
    /// Of the topic; 0 before it is joined.
    pub partitions_count: AtomicUsize,
    pub messages_count: AtomicU64,
    /// Of payloads.
    pub bytes_count: AtomicU64,
    pub rejected_messages_count: AtomicU64,
    /// That the broker deleted, or that cannot be read.
    pub lost_messages_count: AtomicU64,
    /// Lines that had come before.
    pub repeated_lines_count: AtomicU64,
    pub commits_count: AtomicU64,
    pub failed_commits_count: AtomicU64,
    commit_nanoseconds_sum: AtomicU64,
    commit_nanoseconds_last: AtomicU64,
    pub reports_count: AtomicU64,
    pub samples_count: AtomicU64,
    pub rejected_lines_count: AtomicU64,
    pub late_windows_count: AtomicU64,
    pub open_windows_count: AtomicU64,
    pub open_runs_count: AtomicU64,
    /// Messages about findings, by what they say.
    pub findings: Mutex<BTreeMap<&'static str, u64>>,
    /// Findings of runs under way that are told and not over, by severity.
    pub open_findings: Mutex<BTreeMap<Severity, u64>>,
    /// The partitions of this instance.
    pub reach: Mutex<Reach>,
    /// What the broker had of the other partitions, as last heard; 0 where it had nothing that can be read.
    pub others: Mutex<BTreeMap<i32, High>>,
    /// Somebody waits to hear it.
    pub are_others_wanted: AtomicBool,
    /// Messages that are not read yet, by partition.
    pub lag: Mutex<BTreeMap<i32, u64>>,
}

impl Counters {
    /// Counts a record that cannot be used; `log`: called for the first ones.
    pub fn reject(&self, log: impl FnOnce()) {
        if self.rejected_messages_count.fetch_add(1, Ordering::Relaxed) < REJECTIONS_LOGGED_MAX {
            log();
        }
    }

    pub fn note_commit(&self, took: Duration) {
        let nanoseconds = took.as_nanos().min(u128::from(u64::MAX)) as u64;
        self.commit_nanoseconds_sum.fetch_add(nanoseconds, Ordering::Relaxed);
        self.commit_nanoseconds_last.store(nanoseconds, Ordering::Relaxed);
    }

    /// Returns how long keeping took: the sum over all commits, and the last one.
    pub fn commit_seconds(&self) -> (f64, f64) {
        let seconds = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 1e9;
        (seconds(&self.commit_nanoseconds_sum), seconds(&self.commit_nanoseconds_last))
    }

    pub fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count_finding(&self, said: &'static str) {
        *self.findings.lock().unwrap_or_else(PoisonError::into_inner).entry(said).or_default() += 1;
    }

    pub fn lag_by_partition(&self) -> BTreeMap<i32, u64> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
