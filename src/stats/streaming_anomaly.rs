//! Anomalies in a stream: after each value, how new it is beside all that came before it.
//!
//! Nothing is assumed about the stream's distribution, trend or period. What a stream did before is usual: a value, or a
//! pattern of values, is as anomalous as it is far from the nearest one in its past, in units of the stream's range. (That
//! what matches no earlier pattern is the anomaly is the idea of ARTime, too; its network is not used here.) That distance
//! alone is no verdict, as noisy streams are always a little new; so it is divided by what was a large distance of late.
//! Several views of the stream (its single values, means over longer spans, patterns of means) are averaged: what is new in
//! one view only is seldom an anomaly.
//!
//! After an alarm there is a rest, so that one anomaly is one alarm.

use std::collections::VecDeque;

/// Views that overlap with the present are no past: a slow change would find itself.
const SPANS_APART: usize = 8;
/// How many spans back a view remembers. It bounds time and memory, and lets old habits become new again.
const SPANS_REMEMBERED: usize = 2000;
/// The newest distances may be the anomaly's own first ones.
const RECENT_LAG: usize = 2;
/// Fewer recent distances do not show what is large.
const RECENT_COUNT_MIN: usize = 10;
/// Values that are only learned from.
pub const LEARNING_COUNT: usize = 100;
/// The rest after an alarm: so many values, and at least this part of all so far.
const REST_COUNT_MIN: usize = 72;
const REST_PART: f64 = 0.05;

/// Spans in values, and lengths of patterns in spans, of the views.
///
/// Single values find spikes, means over 6 and 24 find levels, and patterns of 48 values find what is unusual only where it
/// is: a flat day, a missing dip. Of some fifty sets that were tried on NAB's developer half, this is the smallest of the
/// best; the other good ones differ from it by less than one anomaly more or less of 57 does.
const VIEWS: [(usize, usize); 4] = [(1, 1), (6, 1), (24, 1), (6, 8)];
/// An alarm is where the views' distances are on average so many times what is large. From 0.7 to 1.0, each tenth more
/// trades one point of NAB's standard score for one hundredth of the event F1.
const RATIO_OF_ALARM: f64 = 0.8;

/// When a distance is new. These, the views and the ratio of an alarm are chosen, not derived: `tests/all/held_back.rs` chooses
/// them anew without the streams that it is scored on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoveltyLimits {
    /// "Large" is the level that so much of the recent distances is below; from 0.95 to 0.98 it makes no difference.
    pub large: f64,
    /// How many spans are recent; half as many or half as many again find as much, with a few more false alarms.
    pub recent_spans: usize,
    /// Three percent of the range is no news in the calmest of streams. It is added to what is large.
    pub range_part_min: f64,
}

impl Default for NoveltyLimits {
    fn default() -> NoveltyLimits {
        NoveltyLimits { large: 0.97, recent_spans: 200, range_part_min: 0.03 }
    }
}

/// What is said about one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// 0 is usual, 1 is as new as can be; an alarm needs more than a half.
    pub score: f64,
    pub is_alarm: bool,
}

/// Judges a stream value by value, by what came before only.
#[derive(Debug, Clone)]
pub struct Stream {
    views: Vec<(Distances, Novelty)>,
    count: usize,
    alarms: Alarms,
}

impl Default for Stream {
    fn default() -> Stream {
        let view = |(span, length)| (Distances::of(span, length), Novelty::within(NoveltyLimits::default()));
        Stream { views: VIEWS.into_iter().map(view).collect(), count: 0, alarms: Alarms::above(RATIO_OF_ALARM) }
    }
}

impl Stream {
    /// Takes the next value and judges it. One that is not finite is a gap: it is not learned from, and no anomaly.
    pub fn push(&mut self, value: f64) -> Judged {
        if !value.is_finite() {
            return Judged { score: 0.0, is_alarm: false };
        }
        let at = self.count;
        self.count += 1;
        for (distances, novelty) in &mut self.views {
            if let Some(distance) = distances.push(value) {
                novelty.push(distance, at);
            }
        }
        let ratios = self.views.iter().map(|(_, novelty)| novelty.ratio());
        self.alarms.push(ratios.sum::<f64>() / self.views.len() as f64, at)
    }
}

