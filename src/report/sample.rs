//! Made-up reports for the tests of the page and of the charts.

use std::collections::BTreeMap;

use crate::model::comparison::{Comparison, ComparisonRow};
use crate::model::diagnosis::{CauseKind, Clue, Diagnosis};
use crate::model::exhibit::{
    Exhibits, FlameDifference, FlameFrame, Period, ServiceCall, ServiceGraph, ServiceNode, Signal, Signals, SpanDrawn,
    TraceDrawn, TracePair,
};
use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::history::{HistoryChange, HistoryReport, HistoryRun};
use crate::model::metric::{MetricKind, Unit};
use crate::model::report::{
    AnalysisReport, BaselineReport, Detectable, EndpointReport, GeneratorReport, Grafana, Latency, MetricReport,
    Phases, RunReport, Skipped, ThresholdJudge, ThresholdReport, Totals, TracedRequest, Verdict, VerdictKind,
};
use crate::model::run::{Rejection, SourceKind, SourceReport};
use crate::model::telemetry::Unavailable;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::model::timeline::{Heat, Timeline, TimelineSeries};

/// What an input may call its things to harm who reads the report.
pub const HOSTILE: [&str; 10] = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]></svg><img src=x onerror=alert(1)>",
    "\"' onmouseover=alert(1) x='",
    "a|b`c\n# d\r\n",
    "\u{202e}gnp.exe\u{2066}\u{2028}",
    "שלום עולם تجربة",
    "\0\u{7}\u{1b}[31mred",
    "javascript:alert(1)",
    "&lt;b&gt;&amp;",
];

const START: Timestamp = Timestamp(1_795_262_670 * NANOSECONDS_PER_SECOND);

/// Returns a report with everything in it, in which every name is `name` and every figure is of the size of `value`.
pub fn report(endpoints_count: usize, steps_count: usize, name: &str, value: f64) -> AnalysisReport {
    let name = || name.to_owned();
    let later = |seconds: i64| Some(Timestamp(START.0 + seconds * NANOSECONDS_PER_SECOND));
    let change = Change {
        scale: Scale::Ratio,
        point: value / 100.0,
        low: Some(-value),
        high: Some(value),
        confidence: Some(0.95),
    };
    let series = SeriesReference {
        metric: "http_req_duration".to_owned(),
        tags: BTreeMap::from([("name".to_owned(), name()), ("method".to_owned(), name())]),
        statistic: Some("p95".to_owned()),
    };
    let evidence = vec![
        Evidence::Metric {
            series: series.clone(),
            observed: value,
            expected: Some(value),
            unit: Unit::Milliseconds,
            change: Some(change),
            note: Some(name()),
        },
        Evidence::Query { sql: name() },
    ];
    let finding = Finding {
        id: name(),
        kind: FindingKind::Latency,
        title: name(),
        severity: Severity::Major,
        direction: Direction::Worse,
        series: series.clone(),
        also: vec![series.clone(); 5],
        from: later(1),
        until: later(3),
        since_run: Some(name()),
        suspect: false,
        observed: value,
        expected: Some(value),
        unit: Unit::Fraction,
        change: Some(Change { scale: Scale::Difference, ..change }),
        evidence,
    };
    let run = run(&name());
    let row = ComparisonRow {
        series: series.clone(),
        unit: Unit::Bytes,
        base: Some(value),
        current: Some(value),
        change: Some(change),
        direction: Some(Direction::Better),
        is_found: true,
    };
    let timeline = timeline(endpoints_count, steps_count, value);
    AnalysisReport {
        schema_version: 1,
        verdict: Verdict { kind: VerdictKind::Regressed, reasons: vec![name(); 9] },
        totals: Totals {
            requests_count: Some(3),
            failed_requests_count: Some(1),
            failed_requests_rate: Some(value),
            requests_per_second: Some(value),
            iterations_count: Some(1),
            checks_passed_count: Some(1),
            checks_failed_count: Some(1),
            vus_max: Some(value),
            arrivals_per_second: Some(value),
            data_sent_bytes: Some(value),
            data_received_bytes: Some(value),
        },
        metrics: metrics(&name(), value),
        endpoints: (0..endpoints_count).map(|index| endpoint(index, &name(), value)).collect(),
        checks: Vec::new(),
        thresholds: vec![ThresholdReport {
            metric: name(),
            expression: name(),
            passed: false,
            observed: Some(value),
            headroom: Some(-value),
            abort_on_fail: true,
            k6_passed: Some(true),
            over_time: None,
            judged_by: ThresholdJudge::Samples,
        }],
        findings: vec![finding; 2],
        early: None,
        phases: Phases { steady_from: later(1), steady_until: later(4), rule: name() },
        baseline: BaselineReport {
            kind: name(),
            runs: vec![name()],
            comparable: false,
            differences: vec![name()],
            detectable: vec![Detectable { series: series.clone(), change, power: value, runs_needed: Some(3) }],
        },
        objectives: Vec::new(),
        ramp: None,
        diagnoses: vec![diagnosis(&name(), value)],
        traced: vec![TracedRequest {
            at: START,
            endpoint: name(),
            method: Some(name()),
            milliseconds: value,
            trace_id: name(),
        }],
        exhibits: Some(exhibits(&name(), value)),
        grafana: Some(Grafana { url: "https://grafana.test".to_owned(), datasources: BTreeMap::new() }),
        unavailable: vec![Unavailable { backend: name(), reason: name() }],
        coordinated_omission: None,
        history: Some(history(series, &name(), change, value)),
        comparison: Some(Comparison {
            base: run.clone(),
            differences: vec![name() + "!"],
            rows: vec![row; 3],
            method: name(),
            base_timeline: Some(timeline.clone()),
        }),
        run,
        generator: Some(GeneratorReport { healthy: false, reasons: vec![name()] }),
        timeline: Some(timeline),
        skipped: vec![Skipped { what: name(), reason: name() }],
    }
}

