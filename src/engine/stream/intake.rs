//! From the broker into the journal: records gathered by partition, and kept as segments together with the position.
//!
//! The thread that polls only gathers; another one compresses and keeps. A partition that another process wrote to
//! meanwhile begins anew where that one ended.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::message::{BorrowedMessage, Message};

use crate::ingest::kafka::access::Access;
use crate::ingest::kafka::consume::{High, Look, Member, Next, Owner, Watermarks};
use crate::ingest::kafka::record::{Record, Tags};
use crate::store::journal::{Appended, Marks, SegmentDraft, SegmentIndex, SegmentName};
use crate::store::{Store, StoreError};
use crate::tables::pool::Pool;

use super::counters::Counters;
use super::{Settings, StreamError};

/// Segments that wait to be kept; more would only fill the memory.
const WAITING_MAX: usize = 2;
const POLLED_EVERY: Duration = Duration::from_millis(25);
/// After so many messages the clock is asked whether that is over.
const MESSAGES_AT_ONCE: usize = 64;
/// How often the broker is asked about partitions of other instances, while somebody wants to know.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How often a store that cannot be written is tried again, and how long after the first time; then longer each time.
const TRIES: u32 = 6;
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A partition that is ours.
struct Owned {
    epoch: u32,
    /// Of this reading of it: what an earlier one left to be kept is no more.
    generation: u64,
    /// The next offset, and the first of the draft.
    next_offset: i64,
    draft_offset: i64,
    draft: SegmentDraft,
    draft_since: Instant,
    /// All before it is kept, or was rejected.
    kept_offset: i64,
    /// All that the broker had was read.
    is_at_end: bool,
    /// What the broker had once, and was not all kept when that was heard.
    wanted: Option<High>,
    /// All that the broker had then is kept.
    read_until: Option<Instant>,
    /// It was not since much was read of it at once, or anything at all.
    is_behind: bool,
    /// Segments that are handed over and not kept yet.
    waiting_count: usize,
}

/// Where a partition goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    epoch: u32,
    offset: i64,
    /// The newest time of a message before it.
    latest_ms: Option<i64>,
}

enum Work {
    Keep {
        name: SegmentName,
        generation: u64,
        draft: SegmentDraft,
        next_offset: i64,
    },
    /// Answered when all before it is kept.
    Done(SyncSender<()>),
    End,
}

