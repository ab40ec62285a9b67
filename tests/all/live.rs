//! Against true servers, k6 and a system in which a fault is planted: what takes minutes and a machine of its own.
//!
//! `eval "$(../shared/stack/up prometheus tempo pyroscope loki)"` starts the servers and says where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::front_door::{json, tidemark};

const SERVERS: [&str; 4] = ["prometheus", "tempo", "pyroscope", "loki"];

fn stack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/stack")
}

fn address(server: &str) -> String {
    let name = format!("TIDEMARK_TEST_{}", server.to_uppercase());
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: `eval \"$(../shared/stack/up)\"` sets it"))
}

/// Runs k6 against the shop while a fault is planted; returns k6's output.
fn recorded(scenario: &str, folder: &Path) -> PathBuf {
    let scenario = stack().join(format!("shop/scenarios/{scenario}.json"));
    let status = Command::new(stack().join("shop/record")).arg(scenario).arg(folder).status().unwrap();
    assert!(status.success(), "the shop could not be recorded");
    folder.join("k6.json.gz")
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_planted_lock_is_the_first_cause_that_true_servers_tell() {
    let folder = tempfile::tempdir().unwrap();
    let results = recorded("lock-cart", &folder.path().join("recorded"));
    let analyze = |absent: Option<&str>| -> (Value, f64) {
        let mut command = tidemark(folder.path());
        command.arg("analyze").arg(&results).args(["--format", "json"]);
        for server in SERVERS {
            // Nobody listens there: as when the server was stopped.
            let at = if absent == Some(server) { "http://127.0.0.1:1".to_owned() } else { address(server) };
            command.arg(format!("--{server}")).arg(at);
        }
        let started = Instant::now();
        let output = command.output().unwrap();
        (json(&output), started.elapsed().as_secs_f64())
    };
    let (report, seconds) = analyze(None);
    println!("all servers: {seconds:.1} s");
    let first = &report["diagnoses"][0];
    assert_eq!((first["service"].as_str(), first["kind"].as_str()), (Some("cart"), Some("lock")), "{report:#}");
    println!("not answered: {:#}", report["unavailable"]);
    let evidence = first["evidence"].as_array().unwrap();
    let has = |kind: &str| evidence.iter().any(|clue| clue["kind"] == kind);
    assert!(has("metric") && has("span") && has("trace") && has("profile"), "{first:#}");
    let mutex =
        evidence.iter().find(|clue| clue["profile_type"].as_str().is_some_and(|kind| kind.starts_with("mutex")));
    assert_eq!(mutex.unwrap()["function"], "main.updateCart");
    assert!(evidence.iter().any(|clue| clue["moved_at"].is_string()), "no onset: {first:#}");

    assert!(report["traced"].as_array().is_some_and(|traced| traced.len() > 10), "{:#}", report["traced"]);

    for absent in SERVERS {
        let (report, seconds) = analyze(Some(absent));
        println!("without {absent}: {seconds:.1} s");
        let named: Vec<&str> =
            report["unavailable"].as_array().unwrap().iter().map(|one| one["backend"].as_str().unwrap()).collect();
        // On a busy machine another one may not have answered everything in time.
        assert!(named.contains(&absent), "{absent}: {named:?}");
        assert_eq!(report["verdict"]["kind"], "suspect");
        // The 30 s for all questions, and what reading and judging take.
        assert!(seconds < 40.0, "without {absent}: {seconds}");
        let first = &report["diagnoses"][0];
        assert_eq!(first["service"], "cart", "without {absent}");
        if absent == "prometheus" {
            // Tempo and Pyroscope have counted what its metrics would tell.
            let metrics: Vec<&str> =
                first["evidence"].as_array().unwrap().iter().filter_map(|clue| clue["metric"].as_str()).collect();
            assert!(metrics.iter().any(|metric| metric.starts_with("tempo:")), "{first:#}");
            assert_eq!(first["kind"], "lock", "{first:#}");
        }
    }
    let mut command = tidemark(folder.path());
    command.args(["observe", "check"]);
    for server in SERVERS {
        command.arg(format!("--{server}")).arg(address(server));
    }
    let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let cart = told.lines().find(|line| line.starts_with("cart ")).unwrap_or_else(|| panic!("{told}"));
    let counts: Vec<u64> = cart.split_whitespace().skip(1).map(|count| count.parse().unwrap()).collect();
    assert!(counts.len() == 4 && counts.iter().all(|count| *count > 0), "{told}");
}