fn diagnosis(name: &str, value: f64) -> Diagnosis {
    let text = || name.to_owned();
    Diagnosis {
        finding: None,
        beside_run: Some(text()),
        rank: 1,
        service: text(),
        kind: CauseKind::SlowQuery,
        what: text(),
        endpoint: Some(text()),
        function: Some(text()),
        span: Some(text()),
        score: value,
        evidence: vec![
            Clue::Metric {
                service: text(),
                metric: text(),
                what: text(),
                unit: text(),
                healthy: value,
                faulty: -value,
                moved_at: Some(START),
                query: Some(text()),
            },
            Clue::Span {
                service: text(),
                operation: text(),
                entrance: text(),
                own_ms_healthy: value,
                own_ms_faulty: value,
                traces_healthy_count: 1,
                traces_faulty_count: 2,
                statement: Some(text()),
                error: Some(text()),
            },
            Clue::Trace { trace_id: text(), own_ms: value },
            Clue::Profile {
                service: text(),
                profile_type: text(),
                function: text(),
                healthy_per_second: value,
                faulty_per_second: value,
                healthy_from: START,
                healthy_until: START,
                faulty_from: START,
                faulty_until: START,
            },
            Clue::SpanProfile {
                service: text(),
                profile_type: text(),
                function: text(),
                share: 0.5,
                spans_count: 3,
                from: START,
                until: START,
            },
            Clue::Log {
                service: text(),
                level: text(),
                template: text(),
                healthy_per_second: value,
                faulty_per_second: value,
                example: text(),
                query: Some(text()),
            },
        ],
        refuted_by: text(),
    }
}

fn exhibits(name: &str, value: f64) -> Exhibits {
    let text = || name.to_owned();
    let period = Period { from: START, until: START.after_seconds(90.0) };
    let frame = |depth| FlameFrame { depth, function: text(), healthy_per_second: value, faulty_per_second: value };
    let span = |depth| SpanDrawn {
        depth,
        service: text(),
        operation: text(),
        start_ms: value,
        duration_ms: value,
        own_ms: value,
        is_error: true,
        is_suspect: true,
    };
    let trace = TraceDrawn {
        trace_id: text(),
        started_at: START,
        duration_ms: value,
        spans: vec![span(0), span(1), span(u32::MAX)],
        left_out_count: 2,
    };
    let signal = Signal {
        service: text(),
        what: text(),
        unit: text(),
        moved_at: Some(START),
        values: vec![Some(value), None, Some(-value)],
    };
    let service = |name: &str, depth| ServiceNode { name: name.to_owned(), depth, is_suspect: true };
    let call = ServiceCall {
        caller: text(),
        callee: format!("{name}!"),
        healthy_ms: Some(value),
        faulty_ms: Some(2.0 * value),
        count: 3,
    };
    Exhibits {
        flames: vec![FlameDifference {
            diagnosis: 0,
            service: text(),
            profile_type: text(),
            healthy: period,
            faulty: period,
            frames: vec![frame(0), frame(1), frame(2)],
            left_out_count: 1,
        }],
        traces: vec![TracePair { diagnosis: 0, faulty: trace.clone(), healthy: Some(trace) }],
        signals: vec![Signals {
            diagnosis: 0,
            run: period,
            window: period,
            step_seconds: value,
            signals: vec![signal.clone(), signal],
        }],
        services: Some(ServiceGraph {
            services: vec![service(name, 0), service(&format!("{name}!"), 1)],
            calls: vec![call],
        }),
    }
}

