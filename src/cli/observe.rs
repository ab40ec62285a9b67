//! `tidemark observe`: one question to what the servers answered about a run, beside the healthy rest of it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, NaiveTime, Utc};
use clap::Subcommand;

use crate::diagnose::look::Look;
use crate::diagnose::{Window, drawn};
use crate::engine::evidence::Source;
use crate::engine::observe::{Asked, Observed};
use crate::engine::why::{self as causes, Times};
use crate::model::report::AnalysisReport;
use crate::model::telemetry::hex;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::report::columns::{cut_middle, pad};
use crate::report::{flame, pprof, why};

use super::capture::NO_SERVER;
use super::config::Config;
use super::servers::ServersArgument;
use super::{StoreArgument, UsageError, print};

const ROWS_SHOWN: usize = 20;
const NAME_COLUMNS: usize = 58;
/// A picture of its own has more room than a page of a report.
const FRAMES_DRAWN: usize = 5_000;
/// What `check` looks at.
const CHECKED_SECONDS: f64 = 300.0;
/// Times of a window that are looked at before it.
const BEFORE: f64 = 3.0;
const BEFORE_SECONDS_MIN: f64 = 60.0;
const BEFORE_SECONDS_MAX: f64 = 3_600.0;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Observe {
    #[command(subcommand)]
    question: Question,
}

const EXAMPLES: &str = "Examples:
  tidemark observe profile --service auth --run last --finding 1
  tidemark observe profile --service auth --from 10:05 --to 10:07 --format svg > flame.svg
  tidemark observe profile --service auth --run last --finding 1 --format html > flame.html
  tidemark observe traces --from 10:05 --to 10:07 --tempo http://127.0.0.1:3200
  tidemark observe logs --service cart --capture DIR --from 10:05 --to 10:07
  tidemark observe check --prometheus http://127.0.0.1:9090 --loki http://127.0.0.1:3100";

#[derive(Debug, Subcommand)]
enum Question {
    /// What a service spent its time, locks or memory on: functions, beside the healthy part.
    Profile {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        of: OfService,
        /// Of which kind: cpu, mutex, block, alloc_space, inuse_space, goroutine.
        #[arg(long, default_value = "cpu", value_name = "KIND")]
        kind: String,
        /// A table; the difference as a flame graph, still or to be zoomed; or the window's own profile for `go tool pprof`.
        #[arg(long, default_value = "text", value_name = "FORMAT")]
        format: ProfileFormat,
    },
    /// Which operations took longer by themselves, with their slowest traces.
    Traces {
        #[command(flatten)]
        about: About,
        /// Of one service; all of them when nothing says.
        #[arg(long)]
        service: Option<String>,
    },
    /// The vital signs of a service: time, processor, locks, pools, database, memory, failures.
    Metrics {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        of: OfService,
    },
    /// The log lines of a service as templates: what is new or has risen first.
    Logs {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        of: OfService,
    },
    /// Which services the servers know, and what each of them knows.
    Check {
        #[command(flatten)]
        answers: Answers,
    },
}

/// Whose answers are looked at.
#[derive(Debug, clap::Args)]
struct Answers {
    /// A folder of the servers' answers.
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    capture: Option<PathBuf>,
    /// A kept run: looks at the answers that are kept beside it, or asks the servers about its time.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    servers: ServersArgument,
    #[command(flatten)]
    store: StoreArgument,
}

#[derive(Debug, clap::Args)]
struct About {
    #[command(flatten)]
    answers: Answers,
    /// From when: 10:05, 10:05:30 (UTC, on the day of the run), or a date and time.
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<String>,
    /// Until when.
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// In the time of a finding of the run: its number in the report, or its id. The last run's when no run is named.
    #[arg(long, value_name = "N|ID", conflicts_with_all = ["from", "capture"])]
    finding: Option<String>,
}

#[derive(Debug, clap::Args)]
struct OfService {
    #[arg(long, value_name = "NAME")]
    service: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProfileFormat {
    Text,
    Svg,
    Html,
    Pprof,
}

impl Observe {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let told: Vec<u8> = match self.question {
            Question::Profile { about, of, kind, format } => {
                let (observed, window) = about.read(config)?;
                profile(&observed.look(window), &of.service, &kind, format)?
            }
            Question::Traces { about, service } => {
                let (observed, window) = about.read(config)?;
                traces(&observed.look(window), service.as_deref())?.into()
            }
            Question::Metrics { about, of } => {
                let (observed, window) = about.read(config)?;
                metrics(&observed.look(window), &of.service)?.into()
            }
            Question::Logs { about, of } => {
                let (observed, window) = about.read(config)?;
                logs(&observed.look(window), &of.service)?.into()
            }
            Question::Check { answers } => check(&answers.all(config)?)?.into(),
        };
        print(&told)?;
        Ok(0)
    }
}

