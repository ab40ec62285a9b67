//! The report as GitHub's workflow commands, which show as annotations beside the job: one line each.
//!
//! GitLab has no such commands: its form is `code_quality.rs`.

use crate::model::report::AnalysisReport;

use super::columns::counted;
use super::words::{self, Problem, Weight};

/// GitHub shows this many of each level for one step, and drops the others in silence.
const SHOWN_MAX: usize = 10;

const LEVELS: [&str; 3] = ["error", "warning", "notice"];

/// Returns one command a line: the verdict, then what failed, warns and is worth a note.
pub fn render(report: &AnalysisReport) -> String {
    let reasons = words::reasons(report);
    let title = format!("{}: load test {}", words::verdict(report.verdict.kind), words::name(&report.run.test));
    let verdict_level = level(words::verdict_weight(report.verdict.kind));
    let verdict = command(verdict_level, &title, if reasons.is_empty() { &title } else { &reasons });
    let problems = words::problems(report);
    let mut lines = vec![verdict];
    for level_name in LEVELS {
        let room = SHOWN_MAX - usize::from(level_name == verdict_level);
        let told: Vec<&Problem> = problems.iter().filter(|problem| level(problem.weight) == level_name).collect();
        // The last place of a level is for the count of what does not fit.
        let shown = if told.len() > room { room - 1 } else { told.len() };
        lines.extend(told.iter().take(shown).map(|problem| annotation(level_name, problem)));
        if told.len() > shown {
            let more = format!("and {}: see the report", counted((told.len() - shown) as u64, "more finding"));
            lines.push(command(level_name, "More findings", &more));
        }
    }
    lines.concat()
}

fn level(weight: Weight) -> &'static str {
    match weight {
        Weight::Fails => "error",
        Weight::Unconfirmed | Weight::Warns => "warning",
        Weight::Notes => "notice",
    }
}

fn annotation(level: &str, problem: &Problem) -> String {
    let title = format!("{}: {}", problem.kind.name().replace('_', " "), problem.subject);
    command(level, &title, &problem.told)
}

fn command(level: &str, title: &str, message: &str) -> String {
    format!("::{level} title={}::{}\n", property(title), data(message))
}

/// As GitHub's own toolkit escapes what follows the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As `data`, and what would end a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_as_the_runner_reads_it() {
        // The tables of `escapeData` and `escapeProperty` in actions/toolkit, packages/core/src/command.ts.
        let line = command("error", "a: 5 %, b\n", "50 %\r\n::error::x");
        assert_eq!(line, "::error title=a%3A 5 %25%2C b%0A::50 %25%0D%0A::error::x\n");
    }
}
