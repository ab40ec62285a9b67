//! Values that must be read once more: in memory while they are few, then in a file without a name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// Bytes in memory before the file is used; the same for small and large runs, so that memory does not grow.
const BUFFER_BYTES: usize = 4 << 20;
const RECORD_BYTES: usize = 12;

/// Pairs of a cell and a value, appended and then read from the start as often as needed.
///
/// The file has no name: however the process ends, nothing is left on the disk.
#[derive(Debug, Default)]
pub struct Spill {
    buffer: Vec<u8>,
    file: Option<File>,
}

impl Spill {
    pub fn append(&mut self, cell: u32, values: &[f64]) -> io::Result<()> {
        for value in values {
            self.buffer.extend_from_slice(&cell.to_le_bytes());
            self.buffer.extend_from_slice(&value.to_le_bytes());
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Calls `each` with every cell and value, in the order in which they came.
    pub fn read(&mut self, mut each: impl FnMut(u32, f64)) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let mut reader = BufReader::with_capacity(1, &mut *file);
            let mut chunk = vec![0; RECORD_BYTES << 14];
            loop {
                let length = read_full(&mut reader, &mut chunk)?;
                if length == 0 {
                    break;
                }
                read_records(&chunk[..length], &mut each);
            }
        }
        read_records(&self.buffer, &mut each);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
            self.buffer.reserve(BUFFER_BYTES / 4);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn read_records(bytes: &[u8], each: &mut impl FnMut(u32, f64)) {
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let (cell, value) = record.split_at(4);
        let cell = u32::from_le_bytes(cell.try_into().expect("the first four bytes"));
        let value = f64::from_le_bytes(value.try_into().expect("the last eight bytes"));
        each(cell, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_appended_more_than_once() {
        let mut spill = Spill::default();
        let rows_count = 3 * BUFFER_BYTES / RECORD_BYTES;
        for row in 0..rows_count as u32 {
            spill.append(row % 7, &[f64::from(row)]).unwrap();
        }
        assert!(spill.file.is_some());
        for _ in 0..2 {
            let mut next = 0;
            spill
                .read(|cell, value| {
                    assert_eq!((cell, value), (next % 7, f64::from(next)));
                    next += 1;
                })
                .unwrap();
            assert_eq!(next as usize, rows_count);
        }
    }
}
