//! Rows of an answer in the forms that people and programs read.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::json::{Writer as JsonWriter, WriterBuilder as JsonWriterBuilder};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// Columns for eyes: floats with six digits, at most as wide as the terminal.
    Table {
        width: Option<usize>,
    },
    Csv,
    Json,
    Ndjson,
    Parquet,
    /// The stream form of Arrow IPC.
    Arrow,
}

/// Digits of a float in the table: what eyes can use; every other format has all of them.
const TABLE_DIGITS: i32 = 6;
/// Text columns are cut down to this when the terminal is narrow, and no further.
const COLUMN_WIDTH_MIN: usize = 8;

/// Writes the rows of one answer to `out`, batch by batch, in one format.
pub struct RowWriter<W: Write + Send> {
    format: RowFormat,
    state: State<W>,
}

enum State<W: Write + Send> {
    Waiting(W),
    Table(W, Vec<RecordBatch>),
    /// And whether the head is still to be written.
    Csv(W, bool),
    Json(JsonWriter<W, JsonArray>),
    Ndjson(JsonWriter<W, LineDelimited>),
    Parquet(ArrowWriter<W>),
    Arrow(StreamWriter<W>),
    Failed,
}

impl<W: Write + Send> RowWriter<W> {
    pub fn new(format: RowFormat, out: W) -> RowWriter<W> {
        RowWriter { format, state: State::Waiting(out) }
    }

    /// The first batch tells the columns, also when it is empty.
    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let batch = match self.format {
            RowFormat::Csv | RowFormat::Table { .. } => flat(batch)?,
            RowFormat::Parquet | RowFormat::Arrow => plain(batch)?,
            RowFormat::Json | RowFormat::Ndjson => batch.clone(),
        };
        if let State::Waiting(_) = self.state {
            self.start(batch.schema())?;
        }
        match &mut self.state {
            State::Table(_, batches) => {
                batches.push(batch);
                Ok(())
            }
            State::Csv(out, is_first) => {
                // By way of bytes, because its writer keeps no more than the text of an error.
                let mut writer = csv::WriterBuilder::new().with_header(*is_first).build(Vec::new());
                writer.write(&batch).map_err(io_error)?;
                *is_first = false;
                out.write_all(&writer.into_inner())
            }
            State::Json(writer) => writer.write(&batch).map_err(io_error),
            State::Ndjson(writer) => writer.write(&batch).map_err(io_error),
            State::Parquet(writer) => writer.write(&batch).map_err(io::Error::from),
            State::Arrow(writer) => writer.write(&batch).map_err(io_error),
            State::Waiting(_) | State::Failed => Err(io::Error::other("the answer could not be begun")),
        }
    }

    fn start(&mut self, schema: SchemaRef) -> io::Result<()> {
        let State::Waiting(out) = std::mem::replace(&mut self.state, State::Failed) else { return Ok(()) };
        let json = JsonWriterBuilder::new().with_explicit_nulls(true);
        self.state = match self.format {
            RowFormat::Table { .. } => State::Table(out, Vec::new()),
            RowFormat::Csv => State::Csv(out, true),
            RowFormat::Json => State::Json(json.build(out)),
            RowFormat::Ndjson => State::Ndjson(json.build(out)),
            RowFormat::Parquet => State::Parquet(ArrowWriter::try_new(out, schema, None)?),
            RowFormat::Arrow => State::Arrow(StreamWriter::try_new(out, &schema).map_err(io_error)?),
        };
        Ok(())
    }

    /// Writes what waits, and the format's end.
    pub fn finish(self) -> io::Result<()> {
        let mut out = match self.state {
            State::Table(mut out, batches) => {
                let width = if let RowFormat::Table { width } = self.format { width } else { None };
                out.write_all(table(&batches, width)?.as_bytes())?;
                out
            }
            State::Csv(out, _) => out,
            State::Json(mut writer) => {
                writer.finish().map_err(io_error)?;
                let mut out = writer.into_inner();
                out.write_all(b"\n")?;
                out
            }
            State::Ndjson(mut writer) => {
                writer.finish().map_err(io_error)?;
                writer.into_inner()
            }
            State::Parquet(writer) => writer.into_inner()?,
            State::Arrow(writer) => writer.into_inner().map_err(io_error)?,
            State::Waiting(out) => out,
            State::Failed => return Ok(()),
        };
        out.flush()
    }
}

/// Keeps the kind of an error of the writer below, such as a pipe that nobody reads.
fn io_error(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, cause) => cause,
        other => io::Error::other(other),
    }
}

/// Returns the batch with maps, lists and structs as JSON text.
fn flat(batch: &RecordBatch) -> io::Result<RecordBatch> {
    changed(batch, |kind| kind.is_nested().then_some(DataType::Utf8), |column, _| json_texts(column))
}

/// Returns the batch with text as every reader knows it: neither views nor dictionaries.
fn plain(batch: &RecordBatch) -> io::Result<RecordBatch> {
    let plain_kind = |kind: &DataType| match kind {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        DataType::Dictionary(_, value) => Some((**value).clone()),
        _ => None,
    };
    changed(batch, plain_kind, |column, kind| cast(column, kind).map_err(io_error))
}

