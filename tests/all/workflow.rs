//! The workflow that users copy, played step by step as GitHub would: its own commands, in a clean folder, with a true k6.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::front_door::data;
use crate::store_faults::skipped;

const WORKFLOW: &str = include_str!("../../.github/workflows/load-test.yml");

/// Returns the commands of the step of that name.
fn commands(step: &str) -> String {
    let lines = WORKFLOW.lines().skip_while(|line| line.trim() != format!("- name: {step}"));
    let mut lines = lines.skip_while(|line| line.trim() != "run: |").skip(1).peekable();
    let indent = lines.peek().map_or(0, |line| line.len() - line.trim_start().len());
    let block = lines.take_while(|line| line.is_empty() || line.len() - line.trim_start().len() >= indent);
    let commands: String = block.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
    assert!(!commands.is_empty(), "no step {step}");
    commands
}

/// Kills what a step left running.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to wait for either.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

struct Job<'f> {
    folder: &'f Path,
    run_id: &'f str,
}

impl Job<'_> {
    fn command(&self, shell: &str) -> Command {
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-e", "-o", "pipefail", "-c", shell]).current_dir(self.folder.join("work")).env("PATH", path);
        command
            .envs([("GITHUB_ACTIONS", "true"), ("GITHUB_SERVER_URL", "https://github.example")])
            .envs([("GITHUB_REPOSITORY", "shop/load"), ("GITHUB_RUN_ID", self.run_id), ("GITHUB_SHA", "0123abc")])
            .envs([("GITHUB_REF", "refs/heads/main"), ("GITHUB_REF_NAME", "main"), ("TEST", "history")])
            .env("GITHUB_OUTPUT", self.folder.join("output"))
            .env("GITHUB_STEP_SUMMARY", self.folder.join(format!("summary-{}.md", self.run_id)))
            .env("K6_NO_USAGE_REPORT", "true");
        command
    }

    fn step(&self, name: &str) -> Output {
        let outputs = fs::read_to_string(self.folder.join("output")).unwrap_or_default();
        let exit_code = outputs.lines().rev().find_map(|line| line.strip_prefix("exit_code=")).unwrap_or_default();
        self.command(&commands(name).replace("${{ steps.k6.outputs.exit_code }}", exit_code)).output().unwrap()
    }
}

#[test]
fn the_workflow_that_users_copy_works_twice_in_a_row() {
    let Some(k6) = std::env::var_os("K6").filter(|k6| Path::new(k6).exists()) else {
        return skipped("the workflow as GitHub plays it: no K6 in the environment");
    };
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("the workflow as GitHub plays it: no python3 for the system under test");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["bin", "work/data/history"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_tidemark"), folder.path().join("bin/tidemark")).unwrap();
    symlink(k6, folder.path().join("bin/k6")).unwrap();
    for file in ["server.py", "history/script.ts"] {
        fs::copy(data(file), folder.path().join("work/data").join(file)).unwrap();
    }
    // The step starts the server in the background and ends; here it has to be ended, too.
    assert!(commands("Start the system under test").starts_with("python3 data/server.py 18480 &\n"));
    let job = Job { folder: folder.path(), run_id: "1" };
    let _server = Server(job.command("exec python3 data/server.py 18480").spawn().unwrap());
    let waited =
        job.command("timeout 30 bash -c 'until exec 3<>/dev/tcp/127.0.0.1/18480; do sleep 0.2; done' 2>&1").output();
    assert!(waited.unwrap().status.success());
    let mut reports = Vec::new();
    for run_id in ["1", "2"] {
        let job = Job { folder: folder.path(), run_id };
        let k6 = job.step("Run k6");
        assert!(k6.status.success(), "{}", String::from_utf8_lossy(&k6.stderr));
        let judged = job.step("Judge");
        let said = String::from_utf8_lossy(&judged.stdout).into_owned();
        assert!(said.lines().last().is_some_and(|line| line == "report/report.html"), "{said}");
        let read = |name: &str| fs::read_to_string(folder.path().join("work/report").join(name)).unwrap();
        let report: Value = serde_json::from_str(&read("report.json")).unwrap();
        let summary = fs::read_to_string(folder.path().join(format!("summary-{run_id}.md"))).unwrap();
        println!("run {run_id}:\n{summary}");
        let verdict = report["verdict"]["kind"].as_str().unwrap().replace('_', " ").to_uppercase();
        assert!(summary.contains(&verdict), "{summary}");
        assert_eq!(report["run"]["ci_url"].as_str().unwrap().matches(&format!("/runs/{run_id}")).count(), 1);
        for file in ["report.md", "report.html", "junit.xml", "report.sarif"] {
            assert!(!read(file).is_empty());
        }
        // Two short runs on a busy machine may differ: then the job fails, as it should, and says why.
        let fell_short = ["regressed", "thresholds_failed"].contains(&report["verdict"]["kind"].as_str().unwrap());
        assert_eq!(judged.status.code(), Some(i32::from(fell_short)), "{said}");
        reports.push(report);
    }
    assert_eq!(reports[1]["baseline"]["runs"][0], reports[0]["run"]["id"]);
}
