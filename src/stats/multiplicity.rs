//! Many questions at once: which answers stand when each could be right by chance.

/// Says which hypotheses are rejected when at most the fraction `rate` of the rejections may be false, in expectation.
///
/// `p_values`: 0 to 1; one that is NaN is never rejected. The procedure of Benjamini and Hochberg: the largest k with
/// p(k) <= k / n * rate, and all below it.
pub fn rejected(p_values: &[f64], rate: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).filter(|index| !p_values[*index].is_nan()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let n = p_values.len() as f64;
    let stands = |rank: usize| p_values[order[rank]] <= (rank + 1) as f64 / n * rate;
    let rejected_count = (0..order.len()).rev().find(|rank| stands(*rank)).map_or(0, |rank| rank + 1);
    let mut rejected = vec![false; p_values.len()];
    order[..rejected_count].iter().for_each(|index| rejected[*index] = true);
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.5), "BH") is 0.04 0.0533 0.0533 0.5
        assert_eq!(rejected(&[0.01, 0.04, 0.03, 0.5], 0.05), [true, false, false, false]);
        assert_eq!(rejected(&[0.01, 0.04, 0.03, 0.5], 0.054), [true, true, true, false]);
        assert_eq!(rejected(&[0.2, f64::NAN], 0.05), [false, false]);
        assert!(rejected(&[], 0.05).is_empty());
    }
}
