//! The rising curve that is nearest to points: how one figure follows another that can only push it up.

/// One group of points: where it lies, how high, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knot {
    pub x: f64,
    pub y: f64,
    pub weight: f64,
}

/// Returns the knots with the heights of the nearest curve that never falls, by weighted least squares.
///
/// `knots`: ascending in `x`. Neighbours that fall are pooled into their mean until none does.
pub fn rising(knots: &[Knot]) -> Vec<Knot> {
    // Each pool: its mean height, its weight, how many knots it holds.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for knot in knots {
        let mut pool = (knot.y, knot.weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 >= pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    let heights = pools.iter().flat_map(|(height, _, count)| std::iter::repeat_n(*height, *count));
    knots.iter().zip(heights).map(|(knot, y)| Knot { y, ..*knot }).collect()
}

/// Returns the height of the curve through `knots` at `x`: straight between two knots, level beyond the outer ones.
pub fn height(knots: &[Knot], x: f64) -> f64 {
    let right = knots.partition_point(|knot| knot.x < x);
    match (right.checked_sub(1).map(|left| knots[left]), knots.get(right)) {
        (Some(left), Some(right)) => left.y + (right.y - left.y) * (x - left.x) / (right.x - left.x),
        (Some(knot), None) => knot.y,
        (None, Some(knot)) => knot.y,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(heights: &[f64], weights: &[f64], expected: &[f64]) {
        let knots = heights.iter().zip(weights).zip(0..).map(|((y, weight), x)| Knot {
            x: f64::from(x),
            y: *y,
            weight: *weight,
        });
        let risen: Vec<f64> = rising(&knots.collect::<Vec<_>>()).iter().map(|knot| knot.y).collect();
        assert!(risen.iter().zip(expected).all(|(risen, expected)| (risen - expected).abs() < 1e-12), "{risen:?}");
        assert_eq!(risen.len(), expected.len());
    }

    /// Expected values: SciPy, `scipy.optimize.isotonic_regression(heights, weights=weights).x`.
    #[test]
    fn known_answers() {
        check(&[1.0, 2.0, 3.0], &[1.0; 3], &[1.0, 2.0, 3.0]);
        check(&[3.0, 1.0, 2.0, 5.0, 4.0], &[1.0, 2.0, 1.0, 1.0, 3.0], &[5.0 / 3.0, 5.0 / 3.0, 2.0, 4.25, 4.25]);
        check(&[3.0, 2.0, 1.0], &[1.0, 1.0, 2.0], &[1.75; 3]);
        check(&[], &[], &[]);
    }

    #[test]
    fn heights_between_knots() {
        let knots = [(1.0, 10.0), (3.0, 20.0)].map(|(x, y)| Knot { x, y, weight: 1.0 });
        let heights = [0.0, 1.0, 2.0, 3.0, 9.0].map(|x| height(&knots, x));
        assert_eq!(heights, [10.0, 10.0, 15.0, 20.0, 20.0]);
        assert_eq!(height(&[], 1.0), 0.0);
    }
}