/// Two runs before this one; the one before is the first of a change.
fn history(series: SeriesReference, name: &str, change: Change, value: f64) -> HistoryReport {
    let run = |number: usize| HistoryRun {
        run: format!("{name}{number}"),
        started_at: Some(Timestamp(1_795_500_000_000_000_000)),
        commit: Some(name.to_owned()),
        value: Some(value * number as f64),
        regressed: number == 2,
    };
    let first = format!("{name}2");
    let changed = HistoryChange { since_run: first.clone(), earliest_run: first.clone(), latest_run: first, change };
    HistoryReport {
        series,
        unit: Unit::Milliseconds,
        runs: (1..=3).map(run).collect(),
        left_out_count: 1,
        changes: vec![changed],
    }
}

/// Returns the report of a summary alone: most of it does not exist.
pub fn summary_only() -> AnalysisReport {
    let whole = report(0, 0, "checkout", 1.0);
    AnalysisReport {
        run: RunReport { started_at: None, ended_at: None, duration_seconds: None, ..whole.run },
        totals: Totals::default(),
        metrics: Vec::new(),
        thresholds: Vec::new(),
        findings: Vec::new(),
        phases: Phases::default(),
        comparison: None,
        history: None,
        generator: None,
        timeline: None,
        skipped: Vec::new(),
        ..whole
    }
}

fn run(name: &str) -> RunReport {
    let name = || name.to_owned();
    RunReport {
        id: name(),
        test: name(),
        environment: name(),
        started_at: Some(START),
        ended_at: Some(Timestamp(START.0 + 5 * NANOSECONDS_PER_SECOND)),
        duration_seconds: Some(5.0),
        k6_version: Some(name()),
        script_sha256: Some(name()),
        commit: Some(name()),
        branch: Some(name()),
        pull_request: Some(name()),
        ci_url: Some(name()),
        tags: BTreeMap::from([(name(), name())]),
        sources: vec![SourceReport {
            name: name(),
            kind: SourceKind::K6Json,
            bytes: 1,
            sha256: Some(name()),
            lines_read: 2,
            lines_rejected: 2,
            truncated: true,
            rejections: vec![Rejection { line: 1, reason: name() }],
        }],
        partial: true,
    }
}

fn metrics(name: &str, value: f64) -> Vec<MetricReport> {
    let metric = |name: &str, kind, unit, values: &[&str]| MetricReport {
        name: name.to_owned(),
        kind,
        unit,
        count: Some(1),
        values: values.iter().map(|name| (name.to_string(), value)).collect(),
        quantile_error: 0.0,
    };
    vec![
        metric("http_req_duration", MetricKind::Trend, Unit::Milliseconds, &["avg", "med", "p95"]),
        metric("http_req_failed", MetricKind::Rate, Unit::Fraction, &["rate", "passes", "fails"]),
        metric(name, MetricKind::Gauge, Unit::None, &[name]),
    ]
}

fn endpoint(index: usize, name: &str, value: f64) -> EndpointReport {
    let latency = Latency { avg: value, med: value, p90: value, p95: value, p99: value, max: value };
    EndpointReport {
        name: format!("{name}{index}"),
        is_template: false,
        method: Some(name.to_owned()),
        scenario: Some(format!("{name}{index}")),
        group: Some(name.to_owned()),
        requests_count: 1,
        failed_requests_rate: Some(value),
        requests_per_second: Some(value),
        latency_ms: Some(latency),
        failed_latency_ms: Some(latency),
        statuses: BTreeMap::from([(name.to_owned(), 1), ("200".to_owned(), 9)]),
    }
}

fn timeline(endpoints_count: usize, steps_count: usize, value: f64) -> Timeline {
    // Values that differ, each with four digits, as the true ones have.
    let values = |factor: f64| -> Vec<Option<f64>> {
        let at = |step: usize| ((value * factor * (1.0 + (step % 97) as f64 / 97.0)) * 10.0).round() / 10.0;
        (0..steps_count).map(|step| (step % 50 != 49).then(|| at(step))).collect()
    };
    let series = || TimelineSeries {
        requests_per_second: values(1.0),
        failed_requests_rate: values(1.0),
        med_ms: values(1.0),
        p95_ms: values(2.0),
        p99_ms: values(3.0),
    };
    Timeline {
        start: START,
        step_seconds: 10,
        steps_count: steps_count as u32,
        vus: values(1.0),
        iterations_per_second: values(1.0),
        dropped_iterations_per_second: values(1.0),
        failed_checks_rate: values(1.0),
        total: series(),
        endpoints: (0..endpoints_count).map(|_| series()).collect(),
        latency_heat: Heat {
            bounds_ms: (0..=40).map(|bound| 1.2_f64.powi(bound)).collect(),
            counts: (0..steps_count)
                .map(|step| (0..40).map(|bucket| (step as u32 * bucket) % 7 * 100).collect())
                .collect(),
        },
        quantile_error: 0.01,
    }
}
