//! A profile as `go tool pprof` and its kin read it: gzipped protobuf, `perftools.profiles.Profile`.
//!
//! The messages are those of google/pprof's `proto/profile.proto`, without the fields for which nothing is known: addresses, mappings,
//! lines. Each function is one location.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::model::telemetry::Profile;

#[derive(Clone, PartialEq, Message)]
struct ProfileMessage {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Places in the table of texts.
#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost frame first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
}

/// The texts of a profile, each once; the first is empty, as the format asks.
struct Texts {
    table: Vec<String>,
    places: HashMap<String, i64>,
}

impl Texts {
    fn new() -> Texts {
        Texts { table: vec![String::new()], places: HashMap::from([(String::new(), 0)]) }
    }

    fn place(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.table.len() as i64;
        self.table.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

/// Returns the profile as a file; its type and unit are the second and third part of its Pyroscope type, its period's the last two.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut texts = Texts::new();
    let parts: Vec<&str> = profile.profile_type.split(':').collect();
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let sample_type = ValueType { kind: texts.place(part(1)), unit: texts.place(part(2)) };
    let period_type = ValueType { kind: texts.place(part(3)), unit: texts.place(part(4)) };
    // Ids begin at 1.
    let functions: Vec<Function> = profile
        .functions
        .iter()
        .zip(1u64..)
        .map(|(name, id)| {
            let name = texts.place(name);
            Function { id, name, system_name: name }
        })
        .collect();
    let locations =
        functions.iter().map(|function| Location { id: function.id, line: vec![Line { function_id: function.id }] });
    let is_known = |function: &&u32| (**function as usize) < profile.functions.len();
    let samples = profile.stacks.iter().map(|(stack, value)| Sample {
        location_id: stack.iter().rev().filter(is_known).map(|function| u64::from(*function) + 1).collect(),
        value: vec![*value],
    });
    let message = ProfileMessage {
        sample_type: vec![sample_type],
        sample: samples.collect(),
        location: locations.collect(),
        function: functions,
        string_table: texts.table,
        time_nanos: profile.from.0,
        duration_nanos: profile.until.0.saturating_sub(profile.from.0),
        period_type: Some(period_type),
        period: 0,
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&message.encode_to_vec()).and_then(|()| packed.finish()).expect("a Vec takes everything")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn what_is_written_is_read_again() {
        let profile = Profile {
            service: "auth".to_owned(),
            profile_type: "mutex:delay:nanoseconds:contentions:count".to_owned(),
            from: Timestamp(5),
            until: Timestamp(25),
            spans_count: 0,
            functions: ["main", "lock", "main"].map(str::to_owned).to_vec(),
            stacks: vec![(vec![0, 1], 7), (vec![2, 9], 3), (vec![], 1)],
        };
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(encode(&profile).as_slice()).read_to_end(&mut bytes).unwrap();
        let read = ProfileMessage::decode(bytes.as_slice()).unwrap();
        let text = |place: i64| read.string_table[place as usize].as_str();
        assert_eq!((text(read.sample_type[0].kind), text(read.sample_type[0].unit)), ("delay", "nanoseconds"));
        let period = read.period_type.as_ref().unwrap();
        assert_eq!((text(period.kind), text(period.unit)), ("contentions", "count"));
        assert_eq!((read.time_nanos, read.duration_nanos, text(0)), (5, 20, ""));
        let names = |sample: &Sample| -> Vec<&str> {
            let function = |id: &u64| read.function.iter().find(|function| function.id == *id).unwrap();
            sample.location_id.iter().map(|id| text(function(id).name)).collect()
        };
        let samples: Vec<(Vec<&str>, i64)> =
            read.sample.iter().map(|sample| (names(sample), sample.value[0])).collect();
        assert_eq!(samples, [(vec!["lock", "main"], 7), (vec!["main"], 3), (vec![], 1)]);
    }
}
