//! What a closed test left out: a VU that waits for a slow response does not send the requests that were due meanwhile, and their
//! waiting is in no percentile (coordinated omission; G. Tene, "How NOT to Measure Latency", 2013).
//!
//! As HdrHistogram's `copyCorrectedForCoordinatedOmission` does: a value `v` that is longer than the interval `t` at which its
//! VU usually sends stands for further ones of `v - t`, `v - 2t` and so on, down to `t`: those that were due while it lasted. What
//! comes of it is an estimate: it takes for granted that the system would have answered them all at the end of the stall.

use super::sketch::Sketch;

/// The values left out by one bucket are at most as many points, evenly spread.
const POINTS_MAX: u64 = 256;

/// Values with those that were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Corrected {
    /// Values with how many each stands for, ascending.
    points: Vec<(f64, f64)>,
    /// Values that were left out.
    pub omitted_count: u64,
}

impl Corrected {
    /// `interval`: between two values of one VU as it usually is, in the unit of the values; above 0.
    pub fn of(sketch: &Sketch, interval: f64) -> Corrected {
        let mut points = Vec::new();
        let mut omitted_count = 0u64;
        for (value, count) in sketch.values() {
            points.push((value, count as f64));
            // As many as fit between the interval and the value, each an interval shorter than the last.
            let each = (value / interval - 1.0).floor();
            if !(each >= 1.0 && each.is_finite()) {
                continue;
            }
            omitted_count = omitted_count.saturating_add((each * count as f64) as u64);
            let points_count = (each as u64).min(POINTS_MAX);
            let (stride, weight) = (each / points_count as f64, each * count as f64 / points_count as f64);
            // A point stands in the middle of those that it stands for.
            let steps = (0..points_count).map(|point| (point as f64 + 0.5) * stride + 0.5);
            points.extend(steps.map(|steps| (value - steps * interval, weight)));
        }
        points.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        Corrected { points, omitted_count }
    }

    /// Returns the quantile `p` (0 to 1); none of no values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let asked = p * self.points.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut below = 0.0;
        let at = self.points.iter().find(|(_, weight)| {
            below += weight;
            below >= asked
        });
        at.or(self.points.last()).map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sketch::bytes_of_sorted;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        sketch.merge_bytes(&bytes_of_sorted(values)).unwrap();
        sketch
    }

    /// The example of the talk, in ms: 10,000 requests of 1 ms in 100 s, one each 10 ms, then the system stops for 100 s. Had they
    /// gone on, 9,999 more would have waited, evenly from 10 ms to 99.99 s.
    #[test]
    fn a_stop_of_half_the_time_is_half_of_the_values() {
        let mut values = vec![1.0; 10_000];
        values.push(100_000.0);
        let corrected = Corrected::of(&sketch(&values), 10.0);
        assert!(corrected.omitted_count.abs_diff(9_999) < 100, "{}", corrected.omitted_count);
        for (p, expected) in [(0.3, 1.0), (0.75, 50_000.0), (0.9, 80_000.0), (0.99, 98_000.0)] {
            let found = corrected.quantile(p).unwrap();
            assert!((found / expected - 1.0).abs() < 0.02, "{p}: {found} is not {expected}");
        }
    }

    #[test]
    fn where_nothing_waited_nothing_is_left_out() {
        let values: Vec<f64> = (1..=1_000).map(|index| 10.0 + f64::from(index) / 1_000.0).collect();
        let corrected = Corrected::of(&sketch(&values), 100.0);
        assert_eq!(corrected.omitted_count, 0);
        assert!((corrected.quantile(0.5).unwrap() / 10.5 - 1.0).abs() < 0.01);
        assert_eq!(Corrected::of(&Sketch::default(), 1.0).quantile(0.5), None);
        // Two values fit between 1 and 3.5: 2.5 and 1.5.
        assert_eq!(Corrected::of(&sketch(&[3.5]), 1.0).omitted_count, 2);
        let wild = Corrected::of(&sketch(&[0.0, 1e300, f64::INFINITY]), 1e-300);
        assert!(wild.quantile(0.5).is_some());
    }
}
