//! The report as JUnit XML, which CI servers show as tests: one for the verdict, each threshold and each finding.
//!
//! Valid for `junit-10.xsd` of Jenkins' xUnit plugin. `quick-junit` is not: it counts `skipped` at the root, which
//! that schema does not know. GitLab reads the class and the name of a case as its identity, so both are the same in
//! every run: no measured figure is in them.

use std::collections::HashMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::model::finding::Finding;
use crate::model::report::{AnalysisReport, VerdictKind};

use super::text::second;
use super::words::{self, Weight};

#[derive(Debug, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    /// Neither: the evidence does not suffice.
    Skipped,
}

struct Case {
    name: String,
    outcome: Outcome,
    /// The kind of failure, for a machine.
    kind: &'static str,
    told: String,
}

/// Returns the report as JUnit XML.
pub fn render(report: &AnalysisReport) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    write_suites(&mut xml, report).expect("a Vec takes everything");
    let mut xml = String::from_utf8(xml.into_inner()).expect("only text was written");
    xml.push('\n');
    xml
}

fn write_suites(xml: &mut Writer<Vec<u8>>, report: &AnalysisReport) -> io::Result<()> {
    let suites = [("verdict", verdict(report)), ("thresholds", thresholds(report)), ("findings", findings(report))];
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let (tests, failures) = (all().count(), all().filter(|case| case.outcome == Outcome::Failed).count());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = xml.create_element("testsuites").with_attributes([
        ("name", "tidemark"),
        ("tests", &*tests.to_string()),
        ("failures", &*failures.to_string()),
        ("errors", "0"),
    ]);
    root.write_inner_content(|xml| {
        suites.iter().try_for_each(|(suite, cases)| write_suite(xml, report, suite, cases))
    })?;
    Ok(())
}

fn write_suite(xml: &mut Writer<Vec<u8>>, report: &AnalysisReport, suite: &str, cases: &[Case]) -> io::Result<()> {
    let (test, environment) = (words::name(&report.run.test), words::name(&report.run.environment));
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count().to_string();
    let mut element = xml.create_element("testsuite").with_attributes([
        ("name", &*format!("{test} on {environment}: {suite}")),
        ("tests", &*cases.len().to_string()),
        ("failures", &*count(Outcome::Failed)),
        ("errors", "0"),
        ("skipped", &*count(Outcome::Skipped)),
    ]);
    if let Some(start) = report.run.started_at {
        element = element.with_attribute(("timestamp", &*second(start).replace(' ', "T")));
    }
    // The run's time stands once, or CI would add it up; so do the properties.
    if let Some(seconds) = report.run.duration_seconds.filter(|seconds| suite == "verdict" && is_time(*seconds)) {
        // Of -0.0 the schema does not take the sign.
        element = element.with_attribute(("time", &*format!("{:.3}", seconds.abs())));
    }
    // A point would make packages of a test's name.
    let class = format!("{}.{suite}", test.replace('.', "_"));
    element.write_inner_content(|xml| {
        if suite == "verdict" {
            write_properties(xml, report)?;
        }
        cases.iter().try_for_each(|case| write_case(xml, &class, case))
    })?;
    Ok(())
}

/// Below 30 years.
fn is_time(seconds: f64) -> bool {
    (0.0..1e9).contains(&seconds)
}

fn write_properties(xml: &mut Writer<Vec<u8>>, report: &AnalysisReport) -> io::Result<()> {
    let run = &report.run;
    let known = [
        ("run", Some(&run.id)),
        ("test", Some(&run.test)),
        ("environment", Some(&run.environment)),
        ("k6_version", run.k6_version.as_ref()),
        ("commit", run.commit.as_ref()),
        ("branch", run.branch.as_ref()),
        ("pull_request", run.pull_request.as_ref()),
        ("ci_url", run.ci_url.as_ref()),
    ];
    let verdict = ("verdict", report.verdict.kind.name().to_owned());
    let known = known.into_iter().filter_map(|(name, value)| Some((name, words::sentence(value?))));
    xml.create_element("properties").write_inner_content(|xml| {
        [verdict].into_iter().chain(known).try_for_each(|(name, value)| {
            let property = xml.create_element("property");
            property.with_attributes([("name", name), ("value", &*value)]).write_empty().map(|_| ())
        })
    })?;
    Ok(())
}

fn write_case(xml: &mut Writer<Vec<u8>>, class: &str, case: &Case) -> io::Result<()> {
    let element = xml.create_element("testcase").with_attributes([("classname", class), ("name", &*case.name)]);
    let name = match case.outcome {
        Outcome::Passed => "system-out",
        Outcome::Failed => "failure",
        Outcome::Skipped => "skipped",
    };
    element.write_inner_content(|xml| {
        let told = xml.create_element(name);
        let told = match case.outcome {
            Outcome::Passed => told,
            Outcome::Failed | Outcome::Skipped => told.with_attributes([("message", &*case.told), ("type", case.kind)]),
        };
        told.write_text_content(BytesText::new(&case.told)).map(|_| ())
    })?;
    Ok(())
}

fn verdict(report: &AnalysisReport) -> Vec<Case> {
    let kind = report.verdict.kind;
    let told = match report.verdict.reasons.is_empty() {
        true => words::verdict(kind),
        false => format!("{}: {}", words::verdict(kind), words::reasons(report)),
    };
    let outcome = match kind {
        VerdictKind::Pass => Outcome::Passed,
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => Outcome::Failed,
        VerdictKind::Suspect | VerdictKind::Inconclusive => Outcome::Skipped,
    };
    vec![Case { name: "verdict".to_owned(), outcome, kind: kind.name(), told }]
}

fn thresholds(report: &AnalysisReport) -> Vec<Case> {
    let case = |threshold| Case {
        name: words::threshold_name(threshold),
        outcome: if words::held(threshold) { Outcome::Passed } else { Outcome::Failed },
        kind: "threshold",
        told: words::threshold_told(report, threshold),
    };
    told_apart(report.thresholds.iter().map(case).collect())
}

fn findings(report: &AnalysisReport) -> Vec<Case> {
    let case = |finding: &Finding| Case {
        name: format!("{}: {}", finding.kind.name(), words::series(&finding.series)),
        outcome: match words::finding_weight(report, finding) {
            Weight::Fails => Outcome::Failed,
            Weight::Unconfirmed => Outcome::Skipped,
            Weight::Warns | Weight::Notes => Outcome::Passed,
        },
        kind: finding.kind.name(),
        told: format!("{} {}: {}", finding.severity.name(), words::direction(finding.direction), words::told(finding)),
    };
    told_apart(report.findings.iter().map(case).collect())
}

/// Numbers the cases of one name: GitLab ignores all but the first of a name.
fn told_apart(mut cases: Vec<Case>) -> Vec<Case> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for case in &mut cases {
        let count = seen.entry(case.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            case.name += &format!(" ({count})");
        }
    }
    cases
}
