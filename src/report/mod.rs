//! The report in the forms that people and programs read: bytes out, no I/O.

pub mod charts;
pub mod columns;
pub mod figures;
pub mod html;
pub mod rows;
#[cfg(test)]
mod sample;
pub mod text;
