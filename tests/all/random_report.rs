//! Random reports, with what an attacker or an accident puts into names: for tests of what is made from a report.
//!
//! Every strategy is boxed: a report's whole tree of them is too large for a test's stack.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tidemark::model::comparison::{Comparison, ComparisonRow};
use tidemark::model::diagnosis::{CauseKind, Clue, Diagnosis};
use tidemark::model::early_finding::EarlyFinding;
use tidemark::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use tidemark::model::history::{HistoryChange, HistoryReport, HistoryRun};
use tidemark::model::metric::{MetricKind, Unit};
use tidemark::model::report::{
    AnalysisReport, BaselineReport, CheckReport, Detectable, EndpointReport, GeneratorReport, Latency, MetricReport,
    Phases, RunReport, SCHEMA_VERSION, Skipped, ThresholdJudge, ThresholdReport, Totals, Verdict, VerdictKind,
};
use tidemark::model::run::{Rejection, SourceKind, SourceReport};
use tidemark::model::telemetry::Unavailable;
use tidemark::model::time::Timestamp;
use tidemark::model::timeline::{Heat, Timeline, TimelineSeries};

/// Each would break some form if it got there as it is.
pub const HOSTILE: [&str; 30] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details><h1>PASS</h1>",
    "]]><x/>&amp;&#x0;<!--",
    "a | b || c \\| d \\\\| e",
    "line one\nline two\r\n\r\n# PASS\n- item\n> quote",
    "\u{202e}gnp.exe\u{202c} \u{2066}x\u{2069} \u{200f}",
    "שלום עולם",
    "@everyone and @org/team, see #1, !2, ~bug, %3, &4, $5 and GH-6",
    "[click](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example>",
    "https://evil.example www.evil.example root@evil.example",
    "`code` ``code`` ```\nfence\n```",
    "`",
    "\\`\\",
    "$x^2$ $$y$$ `$z$`",
    "*a* _b_ ~~c~~ **d** __e__ ~f~ ^g^ :tada: [[h]] [^1]",
    "::error title=x::y\n::set-output name=a::b\n##[error]z",
    "%0A::error::x %25",
    "/close\n/assign @root",
    "{0} {1} {{x}} [a](1)",
    "../../../../etc/passwd",
    "C:\\Users\\x\\k6.json",
    "javascript:alert(1)",
    "\u{0}\u{1}\u{7f}\u{85}\u{fffe}\u{ffff}\u{feff}",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "=cmd|' /C calc'!A0",
    "1. one",
    "",
    "   ",
    "http_req_duration{name:\"GET /pay\",status:200}",
];

pub fn report() -> BoxedStrategy<AnalysisReport> {
    let judged = (vec(threshold(), 0..6), vec(finding(), 0..8), baseline(), option::of(comparison()), any::<bool>());
    let measured = (totals(), vec(metric(), 0..4), vec(endpoint(), 0..30), vec(check(), 0..4), option::of(numbers()));
    let unavailable = (text(), text()).prop_map(|(backend, reason)| Unavailable { backend, reason });
    let why = (vec(diagnosis(), 0..4), vec(unavailable, 0..3));
    let told = (generator_and_early(), vec(skipped(), 0..4), times(), option::of(history()), why);
    (run(), verdict(), judged, measured, told)
        .prop_map(|(run, verdict, judged, measured, told)| {
            let (mut thresholds, mut findings, baseline, mut comparison, is_repeated) = judged;
            if is_repeated {
                // Two of one name differ in their figures at most.
                thresholds.extend(thresholds.first().cloned());
                findings.extend(findings.first().cloned());
            }
            let (totals, metrics, endpoints, checks, numbers) = measured;
            let ((generator, mut early), skipped, (steady_from, steady_until), history, (mut diagnoses, unavailable)) =
                told;
            if let (Some(diagnosis), Some(finding)) = (diagnoses.first_mut(), findings.first()) {
                diagnosis.finding = Some(finding.id.clone());
            }
            if let (Some(first), Some(finding)) = (early.iter_mut().flatten().next(), findings.first()) {
                first.confirmed_by = Some(finding.id.clone());
            }
            let timeline = numbers.map(|numbers| timeline(&numbers, endpoints.len()));
            if let Some(comparison) = &mut comparison {
                comparison.base_timeline = timeline.clone();
            }
            AnalysisReport {
                schema_version: SCHEMA_VERSION,
                run,
                verdict,
                totals,
                metrics,
                endpoints,
                checks,
                thresholds,
                findings,
                early,
                phases: Phases { steady_from, steady_until, rule: "by the number of VUs".to_owned() },
                baseline,
                comparison,
                objectives: Vec::new(),
                ramp: None,
                diagnoses,
                traced: Vec::new(),
                exhibits: None,
                grafana: None,
                unavailable,
                coordinated_omission: None,
                history,
                generator,
                timeline,
                skipped,
            }
        })
        .boxed()
}

pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        2 => select(&["checkout", "GET /pay", "http_req_duration", "a/b.c-d_e", "p95 is worse than in 5 runs"][..])
            .prop_map(str::to_owned),
        4 => select(&HOSTILE[..]).prop_map(str::to_owned),
        1 => (select(&HOSTILE[..]), select(&HOSTILE[..])).prop_map(|(one, other)| format!("{one}{other}")),
        1 => any::<String>(),
        1 => select(&HOSTILE[..]).prop_map(|text| text.repeat(10_000 / text.len().max(1))),
        1 => select(&["x", "`", "|", "@", "\u{301}", "日", "<"][..]).prop_map(|letter| letter.repeat(10_000)),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<f64> {
    const EDGES: [f64; 11] =
        [0.0, -0.0, 1.0, 0.1, 99.95, 1e21, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, -1e9];
    prop_oneof![3 => 0.0..1_000.0, 1 => -1.0..1.0, 1 => select(&EDGES[..]), 1 => any::<f64>()].boxed()
}

fn times() -> BoxedStrategy<(Option<Timestamp>, Option<Timestamp>)> {
    let recent = 1_790_000_000_000_000_000i64..1_790_100_000_000_000_000;
    let time = || prop_oneof![4 => recent.clone(), 1 => any::<i64>()].prop_map(Timestamp);
    (option::of(time()), option::of(time())).boxed()
}

fn check() -> BoxedStrategy<CheckReport> {
    (text(), option::of(text()), any::<u32>(), any::<u32>())
        .prop_map(|(name, group, passed, failed)| CheckReport {
            name,
            group,
            passed_count: u64::from(passed),
            failed_count: u64::from(failed),
        })
        .boxed()
}

fn unit() -> BoxedStrategy<Unit> {
    select(&[Unit::Milliseconds, Unit::Bytes, Unit::Count, Unit::Fraction, Unit::None][..]).boxed()
}

fn change() -> BoxedStrategy<Change> {
    let scale = select(&[Scale::Ratio, Scale::Difference][..]);
    let interval = option::of((number(), number(), 0.5..1.0));
    (scale, number(), interval)
        .prop_map(|(scale, point, interval)| Change {
            scale,
            point,
            low: interval.map(|(low, ..)| low),
            high: interval.map(|(_, high, _)| high),
            confidence: interval.map(|(.., confidence)| confidence),
        })
        .boxed()
}

fn series() -> BoxedStrategy<SeriesReference> {
    let statistic = option::of(select(&["p95", "rate", "count"][..]).prop_map(str::to_owned));
    (text(), btree_map(text(), text(), 0..3), statistic)
        .prop_map(|(metric, tags, statistic)| SeriesReference { metric, tags, statistic })
        .boxed()
}

fn generator_and_early() -> BoxedStrategy<(Option<GeneratorReport>, Option<Vec<EarlyFinding>>)> {
    let kind = select(&[FindingKind::Latency, FindingKind::ErrorRate][..]);
    let what = (text(), kind, series(), change(), unit());
    let early = (what, any::<i64>(), number(), any::<u32>(), number(), any::<u32>());
    let early = early.prop_map(|(what, at, after_seconds, windows_count, e_value, runs_count)| {
        let ((id, kind, series, change, unit), at) = (what, Timestamp(at));
        let confirmed_by = None;
        EarlyFinding {
            id,
            kind,
            series,
            at,
            after_seconds,
            windows_count,
            change,
            unit,
            e_value,
            runs_count,
            confirmed_by,
        }
    });
    (option::of(generator()), option::of(vec(early, 0..4))).boxed()
}

