//! Retention through the front door, and several processes at one store.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use tidemark::store::Store;
use tidemark::store::retention::{Deletion, Part};

use crate::front_door::{data, tidemark};
use crate::store_faults::assert_runs_are_whole;

const HISTORY: [&str; 5] = ["1", "2", "3", "4", "5"];

fn input(name: &str) -> std::path::PathBuf {
    let compressed = data(name).join("k6.json.gz");
    if compressed.exists() { compressed } else { data(name).join("k6.json") }
}

fn keep(folder: &Path, name: &str, test: &str) {
    let output = tidemark(folder).args(["analyze", "--test", test]).arg(input(name)).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
}

fn prune(folder: &Path, arguments: &[&str]) -> Output {
    let output = tidemark(folder).arg("prune").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The runs, as `history` lists them.
fn runs(folder: &Path) -> Vec<String> {
    let history = tidemark(folder).arg("history").output().unwrap();
    assert!(history.stderr.is_empty(), "{}", String::from_utf8_lossy(&history.stderr));
    lines(&history).into_iter().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Names and bytes of all files of a store.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join(".tidemark")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.display().to_string(), std::fs::metadata(&path).unwrap().len())),
            }
        }
    }
    found.sort();
    found
}

fn attempts(folder: &Path) -> usize {
    std::fs::read_dir(folder.join(".tidemark/data")).unwrap().count()
}

#[test]
fn the_newest_runs_of_each_test_stay_and_what_goes_is_said_first() {
    let folder = tempfile::tempdir().unwrap();
    HISTORY.iter().for_each(|name| keep(folder.path(), &format!("history/{name}"), "shop"));
    keep(folder.path(), "clean", "other");
    let (all, before) = (runs(folder.path()), files(folder.path()));

    let dry = lines(&prune(folder.path(), &["--keep", "2", "--dry-run"]));
    assert_eq!(files(folder.path()), before, "a dry run deletes nothing");
    assert!(dry.last().unwrap().contains("--dry-run"));
    let shop: Vec<&String> = all.iter().filter(|run| dry.iter().any(|line| line.starts_with(run.as_str()))).collect();
    assert_eq!(shop.len(), 3, "{dry:?}");

    let said = lines(&prune(folder.path(), &["--keep", "2"]));
    assert_eq!(said, dry[..dry.len() - 1]);
    let left: Vec<&String> = all.iter().filter(|run| !shop.contains(run)).collect();
    assert_eq!(runs(folder.path()).iter().collect::<Vec<_>>(), left);
    assert_eq!(attempts(folder.path()), 3);
    let gone: u64 = before.iter().map(|(_, bytes)| bytes).sum::<u64>()
        - files(folder.path()).iter().map(|(_, bytes)| bytes).sum::<u64>();
    let said_bytes: u64 = said
        .last()
        .unwrap()
        .split(": ")
        .nth(1)
        .unwrap()
        .replace([',', 'b', 'y', 't', 'e', 's', ' '], "")
        .parse()
        .unwrap();
    // Manifests and reports are small beside the tables, and not counted.
    assert!(said_bytes <= gone && said_bytes * 10 > gone * 3, "said {said_bytes}, gone {gone}");
    assert_eq!(lines(&prune(folder.path(), &["--keep", "2"])), ["nothing to delete"]);
}

