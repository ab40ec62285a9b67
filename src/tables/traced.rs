//! Requests of which k6 knows the trace: of each endpoint and step the slowest one, and one like any other.
//!
//! A script that sends trace context leaves the id in the metadata of its samples. A search of the traces' server gives the first
//! that it finds, and not the slowest; these are known before anything is asked.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::in_turn::in_turn;
use crate::model::report::TracedRequest;
use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

use super::aggregate::Aggregate;

/// Time to the whole answer of one request, by protocol.
const DURATIONS: [&str; 2] = ["http_req_duration", "grpc_req_duration"];
const STEP_SECONDS: i64 = 5;
/// Endpoints times steps, some 200 bytes each: beyond it steps become twice as long.
const STEPS_KEPT_MAX: usize = 20_000;
/// A clock that jumps by years would need longer ones.
const STEP_SECONDS_MAX: i64 = 1 << 20;
const KEY: &str = "\"trace_id\":\"";
const TRACE_ID_DIGITS: usize = 32;

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    time_ns: i64,
    milliseconds: f64,
    trace_id: Box<str>,
}

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    slowest: Seen,
    /// The first: it has nothing to do with how long it took.
    any: Seen,
}

impl Kept {
    fn of(seen: Seen) -> Kept {
        Kept { slowest: seen.clone(), any: seen }
    }

    /// Whatever the order, the same stays.
    fn take_in(&mut self, other: Kept) {
        if by_slowness(&other.slowest, &self.slowest).is_lt() {
            self.slowest = other.slowest;
        }
        if (other.any.time_ns, &other.any.trace_id) < (self.any.time_ns, &self.any.trace_id) {
            self.any = other.any;
        }
    }
}

/// The slowest first.
fn by_slowness(one: &Seen, other: &Seen) -> Ordering {
    other.milliseconds.total_cmp(&one.milliseconds).then_with(|| one.trace_id.cmp(&other.trace_id))
}

/// Keeps them while samples go by.
#[derive(Debug)]
pub struct Traced {
    step_seconds: i64,
    /// By step, counted from 1970, and series.
    kept: BTreeMap<(i64, u32), Kept>,
}

impl Default for Traced {
    fn default() -> Self {
        Traced { step_seconds: STEP_SECONDS, kept: BTreeMap::new() }
    }
}

impl Traced {
    /// `metadata`: by row; `cells`: of each row in `aggregate`.
    pub fn push(
        &mut self,
        times_ns: &[i64],
        values: &[f64],
        metadata: &[(u32, Box<str>)],
        cells: &[u32],
        aggregate: &Aggregate,
    ) {
        for (row, text) in metadata {
            let row = *row as usize;
            let cell = &aggregate.cells[cells[row] as usize];
            if !DURATIONS.contains(&&*aggregate.metrics[cell.metric as usize].name) {
                continue;
            }
            let (time_ns, milliseconds) = (times_ns[row], values[row]);
            let place = (self.step_of(time_ns), cell.series);
            let known = self.kept.get(&place);
            let is_new =
                known.is_none_or(|known| milliseconds >= known.slowest.milliseconds || time_ns <= known.any.time_ns);
            if is_new && let Some(trace_id) = trace_id(text) {
                let kept = Kept::of(Seen { time_ns, milliseconds, trace_id: trace_id.into() });
                self.take_in(place, kept);
            }
        }
    }

    fn step_of(&self, time_ns: i64) -> i64 {
        time_ns.div_euclid(self.step_seconds * NANOSECONDS_PER_SECOND)
    }

    fn take_in(&mut self, place: (i64, u32), kept: Kept) {
        if let Some(known) = self.kept.get_mut(&place) {
            known.take_in(kept);
        } else if self.kept.len() < STEPS_KEPT_MAX {
            self.kept.insert(place, kept);
        } else if self.step_seconds < STEP_SECONDS_MAX {
            self.step_seconds *= 2;
            for ((step, series), old) in std::mem::take(&mut self.kept) {
                self.take_in((step.div_euclid(2), series), old);
            }
            self.take_in((place.0.div_euclid(2), place.1), kept);
        }
        // Else there are more endpoints than anyone looks at.
    }

    /// Returns those of each of some parts of the run: of every series in turn the slowest, then one like any other, and so on, at
    /// most `count` of a part.
    pub fn of_parts(&self, parts: &[(Timestamp, Timestamp)], count: usize, series: &[SeriesKey]) -> Vec<TracedRequest> {
        let mut by_series: BTreeMap<u32, Vec<&Kept>> = BTreeMap::new();
        for ((_, of), kept) in &self.kept {
            by_series.entry(*of).or_default().push(kept);
        }
        let of_part = |(from, until): &(Timestamp, Timestamp)| {
            let is_in = |seen: &&Seen| from.0 <= seen.time_ns && seen.time_ns < until.0;
            let lists: Vec<Vec<(u32, &Seen)>> = by_series
                .iter()
                .map(|(of, kept)| alternating(kept, is_in, count).into_iter().map(|seen| (*of, seen)).collect())
                .collect();
            let mut chosen: BTreeSet<&str> = BTreeSet::new();
            let new = in_turn(&lists).copied().filter(|(_, seen)| chosen.insert(&seen.trace_id));
            new.take(count).map(|(of, seen)| request(seen, series.get(of as usize))).collect::<Vec<TracedRequest>>()
        };
        parts.iter().flat_map(of_part).collect()
    }
}

