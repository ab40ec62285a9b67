//! The report's forms for CI, on random reports with hostile names: whole, inert, and of one mind.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use comrak::nodes::NodeValue;
use comrak::{Arena, Options, parse_document};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;
use tidemark::model::report::{AnalysisReport, VerdictKind};
use tidemark::report::comparison_md::{self, Layout1Comparison, Layout1Summary};
use tidemark::report::words::{self, Weight};
use tidemark::report::{annotations, code_quality, junit, markdown, sarif, slack};

use super::random_report;
use super::store_faults::skipped;

const SARIF_SCHEMA: &str = include_str!("../schemas/sarif-schema-2.1.0.json");
const JUNIT_SCHEMA: &str = include_str!("../schemas/junit-10.xsd");

pub fn sarif_validator() -> jsonschema::Validator {
    let mut schema: Value = serde_json::from_str(SARIF_SCHEMA).unwrap();
    // The pattern of a language is no regular expression by ECMA-262: a bracket is closed that was not opened.
    for definition in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][definition]["properties"]["language"];
        assert!(language.as_object_mut().unwrap().remove("pattern").is_some());
    }
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// One draw for all forms: a random report costs more than what is made of it.
#[test]
fn random_reports_are_whole_inert_and_of_one_mind_in_every_form() {
    let (validator, schema) = (sarif_validator(), declared_by_schema());
    assert!(schema["testsuite"].children.contains("testcase") && schema["testcase"].required.contains("name"));
    proptest!(ProptestConfig::with_cases(96), |(report in random_report::report())| {
        check_sarif(&report, &validator)?;
        check_junit(&report, &schema)?;
        check_annotations(&report)?;
        check_code_quality(&report)?;
        check_slack(&report)?;
        check_markdown(&markdown::render(&report), report.run.ci_url.as_deref())?;
        check_wording(&report)?;
    });
}

/// Valid by OASIS' schema, and a result for each problem.
fn check_sarif(report: &AnalysisReport, validator: &jsonschema::Validator) -> Result<(), TestCaseError> {
    let log: Value = serde_json::from_str(&sarif::render(report)).unwrap();
    let faults: Vec<String> = validator.iter_errors(&log).map(|fault| fault.to_string()).collect();
    prop_assert!(faults.is_empty(), "{faults:?}");
    let results = log["runs"][0]["results"].as_array().unwrap();
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let levels = results.iter().map(|result| result["level"].as_str().unwrap());
    let expected = words::problems(report);
    let expected = expected.iter().map(|problem| match problem.weight {
        Weight::Fails => "error",
        Weight::Unconfirmed | Weight::Warns => "warning",
        Weight::Notes => "note",
    });
    prop_assert!(levels.eq(expected));
    for result in results {
        let rule = result["ruleIndex"].as_u64().unwrap() as usize;
        prop_assert_eq!(&rules[rule]["id"], &result["ruleId"]);
        let message = result["message"]["text"].as_str().unwrap();
        prop_assert!(!message.contains("](") && !message.contains("{0}"), "{message}");
        check_path(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap())?;
    }
    Ok(())
}

