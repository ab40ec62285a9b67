//! `tidemark query`: SQL over the kept runs.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;

use crate::engine::query::{Asked, Question, ask};
use crate::report::rows::{RowFormat, RowWriter};
use crate::tables::queries::{NamedQuery, named_queries, named_query};
use crate::tables::query_error::QueryError;
use crate::tables::session::{Rows, table_columns};

use super::config::Config;
use super::{StoreArgument, print};

/// What fits eyes; a program gets all rows.
const TABLE_ROWS_MAX: usize = 1000;
const TEXT_WIDTH: usize = 100;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", reference()))]
pub struct Query {
    /// Read-only SQL in DataFusion's dialect, which is close to PostgreSQL's; `-` reads it from stdin.
    #[arg(value_name = "SQL", required_unless_present_any = ["named", "list"], conflicts_with_all = ["named", "list"])]
    sql: Option<String>,
    /// Ask a question that has a name; `--list` shows them.
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    named: Option<String>,
    /// A parameter, `$K` in the SQL; several may be given.
    #[arg(long = "param", value_name = "K=V", value_parser = super::key_value)]
    parameters: Vec<(String, String)>,
    /// Show the named queries: what they answer, their parameters and columns.
    #[arg(long)]
    list: bool,
    /// Ask only this run: an id, a unique start of one, `last`, `last~2`; may be given several times.
    #[arg(long = "run", value_name = "RUN")]
    runs: Vec<String>,
    /// `table` rounds floats to six digits; `parquet` and `arrow` (an IPC stream) go into a file or a pipe.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Rows at most, 0 for all; when there are more, stderr says so [default: 1000 for table, all for the others].
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Seconds after which the query is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    timeout: f64,
    #[command(flatten)]
    store: StoreArgument,
}

const EXAMPLES: &str = r#"Examples:
  tidemark query --list
  tidemark query --named slowest_endpoints
  tidemark query --named endpoint_latency_per_window --param window='5 seconds' --run last~1
  tidemark query --named two_runs_compared --param base=last~1 --param current=last --format csv
  tidemark query --run last "SELECT endpoint, count(*), k6_percentile(value, 0.95) AS p95_ms
      FROM samples WHERE metric = 'http_req_duration' GROUP BY endpoint ORDER BY p95_ms DESC"
  tidemark query "SELECT started_at, verdict, latency_p95_ms FROM runs WHERE test = 'checkout'"
  tidemark query "SELECT * FROM samples WHERE metric = 'checks'" --format parquet > checks.parquet
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
    Arrow,
}

impl Query {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        if self.list {
            print(list(&named_queries()).as_bytes())?;
            return Ok(0);
        }
        let question = self.question()?;
        let store = self.store.open(config)?;
        let mut rows = RowWriter::new(self.format()?, io::BufWriter::new(io::stdout()));
        let mut rows_count = 0;
        let answered = ask(
            &store,
            &question,
            &mut |manifest| eprintln!("tidemark: a manifest cannot be read, its run is left out: {manifest}"),
            &mut |batch| {
                rows_count += batch.num_rows();
                rows.write(batch)
            },
        );
        let answered = match answered {
            Err(error) if reader_is_gone(&error) => return Ok(0),
            answered => answered?,
        };
        match rows.finish() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            finished => finished.map_err(QueryError::Answer)?,
        }
        match (answered.rows, question.rows_max) {
            (Rows::Cut, Some(rows_max)) => {
                eprintln!("tidemark: these are the first {rows_max} rows, there are more: see --limit (0 gives all)");
            }
            _ if rows_count == 0 => {
                let asked = answered.runs.iter().map(|(name, run_id)| format!(" ({name} {run_id})"));
                eprintln!("tidemark: no rows{}", asked.collect::<String>());
            }
            _ => {}
        }
        Ok(0)
    }

    fn question(&self) -> anyhow::Result<Question> {
        if !(self.timeout > 0.0 && self.timeout < 1e9) {
            let message = format!("--timeout {} is not a number of seconds above 0", self.timeout);
            return Err(QueryError::Parameter { message }.into());
        }
        let asked = match (&self.named, self.sql.as_deref()) {
            (Some(name), _) => Asked::Named(named_query(name)?),
            (None, Some("-")) => Asked::Sql(io::read_to_string(io::stdin()).map_err(|error| {
                QueryError::Parameter { message: format!("failed to read SQL from stdin: {error}") }
            })?),
            (None, sql) => Asked::Sql(sql.unwrap_or_default().to_owned()),
        };
        Ok(Question {
            asked,
            parameters: self.parameters.clone(),
            runs: self.runs.clone(),
            rows_max: match (self.limit, self.format) {
                (Some(0), _) => None,
                (None, Format::Table) => Some(TABLE_ROWS_MAX),
                (limit, _) => limit,
            },
            timeout: Duration::from_secs_f64(self.timeout),
        })
    }

    fn format(&self) -> Result<RowFormat, QueryError> {
        let is_terminal = io::stdout().is_terminal();
        if is_terminal && matches!(self.format, Format::Parquet | Format::Arrow) {
            let message = "this format is not for a terminal: redirect it, as in `> rows.parquet`".to_owned();
            return Err(QueryError::Parameter { message });
        }
        Ok(match self.format {
            Format::Table => RowFormat::Table { width: is_terminal.then(terminal_width) },
            Format::Csv => RowFormat::Csv,
            Format::Json => RowFormat::Json,
            Format::Ndjson => RowFormat::Ndjson,
            Format::Parquet => RowFormat::Parquet,
            Format::Arrow => RowFormat::Arrow,
        })
    }
}

