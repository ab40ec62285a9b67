//! The report as a message for Slack: Block Kit, as an incoming webhook or `chat.postMessage` takes it.
//!
//! All text is of the type `plain_text`: whatever names hold, Slack makes no link, mention or emphasis of it. `&`, `<` and `>`
//! control even plain text there, and are written as entities.

use serde_json::{Value, json};

use crate::model::report::{AnalysisReport, VerdictKind};

use super::columns::{counted, thousands};
use super::words::{self, Weight};
use super::{early, why};

/// Slack refuses a message of more blocks, and longer texts of these kinds.
const BLOCKS_MAX: usize = 50;
const TEXT_LETTERS_MAX: usize = 3_000;
const HEADER_LETTERS_MAX: usize = 150;
/// What a reader of a channel takes in; the page has all.
const PROBLEMS_SHOWN: usize = 12;
const CAUSES_SHOWN: usize = 5;
const CLUES_SHOWN: usize = 3;
const UNAVAILABLE_SHOWN: usize = 4;

/// Returns one JSON object: `text` for notifications, and `blocks`.
pub fn render(report: &AnalysisReport) -> String {
    let title = format!("{}: load test {}", words::verdict(report.verdict.kind), words::name(&report.run.test));
    let reasons = words::reasons(report);
    let mut blocks = vec![header(&title)];
    blocks.extend(section(&reasons));
    if report.verdict.kind == VerdictKind::Suspect {
        blocks.extend(section("One run does not settle it: run the test again."));
    }
    blocks.extend(context(&of_run(report)));
    let problems = words::problems(report);
    if !problems.is_empty() {
        blocks.push(header("What stands out"));
        let told =
            problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("{} {}", mark(problem.weight), problem.told));
        blocks.extend(told.filter_map(|told| section(&told)));
        blocks.extend(more(problems.len(), PROBLEMS_SHOWN, "more finding"));
    }
    blocks.extend(early::gone(report).filter_map(|gone| section(&gone)));
    if !report.diagnoses.is_empty() {
        blocks.push(header("Why"));
        for cause in report.diagnoses.iter().take(CAUSES_SHOWN) {
            let evidence = cause.evidence.iter().take(CLUES_SHOWN).map(|clue| format!("\n• {}", why::clue(clue)));
            blocks.extend(section(&format!("{}{}", why::head(cause), evidence.collect::<String>())));
        }
        blocks.extend(more(report.diagnoses.len(), CAUSES_SHOWN, "more cause"));
    }
    if !report.unavailable.is_empty() {
        let missing = report.unavailable.iter().take(UNAVAILABLE_SHOWN).map(|missing| {
            format!("{} did not answer: {}", words::name(&missing.backend), why::short(&missing.reason))
        });
        blocks.extend(context(&missing.collect::<Vec<_>>().join("\n")));
        blocks.extend(more(report.unavailable.len(), UNAVAILABLE_SHOWN, "more question without an answer"));
    }
    blocks.truncate(BLOCKS_MAX);
    let text = if reasons.is_empty() { title } else { format!("{title}: {reasons}") };
    // The fallback is of the type `mrkdwn`, unless told otherwise.
    json!({ "text": cut(&escaped(&text), TEXT_LETTERS_MAX), "mrkdwn": false, "blocks": blocks }).to_string() + "\n"
}

fn of_run(report: &AnalysisReport) -> String {
    let (run, totals) = (&report.run, &report.totals);
    let mut parts =
        vec![format!("run {}", words::name(&run.id)), format!("environment {}", words::name(&run.environment))];
    parts.extend(words::period(run.started_at, run.ended_at));
    parts.extend(run.duration_seconds.map(words::duration));
    parts.extend(totals.requests_count.map(|count| counted(count, "request")));
    parts.extend(totals.failed_requests_rate.map(|rate| format!("{} failed", words::percent(rate))));
    parts.extend(totals.checks_failed_count.zip(totals.checks_passed_count).map(|(failed, passed)| {
        format!("{} of {} checks failed", thousands(failed), thousands(passed.saturating_add(failed)))
    }));
    parts.extend(run.commit.as_ref().map(|commit| format!("commit {}", words::name(commit))));
    parts.join(", ")
}

fn mark(weight: Weight) -> &'static str {
    match weight {
        Weight::Fails => "✖",
        Weight::Unconfirmed | Weight::Warns => "▲",
        Weight::Notes => "●",
    }
}

fn header(text: &str) -> Value {
    json!({ "type": "header", "text": plain(text, HEADER_LETTERS_MAX) })
}

/// None where there is nothing to say: Slack refuses an empty text.
fn section(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "section", "text": plain(text, TEXT_LETTERS_MAX) }))
}

fn context(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "context", "elements": [plain(text, TEXT_LETTERS_MAX)] }))
}

fn more(count: usize, shown: usize, what: &str) -> Option<Value> {
    let more = count.checked_sub(shown).filter(|more| *more > 0)?;
    context(&format!("and {}: see the report", counted(more as u64, what)))
}

fn plain(text: &str, letters_max: usize) -> Value {
    // A smiley in a name is a name.
    json!({ "type": "plain_text", "text": cut(&escaped(text), letters_max), "emoji": false })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cuts an escaped text, and never within an entity.
fn cut(text: &str, letters_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(letters_max) else { return text.to_owned() };
    let kept = text[..end].char_indices().nth(letters_max - 1).map_or("", |(last, _)| &text[..last]);
    // The longest entity has five letters.
    let begun = kept.rfind('&').filter(|start| kept.len() - start < 5 && !kept[*start..].contains(';'));
    format!("{}…", &kept[..begun.unwrap_or(kept.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_outside_of_its_entities() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        let text = escaped("aé<b>");
        assert_eq!(text, "aé&lt;b&gt;");
        for letters_max in 1..12 {
            let cut = cut(&text, letters_max);
            assert!(cut.chars().count() <= letters_max, "{cut}");
            let whole = cut.replace("&lt;", "<").replace("&gt;", ">");
            assert!(!whole.contains('&'), "{cut}");
        }
    }
}
