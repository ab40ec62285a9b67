//! The journal of a stream: what came from a broker, kept before it is judged, together with the position in the broker.
//!
//! ```text
//! stream/<topic>/<partition>/<epoch>-<first offset>   a segment: all that one partition gave from that offset on
//! reported/<topic>/<hash of the run's key>             a run of which there is a report
//! ```
//!
//! A segment is put in one step, and only where there is none: of two processes that believe to own a partition, the later
//! one finds the place taken. So each partition's segments are one chain; its position in the broker is the end of the
//! last one, and moves together with the data. An epoch begins when a topic was made anew, and its offsets began at 0.
//!
//! Within a segment lines are put together by run and pod, and ordered by their numbers. A segment goes when all of its
//! runs are reported; the last of a partition stays for its position. Segments are listed often, so that reports, of which a
//! service that runs for months makes many, are noted elsewhere; what is noted of long ago goes too.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::SystemTime;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use crate::model::stream::{About, Extent, PodEnd};
use crate::model::time::Timestamp;

use super::journal_lines::Lines;
use super::{Store, StoreError};

const MAGIC: &[u8; 8] = b"TIDEMRK1";
/// Magic, and the length of the index.
const HEADER_BYTES: usize = 12;
/// Read at once for an index; a longer one is read by a second question.
const INDEX_GUESS_BYTES: u64 = 32 << 10;
/// An index has some hundred bytes for each run and pod.
const INDEX_BYTES_MAX: usize = 64 << 20;

/// The name of a segment within its topic: ordered as the partition was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    pub topic: String,
    pub partition: i32,
    pub epoch: u32,
    pub first_offset: i64,
}

impl SegmentName {
    fn path(&self, store: &Store) -> Path {
        let name = format!("{:06}-{:020}", self.epoch, self.first_offset);
        store.partition_path(&self.topic, self.partition).join(name)
    }

    fn parse(topic: &str, partition: &str, name: &str) -> Option<SegmentName> {
        let (epoch, offset) = name.split_once('-')?;
        let (partition, epoch, first_offset) = (partition.parse().ok()?, epoch.parse().ok()?, offset.parse().ok()?);
        Some(SegmentName { topic: topic.to_owned(), partition, epoch, first_offset })
    }
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentIndex {
    /// Where reading goes on.
    pub next_offset: i64,
    /// The newest time of a message of the partition up to here, in milliseconds since 1970; none where none tells one.
    #[serde(default)]
    pub latest_ms: Option<i64>,
    pub sections: Vec<Section>,
}

impl SegmentIndex {
    /// Counts the places of its sections from the start of the segment.
    fn behind_header(mut self, index_bytes: usize) -> SegmentIndex {
        self.sections.iter_mut().for_each(|section| section.at += (HEADER_BYTES + index_bytes) as u64);
        self
    }
}

/// The lines of one pod in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub run: String,
    pub pod: String,
    /// False: nobody numbered the lines, and their numbers count those of the section.
    pub is_numbered: bool,
    pub lines_count: u64,
    /// Before compression.
    pub bytes: u64,
    /// From the smallest to behind the largest number; there may be others between.
    pub first_line: u64,
    pub end_line: u64,
    pub about: Option<About>,
    pub end: Option<PodEnd>,
    /// Where it lies, compressed: written as counted from the end of the index.
    at: u64,
    length: u64,
}

/// A segment that is filled.
#[derive(Debug, Default)]
pub struct SegmentDraft {
    sections: Vec<SectionDraft>,
    /// By run, then by pod.
    index: HashMap<String, HashMap<String, usize>>,
    /// Of the record before: nearly every record is of the same pod.
    last: usize,
    pub bytes: usize,
    /// The newest time of a message of the partition so far, in milliseconds since 1970.
    pub latest_ms: Option<i64>,
    /// Empty, for the lines of the first pod.
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct SectionDraft {
    run: String,
    pod: String,
    is_numbered: bool,
    /// In the order in which they came; each line has its end.
    lines: Lines,
    about: Option<About>,
    end: Option<PodEnd>,
}

/// What of a pod a record holds besides lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub about: Option<About>,
    pub end: Option<PodEnd>,
}

