//! The lines of one pod, read from the journal as they come, in the order in which the pod wrote them.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memchr::{memchr, memchr_iter, memmem};

use crate::model::stream::{About, Extent, PodEnd};
use crate::store::journal::{Section, SegmentName};
use crate::store::journal_lines::Lines;
use crate::store::{Store, StoreError};

use super::counters::Reach;

/// Sections that are open at once: where lines of minutes are mixed, they are read more than once.
const OPEN_BYTES_MAX: usize = 48 << 20;
/// The reader looks this often whether somebody wants it to end.
const WAKES_EVERY: Duration = Duration::from_millis(200);

/// Lines that nobody numbered wait so long for those of a partition that another instance reads, of an earlier time: how
/// far that one is, is not known here.
const OTHERS_AWAITED: Duration = Duration::from_secs(10);

/// One pod of a run: what the journal has of it so far.
#[derive(Debug, Default)]
pub struct Pod {
    known: Mutex<Known>,
    changed: Condvar,
    /// Lines that came more than once, as far as the reader met them.
    pub repeated_lines_count: AtomicU64,
    /// Lines that the reader was given, repeats among them.
    pub read_lines_count: AtomicU64,
    has_all: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    sections: Vec<Arc<(SegmentName, Section)>>,
    about: Option<About>,
    end: Option<PodEnd>,
    is_numbered: bool,
    lines_count: u64,
    ending: Ending,
    /// What the partitions had then is in `sections`.
    reach: Reach,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// Also behind the pod's own end: another pod of the run may still come.
    #[default]
    Open,
    /// All pods are known: each ends where it says.
    AtEnd,
    /// Nothing came for long: what is there is all.
    Quiet,
}

impl Pod {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, name: &SegmentName, section: &Section) {
        let mut known = self.lock();
        known.is_numbered |= section.is_numbered;
        known.lines_count += section.lines_count;
        known.about = section.about.clone().or(known.about.take());
        // A forward that was killed behind its end, and started again, may know of less.
        let ends = section.end.iter().chain(&known.end);
        known.end = ends.max_by_key(|end| end.lines_count).cloned();
        if section.lines_count > 0 {
            known.sections.push(Arc::new((name.clone(), section.clone())));
        }
        drop(known);
        self.changed.notify_all();
    }

    pub fn end_as(&self, ending: Ending) {
        self.lock().ending = ending;
        self.changed.notify_all();
    }

    /// What the partitions had by `reach` was given to `add`.
    pub fn note_reach(&self, reach: &Reach) {
        let mut known = self.lock();
        // Numbers say by themselves what is missing.
        if !known.is_numbered && known.reach != *reach {
            known.reach.clone_from(reach);
            drop(known);
            self.changed.notify_all();
        }
    }

    pub fn about(&self) -> Option<About> {
        self.lock().about.clone()
    }

    pub fn end(&self) -> Option<PodEnd> {
        self.lock().end.clone()
    }

    pub fn is_numbered(&self) -> bool {
        self.lock().is_numbered
    }

    /// Says whether its reader, which has ended, had all that the pod wrote. Of lines that nobody numbered it is never known.
    pub fn is_whole(&self) -> bool {
        self.has_all.load(Ordering::Relaxed)
    }

    /// Lines that the journal holds, repeats among them.
    pub fn lines_count(&self) -> u64 {
        self.lock().lines_count
    }

    /// Waits until something changed since `taken` sections were known and it was to end as `ending`.
    fn wait(&self, taken: usize, ending: Ending) {
        let known = self.lock();
        if known.sections.len() == taken && known.ending == ending {
            // Whoever holds the lock next sees what changed.
            drop(self.changed.wait_timeout(known, WAKES_EVERY));
        }
    }
}

/// Why the store could not be read, if it could not: what was read until then is not the run.
pub type Failure = Mutex<Option<StoreError>>;

/// Reads a pod's lines; ends where the pod ended.
///
/// Says once, by [`io::ErrorKind::Interrupted`], that it would have to wait.
pub struct PodLines {
    store: Arc<Store>,
    pod: Arc<Pod>,
    failure: Arc<Failure>,
    /// Set to end at once: by who wants no more of the run, and here where the store fails.
    is_dropped: Arc<AtomicBool>,
    taken: usize,
    /// How the pod was to end when it was asked last.
    ending: Ending,
    reach: Reach,
    /// Of lines that nobody numbered, by partition.
    queues: BTreeMap<i32, Queue>,
    /// By the first line that is still wanted of them.
    waiting: BTreeMap<(u64, usize), Arc<(SegmentName, Section)>>,
    open: Vec<Open>,
    next_line: u64,
    /// Lines of `open[current]` that are being handed out: from, until.
    handed: Option<(usize, usize, usize)>,
    has_paused: bool,
    lost_lines_count: u64,
}

