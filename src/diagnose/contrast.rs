//! The two sides of a question "what was different then": the time of a finding, and the healthy rest of the run.

use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

/// Next to a finding it is not known which side a moment belongs to: scrapes and profiles cover seconds.
const MARGIN_SECONDS: f64 = 2.0;

/// From a moment until before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Window {
    pub fn seconds(self) -> f64 {
        self.until.0.saturating_sub(self.from.0).max(0) as f64 / NANOSECONDS_PER_SECOND as f64
    }

    pub fn has(self, time: Timestamp) -> bool {
        self.from <= time && time < self.until
    }

    /// Returns how many seconds two windows share.
    pub fn shared_seconds(self, other: Window) -> f64 {
        Window { from: self.from.max(other.from), until: self.until.min(other.until) }.seconds()
    }
}

/// The time that is asked about, and the time that it is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Contrast {
    pub faulty: Window,
    /// Without the margins about `faulty`, and without other findings' times.
    pub healthy: Vec<Window>,
}

impl Contrast {
    /// `run`: its steady part; `others`: times in which something else was found.
    pub fn of(faulty: Window, run: Window, others: &[Window]) -> Contrast {
        let margin = Window {
            from: faulty.from.after_seconds(-MARGIN_SECONDS),
            until: faulty.until.after_seconds(MARGIN_SECONDS),
        };
        let mut healthy = vec![run];
        for cut in others.iter().chain([&margin]) {
            healthy = healthy.into_iter().flat_map(|window| without(window, *cut)).collect();
        }
        Contrast { faulty, healthy }
    }

    pub fn healthy_seconds(&self) -> f64 {
        self.healthy.iter().map(|window| window.seconds()).sum()
    }

    pub fn is_healthy(&self, time: Timestamp) -> bool {
        self.healthy.iter().any(|window| window.has(time))
    }

    /// Returns which side a moment is on; none of neither.
    pub fn side(&self, time: Timestamp) -> Option<Side> {
        if self.faulty.has(time) { Some(Side::Faulty) } else { self.is_healthy(time).then_some(Side::Healthy) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Healthy,
    Faulty,
}

fn without(window: Window, cut: Window) -> Vec<Window> {
    let before = Window { until: window.until.min(cut.from), ..window };
    let after = Window { from: window.from.max(cut.until), ..window };
    [before, after].into_iter().filter(|part| part.from < part.until).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, until: i64) -> Window {
        let time = |second: i64| Timestamp(second * NANOSECONDS_PER_SECOND);
        Window { from: time(from), until: time(until) }
    }

    #[test]
    fn what_is_healthy_is_what_is_left() {
        let contrast = Contrast::of(window(40, 60), window(0, 100), &[window(80, 90)]);
        assert_eq!(contrast.healthy, [window(0, 38), window(62, 80), window(90, 100)]);
        assert_eq!(contrast.healthy_seconds(), 66.0);
        let side = |second| contrast.side(window(second, second).from);
        assert_eq!(
            [side(10), side(39), side(40), side(60), side(85)],
            [Some(Side::Healthy), None, Some(Side::Faulty), None, None]
        );
        let whole = Contrast::of(window(0, 100), window(0, 100), &[]);
        assert!(whole.healthy.is_empty());
        assert_eq!(window(0, 10).shared_seconds(window(5, 20)), 5.0);
        assert_eq!(window(0, 10).shared_seconds(window(15, 20)), 0.0);
    }
}
