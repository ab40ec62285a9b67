//! Tidemark judges k6 load tests: what happened, whether it is worse than before, and why.

pub mod cli;
pub mod detect;
pub mod diagnose;
pub mod engine;
pub mod ingest;
pub mod model;
pub mod report;
pub mod service;
pub mod stats;
pub mod store;
pub mod tables;