impl SegmentDraft {
    /// `latest_ms`: of the messages before it. `buffer`: of an earlier segment; a new one for each would leave the memory in
    /// pieces.
    pub fn after(latest_ms: Option<i64>, buffer: Vec<u8>) -> SegmentDraft {
        SegmentDraft { latest_ms, buffer, ..SegmentDraft::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// Takes whole lines. `first_line`: none where nobody numbered them.
    pub fn append(&mut self, run: &str, pod: &str, first_line: Option<u64>, text: &[u8], marks: Marks) {
        let section = self.section(run, pod);
        section.is_numbered |= first_line.is_some();
        section.about = marks.about.or(section.about.take());
        section.end = marks.end.or(section.end.take());
        if text.is_empty() {
            return;
        }
        let before = section.lines.bytes.len();
        section.lines.bytes.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            section.lines.bytes.push(b'\n');
        }
        let bytes = (section.lines.bytes.len() - before) as u64;
        let lines_count = memchr::memchr_iter(b'\n', &section.lines.bytes[before..]).count() as u64;
        let next = section.lines.extents.last().map_or(0, Extent::end);
        let first_line = first_line.unwrap_or(next);
        match section.lines.extents.last_mut() {
            Some(last) if last.end() == first_line => {
                (last.lines_count, last.bytes) = (last.lines_count + lines_count, last.bytes + bytes);
            }
            _ => section.lines.extents.push(Extent { first_line, lines_count, bytes }),
        }
        self.bytes += bytes as usize;
    }

    fn section(&mut self, run: &str, pod: &str) -> &mut SectionDraft {
        let is_its = |section: &SectionDraft| section.pod == pod && section.run == run;
        if !self.sections.get(self.last).is_some_and(is_its) {
            self.last = match self.index.get(run).and_then(|pods| pods.get(pod)) {
                Some(known) => *known,
                None => {
                    let new = self.sections.len();
                    self.index.entry(run.to_owned()).or_default().insert(pod.to_owned(), new);
                    self.sections.push(SectionDraft {
                        run: run.to_owned(),
                        pod: pod.to_owned(),
                        lines: Lines { bytes: std::mem::take(&mut self.buffer), ..Lines::default() },
                        ..SectionDraft::default()
                    });
                    new
                }
            };
        }
        &mut self.sections[self.last]
    }

    /// Returns the index, what lies behind it, and a buffer that is free.
    fn encode(self, next_offset: i64) -> io::Result<(SegmentIndex, Vec<u8>, Vec<u8>)> {
        let (latest_ms, mut buffer) = (self.latest_ms, self.buffer);
        let (mut sections, mut body) = (Vec::with_capacity(self.sections.len()), Vec::new());
        for draft in self.sections {
            let SectionDraft { run, pod, is_numbered, lines, about, end } = draft;
            let lines = lines.ordered();
            let at = body.len() as u64;
            lines.write(&mut body)?;
            sections.push(Section {
                run,
                pod,
                is_numbered,
                lines_count: lines.extents.iter().map(|extent| extent.lines_count).sum(),
                bytes: lines.bytes.len() as u64,
                first_line: lines.extents.first().map_or(0, |extent| extent.first_line),
                end_line: lines.extents.iter().map(Extent::end).max().unwrap_or(0),
                about,
                end,
                at,
                length: body.len() as u64 - at,
            });
            if lines.bytes.capacity() > buffer.capacity() {
                buffer = lines.bytes;
            }
        }
        buffer.clear();
        Ok((SegmentIndex { next_offset, latest_ms, sections }, body, buffer))
    }
}

/// A segment as it is put.
#[derive(Debug)]
pub struct EncodedSegment {
    index: SegmentIndex,
    payload: PutPayload,
    /// Of the draft, emptied.
    pub buffer: Vec<u8>,
}

/// What came of putting a segment.
#[derive(Debug)]
pub enum Appended {
    Kept(SegmentIndex),
    /// Another process has put one there: what was read since is not ours to keep.
    Taken,
}

/// A run of which there is a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    pub run: String,
    /// Under which it is kept; none where nothing of it could be read.
    pub run_id: Option<String>,
    /// All that its pods sent is in it: whatever comes later has come before.
    pub is_whole: bool,
    /// Lines that the journal held of it.
    pub lines_count: u64,
    pub at: Timestamp,
}

