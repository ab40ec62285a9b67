//! `tidemark analyze`: k6's results in, a report out.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::engine::baseline::Baseline;
use crate::engine::evidence::Source;
use crate::engine::live::Live;
use crate::engine::watch::{News, Teller};
use crate::engine::{self, Keep, Request};
use crate::ingest::bytes::End;
use crate::ingest::folder;
use crate::ingest::input::{self, Input};
use crate::model::metric::ThresholdSource;
use crate::model::report::{AnalysisReport, VerdictKind};
use crate::model::threshold::Expression;
use crate::report::early;
use crate::store::Store;

use super::answer::Answer;
use super::baseline;
use super::config::{Config, ObjectiveConfig, QuietSeconds};
use super::confirm::Confirm;
use super::fail_on::FailOnArgument;
use super::known_run::known_run;
use super::labels::LabelsArgument;
use super::screen::{Board, Screen};
use super::servers::ServersArgument;
use super::{StoreArgument, UsageError, exit, progress};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Analyze {
    /// k6's JSON or CSV output, plain or compressed (`-` is stdin; several are the pods of one run), its summary, alone or
    /// beside them, or a folder of these.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    labels: LabelsArgument,
    /// A threshold that the input does not hold, such as 'http_req_duration{name:pay}=p(95)<80'.
    #[arg(long = "threshold", value_name = "METRIC=EXPRESSION", value_parser = threshold)]
    thresholds: Vec<(String, ThresholdSource)>,
    /// The input is still being written: end when its writer has closed it, or after --quiet-seconds without a byte.
    #[arg(long)]
    follow: bool,
    /// How long --follow waits without a byte; 10 when nothing says.
    #[arg(long, value_name = "SECONDS", requires = "follow", allow_negative_numbers = true)]
    quiet_seconds: Option<QuietSeconds>,
    /// What k6 ended with.
    #[arg(long, value_name = "N")]
    k6_exit_code: Option<i32>,
    /// What the run is judged against: auto (the last comparable run of the store), none, a run, or files of one.
    #[arg(long, value_name = "auto|none|RUN|FILE", default_value = "auto")]
    baseline: String,
    /// A folder of what Prometheus, Tempo, Pyroscope and Loki answered about the run, in the place of asking them: says why,
    /// with the evidence.
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    #[command(flatten)]
    servers: ServersArgument,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    fail_on: FailOnArgument,
    /// Keep nothing.
    #[arg(long)]
    no_store: bool,
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    confirm: Confirm,
}

const EXAMPLES: &str = "Examples:
  tidemark analyze k6.json.gz --test checkout --environment staging
  tidemark analyze pod-1.json pod-2.json pod-3.json
  tidemark analyze results/
  tidemark analyze --follow k6.json
  tidemark analyze k6.json.gz --prometheus http://127.0.0.1:9090 --tempo http://127.0.0.1:3200
  tidemark analyze k6.json --confirm 2 -- k6 run --out json=k6.json script.js
  k6 run --out json=- script.js | tidemark analyze - --format json";

const QUIET_SECONDS_DEFAULT: QuietSeconds = QuietSeconds(10.0);

/// k6 ends with these when the test itself is bad; 103, 105 and 108 are deliberate stops.
const K6_TEST_IS_BAD: [i32; 7] = [100, 101, 102, 104, 106, 107, 109];

