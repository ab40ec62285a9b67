//! The report as GitLab's Code Quality JSON, which shows beside a merge request what it adds and what it mends.

use serde::Serialize;

use crate::model::finding::Severity;
use crate::model::report::AnalysisReport;

use super::sarif::source_uri;
use super::words::{self, Problem, Weight};

#[derive(Serialize)]
struct Issue<'a> {
    description: String,
    check_name: &'a str,
    /// GitLab compares two branches by it.
    fingerprint: String,
    severity: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

/// Returns what there is to mark in the run as a JSON array, ending in a line end.
pub fn render(report: &AnalysisReport) -> String {
    let path = source_uri(report);
    let problems = words::problems(report);
    let issues: Vec<Issue> = problems.iter().map(|problem| issue(problem, &path)).collect();
    let json = serde_json::to_string_pretty(&issues).expect("plain values become JSON");
    format!("{json}\n")
}

fn issue<'a>(problem: &'a Problem, path: &str) -> Issue<'a> {
    Issue {
        description: problem.told.clone(),
        check_name: problem.kind.name(),
        fingerprint: words::fingerprint(&[&problem.fingerprint, problem.kind.name(), &problem.subject]),
        severity: severity(problem),
        // A load test has no line of code. The input stands for it, which every run of the job names alike.
        location: Location { path: path.to_owned(), lines: Lines { begin: 1 } },
    }
}

fn severity(problem: &Problem) -> &'static str {
    let is_critical = problem.finding.is_some_and(|finding| finding.severity == Severity::Critical);
    match problem.weight {
        Weight::Fails if is_critical => "critical",
        Weight::Fails => "major",
        Weight::Unconfirmed | Weight::Warns => "minor",
        Weight::Notes => "info",
    }
}
