//! A run on its way through a broker: what its producer says of it, and where its lines lie.

use serde::{Deserialize, Serialize};

use super::run::RunLabels;

/// What the first record of a pod says of the run; the lines do not know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub labels: RunLabels,
    /// Pods that the run has; none where the producer does not know, and more may come.
    pub pods_count: Option<u32>,
    /// The place of this one among them, counted from 0: the order in which files would be named to `analyze`.
    pub place: u32,
}

/// What the last record of a pod says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEnd {
    pub lines_count: u64,
    /// The last line lacks its end: what wrote it was killed. It travels with an end all the same.
    #[serde(default)]
    pub is_cut: bool,
    pub k6_exit_code: Option<i32>,
}

/// Lines that follow each other in what one pod wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Counted from 0 over all that the pod wrote.
    pub first_line: u64,
    pub lines_count: u64,
    pub bytes: u64,
}

impl Extent {
    /// Returns the number of the line behind the last.
    pub fn end(&self) -> u64 {
        self.first_line + self.lines_count
    }
}
