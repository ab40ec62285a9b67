//! The report in the forms that people and programs read: bytes out, no I/O.

pub mod columns;
pub mod rows;
pub mod text;
