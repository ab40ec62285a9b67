//! A recording of what the servers answered about a run: a folder with a manifest of the questions and one file for each answer.
//!
//! What an answer means is told by its question, the server and the path asked, never by the name of its file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::counted;
use super::loki::{self, LogAnswer};
use super::prometheus::{self, ExemplarSeries, Metrics};
use super::pyroscope::{self, ProfileSubject};
use super::question::{Kind, Manifest, Question, QuestionError};
use super::tempo::{self, FoundTrace};
use super::wire::{self, AnswerError};
use crate::model::telemetry::{LogLine, MetricSeries, Profile, Span, Telemetry, Unavailable};
use crate::model::time::Timestamp;
use flate2::read::MultiGzDecoder;

/// Longest answer, inflated: thousands of traces or a day of one metric of a hundred pods.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// All answers together, inflated: without it a manifest could name one file thousands of times.
const ALL_ANSWERS_BYTES_MAX: u64 = 1 << 30;

/// Letters of a path or a name that a reason passes on.
const NAME_BYTES_MAX: usize = 120;

/// What a recording holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capture {
    /// Metrics without a name of their own have their query as their name. Of one series asked for twice the points are
    /// joined; spans, profiles and lines are there once. Metrics are sorted by name and labels, spans by trace and start,
    /// lines by time.
    pub telemetry: Telemetry,
    pub exemplars: Vec<ExemplarSeries>,
    /// What searches found, each trace once; of most there are no spans.
    pub found_traces: Vec<FoundTrace>,
    /// Points and exemplars that were left out, since they were not finite or led to no trace.
    pub dropped_count: u64,
    /// Answers to questions of other kinds, such as versions and lists of names.
    pub unread_count: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("failed to read the recording's manifest {path}")]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("failed to parse the recording's manifest {path}")]
    Parse {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
}

/// Why one answer is not there.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the manifest leads out of its folder")]
    Outside,
    #[error("failed to read the file")]
    Read(#[source] io::Error),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the recording's answers have more than {ALL_ANSWERS_BYTES_MAX} bytes together")]
    AllTooLong,
    #[error("status {status}: {said}")]
    Status { status: u16, said: String },
    #[error(transparent)]
    Question(#[from] QuestionError),
    #[error("the server knows no spans of this trace")]
    NoSpans,
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

const MANIFEST: &str = "manifest.json";

pub(super) fn manifest_bytes(folder: &Path) -> Result<Vec<u8>, CaptureError> {
    let path = folder.join(MANIFEST);
    let read = File::open(&path).and_then(|file| read_bounded(file, ANSWER_BYTES_MAX));
    read.map_err(|cause| CaptureError::Read { path, cause })
}

/// `folder`: is named in errors.
pub(super) fn parse_manifest<'a>(folder: &Path, bytes: &'a [u8]) -> Result<Manifest<'a>, CaptureError> {
    serde_json::from_slice(bytes).map_err(|cause| CaptureError::Parse { path: folder.join(MANIFEST), cause })
}

/// Reads the recording in `folder`.
///
/// Only a manifest that cannot be read is an error. An answer that cannot, or that is none, is named in
/// `telemetry.unavailable`. The same profile by `/render` is left out when `SelectMergeStacktraces` answered.
pub fn read(folder: &Path) -> Result<Capture, CaptureError> {
    let bytes = manifest_bytes(folder)?;
    let manifest = parse_manifest(folder, &bytes)?;
    let inside = folder.canonicalize().map_err(|cause| CaptureError::Read { path: folder.join(MANIFEST), cause })?;

    let mut reading = Reading { folder: inside, bytes_left: ALL_ANSWERS_BYTES_MAX, ..Reading::default() };
    let (renders, others): (Vec<_>, Vec<_>) =
        manifest.files.0.iter().partition(|question| question.kind() == Kind::Render);
    for question in others.into_iter().chain(renders) {
        if let Err(failure) = reading.take(question) {
            reading.capture.telemetry.unavailable.push(unavailable(question, &failure));
        }
    }
    // An answer with another status may stand in both lists, here with its path somewhere in the text.
    let refused = manifest.files.0.iter().filter(|question| question.status != 200);
    let refused: HashSet<&str> = refused.map(|question| question.path.as_str()).collect();
    for missing in &manifest.missing.0 {
        if missing.split(' ').all(|word| !refused.contains(word)) {
            let backend = missing.split([' ', ':']).next().unwrap_or_default();
            let backend = wire::cut_to(backend.to_owned(), NAME_BYTES_MAX);
            let reason = wire::cut(missing.clone());
            reading.capture.telemetry.unavailable.push(Unavailable { backend, reason });
        }
    }
    Ok(reading.finish())
}

