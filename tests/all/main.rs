//! The one integration-test binary: each binary that links the query engine costs seconds and hundreds of megabytes.

mod accuracy;
mod anomalies;
mod bad_input;
mod bucket;
mod command_line;
mod compared;
mod comparisons;
mod confirm;
mod decoder;
mod disagreement;
mod folders;
mod forms;
mod front_door;
mod histories;
mod hostile_histories;
mod nights;
mod progress;
mod prune;
mod queries;
mod random_report;
mod same_report;
mod sql;
mod store_faults;
mod tidy;
mod true_runs;
mod workflow;