fn finding() -> BoxedStrategy<Finding> {
    let kinds = [
        FindingKind::ErrorRate,
        FindingKind::Checks,
        FindingKind::Threshold,
        FindingKind::Saturation,
        FindingKind::Latency,
        FindingKind::Throughput,
        FindingKind::Objective,
        FindingKind::Leak,
        FindingKind::CoordinatedOmission,
        FindingKind::Anomaly,
        FindingKind::Generator,
    ];
    let severity = select(&[Severity::Critical, Severity::Major, Severity::Minor][..]);
    let direction = select(&[Direction::Worse, Direction::Better, Direction::Changed][..]);
    let what = (text(), select(kinds.to_vec()), text(), severity, direction);
    let where_and_when = (series(), vec(series(), 0..12), times(), option::of(text()));
    let figures = (number(), option::of(number()), unit(), option::of(change()), vec(evidence(), 0..12));
    (what, where_and_when, figures)
        .prop_map(|(what, where_and_when, figures)| {
            let (id, kind, title, severity, direction) = what;
            let (series, also, (from, until), since_run) = where_and_when;
            let (observed, expected, unit, change, evidence) = figures;
            Finding {
                id,
                kind,
                title,
                severity,
                direction,
                series,
                also,
                from,
                until,
                since_run,
                suspect: false,
                observed,
                expected,
                unit,
                change,
                evidence,
            }
        })
        .boxed()
}

fn diagnosis() -> BoxedStrategy<Diagnosis> {
    let kinds = [CauseKind::Cpu, CauseKind::SlowQuery, CauseKind::Errors, CauseKind::Memory, CauseKind::Unknown];
    let names = (text(), text(), option::of(text()), option::of(text()), option::of(text()), text());
    (option::of(text()), 1..9u32, select(kinds.to_vec()), names, 0.0..1.0, vec(clue(), 0..6))
        .prop_map(|(finding, rank, kind, names, score, evidence)| {
            let (service, what, endpoint, function, span, refuted_by) = names;
            Diagnosis {
                finding,
                beside_run: None,
                rank,
                service,
                kind,
                what,
                endpoint,
                function,
                span,
                score,
                evidence,
                refuted_by,
            }
        })
        .boxed()
}

fn clue() -> BoxedStrategy<Clue> {
    let metric = (text(), text(), text(), number(), number(), times());
    let span = (text(), text(), text(), number(), number(), option::of(text()));
    let profile = (text(), text(), text(), number(), number());
    let span_profile = (text(), text(), text(), number());
    let log = (text(), text(), text(), number(), number(), text());
    prop_oneof![
        metric.prop_map(|(service, metric, what, healthy, faulty, (moved_at, _))| {
            Clue::Metric { service, metric, what, unit: "s/s".to_owned(), healthy, faulty, moved_at, query: None }
        }),
        span.prop_map(|(service, operation, entrance, own_ms_healthy, own_ms_faulty, statement)| Clue::Span {
            service,
            operation,
            entrance,
            own_ms_healthy,
            own_ms_faulty,
            traces_healthy_count: 3,
            traces_faulty_count: 4,
            error: statement.clone(),
            statement
        }),
        (text(), number()).prop_map(|(trace_id, own_ms)| Clue::Trace { trace_id, own_ms }),
        profile.prop_map(|(service, profile_type, function, healthy_per_second, faulty_per_second)| {
            let time = Timestamp(1_700_000_000_000_000_000);
            Clue::Profile {
                service,
                profile_type,
                function,
                healthy_per_second,
                faulty_per_second,
                healthy_from: time,
                healthy_until: time,
                faulty_from: time,
                faulty_until: time,
            }
        }),
        span_profile.prop_map(|(service, profile_type, function, share)| {
            let time = Timestamp(1_700_000_000_000_000_000);
            Clue::SpanProfile { service, profile_type, function, share, spans_count: 7, from: time, until: time }
        }),
        log.prop_map(|(service, level, template, healthy_per_second, faulty_per_second, example)| Clue::Log {
            service,
            level,
            template,
            healthy_per_second,
            faulty_per_second,
            example,
            query: None,
        }),
    ]
    .boxed()
}

fn evidence() -> BoxedStrategy<Evidence> {
    let metric = (series(), number(), option::of(number()), unit(), option::of(change()), option::of(text()));
    prop_oneof![
        text().prop_map(|sql| Evidence::Query { sql }),
        metric.prop_map(|(series, observed, expected, unit, change, note)| Evidence::Metric {
            series,
            observed,
            expected,
            unit,
            change,
            note
        }),
    ]
    .boxed()
}

fn threshold() -> BoxedStrategy<ThresholdReport> {
    let judge = select(&[ThresholdJudge::Samples, ThresholdJudge::Summary][..]);
    let figures = (option::of(number()), option::of(number()));
    let verdicts = (any::<bool>(), option::of(any::<bool>()), judge, any::<bool>());
    (text(), text(), figures, verdicts)
        .prop_map(|(metric, expression, (observed, headroom), verdicts)| {
            let (passed, k6_passed, judged_by, abort_on_fail) = verdicts;
            ThresholdReport {
                metric,
                expression,
                passed,
                observed,
                headroom,
                abort_on_fail,
                k6_passed,
                over_time: None,
                judged_by,
            }
        })
        .boxed()
}

