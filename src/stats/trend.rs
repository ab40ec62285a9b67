//! Whether a series climbs or falls steadily, when its values remember their neighbours.
//!
//! Least squares on values whose outliers are drawn in; the error of the slope is that of independent values, times what a
//! first-order autoregression of the residuals adds to it, (1 + r) / (1 - r), with as many degrees of freedom as values would
//! be independent (Santer and others 2000, "Statistical significance of trends and trend differences in layer-average
//! atmospheric temperature time series", J. Geophys. Res. 105, compare such tests). The memory of a short series is
//! underestimated, by about (1 + 4 r) / n, which is added.

use super::robust::{MAD_TO_SIGMA, median};
use super::significance::log_chance_student;

/// Values without which nothing can be said.
pub const VALUES_MIN: usize = 20;
/// Values farther than so many sigma from the line are drawn in to there.
const CLIP: f64 = 3.0;
const MEMORY_MAX: f64 = 0.95;
const DEGREES_MIN: f64 = 3.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// From one value to the next.
    pub slope: f64,
    pub standard_error: f64,
    /// Of the line, at the first and the last value.
    pub first: f64,
    pub last: f64,
    /// ln of the chance of such a slope by chance, to either side.
    pub log_chance: f64,
    /// A line fits better than one step from a level to another does, and each half goes the same way.
    pub is_steady: bool,
}

/// Fits a line to values at equal distances; none of fewer than `VALUES_MIN`, or of values that are not finite.
pub fn trend(values: &[f64]) -> Option<Trend> {
    if values.len() < VALUES_MIN || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let rough = Line::of(values);
    let off: Vec<f64> = rough.residuals(values);
    let spread = MAD_TO_SIGMA * median(&off.iter().map(|off| off.abs()).collect::<Vec<f64>>());
    let drawn_in: Vec<f64> = off
        .iter()
        .enumerate()
        .map(|(index, off)| {
            rough.at(index) + if spread > 0.0 { off.clamp(-CLIP * spread, CLIP * spread) } else { *off }
        })
        .collect();
    let line = Line::of(&drawn_in);
    let off = line.residuals(&drawn_in);
    let count = values.len() as f64;
    let squares: f64 = off.iter().map(|off| off * off).sum();
    let neighbours: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let seen = if squares > 0.0 { neighbours / squares } else { 0.0 };
    let memory = (seen + (1.0 + 4.0 * seen.max(0.0)) / count).clamp(0.0, MEMORY_MAX);
    let inflation = (1.0 + memory) / (1.0 - memory);
    let degrees = (count / inflation - 2.0).max(DEGREES_MIN);
    // About the middle, the squares of 0, 1, .. n-1 sum to n (n^2 - 1) / 12.
    let variance = squares / (count - 2.0) * inflation / (count * (count * count - 1.0) / 12.0);
    let standard_error = variance.sqrt().max(f64::MIN_POSITIVE);
    let (first_half, second_half) = drawn_in.split_at(values.len() / 2);
    let halves = [Line::of(first_half).slope, Line::of(second_half).slope];
    let goes_on = halves.iter().all(|half| half / line.slope > HALF_SHARE_MIN);
    Some(Trend {
        slope: line.slope,
        standard_error,
        first: line.at(0),
        last: line.at(values.len() - 1),
        log_chance: log_chance_student(line.slope / standard_error, degrees),
        is_steady: goes_on && squares < squares_of_step(&drawn_in),
    })
}

/// Each half of a steady climb has at least this part of its slope.
const HALF_SHARE_MIN: f64 = 0.25;

struct Line {
    middle: f64,
    mean: f64,
    slope: f64,
}

impl Line {
    fn of(values: &[f64]) -> Line {
        let count = values.len() as f64;
        let (middle, mean) = (0.5 * (count - 1.0), values.iter().sum::<f64>() / count);
        let (mut xx, mut xy) = (0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            let x = index as f64 - middle;
            xx += x * x;
            xy += x * (value - mean);
        }
        Line { middle, mean, slope: if xx > 0.0 { xy / xx } else { 0.0 } }
    }

    fn at(&self, index: usize) -> f64 {
        self.mean + self.slope * (index as f64 - self.middle)
    }

    fn residuals(&self, values: &[f64]) -> Vec<f64> {
        values.iter().enumerate().map(|(index, value)| value - self.at(index)).collect()
    }
}

/// Returns the squares that the best step leaves.
fn squares_of_step(values: &[f64]) -> f64 {
    let total: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    let mut before = 0.0;
    let mut least = f64::INFINITY;
    for cut in 1..values.len() {
        before += values[cut - 1];
        let (left, right) = (cut as f64, (values.len() - cut) as f64);
        let after = total - before;
        least = least.min(squares - before * before / left - after * after / right);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn remembering(draws: &mut Draws, count: usize, memory: f64) -> Vec<f64> {
        let mut value = draws.normal();
        (0..count)
            .map(|_| {
                value = memory * value + (1.0 - memory * memory).sqrt() * draws.normal();
                value
            })
            .collect()
    }

    #[test]
    fn a_line_is_least_squares_and_its_error_knows_of_memory() {
        // numpy.polyfit(range(24), y, 1) of y = 0.1 x + (-1)^x has slope 0.0895652 and standard error 0.0307192 (scipy
        // stats.linregress); alternating residuals have no memory that would add to it.
        let values: Vec<f64> = (0..24).map(|x| 0.1 * f64::from(x) + if x % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let found = trend(&values).unwrap();
        assert!((found.slope - EXPECTED[0]).abs() < 1e-6, "{found:?}");
        assert!((found.standard_error / EXPECTED[1] - 1.0).abs() < 1e-4, "{found:?}");
    }

    const EXPECTED: [f64; 2] = [0.0895652, 0.0307192];

    #[test]
    fn stationary_series_seldom_climb_and_intervals_hold_the_slope() {
        let mut draws = Draws::seeded(11);
        for memory in [0.0, 0.3, 0.6, 0.8] {
            let (mut alarms, mut held) = (0, 0);
            for _ in 0..1_000 {
                let noise = remembering(&mut draws, 60, memory);
                alarms += usize::from(trend(&noise).unwrap().log_chance < 0.001f64.ln());
                let climbing: Vec<f64> = noise.iter().enumerate().map(|(x, noise)| 0.05 * x as f64 + noise).collect();
                let found = trend(&climbing).unwrap();
                held += usize::from((found.slope - 0.05).abs() <= 1.96 * found.standard_error);
            }
            // A long memory is underestimated.
            assert!(alarms <= if memory > 0.7 { 15 } else { 6 }, "{alarms} of 1,000 with a memory of {memory}");
            assert!((880..=985).contains(&held), "{held} of 1,000 with a memory of {memory}");
        }
    }

    #[test]
    fn a_step_is_no_climb_and_edges_give_figures_or_none() {
        let step: Vec<f64> = (0..60).map(|x| if x < 30 { 0.0 } else { 1.0 } + 0.01 * f64::from(x % 3)).collect();
        assert!(!trend(&step).unwrap().is_steady);
        let climb: Vec<f64> = (0..60).map(|x| 0.02 * f64::from(x) + 0.01 * f64::from(x % 3)).collect();
        assert!(trend(&climb).unwrap().is_steady);
        assert_eq!(trend(&climb[..19]), None);
        assert_eq!(trend(&[f64::NAN; 30]), None);
        let flat = trend(&[2.0; 30]).unwrap();
        assert!(!flat.is_steady && flat.slope == 0.0 && flat.log_chance.is_finite(), "{flat:?}");
    }
}
