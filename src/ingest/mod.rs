//! k6's results in: from bytes in any of its forms to blocks of samples, or to a summary.
//!
//! | form | order | repeats | position |
//! |---|---|---|---|
//! | JSON, CSV | as k6 flushed: nearly by time | none | line |
//! | Kafka | by partition; a pod's lines by their numbers | known by the numbers | offset |
//! | summary | one object | none | none |
//!
//! And beside k6's results, what servers answered about the run ([`telemetry`]), and asking them ([`servers`]).

pub mod bytes;
pub mod folder;
pub mod input;
pub mod k6_csv;
pub mod k6_json;
mod k6_json_parts;
pub mod k6_line;
pub mod k6_summary;
pub mod k6_time;
pub mod kafka;
pub mod number;
pub mod otava_csv;
pub mod recognise;
pub mod servers;
pub mod telemetry;