fn unavailable(question: &Question, failure: &Failure) -> Unavailable {
    let file = wire::cut_to(question.file.clone(), NAME_BYTES_MAX);
    let path = wire::cut_to(question.path_asked().to_owned(), NAME_BYTES_MAX);
    let mut reason = format!("{path} ({file}): {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        reason.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Unavailable { backend: wire::cut_to(question.server.clone(), NAME_BYTES_MAX), reason: wire::cut(reason) }
}

/// A recording while its answers are taken in.
#[derive(Default)]
struct Reading {
    folder: PathBuf,
    bytes_left: u64,
    capture: Capture,
    profiles: BTreeSet<ProfileSubject>,
    traces: HashSet<[u8; 16]>,
    /// Which metrics count up and which do not, where Prometheus says it.
    counters: BTreeMap<String, bool>,
}

impl Reading {
    fn take(&mut self, question: &Question) -> Result<(), Failure> {
        let kind = question.kind();
        if question.status != 200 {
            let body = self.body_of(question).unwrap_or_default();
            let said = Some(wire::refusal(&body)).filter(|said| !said.is_empty());
            let said = said.unwrap_or_else(|| "it said nothing".to_owned());
            return Err(Failure::Status { status: question.status, said });
        }
        if kind == Kind::Other {
            self.capture.unread_count += 1;
            return Ok(());
        }
        let subjects = match kind {
            Kind::Stacktraces => vec![question.subject_in_body()?],
            Kind::Difference => question.subjects_in_body()?.to_vec(),
            Kind::Render => vec![question.subject_in_parameters()?],
            _ => Vec::new(),
        };
        if !subjects.is_empty() && subjects.iter().all(|subject| self.profiles.contains(subject)) {
            return Ok(());
        }
        let body = self.body_of(question)?;
        let telemetry = &mut self.capture.telemetry;
        match kind {
            Kind::Metrics => {
                let query = question.parameter("query").unwrap_or_default();
                self.take_metrics(prometheus::metrics(&body)?, question, query);
            }
            Kind::SpanSeries => {
                let query = question.parameter("q").unwrap_or_default();
                self.take_metrics(counted::of_spans(&body, &query)?, question, query);
            }
            Kind::ProfileSeries => {
                let profile_type = question.profile_type_in_body()?;
                self.take_metrics(counted::of_profiles(&body, &profile_type)?, question, profile_type);
            }
            Kind::Metadata => self.counters.extend(prometheus::counters(&body)?),
            Kind::Exemplars => {
                let exemplars = prometheus::exemplars(&body)?;
                self.capture.dropped_count += exemplars.dropped_count;
                self.capture.exemplars.extend(exemplars.series);
            }
            Kind::Trace => {
                let trace = tempo::trace(&body)?;
                if let Some(reason) = trace.partial {
                    let reason = format!("{}: the trace is not whole: {reason}", question.path_asked());
                    telemetry.unavailable.push(Unavailable { backend: "tempo".to_owned(), reason: wire::cut(reason) });
                } else if trace.spans.is_empty() {
                    return Err(Failure::NoSpans);
                }
                telemetry.spans.extend(trace.spans);
            }
            Kind::Search => {
                let found = tempo::search(&body)?;
                self.capture.found_traces.extend(found.into_iter().filter(|found| self.traces.insert(found.trace_id)));
            }
            Kind::Stacktraces | Kind::Render | Kind::Difference => {
                let profiles = match &subjects[..] {
                    [left, right] => pyroscope::difference(&body, left.clone(), right.clone())?.to_vec(),
                    _ => subjects.iter().map(|one| pyroscope::profile(&body, one.clone())).collect::<Result<_, _>>()?,
                };
                let new =
                    profiles.into_iter().zip(subjects).filter(|(_, subject)| self.profiles.insert(subject.clone()));
                let (all, of_spans): (Vec<Profile>, Vec<Profile>) =
                    new.map(|(profile, _)| profile).partition(|profile| profile.spans_count == 0);
                telemetry.profiles.extend(all);
                telemetry.span_profiles.extend(of_spans);
            }
            Kind::Patterns => telemetry.log_patterns.extend(loki::patterns(&body, &question.service_in_selector()?)?),
            Kind::Logs => match loki::logs(&body)? {
                LogAnswer::Lines(lines) => {
                    telemetry.logs.extend(lines);
                    if telemetry.log_query.is_none() {
                        telemetry.log_query = question.parameter("query").map(wire::cut);
                    }
                }
                LogAnswer::Metrics(metrics) => {
                    let query = question.parameter("query").unwrap_or_default();
                    self.take_metrics(metrics, question, query);
                }
            },
            Kind::Other => {}
        }
        Ok(())
    }

    /// `query`: what was asked for; the name of series that have none.
    fn take_metrics(&mut self, metrics: Metrics, question: &Question, query: String) {
        self.capture.dropped_count += metrics.dropped_count;
        let query = wire::cut(query);
        for warning in metrics.warnings {
            let reason = wire::cut(format!("{query}: the answer came with a warning: {warning}"));
            self.capture.telemetry.unavailable.push(Unavailable { backend: question.server.clone(), reason });
        }
        let telemetry = &mut self.capture.telemetry;
        telemetry.metrics.extend(metrics.series.into_iter().map(|series| {
            let has_name = !matches!(series.name.as_str(), "" | "_count" | "_sum");
            let series =
                if has_name { series } else { MetricSeries { name: format!("{query}{}", series.name), ..series } };
            telemetry.metric_queries.entry(series.name.clone()).or_insert_with(|| query.clone());
            series
        }));
    }

    fn body_of(&mut self, question: &Question) -> Result<Vec<u8>, Failure> {
        let path = self.folder.join(&question.file).canonicalize().map_err(Failure::Read)?;
        if !path.starts_with(&self.folder) {
            return Err(Failure::Outside);
        }
        // A pipe would keep us waiting for its writer.
        if !fs::metadata(&path).map_err(Failure::Read)?.is_file() {
            return Err(Failure::Read(io::ErrorKind::InvalidInput.into()));
        }
        let bytes_max = ANSWER_BYTES_MAX.min(self.bytes_left);
        let file = File::open(&path).map_err(Failure::Read)?;
        let body = read_bounded(MultiGzDecoder::new(file), bytes_max).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge if bytes_max < ANSWER_BYTES_MAX => Failure::AllTooLong,
            io::ErrorKind::FileTooLarge => Failure::TooLong,
            _ => Failure::Read(error),
        })?;
        self.bytes_left -= body.len() as u64;
        Ok(body)
    }

    fn finish(mut self) -> Capture {
        let telemetry = &mut self.capture.telemetry;
        telemetry.metrics = joined(std::mem::take(&mut telemetry.metrics));
        for series in &mut telemetry.metrics {
            series.is_counter = self.counters.get(&series.name).copied();
        }
        // A client's span and its server's may share their id, as in Zipkin.
        let mut seen = HashSet::new();
        telemetry.spans.retain(|span| seen.insert((span.trace_id, span.span_id, span.kind)));
        telemetry.spans.sort_by_key(|span: &Span| (span.trace_id, span.start, span.span_id));
        let by_text = |line: &LogLine| (line.at, line.message.clone());
        telemetry.logs.sort_by_cached_key(by_text);
        telemetry.logs.dedup();
        self.capture
    }
}

