//! Tidemark judges k6 load tests: what happened, whether it is worse than before, and why.

pub mod detect;
pub mod ingest;
pub mod model;
pub mod stats;
pub mod store;
pub mod tables;
