//! The house rules, held by reading the tree as text.
//!
//! Each rule is a pure function from files to violations ("src/x/y.rs:12: what is wrong"). Each has two tests: the real
//! tree keeps it, and it finds what is planted to break it, and nothing in what only looks alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The rooms, lowest floor first. A room may import from the floors below its own; rooms on one floor are neighbours.
const FLOORS: [&[&str]; 7] = [
    &["model", "stats"],
    &["tables"],
    &["ingest", "store", "detect", "diagnose", "llm", "workspace"],
    &["report", "knowledge", "runner"],
    &["engine", "notify"],
    &["agents"],
    &["cli", "mcp", "web"],
];

/// The rooms that judge: the same values in give the same findings out, so they touch nothing outside.
const PURE_ROOMS: [&str; 5] = ["model", "stats", "detect", "diagnose", "report"];

/// What a pure room may not name outside its tests.
const IMPURE_PATHS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "tokio",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "*::now",
];

/// What the top level holds beside dot-names and `LICENSE-*`.
const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "ARCHITECTURE.md",
    "GLOSSARY.md",
    "CHANGELOG.md",
    "src",
    "queries",
    "baselines",
    "benches",
    "tests",
    "data",
];

/// Above this many lines a file says at its top why it is long.
const LINES_MAX: usize = 600;

/// A file's path inside the package, with forward slashes, and its text.
struct File {
    path: String,
    text: String,
}
