//! Asking servers about a run: stand-ins that answer from a recording or that fail, and the true ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::front_door::{data, json, tidemark};
use crate::stand_in::{Asked, Recorded, Reply, StandIn};

const SERVERS: [&str; 4] = ["prometheus", "tempo", "pyroscope", "loki"];
const TOKEN: &str = "s3cret-token";

fn recording() -> PathBuf {
    data("recordings/gc-catalog")
}

/// Answers for all four, each below a path of its own, as behind a gateway.
fn recorded_servers() -> StandIn {
    let recorded = Recorded::of(&recording());
    StandIn::start(move |asked| {
        let below = asked.path_asked().trim_start_matches('/').split_once('/').map(|(_, below)| format!("/{below}"));
        recorded.answer(&below.unwrap_or_default(), asked)
    })
}

fn with_servers(command: &mut Command, address: &str) {
    for server in SERVERS {
        command.arg(format!("--{server}")).arg(format!("{address}/{server}"));
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn first_cause(report: &Value) -> (String, String) {
    let first = &report["diagnoses"][0];
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    (text("service"), text("kind"))
}

fn truth() -> (String, String) {
    let truth: Value = serde_json::from_slice(&fs::read(recording().join("truth.json")).unwrap()).unwrap();
    (truth["service"].as_str().unwrap().to_owned(), truth["kind"].as_str().unwrap().to_owned())
}

#[test]
fn what_servers_answer_is_explained_kept_and_looked_at_again_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let servers = recorded_servers();
    let mut command = tidemark(folder.path());
    with_servers(command.arg("analyze").arg(recording().join("k6.json.gz")), &servers.address);
    let report = json(&command.args(["--format", "json"]).output().unwrap());
    assert_eq!(first_cause(&report), truth(), "{:#}", report["unavailable"]);
    let evidence: Vec<&str> = report["diagnoses"][0]["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|clue| clue["kind"].as_str().unwrap())
        .collect();
    assert!(evidence.contains(&"metric") && evidence.contains(&"profile"), "{evidence:?}");
    let asked = servers.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|asked| asked.path.contains("/tempo/api/v2/traces/")));
    assert!(asked.iter().any(|asked| asked.path.starts_with("/prometheus/api/v1/query_range?")));
    drop(servers);

    // The servers are gone: what they said is kept beside the run.
    let mut command = tidemark(folder.path());
    let again = command.arg("analyze").arg(recording().join("k6.json.gz")).args(["--format", "json"]).output().unwrap();
    assert_eq!(json(&again)["diagnoses"], report["diagnoses"]);
    let mut command = tidemark(folder.path());
    let function = report["diagnoses"][0]["function"].as_str().unwrap();
    let asked =
        ["observe", "profile", "--service", "catalog", "--kind", "alloc_space", "--run", "last", "--finding", "1"];
    let told = said(&command.args(asked).output().unwrap());
    let first = told.lines().skip_while(|line| !line.starts_with("function")).nth(1).unwrap_or_default();
    assert!(first.starts_with(function), "{told}");
    // It can be carried to another store, with its answers.
    let bundle = tidemark(folder.path()).args(["export", "last"]).output().unwrap().stdout;
    let other = tempfile::tempdir().unwrap();
    crate::front_door::with_stdin(tidemark(other.path()).args(["import", "-"]), &bundle);
    assert_eq!(said(&tidemark(other.path()).args(asked).output().unwrap()), told);
}

#[test]
fn a_kept_run_is_asked_about_later() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let report = json(&run(&["analyze", recording().join("k6.json.gz").to_str().unwrap(), "--format", "json"]));
    assert!(report.get("diagnoses").is_none_or(|all| all.as_array().unwrap().is_empty()));
    let told = run(&["capture", "last"]);
    assert!(told.status.code() == Some(2) && said(&told).contains("--prometheus"), "{}", said(&told));

    let servers = recorded_servers();
    let mut command = tidemark(folder.path());
    with_servers(command.args(["capture", "last", "--folder", "answers"]), &servers.address);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    drop(servers);
    let kept = json(&run(&["report", "last", "--format", "json"]));
    assert_eq!(first_cause(&kept), truth());
    let again = run(&["capture", "last", "--folder", "answers", "--tempo", "http://127.0.0.1:1"]);
    assert!(again.status.code() == Some(2) && said(&again).contains("not empty"), "{}", said(&again));
    // The folder that was left has the form of a recording.
    let arguments = ["--capture", "answers", "--no-store", "--format", "json"];
    let mut command = tidemark(folder.path());
    let by_folder = json(&command.arg("analyze").arg(recording().join("k6.json.gz")).args(arguments).output().unwrap());
    assert_eq!(by_folder["diagnoses"], kept["diagnoses"]);
    let nowhere = run(&["capture", "last", "--prometheus", "http://127.0.0.1:1"]);
    assert_eq!(nowhere.status.code(), Some(5), "{}", said(&nowhere));
}

