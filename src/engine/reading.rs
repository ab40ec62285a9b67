//! Reading: blocks in, labels known, windows closed, samples handed on to be kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::detect::tracker::Tracker;
use crate::ingest::input::SampleInput;
use crate::model::early_finding::EarlyFinding;
use crate::model::metric::MetricDeclaration;
use crate::model::run::{REJECTIONS_NAMED_MAX, Rejection, SourceReport};
use crate::model::tags::TagSet;
use crate::store::sample_file::SampleIds;
use crate::tables::aggregate::Aggregate;
use crate::tables::frames::Frames;
use crate::tables::samples::Label;
use crate::tables::siblings::{Places, Siblings};
use crate::tables::traced::Traced;

use super::EngineError;
use super::keeping::{Keeper, Keeping, LabelChange};
use super::live::Live;
use super::run_id::{ContentHash, label_hash};
use super::watch::Watch;

/// Tag sets remembered by content; beyond it they are given new ids, which costs only space.
const TAG_SETS_REMEMBERED_MAX: usize = 100_000;

/// One input while it is read.
pub struct Reading {
    input: SampleInput,
    /// By decoder.
    known: Vec<KnownLabels>,
    /// The first of its decoders, counted over all inputs.
    first_decoder: usize,
    latest_ns: i64,
    lines: u64,
    rejected: u64,
    rejections: Vec<Rejection>,
    ended: bool,
}

/// What the labels of one decoder mean in this run: columns by label.
#[derive(Debug, Default)]
struct KnownLabels {
    cells: Vec<u32>,
    /// Of metric and tags, for the run's id.
    hashes: Vec<u64>,
    siblings: Vec<Places>,
}

/// What is known of a run while it is read.
pub struct Session<'scope, 'a> {
    pub aggregate: Aggregate,
    pub content: ContentHash,
    pub frames: Frames,
    pub siblings: Siblings,
    pub traced: Traced,
    keeper: Option<Keeper<'scope, 'a>>,
    live: Option<Arc<Live>>,
    watch: Option<Watch<'a>>,
    metrics_kept: usize,
    tag_sets: HashMap<Arc<TagSet>, u32>,
    next_tag_set: u32,
    /// The cells of a block's samples.
    cells: Vec<u32>,
}

/// Words why no input gave a sample, by the first line that was rejected.
fn nothing_because(readings: &[Reading]) -> String {
    if readings.iter().all(|reading| reading.input.progress.bytes_read.load(Ordering::Relaxed) == 0) {
        return "it is empty".to_owned();
    }
    let reports = readings.iter().map(Reading::report);
    let first = reports.flat_map(|report| report.rejections).next();
    first.map_or("its lines are empty".to_owned(), |rejection| format!("line {}: {}", rejection.line, rejection.reason))
}

/// Returns the input that is furthest behind, so that pods go on side by side in the time of the run.
fn next_to_read(readings: &[Reading]) -> Option<usize> {
    let open = readings.iter().enumerate().filter(|(_, reading)| !reading.ended);
    open.min_by_key(|(_, reading)| reading.latest_ns).map(|(index, _)| index)
}

impl Reading {
    fn new(input: SampleInput, first_decoder: usize) -> Reading {
        let known = (0..input.stream.decoders()).map(|_| KnownLabels::default()).collect();
        Reading {
            input,
            known,
            first_decoder,
            latest_ns: i64::MIN,
            lines: 0,
            rejected: 0,
            rejections: Vec::new(),
            ended: false,
        }
    }

    fn reject(&mut self, line: u64, reason: String) {
        if self.rejections.len() < REJECTIONS_NAMED_MAX {
            self.rejections.push(Rejection { line, reason });
        }
    }

    pub fn report(&self) -> SourceReport {
        let end = self.input.stream.end();
        let mut rejections = self.rejections.clone();
        if let Some(reason) = &end.reason {
            rejections.push(Rejection { line: self.lines + 1, reason: format!("the input ends early: {reason}") });
        }
        SourceReport {
            name: self.input.name.clone(),
            kind: self.input.kind,
            bytes: self.input.progress.bytes_read.load(Ordering::Relaxed),
            sha256: self.input.progress.sha256(),
            lines_read: self.lines,
            lines_rejected: self.rejected,
            truncated: end.truncated,
            rejections,
        }
    }
}