fn verdict() -> BoxedStrategy<Verdict> {
    let kinds = [
        VerdictKind::Pass,
        VerdictKind::Regressed,
        VerdictKind::ThresholdsFailed,
        VerdictKind::Suspect,
        VerdictKind::Inconclusive,
    ];
    (select(kinds.to_vec()), vec(text(), 0..14)).prop_map(|(kind, reasons)| Verdict { kind, reasons }).boxed()
}

fn run() -> BoxedStrategy<RunReport> {
    let names = (text(), text(), text(), btree_map(text(), text(), 0..3), vec(source(), 0..4));
    let code = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let url = prop_oneof![
        text(),
        Just("https://github.com/o/r/actions/runs/1/attempts/2".to_owned()),
        Just("https://gitlab.example/g/s/r/-/jobs/5?a=1&copy=2".to_owned()),
    ];
    let job = (option::of(text()), option::of(url));
    (names, code, job, times(), option::of(number()), any::<bool>())
        .prop_map(|(names, code, job, (started_at, ended_at), duration_seconds, partial)| {
            let (id, test, environment, tags, sources) = names;
            let (k6_version, script_sha256, commit, branch) = code;
            let (pull_request, ci_url) = job;
            RunReport {
                id,
                test,
                environment,
                started_at,
                ended_at,
                duration_seconds,
                k6_version,
                script_sha256,
                commit,
                branch,
                pull_request,
                ci_url,
                tags,
                sources,
                partial,
            }
        })
        .boxed()
}

fn source() -> BoxedStrategy<SourceReport> {
    let rejection = (any::<u64>(), text()).prop_map(|(line, reason)| Rejection { line, reason });
    let kind = select(&[SourceKind::K6Json, SourceKind::K6Csv, SourceKind::K6HandleSummary][..]);
    let counts = (any::<u64>(), any::<u64>(), prop_oneof![Just(0), any::<u64>()], any::<bool>());
    (text(), kind, option::of(text()), counts, vec(rejection, 0..12))
        .prop_map(|(name, kind, sha256, (bytes, lines_read, lines_rejected, truncated), rejections)| SourceReport {
            name,
            kind,
            bytes,
            sha256,
            lines_read,
            lines_rejected,
            truncated,
            rejections,
        })
        .boxed()
}

fn totals() -> BoxedStrategy<Totals> {
    let count = || option::of(any::<u64>());
    let counts = (count(), count(), count(), count(), count());
    let figure = || option::of(number());
    let figures = (figure(), figure(), figure(), figure(), figure());
    (counts, figures)
        .prop_map(|(counts, figures)| Totals {
            requests_count: counts.0,
            failed_requests_count: counts.1,
            failed_requests_rate: figures.0,
            requests_per_second: figures.1,
            iterations_count: counts.2,
            checks_passed_count: counts.3,
            checks_failed_count: counts.4,
            vus_max: figures.2,
            arrivals_per_second: figures.2,
            data_sent_bytes: figures.3,
            data_received_bytes: figures.4,
        })
        .boxed()
}

fn metric() -> BoxedStrategy<MetricReport> {
    let kind = select(&[MetricKind::Counter, MetricKind::Gauge, MetricKind::Rate, MetricKind::Trend][..]);
    let name = prop_oneof![Just("http_req_duration".to_owned()), text()];
    (name, kind, unit(), option::of(any::<u64>()), btree_map(text(), number(), 0..4), 0.0..1.0)
        .prop_map(|(name, kind, unit, count, values, quantile_error)| MetricReport {
            name,
            kind,
            unit,
            count,
            values,
            quantile_error,
        })
        .boxed()
}

fn latency() -> BoxedStrategy<Latency> {
    (number(), number(), number(), number(), number(), number())
        .prop_map(|(avg, med, p90, p95, p99, max)| Latency { avg, med, p90, p95, p99, max })
        .boxed()
}

fn endpoint() -> BoxedStrategy<EndpointReport> {
    let names = (text(), option::of(text()), option::of(text()), option::of(text()));
    let figures = (any::<u64>(), option::of(number()), option::of(number()));
    let statuses = btree_map(text(), any::<u64>(), 0..3);
    (names, any::<bool>(), figures, option::of(latency()), option::of(latency()), statuses)
        .prop_map(|(names, is_template, figures, latency_ms, failed_latency_ms, statuses)| EndpointReport {
            name: names.0,
            is_template,
            method: names.1,
            scenario: names.2,
            group: names.3,
            requests_count: figures.0,
            failed_requests_rate: figures.1,
            requests_per_second: figures.2,
            latency_ms,
            failed_latency_ms,
            statuses,
        })
        .boxed()
}