/// Returns what is said about each value of a stream from its past.
pub fn judged(values: &[f64]) -> Vec<Judged> {
    let mut stream = Stream::default();
    values.iter().map(|value| stream.push(*value)).collect()
}

/// How far a stream is from its past: as means over a span, in patterns of some length.
#[derive(Debug, Clone)]
pub struct Distances {
    span: usize,
    length: usize,
    /// Of the span that is not full yet.
    sum: f64,
    sum_count: usize,
    /// The newest last.
    means: VecDeque<f64>,
    low: f64,
    high: f64,
}

impl Distances {
    /// `span`: in values; `length`: of a pattern, in spans.
    pub fn of(span: usize, length: usize) -> Distances {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        Distances { span, length, sum: 0.0, sum_count: 0, means: VecDeque::new(), low, high }
    }

    /// Returns how far the newest pattern is from the nearest one before it, as a part of the stream's range and by span;
    /// none within a span, and none without a past.
    pub fn push(&mut self, value: f64) -> Option<f64> {
        self.sum += value / self.span as f64;
        self.sum_count += 1;
        if self.sum_count < self.span {
            return None;
        }
        let mean = self.sum;
        (self.sum, self.sum_count) = (0.0, 0);
        (self.low, self.high) = (self.low.min(mean), self.high.max(mean));
        self.means.push_back(mean);
        if self.means.len() > SPANS_REMEMBERED + self.length {
            self.means.pop_front();
        }
        let means: &[f64] = self.means.make_contiguous();
        let past = means.len().checked_sub(SPANS_APART).filter(|past| *past >= self.length)?;
        let newest = &means[means.len() - self.length..];
        let range = self.high - self.low;
        if range <= 0.0 || !range.is_finite() {
            return Some(0.0);
        }
        let nearest = means[..past].windows(self.length).fold(f64::INFINITY, |nearest, pattern| {
            let mut sum = 0.0;
            for (before, now) in pattern.iter().zip(newest) {
                sum += (before - now).abs();
                if sum >= nearest {
                    return nearest;
                }
            }
            sum
        });
        // No mean is further from another than the range; only a sum that is too large for a float would say so.
        Some((nearest / self.length as f64 / range).min(1.0))
    }
}

/// How new distances are beside those of late.
#[derive(Debug, Clone)]
pub struct Novelty {
    limits: NoveltyLimits,
    recent: Recent,
    /// Of the last distance to what is large, 0 while learning.
    ratio: f64,
}

impl Novelty {
    pub fn within(limits: NoveltyLimits) -> Novelty {
        Novelty { limits, recent: Recent::default(), ratio: 0.0 }
    }

    /// `at`: the index of the distance's last value in the stream.
    pub fn push(&mut self, distance: f64, at: usize) {
        let large = self.recent.large(&self.limits).map(|large| large + self.limits.range_part_min);
        match large {
            Some(large) if at >= LEARNING_COUNT => {
                self.ratio = distance / large;
                // An anomaly that counts in full would hide the next one.
                self.recent.push(distance.min(large));
            }
            _ => self.recent.push(distance),
        }
    }

    /// How many times what is large the last distance is.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }
}

/// Alarms with a rest after each.
#[derive(Debug, Clone)]
pub struct Alarms {
    ratio_of_alarm: f64,
    alarm_at: Option<usize>,
}

impl Alarms {
    pub fn above(ratio_of_alarm: f64) -> Alarms {
        Alarms { ratio_of_alarm, alarm_at: None }
    }

    /// `ratio`: of all views, on average; `at`: the index of the value in the stream.
    pub fn push(&mut self, ratio: f64, at: usize) -> Judged {
        let rest = (REST_PART * at as f64).max(REST_COUNT_MIN as f64);
        let is_rested = self.alarm_at.is_none_or(|alarm| (at - alarm) as f64 >= rest);
        let is_alarm = ratio > self.ratio_of_alarm && is_rested;
        if is_alarm {
            self.alarm_at = Some(at);
        }
        Judged { score: ratio / (ratio + self.ratio_of_alarm), is_alarm }
    }
}