#[test]
fn old_samples_go_and_the_rest_of_the_run_stays() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path(), "clean", "shop");
    std::fs::write(folder.path().join("tidemark.toml"), "[retention]\nsamples_days = 0\n").unwrap();
    let said = lines(&prune(folder.path(), &[]));
    assert!(said.iter().any(|line| line.contains("samples")), "{said:?}");
    assert_eq!(runs(folder.path()).len(), 1);
    assert_runs_are_whole(folder.path());
    let names: Vec<String> = files(folder.path()).into_iter().map(|(name, _)| name).collect();
    let has = |name: &str| names.iter().any(|path| path.ends_with(name));
    assert!(
        !has("samples.parquet") && has("windows.parquet") && has("series.parquet") && has("report.json"),
        "{names:?}"
    );
    assert_eq!(lines(&prune(folder.path(), &[])), ["nothing to delete"]);
    // A deletion that was killed between its two steps left the file behind.
    let attempt = std::fs::read_dir(folder.path().join(".tidemark/data")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(attempt.join("samples.parquet"), "left").unwrap();
    prune(folder.path(), &[]);
    assert!(!attempt.join("samples.parquet").exists());
    // The same content analysed again has them again.
    keep(folder.path(), "clean", "shop");
    assert!(files(folder.path()).iter().any(|(name, _)| name.ends_with("samples.parquet")));
    assert_eq!(runs(folder.path()).len(), 1);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn killed_at_any_moment_a_deletion_leaves_whole_runs_and_the_next_one_ends_it() {
    let whole = tempfile::tempdir().unwrap();
    HISTORY.iter().for_each(|name| keep(whole.path(), &format!("history/{name}"), "shop"));
    let mut partly_count = 0;
    for moment in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        copy(&whole.path().join(".tidemark"), &folder.path().join(".tidemark"));
        let mut child = tidemark(folder.path())
            .args(["prune", "--keep", "2", "--samples-days", "0"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something to happen: the moment of the kill is what is tried.
        std::thread::sleep(Duration::from_millis(4 + moment * 2));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_runs_are_whole(folder.path());
        let left = runs(folder.path()).len();
        assert!((2..=5).contains(&left));
        partly_count += usize::from(left > 2 && left < 5);
        prune(folder.path(), &["--keep", "2", "--samples-days", "0"]);
        assert_eq!(runs(folder.path()).len(), 2);
        assert_eq!(attempts(folder.path()), 2, "what was left behind is found by its claim");
        assert!(!files(folder.path()).iter().any(|(name, _)| name.ends_with("samples.parquet")));
        assert_runs_are_whole(folder.path());
    }
    eprintln!("{partly_count} deletions were killed between two runs");
}

/// Waits until `is_so`, for a minute at most.
fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn claimed(folder: &Path) -> usize {
    std::fs::read_dir(folder.join(".tidemark/claims")).into_iter().flatten().count()
}

/// An analysis of a file that is still being written, and the open file.
fn analysis_under_way(folder: &Path) -> (Child, std::fs::File) {
    let text = std::fs::read(data("clean/k6.json")).unwrap();
    let mut growing = std::fs::File::create(folder.join("growing.json")).unwrap();
    growing.write_all(&text).unwrap();
    let arguments = ["analyze", "--follow", "--quiet-seconds", "60", "growing.json"];
    let child = tidemark(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| claimed(folder) == 1);
    (child, growing)
}

#[test]
fn what_a_living_process_writes_is_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (child, growing) = analysis_under_way(folder.path());
    // Hours without a byte on the disk, as in a long and quiet test.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    wait_until(|| attempts_files(folder.path()).len() >= 3);
    for file in attempts_files(folder.path()) {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(lines(&prune(folder.path(), &["--keep", "1", "--samples-days", "0"])), ["nothing to delete"]);
    keep(folder.path(), "history/1", "shop");
    drop(growing);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(runs(folder.path()).len(), 2);
    assert_eq!(claimed(folder.path()), 0);
    assert_runs_are_whole(folder.path());
}

fn attempts_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let attempts = std::fs::read_dir(folder.join(".tidemark/data")).into_iter().flatten();
    let files = attempts.flat_map(|attempt| std::fs::read_dir(attempt.unwrap().path()).into_iter().flatten());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn what_a_killed_process_wrote_is_deleted_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, growing) = analysis_under_way(folder.path());
    wait_until(|| attempts_files(folder.path()).len() >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(growing);
    let said = lines(&prune(folder.path(), &["--keep", "1"]));
    assert!(said.iter().any(|line| line.contains("unfinished")), "{said:?}");
    assert_eq!((attempts(folder.path()), claimed(folder.path())), (0, 0));
}

#[test]
fn processes_at_once_do_not_harm_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs: Vec<_> = HISTORY.iter().map(|name| input(&format!("history/{name}"))).collect();
    // The same run four times, once from another form of it.
    inputs.extend([input("clean"), input("clean"), input("clean")]);
    let compressed = folder.path().join("clean.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(&compressed).unwrap(), flate2::Compression::fast());
    encoder.write_all(&std::fs::read(input("clean")).unwrap()).unwrap();
    encoder.finish().unwrap();
    inputs.push(compressed);
    for _ in 0..3 {
        let analyses: Vec<Child> = inputs
            .iter()
            .map(|input| {
                tidemark(folder.path())
                    .args(["analyze", "--baseline", "none"])
                    .arg(input)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for analysis in analyses {
            let output = analysis.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(runs(folder.path()).len(), 6, "five of the history, and one");
        assert_runs_are_whole(folder.path());
        assert_eq!(attempts(folder.path()), 6, "nothing is left of analyses that another one replaced");
    }
}

#[test]
fn deletions_at_once_end_as_one() {
    let whole = tempfile::tempdir().unwrap();
    HISTORY.iter().for_each(|name| keep(whole.path(), &format!("history/{name}"), "shop"));
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        copy(&whole.path().join(".tidemark"), &folder.path().join(".tidemark"));
        let prune = || {
            tidemark(folder.path())
                .args(["prune", "--keep", "2", "--samples-days", "0"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        for mut deletion in [prune(), prune(), prune()] {
            assert_eq!(deletion.wait().unwrap().code(), Some(0));
        }
        assert_eq!((runs(folder.path()).len(), attempts(folder.path()), claimed(folder.path())), (2, 2, 0));
        assert_runs_are_whole(folder.path());
    }
}

#[test]
fn a_run_that_was_analysed_again_meanwhile_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path(), "clean", "shop");
    let store = Store::open(folder.path().join(".tidemark").to_str().unwrap()).unwrap();
    let manifest = store.find("last").unwrap();
    keep(folder.path(), "clean", "shop");
    for part in [Part::Run, Part::Samples] {
        let planned = Deletion { manifest: manifest.clone(), part, age_days: 0.0, bytes: 0 };
        assert!(!store.delete(&planned).unwrap());
    }
    assert_eq!(runs(folder.path()).len(), 1);
    assert_runs_are_whole(folder.path());
    let planned = Deletion { manifest: store.find("last").unwrap(), part: Part::Run, age_days: 0.0, bytes: 0 };
    assert!(store.delete(&planned).unwrap());
    assert_eq!(runs(folder.path()).len(), 0);
}
