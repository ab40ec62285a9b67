//! Whether events come back at equal distances: a clock that starts something.
//!
//! Every distance between two neighbours is tried as a period: its grid is laid through them, refined by least squares to the
//! events near its points, and the events near are counted. By chance each event is near with the share of the grid that counts
//! as near, so that the count is binomial; every period that was tried is one more chance.

use super::special::binomial_tail;

/// Fewer events have no rhythm.
pub const EVENTS_MIN: usize = 5;
/// More would take long, and hold no more.
const EVENTS_MAX: usize = 400;
/// An event is near a point of the grid within this part of the period, or within the resolution.
const NEAR: f64 = 0.06;
/// Parts of the events, and of the grid's points between the first and the last of them, that belong together.
const EVENTS_SHARE_MIN: f64 = 0.75;
const POINTS_SHARE_MIN: f64 = 0.75;
/// A shorter period, in units of the resolution, is not told from chance.
const PERIOD_MIN: f64 = 4.0;
const ROUNDS: usize = 3;

#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    pub period: f64,
    pub standard_error: f64,
    /// Indices of the events on the grid.
    pub events: Vec<usize>,
    /// ln of the chance that events without a clock are as regular.
    pub log_chance: f64,
}

/// `times`: of the events, ascending; `resolution`: how well each is known. None of fewer than `EVENTS_MIN`.
pub fn recurrence(times: &[f64], resolution: f64) -> Option<Recurrence> {
    if !(EVENTS_MIN..=EVENTS_MAX).contains(&times.len()) || times.iter().any(|time| !time.is_finite()) {
        return None;
    }
    let tried = (0..times.len() - 1).filter_map(|first| grid(times, first, resolution));
    tried.min_by(|left, right| left.log_chance.total_cmp(&right.log_chance))
}

fn grid(times: &[f64], first: usize, resolution: f64) -> Option<Recurrence> {
    let (mut start, mut period) = (times[first], times[first + 1] - times[first]);
    let mut near: Vec<(usize, f64)> = Vec::new();
    let mut error = f64::INFINITY;
    for _ in 0..ROUNDS {
        if period.is_nan() || period < PERIOD_MIN * resolution {
            return None;
        }
        let reach = (NEAR * period).max(resolution);
        near = times
            .iter()
            .enumerate()
            .map(|(index, time)| (index, ((time - start) / period).round()))
            .filter(|(index, point)| (times[*index] - start - point * period).abs() <= reach)
            .collect();
        if near.len() < EVENTS_MIN {
            return None;
        }
        (start, period, error) = least_squares(times, &near, resolution)?;
    }
    let mut points: Vec<i64> = near.iter().map(|(_, point)| *point as i64).collect();
    points.sort_unstable();
    points.dedup();
    let between = points.last()? - points.first()? + 1;
    let of_events = near.len() as f64 / times.len() as f64;
    if of_events < EVENTS_SHARE_MIN || (points.len() as f64) < POINTS_SHARE_MIN * between as f64 {
        return None;
    }
    let share = (2.0 * (NEAR * period).max(resolution) / period).min(1.0);
    // Two events lie on any grid that is laid through them.
    let log_chance = binomial_tail(times.len() as u64 - 2, points.len().saturating_sub(2) as u64, share).ln()
        + (times.len() as f64).ln();
    let events = near.iter().map(|(index, _)| *index).collect();
    Some(Recurrence { period, standard_error: error, events, log_chance: log_chance.min(0.0) })
}

/// Returns start, period and the period's standard error of the line through times over points.
fn least_squares(times: &[f64], near: &[(usize, f64)], resolution: f64) -> Option<(f64, f64, f64)> {
    let count = near.len() as f64;
    let mean = |value: &dyn Fn(&(usize, f64)) -> f64| near.iter().map(value).sum::<f64>() / count;
    let (middle, time) = (mean(&|(_, point)| *point), mean(&|(index, _)| times[*index]));
    let xx: f64 = near.iter().map(|(_, point)| (point - middle).powi(2)).sum();
    let xy: f64 = near.iter().map(|(index, point)| (point - middle) * (times[*index] - time)).sum();
    if xx <= 0.0 {
        return None;
    }
    let period = xy / xx;
    let start = time - period * middle;
    let squares: f64 = near.iter().map(|(index, point)| (times[*index] - start - point * period).powi(2)).sum();
    // A time that is rounded down is off by up to the resolution, evenly.
    let of_each = squares / (count - 2.0).max(1.0) + resolution * resolution / 12.0;
    Some((start, period, (of_each / xx).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    #[test]
    fn a_clock_is_found_although_one_event_is_missing_and_one_is_stray() {
        let mut draws = Draws::seeded(3);
        let mut times: Vec<f64> =
            (0..15).filter(|point| *point != 6).map(|point| 17.0 + 60.0 * f64::from(point) + draws.normal()).collect();
        times.push(333.0);
        times.sort_by(f64::total_cmp);
        let found = recurrence(&times, 1.0).unwrap();
        assert!((found.period - 60.0).abs() < 0.5 && found.standard_error < 0.3, "{found:?}");
        assert_eq!(found.events.len(), 14);
        assert!(found.log_chance < -12.0, "{found:?}");
    }

    #[test]
    fn events_without_a_clock_seldom_look_like_one() {
        let mut draws = Draws::seeded(4);
        let mut alarms = 0;
        for round in 0..2_000 {
            let mut times: Vec<f64> = (0..5 + round % 12).map(|_| 900.0 * draws.uniform()).collect();
            times.sort_by(f64::total_cmp);
            alarms += usize::from(recurrence(&times, 1.0).is_some_and(|found| found.log_chance < 0.001f64.ln()));
        }
        assert!(alarms <= 4, "{alarms} of 2,000");
    }

    #[test]
    fn edges_give_none() {
        assert_eq!(recurrence(&[1.0, 2.0, 3.0, 4.0], 0.1), None);
        assert_eq!(recurrence(&[f64::NAN; 6], 0.1), None);
        assert_eq!(recurrence(&[5.0; 6], 0.1), None);
    }
}
