//! Siblings: pods, zones and scenarios that send like requests side by side, and what each of them saw of every endpoint.
//!
//! Which they are is known by convention: the tags in `TAGS`, the inputs of a run, and its scenarios, which the frames hold
//! already. Of each sibling, endpoint and step only counts and a sum of logarithms are kept: they add up in any order to the
//! same bits, and a few bytes of each let several hundred siblings and endpoints be told apart within the bound.

use std::collections::{BTreeMap, HashMap};

use crate::model::series::SeriesKey;
use crate::model::tags::TagSet;
use crate::model::time::NANOSECONDS_PER_SECOND;

use super::aggregate::OTHER;
use super::frames::Frames;

/// Tags whose values are siblings, the widest first.
const TAGS: [&str; 8] = ["region", "load_zone", "zone", "node", "server", "pod", "instance", "instance_id"];
/// The siblings that the inputs of a run are, which are k6's pods.
pub const INPUT: &str = "input";
pub const SCENARIO: &str = "scenario";
/// A tag with more values names no places: it is an id.
const SIBLINGS_MAX: usize = 64;
/// Siblings times endpoints, of all tags together.
const SERIES_MAX: usize = 10_000;
/// Some 80 bytes each: beyond it two steps become one.
const TALLIES_MAX: usize = 200_000;
/// A clock that jumps by years has longer steps.
const STEPS_MAX: i64 = 8_192;
/// Logarithms are summed in this part of one: whole numbers have the same sum in any order.
const LOGARITHM_UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Requests that are alike: only these are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Like {
    pub endpoint: String,
    pub method: Option<String>,
    /// None where scenarios are the siblings.
    pub scenario: Option<String>,
}

/// The requests of one sibling to one endpoint in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those with a latency that is judged: k6 expected them to succeed.
    pub latency_count: u64,
    logarithms_sum: i64,
    /// Those of which k6 says whether they failed.
    pub requests_count: u64,
    pub failed_count: u64,
}

impl Tally {
    fn add_latency(&mut self, milliseconds: f64, count: u64) {
        // A latency of 0 has no logarithm; k6 writes none but of requests that were not sent.
        if milliseconds > 0.0 {
            self.latency_count += count;
            let logarithm = (milliseconds.ln() / LOGARITHM_UNIT).round() as i64;
            self.logarithms_sum = self.logarithms_sum.saturating_add(logarithm.saturating_mul(count as i64));
        }
    }

    pub fn merge(&mut self, other: &Tally) {
        self.latency_count += other.latency_count;
        self.logarithms_sum = self.logarithms_sum.saturating_add(other.logarithms_sum);
        self.requests_count += other.requests_count;
        self.failed_count += other.failed_count;
    }

    /// Returns the sum of the latencies' logarithms, of milliseconds.
    pub fn logarithms_sum(&self) -> f64 {
        self.logarithms_sum as f64 * LOGARITHM_UNIT
    }
}

/// What one sibling saw of like requests.
#[derive(Debug, Clone, PartialEq)]
pub struct SiblingSeries {
    /// Index into `SiblingKind::siblings`.
    pub sibling: usize,
    /// Index into `SiblingKind::likes`.
    pub like: usize,
    /// By step, counted from 1970.
    pub tallies: BTreeMap<i64, Tally>,
}

/// All siblings of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct SiblingKind {
    /// The tag, `input` or `scenario`.
    pub name: &'static str,
    pub siblings: Vec<String>,
    pub likes: Vec<Like>,
    /// Each pair of sibling and like requests once.
    pub series: Vec<SiblingSeries>,
    pub step_seconds: i64,
}

/// Where the samples of a label go.
#[derive(Debug, Clone, Default)]
pub struct Places {
    is_latency: bool,
    series: Vec<u32>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    siblings: Vec<String>,
    is_given_up: bool,
}

#[derive(Debug)]
struct Series {
    kind: usize,
    sibling: usize,
    like: usize,
    /// The step that is being filled: samples come nearly by time.
    open: Option<(i64, Tally)>,
    closed: BTreeMap<i64, Tally>,
}

