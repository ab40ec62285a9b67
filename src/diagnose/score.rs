//! How often a cause with such evidence is right, as measured on recordings of planted faults.
//!
//! Evidence is the part of what was added that the cause has, and of that the part that its kind explains. On 50 recordings of the
//! test system, a quarter of them disturbed by builds on the same machine, 40 of 42 causes with evidence of 0.8 or more were the planted
//! one's service, and 1 of 7 below 0.4; both that lay between were. Counts are smoothed by one of each (Laplace), and the line between
//! is a guess.

const WEAK: (f64, f64) = (0.4, 0.22);
const STRONG: (f64, f64) = (0.8, 0.93);

/// `share`: of all that was added, what the cause has; `explained`: of that, what the kind explains. All from 0 to 1.
pub fn score(share: f64, explained: f64) -> f64 {
    let evidence = (share * (0.5 + 0.5 * explained)).clamp(0.0, 1.0);
    let along = ((evidence - WEAK.0) / (STRONG.0 - WEAK.0)).clamp(0.0, 1.0);
    WEAK.1 + along * (STRONG.1 - WEAK.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_evidence_is_never_less_likely_and_nothing_is_certain() {
        let scores: Vec<f64> = (0..=10).map(|tenth| score(f64::from(tenth) / 10.0, 1.0)).collect();
        assert!(scores.is_sorted() && scores[0] == 0.22 && scores[10] == 0.93, "{scores:?}");
        assert!(score(1.0, 0.0) < score(1.0, 1.0) && score(f64::INFINITY, 9.0) <= 0.93);
    }
}
