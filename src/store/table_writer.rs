//! One Parquet file under way, and how every table is laid out in its file.

use std::sync::Arc;

use arrow::array::{ArrayRef, MapBuilder, StringBuilder};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::manifest::TableFile;
use super::upload::Upload;
use super::{Store, StoreError};

/// Of the tables that are written row by row, which keep a row group in memory until it is full.
const TABLE_GROUP_ROWS: usize = 32 << 10;

/// Enough for a scan, few enough for the memory of some dozen metrics that wait for theirs.
pub const ROW_GROUP_ROWS: usize = 64 << 10;

/// Returns how the samples are encoded.
pub fn properties() -> WriterProperties {
    builder().build()
}

/// What is the same for all tables.
fn builder() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Where the pages lie serves only who knows what is in each: a long run's would only fill the memory.
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        // Measured values hardly repeat and ids are short: only of texts a dictionary is worth its time.
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(ColumnPath::from("metric"), true)
        .set_column_dictionary_enabled(ColumnPath::from("service"), true)
        .set_column_dictionary_enabled(ColumnPath::from("operation"), true)
        .set_column_dictionary_enabled(ColumnPath::from("profile_type"), true)
        .set_column_dictionary_enabled(ColumnPath::from("function"), true)
        .set_column_dictionary_enabled(ColumnPath::from("template"), true)
        .set_column_dictionary_enabled(ColumnPath::new(map_path("labels", "keys")), true)
        .set_column_dictionary_enabled(ColumnPath::new(map_path("labels", "values")), true)
        .set_column_dictionary_enabled(ColumnPath::new(map_path("attributes", "keys")), true)
        .set_column_encoding(ColumnPath::from("time"), Encoding::DELTA_BINARY_PACKED)
}

/// Returns where the names or the values of a map lie.
fn map_path(column: &str, part: &str) -> Vec<String> {
    [column, "entries", part].map(str::to_owned).to_vec()
}

/// One Parquet file under way.
pub struct TableWriter<'a> {
    table: &'static str,
    writer: ArrowWriter<Upload<'a>>,
    schema: SchemaRef,
    rows: u64,
}

impl<'a> TableWriter<'a> {
    pub fn start(
        store: &'a Store,
        attempt: &str,
        table: &'static str,
        schema: SchemaRef,
    ) -> Result<TableWriter<'a>, StoreError> {
        let upload = Upload::start(store, attempt, &format!("{table}.parquet"))?;
        let properties = builder().set_max_row_group_row_count(Some(TABLE_GROUP_ROWS)).build();
        let writer = ArrowWriter::try_new(upload, schema.clone(), Some(properties))
            .map_err(|error| write_error(table, error))?;
        Ok(TableWriter { table, writer, schema, rows: 0 })
    }

    /// Writes rows: one array for each column of the schema.
    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), StoreError> {
        let batch =
            RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| write_error(self.table, error))?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(|error| write_error(self.table, error))
    }

    pub fn finish(self) -> Result<TableFile, StoreError> {
        let table = self.table;
        let upload = self.writer.into_inner().map_err(|error| write_error(table, error))?;
        let bytes = upload.finish().map_err(|error| write_error(table, error))?;
        Ok(TableFile { table: table.to_owned(), file: format!("{table}.parquet"), rows: self.rows, bytes })
    }
}

/// Returns a column of maps, one a row: the pairs of each.
pub fn map_column<'p>(rows: impl Iterator<Item = impl Iterator<Item = (&'p str, &'p str)>>) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for pairs in rows {
        for (name, value) in pairs {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true).expect("each name has a value");
    }
    Arc::new(builder.finish())
}

pub fn write_error(table: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Write { what: format!("the table {table}"), cause: cause.into() }
}
