//! How far a topic was read: our partitions by what was noted when they were read, those of other instances by the journal.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::store::journal::SegmentName;

use super::counters::{Counters, Reach};

/// Partitions of others are waited for so long: an instance that died is noticed, and another reads on. Positions do not tell
/// all: behind the last message that is of use there may be some that are not.
const UNREAD_AWAITED: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Progress {
    /// Of our partitions: what is kept by it is known here.
    pub reach: Reach,
    /// When a partition of ours came or went last.
    pub owned_since: Instant,
    /// When a segment came last.
    pub latest: Instant,
    /// By partition, where the segments that are known end: epoch and offset.
    kept: BTreeMap<i32, (u32, i64)>,
}

impl Progress {
    pub fn new() -> Progress {
        let now = Instant::now();
        Progress { reach: Reach::new(), owned_since: now, latest: now, kept: BTreeMap::new() }
    }

    pub fn note_reach(&mut self, reach: Reach) {
        if !reach.keys().eq(self.reach.keys()) {
            self.owned_since = Instant::now();
        }
        self.reach = reach;
    }

    pub fn note_segment(&mut self, name: &SegmentName, next_offset: i64) {
        self.latest = Instant::now();
        let kept = self.kept.entry(name.partition).or_default();
        *kept = (*kept).max((name.epoch, next_offset));
    }

    pub fn owns(&self, partition: i32) -> bool {
        self.reach.contains_key(&partition)
    }

    /// Says whether all that the topic had then is known here. Wants to know what it has where that is not known yet.
    pub fn is_read_until(&self, then: Instant, counters: &Counters) -> bool {
        if self.reach.is_empty() || self.reach.values().any(|until| *until < Some(then)) {
            return false;
        }
        let partitions = 0..counters.partitions_count.load(Ordering::Relaxed) as i32;
        let others: Vec<i32> = partitions.filter(|partition| !self.owns(*partition)).collect();
        if then.elapsed() >= UNREAD_AWAITED {
            return true;
        }
        let heard = counters.others.lock().unwrap_or_else(PoisonError::into_inner);
        let high = |partition: &i32| heard.get(partition).filter(|high| high.heard >= then);
        if others.iter().any(|partition| high(partition).is_none()) {
            counters.are_others_wanted.store(true, Ordering::Relaxed);
            return false;
        }
        let kept = |partition: &i32| self.kept.get(partition).map_or(0, |(_, offset)| *offset);
        others.iter().all(|partition| high(partition).is_some_and(|high| high.offset <= kept(partition)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::kafka::consume::High;

    fn of_two_partitions() -> (Counters, Progress) {
        let counters = Counters::default();
        counters.partitions_count.store(2, Ordering::Relaxed);
        (counters, Progress::new())
    }

    #[test]
    fn partitions_of_others_count_by_what_the_journal_has_of_them() {
        let (counters, mut progress) = of_two_partitions();
        let then = Instant::now();
        assert!(!progress.is_read_until(then, &counters), "nothing is ours");
        progress.note_reach(Reach::from([(0, Some(then)), (1, None)]));
        assert!(!progress.is_read_until(then, &counters), "of one of ours there is more");
        progress.note_reach(Reach::from([(0, Some(then)), (1, Some(then))]));
        assert!(progress.is_read_until(then, &counters));
        // The second one is another's now, or nobody's.
        progress.note_reach(Reach::from([(0, Some(then))]));
        assert!(!counters.are_others_wanted.load(Ordering::Relaxed));
        assert!(!progress.is_read_until(then, &counters));
        assert!(counters.are_others_wanted.swap(false, Ordering::Relaxed));
        counters.others.lock().unwrap().insert(1, High { offset: 7, heard: Instant::now() });
        let name = SegmentName { topic: "k6".to_owned(), partition: 1, epoch: 0, first_offset: 0 };
        for (next_offset, expected) in [(5, false), (7, true)] {
            progress.note_segment(&name, next_offset);
            assert_eq!(progress.is_read_until(then, &counters), expected, "up to {next_offset}");
        }
        // What the broker had is known: to ask again would be to run after it.
        assert!(!counters.are_others_wanted.load(Ordering::Relaxed));
    }

    #[test]
    fn partitions_of_others_are_not_waited_for_for_ever() {
        let (counters, mut progress) = of_two_partitions();
        let now = Instant::now();
        progress.note_reach(Reach::from([(0, Some(now))]));
        let before =
            |seconds: u64| now.checked_sub(Duration::from_secs(seconds)).expect("the machine has run for a minute");
        assert!(!progress.is_read_until(before(20), &counters));
        assert!(progress.is_read_until(before(31), &counters));
    }
}