/// What one partition has of lines that nobody numbered.
struct Queue {
    /// Each with when it came.
    waiting: VecDeque<(Instant, Arc<(SegmentName, Section)>)>,
    /// When what was opened last came.
    opened: Option<Instant>,
    /// When something of it came last; before that, when the reader began.
    latest: Instant,
}

impl Queue {
    fn new() -> Queue {
        Queue { waiting: VecDeque::new(), opened: None, latest: Instant::now() }
    }
}

/// Returns the time of the first line, to the second; empty where there is none.
fn second_of(lines: &[u8]) -> &[u8] {
    const BEFORE: &[u8] = b"\"time\":\"";
    const SECOND_BYTES: usize = "2026-01-01T00:00:00".len();
    let line = &lines[..memchr(b'\n', lines).unwrap_or(lines.len())];
    let begin = memmem::find(line, BEFORE).map(|at| at + BEFORE.len());
    begin.and_then(|begin| line.get(begin..begin + SECOND_BYTES)).unwrap_or_default()
}

/// A section whose lines are at hand.
struct Open {
    place: usize,
    section: Arc<(SegmentName, Section)>,
    lines: Lines,
    /// The next extent, and where its bytes begin.
    next: usize,
    at: usize,
}

impl Open {
    fn extent(&self) -> Option<Extent> {
        self.lines.extents.get(self.next).copied()
    }

    fn skip(&mut self) {
        if let Some(extent) = self.extent() {
            self.at += extent.bytes as usize;
            self.next += 1;
        }
    }
}

/// What to do next.
enum Step {
    HandOut,
    Wait,
    End,
    /// Lines from here to there never came.
    Gap(u64),
    /// Nothing more comes, and the pod did not say that it ended.
    Silent,
}

impl PodLines {
    pub fn new(
        store: Arc<Store>,
        pod: Arc<Pod>,
        partitions_count: usize,
        failure: Arc<Failure>,
        is_dropped: Arc<AtomicBool>,
    ) -> PodLines {
        pod.read_lines_count.store(0, Ordering::Relaxed);
        PodLines {
            store,
            pod,
            failure,
            is_dropped,
            taken: 0,
            ending: Ending::Open,
            reach: Reach::new(),
            queues: (0..partitions_count as i32).map(|partition| (partition, Queue::new())).collect(),
            waiting: BTreeMap::new(),
            open: Vec::new(),
            next_line: 0,
            handed: None,
            has_paused: false,
            lost_lines_count: 0,
        }
    }

    fn take_new(&mut self) {
        let known = self.pod.lock();
        self.ending = known.ending;
        self.reach.clone_from(&known.reach);
        let new = &known.sections[self.taken..];
        let lines_count = new.iter().map(|section| section.1.lines_count).sum();
        self.pod.read_lines_count.fetch_add(lines_count, Ordering::Relaxed);
        for section in new {
            if known.is_numbered {
                self.waiting.insert((section.1.first_line, self.taken), section.clone());
            } else {
                let queue = self.queues.entry(section.0.partition).or_insert_with(Queue::new);
                queue.latest = Instant::now();
                queue.waiting.push_back((queue.latest, section.clone()));
            }
            self.taken += 1;
        }
    }

    /// Finds the next lines, or why there are none.
    fn step(&mut self) -> Result<Step, StoreError> {
        self.take_new();
        if !self.pod.is_numbered() {
            return self.step_unnumbered();
        }
        loop {
            let next_line = self.next_line;
            let mut repeated = 0;
            for open in &mut self.open {
                while let Some(extent) = open.extent().filter(|extent| extent.end() <= next_line) {
                    repeated += extent.lines_count;
                    open.skip();
                }
            }
            self.open.retain(|open| open.extent().is_some());
            let has_next = |open: &Open| open.extent().is_some_and(|extent| extent.first_line <= next_line);
            let found = self.open.iter().position(has_next);
            self.pod.repeated_lines_count.fetch_add(repeated, Ordering::Relaxed);
            if let Some(found) = found {
                self.hand_out(found);
                return Ok(Step::HandOut);
            }
            let Some(((first, place), section)) = self.waiting.pop_first() else { break };
            if first > next_line {
                self.waiting.insert((first, place), section);
                break;
            }
            if section.1.end_line <= next_line {
                self.pod.repeated_lines_count.fetch_add(section.1.lines_count, Ordering::Relaxed);
                continue;
            }
            self.make_room();
            let lines = self.store.lines_of(&section.0, &section.1)?;
            self.open.push(Open { place, section, lines, next: 0, at: 0 });
        }
        let (ending, end) = (self.ending, self.pod.end());
        let next_known = self.open.iter().filter_map(|open| open.extent().map(|extent| extent.first_line)).min();
        let next_known = next_known.into_iter().chain(self.waiting.first_key_value().map(|(key, _)| key.0)).min();
        let is_whole = end.is_some_and(|end| end.lines_count <= self.next_line);
        Ok(match (ending, is_whole, next_known) {
            (Ending::Open, ..) | (Ending::AtEnd, false, _) => Step::Wait,
            (_, true, _) => Step::End,
            (Ending::Quiet, false, Some(next)) => Step::Gap(next),
            (Ending::Quiet, false, None) => Step::Silent,
        })
    }

