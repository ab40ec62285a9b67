//! The report as SARIF 2.1.0 (OASIS standard): a result for each failed threshold and each finding.
//!
//! A load test has no line of code, but viewers such as GitHub's code scanning show nothing without a file and a line:
//! the first input stands for it, and the series is the logical location. What a run passes makes no result, because
//! GitHub would show it as an alert.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::model::finding::{Finding, FindingKind};
use crate::model::report::AnalysisReport;

use super::words::{self, Problem, Weight};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Where no input has a name.
const UNNAMED_SOURCE: &str = "k6";
/// GitHub reads so many results of a run at most.
const RESULTS_MAX: usize = 25_000;

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    automation_details: AutomationDetails,
    invocations: [Invocation; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    version_control_provenance: Vec<VersionControl>,
    results: Vec<SarifResult>,
    column_kind: &'static str,
    properties: BTreeMap<&'static str, Value>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    full_description: Message,
    help: Message,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
struct AutomationDetails {
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionControl {
    repository_uri: String,
    revision_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    partial_fingerprints: BTreeMap<&'static str, String>,
    properties: BTreeMap<&'static str, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    logical_locations: [LogicalLocation; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

/// Returns the report as a SARIF log, ending in a line end.
pub fn render(report: &AnalysisReport) -> String {
    let uri = source_uri(report);
    let problems = words::problems(report);
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "tidemark",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: RULES.iter().map(|kind| rule(*kind)).collect(),
                },
            },
            automation_details: AutomationDetails {
                // What stands before the last slash is the category by which GitHub keeps several tests apart.
                id: format!("tidemark/{}/{}/", segment(&report.run.test), segment(&report.run.environment)),
            },
            invocations: [Invocation {
                execution_successful: true,
                tool_execution_notifications: notifications(report),
            }],
            version_control_provenance: version_control(report).into_iter().collect(),
            results: problems.iter().take(RESULTS_MAX).map(|problem| result(problem, &uri)).collect(),
            column_kind: "unicodeCodePoints",
            properties: run_properties(report),
        }],
    };
    let json = serde_json::to_string_pretty(&log).expect("plain values become JSON");
    format!("{json}\n")
}

/// In the order of the rules' indexes.
const RULES: [FindingKind; 12] = [
    FindingKind::Threshold,
    FindingKind::ErrorRate,
    FindingKind::Checks,
    FindingKind::Objective,
    FindingKind::Saturation,
    FindingKind::Latency,
    FindingKind::Throughput,
    FindingKind::Drift,
    FindingKind::Leak,
    FindingKind::Anomaly,
    FindingKind::Generator,
    FindingKind::CoordinatedOmission,
];

fn rule(kind: FindingKind) -> Rule {
    let (short, full) = match kind {
        FindingKind::Threshold => ("A threshold failed", "A threshold of the k6 test did not hold."),
        FindingKind::ErrorRate => ("The error rate changed", "Another share of the requests fails than before."),
        FindingKind::Checks => ("The checks changed", "Another share of the checks fails than before."),
        FindingKind::Objective => {
            ("An error budget burns", "More requests are bad than an objective allows, beyond doubt.")
        }
        FindingKind::Saturation => (
            "The system saturates",
            "From some load on the system under test only gets slower, or from a lower one than before.",
        ),
        FindingKind::Latency => ("The latency changed", "Requests take another time than in the baseline."),
        FindingKind::Throughput => {
            ("The throughput changed", "There are more or fewer requests a second than in the baseline.")
        }
        FindingKind::Drift => ("A figure drifts", "Every run is a little worse than the one before."),
        FindingKind::Leak => ("Latency climbs", "Latency climbs steadily through the run, at like load."),
        FindingKind::Anomaly => ("Part of the run stands out", "Part of the run is not like the rest of it."),
        FindingKind::Generator => {
            ("The load generator was in trouble", "k6 could not give the load that the test asked for.")
        }
        FindingKind::CoordinatedOmission => {
            ("Percentiles flatter", "Requests that were due were not sent while their VUs waited: an estimate.")
        }
    };
    let message = |text: &str| Message { text: text.to_owned() };
    Rule {
        id: kind.name(),
        short_description: message(short),
        full_description: message(full),
        help: message("The figures and their evidence are in the run's report: tidemark report RUN."),
    }
}

