//! A sum whose result does not depend on the order of its terms.

/// Adds in twice the precision of f64 (Knuth's two-sum), so that files, pods and streams of the same samples give the
/// same average to the last bit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// Adds up `terms` in four sums side by side: one alone waits for its last step with every term.
    pub fn of(terms: &[f64]) -> Sum {
        let mut sums = [Sum::default(); 4];
        let quadruples = terms.chunks_exact(4);
        quadruples.remainder().iter().for_each(|term| sums[0].add(*term));
        for four in quadruples {
            sums.iter_mut().zip(four).for_each(|(sum, term)| sum.add(*term));
        }
        let [mut first, second, third, fourth] = sums;
        [second, third, fourth].into_iter().for_each(|sum| first.merge(sum));
        first
    }

    #[inline]
    pub fn add(&mut self, term: f64) {
        let high = self.high + term;
        let term_part = high - self.high;
        let error = (self.high - (high - term_part)) + (term - term_part);
        self.high = high;
        self.low += error;
    }

    pub fn merge(&mut self, other: Sum) {
        self.add(other.high);
        self.low += other.low;
    }

    pub fn value(self) -> f64 {
        let value = self.high + self.low;
        // Beyond f64's range the error term is NaN, the sum itself is not.
        if value.is_nan() { self.high } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter() {
        let terms = [1e16, 1.0, -1e16, 0.1, 1e-9, 3.0];
        let forward = terms.iter().fold(Sum::default(), |mut sum, term| {
            sum.add(*term);
            sum
        });
        let backward = terms.iter().rev().fold(Sum::default(), |mut sum, term| {
            sum.add(*term);
            sum
        });
        assert_eq!(Sum::of(&terms).value(), 4.100000001);
        assert_eq!(forward.value(), 4.100000001);
        assert_eq!(forward.value(), backward.value());
    }

    #[test]
    fn beyond_the_range_is_infinite_not_nan() {
        let mut sum = Sum::default();
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.value(), f64::INFINITY);
    }
}
