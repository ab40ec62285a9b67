//! Values that must be read once more: in memory while they are few, then in a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes in memory before the file is used; the same for small and large runs, so that memory does not grow.
const BUFFER_BYTES: usize = 4 << 20;

/// A cell and a count, four bytes each, come before the values.
const HEADER_BYTES: usize = 8;
const VALUE_BYTES: usize = 8;

/// Ascending values of one cell at a time, appended and then read from the start as often as needed.
///
/// The file has no name: however the process ends, nothing is left on the disk.
#[derive(Debug, Default)]
pub struct Spill {
    buffer: Vec<u8>,
    file: Option<File>,
    longest_bytes: usize,
}

impl Spill {
    /// `values`: ascending, fewer than 2^32.
    pub fn append(&mut self, cell: u32, values: &[f64]) -> io::Result<()> {
        self.buffer.extend_from_slice(&cell.to_le_bytes());
        self.buffer.extend_from_slice(&(values.len() as u32).to_le_bytes());
        self.buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.longest_bytes = self.longest_bytes.max(HEADER_BYTES + VALUE_BYTES * values.len());
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Calls `each` with every cell and its ascending values, in the order in which they came.
    pub fn read(&mut self, mut each: impl FnMut(u32, &[f64])) -> io::Result<()> {
        let mut values = Vec::new();
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let mut bytes = vec![0; self.longest_bytes.max(256 << 10)];
            let mut kept = 0;
            loop {
                let length = file.read(&mut bytes[kept..])?;
                if length == 0 {
                    break;
                }
                let parsed = read_records(&bytes[..kept + length], &mut values, &mut each);
                bytes.copy_within(parsed..kept + length, 0);
                kept = kept + length - parsed;
            }
        }
        read_records(&self.buffer, &mut values, &mut each);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads whole records; returns the bytes that they took.
fn read_records(bytes: &[u8], values: &mut Vec<f64>, each: &mut impl FnMut(u32, &[f64])) -> usize {
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk::<HEADER_BYTES>() {
        let [cell, count] =
            [&header[..4], &header[4..]].map(|half| u32::from_le_bytes(half.try_into().expect("half of eight")));
        let begin = at + HEADER_BYTES;
        let end = begin + VALUE_BYTES * count as usize;
        let Some(text) = bytes.get(begin..end) else { break };
        values.clear();
        values.extend(text.chunks_exact(VALUE_BYTES).map(|value| f64::from_le_bytes(value.try_into().expect("eight"))));
        each(cell, values);
        at = end;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_appended_more_than_once() {
        let mut spill = Spill::default();
        let records: Vec<(u32, Vec<f64>)> =
            (0..20_000u32).map(|row| (row % 7, (0..row % 99).map(|value| f64::from(row + value)).collect())).collect();
        for (cell, values) in &records {
            spill.append(*cell, values).unwrap();
        }
        assert!(spill.file.is_some());
        for _ in 0..2 {
            let mut next = records.iter();
            spill.read(|cell, values| assert_eq!(next.next(), Some(&(cell, values.to_vec())))).unwrap();
            assert_eq!(next.len(), 0);
        }
    }

    #[test]
    fn a_record_may_be_longer_than_the_buffer() {
        let mut spill = Spill::default();
        let long: Vec<f64> = (0..1_000_000).map(f64::from).collect();
        spill.append(1, &long).unwrap();
        spill.append(2, &[0.5]).unwrap();
        let mut seen = Vec::new();
        spill.read(|cell, values| seen.push((cell, values.len()))).unwrap();
        assert_eq!(seen, [(1, 1_000_000), (2, 1)]);
    }
}