/// What Slack's reference of Block Kit asks of each block that we use, and no text that it would make anything of.
fn check_slack(report: &AnalysisReport) -> Result<(), TestCaseError> {
    let message: Value = serde_json::from_str(&slack::render(report)).unwrap();
    let keys: Vec<&String> = message.as_object().unwrap().keys().collect();
    prop_assert_eq!(keys, ["blocks", "mrkdwn", "text"]);
    let is_inert = |text: &str| {
        let entities = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
        !text.trim().is_empty() && !entities.contains(['<', '>', '&'])
    };
    prop_assert!(is_inert(message["text"].as_str().unwrap()) && message["mrkdwn"] == false);
    let check_text = |text: &Value, letters_max: usize| -> Result<(), TestCaseError> {
        let keys: Vec<&String> = text.as_object().unwrap().keys().collect();
        prop_assert_eq!(keys, ["emoji", "text", "type"]);
        prop_assert!(text["type"] == "plain_text" && text["emoji"] == false);
        let words = text["text"].as_str().unwrap();
        prop_assert!(is_inert(words) && words.chars().count() <= letters_max, "{}", words);
        Ok(())
    };
    let blocks = message["blocks"].as_array().unwrap();
    prop_assert!((1..=50).contains(&blocks.len()), "{} blocks", blocks.len());
    for block in blocks {
        prop_assert_eq!(block.as_object().unwrap().len(), 2);
        match block["type"].as_str().unwrap() {
            "header" => check_text(&block["text"], 150)?,
            "section" => check_text(&block["text"], 3_000)?,
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                prop_assert!((1..=10).contains(&elements.len()));
                elements.iter().try_for_each(|element| check_text(element, 3_000))?;
            }
            other => prop_assert!(false, "{}", other),
        }
    }
    let verdict = words::verdict(report.verdict.kind);
    prop_assert!(blocks[0]["text"]["text"].as_str().unwrap().starts_with(&verdict));
    Ok(())
}

/// Below the working folder, and nothing that a reader would resolve to elsewhere.
fn check_path(uri: &str) -> Result<(), TestCaseError> {
    prop_assert!(!uri.starts_with('/') && !uri.contains(':') && !uri.contains('\\'), "{uri}");
    prop_assert!(uri.split('/').all(|part| !matches!(part, "" | "." | "..")), "{uri}");
    Ok(())
}

/// What the schema says of one element.
#[derive(Debug, Default)]
struct Declared {
    children: BTreeSet<String>,
    attributes: BTreeSet<String>,
    required: BTreeSet<String>,
}

fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    element.try_get_attribute(name).unwrap().map(|found| found.unescape_value().unwrap().into_owned())
}

/// Reads names of elements, their children and attributes; of the types of values `xmllint` must judge.
fn declared_by_schema() -> BTreeMap<String, Declared> {
    let mut reader = Reader::from_str(JUNIT_SCHEMA);
    let mut elements: BTreeMap<String, Declared> = BTreeMap::new();
    let mut current = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                b"xs:element" => match (attribute(&tag, "name"), attribute(&tag, "ref")) {
                    (Some(name), _) => {
                        elements.entry(name.clone()).or_default();
                        current = name;
                    }
                    (None, child) => {
                        elements.get_mut(&current).unwrap().children.extend(child);
                    }
                },
                b"xs:attribute" if !current.is_empty() => {
                    let declared = elements.get_mut(&current).unwrap();
                    let name = attribute(&tag, "name").unwrap();
                    if attribute(&tag, "use").as_deref() == Some("required") {
                        declared.required.insert(name.clone());
                    }
                    declared.attributes.insert(name);
                }
                _ => {}
            },
            Event::Eof => return elements,
            _ => {}
        }
    }
}

/// Checks `xml` by the schema's names, and returns each test case: its class and name, and what it holds.
fn test_cases(xml: &str, schema: &BTreeMap<String, Declared>) -> Vec<((String, String), String)> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_comments = true;
    let mut open: Vec<String> = Vec::new();
    let mut cases: Vec<((String, String), String)> = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                let declared = schema.get(&name).unwrap_or_else(|| panic!("{name} is not in the schema"));
                let parent = open.last();
                assert!(parent.is_none_or(|parent| schema[parent].children.contains(&name)), "{name} in {parent:?}");
                let attributes = tag.attributes().map(|found| {
                    let found = found.unwrap();
                    found.unescape_value().unwrap();
                    String::from_utf8(found.key.as_ref().to_vec()).unwrap()
                });
                let attributes: BTreeSet<String> = attributes.collect();
                assert!(attributes.is_subset(&declared.attributes), "{attributes:?} of {name}");
                assert!(attributes.is_superset(&declared.required), "{attributes:?} of {name}");
                match name.as_str() {
                    "testcase" => {
                        let identity = (attribute(tag, "classname").unwrap(), attribute(tag, "name").unwrap());
                        cases.push((identity, String::new()));
                    }
                    "failure" | "skipped" | "system-out" if parent.is_some_and(|parent| parent == "testcase") => {
                        cases.last_mut().unwrap().1 = name.clone();
                    }
                    _ => {}
                }
                if matches!(event, Event::Start(_)) {
                    open.push(name);
                }
            }
            Event::End(_) => {
                open.pop();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    cases
}