    /// Takes the partitions' lines in the order of their seconds: each partition is nearly in order, but one may be read
    /// long before another.
    fn step_unnumbered(&mut self) -> Result<Step, StoreError> {
        let is_open = self.ending == Ending::Open;
        self.open.retain(|open| open.at < open.lines.bytes.len());
        let (mut dry, mut came) = (Vec::new(), None);
        for (partition, queue) in &mut self.queues {
            if !self.open.iter().any(|open| open.section.0.partition == *partition) {
                let Some((when, section)) = queue.waiting.pop_front() else {
                    dry.push((*partition, queue.latest));
                    continue;
                };
                let lines = self.store.lines_of(&section.0, &section.1)?;
                self.open.push(Open { place: 0, section, lines, next: 0, at: 0 });
                queue.opened = Some(when);
            }
            came = came.max(queue.opened);
        }
        // What the dry ones had when the open lines came may be of an earlier time.
        let is_awaited = |(partition, latest): &(i32, Instant)| match self.reach.get(partition) {
            Some(read_until) => *read_until < came,
            None => latest.elapsed() < OTHERS_AWAITED,
        };
        if is_open && dry.iter().any(is_awaited) {
            return Ok(Step::Wait);
        }
        let seconds = self.open.iter().map(|open| second_of(&open.lines.bytes[open.at..]));
        let Some((index, earliest)) = seconds.enumerate().min_by(|(_, one), (_, other)| one.cmp(other)) else {
            return Ok(if is_open { Step::Wait } else { Step::End });
        };
        let open = &self.open[index];
        let mut until = open.lines.bytes.len();
        if self.open.len() > 1 {
            let earliest = earliest.to_vec();
            let rest = &open.lines.bytes[open.at..];
            let ends = memchr_iter(b'\n', rest).map(|end| end + 1);
            let later =
                ends.take_while(|end| *end < rest.len()).find(|end| second_of(&rest[*end..]) > earliest.as_slice());
            until = open.at + later.unwrap_or(rest.len());
        }
        self.handed = Some((index, open.at, until));
        self.open[index].at = until;
        Ok(Step::HandOut)
    }

    /// Hands out the rest of an extent that holds the next line.
    fn hand_out(&mut self, index: usize) {
        let open = &mut self.open[index];
        let Some(extent) = open.extent() else { return };
        let bytes = &open.lines.bytes[open.at..open.at + extent.bytes as usize];
        let repeated = (self.next_line - extent.first_line) as usize;
        let from = match repeated {
            0 => 0,
            lines => memchr_iter(b'\n', bytes).nth(lines - 1).map_or(bytes.len(), |end| end + 1),
        };
        self.pod.repeated_lines_count.fetch_add(repeated as u64, Ordering::Relaxed);
        let mut until = open.at + bytes.len();
        // The last line of a pod that was killed travels with an end that it never had.
        let end = self.pod.lock().end.clone();
        if end.is_some_and(|end| end.is_cut && end.lines_count == extent.end()) {
            until -= 1;
        }
        self.handed = Some((index, open.at + from, until));
        open.skip();
        self.next_line = extent.end();
    }

    /// Closes the open section whose lines are wanted last, if there is too much open.
    fn make_room(&mut self) {
        while self.open.iter().map(|open| open.lines.bytes.len()).sum::<usize>() > OPEN_BYTES_MAX {
            let first = |open: &Open| open.extent().map_or(u64::MAX, |extent| extent.first_line);
            let Some(last) = (0..self.open.len()).max_by_key(|index| first(&self.open[*index])) else { return };
            let open = self.open.swap_remove(last);
            self.waiting.insert((first(&open), open.place), open.section);
        }
    }
}

