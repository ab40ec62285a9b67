//! Samples as columns, the series and windows that they become, and the schemas of the tables that are kept.

pub mod aggregate;
pub mod figures;
pub mod pool;
pub mod samples;
pub mod schemas;
pub mod selection;
pub mod spill;
pub mod summary_figures;