#[test]
fn addresses_stand_in_the_configuration_and_secrets_stay_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let servers = recorded_servers();
    let at = |server: &str| format!("{}/{server}/", servers.address);
    let with_user = at("loki").replace("http://", "http://reader:p%40ss@");
    let text = format!(
        "[telemetry]\ntempo = {:?}\nloki = {with_user:?}\nservices = [\"catalog\", \"gateway\"]\n\
         [telemetry.prometheus]\nurl = {:?}\ntenant = \"shop\"\ntoken_env = \"A_TOKEN\"\n",
        at("tempo"),
        at("prometheus")
    );
    fs::write(folder.path().join("tidemark.toml"), text).unwrap();
    let analyze = |token: Option<&str>| {
        let mut command = tidemark(folder.path());
        command.arg("analyze").arg(recording().join("k6.json.gz")).args(["--format", "json", "--output", "report"]);
        if let Some(token) = token {
            command.env("A_TOKEN", token);
        }
        command.output().unwrap()
    };
    let refused = analyze(None);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("A_TOKEN"), "{}", said(&refused));
    let output = analyze(Some(TOKEN));
    assert_eq!(first_cause(&json(&output)), truth());
    let asked = servers.asked.lock().unwrap().clone();
    let of =
        |server: &str| asked.iter().filter(|asked| asked.path.starts_with(&format!("/{server}/"))).collect::<Vec<_>>();
    let has = |asked: &Asked, header: &str| asked.headers.iter().any(|one| one == header);
    assert!(of("prometheus").iter().all(|asked| has(asked, &format!("authorization: bearer {TOKEN}"))));
    assert!(of("prometheus").iter().all(|asked| has(asked, "x-scope-orgid: shop")));
    // reader:p@ss
    assert!(of("loki").iter().all(|asked| has(asked, "authorization: basic cmvhzgvyonbac3m=")));
    assert!(of("tempo").iter().all(|asked| !asked.headers.iter().any(|header| header.starts_with("authorization"))));
    assert!(of("pyroscope").is_empty() && !of("loki").is_empty());
    let queries: Vec<String> = of("prometheus").iter().filter_map(|asked| asked.parameter("query")).collect();
    assert!(queries.iter().all(|query| query.contains("catalog|gateway")), "{queries:?}");
    let mut seen = 0;
    for_each_file(folder.path(), &mut |path, bytes| {
        seen += 1;
        let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        let is_config = path.ends_with("tidemark.toml");
        assert!(is_config || (!holds(TOKEN) && !holds("p@ss") && !holds("p%40ss")), "{}", path.display());
    });
    assert!(seen > 10 && !said(&output).contains(TOKEN));
}

fn for_each_file(folder: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { for_each_file(&path, look) } else { look(&path, &fs::read(&path).unwrap()) }
    }
}

/// Analyses beside servers of which one fails; returns the report and how long it took.
fn with_a_failing_one(failing: &str, address: &str, servers: &StandIn) -> (Value, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidemark(folder.path());
    command.arg("analyze").arg(recording().join("k6.json.gz"));
    for server in SERVERS {
        let is_failing = server == failing;
        let at = if is_failing { address.to_owned() } else { format!("{}/{server}", servers.address) };
        command.arg(format!("--{server}")).arg(at);
    }
    let started = Instant::now();
    let output = command.args(["--no-store", "--format", "json", "--telemetry-seconds", "4"]).output().unwrap();
    (json(&output), started.elapsed())
}

/// Each server fails in turn; the report is whole, says why in the words of `expected`, and the other servers still tell the cause.
fn check_failure(address: &str, expected: &str) {
    let servers = recorded_servers();
    for failing in SERVERS {
        let (report, took) = with_a_failing_one(failing, address, &servers);
        let reasons: Vec<(&str, &str)> = report["unavailable"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["backend"].as_str().unwrap(), one["reason"].as_str().unwrap()))
            .collect();
        assert!(reasons.iter().any(|(server, reason)| *server == failing && reason.contains(expected)), "{reasons:?}");
        assert!(reasons.iter().all(|(server, _)| *server == failing), "{reasons:?}");
        assert!(report["verdict"]["kind"].is_string() && !report["findings"].as_array().unwrap().is_empty());
        assert!(took < Duration::from_secs(20), "{failing}: {took:?}");
        // What is left is enough here, but for metrics and traces, which say whose time it was.
        if !matches!(failing, "prometheus" | "tempo") {
            assert_eq!(first_cause(&report), truth(), "without {failing}");
        }
    }
}

