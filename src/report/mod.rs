//! The report in the forms that people and programs read: bytes out, no I/O.

pub mod annotations;
mod budget_words;
pub mod charts;
pub mod code_quality;
pub mod columns;
pub mod comparison_md;
pub mod early;
pub mod flame;
pub mod grafana;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod markdown_text;
pub mod otava_csv;
pub mod pprof;
pub mod rows;
#[cfg(test)]
mod sample;
pub mod sarif;
pub mod slack;
pub mod text;
mod text_findings;
pub mod why;
pub mod words;
