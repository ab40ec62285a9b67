//! A text column of one row group whose rows are all the same, encoded without looking at a row.
//!
//! The encoder of `parquet` would look each row up in its dictionary: a twelfth of what a whole analysis costs.

use std::io::Write;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// A column chunk as it lies in the file, and what the file's footer says of it.
pub struct ConstantColumn {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

impl ConstantColumn {
    /// `column`: of required texts. `rows`: at least 1.
    ///
    /// A dictionary page with the one text, and a data page of one run: encodings PLAIN and RLE_DICTIONARY of the Parquet
    /// format's Encodings.md.
    pub fn encode(column: ColumnDescPtr, text: &str, rows: usize) -> Result<ConstantColumn, ParquetError> {
        let mut file = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut file);
        let dictionary = [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        let (length, buf) = (dictionary.len(), Bytes::from(dictionary));
        let page = Page::DictionaryPage { buf, num_values: 1, encoding: Encoding::PLAIN, is_sorted: true };
        let dictionary = pages.write_page(CompressedPage::new(page, length))?;
        let run = run_of_first(rows);
        let (length, buf) = (run.len(), Bytes::from(run));
        let page = Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let data = pages.write_page(CompressedPage::new(page, length))?;
        file.flush()?;
        let bytes_written = file.bytes_written() as u64;
        let value = || Some(ByteArray::from(text));
        let metadata = ColumnChunkMetaData::builder(column)
            .set_compression(Compression::UNCOMPRESSED)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes_written as i64)
            .set_total_uncompressed_size(bytes_written as i64)
            .set_dictionary_page_offset(Some(dictionary.offset as i64))
            .set_data_page_offset(data.offset as i64)
            .set_statistics(Statistics::byte_array(value(), value(), None, Some(0), false))
            .build()?;
        let mut offsets = OffsetIndexBuilder::new();
        offsets.append_row_count(rows as i64);
        offsets.append_offset_and_size(data.offset as i64, data.bytes_written as i32);
        let close = ColumnCloseResult {
            bytes_written,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok(ConstantColumn { bytes: Bytes::from(file.into_inner()?), close })
    }
}

/// Returns a run of so many references to the first entry of the dictionary: the width of an index in bits, the length of
/// the run as LEB128 with its lowest bit 0, the index.
fn run_of_first(rows: usize) -> Vec<u8> {
    let mut run = vec![1];
    let mut length = rows << 1;
    while length >= 0x80 {
        run.push(length as u8 | 0x80);
        length >>= 7;
    }
    run.extend([length as u8, 0]);
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_the_format_says() {
        assert_eq!(run_of_first(1), [1, 2, 0]);
        assert_eq!(run_of_first(63), [1, 126, 0]);
        assert_eq!(run_of_first(64), [1, 0x80, 1, 0]);
        assert_eq!(run_of_first(131_072), [1, 0x80, 0x80, 0x10, 0]);
    }
}