/// The siblings of one run by tag and by input, while its samples go by.
#[derive(Debug)]
pub struct Siblings {
    step_seconds: i64,
    /// Those of `TAGS`, then the inputs.
    kinds: Vec<Kind>,
    likes: Vec<Like>,
    like_index: HashMap<Like, usize>,
    series: Vec<Series>,
    /// By kind, sibling and like requests.
    index: HashMap<(usize, usize, usize), u32>,
    tallies_count: usize,
    steps: Option<(i64, i64)>,
}

impl Siblings {
    /// `inputs`: the names of the streams that are one run.
    pub fn new(inputs: &[String]) -> Siblings {
        let kind = |name: &'static str| Kind { name, siblings: Vec::new(), is_given_up: false };
        let mut kinds: Vec<Kind> = TAGS.into_iter().map(kind).collect();
        let is_given_up = inputs.len() > SIBLINGS_MAX;
        kinds.push(Kind { siblings: inputs.to_vec(), is_given_up, ..kind(INPUT) });
        Siblings {
            step_seconds: 1,
            kinds,
            likes: Vec::new(),
            like_index: HashMap::new(),
            series: Vec::new(),
            index: HashMap::new(),
            tallies_count: 0,
            steps: None,
        }
    }

    /// Returns where samples of the series `key` with these tags from this input (from 0) go.
    pub fn places(&mut self, key: &SeriesKey, tags: &TagSet, input: usize) -> Places {
        let is_latency = key.metric == "http_req_duration" && key.expected_response != Some(false);
        let endpoint = key.endpoint.as_ref().filter(|endpoint| *endpoint != OTHER);
        let (true, Some(endpoint)) = (is_latency || key.metric == "http_req_failed", endpoint) else {
            return Places::default();
        };
        let is_several = self.kinds[TAGS.len()].siblings.len() > 1;
        let mut owned: Vec<(usize, usize)> =
            (0..TAGS.len()).filter_map(|kind| Some((kind, self.sibling(kind, tags.non_empty(TAGS[kind])?)?))).collect();
        owned.extend(is_several.then_some((TAGS.len(), input)));
        owned.retain(|(kind, _)| !self.kinds[*kind].is_given_up);
        if owned.is_empty() {
            return Places::default();
        }
        let (endpoint, method, scenario) = (endpoint.clone(), key.method.clone(), key.scenario.clone());
        let like = Like { endpoint, method, scenario };
        let like = *self.like_index.entry(like).or_insert_with_key(|like| {
            self.likes.push(like.clone());
            self.likes.len() - 1
        });
        let series = owned.into_iter().filter_map(|(kind, sibling)| self.place(kind, sibling, like)).collect();
        Places { is_latency, series }
    }

    /// Returns a sibling's index; none where its kind has too many.
    fn sibling(&mut self, kind: usize, name: &str) -> Option<usize> {
        let kind = &mut self.kinds[kind];
        if let Some(known) = kind.siblings.iter().position(|known| known == name) {
            return Some(known);
        }
        if kind.siblings.len() == SIBLINGS_MAX {
            kind.is_given_up = true;
            return None;
        }
        kind.siblings.push(name.to_owned());
        Some(kind.siblings.len() - 1)
    }

    fn place(&mut self, kind: usize, sibling: usize, like: usize) -> Option<u32> {
        if let Some(known) = self.index.get(&(kind, sibling, like)) {
            return Some(*known);
        }
        if self.series.len() == SERIES_MAX {
            self.kinds[kind].is_given_up = true;
            return None;
        }
        self.series.push(Series { kind, sibling, like, open: None, closed: BTreeMap::new() });
        let place = self.series.len() as u32 - 1;
        self.index.insert((kind, sibling, like), place);
        Some(place)
    }

    /// Takes samples: columns of equal length, and the places of each label.
    pub fn push(&mut self, times_ns: &[i64], values: &[f64], labels: &[u32], places: &[Places]) {
        if self.series.is_empty() {
            return;
        }
        for ((time_ns, value), label) in times_ns.iter().zip(values).zip(labels) {
            let Places { is_latency, series } = &places[*label as usize];
            for place in series {
                self.take(*place as usize, *time_ns, *value, *is_latency);
            }
        }
    }

