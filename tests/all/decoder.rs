//! The line decoder against `serde_json`, on generated lines: k6's own form, any other form, and damaged ones.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidemark::ingest::k6_line::LineDecoder;
use tidemark::tables::samples::SampleBlock;

/// One sample, as whoever wrote it knows it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    metric: String,
    time_ns: i64,
    value: f64,
    tags: Vec<(String, String)>,
    metadata: Option<Value>,
}

/// How a line is written.
#[derive(Debug, Clone, Copy)]
enum Form {
    K6,
    /// As k6's extension for Kafka orders it.
    MetricLast,
    Spaced,
    Reversed,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("200".to_owned()),
        "[a-z]{1,6}",
        Just("}},{\"\\\u{1F600}\n\u{2028}<&>".to_owned()),
        any::<String>(),
    ]
}

fn pairs() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..4)
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        Just(0.0),
        Just(1.0),
        (0u64..10_000_000_000).prop_map(|nanoseconds| nanoseconds as f64 / 1e6),
        prop::num::f64::NORMAL,
        prop::num::f64::SUBNORMAL,
    ];
    // Few metrics and few tags, so that the decoder's guesses hold as often as they fail.
    let metric = prop_oneof![Just("http_reqs".to_owned()), Just("http_req_duration".to_owned()), text()];
    let time_ns = prop_oneof![
        1_790_000_000_000_000_000i64..1_790_000_001_000_000_000,
        -8_000_000_000_000_000_000i64..8_000_000_000_000_000_000
    ];
    let metadata = prop::option::weighted(0.2, pairs()).prop_map(|pairs| pairs.map(|pairs| json!(pairs)));
    (metric, time_ns, value, pairs(), metadata).prop_map(|(metric, time_ns, value, tags, metadata)| Row {
        metric,
        time_ns,
        value,
        tags: tags.into_iter().collect(),
        metadata,
    })
}

fn line(row: &Row, form: Form) -> String {
    let time = json!(tidemark::model::time::Timestamp(row.time_ns).to_string());
    let tags: Map<String, Value> = row.tags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let (metric, value, tags) = (json!(row.metric), json!(row.value), Value::Object(tags));
    let metadata = row.metadata.as_ref().map(|metadata| format!(",\"metadata\":{metadata}")).unwrap_or_default();
    match form {
        Form::K6 => format!(
            r#"{{"metric":{metric},"type":"Point","data":{{"time":{time},"value":{value},"tags":{tags}{metadata}}}}}"#
        ),
        Form::MetricLast => format!(
            r#"{{"type":"Point","data":{{"time":{time},"value":{value},"tags":{tags}{metadata}}},"metric":{metric}}}"#
        ),
        Form::Spaced => format!(
            "{{ \"metric\" : {metric},\t\"type\": \"Point\", \"data\": {{\"time\": {time}, \"value\" :{value} , \"tags\":{tags}{metadata} }} }} \r"
        ),
        Form::Reversed => format!(
            r#"{{"data":{{"tags":{tags},"value":{value},"time":{time}{metadata}}},"more":[1,{{}}],"type":"Point","metric":{metric}}}"#
        ),
    }
}

/// Decodes in blocks of `lines_per_block` lines, and gives back rows.
fn decoded(text: &str, lines_per_block: usize) -> (Vec<Row>, u64) {
    let (mut decoder, mut labels, mut rows, mut rejected) = (LineDecoder::default(), Vec::new(), Vec::new(), 0);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for lines in lines.chunks(lines_per_block) {
        let mut block = SampleBlock::default();
        decoder.decode(lines.concat().as_bytes(), &mut block);
        rejected += block.rejections_count;
        labels.extend(block.new_labels.iter().cloned());
        for row in 0..block.rows() {
            let label = &labels[block.labels[row] as usize];
            let metadata = block.metadata.iter().find(|(at, _)| *at as usize == row);
            rows.push(Row {
                metric: label.metric.to_string(),
                time_ns: block.times_ns[row],
                value: block.values[row],
                tags: label.tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                metadata: metadata.map(|(_, text)| serde_json::from_str(text).unwrap()),
            });
        }
    }
    (rows, rejected)
}

proptest! {
    #[test]
    fn every_form_gives_the_same_rows(
        rows in prop::collection::vec((row(), prop_oneof![4 => Just(Form::K6), 4 => Just(Form::MetricLast), 1 => Just(Form::Spaced), 1 => Just(Form::Reversed)]), 1..6),
        // Few rows in many orders: what followed a line before follows it again, or something else does.
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        lines_per_block in 1usize..8,
    ) {
        let mut expected = Vec::new();
        let mut text = String::new();
        for index in order {
            let (row, form) = &rows[index.index(rows.len())];
            text += &line(row, *form);
            text.push('\n');
            expected.push(row.clone());
        }
        let (found, rejected) = decoded(&text, lines_per_block);
        prop_assert_eq!(rejected, 0);
        prop_assert_eq!(found, expected);
    }

    /// What the fast path takes, `serde_json` takes with the same value; what is damaged is counted, never a panic.
    #[test]
    fn a_damaged_line_is_a_row_only_if_it_is_json(row in row(), form in prop_oneof![Just(Form::K6), Just(Form::MetricLast)], at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f) {
        let good = line(&row, form);
        let mut damaged = good.clone().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let Ok(damaged) = String::from_utf8(damaged) else { return Ok(()) };
        let (found, rejected) = decoded(&format!("{good}\n{damaged}\n"), 2);
        prop_assert_eq!(found.len() as u64 + rejected, 2);
        if found.len() == 2 {
            let value: Value = serde_json::from_str(&damaged).unwrap();
            let point = &value["data"];
            prop_assert_eq!(value["metric"].as_str(), Some(found[1].metric.as_str()));
            let text = point["value"].to_string();
            let expected: f64 = text.parse().unwrap();
            prop_assert!((found[1].value - expected).abs() <= expected.abs() * 1e-15, "{} is not {}", found[1].value, text);
            let tags: Vec<(String, String)> = point["tags"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
            let mut tags = tags;
            tags.sort();
            prop_assert_eq!(&found[1].tags, &tags);
        }
    }
}

#[test]
fn labels_of_more_metrics_than_the_tags_list() {
    let lines = (0..300).flat_map(|metric| {
        [1, 2].map(|tag| {
            let tags = format!(r#"{{"tag":"{tag}"}}"#);
            let data = format!(r#"{{"time":"2026-11-24T02:33:25Z","value":1,"tags":{tags}}}"#);
            format!("{{\"metric\":\"m{metric}\",\"type\":\"Point\",\"data\":{data}}}\n")
        })
    });
    let text: String = lines.collect();
    let mut decoder = LineDecoder::default();
    let (mut first, mut second) = (SampleBlock::default(), SampleBlock::default());
    decoder.decode(text.as_bytes(), &mut first);
    decoder.decode(text.as_bytes(), &mut second);
    assert_eq!(first.labels, (0..600).collect::<Vec<u32>>());
    assert_eq!((second.labels, second.new_labels.len()), (first.labels, 0));
    for (index, label) in first.new_labels.iter().enumerate() {
        assert_eq!((&*label.metric, label.tags.get("tag")), (&*format!("m{}", index / 2), Some(["1", "2"][index % 2])));
    }
}
