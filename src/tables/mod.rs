//! Samples as columns, the series and windows that they become, the schemas of the tables that are kept, and SQL over them.

pub mod aggregate;
pub mod blocks;
pub mod figures;
pub mod frames;
pub mod kept_frames;
pub mod looked_up;
pub mod percentile_udaf;
pub mod pool;
pub mod queries;
pub mod query_error;
pub mod run_table;
pub mod runs;
pub mod samples;
pub mod schemas;
pub mod selection;
pub mod session;
pub mod siblings;
pub mod sketch_udaf;
pub mod spill;
pub mod summary_figures;
pub mod timeline;
pub mod traced;
