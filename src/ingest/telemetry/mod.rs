//! What servers answered about a run, from bytes to the values of [`crate::model::telemetry`].
//!
//! | server | answers read |
//! |---|---|
//! | Prometheus | matrix, vector, exemplars, label values, series, metadata |
//! | Tempo | a trace of either version, search, series of TraceQL metrics |
//! | Pyroscope | `SelectMergeStacktraces`, of spans as well, `Diff`, `SelectSeries`, `/render` |
//! | Loki | streams, matrix, vector, patterns |
//!
//! [`capture`] reads a folder of such answers, whose questions ([`question`]) say what each answer is; [`packed`] makes one file of it.
//!
//! All of it is foreign: every decoder takes any bytes, never panics, and its work and its memory grow no faster than the answer. Texts are cut to [`wire::TEXT_BYTES_MAX`], with `…` in the place of what is missing.

pub mod capture;
pub mod counted;
pub mod loki;
pub mod packed;
pub mod prometheus;
pub mod pyroscope;
mod question;
pub mod tempo;
pub mod wire;
