//! How far a run's tail lies from its median, measured by two figures of the tail at once.
//!
//! A tail is measured badly by one percentile: where few requests lie near it, it jumps from window to window. What stretches a
//! tail moves the percentiles of it together, so their least noisy average shows the stretch sooner than either. How noisy
//! each is, and how much of that they share, the windows within the runs tell; changes between runs are not in it.

use super::robust::{MAD_TO_SIGMA, median};

/// At least this part of the average is the judged figure itself, so that it cannot move unseen when it moves alone.
const OWN_PART_MIN: f64 = 0.25;
/// A window with a pause counts for at most this many sigma.
const CLIP: f64 = 3.0;

/// Returns for each window of each run the average of two figures of its tail, each as ln of it less ln of the median.
///
/// Warm-up may stay in: what slows a whole window cancels, and all windows tell more of the tail than some.
/// `own`: of the judged figure; `other`: of another percentile of the tail, of the same windows. Where `other` is not known of
/// every window that `own` is known of, the result is `own`: a run with fewer requests would else have another tail.
pub fn averaged(own: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let are_known = |own: &Vec<f64>, other: &Vec<f64>| {
        own.len() == other.len() && own.iter().zip(other).all(|(own, other)| other.is_finite() || !own.is_finite())
    };
    if own.len() != other.len() || !own.iter().zip(other).all(|(own, other)| are_known(own, other)) {
        return own.to_vec();
    }
    let part = own_part(own, other);
    let of_window = |(own, other): (&f64, &f64)| part * own + (1.0 - part) * other;
    own.iter().zip(other).map(|(own, other)| own.iter().zip(other).map(of_window).collect()).collect()
}

/// Returns the part of the judged figure in the average of least variance, (w - c) / (v + w - 2c) for the variances v of it and
/// w of the other and their covariance c.
fn own_part(own: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    let (own, other) = (residuals(own), residuals(other));
    let products = |left: &[f64], right: &[f64]| -> f64 {
        left.iter().zip(right).map(|(left, right)| left * right).filter(|product| product.is_finite()).sum()
    };
    let (v, w, c) = (products(&own, &own), products(&other, &other), products(&own, &other));
    let of_difference = v + w - 2.0 * c;
    if of_difference > 0.0 { ((w - c) / of_difference).clamp(OWN_PART_MIN, 1.0) } else { 1.0 }
}

/// Returns each window's distance from the middle of its run, clipped; one that is not finite stays so.
fn residuals(runs: &[Vec<f64>]) -> Vec<f64> {
    let about_middle = |run: &Vec<f64>| {
        let middle = median(&run.iter().copied().filter(|value| value.is_finite()).collect::<Vec<f64>>());
        run.iter().map(|value| value - middle).collect::<Vec<f64>>()
    };
    let residuals: Vec<f64> = runs.iter().flat_map(about_middle).collect();
    let sizes: Vec<f64> = residuals.iter().map(|value| value.abs()).filter(|value| value.is_finite()).collect();
    let limit = CLIP * MAD_TO_SIGMA * median(&sizes);
    residuals.iter().map(|value| if value.is_finite() { value.clamp(-limit, limit) } else { f64::NAN }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    /// Expected values: of two independent figures with variances v and w, the average of least variance has the part
    /// w / (v + w) of the first: 0.8 for 1 and 4, 0.5 for equal ones, and 0.06, which is too little, for 16 and 1.
    #[test]
    fn the_average_is_the_least_noisy_one() {
        let mut draws = Draws::seeded(3);
        for (own_sigma, other_sigma, expected) in [(1.0, 2.0, 0.8), (1.0, 1.0, 0.5), (4.0, 1.0, OWN_PART_MIN)] {
            let mut noise = |sigma: f64| -> Vec<Vec<f64>> {
                (0..200).map(|_| (0..12).map(|_| sigma * draws.normal()).collect()).collect()
            };
            let part = own_part(&noise(own_sigma), &noise(other_sigma));
            assert!((part - expected).abs() < 0.05, "{part}, not {expected}");
        }
    }

    #[test]
    fn edges() {
        assert!(averaged(&[], &[]).is_empty());
        let own = [vec![1.0, 2.0], vec![3.0]];
        assert_eq!(averaged(&own, &[]), own);
        assert_eq!(averaged(&own, &[vec![1.0], vec![3.0]]), own);
        assert_eq!(averaged(&own, &own), own);
        assert_eq!(averaged(&own, &[vec![f64::NAN, 2.5], vec![3.5]]), own);
        // What is known of the other alone is not told.
        let gap = averaged(&[vec![f64::NAN, 2.0], vec![3.0]], &[vec![1.0, 2.0], vec![3.0]]);
        assert!(gap[0][0].is_nan() && gap[0][1] == 2.0 && gap[1] == [3.0], "{gap:?}");
    }
}
