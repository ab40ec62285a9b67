//! A run's id, made of its samples alone: the same for a file, its gzip, a pipe, or its lines dealt to three files.

use sha2::{Digest, Sha256};

use crate::tables::samples::Label;

/// Sums over all samples of two hashes each: the same for any order of the same samples.
#[derive(Debug, Default)]
pub struct ContentHash {
    sums: [u64; 2],
    samples_count: u64,
}

impl ContentHash {
    /// Adds samples: columns of equal length. `label_hashes`: by label, from `label_hash`.
    pub fn add(&mut self, times_ns: &[i64], values: &[f64], labels: &[u32], label_hashes: &[u64]) {
        let [mut left, mut right] = self.sums;
        for ((time_ns, value), label) in times_ns.iter().zip(values).zip(labels) {
            let hash = label_hashes[*label as usize];
            let first = mix(hash ^ (*time_ns as u64).rotate_left(32)) ^ value.to_bits();
            left = left.wrapping_add(mix(first));
            right = right.wrapping_add(mix(first ^ 0x9e37_79b9_7f4a_7c15));
        }
        self.sums = [left, right];
        self.samples_count += times_ns.len() as u64;
    }

    pub fn samples_count(&self) -> u64 {
        self.samples_count
    }

    pub fn run_id(&self) -> String {
        let mut bytes = self.samples_count.to_le_bytes().to_vec();
        self.sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
        id_of(&bytes)
    }
}

/// Returns the beginning of the SHA-256 of `bytes` as a run's id: 16 hexadecimal digits.
pub fn id_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn label_hash(label: &Label) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(label.metric.as_bytes());
    // An empty tag and an absent one are the same in CSV.
    for (name, value) in label.tags.iter().filter(|(_, value)| !value.is_empty()) {
        hasher.update([0]);
        hasher.update(name.as_bytes());
        hasher.update([1]);
        hasher.update(value.as_bytes());
    }
    u64::from_le_bytes(hasher.finalize()[..8].try_into().expect("eight of 32 bytes"))
}

/// Spreads every bit over the whole word: the finaliser of MurmurHash3 (Appleby, public domain).
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}
