//! The one integration-test binary: each binary that links the query engine costs seconds and hundreds of megabytes.

mod bucket;
mod command_line;
mod decoder;
mod front_door;
mod progress;
mod prune;
mod same_report;
mod store_faults;
mod tidy;
mod true_runs;