impl Read for PodLines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_dropped.load(Ordering::Relaxed) {
                return Ok(0);
            }
            if let Some((index, from, until)) = self.handed {
                let length = buffer.len().min(until - from);
                buffer[..length].copy_from_slice(&self.open[index].lines.bytes[from..from + length]);
                self.handed = Some((index, from + length, until)).filter(|(_, from, until)| from < until);
                if length > 0 {
                    self.has_paused = false;
                    return Ok(length);
                }
            }
            let step = self.step().map_err(|error| {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                self.is_dropped.store(true, Ordering::Relaxed);
                io::Error::other("the store could not be read")
            })?;
            match step {
                Step::HandOut => {}
                Step::End if self.lost_lines_count > 0 => {
                    return Err(io::Error::other(format!("{} lines never came", self.lost_lines_count)));
                }
                Step::End => {
                    self.pod.has_all.store(self.pod.is_numbered(), Ordering::Relaxed);
                    return Ok(0);
                }
                Step::Gap(next) => {
                    self.lost_lines_count += next - self.next_line;
                    self.next_line = next;
                }
                Step::Silent => return Err(io::Error::other(silent(self.lost_lines_count))),
                Step::Wait if !self.has_paused => {
                    self.has_paused = true;
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Step::Wait => self.pod.wait(self.taken, self.ending),
            }
        }
    }
}