/// A case for each threshold and finding, red as the verdict is, and of the same name in every run.
fn check_junit(report: &AnalysisReport, schema: &BTreeMap<String, Declared>) -> Result<(), TestCaseError> {
    let xml = junit::render(report);
    // XML 1.0, section 2.2.
    let is_allowed =
        |letter| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    prop_assert!(xml.chars().all(is_allowed));
    let cases = test_cases(&xml, schema);
    prop_assert_eq!(cases.len(), 1 + report.thresholds.len() + report.findings.len());
    let names: BTreeSet<_> = cases.iter().map(|(identity, _)| identity).collect();
    prop_assert_eq!(names.len(), cases.len(), "two of one name");
    let failed = cases.iter().filter(|(_, outcome)| outcome == "failure").count();
    let fails =
        report.findings.iter().filter(|finding| words::finding_weight(report, finding) == Weight::Fails).count();
    let thresholds = report.thresholds.iter().filter(|threshold| !words::held(threshold)).count();
    let verdict = matches!(report.verdict.kind, VerdictKind::Regressed | VerdictKind::ThresholdsFailed);
    prop_assert_eq!(failed, fails + thresholds + usize::from(verdict));
    if !verdict {
        prop_assert_eq!(fails, 0, "a finding fails where the verdict does not");
    }
    let mut other = report.clone();
    for finding in &mut other.findings {
        finding.observed += 1.0;
        finding.change = None;
    }
    other.thresholds.iter_mut().for_each(|threshold| threshold.observed = Some(1.0));
    let others = test_cases(&junit::render(&other), schema);
    let other_names: BTreeSet<_> = others.iter().map(|(identity, _)| identity).collect();
    prop_assert_eq!(names, other_names, "a name holds a figure");
    Ok(())
}

/// The same words and digits in every form.
fn check_wording(report: &AnalysisReport) -> Result<(), TestCaseError> {
    let (page, xml) = (markdown::render(report), junit::render(report));
    let issues: Vec<Value> = serde_json::from_str(&code_quality::render(report)).unwrap();
    let log: Value = serde_json::from_str(&sarif::render(report)).unwrap();
    let problems = words::problems(report);
    for (index, problem) in problems.iter().enumerate() {
        prop_assert_eq!(issues[index]["description"].as_str(), Some(problem.told.as_str()));
        let Some(change) = problem.finding.and_then(|finding| Some((finding.change?, finding.unit))) else { continue };
        let change = words::change(&change.0, change.1);
        let message = log["runs"][0]["results"][index]["message"]["text"].as_str().unwrap();
        for form in [&page, &xml, &problem.told, message] {
            prop_assert!(form.contains(&change), "{change}");
        }
    }
    Ok(())
}

