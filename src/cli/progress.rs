//! How far the reading of long inputs has come: one line on stderr, on a terminal only, gone at the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::evidence::Source;
use crate::engine::live::{Live, LiveFigures};
use crate::ingest::bytes::Progress;

/// What is over sooner needs no line.
const SHOWN_AFTER: Duration = Duration::from_millis(500);
const REDRAWN_EVERY: Duration = Duration::from_millis(100);

const OF_A_KNOWN_SIZE: &str = "{bar:24} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
const OF_AN_UNKNOWN_SIZE: &str = "{spinner} {msg}{bytes} read  {bytes_per_sec}  {elapsed}";
const ASKING: &str = "{spinner} asking the servers: {pos} answers  {elapsed}";
const ALL_READ: &str = "{bar:24} {bytes} read, judging{msg}";

/// The line while it is shown; dropped, it is gone.
#[derive(Debug)]
pub struct Shown {
    /// None where there is no terminal.
    bar: Option<ProgressBar>,
    end: Option<Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

/// Returns the bytes of all files together; none when one of them is no file, so that nobody knows.
pub fn total_bytes<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Option<u64> {
    let size = |path: &Path| std::fs::metadata(path).ok().filter(|metadata| metadata.is_file());
    paths.into_iter().map(|path| Some(size(path)?.len())).sum()
}

/// Shows how much of `inputs` was read, and what the run looks like just now. `total_bytes`: none where they still grow, or
/// come down a pipe. `source`: of what is asked when all is read.
pub fn show(
    inputs: Vec<Arc<Progress>>,
    total_bytes: Option<u64>,
    live: Option<Arc<Live>>,
    source: Option<&Source>,
) -> Shown {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    if target.is_hidden() {
        return Shown::nothing();
    }
    let answers_count = source.and_then(Source::answers_count);
    let bar = ProgressBar::with_draw_target(total_bytes, target);
    let painted = bar.clone();
    let (end, ended) = channel();
    let painter = std::thread::spawn(move || {
        let bar = painted;
        if ended.recv_timeout(SHOWN_AFTER) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let read = || inputs.iter().map(|progress| progress.bytes_read.load(Ordering::Relaxed)).sum();
        let style = |template| ProgressStyle::with_template(template).expect("the templates are constants");
        bar.set_style(style(if total_bytes.is_some() { OF_A_KNOWN_SIZE } else { OF_AN_UNKNOWN_SIZE }));
        loop {
            let position: u64 = read();
            bar.set_position(position);
            if total_bytes.is_some_and(|total| position >= total) {
                bar.set_style(style(ALL_READ));
            }
            if let Some(figures) = live.as_ref().and_then(|live| live.figures()) {
                bar.set_message(words(&figures));
            }
            if let Some(count @ 1..) = answers_count.as_ref().map(|count| count.load(Ordering::Relaxed)) {
                bar.set_message(format!(", asking the servers: {count} answers  "));
            }
            bar.tick();
            if ended.recv_timeout(REDRAWN_EVERY) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        bar.finish_and_clear();
    });
    Shown { bar: Some(bar), end: Some(end), painter: Some(painter) }
}

/// Shows how many questions the servers have answered.
pub fn show_asking(source: &Source) -> Shown {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let Some(count) = source.answers_count().filter(|_| !target.is_hidden()) else {
        return Shown::nothing();
    };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template(ASKING).expect("the template is a constant"));
    let painted = bar.clone();
    let (end, ended) = channel();
    let painter = std::thread::spawn(move || {
        while ended.recv_timeout(REDRAWN_EVERY) == Err(RecvTimeoutError::Timeout) {
            let count = count.load(Ordering::Relaxed);
            // Before the first question there is nothing to tell.
            if count > 0 {
                painted.set_position(count);
                painted.tick();
            }
        }
        painted.finish_and_clear();
    });
    Shown { bar: Some(bar), end: Some(end), painter: Some(painter) }
}

fn words(figures: &LiveFigures) -> String {
    let p95 = figures.p95_ms.map_or(String::new(), |p95| format!("p95 {p95:.1} ms  "));
    let vus = figures.vus.map_or(String::new(), |vus| format!("{vus:.0} VUs  "));
    let (rate, failed) = (figures.requests_per_second, figures.failed_requests_rate * 100.0);
    format!("{rate:.1} requests/s  {p95}{failed:.1} % failed  {vus}")
}

impl Shown {
    /// Where something else is shown.
    pub fn nothing() -> Shown {
        Shown { bar: None, end: None, painter: None }
    }

    /// Returns what writes a line on stderr, above the line of progress where there is one.
    pub fn line_writer(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |line| match &bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.end = None;
        if let Some(painter) = self.painter.take() {
            // A painter that panicked has said so, and the answer does not depend on it.
            let _ = painter.join();
        }
    }
}
