//! Tidemark judges k6 load tests: what happened, whether it is worse than before, and why.

pub mod ingest;
pub mod model;
pub mod store;
pub mod stats;
pub mod tables;
