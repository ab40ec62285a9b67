//! What the command line, its configuration file, its help, its manual and its schemas say.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::front_door::{self, data, tidemark};

/// Every input below `data/` that `analyze` takes alone.
pub fn inputs() -> Vec<PathBuf> {
    // Cases for `accuracy`, runs so much alike that `nights` reads them all, and what servers said, which `why` reads.
    const OTHERS: [&str; 5] = ["accuracy", "deploy", "nightly", "recordings", "schemas"];
    let mut found = Vec::new();
    let mut folders = vec![data("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !OTHERS.contains(&name.as_str()) {
                folders.push(path);
            } else if name.contains(".csv") || name.contains(".json") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 30, "{found:?}");
    found
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    tidemark(folder).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Columns as a terminal counts them. Of the letters in `data/` and below, these blocks alone are wide; nothing joins.
fn columns(line: &str) -> usize {
    let width = |letter| if matches!(letter, '\u{3000}'..='\u{9fff}' | '\u{1f300}'..='\u{1faff}') { 2 } else { 1 };
    line.chars().map(width).sum()
}

#[test]
fn no_report_is_wider_than_100_columns_and_all_fit_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_slice(&run(folder.path(), &["schema", "report"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(!schema.is_valid(&json!({})), "it asks for something");
    for input in inputs() {
        let input = input.to_str().unwrap();
        let output = run(
            folder.path(),
            &["analyze", input, "--test", "a long name of a test for checkout/日本語", "--format", "json"],
        );
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{input}: {}", stderr(&output)));
        let errors: Vec<String> = schema.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{input}: {errors:?}");
        // k6's own verdict makes the reasons longer.
        for exit_code in ["0", "99"] {
            let text = stdout(&run(folder.path(), &["analyze", input, "--no-store", "--k6-exit-code", exit_code]));
            let wide: Vec<&str> = text.lines().filter(|line| columns(line) > 100).collect();
            assert!(text.contains("Run ") && wide.is_empty(), "{input}: {wide:?}");
            assert!(!text.contains('\u{1b}'), "colour is for terminals");
        }
    }
    let history = stdout(&run(folder.path(), &["history"]));
    let wide: Vec<&str> = history.lines().filter(|line| columns(line) > 100).collect();
    assert!(history.lines().count() > 15 && wide.is_empty(), "{history}");
    let widths: Vec<usize> = history.lines().map(columns).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "the columns stand below each other:\n{history}");
}

#[test]
fn the_readme_shows_what_its_commands_print() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(data(""), folder.path().join("data")).unwrap();
    let output = stdout(&run(folder.path(), &["analyze", "data/checkout/k6.json.gz"]));
    assert!(readme.contains("cargo run -- analyze data/checkout/k6.json.gz\n"));
    assert!(readme.contains(&format!("```\n{output}```\n")), "the README does not show this:\n{output}");
    let pair = ["data/history/3/k6.json.gz", "data/history/4/k6.json.gz"];
    assert!(readme.contains(&format!("tidemark compare {}\n", pair.join(" "))));
    let output = stdout(&run(folder.path(), &["compare", pair[0], pair[1]]));
    // The rest is as in the output above.
    let (shown, _) = output.split_once("\nThresholds").unwrap();
    assert!(readme.contains(&format!("```\n{shown}```\n")), "the README does not show this:\n{shown}");
    assert!(output.lines().all(|line| columns(line) <= 100), "{output}");
    let recording = "data/recordings/timeout-cart";
    let input = format!("{recording}/k6.json.gz");
    assert!(readme.contains(&format!("tidemark analyze {input} --capture {recording}\n")));
    let output = stdout(&run(folder.path(), &["analyze", &input, "--capture", recording]));
    let (_, why) = output.split_once("\nWhy").unwrap();
    let (why, _) = why.split_once("\nThresholds").unwrap();
    assert!(readme.contains(&format!("```\nWhy{why}```\n")), "the README does not show this:\nWhy{why}");
}

#[test]
fn every_verb_shows_examples_and_stands_in_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let manual = stdout(&run(folder.path(), &["man"]));
    let help = stdout(&run(folder.path(), &["--help"]));
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        verbs.map(|line| line.split_whitespace().next().unwrap()).filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 6, "{verbs:?}");
    for verb in verbs {
        let help = stdout(&run(folder.path(), &[verb, "--help"]));
        let (examples, usage) = (help.find("Examples:"), help.find("Usage:"));
        assert!(examples.is_some() && examples < usage, "{verb} shows no example first:\n{help}");
        assert!(manual.contains(&format!(".SH \"TIDEMARK {}\"", verb.to_uppercase())), "{verb} is not in the manual");
        let options = help.lines().filter_map(|line| line.trim().strip_prefix("--")?.split([' ', '=']).next());
        for option in options.filter(|option| *option != "config") {
            assert!(manual.contains(&option.replace('-', "\\-")), "--{option} of {verb} is not in the manual");
        }
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was opened or made");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&run(folder.path(), &["completions", shell]));
        assert!(script.contains("samples-days"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (vec!["analyse", "x"], "'analyze'"),
        (vec!["analyze", "x", "--tets", "a"], "'--test'"),
        (vec!["analyze", "x", "--format", "jsn"], "'json'"),
        (vec!["analyze", "x", "--follow", "--quiet-seconds", "-1"], "--quiet-seconds"),
        (vec!["analyze", "x", "--follow", "--quiet-seconds", "NaN"], "not a number of seconds"),
        (vec!["analyze", "x", "--quiet-seconds", "1"], "--follow"),
        (vec!["analyze", "x", "--tag", "a"], "K=V"),
        (vec!["prune"], "--keep N"),
        (vec!["prune", "--keep", "0"], "--keep"),
        (vec!["schema", "reports"], "'report'"),
    ] {
        let output = run(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was made");
}

fn report(output: &Output) -> Value {
    front_door::json(output)
}

#[test]
fn the_configuration_comes_after_the_command_line_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let config = "store = \"kept/here\"\ntest = \"shop\"\nenvironment = \"staging\"\nfail_on = [\"inconclusive\"]\n\
                  [tags]\nteam = \"payments\"\nregion = \"eu\"\n[thresholds]\nhttp_reqs = [\"count>1000000\"]\n";
    std::fs::write(folder.path().join("tidemark.toml"), config).unwrap();
    let input = data("clean/k6.json");
    let analyze = ["analyze", input.to_str().unwrap(), "--format", "json"];

    let output = run(&deep, &analyze);
    let by_file = report(&output);
    assert_eq!(output.status.code(), Some(0), "fail_on has no thresholds: {}", stderr(&output));
    assert_eq!(by_file["run"]["test"], "shop");
    assert_eq!(by_file["run"]["environment"], "staging");
    assert_eq!(by_file["run"]["tags"], json!({"team": "payments", "region": "eu"}));
    let judged = by_file["thresholds"].as_array().unwrap();
    let judged = judged.iter().find(|threshold| threshold["expression"] == "count>1000000").unwrap();
    assert_eq!(judged["passed"], false);
    assert!(folder.path().join("kept/here/runs").is_dir(), "the store is beside the file, not where the command ran");

    let output = tidemark(&deep)
        .args(analyze)
        .args(["--tag", "region=us", "--fail-on", "thresholds", "--environment", "prod"])
        .env("TIDEMARK_TEST", "by environment")
        .env("TIDEMARK_ENVIRONMENT", "lost")
        .env("TIDEMARK_STORE", folder.path().join("env"))
        .output()
        .unwrap();
    let over = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(over["run"]["test"], "by environment");
    assert_eq!(over["run"]["environment"], "prod");
    assert_eq!(over["run"]["tags"], json!({"team": "payments", "region": "us"}));
    assert!(folder.path().join("env/runs").is_dir());

    let output = tidemark(&deep)
        .args(analyze)
        .args(["--store", "by-option"])
        .env("TIDEMARK_STORE", folder.path().join("lost"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(deep.join("by-option/runs").is_dir() && !folder.path().join("lost").exists());
}

#[test]
fn a_named_configuration_comes_before_the_nearest_and_a_wrong_one_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("tidemark.toml", "tset = \"shop\"\n");
    write("other.toml", "store = \"elsewhere\"\n");
    let wrong = run(folder.path(), &["history"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = stderr(&wrong);
    assert!(said.contains("tidemark.toml, line 1: there is no key tset; did you mean test?"), "{said}");
    let input = data("clean/k6.json");
    let kept = run(folder.path(), &["analyze", input.to_str().unwrap(), "--config", "other.toml"]);
    assert_eq!(kept.status.code(), Some(0));
    assert!(folder.path().join("elsewhere").is_dir());
    let by_environment = tidemark(folder.path()).arg("history").env("TIDEMARK_CONFIG", "other.toml").output().unwrap();
    assert_eq!(stdout(&by_environment).lines().count(), 2);
    let missing = run(folder.path(), &["history", "--config", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("nowhere.toml"));
    assert_eq!(
        run(folder.path(), &["schema", "config"]).status.code(),
        Some(0),
        "it tells what is wrong with the file"
    );
    assert_eq!(run(folder.path(), &["--version"]).status.code(), Some(0));
}

#[test]
fn the_schema_of_the_configuration_takes_what_the_program_takes() {
    let folder = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_slice(&run(folder.path(), &["schema", "config"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (text, is_good) in [
        ("", true),
        ("store = \"s3://b/p\"\ntest = \"t\"\nenvironment = \"e\"\nfail_on = [\"suspect\"]\nquiet_seconds = 0.5", true),
        (
            "[tags]\na = \"b\"\n[thresholds]\n\"http_reqs{a:b}\" = [\"count>1\"]\n[retention]\nkeep = 3\nsamples_days = 1",
            true,
        ),
        ("tset = \"t\"", false),
        ("test = 3", false),
        ("fail_on = [\"slow\"]", false),
        ("quiet_seconds = -1", false),
        ("[retention]\nkeep = 0", false),
        ("[retention]\nkept = 1", false),
        ("[thresholds]\nhttp_reqs = \"count>1\"", false),
    ] {
        let value: Value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        assert_eq!(validator.is_valid(&value), is_good, "the schema on {text:?}");
        std::fs::write(folder.path().join("tidemark.toml"), text).unwrap();
        let output = run(folder.path(), &["history", "--store", "here"]);
        assert_eq!(
            output.status.code(),
            Some(if is_good { 0 } else { 2 }),
            "the program on {text:?}: {}",
            stderr(&output)
        );
    }
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let examples: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 1);
    for example in examples {
        let value = serde_json::to_value(toml::from_str::<toml::Table>(example).unwrap()).unwrap();
        assert!(validator.is_valid(&value), "the README's example: {example}");
        std::fs::write(folder.path().join("tidemark.toml"), example).unwrap();
        assert_eq!(run(folder.path(), &["history"]).status.code(), Some(0), "the README's example: {example}");
    }
    for (name, property) in schema["properties"].as_object().unwrap() {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.contains("Default: "), "{name} does not tell its default");
    }
}

#[test]
fn a_question_to_a_store_that_is_not_there_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |arguments: &[&str]| stdout(&run(folder.path(), arguments));
    assert_eq!(asked(&["query", "SELECT count(*) AS runs FROM runs", "--format", "csv"]), "runs\n0\n");
    asked(&["history"]);
    let output = run(folder.path(), &["report", "last"]);
    assert!(stderr(&output).contains("no run \"last\" in the store"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
