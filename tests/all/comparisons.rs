//! Two runs compared through the front door, and the forms that tell of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json as value};

use crate::forms::sarif_validator;
use crate::front_door::{data, json, tidemark};

/// Writes a copy of a true export whose latencies are `factor` times as long, and of whose requests `failed` failed.
fn summary(folder: &Path, name: &str, factor: f64, failed: f64) -> PathBuf {
    let text = fs::read(data("clean").join("summary-export.json")).unwrap();
    let mut summary: Value = serde_json::from_slice(&text).unwrap();
    let metrics = summary["metrics"].as_object_mut().unwrap();
    for (_, values) in metrics.iter_mut().filter(|(metric, _)| metric.starts_with("http_req_duration")) {
        for (_, figure) in values.as_object_mut().unwrap().iter_mut().filter(|(statistic, _)| *statistic != "count") {
            if let Some(milliseconds) = figure.as_f64() {
                *figure = value!(milliseconds * factor);
            }
        }
    }
    let requests = 1_000.0;
    metrics["http_reqs"] = value!({ "count": requests, "rate": 50.0 });
    // k6 counts the failed ones as passes: they pass the question whether they failed.
    let failed_count = requests * failed;
    metrics["http_req_failed"] = value!({ "value": failed, "passes": failed_count, "fails": requests - failed_count });
    let path = folder.join(name);
    fs::write(&path, summary.to_string()).unwrap();
    path
}