type SeriesIdentity = (String, BTreeMap<String, String>);

/// Joins series of the same name and labels: of two points at one time the first stays.
fn joined(all: Vec<MetricSeries>) -> Vec<MetricSeries> {
    let mut by_identity: BTreeMap<SeriesIdentity, Vec<(Timestamp, f64)>> = BTreeMap::new();
    for MetricSeries { name, labels, points, .. } in all {
        by_identity.entry((name, labels)).or_default().extend(points);
    }
    let series = by_identity.into_iter().map(|((name, labels), mut points)| {
        points.sort_by_key(|(at, _)| *at);
        points.dedup_by_key(|(at, _)| *at);
        MetricSeries { name, labels, points, is_counter: None }
    });
    series.collect()
}

/// Reads all of `reader`, of which [`io::ErrorKind::FileTooLarge`] says that it is more than `bytes_max`.
fn read_bounded(reader: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};

    use super::*;

    fn gzipped(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    /// Writes a recording of `(question, answer)`: a question without `file` gets one, one without `status` 200.
    fn recording(answers: &[(Value, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (index, (question, body)) in answers.iter().enumerate() {
            let mut question = question.clone();
            let name = format!("{index}.json.gz");
            fs::write(folder.path().join(&name), gzipped(body)).unwrap();
            question.as_object_mut().unwrap().entry("file").or_insert(name.into());
            question.as_object_mut().unwrap().entry("status").or_insert(200.into());
            files.push(question);
        }
        fs::write(folder.path().join("manifest.json"), json!({ "files": files }).to_string()).unwrap();
        folder
    }

    const FLAMEGRAPH: &[u8] = br#"{"flamegraph":{"names":["total","main"],"levels":[{"values":["0","9","0","0"]},{"values":["0","9","9","1"]}]}}"#;
    const FLAMEBEARER: &[u8] = br#"{"flamebearer":{"names":["total","main"],"levels":[[0,7,0,0],[0,7,7,1]]}}"#;
    const TRACE: &[u8] = br#"{"trace":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"1","spanId":"2","startTimeUnixNano":"3"}]}]}]}}"#;
    const LINES: &[u8] = br#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"a"},"values":[["2","x"],["1","x"],["2","x"]]}]}}"#;

    fn matrix(name: &str, values: &str) -> Vec<u8> {
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{{name}}},"values":{values}}}]}}}}"#).into_bytes()
    }

    #[test]
    fn every_kind_of_answer() {
        let merge = |selector: &str| {
            json!({ "server": "pyroscope", "path": "/querier.v1.QuerierService/SelectMergeStacktraces",
                "body": { "profileTypeID": "t:c", "labelSelector": selector, "start": 1795451624825_i64, "end": "1795451669878" } })
        };
        let render = |until: &str| json!({ "server": "pyroscope", "path": format!("/pyroscope/render?query=t%3Ac%7Bservice_name%3D%22auth%22%7D&from=1795451624825&until={until}") });
        let range =
            json!({ "server": "prometheus", "path": "/prometheus/api/v1/query_range?query=rate%28a%5B1m%5D%29" });
        let folder = recording(&[
            (render("1795451669878"), FLAMEBEARER),
            (merge(r#"{region!="eu", service_name="auth"}"#), FLAMEGRAPH),
            (render("1795451700000"), FLAMEBEARER),
            (range.clone(), &matrix(r#""__name__":"a""#, r#"[[1,"1"],[2,"NaN"]]"#)),
            (range.clone(), &matrix(r#""__name__":"a""#, r#"[[3,"3"],[1,"9"]]"#)),
            (range, &matrix("", r#"[[1,"5"]]"#)),
            (json!({ "server": "tempo", "path": "/api/v2/traces/1" }), TRACE),
            (json!({ "server": "tempo", "path": "/api/traces/1" }), TRACE),
            (
                json!({ "server": "tempo", "path": "/api/search?q=x" }),
                br#"{"traces":[{"traceID":"1"},{"traceID":"01"}]}"#,
            ),
            (json!({ "server": "loki", "path": "/loki/api/v1/query_range?query=x" }), LINES),
            (json!({ "server": "loki", "path": "/loki/api/v1/status/buildinfo" }), b"not even JSON"),
        ]);
        let found = read(folder.path()).unwrap();
        let telemetry = &found.telemetry;
        assert_eq!(telemetry.unavailable, []);
        assert!(telemetry.span_profiles.is_empty() && telemetry.log_patterns.is_empty());
        let profiles: Vec<_> = telemetry
            .profiles
            .iter()
            .map(|profile| (profile.service.as_str(), profile.until.0, profile.stacks[0].1))
            .collect();
        assert_eq!(profiles, [("auth", 1_795_451_669_878_000_000, 9), ("auth", 1_795_451_700_000_000_000, 7)]);
        let metrics: Vec<_> = telemetry
            .metrics
            .iter()
            .map(|series| (series.name.as_str(), series.points.iter().map(|point| point.1).collect()))
            .collect();
        assert_eq!(metrics, [("a", vec![1.0, 3.0]), ("rate(a[1m])", vec![5.0])]);
        assert_eq!((telemetry.spans.len(), found.found_traces.len(), telemetry.logs.len()), (1, 1, 2));
        assert_eq!((telemetry.logs[0].at, found.dropped_count, found.unread_count), (Timestamp(1), 1, 1));
    }

    #[test]
    fn what_servers_count_compare_and_select_by_themselves() {
        let querier = |rpc: &str, body: Value| json!({ "server": "pyroscope", "path": format!("/querier.v1.QuerierService/{rpc}"), "body": body });
        let of = |from: i64, until: i64| json!({ "profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds", "labelSelector": "{service_name=\"auth\"}", "start": from, "end": until });
        let (early, late) = (of(1_795_451_620_000, 1_795_451_640_000), of(1_795_451_640_000, 1_795_451_660_000));
        let mut of_spans = late.clone();
        of_spans["spanSelector"] = json!(["00000000000000aa", "00000000000000bb"]);
        let both = br#"{"flamegraph":{"names":["total","main"],"levels":[{"values":["0","3","0","0","9","0","0"]},{"values":["0","3","3","0","9","9","1"]}]}}"#;
        let counted = br#"{"series":[{"labels":[{"name":"service_name","value":"auth"}],"points":[{"value":2e9,"timestamp":"1000"}]}]}"#;
        let spans = br#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"auth"}}],"samples":[{"timestampMs":"1000","value":0.5}]}]}"#;
        let patterns = br#"{"status":"success","data":[{"pattern":"order <_> placed","level":"INFO","samples":[[20,3],[10,"2"]]}]}"#;
        let folder = recording(&[
            (querier("Diff", json!({ "left": early.clone(), "right": late.clone() })), both),
            // One side of it is known already.
            (querier("SelectMergeStacktraces", early), FLAMEGRAPH),
            (querier("SelectMergeSpanProfile", of_spans), FLAMEGRAPH),
            (querier("SelectSeries", late), counted),
            (json!({ "server": "tempo", "path": "/api/metrics/query_range?q=%7Bkind%3Dserver%7D+%7C+sum_over_time%28duration%29" }), spans),
            (json!({ "server": "loki", "path": "/loki/api/v1/patterns?query=%7Bservice_name%3D%22cart%22%7D" }), patterns),
            (json!({ "server": "prometheus", "path": "/api/v1/query_range?query=jobs" }), &matrix(r#""__name__":"jobs""#, r#"[[1,"1"]]"#)),
            (json!({ "server": "prometheus", "path": "/api/v1/query_range?query=load_total" }), &matrix(r#""__name__":"load_total""#, r#"[[1,"1"]]"#)),
            (json!({ "server": "prometheus", "path": "/api/v1/metadata" }),
                br#"{"status":"success","data":{"jobs":[{"type":"counter","help":"","unit":""}],"load_total":[{"type":"gauge"}],"other":[{"type":"unknown"}]}}"#),
        ]);
        let telemetry = read(folder.path()).unwrap().telemetry;
        assert_eq!(telemetry.unavailable, []);
        let values = |profiles: &[Profile]| -> Vec<(i64, usize, i64)> {
            profiles.iter().map(|one| (one.from.0 / 1_000_000_000, one.spans_count, one.stacks[0].1)).collect()
        };
        assert_eq!(values(&telemetry.profiles), [(1_795_451_620, 0, 3), (1_795_451_640, 0, 9)]);
        assert_eq!(values(&telemetry.span_profiles), [(1_795_451_640, 2, 9)]);
        let metrics: Vec<(&str, bool)> =
            telemetry.metrics.iter().map(|series| (series.name.as_str(), series.counts_up())).collect();
        // Which ones count up Prometheus knows better than their names.
        let expected = [
            ("jobs", true),
            ("load_total", false),
            ("pyroscope:process_cpu_cpu_seconds_total", true),
            ("tempo:server_duration_seconds_sum", true),
        ];
        assert_eq!(metrics, expected);
        assert_eq!(
            telemetry.metric_queries["tempo:server_duration_seconds_sum"],
            "{kind=server} | sum_over_time(duration)"
        );
        let [pattern] = &telemetry.log_patterns[..] else { panic!("{:?}", telemetry.log_patterns) };
        assert_eq!(
            (pattern.service.as_str(), pattern.level.as_deref(), pattern.text.as_str()),
            ("cart", Some("info"), "order <*> placed")
        );
        assert_eq!(
            pattern.counts.iter().map(|(at, count)| (at.0 / 1_000_000_000, *count)).collect::<Vec<_>>(),
            [(10, 2.0), (20, 3.0)]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let of = |path: &str| json!({ "server": "tempo", "path": path });
        let with = |mut question: Value, key: &str, value: Value| {
            question[key] = value;
            question
        };
        let merge = json!({ "server": "pyroscope", "path": "/querier.v1.QuerierService/SelectMergeStacktraces" });
        let body = |selector: &str| json!({ "profileTypeID": "t", "labelSelector": selector, "start": 1, "end": 2 });
        let folder = recording(&[
            (with(of("/api/traces/1"), "status", 404.into()), b""),
            (with(of("/api/other"), "status", 500.into()), br#"{"code":"unknown","message":"canceled"}"#),
            (with(of("/api/search"), "file", "absent.gz".into()), b""),
            (with(of("/api/search"), "file", "../../../../../etc/hostname".into()), b""),
            (with(of("/api/search"), "file", "/etc/hostname".into()), b""),
            (with(of("/api/search"), "file", ".".into()), b""),
            (with(of("/api/search"), "file", "manifest.json".into()), b""),
            (of("/api/search"), b"{\"traces\":[}"),
            (of("/api/v2/traces/2"), br#"{"trace":{}}"#),
            (of("/api/search"), &vec![b' '; ANSWER_BYTES_MAX as usize + 1]),
            (merge.clone(), FLAMEGRAPH),
            (with(merge.clone(), "body", body("{}")), FLAMEGRAPH),
            (with(merge, "body", body(r#"{service_name="a"#)), FLAMEGRAPH),
            (json!({ "server": "pyroscope", "path": "/render?query=t{service_name=\"a\"}&from=now-1h" }), FLAMEBEARER),
        ]);
        let found = read(folder.path()).unwrap().telemetry.unavailable;
        let expected = [
            "/api/traces/1 (0.json.gz): status 404: it said nothing",
            "/api/other (1.json.gz): status 500: canceled",
            "/api/search (absent.gz): failed to read the file: ",
            "leads out of its folder",
            "leads out of its folder",
            "failed to read the file",
            "failed to read the file: ",
            "failed to parse the search as JSON: expected value at line 1 column 12",
            "no spans",
            "more than 67108864 bytes",
            "no body",
            "what service",
            "what service",
            "from when until when",
        ];
        assert_eq!(found.len(), expected.len());
        for (unavailable, expected) in found.iter().zip(expected) {
            assert!(unavailable.reason.contains(expected), "{expected}: {}", unavailable.reason);
        }
        assert_eq!((found[0].backend.as_str(), found[10].backend.as_str()), ("tempo", "pyroscope"));
    }

    #[test]
    fn folders_without_a_manifest() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(CaptureError::Read { .. })));
        let missing = r#"{"files":[{"file":"a","server":"tempo","path":"/api/traces/2","status":500}],
            "missing":["tempo trace 07ac: timeout","tempo trace 2: /api/traces/2 answered 500: no"]}"#;
        fs::write(folder.path().join("manifest.json"), missing).unwrap();
        let unavailable = read(folder.path()).unwrap().telemetry.unavailable;
        let reasons: Vec<_> = unavailable.iter().map(|unavailable| unavailable.reason.as_str()).collect();
        assert_eq!(reasons, ["/api/traces/2 (a): status 500: it said nothing", "tempo trace 07ac: timeout"]);
        assert_eq!(unavailable[1].backend, "tempo");
        assert!(matches!(read(&folder.path().join("absent")), Err(CaptureError::Read { .. })));
        for text in ["", "[]", "{}", r#"{"files":[{}]}"#, r#"{"files":[{"file":1}]}"#] {
            fs::write(folder.path().join("manifest.json"), text).unwrap();
            assert!(matches!(read(folder.path()), Err(CaptureError::Parse { .. })), "{text}");
        }
    }

    #[test]
    fn the_recordings_of_real_servers() {
        let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
        let Ok(folders) = fs::read_dir(&recordings) else {
            println!("not run: there are no recordings in {}", recordings.display());
            return;
        };
        for folder in folders.map(|folder| folder.unwrap().path()).filter(|path| path.is_dir()) {
            let started = Instant::now();
            let found = read(&folder).unwrap();
            let Telemetry { metrics, spans, profiles, logs, unavailable, .. } = &found.telemetry;
            println!(
                "{}: {:?}, {} series, {} points, {} spans, {} profiles, {} stacks, {} lines, {} exemplars, {} traces found, {} dropped, {} unread, {unavailable:?}",
                folder.file_name().unwrap().display(),
                started.elapsed(),
                metrics.len(),
                metrics.iter().map(|series| series.points.len()).sum::<usize>(),
                spans.len(),
                profiles.len(),
                profiles.iter().map(|profile| profile.stacks.len()).sum::<usize>(),
                logs.len(),
                found.exemplars.iter().map(|series| series.exemplars.len()).sum::<usize>(),
                found.found_traces.len(),
                found.dropped_count,
                found.unread_count,
            );
            let refused = unavailable.iter().filter(|unavailable| !unavailable.reason.contains(": status ")).count();
            assert_eq!(refused, 0, "{unavailable:?}");
            assert!(metrics.len() > 100 && spans.len() > 100 && profiles.len() > 50 && logs.len() > 100);
            assert!(spans.iter().all(|span| !span.service.is_empty() && span.start <= span.end));
            assert!(logs.iter().all(|line| !line.service.is_empty() && line.level.is_some()));
            assert!(
                metrics.iter().all(|series| !series.name.is_empty() && series.points.is_sorted_by_key(|point| point.0))
            );
        }
    }
}