fn result(problem: &Problem, uri: &str) -> SarifResult {
    let level = match problem.weight {
        Weight::Fails => "error",
        Weight::Unconfirmed | Weight::Warns => "warning",
        Weight::Notes => "note",
    };
    SarifResult {
        rule_id: problem.kind.name(),
        rule_index: RULES.iter().position(|kind| *kind == problem.kind).expect("every kind has a rule"),
        level,
        message: message(&problem.told),
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: uri.to_owned() },
                region: Region { start_line: 1 },
            },
            logical_locations: [LogicalLocation { fully_qualified_name: problem.subject.clone(), kind: "resource" }],
        }],
        partial_fingerprints: BTreeMap::from([("tidemarkFindingId/v1", problem.fingerprint.clone())]),
        properties: problem.finding.map(finding_properties).unwrap_or_default(),
    }
}

/// The figures for programs: as in the report, not as they are worded.
fn finding_properties(finding: &Finding) -> BTreeMap<&'static str, Value> {
    let mut properties = BTreeMap::from([
        ("severity", Value::from(finding.severity.name())),
        ("direction", words::direction(finding.direction).into()),
        ("observed", finding.observed.into()),
        ("unit", finding.unit.name().into()),
        ("alsoCount", finding.also.len().into()),
    ]);
    properties.extend(finding.expected.map(|expected| ("expected", expected.into())));
    properties.extend(finding.change.and_then(|change| Some(("change", serde_json::to_value(change).ok()?))));
    properties.extend(finding.from.map(|from| ("from", from.to_string().into())));
    properties.extend(finding.until.map(|until| ("until", until.to_string().into())));
    properties.extend(finding.since_run.as_ref().map(|run| ("sinceRun", words::name(run).into())));
    properties
}

fn run_properties(report: &AnalysisReport) -> BTreeMap<&'static str, Value> {
    let run = &report.run;
    let named = [
        ("run", Some(&run.id)),
        ("test", Some(&run.test)),
        ("environment", Some(&run.environment)),
        ("commit", run.commit.as_ref()),
        ("branch", run.branch.as_ref()),
        ("pullRequest", run.pull_request.as_ref()),
        ("ciUrl", run.ci_url.as_ref()),
    ];
    let mut properties = BTreeMap::from([
        ("verdict", Value::from(report.verdict.kind.name())),
        ("reasons", words::reasons(report).into()),
        ("partial", run.partial.into()),
    ]);
    properties.extend(named.into_iter().filter_map(|(name, value)| Some((name, words::sentence(value?).into()))));
    properties.extend(run.started_at.map(|start| ("startedAt", start.to_string().into())));
    properties.extend(run.ended_at.map(|end| ("endedAt", end.to_string().into())));
    properties
}

/// The verdict, and what the judgement lacks: no viewer may take silence for a pass.
fn notifications(report: &AnalysisReport) -> Vec<Notification> {
    // An error would say that the tool failed, and not the run.
    let level = match words::verdict_weight(report.verdict.kind) {
        Weight::Unconfirmed => "warning",
        Weight::Fails | Weight::Warns | Weight::Notes => "note",
    };
    let verdict = format!("{}: {}", words::verdict(report.verdict.kind), words::reasons(report));
    let mut notifications = vec![Notification { level, message: message(&verdict) }];
    let mut warn = |text: String| notifications.push(Notification { level: "warning", message: message(&text) });
    if report.run.partial {
        warn("partial: the reading was interrupted, or an input is cut".to_owned());
    }
    for source in report.run.sources.iter().filter(|source| source.lines_rejected > 0).take(NOTIFIED_MAX) {
        let (rejected, read) = (source.lines_rejected, source.lines_read);
        warn(format!("{}: {rejected} of {read} lines rejected", words::name(&source.name)));
    }
    for skipped in report.skipped.iter().take(NOTIFIED_MAX) {
        warn(format!("not judged: {}: {}", words::sentence(&skipped.what), words::sentence(&skipped.reason)));
    }
    notifications
}

/// Of each kind; the report has all.
const NOTIFIED_MAX: usize = 20;

/// In a message `{0}` stands for an argument and `[a](1)` is a link (sections 3.11.5 and 3.11.6 of the standard).
///
/// Other braces are not doubled, though 3.11.5 asks for it: viewers undo that only where there are arguments, and k6's
/// names are full of braces.
fn message(text: &str) -> Message {
    let mut safe = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        safe.push(letter);
        let next = letters.peek();
        let is_placeholder = letter == '{' && next.is_some_and(char::is_ascii_digit);
        let is_link = letter == ']' && next == Some(&'(');
        if is_placeholder || is_link {
            safe.push(' ');
        }
    }
    Message { text: safe }
}

