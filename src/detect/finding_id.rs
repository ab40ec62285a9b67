//! The id of a finding: the same for the same thing in a live finding, in the report and in a ticket.

use crate::model::finding::{FindingKind, SeriesReference};
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

/// Two judgements of one onset lie a few seconds apart: while the run goes on, less of it is known.
const ONSET_SECONDS: i64 = 10;

/// Returns 16 hexadecimal digits. `onset`: none for a finding about the whole run.
pub fn finding_id(test: &str, kind: FindingKind, series: &SeriesReference, onset: Option<Timestamp>) -> String {
    let mut hash = Fnv::default();
    hash.field(test);
    hash.field(kind.name());
    hash.field(&series.metric);
    for (name, value) in &series.tags {
        hash.field(name);
        hash.field(value);
    }
    hash.field(series.statistic.as_deref().unwrap_or_default());
    if let Some(onset) = onset {
        hash.field(&onset.0.div_euclid(ONSET_SECONDS * NANOSECONDS_PER_SECOND).to_string());
    }
    format!("{:016x}", hash.0)
}

/// FNV-1a of 64 bits: stable between versions and machines, which the standard library's hashes are not.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Ends with a byte that no UTF-8 text holds, so that fields cannot run into each other.
    fn field(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: the test vectors that the authors of FNV publish, for 64 bits, 1a.
    #[test]
    fn known_answers() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut hash = Fnv::default();
            hash.bytes(text.as_bytes());
            assert_eq!(hash.0, expected, "{text}");
        }
    }

    #[test]
    fn every_part_matters() {
        let series = |metric: &str, name: &str| SeriesReference {
            metric: metric.to_owned(),
            tags: [("name".to_owned(), name.to_owned())].into(),
            statistic: None,
        };
        let id = |test: &str, kind, series: &SeriesReference, seconds: i64| {
            finding_id(test, kind, series, Some(Timestamp(seconds * NANOSECONDS_PER_SECOND)))
        };
        let (anomaly, latency) = (FindingKind::Anomaly, FindingKind::Latency);
        let ids = [
            id("shop", anomaly, &series("a", "b"), 100),
            id("shops", anomaly, &series("a", "b"), 100),
            id("shop", latency, &series("a", "b"), 100),
            id("shop", anomaly, &series("a", "c"), 100),
            id("shop", anomaly, &series("ab", ""), 100),
            id("shop", anomaly, &series("a", "b"), 110),
            finding_id("shop", anomaly, &series("a", "b"), None),
        ];
        assert!(ids.iter().zip(1..).all(|(id, next)| !ids[next..].contains(id)), "{ids:?}");
        assert_eq!(ids[0], id("shop", anomaly, &series("a", "b"), 109));
    }
}