/// Returns the slowest of one series, one like any other, the next slowest, and so on.
fn alternating<'k>(kept: &[&'k Kept], is_in: impl Fn(&&'k Seen) -> bool, count: usize) -> Vec<&'k Seen> {
    let mut slow: Vec<&Seen> = kept.iter().map(|kept| &kept.slowest).filter(&is_in).collect();
    slow.sort_by(|left, right| by_slowness(left, right));
    // Those like any other evenly from all of the time.
    let any: Vec<&Seen> = kept.iter().map(|kept| &kept.any).filter(&is_in).collect();
    let stride = any.len().div_ceil(count.max(1)).max(1);
    in_turn(&[slow, any.into_iter().step_by(stride).collect()]).copied().collect()
}

fn request(seen: &Seen, key: Option<&SeriesKey>) -> TracedRequest {
    TracedRequest {
        at: Timestamp(seen.time_ns),
        endpoint: key.and_then(|key| key.endpoint.clone()).unwrap_or_default(),
        method: key.and_then(|key| key.method.clone()),
        milliseconds: seen.milliseconds,
        trace_id: seen.trace_id.to_string(),
    }
}

/// Returns the trace's id in k6's metadata, an object of texts.
fn trace_id(metadata: &str) -> Option<&str> {
    let (_, rest) = metadata.split_once(KEY)?;
    let id = rest.get(..TRACE_ID_DIGITS)?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit()) && rest[TRACE_ID_DIGITS..].starts_with('"');
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::tags::TagSet;
    use crate::tables::samples::Label;

    fn id(number: u64) -> String {
        format!("{number:032x}")
    }

    fn pushed(samples: &[(&str, i64, f64, u64)]) -> (Traced, Vec<SeriesKey>) {
        let mut aggregate = Aggregate::new(1);
        let mut traced = Traced::default();
        for (metric_and_endpoint, second, value, number) in samples {
            let (metric, endpoint) = metric_and_endpoint.split_once(' ').unwrap();
            let tags = TagSet::from_pairs(vec![("name".to_owned(), endpoint.to_owned())]);
            let cell = aggregate.cell_of(&Label { metric: Arc::from(metric), tags: Arc::new(tags) }, 0);
            let text = format!(r#"{{"trace_id":"{}","vu":"1"}}"#, id(*number));
            traced.push(&[second * NANOSECONDS_PER_SECOND], &[*value], &[(0, text.into())], &[cell], &aggregate);
        }
        (traced, aggregate.series)
    }

    fn ids(found: &[TracedRequest]) -> Vec<u64> {
        found.iter().map(|one| u64::from_str_radix(&one.trace_id, 16).unwrap()).collect()
    }

    #[test]
    fn the_slowest_and_one_like_any_other_of_each_endpoint_and_part() {
        let part = |from: i64, until: i64| {
            (Timestamp(from * NANOSECONDS_PER_SECOND), Timestamp(until * NANOSECONDS_PER_SECOND))
        };
        let mut samples = vec![
            ("http_req_duration /cart", 0, 5.0, 1),
            ("http_req_duration /cart", 1, 50.0, 2),
            ("http_req_duration /cart", 2, 7.0, 3),
            ("http_req_duration /login", 3, 4.0, 4),
            ("http_req_waiting /login", 3, 400.0, 5),
            ("http_req_duration /cart", 12, 90.0, 6),
        ];
        let (traced, series) = pushed(&samples);
        let parts = [part(0, 10), part(10, 20)];
        let found = traced.of_parts(&parts, 10, &series);
        assert_eq!(ids(&found), [2, 4, 1, 6]);
        assert_eq!((found[0].endpoint.as_str(), found[0].milliseconds), ("/cart", 50.0));
        assert_eq!(ids(&traced.of_parts(&parts, 1, &series)), [2, 6]);
        // The order in which pods are read changes nothing.
        samples.reverse();
        let (reversed, series) = pushed(&samples);
        let mut sorted = [ids(&reversed.of_parts(&parts, 10, &series)), ids(&found)];
        sorted.iter_mut().for_each(|ids| ids.sort_unstable());
        assert_eq!(sorted[0], sorted[1]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_keeps_its_slowest() {
        let samples: Vec<(&str, i64, f64, u64)> = (0..3 * STEPS_KEPT_MAX as i64)
            .map(|step| ("http_req_duration /", step * STEP_SECONDS, if step == 777 { 99.0 } else { 1.0 }, step as u64))
            .collect();
        let (traced, series) = pushed(&samples);
        assert!(traced.kept.len() <= STEPS_KEPT_MAX && traced.step_seconds == 4 * STEP_SECONDS);
        let all = (Timestamp(0), Timestamp(i64::MAX));
        assert_eq!(ids(&traced.of_parts(&[all], 3, &series))[0], 777);
    }

    #[test]
    fn only_what_is_an_id_is_one() {
        let long = id(7);
        assert_eq!(trace_id(&format!(r#"{{"vu":"1","trace_id":"{long}"}}"#)), Some(long.as_str()));
        for text in
            ["{}", r#"{"trace_id":"12"}"#, r#"{"trace_id":""#, r#"{"trace_id":"éééééééééééééééééééééééééééééééé"}"#]
        {
            assert_eq!(trace_id(text), None, "{text}");
        }
        assert_eq!(trace_id(&format!(r#"{{"trace_id":"{long}0"}}"#)), None);
    }
}
