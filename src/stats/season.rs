//! A season: a pattern that comes back every so many runs, such as that of the days of a week in nightly runs.

use super::robust::median;

/// Fewer runs than this are no season: two that alternate are noise with a negative memory.
const PERIOD_MIN: usize = 3;
/// Nothing that teams run has a longer one, and each is one more chance to find what is none.
const PERIOD_MAX: usize = 60;
/// Of each phase as many are seen: their median is then no single run.
const CYCLES_MIN: usize = 4;
/// How alike steps are that are one period apart: their correlation, less two of its standard errors.
const LIKENESS_MIN: f64 = 0.4;
/// By how much a longer period has to be more alike: each multiple of a period is alike, too.
const LIKENESS_MORE: f64 = 0.05;
/// Steps beyond five times the usual one count as five: a change of level must not hide the season.
const CLIP: f64 = 5.0;

/// Values without their season.
#[derive(Debug, Clone, PartialEq)]
pub struct Deseasoned {
    pub period: usize,
    pub values: Vec<f64>,
}

/// Returns the values without their season, if they have one; `values` all finite.
pub fn deseasoned(values: &[f64]) -> Option<Deseasoned> {
    let period = period(values)?;
    let mut by_phase: Vec<Vec<f64>> = vec![Vec::new(); period];
    for at in period / 2..values.len() - period / 2 {
        by_phase[at % period].push(values[at] - around(values, at, period));
    }
    let pattern: Vec<f64> = by_phase.iter_mut().map(|distances| median(distances)).collect();
    let mean = pattern.iter().sum::<f64>() / period as f64;
    let values = values.iter().enumerate().map(|(at, value)| value - (pattern[at % period] - mean)).collect();
    Some(Deseasoned { period, values })
}

/// Returns the mean over the period around a value, which has no season but follows changes and trends.
fn around(values: &[f64], at: usize, period: usize) -> f64 {
    let half = period / 2;
    let inner: f64 = values[at + 1 - half..at + half].iter().sum();
    // An even period has no middle: both ends count for a half.
    let weight = if period % 2 == 1 { 1.0 } else { 0.5 };
    (inner + weight * (values[at - half] + values[at + half])) / period as f64
}

/// Returns the shortest period after which steps from run to run come back.
fn period(values: &[f64]) -> Option<usize> {
    let mut steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let limit = CLIP * median(&steps.iter().map(|step| step.abs()).collect::<Vec<_>>());
    let mean = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
    steps.iter_mut().for_each(|step| *step = (*step - mean).clamp(-limit, limit));
    let own: f64 = steps.iter().map(|step| step * step).sum();
    let (mut best, mut best_likeness) = (None, 0.0);
    for period in PERIOD_MIN..=PERIOD_MAX.min(values.len() / CYCLES_MIN) {
        let together: f64 = steps.iter().zip(&steps[period..]).map(|(left, right)| left * right).sum();
        // Fewer pairs than steps have one that far behind them.
        let pairs_count = (steps.len() - period) as f64;
        let likeness = together / own * steps.len() as f64 / pairs_count - 2.0 / pairs_count.sqrt();
        if likeness > best_likeness + LIKENESS_MORE {
            (best, best_likeness) = (Some(period), likeness);
        }
    }
    best.filter(|_| best_likeness > LIKENESS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    const WEEK: [f64; 7] = [0.0, 1.0, 2.0, 2.0, 1.0, -3.0, -3.0];

    fn check(values: &[f64], expected: Option<usize>) {
        assert_eq!(deseasoned(values).map(|deseasoned| deseasoned.period), expected);
    }

    #[test]
    fn a_week_is_found_and_taken_out() {
        let mut draws = Draws::seeded(3);
        let rest: Vec<f64> = (0..140).map(|at| 0.3 * draws.normal() + if at < 70 { 0.0 } else { 5.0 }).collect();
        let values: Vec<f64> = rest.iter().enumerate().map(|(at, value)| value + WEEK[at % 7]).collect();
        let found = deseasoned(&values).unwrap();
        assert_eq!(found.period, 7);
        let farthest = found.values.iter().zip(&rest).map(|(found, rest)| (found - rest).abs()).fold(0.0, f64::max);
        assert!(farthest < 0.5, "{farthest}");
    }

    #[test]
    fn noise_memory_and_too_few_cycles_are_none() {
        let mut draws = Draws::seeded(4);
        for memory in [0.0, 0.6, 0.9] {
            check(&draws.wandering(memory, 200), None);
        }
        check(&(0..27).map(|at| WEEK[at % 7]).collect::<Vec<_>>(), None);
        check(&(0..28).map(|at| WEEK[at % 7]).collect::<Vec<_>>(), Some(7));
        [&[][..], &[1.0], &[2.0; 50]].iter().for_each(|values| check(values, None));
    }
}