    fn take(&mut self, place: usize, time_ns: i64, value: f64, is_latency: bool) {
        let step = time_ns.div_euclid(self.step_seconds * NANOSECONDS_PER_SECOND);
        let series = &mut self.series[place];
        if self.kinds[series.kind].is_given_up {
            return;
        }
        if series.open.is_none_or(|(open, _)| open != step) {
            self.close(place);
            let (first, last) = self.steps.unwrap_or((step, step));
            self.steps = Some((first.min(step), last.max(step)));
            if self.is_too_large() {
                while self.is_too_large() {
                    self.coarsen();
                }
                return self.take(place, time_ns, value, is_latency);
            }
        }
        let (_, tally) = self.series[place].open.get_or_insert((step, Tally::default()));
        if is_latency {
            tally.add_latency(value, 1);
        } else {
            tally.requests_count += 1;
            tally.failed_count += u64::from(value != 0.0);
        }
    }

    fn close(&mut self, place: usize) {
        let series = &mut self.series[place];
        let Some((step, tally)) = series.open.take() else { return };
        let known_count = series.closed.len();
        series.closed.entry(step).or_default().merge(&tally);
        self.tallies_count += series.closed.len() - known_count;
    }

    fn is_too_large(&self) -> bool {
        self.steps.is_some_and(|(first, last)| {
            last > first && (self.tallies_count > TALLIES_MAX || last.saturating_sub(first) >= STEPS_MAX)
        })
    }

    /// Makes one step of two.
    fn coarsen(&mut self) {
        self.step_seconds *= 2;
        self.tallies_count = 0;
        self.steps = self.steps.map(|(first, last)| (first.div_euclid(2), last.div_euclid(2)));
        for series in &mut self.series {
            series.open = series.open.map(|(step, tally)| (step.div_euclid(2), tally));
            for (step, tally) in std::mem::take(&mut series.closed) {
                series.closed.entry(step.div_euclid(2)).or_default().merge(&tally);
            }
            self.tallies_count += series.closed.len();
        }
    }

    /// Returns what was gathered, the scenarios first, and what had too many siblings to be told apart.
    pub fn kinds(&self, frames: &Frames) -> (Vec<SiblingKind>, Vec<&'static str>) {
        let of_kind = |(index, kind): (usize, &Kind)| SiblingKind {
            name: kind.name,
            siblings: kind.siblings.clone(),
            likes: self.likes.clone(),
            series: self.series.iter().filter(|series| series.kind == index).map(Series::whole).collect(),
            step_seconds: self.step_seconds,
        };
        let (given_up, told): (Vec<_>, Vec<_>) = self.kinds.iter().enumerate().partition(|(_, kind)| kind.is_given_up);
        let kinds = std::iter::once(scenarios(frames)).chain(told.into_iter().map(of_kind));
        let kinds = kinds.filter(|kind| !kind.series.is_empty()).collect();
        (kinds, given_up.into_iter().map(|(_, kind)| kind.name).collect())
    }
}

impl Series {
    fn whole(&self) -> SiblingSeries {
        let mut tallies = self.closed.clone();
        if let Some((step, tally)) = &self.open {
            tallies.entry(*step).or_default().merge(tally);
        }
        SiblingSeries { sibling: self.sibling, like: self.like, tallies }
    }
}