fn changed(
    batch: &RecordBatch,
    to: impl Fn(&DataType) -> Option<DataType>,
    change: impl Fn(&ArrayRef, &DataType) -> io::Result<ArrayRef>,
) -> io::Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match to(field.data_type()) {
            Some(kind) => {
                columns.push(change(column, &kind)?);
                fields.push(Arc::new(Field::new(field.name(), kind, true)));
            }
            None => {
                columns.push(column.clone());
                fields.push(field.clone());
            }
        }
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(io_error)
}

fn json_texts(column: &ArrayRef) -> io::Result<ArrayRef> {
    let field = Field::new("value", column.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column.clone()]).map_err(io_error)?;
    let mut lines = JsonWriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    lines.write(&batch).map_err(io_error)?;
    lines.finish().map_err(io_error)?;
    let lines = lines.into_inner();
    let texts = std::str::from_utf8(&lines).map_err(io::Error::other)?.lines();
    // Each line is {"value":...}.
    let texts = texts.map(|line| line.strip_prefix("{\"value\":")?.strip_suffix('}').filter(|text| *text != "null"));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Returns the rows as text in columns, numbers to the right.
fn table(batches: &[RecordBatch], width: Option<usize>) -> io::Result<String> {
    let Some(first) = batches.first() else { return Ok(String::new()) };
    let schema = first.schema();
    if schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"]) {
        return plans(batches);
    }
    let to_the_right: Vec<bool> = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
    let mut rows = vec![schema.fields().iter().map(|field| visible(field.name())).collect::<Vec<String>>()];
    for batch in batches {
        let columns = batch.columns().iter().map(cells).collect::<io::Result<Vec<Vec<String>>>>()?;
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    let widths = widths(&rows, &to_the_right, width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            let cell = cut(cell, widths[index]);
            let padding = " ".repeat(widths[index] - cell.chars().count());
            let padded = if to_the_right[index] { padding + &cell } else { cell + &padding };
            line += if index == 0 { "" } else { "  " };
            line += &padded;
        }
        text += line.trim_end();
        text.push('\n');
    }
    Ok(text)
}

/// Returns what EXPLAIN says, which is text of many lines.
fn plans(batches: &[RecordBatch]) -> io::Result<String> {
    let mut text = String::new();
    for batch in batches {
        let (kinds, plans) = (cast(batch.column(0), &DataType::Utf8), cast(batch.column(1), &DataType::Utf8));
        let (kinds, plans) = (kinds.map_err(io_error)?, plans.map_err(io_error)?);
        for (kind, plan) in kinds.as_string::<i32>().iter().zip(plans.as_string::<i32>()) {
            text += &format!("{}:\n", kind.unwrap_or_default());
            plan.unwrap_or_default().lines().for_each(|line| text += &format!("  {}\n", visible(line)));
        }
    }
    Ok(text)
}

/// Returns the width of each column; when all are wider than the terminal, the widest text columns give way.
fn widths(rows: &[Vec<String>], is_number: &[bool], terminal: Option<usize>) -> Vec<usize> {
    let longest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..is_number.len()).map(longest).collect();
    let gaps = 2 * widths.len().saturating_sub(1);
    let Some(terminal) = terminal else { return widths };
    while widths.iter().sum::<usize>() + gaps > terminal {
        let texts = (0..widths.len()).filter(|column| !is_number[*column] && widths[*column] > COLUMN_WIDTH_MIN);
        let Some(widest) = texts.max_by_key(|column| widths[*column]) else { break };
        widths[widest] -= 1;
    }
    widths
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn cells(column: &ArrayRef) -> io::Result<Vec<String>> {
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        return Ok(floats.iter().map(|value| value.map_or(String::new(), rounded)).collect());
    }
    if let Some(floats) = column.as_primitive_opt::<Float32Type>() {
        return Ok(floats.iter().map(|value| value.map_or(String::new(), |value| rounded(value.into()))).collect());
    }
    let options = FormatOptions::default().with_null("");
    let formatter = ArrayFormatter::try_new(column, &options).map_err(io_error)?;
    Ok((0..column.len()).map(|row| visible(&formatter.value(row).to_string())).collect())
}

/// Returns a float with `TABLE_DIGITS` digits, but with all of those before its point.
fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if magnitude < -TABLE_DIGITS {
        return format!("{value:.3e}");
    }
    let decimals = (TABLE_DIGITS - 1 - magnitude).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Returns a text in one line that cannot steer the terminal.
fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|letter| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_six_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (77.199223, "77.1992"),
            (0.0436817472698908, "0.0436817"),
            (1234567.891, "1234568"),
            (-2.5, "-2.5"),
            (100.0, "100"),
            (1e-9, "1.000e-9"),
        ] {
            assert_eq!(rounded(value), expected);
        }
    }

    #[test]
    fn a_narrow_terminal_cuts_text_and_never_numbers() {
        let rows = vec![
            vec!["name".to_owned(), "n".to_owned()],
            vec!["a long name of a thing".to_owned(), "123456789".to_owned()],
        ];
        assert_eq!(widths(&rows, &[false, true], None), [22, 9]);
        assert_eq!(widths(&rows, &[false, true], Some(25)), [14, 9]);
        assert_eq!(widths(&rows, &[false, true], Some(5)), [COLUMN_WIDTH_MIN, 9]);
        assert_eq!(cut("a long name", 6), "a lon…");
        assert_eq!(visible("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
    }
}