/// `xmllint` judges what `test_cases` does not: order, and the types of values.
#[test]
fn junit_is_valid_by_the_schema_of_jenkins() {
    if Command::new("xmllint").arg("--version").output().is_err() {
        skipped("JUnit against junit-10.xsd: xmllint is not here (Debian: libxml2-utils)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("junit-10.xsd");
    std::fs::write(&schema, JUNIT_SCHEMA).unwrap();
    let mut check = Command::new("xmllint");
    check.arg("--noout").arg("--schema").arg(&schema);
    // The same draws each time.
    let mut runner = TestRunner::deterministic();
    for index in 0..50 {
        let report = random_report::report().new_tree(&mut runner).unwrap().current();
        let path = folder.path().join(format!("{index}.xml"));
        std::fs::write(&path, junit::render(&report)).unwrap();
        check.arg(path);
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One command a line, and no more of them than GitHub shows.
fn check_annotations(report: &AnalysisReport) -> Result<(), TestCaseError> {
    let text = annotations::render(report);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.split_terminator('\n') {
        let (level, rest) = line.strip_prefix("::").and_then(|rest| rest.split_once(" title=")).unwrap();
        prop_assert!(["error", "warning", "notice"].contains(&level), "{line}");
        let (title, message) = rest.split_once("::").unwrap();
        prop_assert!(!title.contains([',', ':']) && !message.is_empty(), "{line}");
        prop_assert!(!line.contains('\r') && line.len() < 60_000);
        *counts.entry(level).or_default() += 1;
    }
    prop_assert!(counts.values().all(|count| *count <= 10), "{counts:?}");
    let fails = words::problems(report).iter().any(|problem| problem.weight == Weight::Fails);
    let is_red = words::verdict_weight(report.verdict.kind) == Weight::Fails;
    prop_assert_eq!(counts.contains_key("error"), fails || is_red);
    Ok(())
}

/// The same problems as in SARIF.
fn check_code_quality(report: &AnalysisReport) -> Result<(), TestCaseError> {
    let issues: Vec<Value> = serde_json::from_str(&code_quality::render(report)).unwrap();
    let log: Value = serde_json::from_str(&sarif::render(report)).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    prop_assert_eq!(issues.len(), results.len());
    for (issue, result) in issues.iter().zip(results) {
        let level = match issue["severity"].as_str().unwrap() {
            "critical" | "major" => "error",
            "minor" => "warning",
            _ => "note",
        };
        prop_assert_eq!(level, result["level"].as_str().unwrap());
        prop_assert_eq!(issue["location"]["lines"]["begin"].as_u64(), Some(1));
        check_path(issue["location"]["path"].as_str().unwrap())?;
    }
    Ok(())
}

const HEADINGS: [&str; 15] = [
    "Why",
    "Told early",
    "Objectives",
    "The comparison is not fair",
    "Findings",
    "Thresholds",
    "Beside the baseline",
    "Endpoints",
    "Load generator",
    "Rejected input",
    "Not judged",
    ": load test ",
    "Top 3 Degradations",
    "Detailed Comparison",
    ". ",
];

/// Judges Markdown with all extensions on, as a reader of GitHub's and GitLab's flavours.
fn check_markdown(text: &str, ci_url: Option<&str>) -> Result<(), TestCaseError> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.description_lists = true;
    options.extension.multiline_block_quotes = true;
    options.extension.alerts = true;
    options.extension.math_dollars = true;
    options.extension.math_code = true;
    options.extension.superscript = true;
    options.extension.wikilinks_title_after_pipe = true;
    options.extension.spoiler = true;
    let arena = Arena::new();
    let root = parse_document(&arena, text, &options);
    for node in root.descendants() {
        match &node.data.borrow().value {
            NodeValue::HtmlBlock(html) => {
                let html = html.literal.trim();
                prop_assert!(["<details><summary>Details</summary>", "</details>"].contains(&html), "{html}");
            }
            NodeValue::Link(link) => {
                let shown = url::Url::parse(&link.url).unwrap();
                prop_assert_eq!(ci_url.and_then(|url| url::Url::parse(url).ok()), Some(shown));
            }
            NodeValue::Heading(_) => {
                let heading = text_of(node);
                prop_assert!(HEADINGS.iter().any(|known| heading.contains(known)), "{heading}");
            }
            NodeValue::Text(words) => {
                prop_assert!(!words.contains(['@', '#', '<', '&', '$', '~', '`']), "{words}");
                prop_assert!(!words.contains("www.") && !words.contains("://"), "{words}");
            }
            NodeValue::Document
            | NodeValue::Paragraph
            | NodeValue::List(_)
            | NodeValue::Item(_)
            | NodeValue::Table(_)
            | NodeValue::TableRow(_)
            | NodeValue::TableCell
            | NodeValue::Code(_)
            | NodeValue::Strong
            | NodeValue::SoftBreak => {}
            other => prop_assert!(false, "{other:?} got in"),
        }
    }
    // A parser gives every row as many cells as the head; so the bars are counted.
    let bars = |line: &str| {
        let letters: Vec<char> = line.chars().collect();
        (0..letters.len()).filter(|at| letters[*at] == '|' && (*at == 0 || letters[*at - 1] != '\\')).count()
    };
    let mut columns = None;
    for line in text.lines() {
        match line.starts_with('|') {
            true => prop_assert_eq!(*columns.get_or_insert(bars(line)), bars(line), "{}", line),
            false => columns = None,
        }
    }
    Ok(())
}

fn text_of<'a>(node: &'a comrak::nodes::AstNode<'a>) -> String {
    let texts = node.descendants().filter_map(|node| match &node.data.borrow().value {
        NodeValue::Text(words) => Some(words.to_string()),
        NodeValue::Code(code) => Some(code.literal.clone()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn markdown_stays_within_its_bound() {
    let mut runner = TestRunner::deterministic();
    let mut draw = || random_report::report().new_tree(&mut runner).unwrap().current();
    let mut report = draw();
    for _ in 0..30 {
        let more = draw();
        report.findings.extend(more.findings);
        report.thresholds.extend(more.thresholds);
        report.endpoints.extend(more.endpoints);
        report.verdict.reasons.extend(more.verdict.reasons);
        report.run.sources.extend(more.run.sources);
        report.skipped.extend(more.skipped);
        report.baseline.differences.extend(more.baseline.differences);
    }
    // Marks that take no column are the longest that a name can become.
    let mut longest = report.clone();
    let marks = "\u{e0100}".repeat(10_000);
    for finding in &mut longest.findings {
        finding.title = marks.clone();
        finding.series.metric = marks.clone();
        finding.also.iter_mut().for_each(|series| series.metric = marks.clone());
    }
    longest.verdict.reasons.iter_mut().for_each(|reason| *reason = marks.clone());
    longest.skipped.iter_mut().for_each(|skipped| skipped.reason = marks.clone());
    for report in [report, longest] {
        assert!(report.findings.len() > 100);
        let page = markdown::render(&report);
        assert!(page.len() <= 65_536, "{}", page.len());
        assert!(page.contains("more: `report.json` has all"));
    }
}

fn layout_1_summary() -> impl Strategy<Value = Layout1Summary> {
    let figure = || prop::option::of(prop_oneof![0.0..1_000.0, Just(0.0), any::<f64>()]);
    let figures = (figure(), figure(), figure(), figure(), figure(), figure(), figure(), figure());
    (random_report::text(), figures).prop_map(|(file_name, figures)| Layout1Summary {
        file_name,
        response_avg_ms: figures.0,
        response_p95_ms: figures.1,
        response_p99_ms: figures.2,
        requests_per_second: figures.3,
        error_rate: figures.4,
        check_pass_rate: figures.5,
        iterations_count: figures.6,
        vus_max: figures.7,
    })
}

#[test]
fn layout_1_keeps_its_lines_whatever_the_names() {
    let names = (random_report::text(), random_report::text(), random_report::text());
    let files = (layout_1_summary(), prop::collection::vec(layout_1_summary(), 0..4));
    proptest!(|((client, test, date) in names, (current, baselines) in files)| {
        let expected = 4 + baselines.len();
        let text = comparison_md::render(&Layout1Comparison { client, test, date, current, baselines });
        let (head, rest) = text.split_once("\n## Top 3 Improvements\n\n").unwrap();
        prop_assert_eq!(head.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count(), expected);
        let headings = rest.lines().filter(|line| line.starts_with("## "));
        prop_assert!(headings.eq(["## Top 3 Degradations", "## Detailed Comparison"]));
        check_markdown(rest, None)?;
    });
}
