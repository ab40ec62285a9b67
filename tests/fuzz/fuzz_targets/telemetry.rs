//! What servers answer: any bytes give values that hold together, or an error that can be told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark::ingest::telemetry::loki::{LogAnswer, logs, patterns};
use tidemark::ingest::telemetry::pyroscope::{ProfileSubject, difference, profile};
use tidemark::ingest::telemetry::wire::TEXT_BYTES_MAX;
use tidemark::ingest::telemetry::{counted, prometheus, tempo};
use tidemark::model::time::Timestamp;

const ERROR_BYTES_MAX: usize = 10_000;

fn told<T>(answer: Result<T, impl std::fmt::Display>) -> Option<T> {
    answer.inspect_err(|error| assert!(error.to_string().len() < ERROR_BYTES_MAX)).ok()
}

// The first byte says whose answer the others are.
fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first() else { return };
    match which {
        b'm' => {
            for series in told(prometheus::metrics(body)).into_iter().flat_map(|found| found.series) {
                assert!(series.points.is_sorted_by_key(|(at, _)| *at));
                assert!(
                    series.points.iter().all(|(_, value)| value.is_finite()) && series.name.len() <= TEXT_BYTES_MAX + 8
                );
            }
        }
        b'e' => drop(told(prometheus::exemplars(body))),
        b't' => {
            let spans = told(tempo::trace(body)).map_or(Vec::new(), |trace| trace.spans);
            for span in &spans {
                let children: Vec<_> =
                    spans.iter().filter(|child| child.parent_id == Some(span.span_id)).take(50).collect();
                assert!(span.start <= span.end && (0.0..=span.duration_ms() + 1e-6).contains(&span.own_ms(&children)));
            }
        }
        b's' => drop(told(tempo::search(body))),
        b'p' => {
            let subject = ProfileSubject {
                service: "a".to_owned(),
                profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
                from: Timestamp(0),
                until: Timestamp(10_000_000_000),
                spans_count: 0,
            };
            let both = told(difference(body, subject.clone(), subject.clone()));
            for profile in told(profile(body, subject)).into_iter().chain(both.into_iter().flatten()) {
                let all = profile.stacks.iter().try_fold(0i64, |sum, (_, value)| sum.checked_add(*value));
                let own = profile.spent().values().try_fold(0i64, |sum, spent| sum.checked_add(spent.by_itself));
                assert_eq!(all, own);
            }
        }
        b'c' => {
            let spans = told(counted::of_spans(body, "{kind=server} | rate()"));
            let profiles = told(counted::of_profiles(body, "memory:alloc_space:bytes:space:bytes"));
            for series in spans.into_iter().chain(profiles).flat_map(|found| found.series) {
                assert!(series.points.is_sorted_by_key(|(at, _)| *at));
                assert!(series.points.iter().all(|(_, value)| value.is_finite()));
            }
        }
        b'l' => {
            for pattern in told(patterns(body, "a")).into_iter().flatten() {
                assert!(pattern.counts.is_sorted_by_key(|(at, _)| *at));
            }
        }
        b'k' => drop((told(prometheus::counters(body)), told(prometheus::label_sets(body)))),
        _ => {
            if let Some(LogAnswer::Lines(lines)) = told(logs(body)) {
                assert!(lines.iter().all(|line| line.message.len() <= TEXT_BYTES_MAX));
            }
        }
    }
});
