//! k6's results from a Kafka topic, and to one.
//!
//! Two kinds of records are read:
//!
//! | record | key | headers | payload |
//! |---|---|---|---|
//! | of `forward` | run and pod | `tidemark-run`, `tidemark-pod`, `tidemark-line`; the first of a pod `tidemark-about`, the last `tidemark-end` | whole lines of k6's JSON, each with its end |
//! | of k6's extension | none | none | one Point |
//!
//! The former are numbered, so that repeats are known and any order is put right; of the latter nobody can tell a repeat,
//! nor the order between partitions, nor the end. The position is an offset; who keeps it says where a partition begins.

pub mod access;
pub mod consume;
pub mod produce;
pub mod record;

use rdkafka::config::RDKafkaLogLevel;

/// What librdkafka says, to where everything else is said.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, message, "librdkafka");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}
