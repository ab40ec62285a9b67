//! The line that shows progress: on a terminal only, gone at the end, and in nobody's way.

use std::path::Path;
use std::process::Command;

use crate::front_door::{data, tidemark};
use crate::store_faults::skipped;

/// Runs a shell command with stderr on a terminal of its own; returns what the terminal got and the exit code.
///
/// None where there is no `script` of util-linux.
fn on_a_terminal(folder: &Path, command: &str) -> Option<(String, i32)> {
    let is_util_linux = Command::new("script").arg("--version").output();
    if !is_util_linux.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux")) {
        skipped("progress on a terminal: there is no `script` of util-linux");
        return None;
    }
    let command = command.replace("tidemark ", &format!("{} ", env!("CARGO_BIN_EXE_tidemark")));
    let output = Command::new("script")
        .args(["-qec", &command, "typescript"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env_remove("TIDEMARK_STORE")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap()))
}

/// What is left on the line when a terminal has done what `text` says: carriage returns and erasures only.
fn left_on_screen(text: &str) -> String {
    let mut line = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\u{1b}[2K").or_else(|| rest.strip_prefix("\r")) {
            let erases = rest.starts_with('\u{1b}');
            if erases {
                line.clear();
            }
            rest = after;
        } else if let Some(escape) = rest.strip_prefix("\u{1b}[") {
            let end = escape.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
            rest = &escape[end + 1..];
        } else {
            line.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    line.trim().to_owned()
}

fn big_file(folder: &Path) -> u64 {
    let mut text = Vec::new();
    let file = std::fs::File::open(data("checkout/k6.json.gz")).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
    let text = text.repeat(100);
    std::fs::write(folder.join("big.json"), &text).unwrap();
    text.len() as u64
}

#[test]
fn a_long_file_shows_bytes_rate_and_time_left_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = big_file(folder.path());
    let Some((screen, exit_code)) =
        on_a_terminal(folder.path(), "tidemark analyze --no-store big.json --format json > out.json")
    else {
        return;
    };
    assert_eq!(exit_code, 1, "the thresholds failed, as without a terminal: {screen}");
    assert!(screen.contains(" MiB of ") && screen.contains("iB/s") && screen.contains(" left"), "{screen:?}");
    assert_eq!(left_on_screen(&screen), "", "{screen:?}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("out.json")).unwrap()).unwrap();
    assert_eq!(report["run"]["sources"][0]["bytes"], bytes);
}

/// What came before the writer waits was once held back until more than half a block had come.
#[test]
fn a_pipe_whose_writer_waits_shows_what_came_and_no_end() {
    for input in ["clean/k6.json", "checkout/k6.csv.gz"] {
        let folder = tempfile::tempdir().unwrap();
        let command = format!("(cat {}; sleep 3) | tidemark analyze - --no-store > out.txt", data(input).display());
        let Some((screen, exit_code)) = on_a_terminal(folder.path(), &command) else { return };
        assert_eq!(exit_code, 0, "{screen}");
        // The run is 5 s long, so the line shows what its last seconds were like.
        assert!(screen.contains(" requests/s") && screen.contains(" failed") && screen.contains(" VUs"), "{screen:?}");
        assert!(screen.contains(" read  ") && screen.contains("B/s") && !screen.contains("left"), "{screen:?}");
        assert_eq!(left_on_screen(&screen), "", "{screen:?}");
    }
}

#[test]
fn what_is_soon_done_and_what_is_no_terminal_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    big_file(folder.path());
    let output = tidemark(folder.path()).args(["analyze", "--no-store", "big.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    if let Some((screen, exit_code)) = on_a_terminal(folder.path(), "tidemark history > out.txt") {
        assert_eq!((screen.as_str(), exit_code), ("", 0));
    }
}