impl Answers {
    /// Looks at all that is there: of the servers, at the last minutes.
    fn all(&self, config: &Config) -> anyhow::Result<Observed> {
        if let Some(folder) = &self.capture {
            return Ok(Observed::gather(&Source::Folder(folder.clone()), None)?);
        }
        if self.run.is_some() {
            let (source, report) = self.of_run(config)?;
            return gather(&source, Some(asked(&report, None)?));
        }
        let until = Timestamp::from(SystemTime::now());
        let run = Window { from: until.after_seconds(-CHECKED_SECONDS), until };
        gather(&self.servers(config)?, Some(Asked { run, steady: run, window: None }))
    }

    fn servers(&self, config: &Config) -> anyhow::Result<Source> {
        let reason = || UsageError(format!("{NO_SERVER}; or give --capture DIR or --run RUN"));
        Ok(self.servers.source(config)?.ok_or_else(reason)?)
    }

    /// Returns what is kept beside a run, else its servers; and its report.
    fn of_run(&self, config: &Config) -> anyhow::Result<(Source, AnalysisReport)> {
        let store = self.store.open(config)?;
        let manifest = super::find(&store, self.run.as_deref().unwrap_or("last"), config)?;
        let report = store.report(&manifest)?;
        let nothing = || {
            let reason =
                format!("nothing is kept beside run {} of what the servers said, and {NO_SERVER}", manifest.run_id);
            UsageError(reason)
        };
        let source = match causes::kept_beside(&store, &manifest)? {
            Some(kept) => kept,
            None => self.servers.source(config)?.ok_or_else(nothing)?,
        };
        Ok((source, report))
    }
}

fn gather(source: &Source, asked: Option<Asked>) -> anyhow::Result<Observed> {
    let _shown = super::progress::show_asking(source);
    Ok(Observed::gather(source, asked)?)
}

fn asked(report: &AnalysisReport, window: Option<Window>) -> Result<Asked, UsageError> {
    let times = causes::times_of(report);
    let Times { run, steady } = times.ok_or_else(|| {
        UsageError(format!("it is not known when run {} took place: only a summary of it was kept", report.run.id))
    })?;
    Ok(Asked { run, steady, window })
}

impl About {
    fn read(&self, config: &Config) -> anyhow::Result<(Observed, Window)> {
        if self.from.is_none() && self.finding.is_none() {
            return Err(UsageError("say when: --from 10:05 --to 10:07, or --run last --finding 1".to_owned()).into());
        }
        let (observed, window) = match (&self.answers.capture, &self.answers.run, &self.finding) {
            (Some(folder), ..) => {
                let observed = Observed::gather(&Source::Folder(folder.clone()), None)?;
                let window = self.window(observed.run.from)?;
                (observed, window)
            }
            (None, None, None) => {
                let window = self.window(today())?;
                let source = self.answers.servers(config)?;
                (gather(&source, Some(about(window)))?, window)
            }
            (None, _, finding) => {
                let (source, report) = self.answers.of_run(config)?;
                let run = asked(&report, None)?.run;
                let window = match finding {
                    Some(name) => time_of(&report, name, run)?,
                    None => self.window(run.from)?,
                };
                (gather(&source, Some(asked(&report, Some(window))?))?, window)
            }
        };
        let run = observed.run;
        if window.seconds() <= 0.0 || window.shared_seconds(run) <= 0.0 {
            return Err(UsageError(format!(
                "nothing is known from {} to {}: the answers are of {} to {}",
                window.from, window.until, run.from, run.until
            ))
            .into());
        }
        Ok((observed, window))
    }

    /// `day`: of times without a date.
    fn window(&self, day: Timestamp) -> Result<Window, UsageError> {
        let read = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            time(text, day)
                .ok_or_else(|| UsageError(format!("{text:?} is no time: give 10:05, 10:05:30 or 2026-11-24T10:05:00Z")))
        };
        Ok(Window { from: read(&self.from)?, until: read(&self.to)? })
    }
}

fn today() -> Timestamp {
    const DAY: i64 = 86_400 * NANOSECONDS_PER_SECOND;
    let now = Timestamp::from(SystemTime::now()).0;
    Timestamp(now - now.rem_euclid(DAY))
}