/// What the polling thread, the callbacks of the group and the keeping thread share.
struct Shared {
    store: Arc<Store>,
    topic: String,
    owned: Mutex<BTreeMap<i32, Owned>>,
    work: SyncSender<Work>,
    /// Of segments that are kept, for the next ones.
    buffers: Pool<Vec<u8>>,
    /// Generations whose place in the journal was taken by another process.
    taken: Mutex<HashSet<u64>>,
    generations: Mutex<u64>,
    failure: Mutex<Option<StoreError>>,
    counters: Arc<Counters>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until `stop` is set, or the store fails; `kept` is told every segment.
pub fn read(
    access: &Access,
    store: &Arc<Store>,
    settings: &Settings,
    counters: &Arc<Counters>,
    kept: Sender<(SegmentName, SegmentIndex)>,
    stop: &AtomicBool,
) -> Result<(), StreamError> {
    let (work, waiting) = sync_channel(WAITING_MAX);
    let shared = Arc::new(Shared {
        store: store.clone(),
        topic: settings.topic.clone(),
        owned: Mutex::default(),
        work,
        buffers: Pool::default(),
        taken: Mutex::default(),
        generations: Mutex::default(),
        failure: Mutex::default(),
        counters: counters.clone(),
    });
    let keeping = shared.clone();
    let keeper = std::thread::Builder::new().name("journal".to_owned());
    let keeper = keeper.spawn(move || keep_all(&keeping, &waiting, &kept)).expect("the system starts a thread");
    let polled = poll(access, &shared, settings, stop);
    // It shares the sending end of its own work, so that it has to be told.
    let _ = shared.work.send(Work::End);
    keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let failure = locked(&shared.failure).take();
    polled?;
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

fn poll(access: &Access, shared: &Arc<Shared>, settings: &Settings, stop: &AtomicBool) -> Result<(), StreamError> {
    let (taker, releaser) = (shared.clone(), shared.clone());
    let owner = Owner {
        take: Box::new(move |partition, look| taker.take(partition, look)),
        release: Box::new(move |partitions, is_lost| releaser.release(partitions, is_lost)),
    };
    let member = Member::join(access, &settings.topic, (&settings.group, settings.instance.as_deref()), owner)?;
    shared.counters.partitions_count.store(member.partitions_count, Ordering::Relaxed);
    shared.counters.is_joined.store(true, Ordering::Relaxed);
    let tags = Tags::default();
    let (mut looked, mut asked) = (Instant::now(), None);
    while !stop.load(Ordering::Relaxed) && locked(&shared.failure).is_none() {
        for _ in 0..MESSAGES_AT_ONCE {
            match member.next(POLLED_EVERY) {
                Next::Message(message) => {
                    shared.add(&tags, &message, settings);
                    continue;
                }
                Next::End(partition) => shared.note_end(partition),
                Next::Nothing => {}
                Next::OutOfRange => shared.begin_anew(&member),
                Next::Unreadable(code) => {
                    shared.counters.reject(|| tracing::warn!(%code, "a set of messages cannot be read"));
                    shared.step_over(&member);
                }
                Next::Trouble(code) => tracing::warn!(%code, "the brokers are in trouble: trying again"),
            }
            break;
        }
        if looked.elapsed() >= POLLED_EVERY {
            looked = Instant::now();
            shared.keep_due(settings);
            shared.go_back(&member);
            shared.note_position(&member.high_offsets());
            let is_wanted = shared.counters.are_others_wanted.load(Ordering::Relaxed);
            if is_wanted && asked.is_none_or(|asked: Instant| asked.elapsed() >= ASKED_EVERY) {
                asked = Some(Instant::now());
                shared.ask_about_others(&member);
            }
        }
    }
    // The member leaves the group by its end, and gives back its partitions before.
    drop(member);
    Ok(())
}

impl Shared {
    fn new_generation(&self) -> u64 {
        let mut last = locked(&self.generations);
        *last += 1;
        *last
    }

    /// Returns where the journal says that a partition goes on.
    fn position(&self, partition: i32) -> Result<Position, StoreError> {
        let Some(last) = self.store.last_segment(&self.topic, partition)? else { return Ok(Position::default()) };
        let index = self.store.segment_index(&last)?;
        let latest_ms = index.as_ref().and_then(|index| index.latest_ms);
        // Nobody deletes the last segment of a partition.
        let offset = index.map_or(last.first_offset, |index| index.next_offset);
        Ok(Position { epoch: last.epoch, offset, latest_ms })
    }

    fn take(&self, partition: i32, look: Look) -> Option<i64> {
        match self.position(partition) {
            Ok(position) => {
                // Without an answer the position stands: an offset that does not exist is told by the broker later.
                let position = match look(position.latest_ms) {
                    Some(watermarks) => self.fitted(partition, position, watermarks),
                    None => position,
                };
                self.own(partition, position);
                Some(position.offset)
            }
            Err(error) => {
                locked(&self.failure).get_or_insert(error);
                None
            }
        }
    }

    /// Fits a position to what the broker holds.
    fn fitted(&self, partition: i32, position: Position, watermarks: Watermarks) -> Position {
        let Position { epoch, offset, .. } = position;
        let is_anew = watermarks.first_newer.is_some_and(|first| first < offset);
        if offset > watermarks.high || is_anew {
            tracing::warn!(partition, offset, high = watermarks.high, "the topic was made anew: it begins anew");
            return Position { epoch: epoch + 1, offset: watermarks.low, latest_ms: None };
        }
        if offset < watermarks.low && watermarks.low < watermarks.high {
            let count = watermarks.low - offset;
            // The first reading of a topic whose beginning is long gone has lost nothing.
            if (epoch, offset) != (0, 0) {
                self.counters.lost_messages_count.fetch_add(count as u64, Ordering::Relaxed);
                tracing::warn!(partition, count, "the broker deleted messages before they were read");
            }
            return Position { offset: watermarks.low, ..position };
        }
        position
    }

    fn own(&self, partition: i32, Position { epoch, offset, latest_ms }: Position) {
        let owned = Owned {
            epoch,
            generation: self.new_generation(),
            next_offset: offset,
            draft_offset: offset,
            draft: SegmentDraft::after(latest_ms, self.buffers.take()),
            draft_since: Instant::now(),
            kept_offset: offset,
            is_at_end: false,
            wanted: None,
            read_until: None,
            is_behind: true,
            waiting_count: 0,
        };
        let mut all = locked(&self.owned);
        all.insert(partition, owned);
        self.note_reach(&all);
    }

    fn release(&self, partitions: &[i32], is_lost: bool) {
        // What was lost may be read by another already: then its place is taken, and ours is not kept.
        if !is_lost {
            for partition in partitions {
                self.keep(*partition);
            }
            self.wait();
        }
        let mut all = locked(&self.owned);
        all.retain(|partition, _| !partitions.contains(partition));
        self.note_reach(&all);
    }

    fn note_reach(&self, all: &BTreeMap<i32, Owned>) {
        *locked(&self.counters.reach) = all.iter().map(|(partition, owned)| (*partition, owned.read_until)).collect();
    }

    fn add(&self, tags: &Tags, message: &BorrowedMessage, settings: &Settings) {
        let (partition, offset) = (message.partition(), message.offset());
        let mut all = locked(&self.owned);
        let owned_count = all.len().max(1);
        let Some(owned) = all.get_mut(&partition).filter(|owned| offset >= owned.next_offset) else { return };
        owned.next_offset = offset + 1;
        owned.draft.latest_ms = owned.draft.latest_ms.max(message.timestamp().to_millis());
        owned.is_at_end = false;
        if owned.draft.is_empty() {
            owned.draft_since = Instant::now();
        }
        let payload = message.payload().unwrap_or_default();
        match tags.record(message, &self.topic) {
            Ok(Record::Lines { run, pod, first_line, about, end }) => {
                owned.draft.append(run, pod, Some(first_line), payload, Marks { about, end });
            }
            Ok(Record::Point { run, pod }) => {
                let pod = if pod.is_empty() { &self.topic } else { &*pod };
                owned.draft.append(&run, pod, None, payload, Marks::default());
            }
            Err(reason) => {
                self.counters.reject(|| tracing::warn!(partition, offset, reason, "a message is none of k6's"));
            }
        }
        let counters = &self.counters;
        counters.messages_count.fetch_add(1, Ordering::Relaxed);
        counters.bytes_count.fetch_add(payload.len() as u64, Ordering::Relaxed);
        // Each has its share: a sum over all for each message would take longer than the message.
        if owned.draft.bytes >= settings.commit_bytes / owned_count {
            owned.is_behind = true;
            drop(all);
            self.keep(partition);
        }
    }

    fn note_end(&self, partition: i32) {
        let mut all = locked(&self.owned);
        let Some(owned) = all.get_mut(&partition) else { return };
        owned.is_at_end = true;
        // Who has caught up need not wait for more. Who keeps up is at the end after each message, and has to.
        if std::mem::take(&mut owned.is_behind) {
            drop(all);
            self.keep(partition);
        }
    }

    fn keep_due(&self, settings: &Settings) {
        let is_due = |owned: &Owned| {
            let read = owned.next_offset > owned.draft_offset;
            // What was only rejected moves the position as well, when there is something to keep.
            read && !owned.draft.is_empty() && owned.draft_since.elapsed() >= settings.commit_every
        };
        let all = locked(&self.owned);
        let due: Vec<i32> = all.iter().filter(|(_, owned)| is_due(owned)).map(|(partition, _)| *partition).collect();
        drop(all);
        due.into_iter().for_each(|partition| self.keep(partition));
    }

    /// Hands a draft to the keeping thread; waits while that has too much to do.
    fn keep(&self, partition: i32) {
        let mut all = locked(&self.owned);
        let Some(owned) = all.get_mut(&partition).filter(|owned| !owned.draft.is_empty()) else { return };
        let work = Work::Keep {
            name: SegmentName {
                topic: self.topic.clone(),
                partition,
                epoch: owned.epoch,
                first_offset: owned.draft_offset,
            },
            generation: owned.generation,
            draft: {
                let next = SegmentDraft::after(owned.draft.latest_ms, self.buffers.take());
                std::mem::replace(&mut owned.draft, next)
            },
            next_offset: owned.next_offset,
        };
        owned.draft_offset = owned.next_offset;
        owned.waiting_count += 1;
        drop(all);
        // Without a keeping thread there is a failure, which ends the polling.
        let _ = self.work.send(work);
    }

    /// Waits until all that was handed over is kept.
    fn wait(&self) {
        let (done, is_done) = sync_channel(1);
        if self.work.send(Work::Done(done)).is_ok() {
            // The thread that failed answers nobody.
            let _ = is_done.recv();
        }
    }

    /// Begins a partition anew where another process left it.
    fn go_back(&self, member: &Member) {
        let taken = std::mem::take(&mut *locked(&self.taken));
        if taken.is_empty() {
            return;
        }
        let is_taken = |owned: &Owned| taken.contains(&owned.generation);
        let partitions: Vec<i32> =
            locked(&self.owned).iter().filter(|(_, owned)| is_taken(owned)).map(|(partition, _)| *partition).collect();
        for partition in partitions {
            if let Some(offset) = self.take(partition, &|after_ms| member.look(partition, after_ms)) {
                tracing::info!(partition, offset, "another instance had read on: going on behind it");
                member.seek(partition, offset);
            }
        }
    }

    /// Looks for partitions whose position the broker does not have.
    fn begin_anew(&self, member: &Member) {
        let position = |owned: &Owned| Position {
            epoch: owned.epoch,
            offset: owned.next_offset,
            latest_ms: owned.draft.latest_ms,
        };
        let positions: Vec<(i32, Position)> =
            locked(&self.owned).iter().map(|(partition, owned)| (*partition, position(owned))).collect();
        for (partition, position) in positions {
            let Some(watermarks) = member.look(partition, position.latest_ms) else { continue };
            let fitted = self.fitted(partition, position, watermarks);
            if fitted != position {
                self.keep(partition);
                self.own(partition, fitted);
                member.seek(partition, fitted.offset);
            }
        }
    }

    /// Goes on behind messages that cannot be read.
    fn step_over(&self, member: &Member) {
        let positions: Vec<(i32, i64)> =
            locked(&self.owned).iter().map(|(partition, owned)| (*partition, owned.next_offset)).collect();
        for (partition, offset) in positions {
            let Some(next) = member.first_readable(partition, offset).filter(|next| *next > offset) else { continue };
            let count = (next - offset) as u64;
            tracing::warn!(partition, offset, count, "messages that cannot be read are stepped over");
            // Nothing is read meanwhile: the position is still the one that was asked about.
            if let Some(owned) = locked(&self.owned).get_mut(&partition) {
                owned.next_offset = next;
            }
            self.counters.lost_messages_count.fetch_add(count, Ordering::Relaxed);
            member.seek(partition, next);
        }
    }

    /// Asks what the broker has of the partitions that are not ours.
    fn ask_about_others(&self, member: &Member) {
        self.counters.are_others_wanted.store(false, Ordering::Relaxed);
        let owned: Vec<i32> = locked(&self.owned).keys().copied().collect();
        for partition in (0..member.partitions_count as i32).filter(|partition| !owned.contains(partition)) {
            let heard = Instant::now();
            // Who does not answer is asked again.
            let Some(Watermarks { low, high, .. }) = member.look(partition, None) else { return };
            let offset = if low < high { high } else { 0 };
            locked(&self.counters.others).insert(partition, High { offset, heard });
        }
    }

    fn note_position(&self, high: &BTreeMap<i32, High>) {
        let mut all = locked(&self.owned);
        for (partition, owned) in all.iter_mut() {
            owned.note_reach(high.get(partition), Instant::now());
        }
        self.note_reach(&all);
        let lag = all.iter().map(|(partition, owned)| {
            let high = high.get(partition).map_or(owned.next_offset, |high| high.offset);
            (*partition, (high - owned.next_offset).max(0) as u64)
        });
        *locked(&self.counters.lag) = lag.collect();
    }
}

impl Owned {
    /// Notes how far it was read: of a partition that never rests, the end is never seen.
    fn note_reach(&mut self, high: Option<&High>, now: Instant) {
        if self.draft.is_empty() && self.waiting_count == 0 {
            self.kept_offset = self.next_offset;
            if self.is_at_end {
                (self.read_until, self.wanted) = (Some(now), None);
                return;
            }
        }
        // Of a topic that was made anew, there is less now.
        let wanted = self.wanted.into_iter().chain(high.copied()).min_by_key(|high| high.offset);
        match wanted {
            Some(wanted) if wanted.offset <= self.kept_offset => {
                (self.read_until, self.wanted) = (self.read_until.max(Some(wanted.heard)), None);
            }
            wanted => self.wanted = wanted,
        }
    }
}

fn keep_all(shared: &Shared, waiting: &Receiver<Work>, kept: &Sender<(SegmentName, SegmentIndex)>) {
    let mut stale = HashSet::new();
    for work in waiting {
        let (name, generation, draft, next_offset) = match work {
            Work::Keep { name, generation, draft, next_offset } => (name, generation, draft, next_offset),
            Work::Done(done) => {
                // Who asked may have gone.
                let _ = done.send(());
                continue;
            }
            Work::End => return,
        };
        if stale.contains(&generation) {
            continue;
        }
        let began = Instant::now();
        match append(shared, &name, draft, next_offset) {
            Ok(Appended::Kept(index)) => {
                shared.counters.commits_count.fetch_add(1, Ordering::Relaxed);
                shared.counters.note_commit(began.elapsed());
                let partition = name.partition;
                // The runs are over when the stream stops.
                let _ = kept.send((name, index));
                if let Some(owned) = locked(&shared.owned).get_mut(&partition)
                    && owned.generation == generation
                {
                    owned.waiting_count -= 1;
                    owned.kept_offset = next_offset;
                }
            }
            Ok(Appended::Taken) => {
                stale.insert(generation);
                locked(&shared.taken).insert(generation);
            }
            Err(error) => {
                // What comes after it would leave a gap.
                stale.insert(generation);
                locked(&shared.failure).get_or_insert(error);
            }
        }
    }
}

/// Keeps a segment, again and again while the store cannot be written.
fn append(shared: &Shared, name: &SegmentName, draft: SegmentDraft, next_offset: i64) -> Result<Appended, StoreError> {
    let mut encoded = shared.store.encoded_segment(name, draft, next_offset)?;
    shared.buffers.give(std::mem::take(&mut encoded.buffer));
    let mut wait = TRIED_AGAIN_AFTER;
    for _ in 1..TRIES {
        match shared.store.append_segment(name, &encoded) {
            Err(error) => {
                shared.counters.failed_commits_count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the store cannot be written: trying again");
                std::thread::sleep(wait);
                wait *= 2;
            }
            done => return done,
        }
    }
    shared.store.append_segment(name, &encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Marks;

    #[test]
    fn of_a_partition_that_never_rests_it_is_known_how_far_it_was_read() {
        let began = Instant::now();
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let mut draft = SegmentDraft::default();
        draft.append("run", "pod", Some(0), b"line", Marks::default());
        let mut owned = Owned {
            epoch: 0,
            generation: 0,
            next_offset: 20,
            draft_offset: 10,
            draft,
            draft_since: began,
            kept_offset: 10,
            is_at_end: false,
            is_behind: false,
            wanted: None,
            read_until: None,
            waiting_count: 0,
        };
        let high = |offset: i64, seconds: u64| High { offset, heard: after(seconds) };
        // Each time there is more at the broker, but what it had at first is kept in the end.
        owned.note_reach(Some(&high(15, 1)), after(1));
        owned.note_reach(Some(&high(25, 3)), after(3));
        assert_eq!(owned.read_until, None);
        owned.kept_offset = 15;
        owned.note_reach(Some(&high(25, 3)), after(4));
        assert_eq!(owned.read_until, Some(after(1)));
        // At the end there is nothing to be heard of, but only when all is kept.
        owned.is_at_end = true;
        owned.note_reach(Some(&high(25, 3)), after(5));
        assert_eq!(owned.read_until, Some(after(1)));
        owned.draft = SegmentDraft::default();
        owned.note_reach(Some(&high(25, 3)), after(6));
        assert_eq!((owned.read_until, owned.kept_offset), (Some(after(6)), 20));
        // The topic was made anew, and what was wanted of the old one never comes.
        (owned.is_at_end, owned.next_offset, owned.kept_offset) = (false, 3, 3);
        owned.note_reach(Some(&high(25, 7)), after(7));
        owned.note_reach(Some(&high(2, 9)), after(9));
        assert_eq!(owned.read_until, Some(after(9)));
    }
}