impl Analyze {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).context("failed to listen for signals")?;
        }
        let inputs: Vec<&Path> = self.inputs.iter().map(PathBuf::as_path).collect();
        self.confirm.check(&inputs, !self.no_store)?;
        let store = if self.no_store { None } else { Some(self.store.create(config)?) };
        let is_stopped = || stop.load(Ordering::Relaxed);
        let mut k6_exit_code = self.k6_exit_code;
        let mut report = self.judged(config, store.as_ref(), k6_exit_code, &stop)?;
        let mut runs = vec![report.run.id.clone()];
        for round in 1..=self.confirm.rounds() {
            if report.verdict.kind != VerdictKind::Suspect || is_stopped() {
                break;
            }
            k6_exit_code = self.confirm.run_again(round)?;
            report = self.judged(config, store.as_ref(), k6_exit_code, &stop)?;
            if runs.contains(&report.run.id) {
                let inputs: Vec<String> = inputs.iter().map(|input| input.display().to_string()).collect();
                anyhow::bail!("--confirm found no new run in {} after its command had ended", inputs.join(", "));
            }
            runs.push(report.run.id.clone());
        }
        let kept = store
            .map_or("not kept".to_owned(), |store| format!("kept in {} as {}", store.location, runs.join(", then ")));
        self.answer.tell(&report, &kept)?;
        Ok(if is_stopped() { exit::INTERRUPTED } else { self.exit_code(config, k6_exit_code, &report) })
    }

    /// Reads the inputs, keeps them as a run, judges it.
    fn judged(
        &self,
        config: &Config,
        store: Option<&Store>,
        k6_exit_code: Option<i32>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<AnalysisReport> {
        let now = SystemTime::now();
        if let Some(store) = store {
            store.delete_abandoned(now)?;
        }
        let folder::Expanded { paths, left_out } = self.expand(stop)?;
        let baseline = self.baseline(config, stop)?;
        let evidence = self.evidence(config)?;
        let inputs = self.open(&paths, config, stop)?;
        let is_live = self.follow || paths.iter().any(|path| path == Path::new("-"));
        let live = (is_live && std::io::stderr().is_terminal()).then(Arc::<Live>::default);
        // Until the run is judged, the progress is shown and the attempt's folder is ours.
        let board = Board::default();
        let run = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let screen = live.as_ref().filter(|_| self.follow).and_then(|live| {
            board.begin(&run, live.clone());
            Screen::show(&board)
        });
        let shown = match &screen {
            Some(_) => progress::Shown::nothing(),
            None => self.show_progress(&inputs, live.clone(), evidence.as_ref()),
        };
        // What is told while the screen is up is said once it is down.
        let unsaid = Arc::<Mutex<Vec<String>>>::default();
        let teller = is_live.then(|| {
            let (write, board) = (shown.line_writer(), board.clone());
            let later = screen.is_some().then(|| unsaid.clone());
            Teller(Box::new(move |news| {
                board.news(&run, &news);
                let line = match news {
                    News::Early(finding) => early::told(&finding),
                    News::Change { change, at } => early::changed(&change, at),
                };
                match &later {
                    Some(later) => later.lock().unwrap_or_else(PoisonError::into_inner).push(line),
                    None => write(&line),
                }
            }))
        });
        let keep = store.map(|store| Keep::begin(store, now.into()));
        let _claim = keep.as_ref().map(|keep| keep.store.claim(&keep.attempt)).transpose()?;
        let k6_exit_code = Arc::new(k6_exit_code.map_or_else(OnceLock::new, OnceLock::from));
        let request = Request { k6_exit_code, teller, evidence, left_out, baseline, live, ..self.request(config) };
        let analysis = engine::analyze(inputs, &request, keep, stop);
        drop(screen);
        unsaid.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|line| eprintln!("{line}"));
        Ok(analysis?.report)
    }

    /// What the command line says, and where it says nothing, the configuration.
    fn request(&self, config: &Config) -> Request {
        Request {
            labels: self.labels.labels(config),
            grafana: self.servers.grafana(config),
            ..configured(config, &self.thresholds)
        }
    }

    /// A folder is asked instead of the servers, wherever those stand.
    fn evidence(&self, config: &Config) -> anyhow::Result<Option<Source>> {
        match &self.capture {
            Some(folder) => Ok(Some(Source::Folder(folder.clone()))),
            None => Ok(self.servers.source(config)?),
        }
    }

    fn baseline(&self, config: &Config, stop: &Arc<AtomicBool>) -> anyhow::Result<Baseline> {
        let known = |name: &str| -> anyhow::Result<Baseline> {
            Ok(Baseline::Given(Box::new(known_run(name, || Ok(self.store.open(config)?), config, stop)?)))
        };
        match self.baseline.as_str() {
            "none" => Ok(Baseline::None),
            "auto" if self.no_store => Ok(Baseline::Automatic { since: None }),
            "auto" => {
                let LabelsArgument { test, environment, .. } = &self.labels;
                let (test, environment) = baseline::names(test.clone(), environment.clone(), config);
                baseline::agreed(&test, &environment, config, known)
            }
            name => known(name),
        }
    }

    /// Puts the files of a folder in its place.
    fn expand(&self, stop: &Arc<AtomicBool>) -> anyhow::Result<folder::Expanded> {
        if !self.follow {
            return Ok(folder::expand(&self.inputs, stop)?);
        }
        if let Some(folder) = self.inputs.iter().find(|input| input.is_dir()) {
            let reason = format!("--follow cannot watch the folder {}: name the files that grow", folder.display());
            return Err(UsageError(reason).into());
        }
        Ok(folder::Expanded { paths: self.inputs.clone(), left_out: Vec::new() })
    }

    fn open(&self, paths: &[PathBuf], config: &Config, stop: &Arc<AtomicBool>) -> anyhow::Result<Vec<Input>> {
        let quiet = self.quiet_seconds.or(config.quiet_seconds).unwrap_or(QUIET_SECONDS_DEFAULT);
        let end = if self.follow { End::Quiet(Duration::from_secs_f64(quiet.0)) } else { End::AtEnd };
        let decoders = (super::cores() / paths.len()).max(1);
        let open = |path: &PathBuf| input::open(path, end.clone(), decoders, stop.clone());
        Ok(paths.iter().map(open).collect::<Result<_, _>>()?)
    }

    /// `live`: none for files that are whole, since their end is near.
    fn show_progress(&self, inputs: &[Input], live: Option<Arc<Live>>, source: Option<&Source>) -> progress::Shown {
        // A summary is read when it is opened.
        let samples = |input: &Input| match input {
            Input::Samples(samples) => Some((PathBuf::from(&samples.name), samples.progress.clone())),
            Input::Summary(..) => None,
        };
        let (paths, read): (Vec<PathBuf>, Vec<_>) = inputs.iter().filter_map(samples).unzip();
        let total = if self.follow { None } else { progress::total_bytes(paths.iter().map(PathBuf::as_path)) };
        progress::show(read, total, live, source)
    }

    fn exit_code(&self, config: &Config, k6_exit_code: Option<i32>, report: &AnalysisReport) -> u8 {
        if k6_exit_code.is_some_and(|code| K6_TEST_IS_BAD.contains(&code)) {
            return exit::BAD_INPUT;
        }
        self.fail_on.exit_code(config, report)
    }
}

