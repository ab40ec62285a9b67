//! How good a detector is on labelled cases.

/// One measure of a detector over all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub name: &'static str,
    /// None where no case tells.
    pub value: Option<f64>,
    /// Digits behind the point that it is told with.
    pub decimals: usize,
}