/// None where the repository is not known: the standard asks for it.
fn version_control(report: &AnalysisReport) -> Option<VersionControl> {
    let url = url::Url::parse(report.run.ci_url.as_deref()?).ok()?;
    let page = [url.scheme(), "://", url.host_str()?, url.path()].concat();
    // The pages of a run are below those of its repository, on GitHub and on GitLab.
    let (repository, _) = page.split_once("/actions/runs/").or_else(|| page.split_once("/-/"))?;
    Some(VersionControl {
        repository_uri: repository.to_owned(),
        revision_id: words::sentence(report.run.commit.as_deref()?),
        branch: report.run.branch.as_deref().map(words::sentence),
    })
}

/// Returns the first input's name as a relative reference: below the working folder as it is, else its last part.
pub fn source_uri(report: &AnalysisReport) -> String {
    // As from a pipe, where there is none.
    let name = report.run.sources.first().map_or("-", |source| source.name.as_str());
    let name = words::sentence(name).replace('\\', "/");
    let is_elsewhere = name.starts_with('/') || name.contains(':') || name.split('/').any(|part| part == "..");
    let parts: Vec<String> = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).map(segment).collect();
    let parts = if is_elsewhere { &parts[parts.len().saturating_sub(1)..] } else { &parts[..] };
    match parts.join("/") {
        uri if uri.is_empty() || uri == "-" => UNNAMED_SOURCE.to_owned(),
        uri => uri,
    }
}

/// Percent-encodes all but what is unreserved everywhere (RFC 3986, section 2.3).
fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in words::name(text).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => segment.push(byte.into()),
            _ => segment += &format!("%{byte:02X}"),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(sources: &[&str], ci_url: &str) -> AnalysisReport {
        let source = |name: &&str| {
            json!({ "name": name, "kind": "k6_json", "bytes": 0, "lines_read": 0, "lines_rejected": 0,
                "truncated": false, "rejections": [] })
        };
        let report = json!({
            "schema_version": 1,
            "run": { "id": "1", "test": "checkout", "environment": "staging", "tags": {}, "partial": false,
                "commit": "1ecfd275", "ci_url": ci_url, "sources": sources.iter().map(source).collect::<Vec<_>>() },
            "verdict": { "kind": "pass", "reasons": [] },
            "totals": {}, "metrics": [], "endpoints": [], "thresholds": [], "phases": { "rule": "" },
            "baseline": { "kind": "none", "runs": [], "comparable": false, "differences": [] },
            "skipped": [],
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn a_source_lies_below_the_working_folder() {
        for (name, expected) in [
            ("results/k6.json.gz", "results/k6.json.gz"),
            ("./k6.json", "k6.json"),
            ("/home/runner/work/k6.json", "k6.json"),
            ("../../secret/k6.json", "k6.json"),
            ("C:\\runs\\k6.json", "k6.json"),
            ("a b/größe.json", "a%20b/gr%C3%B6%C3%9Fe.json"),
            ("-", "k6"),
            ("/", "k6"),
            ("..", "k6"),
        ] {
            assert_eq!(source_uri(&report(&[name], "")), expected);
        }
        assert_eq!(source_uri(&report(&[], "")), "k6");
    }

    #[test]
    fn the_repository_is_above_the_page_of_its_run() {
        for (url, expected) in [
            ("https://github.com/o/r/actions/runs/1/attempts/2", Some("https://github.com/o/r")),
            ("https://gitlab.example/g/s/r/-/jobs/5", Some("https://gitlab.example/g/s/r")),
            ("https://ci.example/job/5", None),
            ("", None),
        ] {
            let repository = version_control(&report(&[], url)).map(|found| found.repository_uri);
            assert_eq!(repository.as_deref(), expected);
        }
    }

    #[test]
    fn a_message_makes_neither_placeholders_nor_links() {
        for (text, expected) in
            [("a{status:200} {0} [b](1)", "a{status:200} { 0} [b] (1)"), ("{", "{"), ("/product/{id}", "/product/{id}")]
        {
            assert_eq!(message(text).text, expected);
        }
    }
}