impl<'scope, 'a: 'scope> Session<'scope, 'a> {
    /// `inputs`: the names of the streams of samples that the run has.
    pub fn new(
        inputs: &[String],
        keeper: Option<Keeper<'scope, 'a>>,
        live: Option<Arc<Live>>,
        watch: Option<Watch<'a>>,
    ) -> Session<'scope, 'a> {
        Session {
            aggregate: Aggregate::new(inputs.len() as u32),
            content: ContentHash::default(),
            frames: Frames::default(),
            siblings: Siblings::new(inputs),
            traced: Traced::default(),
            keeper,
            live,
            watch,
            metrics_kept: 0,
            tag_sets: HashMap::new(),
            next_tag_set: 0,
            cells: Vec::new(),
        }
    }

    /// Reads all samples. `declared`: what the run's summaries say of its metrics.
    pub fn read(
        &mut self,
        inputs: Vec<SampleInput>,
        declared: impl Iterator<Item = MetricDeclaration>,
    ) -> Result<Vec<Reading>, EngineError> {
        for declaration in declared {
            // A summary of another run may contradict; the samples' own word comes first, and it is left out below.
            let _ = self.aggregate.declare(&declaration);
        }
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let mut readings = Vec::new();
        let mut decoders_count = 0;
        for input in inputs {
            let first_decoder = decoders_count;
            decoders_count += input.stream.decoders();
            readings.push(Reading::new(input, first_decoder));
        }
        while let Some(index) = next_to_read(&readings) {
            self.read_block(&mut readings[index], index as u32)?;
            let watermark = readings.iter().filter(|reading| !reading.ended).map(|reading| reading.latest_ns).min();
            self.close_windows(watermark)?;
        }
        if self.content.samples_count() == 0 {
            return Err(EngineError::NothingRead { name: names.join(", "), reason: nothing_because(&readings) });
        }
        Ok(readings)
    }

    /// Hands out the writing thread after the last sample.
    pub fn keeper(&mut self) -> Option<Keeper<'scope, 'a>> {
        self.keeper.take()
    }

    /// Hands out what was told while the run went on: beside its history, none where nobody looked, and of itself.
    pub fn told(&mut self) -> (Option<Vec<EarlyFinding>>, Tracker) {
        self.watch.take().map(Watch::told).unwrap_or_default()
    }

    fn read_block(&mut self, reading: &mut Reading, source: u32) -> Result<(), EngineError> {
        let Some((decoder, mut block)) = reading.input.stream.next_block() else {
            reading.ended = true;
            return Ok(());
        };
        for rejection in &block.rejections {
            reading.reject(reading.lines + rejection.line, rejection.reason.clone());
        }
        reading.rejected += block.rejections_count;
        for declaration in &block.declarations {
            if let Err(reason) = self.aggregate.declare(declaration) {
                reading.rejected += 1;
                reading.reject(reading.lines + 1, reason);
            }
        }
        reading.lines += block.lines_count;
        let known = &mut reading.known[decoder];
        if block.labels_begin_anew {
            known.cells.clear();
            known.hashes.clear();
            known.siblings.clear();
        }
        let mut new = Vec::with_capacity(block.new_labels.len());
        for label in block.new_labels.drain(..) {
            let cell = self.aggregate.cell_of(&label, source);
            known.cells.push(cell);
            known.hashes.push(label_hash(&label));
            let key = &self.aggregate.series[self.aggregate.cells[cell as usize].series as usize];
            known.siblings.push(self.siblings.places(key, &label.tags, source as usize));
            new.push(self.ids_of(cell, &label)?);
        }
        if let Some(latest) = block.times_ns.iter().max() {
            reading.latest_ns = reading.latest_ns.max(*latest);
        }
        self.content.add(&block.times_ns, &block.values, &block.labels, &known.hashes);
        self.cells.clear();
        self.cells.extend(block.labels.iter().map(|label| known.cells[*label as usize]));
        self.aggregate.push(&block.times_ns, &self.cells, &block.values);
        self.siblings.push(&block.times_ns, &block.values, &block.labels, &known.siblings);
        self.traced.push(&block.times_ns, &block.values, &block.metadata, &self.cells, &self.aggregate);
        if let Some(live) = &self.live {
            live.add(&block, &self.cells, &self.aggregate);
        }
        let spent = reading.input.stream.spent_blocks();
        let labels = LabelChange { decoder: reading.first_decoder + decoder, begin_anew: block.labels_begin_anew, new };
        if self.keeper.is_some() {
            self.keep(Keeping::Samples { block, labels, spent })
        } else {
            spent.into_iter().for_each(|spent| spent.give(std::mem::take(&mut block)));
            Ok(())
        }
    }

    /// Returns what the store calls the label of `cell`, and keeps its metric and tags when they are new.
    fn ids_of(&mut self, cell: u32, label: &Label) -> Result<SampleIds, EngineError> {
        let (series, metric) = (self.aggregate.cells[cell as usize].series, self.aggregate.cells[cell as usize].metric);
        while self.metrics_kept < self.aggregate.metrics.len() {
            let name = self.aggregate.metrics[self.metrics_kept].name.clone();
            self.metrics_kept += 1;
            self.keep(Keeping::Metric(name))?;
        }
        if self.tag_sets.len() >= TAG_SETS_REMEMBERED_MAX {
            self.tag_sets.clear();
        }
        let tag_set = match self.tag_sets.get(&label.tags) {
            Some(id) => *id,
            None => {
                let id = self.next_tag_set;
                self.next_tag_set += 1;
                self.tag_sets.insert(label.tags.clone(), id);
                self.keep(Keeping::TagSet(id, label.tags.clone()))?;
                id
            }
        };
        Ok(SampleIds { metric, series, tag_set })
    }

    /// Closes the windows that no sample can reach any more: all of them when every input has ended.
    fn close_windows(&mut self, watermark_ns: Option<i64>) -> Result<(), EngineError> {
        let mut windows = Vec::new();
        match watermark_ns {
            Some(watermark_ns) => self.aggregate.close_until(watermark_ns, &mut windows),
            None => self.aggregate.close_all(&mut windows),
        }
        .map_err(EngineError::Spill)?;
        for window in &windows {
            self.frames.add(window, &self.aggregate.series[window.series as usize]);
        }
        if let Some(watch) = &mut self.watch {
            watch.closed(&windows, &self.aggregate);
            if let Some(watermark_ns) = watermark_ns {
                watch.look(&self.aggregate, &mut self.frames, watermark_ns);
            }
        }
        if windows.is_empty() { Ok(()) } else { self.keep(Keeping::Windows(windows)) }
    }

    fn keep(&mut self, part: Keeping) -> Result<(), EngineError> {
        if self.keeper.as_ref().is_none_or(|keeper| keeper.keep(part)) {
            return Ok(());
        }
        let failed = self.keeper.take().and_then(|keeper| keeper.finish().err());
        Err(failed.expect("the writing thread takes no more only after an error").into())
    }
}
