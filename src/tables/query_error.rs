//! What can go wrong between a question and its answer, in the words of the one who asked.

use arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the SQL cannot be read: {message}{place}")]
    Syntax {
        message: String,
        /// The line with a mark below the fault, beginning with a line break; empty where the place is not known.
        place: String,
    },
    #[error("{what}: the store can be read by SQL, never written")]
    ReadOnly { what: String },
    #[error("no column {name:?}{nearest}; the columns here are {}", columns.join(", "))]
    NoColumn { name: String, nearest: Nearest, columns: Vec<String> },
    #[error("no table {name:?}{nearest}; the tables are {}", tables.join(", "))]
    NoTable { name: String, nearest: Nearest, tables: Vec<String> },
    #[error("no named query {name:?}{nearest}; `tidemark query --list` shows them")]
    NoQuery { name: String, nearest: Nearest },
    #[error("{message}")]
    Parameter { message: String },
    #[error("the query is wrong: {message}")]
    Wrong { message: String },
    #[error("the query took more than {seconds} s and was stopped; ask for less, or raise --timeout")]
    TimedOut { seconds: f64 },
    #[error(
        "the query needs more than the {mebibytes} MiB of memory that it may use; ask for less: one run, one metric, \
         fewer groups or a LIMIT"
    )]
    Memory {
        mebibytes: usize,
        #[source]
        cause: Box<DataFusionError>,
    },
    #[error("failed to read the kept tables")]
    Read(#[source] Box<DataFusionError>),
    #[error("failed to write the answer")]
    Answer(#[source] std::io::Error),
    #[error("failed to start the query engine")]
    Start(#[source] std::io::Error),
    #[error("the query engine ended without an answer")]
    NoAnswer,
}

/// The name that was most likely meant; shown as a question, or not at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Nearest(Option<String>);

impl std::fmt::Display for Nearest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(formatter, "; did you mean {name}?"))
    }
}

/// Returns the name that is nearest to `name`, unless all are far from it.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Nearest {
    let name = name.to_lowercase();
    // A name that holds the other in it (`p95` in `latency_ms_p95`) is near, however long.
    let likeness = |other: &str| {
        let other = other.to_lowercase();
        let holds = name.len() >= 3 && other.contains(&name) || other.len() >= 3 && name.contains(&other);
        let alike = strsim::jaro_winkler(&name, &other);
        if holds { 0.75 + alike / 4.0 } else { alike }
    };
    let best = names.into_iter().map(|other| (likeness(other), other)).max_by(|one, two| one.0.total_cmp(&two.0));
    Nearest(best.filter(|(likeness, _)| *likeness >= 0.75).map(|(_, name)| name.to_owned()))
}

/// Says what an error of the query engine means to the one who asked.
///
/// `tables`: the names of all tables. `memory_bytes`: what the query may use.
pub fn explain(error: DataFusionError, sql: &str, tables: &[String], memory_bytes: usize) -> QueryError {
    match error.find_root() {
        DataFusionError::SQL(cause, _) => syntax(cause, sql),
        DataFusionError::SchemaError(cause, _) => schema_error(cause),
        DataFusionError::ResourcesExhausted(_) => {
            QueryError::Memory { mebibytes: memory_bytes >> 20, cause: Box::new(error) }
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            QueryError::Read(Box::new(error))
        }
        DataFusionError::ArrowError(cause, _)
            if matches!(**cause, ArrowError::ParquetError(_) | ArrowError::IoError(..)) =>
        {
            QueryError::Read(Box::new(error))
        }
        DataFusionError::Plan(message) => planning(message, tables),
        other => QueryError::Wrong { message: plain(&other.to_string()) },
    }
}

fn planning(message: &str, tables: &[String]) -> QueryError {
    let between = |before: &str, after: &str| {
        message.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(name, _)| name.to_owned())
    };
    if let Some(full) = between("table '", "' not found") {
        let name = full.rsplit('.').next().unwrap_or(&full).to_owned();
        let nearest = nearest(&name, tables.iter().map(String::as_str));
        return QueryError::NoTable { name, nearest, tables: tables.to_vec() };
    }
    for refused in ["DDL not supported: ", "DML not supported: ", "Statement not supported: "] {
        if let Some((_, what)) = message.split_once(refused) {
            return QueryError::ReadOnly { what: format!("{} is refused", plain(what)) };
        }
    }
    QueryError::Wrong { message: plain(message) }
}

fn schema_error(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut columns: Vec<String> = Vec::new();
            for name in valid_fields.iter().map(|column| quoted(column.name())) {
                // A column that is selected is there twice.
                if !columns.contains(&name) {
                    columns.push(name);
                }
            }
            let nearest = nearest(field.name(), valid_fields.iter().map(Column::name));
            QueryError::NoColumn { name: field.name().to_owned(), nearest, columns }
        }
        other => QueryError::Wrong { message: plain(&other.to_string()) },
    }
}

/// Two of k6's tag names are words of SQL.
fn quoted(name: &str) -> String {
    if matches!(name, "group" | "check") { format!("\"{name}\"") } else { name.to_owned() }
}

fn syntax(error: &ParserError, sql: &str) -> QueryError {
    let (ParserError::ParserError(text) | ParserError::TokenizerError(text)) = error else {
        return QueryError::Syntax { message: "it is nested too deep".to_owned(), place: String::new() };
    };
    let Some((message, line, column)) = position(text) else {
        return QueryError::Syntax { message: text.clone(), place: String::new() };
    };
    let faulty = sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let mut place =
        format!(" at line {line}, column {column}\n  {faulty}\n  {}^", " ".repeat(column.saturating_sub(1)));
    if message.contains("found: group") || message.contains("found: check") {
        place += "\n\"group\" and \"check\" are words of SQL: as names of columns they stand in double quotes";
    }
    QueryError::Syntax { message: message.to_owned(), place }
}

/// Splits `Expected: x, found: y at Line: 1, Column: 10`.
fn position(text: &str) -> Option<(&str, usize, usize)> {
    let (message, place) = text.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits_end = column.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(column.len());
    Some((message.trim_end_matches(','), line.parse().ok()?, column[..digits_end].parse().ok()?))
}

/// Drops what the engine says of its own inside.
fn plain(message: &str) -> String {
    let first = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let mut text = first.trim();
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        let names = ["endpoint", "expected_response", "latency_ms_p95", "value", "samples", "windows"];
        assert_eq!(nearest(name, names).0.unwrap_or_default(), expected, "{name}");
    }

    #[test]
    fn the_nearest_name_is_offered_unless_all_are_far() {
        check("endpiont", "endpoint");
        check("expected", "expected_response");
        check("p95", "latency_ms_p95");
        check("VALUE", "value");
        check("sample", "samples");
        check("window", "windows");
        check("xyz", "");
    }
}