/// Returns what the configuration says of the judgement; `thresholds`: come before its own.
pub fn configured(config: &Config, thresholds: &[(String, ThresholdSource)]) -> Request {
    let mut all = crate::detect::thresholds::Thresholds::new();
    let configured = config.thresholds.iter().flat_map(|(metric, expressions)| {
        expressions.iter().map(move |expression| (metric.clone(), threshold_source(&expression.0)))
    });
    for (metric, source) in thresholds.iter().cloned().chain(configured) {
        let known: &mut Vec<ThresholdSource> = all.entry(metric).or_default();
        if !known.contains(&source) {
            known.push(source);
        }
    }
    let objectives = config.objectives.iter().map(ObjectiveConfig::objective).collect();
    Request { thresholds: all, objectives, ..Request::default() }
}

fn threshold(text: &str) -> Result<(String, ThresholdSource), String> {
    // A metric's filter may hold '=', the expression's operators hold it too: the metric ends at its brace, or at the first '='.
    let metric_end = text.find('}').map_or(0, |brace| brace + 1);
    let equals = text[metric_end..].find('=').ok_or("expected METRIC=EXPRESSION")? + metric_end;
    let (metric, expression) = (text[..equals].to_owned(), text[equals + 1..].to_owned());
    Expression::parse(&expression).map_err(|error| error.to_string())?;
    Ok((metric, threshold_source(&expression)))
}

fn threshold_source(expression: &str) -> ThresholdSource {
    ThresholdSource { expression: expression.to_owned(), abort_on_fail: false, delay_abort_eval: None }
}