fn baseline() -> BoxedStrategy<BaselineReport> {
    let detectable = (series(), change(), 0.0..1.0, prop::option::of(2..9u32));
    let detectable =
        detectable.prop_map(|(series, change, power, runs_needed)| Detectable { series, change, power, runs_needed });
    (text(), vec(text(), 0..4), any::<bool>(), vec(text(), 0..4), vec(detectable, 0..3))
        .prop_map(|(kind, runs, comparable, differences, detectable)| BaselineReport {
            kind,
            runs,
            comparable,
            differences,
            detectable,
        })
        .boxed()
}

fn history() -> BoxedStrategy<HistoryReport> {
    let run = (text(), times(), option::of(text()), option::of(number()), any::<bool>());
    let run = run.prop_map(|(run, (started_at, _), commit, value, regressed)| HistoryRun {
        run,
        started_at,
        commit,
        value,
        regressed,
    });
    let change = (0..9usize, 0..9usize, 0..9usize, change());
    (series(), vec(run, 1..9), vec(change, 0..3))
        .prop_map(|(series, runs, changes)| {
            let id = |index: usize| runs[index % runs.len()].run.clone();
            let changes = changes.into_iter().map(|(since, earliest, latest, change)| HistoryChange {
                since_run: id(since),
                earliest_run: id(earliest),
                latest_run: id(latest),
                change,
            });
            let changes = changes.collect();
            HistoryReport { series, unit: Unit::Milliseconds, runs, left_out_count: 3, changes }
        })
        .boxed()
}

fn comparison() -> BoxedStrategy<Comparison> {
    (run(), vec(text(), 0..4), vec(comparison_row(), 0..8), text())
        .prop_map(|(base, differences, rows, method)| Comparison {
            base,
            differences,
            rows,
            method,
            base_timeline: None,
        })
        .boxed()
}

fn comparison_row() -> BoxedStrategy<ComparisonRow> {
    let direction = option::of(select(&[Direction::Worse, Direction::Better, Direction::Changed][..]));
    let figures = (option::of(number()), option::of(number()), option::of(change()));
    (series(), unit(), figures, direction, any::<bool>())
        .prop_map(|(series, unit, (base, current, change), direction, is_found)| ComparisonRow {
            series,
            unit,
            base,
            current,
            change,
            direction,
            is_found,
        })
        .boxed()
}

fn generator() -> BoxedStrategy<GeneratorReport> {
    (any::<bool>(), vec(text(), 0..4)).prop_map(|(healthy, reasons)| GeneratorReport { healthy, reasons }).boxed()
}

fn skipped() -> BoxedStrategy<Skipped> {
    (text(), text()).prop_map(|(what, reason)| Skipped { what, reason }).boxed()
}

fn numbers() -> BoxedStrategy<Vec<Option<f64>>> {
    vec(option::weighted(0.9, number()), 0..40).boxed()
}

/// As many steps as `numbers`, each series beginning at another of them.
fn timeline(numbers: &[Option<f64>], endpoints_count: usize) -> Timeline {
    let turned = |by: usize| -> Vec<Option<f64>> {
        (0..numbers.len()).map(|index| numbers[(index + by) % numbers.len()]).collect()
    };
    let series = |by: usize| TimelineSeries {
        requests_per_second: turned(by),
        failed_requests_rate: turned(by + 1),
        med_ms: turned(by + 2),
        p95_ms: turned(by + 3),
        p99_ms: turned(by + 4),
    };
    let counts = |by: usize| turned(by).iter().take(3).map(|value| value.unwrap_or(0.0) as u32).collect();
    Timeline {
        start: Timestamp(1_790_000_000_000_000_000),
        step_seconds: 1,
        steps_count: numbers.len() as u32,
        vus: turned(5),
        iterations_per_second: turned(6),
        dropped_iterations_per_second: turned(7),
        failed_checks_rate: turned(8),
        total: series(9),
        endpoints: (0..endpoints_count).map(series).collect(),
        latency_heat: Heat {
            bounds_ms: vec![1.0, 10.0, 100.0, 1000.0],
            counts: (0..numbers.len())
                .map(|step| {
                    let mut counts: Vec<u32> = counts(step);
                    counts.resize(3, 0);
                    counts
                })
                .collect(),
        },
        quantile_error: 0.004,
    }
}
