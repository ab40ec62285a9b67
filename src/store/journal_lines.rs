//! The lines of one pod within a segment of the journal.

use std::io::{self, Read, Write};

use crate::model::stream::Extent;

/// k6's lines shrink to an eighteenth, at nearly twice the speed of level 1, which makes a twenty-third of them
/// (`zstd -b --fast=3`, `zstd -b1`); both are read once or twice, and deleted.
const ZSTD_LEVEL: i32 = -3;
/// What a section may inflate to: far more than a segment is filled with.
const SECTION_BYTES_MAX: u64 = 1 << 30;

/// The lines of a section, ordered by their numbers: `bytes` holds the extents' one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    pub extents: Vec<Extent>,
    pub bytes: Vec<u8>,
}

impl Lines {
    /// Orders by number what came in any order.
    pub(super) fn ordered(self) -> Lines {
        if self.extents.is_sorted_by_key(|extent| extent.first_line) {
            return self;
        }
        let mut begin = 0;
        let mut places: Vec<(Extent, usize)> = self
            .extents
            .iter()
            .map(|extent| {
                let at = begin;
                begin += extent.bytes as usize;
                (*extent, at)
            })
            .collect();
        places.sort_by_key(|(extent, _)| extent.first_line);
        let mut ordered = Lines { extents: Vec::new(), bytes: Vec::with_capacity(self.bytes.len()) };
        for (extent, at) in places {
            ordered.bytes.extend_from_slice(&self.bytes[at..at + extent.bytes as usize]);
            match ordered.extents.last_mut() {
                Some(last) if last.end() == extent.first_line => {
                    last.lines_count += extent.lines_count;
                    last.bytes += extent.bytes;
                }
                _ => ordered.extents.push(extent),
            }
        }
        ordered
    }

    /// Writes a count, the extents and the bytes, compressed together.
    pub(super) fn write(&self, body: &mut Vec<u8>) -> io::Result<()> {
        let mut encoder = zstd::stream::write::Encoder::new(body, ZSTD_LEVEL)?;
        encoder.write_all(&(self.extents.len() as u64).to_le_bytes())?;
        for extent in &self.extents {
            for number in [extent.first_line, extent.lines_count, extent.bytes] {
                encoder.write_all(&number.to_le_bytes())?;
            }
        }
        encoder.write_all(&self.bytes)?;
        encoder.finish().map(drop)
    }

    pub(super) fn read(compressed: &[u8], expected_bytes: u64) -> io::Result<Lines> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a section is not what its index says");
        let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?.take(SECTION_BYTES_MAX);
        let mut number = || -> io::Result<u64> {
            let mut bytes = [0; 8];
            decoder.read_exact(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let count = number()?;
        let mut extents = Vec::new();
        for _ in 0..count {
            extents.push(Extent { first_line: number()?, lines_count: number()?, bytes: number()? });
        }
        let mut bytes = Vec::with_capacity(expected_bytes.min(SECTION_BYTES_MAX) as usize);
        decoder.read_to_end(&mut bytes)?;
        let told = extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.bytes));
        if told != Some(bytes.len() as u64) || expected_bytes != bytes.len() as u64 {
            return Err(broken());
        }
        Ok(Lines { extents, bytes })
    }
}
