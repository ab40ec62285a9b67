//! What a stream that runs for long is to others: its health, its figures, and its messages.

pub mod http;
pub mod messages;
pub mod metrics;
pub mod webhook;
