//! A fine histogram over all of f64, and the exact order statistics that it leads to.
//!
//! The histogram says in which bucket a rank lies; reading the values once more, only those of that bucket need be kept.
//! So percentiles are exact in bounded memory at any size (radix selection; Knuth, TAOCP vol. 3, 5.3.3).

/// Bits of the mantissa that a bucket does not look at: 128 buckets an octave, each at most 0.8 % wide.
pub(super) const BUCKET_SHIFT: u32 = 45;
const BUCKETS_PER_PAGE: usize = 128;

/// Maps f64 to u64 so that the order stays: `total_cmp` as an integer.
#[inline]
pub fn order_key(value: f64) -> u64 {
    // -0.0 and 0.0 are one value to k6; adding zero makes them one key.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The values of one bucket: how many, and the value itself while all are equal.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    count: u64,
    /// NaN when the bucket holds different values.
    only: f64,
}

const EMPTY: Bucket = Bucket { count: 0, only: f64::NAN };

impl Bucket {
    fn add(&mut self, count: u64, only: f64) {
        if self.count == 0 {
            self.only = only;
        } else if self.only != only {
            self.only = f64::NAN;
        }
        self.count += count;
    }
}

/// Counts of values by their leading bits. One page holds the buckets of one sign and octave.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Ascending by octave.
    pages: Vec<(u64, Box<[Bucket; BUCKETS_PER_PAGE]>)>,
    count: u64,
}

impl Histogram {
    /// `values`: ascending, without NaN.
    pub fn record_sorted(&mut self, values: &[f64]) {
        self.count += values.len() as u64;
        let mut rest = values;
        while let Some(&first) = rest.first() {
            let key = order_key(first) >> BUCKET_SHIFT;
            let length = rest.iter().take_while(|value| order_key(**value) >> BUCKET_SHIFT == key).count();
            let only = if rest[length - 1] == first { first } else { f64::NAN };
            self.bucket(key).add(length as u64, only);
            rest = &rest[length..];
        }
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.count += other.count;
        for (octave, page) in &other.pages {
            let mine = self.page(*octave);
            for (bucket, theirs) in mine.iter_mut().zip(page.iter()) {
                if theirs.count > 0 {
                    bucket.add(theirs.count, theirs.only);
                }
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns where the value of `rank` (from 0, ascending, below `count`) is.
    pub fn locate(&self, rank: u64) -> Located {
        let mut before = 0;
        for (octave, page) in &self.pages {
            for (index, bucket) in page.iter().enumerate() {
                if rank < before + bucket.count {
                    if !bucket.only.is_nan() {
                        return Located::Exact(bucket.only);
                    }
                    let prefix = octave * BUCKETS_PER_PAGE as u64 + index as u64;
                    return Located::Within(Range { prefix, shift: BUCKET_SHIFT, count: bucket.count }, rank - before);
                }
                before += bucket.count;
            }
        }
        panic!("rank {rank} of {} values", self.count);
    }

    fn bucket(&mut self, key: u64) -> &mut Bucket {
        &mut self.page(key / BUCKETS_PER_PAGE as u64)[key as usize % BUCKETS_PER_PAGE]
    }

    fn page(&mut self, octave: u64) -> &mut [Bucket; BUCKETS_PER_PAGE] {
        let index = match self.pages.binary_search_by_key(&octave, |(octave, _)| *octave) {
            Ok(index) => index,
            Err(index) => {
                self.pages.insert(index, (octave, Box::new([EMPTY; BUCKETS_PER_PAGE])));
                index
            }
        };
        &mut self.pages[index].1
    }
}

/// Where the value of a rank is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Located {
    Exact(f64),
    /// Among the values of this range, at this rank within it.
    Within(Range, u64),
}

/// The values whose order keys begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    prefix: u64,
    shift: u32,
    /// How many values lie in it.
    pub count: u64,
}

/// Values of one range while they are read once more: kept when they are few, counted finer when they are many.
#[derive(Debug)]
pub struct Selection {
    pub range: Range,
    kept: Vec<f64>,
    /// By the next bits of the key; in use when the range holds more than may be kept.
    finer: Option<std::collections::BTreeMap<u64, Bucket>>,
}

/// How many more bits one further reading looks at.
const REFINE_BITS: u32 = 15;

impl Selection {
    /// `keep_max`: how many values may be kept in memory.
    pub fn new(range: Range, keep_max: u64) -> Selection {
        Selection { range, kept: Vec::new(), finer: (range.count > keep_max).then(Default::default) }
    }