/// Without a run, what was before the window is what it is held against.
fn about(window: Window) -> Asked {
    let seconds = window.seconds().max(0.0);
    let now = Timestamp::from(SystemTime::now());
    let run = Window {
        from: window.from.after_seconds(-(BEFORE * seconds).clamp(BEFORE_SECONDS_MIN, BEFORE_SECONDS_MAX)),
        until: window.until.min(now.max(window.from)),
    };
    Asked { run, steady: run, window: Some(window) }
}

/// Returns the time of a finding: `name` is its number in the report, from 1, or its id.
fn time_of(report: &AnalysisReport, name: &str, run: Window) -> Result<Window, UsageError> {
    let by_number = name.parse::<usize>().ok().and_then(|number| report.findings.get(number.checked_sub(1)?));
    let finding = by_number.or_else(|| report.findings.iter().find(|finding| finding.id == name));
    let finding = finding.ok_or_else(|| {
        let count = report.findings.len();
        UsageError(format!("run {} has no finding {name:?}: it has {count}, which `report` numbers", report.run.id))
    })?;
    let from = finding.from.ok_or_else(|| {
        let reason = "is of the whole run, so that no healthy part of it is beside it: give --from and --to";
        UsageError(format!("finding {name} {reason}"))
    })?;
    Ok(Window { from, until: finding.until.unwrap_or(run.until) })
}

/// Reads a time; one without a date is on the day of `run_start`, or on the next where it lies before.
fn time(text: &str, run_start: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return time.timestamp_nanos_opt().map(Timestamp);
    }
    let clock = ["%H:%M:%S", "%H:%M"].iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok())?;
    let day = DateTime::<Utc>::from_timestamp_nanos(run_start.0).date_naive();
    let at = Timestamp(day.and_time(clock).and_utc().timestamp_nanos_opt()?);
    let a_day = Timestamp(at.0.checked_add(86_400 * NANOSECONDS_PER_SECOND)?);
    // A minute before the start is no other day.
    Some(if at.after_seconds(3_600.0) < run_start { a_day } else { at })
}

fn unknown(look: &Look, service: &str, what: &str) -> UsageError {
    let services: Vec<String> = look.services().iter().map(|service| why::short(service)).collect();
    UsageError(format!("nothing is known of {what} of {service}: the services are {}", services.join(", ")))
}

fn profile(look: &Look, service: &str, kind: &str, format: ProfileFormat) -> anyhow::Result<Vec<u8>> {
    let found = look.profile(service, kind);
    let (difference, [healthy, observed]) =
        found.ok_or_else(|| unknown(look, service, &format!("the {kind} profile")))?;
    let drawn = drawn::flame(healthy, observed, 0, FRAMES_DRAWN);
    let head = flame::title(&drawn);
    match format {
        ProfileFormat::Text => {}
        ProfileFormat::Svg => return Ok(flame::picture(&drawn).into()),
        ProfileFormat::Html => return Ok(flame::page(&drawn).into()),
        ProfileFormat::Pprof => return Ok(pprof::encode(observed)),
    }
    let mut text = format!("{head}\n");
    writeln!(
        text,
        "all of it: {} when healthy, {} then; of each second:\n",
        why::per_second(difference.total_healthy, &difference.profile_type),
        why::per_second(difference.total_faulty, &difference.profile_type)
    )?;
    writeln!(
        text,
        "{}{:>12}{:>12}{:>14}{:>12}",
        pad("function", NAME_COLUMNS),
        "self",
        "healthy",
        "with callees",
        "healthy"
    )?;
    let first = difference.function().map(|function| function.name.clone());
    let is_first = |name: &str| Some(name) == first.as_deref();
    let mut functions: Vec<_> = difference.functions.iter().collect();
    functions.sort_by(|left, right| {
        let by_itself = |one: &crate::diagnose::FunctionChange| one.self_faulty - one.self_healthy;
        is_first(&right.name).cmp(&is_first(&left.name)).then(by_itself(right).total_cmp(&by_itself(left)))
    });
    for one in functions.into_iter().take(ROWS_SHOWN) {
        let name = if one.name.is_empty() { "(no name)".to_owned() } else { why::short(&one.name) };
        let name = pad(&cut_middle(&name, NAME_COLUMNS - 1), NAME_COLUMNS);
        let values = [one.self_faulty, one.self_healthy, one.total_faulty, one.total_healthy]
            .map(|value| why::of_a_second(value, &difference.profile_type));
        writeln!(text, "{name}{:>12}{:>12}{:>14}{:>12}", values[0], values[1], values[2], values[3])?;
    }
    Ok(text.into())
}

