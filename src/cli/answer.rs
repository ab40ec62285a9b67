//! A report told: on stdout in one form, into a folder in all of them, and to the CI that it runs in.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use crate::model::ci::{CiContext, CiSystem, ci_context};
use crate::model::report::AnalysisReport;
use crate::report::text::{self, Colour};
use crate::report::{annotations, charts, code_quality, html, junit, markdown, sarif, slack};

use super::{UsageError, print};

#[derive(Debug, clap::Args)]
pub struct Answer {
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the report in all forms into this folder, with its charts.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    Html,
    Junit,
    Sarif,
    /// A message for Slack, in Block Kit: for a webhook.
    Slack,
    /// What layout 1 names comparison-*.md; of `compare` only.
    ComparisonMd,
}

/// The CI that this process runs in; none outside of one.
pub fn ci() -> Option<CiContext> {
    ci_context(|name| std::env::var(name).ok())
}

impl Answer {
    pub fn is_comparison_md(&self) -> bool {
        self.format == Format::ComparisonMd
    }

    /// `last_words`: what a reader of the text is told at its end, such as where the run was kept.
    pub fn tell(&self, report: &AnalysisReport, last_words: &str) -> anyhow::Result<()> {
        let page = self.output.as_deref().map(|folder| write_all(report, folder)).transpose()?;
        if let Some(ci) = ci() {
            tell_ci(report, &ci)?;
        }
        let answer = match self.format {
            Format::Json => serde_json::to_string_pretty(report)? + "\n",
            Format::Markdown => markdown::render(report),
            Format::Html => html::render(report),
            Format::Junit => junit::render(report),
            Format::Sarif => sarif::render(report),
            Format::Slack => slack::render(report),
            Format::ComparisonMd => {
                return Err(UsageError("comparison-md is a form of `tidemark compare` only".to_owned()).into());
            }
            Format::Text => {
                let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                let colour = if is_coloured { Colour::On } else { Colour::Off };
                let page = page.map_or(String::new(), |page| format!("{}\n", page.display()));
                format!("{}\n{last_words}\n{page}", text::render(report, colour))
            }
        };
        print(answer.as_bytes())
    }
}

/// Writes every form into `folder`; returns the path of the page.
fn write_all(report: &AnalysisReport, folder: &Path) -> anyhow::Result<PathBuf> {
    let charts_folder = folder.join("charts");
    fs::create_dir_all(&charts_folder).with_context(|| format!("failed to make {}", charts_folder.display()))?;
    let page = folder.join("report.html");
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![
        (folder.join("report.json"), (serde_json::to_string_pretty(report)? + "\n").into()),
        (folder.join("report.md"), markdown::render(report).into()),
        (page.clone(), html::render(report).into()),
        (folder.join("junit.xml"), junit::render(report).into()),
        (folder.join("report.sarif"), sarif::render(report).into()),
        (folder.join("slack.json"), slack::render(report).into()),
        (folder.join("gl-code-quality-report.json"), code_quality::render(report).into()),
    ];
    for charts::Chart { name, svg } in charts::charts(report) {
        files.push((charts_folder.join(format!("{name}.svg")), svg.into()));
        files.extend(charts::png(report, name).map(|png| (charts_folder.join(format!("{name}.png")), png)));
    }
    for (path, content) in files {
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(page)
}

/// GitHub shows what is appended to the job's summary, and makes annotations of lines on stderr. GitLab reads files, which
/// `--output` writes.
fn tell_ci(report: &AnalysisReport, ci: &CiContext) -> anyhow::Result<()> {
    if ci.system != CiSystem::GitHub {
        return Ok(());
    }
    if let Some(path) = &ci.summary_path {
        let mut summary = fs::File::options().create(true).append(true).open(path);
        let appended = summary.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()));
        appended
            .and_then(|summary| summary.write_all(markdown::render(report).as_bytes()))
            .with_context(|| format!("failed to append to the job's summary {path}"))?;
    }
    eprint!("{}", annotations::render(report));
    Ok(())
}