    /// Takes those of `sorted` (ascending) that the range holds.
    pub fn offer(&mut self, sorted: &[f64]) {
        let prefix_of = |value: &f64| order_key(*value) >> self.range.shift;
        let reaches = |value: Option<&f64>| value.map(prefix_of);
        // Most ranges lie between the values of a tail that this window does not have.
        if reaches(sorted.first()) > Some(self.range.prefix) || reaches(sorted.last()) < Some(self.range.prefix) {
            return;
        }
        let begin = sorted.partition_point(|value| prefix_of(value) < self.range.prefix);
        let held = &sorted[begin..];
        let held = &held[..held.partition_point(|value| prefix_of(value) == self.range.prefix)];
        let finer_shift = self.finer_shift();
        match &mut self.finer {
            None => self.kept.extend_from_slice(held),
            Some(finer) => {
                for value in held {
                    finer.entry(order_key(*value) >> finer_shift).or_insert(EMPTY).add(1, *value);
                }
            }
        }
    }

    /// After all values were offered: returns where each rank within the range is.
    pub fn locate(&mut self, rank: u64) -> Located {
        let Some(finer) = &self.finer else {
            let index = rank as usize;
            let (_, value, _) = self.kept.select_nth_unstable_by(index, f64::total_cmp);
            return Located::Exact(*value);
        };
        let mut before = 0;
        for (prefix, bucket) in finer {
            if rank < before + bucket.count {
                if !bucket.only.is_nan() {
                    return Located::Exact(bucket.only);
                }
                let range = Range { prefix: *prefix, shift: self.finer_shift(), count: bucket.count };
                return Located::Within(range, rank - before);
            }
            before += bucket.count;
        }
        panic!("rank {rank} of a range with {before} values");
    }

    fn finer_shift(&self) -> u32 {
        self.range.shift.saturating_sub(REFINE_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the value of `rank` by reading `values` as often as it takes.
    fn select(values: &[f64], rank: u64, keep_max: u64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut histogram = Histogram::default();
        for part in sorted.chunks(7) {
            histogram.record_sorted(part);
        }
        let mut located = histogram.locate(rank);
        for _ in 0..5 {
            let (range, within) = match located {
                Located::Exact(value) => return value,
                Located::Within(range, within) => (range, within),
            };
            let mut selection = Selection::new(range, keep_max);
            sorted.chunks(11).for_each(|part| selection.offer(part));
            located = selection.locate(within);
        }
        panic!("more readings than the key has bits");
    }

    /// Deterministic values without a dependency: a multiplicative generator.
    fn values(count: usize, scale: f64) -> Vec<f64> {
        let mut state = 88172645463325252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..count).map(|_| (next() % 1_000_003) as f64 * scale).collect()
    }

    #[test]
    fn every_rank_is_exact() {
        let mut samples = values(2_000, 1e-4);
        samples.extend([0.0, -0.0, -1.5, f64::MAX, f64::MIN, 5e-324, -5e-324, 1.0, 1.0, 1.0]);
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        for keep_max in [1_000_000, 1] {
            for rank in (0..samples.len()).step_by(13).chain([0, samples.len() - 1]) {
                assert_eq!(select(&samples, rank as u64, keep_max), sorted[rank], "rank {rank}, keep_max {keep_max}");
            }
        }
    }

    #[test]
    fn merged_is_as_recorded_together() {
        let mut sorted = values(1_000, 0.25);
        sorted.sort_by(f64::total_cmp);
        let (mut left, mut right, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        left.record_sorted(&sorted[..400]);
        right.record_sorted(&sorted[400..]);
        both.record_sorted(&sorted);
        left.merge(&right);
        for rank in 0..1_000 {
            assert_eq!(left.locate(rank), both.locate(rank));
        }
    }
}
