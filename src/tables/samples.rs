//! A block of samples as columns, as every decoder gives it.

use std::sync::Arc;

use crate::model::metric::MetricDeclaration;
use crate::model::run::Rejection;
use crate::model::tags::TagSet;

/// A metric and the tags of its samples: what one id in `SampleBlock::labels` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub metric: Arc<str>,
    pub tags: Arc<TagSet>,
}

/// Samples as columns of equal length, in the order of their lines, and what else the lines said.
#[derive(Debug, Default)]
pub struct SampleBlock {
    /// Nanoseconds since 1970 in UTC.
    pub times_ns: Vec<i64>,
    /// Finite.
    pub values: Vec<f64>,
    /// Index into all labels that this block's decoder has given so far, since it last began anew.
    pub labels: Vec<u32>,
    /// The decoder forgot its labels before this block, to bound its memory: ids begin at 0 again.
    pub labels_begin_anew: bool,
    /// Labels met for the first time in this block, in the order of their ids.
    pub new_labels: Vec<Label>,
    /// JSON objects of k6's `metadata`, by row, ascending; most rows have none.
    pub metadata: Vec<(u32, Box<str>)>,
    pub declarations: Vec<MetricDeclaration>,
    pub lines_count: u64,
    /// Lines are counted from 1 within the block.
    pub rejections: Vec<Rejection>,
    pub rejections_count: u64,
}

impl SampleBlock {
    /// Empties the block and keeps its memory.
    pub fn clear(&mut self) {
        let SampleBlock {
            times_ns,
            values,
            labels,
            labels_begin_anew,
            new_labels,
            metadata,
            declarations,
            lines_count,
            rejections,
            rejections_count,
        } = self;
        times_ns.clear();
        values.clear();
        labels.clear();
        new_labels.clear();
        metadata.clear();
        declarations.clear();
        rejections.clear();
        (*labels_begin_anew, *lines_count, *rejections_count) = (false, 0, 0);
    }

    pub fn rows(&self) -> usize {
        self.times_ns.len()
    }

    /// Counts a line that cannot be used, and keeps its reason while there are few.
    pub fn reject(&mut self, line: u64, reason: impl Into<String>) {
        self.rejections_count += 1;
        if self.rejections.len() < crate::model::run::REJECTIONS_NAMED_MAX {
            self.rejections.push(Rejection { line, reason: reason.into() });
        }
    }
}
