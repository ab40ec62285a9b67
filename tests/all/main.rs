//! The one integration-test binary: each binary that links the query engine costs seconds and hundreds of megabytes.

mod decoder;
mod front_door;
mod queries;
mod same_report;
mod sql;
mod store_faults;
mod tidy;
mod true_runs;
