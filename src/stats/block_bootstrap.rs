//! How far a figure of a run would move by chance: its time is cut into blocks, and whole blocks are drawn again.
//!
//! Requests of one moment depend on each other, so requests are not drawn: blocks are (the block bootstrap, with blocks that
//! do not overlap), each long beside what one request does to the next.

use super::normal;

/// Enough for a standard error that is itself known to within 4 %.
pub const DRAWS: usize = 400;

/// A fixed seed: the same runs always give the same interval.
const SEED: u64 = 0x7469_6465_6d61_726b;

/// Returns how often each of `blocks_count` blocks is in each of `DRAWS` draws of as many blocks.
pub fn draws(blocks_count: usize) -> Vec<Vec<u32>> {
    let mut state = SEED;
    let draw = |_| {
        let mut times = vec![0; blocks_count];
        for _ in 0..blocks_count {
            times[below(&mut state, blocks_count)] += 1;
        }
        times
    };
    (0..DRAWS).map(draw).collect()
}

/// Returns the standard error of a figure from its values over draws of `blocks_count` blocks; values that are not finite
/// are left out. None when fewer than half of them are, or for a single block.
///
/// The spread over draws is too small by the factor (n - 1) / n in the variance, which is made good.
pub fn standard_error(values: &[f64], blocks_count: usize) -> Option<f64> {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if blocks_count < 2 || finite.len() * 2 < values.len() || finite.is_empty() {
        return None;
    }
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let variance = finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / finite.len() as f64;
    Some((variance * blocks_count as f64 / (blocks_count - 1) as f64).sqrt())
}

/// Returns how many standard errors an interval of `confidence` reaches to each side when the standard error was estimated
/// from `blocks_count` blocks: Student's t with one degree of freedom less than blocks.
///
/// By the first terms of the expansion in 1/n: within 1 % from 6 degrees on at 95 %.
pub fn reach(confidence: f64, blocks_count: usize) -> f64 {
    let z = normal::quantile(0.5 + confidence / 2.0);
    let degrees = blocks_count.saturating_sub(1).max(1) as f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

/// Returns an index below `count`.
fn below(state: &mut u64, count: usize) -> usize {
    // The high half of a product: its bias is below 2^-58 for so few blocks.
    ((u128::from(split_mix(state)) * count as u128) >> 64) as usize
}

/// SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    #[test]
    fn the_mean_of_blocks_has_the_error_that_theory_gives() {
        // 24 blocks with the values 0 to 23: the standard error of their mean is s / sqrt(n) = 7.0711 / 4.8990.
        let blocks: Vec<f64> = (0..24).map(f64::from).collect();
        let mean = |times: &Vec<u32>| {
            times.iter().zip(&blocks).map(|(times, value)| f64::from(*times) * value).sum::<f64>() / 24.0
        };
        let means: Vec<f64> = draws(24).iter().map(mean).collect();
        let error = standard_error(&means, 24).unwrap();
        assert!((error / 1.4434 - 1.0).abs() < 0.08, "{error}");
    }

    #[test]
    fn every_draw_has_all_its_blocks() {
        assert!(draws(7).iter().all(|times| times.iter().sum::<u32>() == 7));
        assert!(draws(0).iter().all(Vec::is_empty));
    }

    #[test]
    fn reach_is_students() {
        // R: qt(c(0.975, 0.975, 0.975, 0.995), c(6, 23, 1000, 23))
        for (confidence, blocks_count, expected) in
            [(0.95, 7, 2.446912), (0.95, 24, 2.068658), (0.95, 1001, 1.962339), (0.99, 24, 2.807336)]
        {
            let found = reach(confidence, blocks_count);
            assert!((found / expected - 1.0).abs() < 0.01, "{found} is not {expected}");
        }
    }

    #[test]
    fn too_little_gives_none() {
        assert_eq!(standard_error(&[], 5), None);
        assert_eq!(standard_error(&[1.0, 2.0], 1), None);
        assert_eq!(standard_error(&[1.0, f64::NAN, f64::NAN], 5), None);
        assert_eq!(standard_error(&[2.0, 2.0], 5), Some(0.0));
    }

    /// Expected values: `tests/independent/block_bootstrap.py`, with the same draws, and with other ones for the mean over
    /// all cases; Student's t by integration.
    #[test]
    fn an_independent_implementation_agrees() {
        let lines = include_str!("../../tests/independent/block_bootstrap.csv").lines().skip(1);
        let mut ratios = Vec::new();
        for line in lines {
            let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            let (sums, counts) = blocks_of_case(fields[0] as u64);
            let figure = |times: &Vec<u32>| {
                let total = |values: &[f64]| -> f64 {
                    times.iter().zip(values).map(|(times, value)| f64::from(*times) * value).sum()
                };
                total(&sums) / total(&counts)
            };
            let figures: Vec<f64> = draws(sums.len()).iter().map(figure).collect();
            let error = standard_error(&figures, sums.len()).unwrap();
            assert!((error / fields[1] - 1.0).abs() < 1e-6, "{line}: {error}");
            // The expansion is within 1 % from 6 degrees on.
            let reach = reach(0.95, sums.len());
            assert!(sums.len() < 7 || (reach / fields[3] - 1.0).abs() < 0.01, "{line}: {reach}");
            ratios.push(error / fields[2]);
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!(ratios.len() == 1000 && (mean - 1.0).abs() < 0.02, "{mean}");
    }

    /// The sum over the requests of each block, and their count.
    fn blocks_of_case(seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut draws = Draws::seeded(seed);
        let (blocks_count, memory) = (2 + (draws.uniform() * 29.0) as usize, 0.8 * draws.uniform());
        let counts: Vec<f64> = (0..blocks_count).map(|_| (1.0 + draws.uniform() * 200.0).floor()).collect();
        let levels = draws.wandering(memory, blocks_count);
        let sums = counts.iter().zip(levels).map(|(count, level)| count * (0.2 * level).exp()).collect();
        (sums, counts)
    }
}