fn failing(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> StandIn {
    StandIn::start(answer)
}

fn refusal(status: u16, text: &str) -> Reply {
    Reply::Json(status, text.as_bytes().to_vec())
}

#[test]
fn a_server_that_is_down() {
    check_failure("http://127.0.0.1:1", "no connection to it");
}

#[test]
fn a_server_that_never_answers() {
    let silent = failing(|_| Reply::Silence(Duration::from_secs(30)));
    check_failure(&silent.address, "did not answer the first questions within 1.0 s");
}

#[test]
fn a_server_that_lets_nobody_in_is_asked_no_further() {
    let closed = failing(|_| refusal(401, r#"{"message":"no token"}"#));
    check_failure(&closed.address, "status 401: no token");
    // All four in turn, the questions that were under way when the first was refused included.
    assert!(closed.asked_count() < 40, "{}", closed.asked_count());
}

#[test]
fn a_busy_server_is_asked_again_and_then_left_alone() {
    let busy = failing(|_| refusal(429, "too many requests"));
    check_failure(&busy.address, "status 429: too many requests");
    let broken = failing(|_| refusal(500, "internal"));
    check_failure(&broken.address, "status 500: internal");
    let counts = [busy.asked_count(), broken.asked_count()];
    assert!(counts.iter().all(|count| (12..80).contains(count)), "{counts:?}");

    // Busy once, then as usual: nobody notices.
    let recorded = Arc::new(Recorded::of(&recording()));
    let count = std::sync::atomic::AtomicUsize::new(0);
    let once = failing(move |asked| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            return Reply::Raw(b"HTTP/1.1 503 X\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_vec());
        }
        recorded.answer(asked.path_asked(), asked)
    });
    let (report, _) = with_a_failing_one("tempo", &once.address, &recorded_servers());
    assert_eq!((first_cause(&report), report["unavailable"].as_array().unwrap().len()), (truth(), 0));
}

#[test]
fn answers_that_are_none() {
    let page = failing(|_| refusal(200, "<!doctype html><title>Sign in</title>"));
    check_failure(&page.address, "a page and not with JSON");
    let half = failing(|_| Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n{\"status\":\"succ".to_vec()));
    check_failure(&half.address, "broke off");
    let noise = failing(|_| Reply::Raw(vec![0; 10_000]));
    check_failure(&noise.address, "broke off");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let endless = failing(|_| {
        let mut start = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        start.clear();
        start.extend_from_slice(b"HTTP/1.1 200 X\r\n\r\n");
        start.resize(1 << 20, b' ');
        Reply::Endless(start)
    });
    let servers = recorded_servers();
    let (report, _) = with_a_failing_one("loki", &endless.address, &servers);
    let reasons = report["unavailable"].to_string();
    assert!(reasons.contains("more than 32 MiB"), "{reasons}");
    assert_eq!(first_cause(&report), truth());
}

#[test]
fn no_server_leads_to_another_one() {
    let other = failing(|_| refusal(200, "{}"));
    let to = other.address.clone();
    let leading = failing(move |asked| {
        let there = format!("HTTP/1.1 302 X\r\nlocation: {to}{}\r\ncontent-length: 0\r\n\r\n", asked.path);
        Reply::Raw(there.into_bytes())
    });
    check_failure(&leading.address, "leads to another address");
    assert_eq!(other.asked_count(), 0);
}

#[test]
fn what_is_said_wrongly_is_told_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    for (arguments, expected) in [
        (&["analyze", "x.json", "--tempo", "localhost:3200"][..], "--tempo: its scheme is localhost"),
        (&["analyze", "x.json", "--loki", "http://me:secret@"], "--loki: it is no address"),
        (&["analyze", "x.json", "--telemetry-seconds", "0"], "expected 0 to 3600 seconds"),
        (&["observe", "check"], "no server is known"),
        (&["observe", "traces"], "say when: --from 10:05"),
        (&["observe", "traces", "--finding", "1"], "no run \"last\""),
    ] {
        let output = run(arguments);
        let told = said(&output);
        let is_told = told.contains(expected) && !told.contains("secret");
        assert!(output.status.code() == Some(2) && is_told, "{arguments:?}: {told}");
    }
    fs::write(folder.path().join("tidemark.toml"), "[telemetry.tempo]\nurl = \"http://t\"\ntenent = \"a\"\n").unwrap();
    let told = said(&run(&["analyze", "x.json"]));
    assert!(told.contains("line 3") && told.contains("tenant"), "{told}");
}
