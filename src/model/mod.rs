//! Plain values in k6's and statistics' own words: no I/O, no clock, no failure on data.

pub mod blocks;
pub mod ci;
pub mod comparison;
pub mod diagnosis;
pub mod early_finding;
pub mod endpoint;
pub mod exhibit;
pub mod finding;
pub mod history;
pub mod history_table;
pub mod in_turn;
pub mod metric;
pub mod ramp;
pub mod report;
pub mod run;
pub mod score;
pub mod series;
pub mod stream;
pub mod stream_event;
pub mod summary;
pub mod tags;
pub mod telemetry;
pub mod threshold;
pub mod time;
pub mod timeline;
