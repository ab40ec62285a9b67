//! The store after kill -9 at any moment, and on a disk that fills up: no half run, and the next analysis succeeds.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::front_door::{data, tidemark};

/// Moments at which an analysis is killed.
const KILLS_COUNT: u64 = 50;

fn listed_runs(folder: &Path) -> usize {
    let history = tidemark(folder).arg("history").output().unwrap();
    assert_eq!(history.status.code(), Some(0), "{}", String::from_utf8_lossy(&history.stderr));
    assert!(history.stderr.is_empty(), "{}", String::from_utf8_lossy(&history.stderr));
    String::from_utf8_lossy(&history.stdout).lines().count() - 1
}

/// Every file that a manifest names is there, whole.
pub fn assert_runs_are_whole(folder: &Path) {
    let manifests = folder.join(".tidemark/runs");
    for entry in std::fs::read_dir(manifests).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue; // what a put leaves that was killed before its rename
        }
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for table in manifest["tables"].as_array().unwrap() {
            let attempt = folder.join(".tidemark/data").join(manifest["attempt"].as_str().unwrap());
            let length = std::fs::metadata(attempt.join(table["file"].as_str().unwrap())).unwrap().len();
            assert_eq!(Some(length), table["bytes"].as_u64());
        }
    }
}

#[test]
fn killed_at_any_moment_the_store_shows_no_half_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed_count = 0;
    for moment in 0..KILLS_COUNT {
        let mut child = tidemark(folder.path())
            .arg("analyze")
            .arg(data("checkout/k6.json.gz"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something to happen: the moment of the kill is what is tried.
        std::thread::sleep(Duration::from_millis(moment * 12 + moment % 5));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed_count += 1;
        }
        child.wait().unwrap();
        assert!(listed_runs(folder.path()) <= 1);
        assert_runs_are_whole(folder.path());
    }
    assert!(killed_count > 5, "only {killed_count} analyses were still running when they were to be killed");
    let output = tidemark(folder.path()).arg("analyze").arg(data("checkout/k6.json.gz")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "its thresholds failed: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listed_runs(folder.path()), 1);
    assert_runs_are_whole(folder.path());
}

/// A small file system of its own, gone with the test.
pub struct SmallDisk(pub tempfile::TempDir);

impl SmallDisk {
    /// None where this process may not mount one.
    pub fn mount(kibibytes: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={kibibytes}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(SmallDisk(folder))
    }

    pub fn grow(&self, kibibytes: u32) {
        let options = format!("remount,size={kibibytes}k");
        let grown = Command::new("mount").args(["-o", &options]).arg(self.0.path()).status();
        assert!(grown.is_ok_and(|status| status.success()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder's own deletion fails while it is mounted, and says so.
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Tells `.ci/run` what could not be tried here.
pub fn skipped(what: &str) {
    eprintln!("SKIPPED {what}");
    if let Some(log) = std::env::var_os("TIDEMARK_SKIPPED_LOG") {
        let mut file = std::fs::OpenOptions::new().append(true).open(log).unwrap();
        std::io::Write::write_all(&mut file, format!("SKIPPED {what}\n").as_bytes()).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    for kibibytes in [8, 64, 128, 180] {
        let Some(disk) = SmallDisk::mount(kibibytes) else {
            skipped("a full disk: this process may not mount a tmpfs");
            return;
        };
        let output = tidemark(disk.0.path()).arg("analyze").arg(data("checkout/k6.json.gz")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{kibibytes} KiB: {error}");
        assert_eq!(error.matches("No space left on device").count(), 1, "{error}");
        assert_eq!(listed_runs(disk.0.path()), 0);
        let kept = tidemark(disk.0.path()).args(["analyze", "--no-store"]).arg(data("checkout/k6.json.gz")).output();
        assert_eq!(kept.unwrap().status.code(), Some(1), "without the store it goes on");
    }
}
