//! Middle and spread that a few wild values do not move.

/// 1.4826 makes the median of absolute deviations an estimate of sigma for normal data: 1 over the normal quantile of 3/4.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// Returns the median, the mean of the middle two of an even number; 0 of none. No value may be NaN.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    let half = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| is_even);
    lower.map_or(*upper, |lower| 0.5 * (lower + *upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_or_the_mean_of_two() {
        assert_eq!((median(&[]), median(&[2.0]), median(&[3.0, 1.0]), median(&[9.0, 1.0, 2.0])), (0.0, 2.0, 2.0, 2.0));
    }
}
