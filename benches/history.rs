//! How long `tidemark history` takes to list 1,000 runs.
//!
//! `cargo bench --bench history`: one true run is analysed, its manifest is committed 1,000 times under other ids and
//! times, and the binary is timed. Ends with 1 above the limit that is asked for.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tidemark::model::time::Timestamp;
use tidemark::store::Store;

const RUNS_COUNT: i64 = 1000;
const TIMES: usize = 20;
const LIMIT: Duration = Duration::from_millis(100);

fn tidemark(folder: &std::path::Path, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_tidemark")).current_dir(folder).args(arguments).output();
    let (elapsed, output) = (start.elapsed(), output.expect("the binary was built beside this bench"));
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert!(output.status.success() && (arguments[0] != "history" || lines > RUNS_COUNT as usize), "{output:?}");
    elapsed
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = concat!(env!("CARGO_MANIFEST_DIR"), "/data/clean/k6.json");
    tidemark(folder.path(), &["analyze", input]);
    let store =
        Store::open(folder.path().join(".tidemark").to_str().expect("a path in UTF-8")).expect("the store opens");
    let first = store.find("last").expect("one run is kept");
    for index in 0..RUNS_COUNT {
        let mut manifest = first.clone();
        manifest.run_id = format!("{index:016x}");
        manifest.attempt = format!("{}-{index}", first.attempt);
        manifest.started_at = first.started_at.map(|start| Timestamp(start.0 + index * 3_600_000_000_000));
        store.commit(&manifest).expect("the manifest is written");
    }
    let mut times: Vec<Duration> = (0..TIMES).map(|_| tidemark(folder.path(), &["history"])).collect();
    times.sort();
    let median = times[TIMES / 2];
    println!(
        "history of {RUNS_COUNT} runs: median {median:.1?}, {:.1?} to {:.1?}; limit {LIMIT:?}",
        times[0],
        times[TIMES - 1]
    );
    if median < LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
