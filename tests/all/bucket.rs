//! The store in a bucket: a real server of the S3 protocol, s3s-fs, which is no stand-in made for this.
//!
//! `TIDEMARK_S3_SERVER` names its program; `.ci/run` installs it.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::front_door::{data, tidemark};
use crate::store_faults::skipped;

pub struct Server {
    child: Child,
    port: u16,
    root: tempfile::TempDir,
}

impl Server {
    /// None where there is no such server.
    pub fn start() -> Option<Server> {
        let Some(program) = std::env::var_os("TIDEMARK_S3_SERVER") else {
            skipped("a store in a bucket: TIDEMARK_S3_SERVER names no s3s-fs");
            return None;
        };
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("results")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", "key", "--secret-key", "secret"])
            .arg(root.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, port, root };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Output {
        tidemark(folder).args(arguments).envs(self.environment()).output().unwrap()
    }

    /// Makes a folder in the bucket the store of a command.
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("TIDEMARK_STORE", "s3://results/perf/tidemark".to_owned()),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Names of the objects below `perf/tidemark/`.
    fn objects(&self) -> Vec<String> {
        let top = self.root.path().join("results/perf/tidemark");
        let (mut found, mut folders) = (Vec::new(), vec![top.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&top).unwrap().display().to_string());
                }
            }
        }
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_store_in_a_bucket_is_written_listed_and_pruned() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let analyze = |name: &str| {
        let input = data(&format!("history/{name}/k6.json.gz"));
        let output = server.run(folder.path(), &["analyze", input.to_str().unwrap(), "--test", "shop"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("kept in s3://results/perf/tidemark as "), "{}", said(&output));
    };
    ["1", "2", "3", "3"].into_iter().for_each(analyze);
    let history = server.run(folder.path(), &["history"]);
    assert_eq!(said(&history).lines().count(), 4, "a head and three runs: {}", said(&history));
    let named = |start: &str| server.objects().iter().filter(|name| name.starts_with(start)).count();
    assert_eq!(named("runs/"), 3, "{:?}", server.objects());

    let pruned = server.run(folder.path(), &["prune", "--keep", "2", "--samples-days", "0"]);
    assert_eq!(pruned.status.code(), Some(0), "{}", said(&pruned));
    assert_eq!(said(&server.run(folder.path(), &["history"])).lines().count(), 3);
    assert_eq!(named("runs/"), 2, "{:?}", server.objects());
    let samples = server.objects().into_iter().filter(|name| name.ends_with("samples.parquet")).count();
    assert_eq!(samples, 0);
    assert_eq!(server.objects().iter().filter(|name| name.ends_with("windows.parquet")).count(), 2);
    assert!(!folder.path().join(".tidemark").exists(), "nothing is kept here");
}

#[test]
fn a_bucket_that_does_not_answer_is_told_with_5() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let missing = server.run(folder.path(), &["history", "--store", "s3://nowhere/perf"]);
    assert_eq!(missing.status.code(), Some(5), "{}", said(&missing));
    assert!(said(&missing).contains("failed to read the list of runs"), "{}", said(&missing));
}
