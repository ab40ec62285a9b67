//! The id of a finding: the same for the same cause in a live view, in the report and in a ticket.

use crate::model::finding::{FindingKind, SeriesReference};
use crate::model::time::Timestamp;

/// Returns 16 hexadecimal digits of what a finding is of; its figures are not part of it.
pub fn finding_id(test: &str, kind: FindingKind, series: &SeriesReference, from: Option<Timestamp>) -> String {
    let mut hash = FNV_OFFSET;
    let mut add = |text: &str| {
        // 0xff is in no UTF-8 text, so parts cannot run into each other.
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    };
    add(test);
    add(kind.name());
    add(&series.metric);
    for (name, value) in &series.tags {
        add(name);
        add(value);
    }
    add(&from.map(|from| from.0.to_string()).unwrap_or_default());
    format!("{hash:016x}")
}

/// FNV-1a of 64 bits (Fowler, Noll & Vo): draft-eastlake-fnv, section 5.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