fn silent(lost_lines_count: u64) -> String {
    let lost = if lost_lines_count > 0 { format!("{lost_lines_count} lines never came, and ") } else { String::new() };
    format!("{lost}the pod fell silent without saying that it had ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::{Appended, Marks, SegmentDraft};

    struct Journal {
        _folder: tempfile::TempDir,
        store: Arc<Store>,
        pod: Arc<Pod>,
        next_offset: i64,
    }

    impl Journal {
        fn new() -> Journal {
            let folder = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::create(folder.path().to_str().unwrap()).unwrap());
            Journal { _folder: folder, store, pod: Arc::default(), next_offset: 0 }
        }

        /// Keeps records as one segment: lines by their first numbers, which nobody gave where there is none.
        fn keep(&mut self, partition: i32, records: &[(Option<u64>, &str)], end: Option<PodEnd>) {
            let mut draft = SegmentDraft::default();
            for (first_line, text) in records {
                draft.append("run", "pod", *first_line, text.as_bytes(), Marks::default());
            }
            if end.is_some() {
                draft.append("run", "pod", Some(0), b"", Marks { about: None, end });
            }
            let name = SegmentName { topic: "k6".to_owned(), partition, epoch: 0, first_offset: self.next_offset };
            self.next_offset += 1;
            let encoded = self.store.encoded_segment(&name, draft, self.next_offset).unwrap();
            let Appended::Kept(index) = self.store.append_segment(&name, &encoded).unwrap() else {
                panic!("it is free")
            };
            index.sections.iter().for_each(|section| self.pod.add(&name, section));
        }

        /// Reads what there is until it would have to wait, in small pieces.
        fn read(&self, lines: &mut PodLines) -> (String, io::Result<()>) {
            let (mut text, mut buffer) = (Vec::new(), [0; 5]);
            let end = loop {
                match lines.read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(length) => text.extend_from_slice(&buffer[..length]),
                    Err(error) => break Err(error),
                }
            };
            (String::from_utf8(text).unwrap(), end)
        }

        fn reader(&self) -> PodLines {
            PodLines::new(self.store.clone(), self.pod.clone(), 2, Arc::default(), Arc::default())
        }
    }

    fn end(lines_count: u64, is_cut: bool) -> Option<PodEnd> {
        Some(PodEnd { lines_count, is_cut, k6_exit_code: None })
    }

    #[test]
    fn any_order_and_repeats_give_the_lines_as_they_were_written() {
        let mut journal = Journal::new();
        let mut reader = journal.reader();
        journal.keep(0, &[(Some(4), "e\nf\n"), (Some(0), "a\n")], None);
        journal.keep(1, &[(Some(7), "h\n"), (Some(0), "a\nb\nc\n")], None);
        let (text, waits) = journal.read(&mut reader);
        assert_eq!(text, "a\nb\nc\n");
        assert_eq!(waits.unwrap_err().kind(), io::ErrorKind::Interrupted);
        journal.keep(0, &[(Some(2), "c\nd\ne\n"), (Some(5), "f\ng\n")], end(8, false));
        assert_eq!(journal.read(&mut reader).0, "d\ne\nf\ng\nh\n");
        assert!(!journal.pod.is_whole());
        journal.pod.end_as(Ending::AtEnd);
        assert!(journal.read(&mut reader).1.is_ok());
        assert!(journal.pod.is_whole());
        assert_eq!(journal.pod.repeated_lines_count.load(Ordering::Relaxed), 4);
        // Another reader, as after a restart.
        assert_eq!(journal.read(&mut journal.reader()).0, "a\nb\nc\nd\ne\nf\ng\nh\n");
    }

    #[test]
    fn of_two_ends_the_one_with_more_lines_counts() {
        let mut journal = Journal::new();
        journal.keep(0, &[(Some(0), "a\n")], end(2, false));
        journal.keep(0, &[(Some(1), "b\n")], end(0, false));
        journal.pod.end_as(Ending::AtEnd);
        assert_eq!(journal.read(&mut journal.reader()).0, "a\nb\n");
    }

    #[test]
    fn a_gap_is_waited_for_and_then_counted() {
        let mut journal = Journal::new();
        let mut reader = journal.reader();
        journal.keep(0, &[(Some(0), "a\n"), (Some(3), "d\n")], end(4, false));
        journal.pod.end_as(Ending::AtEnd);
        let (text, waits) = journal.read(&mut reader);
        assert_eq!((text.as_str(), waits.unwrap_err().kind()), ("a\n", io::ErrorKind::Interrupted));
        journal.pod.end_as(Ending::Quiet);
        let (text, ended) = journal.read(&mut reader);
        assert_eq!(text, "d\n");
        assert_eq!(ended.unwrap_err().to_string(), "2 lines never came");
        assert!(!journal.pod.is_whole());
    }

    #[test]
    fn a_pod_that_falls_silent_and_one_that_was_cut() {
        let mut journal = Journal::new();
        journal.keep(0, &[(Some(0), "a\n")], None);
        journal.pod.end_as(Ending::Quiet);
        let (text, ended) = journal.read(&mut journal.reader());
        assert!(text == "a\n" && ended.unwrap_err().to_string().contains("fell silent"));
        let mut journal = Journal::new();
        journal.keep(0, &[(Some(0), "a\n"), (Some(1), "b\nc")], end(3, true));
        journal.pod.end_as(Ending::AtEnd);
        let (text, ended) = journal.read(&mut journal.reader());
        assert!(text == "a\nb\nc" && ended.is_ok() && journal.pod.is_whole(), "{text:?}");
    }

    #[test]
    fn lines_without_numbers_wait_for_a_partition_unless_it_was_read_to_its_end() {
        let mut journal = Journal::new();
        let mut reader = journal.reader();
        let line = "{\"time\":\"2026-01-01T00:00:01.5Z\"}\n";
        journal.keep(0, &[(None, line)], None);
        let (text, waits) = journal.read(&mut reader);
        assert_eq!((text.as_str(), waits.unwrap_err().kind()), ("", io::ErrorKind::Interrupted));
        assert_eq!(journal.pod.read_lines_count.load(Ordering::Relaxed), 1);
        // The other one is read here, and behind: however long that takes.
        let began = Instant::now();
        journal.pod.note_reach(&Reach::from([(0, Some(began)), (1, Some(began))]));
        journal.pod.note_reach(&Reach::from([(0, Some(Instant::now())), (1, None)]));
        assert!(matches!(reader.step(), Ok(Step::Wait)));
        journal.pod.note_reach(&Reach::from([(0, Some(began)), (1, Some(Instant::now()))]));
        assert_eq!(journal.read(&mut reader).0, line);
        // Of one that another instance reads nothing is known, so that the line would come as well, but later.
        assert!(began.elapsed() < OTHERS_AWAITED / 2);
    }

    #[test]
    fn lines_without_numbers_come_by_their_seconds() {
        let mut journal = Journal::new();
        let line = |second: u32, name: &str| format!("{{\"time\":\"2026-01-01T00:00:{second:02}.5Z\",\"{name}\":1}}\n");
        let lines =
            |seconds: &[u32], name: &str| -> String { seconds.iter().map(|second| line(*second, name)).collect() };
        journal.keep(0, &[(None, &lines(&[1, 2, 4, 9], "a"))], None);
        journal.keep(1, &[(None, &lines(&[3, 3, 5], "b"))], None);
        journal.keep(0, &[(None, &lines(&[10], "a"))], None);
        journal.pod.end_as(Ending::Quiet);
        let (text, ended) = journal.read(&mut journal.reader());
        assert!(ended.is_ok());
        let seconds: Vec<&str> = text.lines().map(|line| &line[26..28]).collect();
        assert_eq!(seconds, ["01", "02", "03", "03", "04", "05", "09", "10"]);
        assert!(!journal.pod.is_whole());
    }
}