/// Returns the scenarios as siblings, by the sketches of their latencies; none where there are too few or too many.
fn scenarios(frames: &Frames) -> SiblingKind {
    let step_seconds = frames.step_seconds;
    let mut kind =
        SiblingKind { name: SCENARIO, siblings: Vec::new(), likes: Vec::new(), series: Vec::new(), step_seconds };
    let of_requests = |metric: &str| metric == "http_req_duration" || metric == "http_req_failed";
    let series: Vec<_> = frames.series().iter().filter(|series| of_requests(&series.key.metric)).collect();
    let mut names: Vec<&String> = series.iter().filter_map(|series| series.key.scenario.as_ref()).collect();
    names.sort_unstable();
    names.dedup();
    if !(2..=SIBLINGS_MAX).contains(&names.len()) {
        return kind;
    }
    let first = frames.start_ns().unwrap_or_default() / (step_seconds * NANOSECONDS_PER_SECOND);
    let mut by_pair: BTreeMap<(usize, Like), BTreeMap<i64, Tally>> = BTreeMap::new();
    for series in series {
        let (Some(endpoint), Some(scenario)) = (&series.key.endpoint, &series.key.scenario) else { continue };
        let Ok(sibling) = names.binary_search(&scenario) else { continue };
        let like = Like { endpoint: endpoint.clone(), method: series.key.method.clone(), scenario: None };
        let tallies = by_pair.entry((sibling, like)).or_default();
        frames.each_step(1, [series], |step, known| {
            let Some(known) = known else { return };
            let tally = tallies.entry(first + step as i64).or_default();
            if series.key.metric == "http_req_duration" {
                known.sketch.values().for_each(|(milliseconds, count)| tally.add_latency(milliseconds, count));
            } else {
                tally.requests_count += known.count;
                tally.failed_count += known.nonzero_count;
            }
        });
    }
    kind.likes = by_pair.keys().map(|(_, like)| like.clone()).collect();
    kind.likes.sort_unstable();
    kind.likes.dedup();
    kind.siblings = names.into_iter().cloned().collect();
    let place = |like: &Like| kind.likes.binary_search(like).expect("every one is in the list");
    let series = by_pair.into_iter();
    kind.series =
        series.map(|((sibling, like), tallies)| SiblingSeries { sibling, like: place(&like), tallies }).collect();
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(zone: &str) -> (SeriesKey, TagSet) {
        let pairs = [("zone", zone), ("name", "a"), ("scenario", "s")];
        let tags = TagSet::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        (SeriesKey::of("http_req_duration", &tags), tags)
    }

    #[test]
    fn each_sibling_has_its_own_and_steps_grow() {
        let mut siblings = Siblings::new(&["a".to_owned()]);
        let places: Vec<Places> = ["x", "y"]
            .map(|zone| {
                let (key, tags) = latency(zone);
                siblings.places(&key, &tags, 0)
            })
            .to_vec();
        for second in 0..2 * STEPS_MAX {
            let time = second * NANOSECONDS_PER_SECOND;
            siblings.push(&[time, time], &[1.0, std::f64::consts::E], &[0, 1], &places);
        }
        let (kinds, given_up) = siblings.kinds(&Frames::default());
        assert_eq!((kinds.len(), kinds[0].name, given_up.len(), kinds[0].step_seconds), (1, "zone", 0, 2));
        let total = |sibling: usize| {
            let mut sum = Tally::default();
            kinds[0].series[sibling].tallies.values().for_each(|tally| sum.merge(tally));
            (sum.latency_count as i64, sum.logarithms_sum() / sum.latency_count as f64)
        };
        assert_eq!(total(0), (2 * STEPS_MAX, 0.0));
        assert!(total(1).0 == 2 * STEPS_MAX && (total(1).1 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_tag_with_too_many_values_is_given_up() {
        let mut siblings = Siblings::new(&[]);
        for zone in 0..=SIBLINGS_MAX {
            let (key, tags) = latency(&zone.to_string());
            siblings.places(&key, &tags, 0);
        }
        let (kinds, given_up) = siblings.kinds(&Frames::default());
        assert_eq!((kinds.len(), given_up), (0, vec!["zone"]));
    }

    #[test]
    fn inputs_are_siblings_where_they_are_several() {
        let (key, tags) = latency("x");
        for (inputs, expected) in [(1, 1), (3, 2)] {
            let mut siblings = Siblings::new(&vec!["pod".to_owned(); inputs]);
            assert_eq!(siblings.places(&key, &tags, inputs - 1).series.len(), expected);
        }
    }
}