/// Distances of late, the oldest first, and those of them that are old enough in order.
#[derive(Debug, Clone, Default)]
struct Recent {
    distances: VecDeque<f64>,
    ordered: Vec<f64>,
}

impl Recent {
    fn push(&mut self, distance: f64) {
        self.distances.push_back(distance);
        if self.distances.len() > RECENT_LAG {
            let old_enough = self.distances[self.distances.len() - 1 - RECENT_LAG];
            self.ordered.insert(self.ordered.partition_point(|other| *other < old_enough), old_enough);
        }
    }

    /// Returns what is large among the recent ones; none of too few.
    fn large(&mut self, limits: &NoveltyLimits) -> Option<f64> {
        while self.ordered.len() > limits.recent_spans {
            let oldest = self.distances.pop_front().expect("it holds all that are in order, and newer ones");
            self.ordered.remove(self.ordered.partition_point(|other| *other < oldest));
        }
        if self.ordered.len() < RECENT_COUNT_MIN {
            return None;
        }
        Some(self.ordered[(self.ordered.len() as f64 * limits.large) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn alarms(values: &[f64]) -> Vec<usize> {
        judged(values).iter().enumerate().filter(|(_, judged)| judged.is_alarm).map(|(index, _)| index).collect()
    }

    /// A daily wave of 288 values with a little noise.
    fn waves(seed: u64, count: usize) -> Vec<f64> {
        let mut draws = Draws::seeded(seed);
        (0..count).map(|i| 100.0 + 40.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin() + draws.normal()).collect()
    }

    #[test]
    fn what_is_new_is_found_once_and_where_it_is() {
        let usual = waves(1, 4000);
        assert_eq!(alarms(&usual).iter().filter(|at| **at > 600).count(), 0);
        let (mut spike, mut shift, mut flat) = (usual.clone(), usual.clone(), usual.clone());
        spike[3000] = 250.0;
        shift[3000..].iter_mut().for_each(|value| *value += 60.0);
        // The top of the wave is cut off; every single value of it is usual.
        flat[3000..3200].iter_mut().for_each(|value| *value = 100.0);
        for (what, values, until) in [("spike", spike, 3001), ("shift", shift, 3060), ("flat", flat, 3200)] {
            let found: Vec<usize> = alarms(&values).into_iter().filter(|at| *at > 600).collect();
            assert!(!found.is_empty() && (3000..until).contains(&found[0]), "{what}: {found:?}");
        }
    }

    #[test]
    fn the_future_changes_nothing() {
        let values = waves(2, 1500);
        let all = judged(&values);
        assert_eq!(judged(&values[..900]), all[..900]);
    }

    /// An alarm in a stream is a hint, not a verdict: normal noise has about one in 2,500 values.
    #[test]
    fn noise_is_seldom_an_anomaly() {
        let mut draws = Draws::seeded(3);
        let count = |run: u32| alarms(&draws.wandering(f64::from(run % 4) * 0.2, 600)).len();
        let found: usize = (0..100).map(count).sum();
        assert!(found <= 40, "{found} in 60,000 values");
    }

    #[test]
    fn edges() {
        assert_eq!(judged(&[]), []);
        assert!(alarms(&[7.0; 2000]).is_empty());
        let strange = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e308, -1e308, f64::MIN_POSITIVE, 3.0];
        let values: Vec<f64> = (0..10_000).map(|i| strange[i * i % 8] * f64::from(u8::from(i % 3 > 0))).collect();
        assert!(judged(&values).iter().all(|judged| (0.0..=1.0).contains(&judged.score)));
        let mut gap = waves(4, 2000);
        gap[1000..1100].fill(f64::NAN);
        assert!(judged(&gap)[1000..1100].iter().all(|judged| judged.score == 0.0 && !judged.is_alarm));
    }
}
