//! A history as a table: one row a run, one column a metric; what other tools' files of histories hold.

use super::time::Timestamp;

/// Runs in the order of their rows; every column has a cell for each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryTable {
    pub times: Vec<Timestamp>,
    /// What a run is of: commit, branch, version.
    pub attributes: Vec<Column<Option<String>>>,
    pub metrics: Vec<Column<Option<f64>>>,
}

/// A named column; an absent cell is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Column<T> {
    pub name: String,
    pub cells: Vec<T>,
}
