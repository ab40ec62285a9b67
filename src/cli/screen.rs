//! The screen of those who watch runs: each with its rate, latency, errors, endpoints and open findings, painted in place.

use std::io::{self, IsTerminal, Stderr, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Frame, Terminal};

use crate::detect::tracker::Change;
use crate::engine::live::{Live, LiveEndpoint, LiveFigures};
use crate::engine::watch::News;
use crate::model::finding::{Finding, Severity};
use crate::report::early;

const PAINTED_EVERY: Duration = Duration::from_millis(250);
/// Endpoints of each run that are shown.
const ENDPOINTS_SHOWN: usize = 8;
const NAME_COLUMNS: usize = 36;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is painted.
#[derive(Debug, Clone, Default)]
pub struct Board {
    runs: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    live: Arc<Live>,
    began: Instant,
    open: Vec<Finding>,
    early: Vec<String>,
    /// What came of it.
    verdict: Option<String>,
}

impl Board {
    /// Shows a run from now on; of the same name it begins anew.
    pub fn begin(&self, name: &str, live: Arc<Live>) {
        let mut runs = self.lock();
        runs.retain(|run| run.name != name);
        let (open, early) = (Vec::new(), Vec::new());
        runs.push(Watched { name: name.to_owned(), live, began: Instant::now(), open, early, verdict: None });
        // Those that are over make room.
        while runs.len() > 6
            && let Some(over) = runs.iter().position(|run| run.verdict.is_some())
        {
            runs.remove(over);
        }
    }

    pub fn news(&self, name: &str, news: &News) {
        let mut runs = self.lock();
        let Some(run) = runs.iter_mut().find(|run| run.name == name) else { return };
        match news {
            News::Early(finding) => run.early.push(early::told(finding)),
            News::Change {
                change: Change::Opened(finding) | Change::Grew(finding) | Change::Closed(finding), ..
            } => {
                run.open.retain(|open| open.id != finding.id);
                run.open.push(finding.clone());
            }
            News::Change { change: Change::Withdrawn { told, .. }, .. } => {
                run.open.retain(|open| open.id != told.id);
            }
        }
    }

    pub fn end(&self, name: &str, verdict: String) {
        if let Some(run) = self.lock().iter_mut().find(|run| run.name == name) {
            run.verdict = Some(verdict);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The screen while it is shown; dropped, the terminal is as it was before.
#[derive(Debug)]
pub struct Screen {
    end: Option<Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

impl Screen {
    /// None where stderr is no terminal, or cannot be painted.
    pub fn show(board: &Board) -> Option<Screen> {
        if !stderr().is_terminal() {
            return None;
        }
        let mut terminal = Terminal::new(CrosstermBackend::new(stderr())).ok()?;
        execute!(stderr(), EnterAlternateScreen, Hide).ok()?;
        terminal.clear().ok()?;
        let (end, ended) = channel();
        let board = board.clone();
        let painter = std::thread::spawn(move || {
            loop {
                // A terminal that takes no more is left alone.
                if paint(&mut terminal, &board).is_err()
                    || ended.recv_timeout(PAINTED_EVERY) != Err(RecvTimeoutError::Timeout)
                {
                    break;
                }
            }
        });
        Some(Screen { end: Some(end), painter: Some(painter) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end = None;
        if let Some(painter) = self.painter.take() {
            // A painter that panicked has said so, and the answer does not depend on it.
            let _ = painter.join();
        }
        // A terminal that is gone needs nothing.
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
    }
}

fn paint(terminal: &mut Terminal<CrosstermBackend<Stderr>>, board: &Board) -> io::Result<()> {
    let runs = board.lock();
    terminal.draw(|frame| draw(frame, &runs)).map(drop)
}

fn draw(frame: &mut Frame, runs: &[Watched]) {
    let area: Rect = frame.area();
    let mut lines: Vec<Line> = Vec::new();
    if runs.is_empty() {
        lines.push(Line::from("waiting for a run".dim()));
    }
    for run in runs.iter().rev() {
        lines.extend(of_run(run));
        lines.push(Line::default());
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn of_run(run: &Watched) -> Vec<Line<'_>> {
    let mut lines = vec![Line::from(vec![
        Span::from(run.name.clone()).bold(),
        Span::from("  "),
        match (&run.verdict, run.live.figures()) {
            (Some(verdict), _) => Span::from(verdict.clone()),
            (None, Some(figures)) => Span::from(words(&figures, &run.live)),
            (None, None) => Span::from(format!("{} s", run.began.elapsed().as_secs())).dim(),
        },
    ])];
    if run.verdict.is_none() {
        lines.extend(run.live.endpoints().iter().take(ENDPOINTS_SHOWN).map(of_endpoint));
    }
    lines.extend(run.early.iter().map(|told| Line::from(format!("  ! {told}").yellow())));
    for finding in &run.open {
        let colour = match finding.severity {
            Severity::Critical => Color::Red,
            Severity::Major => Color::Yellow,
            Severity::Minor => Color::Reset,
        };
        lines.push(Line::from(Span::styled(format!("  ! {}", finding.title), Style::new().fg(colour))));
    }
    lines
}

fn words(figures: &LiveFigures, live: &Live) -> String {
    let p95 = figures.p95_ms.map_or("-".to_owned(), |p95| format!("{p95:.1} ms"));
    let vus = figures.vus.map_or(String::new(), |vus| format!("  {vus:.0} VUs"));
    let so_far = live.failed_requests_rate().unwrap_or(0.0) * 100.0;
    let (rate, failed) = (figures.requests_per_second, figures.failed_requests_rate * 100.0);
    format!("{rate:.1} requests/s  p95 {p95}  {failed:.1} % failed ({so_far:.2} % so far){vus}")
}

fn of_endpoint(endpoint: &LiveEndpoint) -> Line<'static> {
    let name: String = endpoint.name.chars().take(NAME_COLUMNS).collect();
    let p95 = endpoint.figures.p95_ms.map_or("-".to_owned(), |p95| format!("{p95:.1} ms"));
    let failed = endpoint.figures.failed_requests_rate * 100.0;
    let failures = Span::from(format!(" {failed:>5.1} %"));
    Line::from(vec![
        Span::from(format!("  {name:<NAME_COLUMNS$} {p95:>10} ")),
        Span::from(sparkline(&endpoint.p95_ms)).cyan(),
        if failed > 0.0 { failures.red() } else { failures.dim() },
    ])
}

/// Draws a course beside its own maximum; a gap is a gap.
fn sparkline(values: &[Option<f64>]) -> String {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: &Option<f64>| match value {
        Some(value) if most > 0.0 => BARS[((value / most * BARS.len() as f64) as usize).min(BARS.len() - 1)],
        Some(_) => BARS[0],
        None => ' ',
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn a_sparkline_has_a_bar_for_each_second() {
        assert_eq!(sparkline(&[Some(0.0), Some(4.0), None, Some(8.0)]), "▁▅ █");
        assert_eq!(sparkline(&[Some(0.0), None]), "▁ ");
    }

    #[test]
    fn any_size_is_painted() {
        let board = Board::default();
        board.begin("nightly", Arc::new(Live::default()));
        board.begin("over", Arc::new(Live::default()));
        board.end("over", "pass".to_owned());
        for (width, height) in [(80, 24), (3, 1), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &board.lock())).unwrap();
            let text = terminal.backend().to_string();
            if width == 80 {
                assert!(text.contains("over  pass") && text.contains("nightly"), "{text}");
            }
        }
    }
}
