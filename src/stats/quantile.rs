//! Percentiles as k6 computes them: linear interpolation at `p * (n - 1)`.
//!
//! Hyndman & Fan (1996), definition 7; k6 2.2, `metrics/sink.go`.

/// The two order statistics between which a quantile lies, and how far it is from the lower one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Counted from 0.
    pub lower_rank: u64,
    pub upper_rank: u64,
    pub fraction: f64,
}

/// Returns where quantile `p` (0 to 1) of `count` values lies; none of no values.
pub fn position(p: f64, count: u64) -> Option<Position> {
    let last = count.checked_sub(1)?;
    // The same operations in the same order as k6: the last bit depends on them.
    let index = p * (count as f64 - 1.0);
    let floor = index.floor();
    Some(Position {
        lower_rank: (floor as u64).min(last),
        upper_rank: (index.ceil() as u64).min(last),
        fraction: index - floor,
    })
}

/// Returns the value at a position whose order statistics are known.
pub fn interpolate(lower: f64, upper: f64, fraction: f64) -> f64 {
    lower + (upper - lower) * fraction
}

/// Returns quantile `p` (0 to 1) of `sorted`, ascending and without NaN; none of no values.
pub fn of_sorted(sorted: &[f64], p: f64) -> Option<f64> {
    let position = position(p, sorted.len() as u64)?;
    let (lower, upper) = (sorted[position.lower_rank as usize], sorted[position.upper_rank as usize]);
    Some(interpolate(lower, upper, position.fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sorted: &[f64], p: f64, expected: f64) {
        assert_eq!(of_sorted(sorted, p), Some(expected));
    }

    /// Expected values: NumPy 2.4, `numpy.quantile(values, p)`, whose default is the same definition.
    #[test]
    fn known_answers() {
        check(&[5.0], 0.95, 5.0);
        check(&[1.0, 2.0], 0.5, 1.5);
        check(&[1.0, 2.0, 3.0, 4.0], 0.25, 1.75);
        check(&[0.1, 0.2, 0.4, 0.8, 1.6, 3.2], 0.0, 0.1);
        check(&[0.1, 0.2, 0.4, 0.8, 1.6, 3.2], 1.0, 3.2);
        check(&[0.1, 0.2, 0.4, 0.8, 1.6, 3.2], 0.5, 0.6000000000000001);
        assert_eq!(of_sorted(&[], 0.5), None);
    }
}