impl Store {
    /// Returns what `append_segment` puts.
    pub fn encoded_segment(
        &self,
        name: &SegmentName,
        draft: SegmentDraft,
        next_offset: i64,
    ) -> Result<EncodedSegment, StoreError> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Write {
            what: name.path(self).to_string(),
            cause,
        };
        let (index, body, buffer) = draft.encode(next_offset).map_err(|error| failed(error.into()))?;
        let text = serde_json::to_vec(&index).map_err(|error| failed(error.into()))?;
        let mut head = Vec::with_capacity(HEADER_BYTES + text.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&(text.len() as u32).to_le_bytes());
        head.extend_from_slice(&text);
        let payload = PutPayload::from_iter([bytes::Bytes::from(head), bytes::Bytes::from(body)]);
        Ok(EncodedSegment { index: index.behind_header(text.len()), payload, buffer })
    }

    /// Puts a segment where there is none yet.
    pub fn append_segment(&self, name: &SegmentName, segment: &EncodedSegment) -> Result<Appended, StoreError> {
        let path = name.path(self);
        let options = PutOptions::from(PutMode::Create);
        match self.runtime.block_on(self.objects.put_opts(&path, segment.payload.clone(), options)) {
            Ok(_) => Ok(Appended::Kept(segment.index.clone())),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Appended::Taken),
            Err(error) => Err(StoreError::Write { what: path.to_string(), cause: error.into() }),
        }
    }

    /// Returns the segments of a topic, by partition and in their order.
    pub fn segments(&self, topic: &str) -> Result<Vec<SegmentName>, StoreError> {
        self.listed_segments(topic, &self.topic_path(topic))
    }

    /// Returns the last segment of a partition.
    pub fn last_segment(&self, topic: &str, partition: i32) -> Result<Option<SegmentName>, StoreError> {
        Ok(self.listed_segments(topic, &self.partition_path(topic, partition))?.pop())
    }

    fn listed_segments(&self, topic: &str, below: &Path) -> Result<Vec<SegmentName>, StoreError> {
        let listed: Result<Vec<_>, _> = self.runtime.block_on(self.objects.list(Some(below)).try_collect());
        let listed = listed.map_err(|error| StoreError::Read { what: below.to_string(), cause: error.into() })?;
        let mut names: Vec<SegmentName> = listed
            .iter()
            .filter_map(|meta| {
                let mut parts = meta.location.parts().collect::<Vec<_>>().into_iter().rev();
                let (name, partition) = (parts.next()?, parts.next()?);
                SegmentName::parse(topic, partition.as_ref(), name.as_ref())
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// Returns what a segment holds; none when it was deleted meanwhile, since all of its runs are reported.
    pub fn segment_index(&self, name: &SegmentName) -> Result<Option<SegmentIndex>, StoreError> {
        let Some(mut bytes) = self.range(name, 0..INDEX_GUESS_BYTES)? else { return Ok(None) };
        let broken = |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Read {
            what: name.path(self).to_string(),
            cause,
        };
        let length = bytes.first_chunk::<HEADER_BYTES>().filter(|header| header.starts_with(MAGIC));
        let length = length.map(|header| u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize);
        let length =
            length.filter(|length| *length <= INDEX_BYTES_MAX).ok_or_else(|| broken("it is no segment".into()))?;
        if bytes.len() < HEADER_BYTES + length {
            let Some(more) = self.range(name, 0..(HEADER_BYTES + length) as u64)? else { return Ok(None) };
            bytes = more;
        }
        let text = bytes.get(HEADER_BYTES..HEADER_BYTES + length).ok_or_else(|| broken("it is cut".into()))?;
        let index: SegmentIndex = serde_json::from_slice(text).map_err(|error| broken(error.into()))?;
        Ok(Some(index.behind_header(length)))
    }

    /// Returns the lines of a section; `section`: from `segment_index`.
    pub fn lines_of(&self, name: &SegmentName, section: &Section) -> Result<Lines, StoreError> {
        let broken = |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Read {
            what: name.path(self).to_string(),
            cause,
        };
        let compressed = self.range(name, section.at..section.at + section.length)?;
        let compressed = compressed.ok_or_else(|| broken("it was deleted while its run was read".into()))?;
        Lines::read(&compressed, section.bytes).map_err(|error| broken(error.into()))
    }

    fn range(&self, name: &SegmentName, range: std::ops::Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let path = name.path(self);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.runtime.block_on(async { self.objects.get_opts(&path, options).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::Read { what: path.to_string(), cause: error.into() }),
        }
    }

    /// Deletes a segment; one that is gone is no error.
    pub fn delete_segment(&self, name: &SegmentName) -> Result<(), StoreError> {
        let path = name.path(self);
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::Write { what: format!("the deletion of {path}"), cause: error.into() }),
        }
    }

    /// Notes that there is a report of a run.
    pub fn note_reported(&self, topic: &str, reported: &Reported) -> Result<(), StoreError> {
        let path = self.reported_path(topic, &reported.run);
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Write { what: path.to_string(), cause };
        let bytes = serde_json::to_vec(reported).map_err(|error| failed(error.into()))?;
        let put = self.runtime.block_on(self.objects.put(&path, PutPayload::from(bytes)));
        put.map(drop).map_err(|error| failed(error.into()))
    }

    /// Returns what is noted of a run's report.
    pub fn reported(&self, topic: &str, run: &str) -> Result<Option<Reported>, StoreError> {
        let path = self.reported_path(topic, run);
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| StoreError::Read { what: path.to_string(), cause };
        match self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await }) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Deletes what was noted of reports before a time, but for runs of which the journal still has something; says of how many.
    pub fn forget_reported<'r>(
        &self,
        topic: &str,
        still_there: impl Iterator<Item = &'r str>,
        before: Timestamp,
    ) -> Result<usize, StoreError> {
        let kept: HashSet<Path> = still_there.map(|run| self.reported_path(topic, run)).collect();
        let below = self.root.clone().join("reported").join(topic);
        let listed: Result<Vec<_>, _> = self.runtime.block_on(self.objects.list(Some(&below)).try_collect());
        let listed = listed.map_err(|error| StoreError::Read { what: below.to_string(), cause: error.into() })?;
        let is_old = |noted: &ObjectMeta| Timestamp::from(SystemTime::from(noted.last_modified)) < before;
        let mut count = 0;
        for noted in listed.iter().filter(|noted| is_old(noted) && !kept.contains(&noted.location)) {
            match self.runtime.block_on(self.objects.delete(&noted.location)) {
                Ok(()) => count += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    let what = format!("the deletion of {}", noted.location);
                    return Err(StoreError::Write { what, cause: error.into() });
                }
            }
        }
        Ok(count)
    }

    fn topic_path(&self, topic: &str) -> Path {
        self.root.clone().join("stream").join(topic)
    }

    fn partition_path(&self, topic: &str, partition: i32) -> Path {
        self.topic_path(topic).join(format!("{partition:05}"))
    }

    /// A run's key is anything, so that its hash stands for it.
    fn reported_path(&self, topic: &str, run: &str) -> Path {
        use sha2::Digest;
        let hash = sha2::Sha256::digest(run.as_bytes());
        let name: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.root.clone().join("reported").join(topic).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(first_offset: i64) -> SegmentName {
        SegmentName { topic: "k6".to_owned(), partition: 2, epoch: 0, first_offset }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().to_str().unwrap()).unwrap();
        (folder, store)
    }

    fn append(store: &Store, name: &SegmentName, draft: SegmentDraft, next_offset: i64) -> Appended {
        let encoded = store.encoded_segment(name, draft, next_offset).unwrap();
        store.append_segment(name, &encoded).unwrap()
    }

    #[test]
    fn lines_come_back_in_the_order_of_their_numbers() {
        let (_folder, store) = store();
        let mut draft = SegmentDraft::default();
        for line in [3u64, 1, 2, 9, 10, 0, 3] {
            draft.append("r", "p", Some(line), format!("line {line}\n").as_bytes(), Marks::default());
        }
        let end = PodEnd { lines_count: 11, is_cut: false, k6_exit_code: Some(99) };
        draft.append("r", "p", Some(11), b"", Marks { about: None, end: Some(end.clone()) });
        draft.append("r", "q", None, b"{}", Marks::default());
        draft.append("r", "q", None, b"{}", Marks::default());
        let Appended::Kept(kept) = append(&store, &name(70), draft, 79) else { panic!("it was free") };
        let index = store.segment_index(&name(70)).unwrap().unwrap();
        assert_eq!(kept, index);
        assert_eq!(index.next_offset, 79);
        let [p, q] = index.sections.as_slice() else { panic!("two pods") };
        assert_eq!((p.first_line, p.end_line, p.lines_count, p.is_numbered), (0, 11, 7, true));
        assert_eq!(p.end, Some(end));
        let lines = store.lines_of(&name(70), p).unwrap();
        let extents: Vec<(u64, u64)> = lines.extents.iter().map(|e| (e.first_line, e.lines_count)).collect();
        assert_eq!(extents, [(0, 4), (3, 1), (9, 2)]);
        assert_eq!(lines.bytes, b"line 0\nline 1\nline 2\nline 3\nline 3\nline 9\nline 10\n");
        let lines = store.lines_of(&name(70), q).unwrap();
        assert_eq!((lines.bytes.as_slice(), q.is_numbered), (b"{}\n{}\n".as_slice(), false));
    }

    #[test]
    fn a_place_is_taken_once() {
        let (_folder, store) = store();
        let draft = |text: &[u8]| {
            let mut draft = SegmentDraft::default();
            draft.append("r", "p", Some(0), text, Marks::default());
            draft
        };
        assert_eq!(store.last_segment("k6", 2).unwrap(), None);
        assert!(matches!(append(&store, &name(0), draft(b"a\n"), 5), Appended::Kept(_)));
        assert!(matches!(append(&store, &name(0), draft(b"b\n"), 6), Appended::Taken));
        assert!(matches!(append(&store, &name(5), draft(b"b\n"), 6), Appended::Kept(_)));
        let anew = SegmentName { epoch: 1, ..name(0) };
        assert!(matches!(append(&store, &anew, draft(b"c\n"), 1), Appended::Kept(_)));
        assert_eq!(store.last_segment("k6", 2).unwrap(), Some(anew.clone()));
        assert_eq!(store.segments("k6").unwrap(), [name(0), name(5), anew]);
        store.delete_segment(&name(0)).unwrap();
        store.delete_segment(&name(0)).unwrap();
        assert_eq!(store.segment_index(&name(0)).unwrap(), None);
    }

    #[test]
    fn what_is_no_segment_is_an_error() {
        let (folder, store) = store();
        let path = folder.path().join("stream/k6/00002");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("000000-00000000000000000000"), b"TIDEMRK1\xff\xff\xff\xff{}").unwrap();
        assert!(store.segment_index(&name(0)).is_err());
        std::fs::write(path.join("000000-00000000000000000000"), b"").unwrap();
        assert!(store.segment_index(&name(0)).is_err());
    }

    #[test]
    fn a_report_is_noted_by_the_run() {
        let (_folder, store) = store();
        assert_eq!(store.reported("k6", "../../run 1").unwrap(), None);
        let (run, run_id) = ("../../run 1".to_owned(), Some("ab".to_owned()));
        let reported = Reported { run, run_id, is_whole: true, lines_count: 7, at: Timestamp(5) };
        store.note_reported("k6", &reported).unwrap();
        assert_eq!(store.reported("k6", "../../run 1").unwrap(), Some(reported));
        assert_eq!(store.segments("k6").unwrap(), []);
    }

    #[test]
    fn reports_of_long_ago_are_forgotten_but_for_runs_that_are_still_there() {
        let (_folder, store) = store();
        for run in ["a", "b"] {
            let reported =
                Reported { run: run.to_owned(), run_id: None, is_whole: true, lines_count: 7, at: Timestamp(5) };
            store.note_reported("k6", &reported).unwrap();
        }
        let now = Timestamp::from(SystemTime::now());
        let forget = |seconds: f64| store.forget_reported("k6", ["b"].into_iter(), now.after_seconds(seconds)).unwrap();
        assert_eq!((forget(-60.0), forget(60.0), forget(60.0)), (0, 1, 0));
        assert_eq!(store.reported("k6", "a").unwrap(), None);
        assert!(store.reported("k6", "b").unwrap().is_some());
    }
}