/// Whether whoever read the answer wants no more of it (`| head`).
fn reader_is_gone(error: &crate::engine::query::AskError) -> bool {
    use crate::engine::query::AskError::Query;
    matches!(error, Query(QueryError::Answer(cause)) if cause.kind() == io::ErrorKind::BrokenPipe)
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(TEXT_WIDTH, |(width, _)| usize::from(width.0))
}

/// Words the named queries.
fn list(queries: &[NamedQuery]) -> String {
    let mut text = String::new();
    for query in queries {
        text += &format!("{}\n    {}\n", query.name, query.question);
        for parameter in &query.parameters {
            let default = match parameter.default.as_deref() {
                None => "must be given".to_owned(),
                Some("none") => "may be left out".to_owned(),
                Some(default) => format!("default: {default}"),
            };
            text += &format!("    --param {}={}  ({default})\n", parameter.name, parameter.kind.name().to_uppercase());
        }
        text += &wrapped(&format!("returns {}", query.returns), "    ");
        query.notes.iter().for_each(|note| text += &wrapped(note, "    "));
        text.push('\n');
    }
    text.pop();
    text
}

/// Breaks a line at spaces.
fn wrapped(line: &str, indent: &str) -> String {
    let (mut text, mut width) = (indent.to_owned(), indent.len());
    for (index, word) in line.split(' ').enumerate() {
        if index > 0 && width + 1 + word.chars().count() > TEXT_WIDTH {
            text += &format!("\n{indent}");
            width = indent.len();
        } else if index > 0 {
            text.push(' ');
            width += 1;
        }
        text += word;
        width += word.chars().count();
    }
    text + "\n"
}

/// What one must know to write SQL here.
fn reference() -> String {
    let mut text = "Tables and their columns (`SHOW TABLES` and `DESCRIBE samples` tell types):\n".to_owned();
    for (table, columns) in table_columns() {
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        text += &wrapped(&format!("{table}: {}", columns.join(", ")), "  ");
    }
    text + r#"
  samples: one row a sample. k6's metric is `metric`, its number is `value`, in k6's unit: the time
    of a request is metric = 'http_req_duration', in ms. Other tags of a script: tags['name'].
  windows: one row a second and series; blocks: one row a twelfth of the run, or less, and series;
    metrics and thresholds: one row each and run.
  "group" and "check" are words of SQL: as columns they stand in double quotes.

Percentiles: k6_percentile(value, 0.95) is exact and k6's own; it takes GROUP BY and FILTER. Never
average percentiles: compute them from the samples or, where prune has deleted these, from windows by
sketch_percentile(sketch, 0.95), which is right to within 0.4 %. Failed requests are told by expected_response.

Speed: `run_id = ...` (or --run), `metric = ...` and a range of `time` leave out what cannot match
before it is read.

Bounds: a query reads and does nothing else. It may use 256 MiB of memory; sorts and groups beyond
it go on in temporary files.

Exit codes: 0 answered, 2 the query or a parameter is wrong, too slow or too large, 5 the store
cannot be read.
"#
}

fn quoted(name: &str) -> String {
    if matches!(name, "group" | "check") { format!("\"{name}\"") } else { name.to_owned() }
}