fn traces(look: &Look, service: Option<&str>) -> anyhow::Result<String> {
    let seen = look.traces(service);
    if seen.operations.is_empty() {
        return Err(unknown(look, service.unwrap_or("any service"), "traces").into());
    }
    let mut text = format!(
        "{} healthy traces, {} of the window; ms by themselves, on average\n\n",
        seen.healthy_count, seen.observed_count
    );
    writeln!(text, "{}{:>10}{:>10}{:>8}{:>8}", pad("operation", NAME_COLUMNS), "healthy", "then", "traces", "errors")?;
    for (operation, times) in seen.operations.iter().take(ROWS_SHOWN) {
        let is_entrance = operation.name == operation.entrance;
        let of = if is_entrance { String::new() } else { format!(", of {}", why::short(&operation.entrance)) };
        let name = format!("{} {}{of}", why::short(&operation.service), why::short(&operation.name));
        let name = pad(&cut_middle(&name, NAME_COLUMNS - 1), NAME_COLUMNS);
        let mean = |values: &[f64]| {
            if values.is_empty() {
                "-".to_owned()
            } else {
                format!("{:.1}", values.iter().sum::<f64>() / values.len() as f64)
            }
        };
        writeln!(
            text,
            "{name}{:>10}{:>10}{:>8}{:>8}",
            mean(&times.healthy_ms),
            mean(&times.faulty_ms),
            times.faulty_ms.len(),
            times.errors_faulty
        )?;
    }
    let slowest = seen
        .operations
        .iter()
        .take(3)
        .flat_map(|(operation, times)| times.slowest.iter().map(move |slow| (operation, slow)));
    writeln!(text, "\nslowest traces of the first three")?;
    for (operation, (id, own_ms)) in slowest {
        writeln!(text, "  {}  {own_ms:.1} ms in {}", hex(id), why::short(&operation.name))?;
    }
    Ok(text)
}

fn metrics(look: &Look, service: &str) -> anyhow::Result<String> {
    let changes = look.metrics(service);
    if changes.is_empty() {
        return Err(unknown(look, service, "metrics").into());
    }
    let mut text = format!("{}; healthy figures are for as many requests\n\n", why::short(service));
    writeln!(text, "{}{:>20}{:>20}{:>9}  metric", pad("sign", 32), "healthy", "then", "sigmas")?;
    for change in changes {
        let [healthy, then] = [change.healthy, change.observed].map(|value| why::figure(value, change.unit));
        writeln!(
            text,
            "{}{healthy:>20}{then:>20}{:>9.1}  {}",
            pad(change.name, 32),
            change.sigmas,
            why::short(&change.metric)
        )?;
    }
    Ok(text)
}

fn logs(look: &Look, service: &str) -> anyhow::Result<String> {
    let seen = look.logs(service);
    if seen.risen.is_empty() && seen.others.is_empty() {
        return Err(unknown(look, service, "log lines").into());
    }
    let mut text = String::new();
    for (head, templates) in [("new or risen", &seen.risen), ("as before", &seen.others)] {
        writeln!(text, "{head}: {}", templates.len())?;
        for template in templates.iter().take(ROWS_SHOWN) {
            let healthy = template.healthy_count as f64 / seen.healthy_seconds.max(1.0);
            let then = template.faulty_count as f64 / seen.observed_seconds.max(1.0);
            writeln!(
                text,
                "  {:>9.2} to {:>9.2} a second  {} {}",
                healthy,
                then,
                pad(&cut_middle(&why::short(&template.level), 8), 8),
                why::short(&template.text())
            )?;
        }
    }
    Ok(text)
}

fn check(observed: &Observed) -> anyhow::Result<String> {
    let telemetry = &observed.telemetry;
    let look = observed.look(observed.run);
    let mut text = format!("answers of {} to {}\n\n", observed.run.from, observed.run.until);
    writeln!(text, "{}{:>8}{:>10}{:>10}{:>10}", pad("service", 34), "signs", "spans", "profiles", "lines")?;
    for service in look.services() {
        let signs = look.signs(&service);
        let spans = telemetry.spans.iter().filter(|span| span.service == service).count();
        let profiles = telemetry.profiles.iter().filter(|profile| profile.service == service).count();
        let lines = telemetry.logs.iter().filter(|line| line.service == service).count();
        let name = pad(&cut_middle(&why::short(&service), 33), 34);
        writeln!(text, "{name}{signs:>8}{spans:>10}{profiles:>10}{lines:>10}")?;
    }
    for missing in &telemetry.unavailable {
        writeln!(text, "{} did not answer: {}", why::short(&missing.backend), why::short(&missing.reason))?;
    }
    Ok(text)
}