fn compare(folder: &Path, base: &Path, current: &Path, more: &[&str]) -> (String, Option<i32>) {
    let output = tidemark(folder).arg("compare").args([base, current]).args(more).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn errors_from_zero_come_first_and_one_shift_is_one_finding() {
    let folder = tempfile::tempdir().unwrap();
    let (base, current) = (summary(folder.path(), "1.json", 1.0, 0.0), summary(folder.path(), "2.json", 1.3, 0.099));
    let (text, code) = compare(folder.path(), &base, &current, &["--format", "json"]);
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"]["kind"], "regressed");
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let (errors, latency) = (&findings[0], &findings[1]);
    assert_eq!((errors["kind"].as_str(), errors["severity"].as_str()), (Some("error_rate"), Some("critical")));
    assert_eq!(errors["change"]["scale"], "difference");
    assert!((errors["change"]["point"].as_f64().unwrap() - 0.099).abs() < 1e-12);
    assert_eq!((latency["kind"].as_str(), latency["direction"].as_str()), (Some("latency"), Some("worse")));
    assert!((latency["change"]["point"].as_f64().unwrap() - 0.3).abs() < 1e-9);
    let statistics: Vec<&str> = latency["also"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&latency["series"]])
        .map(|series| series["statistic"].as_str().unwrap())
        .collect();
    for statistic in ["avg", "med", "p90", "p95", "max"] {
        assert!(statistics.contains(&statistic), "{statistics:?}");
    }
    let said = report["skipped"].to_string();
    assert!(said.contains("intervals"), "that there is no interval is said: {said}");
    let expected = ["9.90", "+30"];
    for form in ["text", "markdown", "html", "junit", "sarif"] {
        let (text, code) = compare(folder.path(), &base, &current, &["--format", form]);
        assert_eq!(code, Some(1), "{form}");
        for expected in expected {
            assert!(text.contains(expected), "{form} lacks {expected}:\n{text}");
        }
        let (errors, latency) = (text.find(expected[0]), text.find(expected[1]));
        assert!(errors < latency, "{form} begins with the errors");
    }
    // The other way round all is better, and nothing fails.
    let (text, code) = compare(folder.path(), &current, &base, &["--format", "json"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn the_same_summary_twice_is_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let (base, current) = (summary(folder.path(), "1.json", 1.0, 0.01), summary(folder.path(), "2.json", 1.02, 0.011));
    let (text, code) = compare(folder.path(), &base, &current, &["--format", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((report["findings"].as_array().map(Vec::len), code), (Some(0), Some(0)), "{text}");
}

#[test]
fn layout_1_is_written_with_its_lost_rows() {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports/demo/smoke");
    fs::create_dir_all(&reports).unwrap();
    let base = summary(&reports, "k6-summary-2026-11-22_21-09-13-576Z.json", 1.0, 0.0);
    let current = summary(&reports, "k6-summary-2026-11-22_21-09-59-252Z.json", 1.3, 0.099);
    let (text, code) = compare(folder.path(), &base, &current, &["--format", "comparison-md"]);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["# Performance Comparison Report", "", "**Client**: demo", "**Test**: smoke"]);
    assert!(lines[4].starts_with("**Date**: ") && lines[4].ends_with('Z'), "{}", lines[4]);
    assert!(lines.contains(&"1. k6-summary-2026-11-22_21-09-13-576Z.json"), "{text}");
    assert!(lines.contains(&"| Error Rate | 9.90 % | 0.00 % | 0.00% | ➡️ |"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("| Check Pass Rate | ")), "{text}");
}

#[test]
fn a_kept_run_is_compared_reported_and_carried() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let files = ["1", "2"].map(|number| data("history").join(number).join("k6.json.gz").display().to_string());
    let first = json(&run(&["analyze", &files[0], "--format", "json"]));
    assert_eq!(first["baseline"]["kind"], "none");
    assert!(first["skipped"].to_string().contains("no earlier run"), "{}", first["skipped"]);
    let second = json(&run(&["analyze", &files[1], "--format", "json"]));
    assert_eq!(
        (&second["baseline"]["kind"], &second["baseline"]["runs"][0]),
        (&value!("history"), &first["run"]["id"])
    );
    // The same comparison by name, by file, and from the store again.
    let (ids, by_file) = ([&first, &second].map(|report| report["run"]["id"].as_str().unwrap()), |report: Value| {
        (report["findings"].clone(), report["comparison"]["rows"].clone())
    });
    let by_id = json(&run(&["compare", ids[0], ids[1], "--format", "json"]));
    let of_files = json(&run(&["compare", &files[0], &files[1], "--format", "json"]));
    assert_eq!(by_file(by_id.clone()), by_file(second.clone()));
    let without_ids = |report: Value| report.to_string().replace(&files[0], "").replace(ids[0], "");
    assert_eq!(without_ids(of_files["comparison"]["rows"].clone()), without_ids(by_id["comparison"]["rows"].clone()));
    assert_eq!(json(&run(&["report", "last", "--format", "json"])), second);
    let bundle = run(&["export", "last"]);
    fs::write(folder.path().join("run.tmk"), &bundle.stdout).unwrap();
    let imported = run(&["import", "run.tmk", "--store", "elsewhere"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert_eq!(json(&run(&["report", "last", "--store", "elsewhere", "--format", "json"])), second);
    let rows = |store: &str| {
        let output = run(&[
            "query",
            "SELECT count(*) AS n, sum(value) AS s FROM samples",
            "--run",
            ids[1],
            "--store",
            store,
            "--format",
            "json",
        ]);
        json(&output)
    };
    assert_eq!(rows("elsewhere"), rows(".tidemark"));
}

#[test]
fn what_is_no_bundle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let file = data("clean").join("k6.json").display().to_string();
    assert!(!run(&["analyze", &file]).stdout.is_empty());
    let whole = run(&["export"]).stdout;
    let mut renamed = whole.clone();
    // The first table's name in its header, and in the manifest.
    let text = String::from_utf8_lossy(&whole).into_owned();
    let at = text.find("samples.parquet").unwrap();
    renamed[at..at + 15].copy_from_slice(b"../../x.parquet");
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (b"{}", "failed to read the bundle"),
        (&whole[..whole.len() / 2], "bundle"),
        (&renamed, "not a bundle of a run"),
    ] {
        fs::write(folder.path().join("run.tmk"), bytes).unwrap();
        let output = run(&["import", "run.tmk", "--store", "elsewhere"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(expected), "{said}");
        let left = fs::read_dir(folder.path().join("elsewhere/data")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{expected}");
    }
    assert!(!folder.path().join("x.parquet").exists());
}

#[test]
fn every_form_is_written_and_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let file = data("checkout").join("k6.json.gz");
    let output =
        tidemark(folder.path()).arg("analyze").arg(&file).args(["--output", "out", "--no-store"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().last(), Some("out/report.html"));
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    let schema = json(&tidemark(folder.path()).args(["schema", "report"]).output().unwrap());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let sarif: Value = serde_json::from_str(&read("report.sarif")).unwrap();
    let errors: Vec<String> = sarif_validator().iter_errors(&sarif).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let failed =
        report["thresholds"].as_array().unwrap().iter().filter(|threshold| threshold["passed"] == false).count();
    assert!(failed > 0, "the run was chosen for its failed thresholds");
    let junit = read("junit.xml");
    assert!(junit.matches("<failure").count() >= failed, "{junit}");
    assert!(read("report.md").contains("THRESHOLDS FAILED"));
    let charts: Vec<PathBuf> =
        fs::read_dir(folder.path().join("out/charts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for (ending, magic) in [("svg", &b"<svg"[..]), ("png", b"\x89PNG")] {
        let of_kind: Vec<&PathBuf> = charts.iter().filter(|path| path.extension().unwrap() == ending).collect();
        assert!(
            of_kind.len() >= 5 && of_kind.iter().all(|path| fs::read(path).unwrap().starts_with(magic)),
            "{charts:?}"
        );
    }
}

#[test]
fn github_gets_its_summary_and_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");
    let output = tidemark(folder.path())
        .arg("analyze")
        .arg(data("checkout").join("k6.json.gz"))
        .args(["--format", "json"])
        .envs([
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SHA", "0123abc"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_RUN_ID", "7"),
        ])
        .envs([("GITHUB_SERVER_URL", "https://github.example"), ("GITHUB_REPOSITORY", "shop/load")])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();
    let report = json(&output);
    assert_eq!((&report["run"]["commit"], &report["run"]["branch"]), (&value!("0123abc"), &value!("main")));
    assert!(report["run"]["ci_url"].as_str().unwrap().starts_with("https://github.example/shop/load/actions/runs/7"));
    assert!(fs::read_to_string(summary).unwrap().contains("THRESHOLDS FAILED"));
    assert!(String::from_utf8(output.stderr).unwrap().lines().any(|line| line.starts_with("::error ")));
}

#[test]
fn reports_that_older_programs_wrote_stay_readable() {
    let mut report = crate::front_door::analyze(&data("checkout").join("k6.json.gz"));
    let all: tidemark::model::report::AnalysisReport = serde_json::from_value(report.clone()).unwrap();
    assert!(all.timeline.is_some() && all.generator.is_some() && !all.checks.is_empty());
    // What the first version of schema 1 did not have yet.
    for later in ["findings", "comparison", "generator", "timeline", "checks"] {
        report.as_object_mut().unwrap().remove(later);
    }
    report["baseline"].as_object_mut().unwrap().remove("detectable");
    let old: tidemark::model::report::AnalysisReport = serde_json::from_value(report).unwrap();
    assert_eq!((old.run, old.thresholds), (all.run, all.thresholds));
}

#[test]
fn the_evidence_of_a_finding_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let analyze = |number: &str| {
        let file = data("history").join(number).join("k6.json.gz").display().to_string();
        json(&run(&["analyze", &file, "--format", "json"]))
    };
    analyze("3");
    // In release 44 one endpoint takes 1.5 times as long.
    let report = analyze("4");
    assert_eq!(report["verdict"]["kind"], "regressed");
    let finding = &report["findings"][0];
    assert_eq!(finding["series"]["tags"]["name"], "GET /report");
    let change = &finding["change"];
    assert!(change["low"].as_f64() < Some(0.5) && change["high"].as_f64() > Some(0.5), "{change}");
    let sql = finding["evidence"].as_array().unwrap().iter().find_map(|evidence| evidence["sql"].as_str()).unwrap();
    let rows = json(&run(&["query", sql, "--format", "json"]));
    let p95: Vec<f64> = rows.as_array().unwrap().iter().map(|row| row["p95"].as_f64().unwrap()).collect();
    assert_eq!(p95.len(), 2, "{rows}");
    assert!((p95[1] / p95[0] - 1.0 - change["point"].as_f64().unwrap()).abs() < 0.02, "{rows} {change}");
    // Release 45 is as slow: what regressed is no measure, so it is found again.
    assert_eq!(analyze("5")["baseline"]["runs"], report["baseline"]["runs"]);
}

#[test]
fn an_unfair_comparison_says_so_first_and_does_not_fail_for_latency() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let keep = |number: &str, environment: &str| {
        let file = data("history").join(number).join("k6.json.gz").display().to_string();
        json(&run(&["analyze", &file, "--environment", environment, "--format", "json"]))
    };
    keep("3", "small");
    let other = keep("4", "large");
    assert!(other["skipped"].to_string().contains("no earlier run of test default in environment large"));
    let output = run(&["compare", "last~1", "last"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("INCONCLUSIVE\n"), "{text}");
    let (unfair, findings) = (text.find("Not a fair comparison").unwrap(), text.find("\nFindings\n").unwrap());
    assert!(unfair < findings && text.contains("another environment: small, not large"), "{text}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(run(&["compare", "last~1", "last", "--fail-on", "inconclusive"]).status.code(), Some(4));
    // Another script altogether: each difference by its name.
    let (base, current) = (data("history/1/k6.json.gz"), data("checkout/k6.json.gz"));
    let (text, _) = compare(folder.path(), &base, &current, &["--format", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["baseline"]["comparable"], false);
    for words in ["another duration: 6 s, not 29 s", "another load: 13.6 iterations/s, not 8.2", "other endpoints: "] {
        assert!(report["baseline"]["differences"].to_string().contains(words), "{}", report["baseline"]);
    }
}
