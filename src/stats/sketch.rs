//! A sketch of many values: counts by their leading bits. Sketches of parts add up to the sketch of the whole.
//!
//! The buckets are the histogram's, 128 an octave, so that an order statistic is known to within `RELATIVE_ERROR` of
//! itself (Masson, Rim & Lee (2019), "DDSketch", section 2.1, with the logarithm made of pieces).

use super::histogram::{BUCKET_SHIFT, order_key};
use super::quantile::{interpolate, position};

/// A bucket reaches from x to x (1 + 1/128), and its middle stands for it.
pub const RELATIVE_ERROR: f64 = 1.0 / 256.0;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a sketch: it ends within a number, or a number in it is too large")]
pub struct NotSketch;

/// How many values lie in each bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Buckets that hold values, ascending.
    counts: Vec<(u32, u64)>,
}

impl Sketch {
    /// Returns the sketch as `bytes_of_sorted` gives it for the same values.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes_of(self.counts.iter().copied())
    }

    /// Adds the sketch that `bytes_of_sorted` or `to_bytes` gave; after an error nothing of it is added.
    pub fn merge_bytes(&mut self, mut bytes: &[u8]) -> Result<(), NotSketch> {
        let mut bucket = 0u32;
        let length = bytes.len() / 2;
        self.merge_counts(length, || {
            if bytes.is_empty() {
                return Ok(None);
            }
            let distance = u32::try_from(read_number(&mut bytes)?).map_err(|_| NotSketch)?;
            bucket = bucket.checked_add(distance).ok_or(NotSketch)?;
            Ok(Some((bucket, read_number(&mut bytes)?)))
        })
    }

    pub fn merge(&mut self, other: &Sketch) {
        let mut counts = other.counts.iter().copied();
        self.merge_counts(counts.len(), || Ok(counts.next())).expect("only bytes may be no sketch");
    }

    /// Adds what `next` gives until it gives none: by bucket, ascending, about `length` of them.
    fn merge_counts(
        &mut self,
        length: usize,
        mut next: impl FnMut() -> Result<Option<(u32, u64)>, NotSketch>,
    ) -> Result<(), NotSketch> {
        let mut merged: Vec<(u32, u64)> = Vec::with_capacity(self.counts.len() + length);
        let mut own = self.counts.as_slice();
        while let Some((bucket, count)) = next()? {
            while let Some((first, rest)) = own.split_first()
                && first.0 <= bucket
            {
                merged.push(*first);
                own = rest;
            }
            match merged.last_mut() {
                Some((last, sum)) if *last == bucket => *sum = sum.saturating_add(count),
                _ => merged.push((bucket, count)),
            }
        }
        merged.extend_from_slice(own);
        self.counts = merged;
        Ok(())
    }

    /// Returns the middle of each bucket that holds values, ascending, and how many it holds.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        self.counts.iter().map(|(bucket, count)| (middle_of(*bucket), *count))
    }

    /// Returns each bucket that holds values, ascending, and how many it holds.
    pub fn buckets(&self) -> &[(u32, u64)] {
        &self.counts
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Returns quantile `p` (0 to 1) to within `RELATIVE_ERROR` of each of the two values between which it lies; none of no
    /// values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let position = position(p, self.count())?;
        let (lower, upper) = (self.value_at(position.lower_rank)?, self.value_at(position.upper_rank)?);
        Some(interpolate(lower, upper, position.fraction))
    }

    fn value_at(&self, rank: u64) -> Option<f64> {
        let mut until = 0u64;
        for (bucket, count) in &self.counts {
            until = until.saturating_add(*count);
            if rank < until {
                return Some(middle_of(*bucket));
            }
        }
        None
    }
}

/// Returns the sketch of `sorted` (ascending, without NaN): pairs of how far a bucket is from the one before, and how many
/// values it holds, each as LEB128.
pub fn bytes_of_sorted(sorted: &[f64]) -> Vec<u8> {
    let same_bucket = sorted.chunk_by(|left, right| bucket_of(*left) == bucket_of(*right));
    bytes_of(same_bucket.map(|same| (bucket_of(same[0]), same.len() as u64)))
}

/// `counts`: by bucket, ascending.
fn bytes_of(counts: impl Iterator<Item = (u32, u64)>) -> Vec<u8> {
    let (mut bytes, mut before) = (Vec::new(), 0);
    for (bucket, count) in counts {
        write_number(&mut bytes, u64::from(bucket - before));
        write_number(&mut bytes, count);
        before = bucket;
    }
    bytes
}

fn bucket_of(value: f64) -> u32 {
    // 19 bits are left of 64.
    (order_key(value) >> BUCKET_SHIFT) as u32
}

/// Returns what stands for the values of a bucket.
pub fn middle_of(bucket: u32) -> f64 {
    let key = u64::from(bucket) << BUCKET_SHIFT | 1 << (BUCKET_SHIFT - 1);
    let value = f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key });
    // What is nearer to 0 than any normal number is in the bucket of 0.
    if value.abs() < f64::MIN_POSITIVE { 0.0 } else { value }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, NotSketch> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(NotSketch)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NotSketch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile::of_sorted;
    use proptest::prelude::*;

    fn sketch_of(values: &[f64]) -> Sketch {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut sketch = Sketch::default();
        sketch.merge_bytes(&bytes_of_sorted(&sorted)).unwrap();
        assert_eq!(sketch.to_bytes(), bytes_of_sorted(&sorted));
        sketch
    }

    #[test]
    fn what_is_no_sketch() {
        for wrong in [&[0x80][..], &[1], &[1, 0x80], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]] {
            let mut sketch = sketch_of(&[1.0]);
            assert_eq!(sketch.merge_bytes(wrong), Err(NotSketch), "{wrong:?}");
            assert_eq!(sketch, sketch_of(&[1.0]));
        }
        assert_eq!(Sketch::default().quantile(0.5), None);
        assert_eq!(sketch_of(&[0.0, 0.0]).quantile(0.5), Some(0.0));
    }

    proptest! {
        #[test]
        fn parts_add_up_and_the_error_is_bounded(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![0.001f64..10_000.0, -50.0f64..-0.001, Just(0.0)], 0..60), 1..8),
            p in 0.0f64..=1.0,
        ) {
            let mut merged = Sketch::default();
            for part in &parts {
                merged.merge_bytes(&sketch_of(part).to_bytes()).unwrap();
            }
            let mut all = parts.concat();
            all.sort_by(f64::total_cmp);
            prop_assert_eq!(&merged, &sketch_of(&all));
            let (Some(found), Some(exact)) = (merged.quantile(p), of_sorted(&all, p)) else {
                prop_assert!(all.is_empty());
                return Ok(());
            };
            // The two values between which it lies may differ in size, so the larger one bounds the error.
            let position = position(p, all.len() as u64).unwrap();
            let size = all[position.lower_rank as usize].abs().max(all[position.upper_rank as usize].abs());
            prop_assert!((found - exact).abs() <= RELATIVE_ERROR * size, "{} is not {}", found, exact);
        }
    }
}
