//! `tidemark forward`: what k6 writes, to Kafka.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::engine::forward::{self, Door, PodInput, Sent};
use crate::ingest::bytes::{self, End};
use crate::ingest::kafka::access::Access;
use crate::model::run::RunLabels;
use crate::model::stream::About;
use crate::store::spool::{Spool, SpoolState};

use super::answer;
use super::config::Config;
use super::kafka::KafkaArgument;
use super::logs::LogArgument;
use super::{UsageError, exit, key_value};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Forward {
    /// k6's JSON output, plain or compressed; `-` is stdin, and the default. Several are the pods of one run.
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Runs k6 itself, and ends with its code.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// What the run is called on its way: the same for all of its pods. Made up when nothing says.
    #[arg(long, env = "TIDEMARK_RUN_ID", value_name = "NAME")]
    run_id: Option<String>,
    /// What this pod of the run is called; the input's name when nothing says.
    #[arg(long, env = "TIDEMARK_POD", value_name = "NAME")]
    pod: Option<String>,
    /// Pods that the run has, where each has a forward of its own with the same --run-id: the run ends with the last of them.
    #[arg(long, value_name = "N", requires = "run_id", value_parser = clap::value_parser!(u32).range(1..))]
    pods: Option<u32>,
    /// The test that this is a run of.
    #[arg(long, env = "TIDEMARK_TEST", value_name = "NAME")]
    test: Option<String>,
    /// The environment that it runs against.
    #[arg(long, env = "TIDEMARK_ENVIRONMENT", value_name = "NAME")]
    environment: Option<String>,
    /// The commit of the system under test.
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// Kept with the run.
    #[arg(long = "tag", value_name = "K=V", value_parser = key_value)]
    tags: Vec<(String, String)>,
    /// What k6 ended with, where the inputs are files.
    #[arg(long, value_name = "N", conflicts_with = "command")]
    k6_exit_code: Option<i32>,
    /// Where stdin waits for the broker: with the same folder and --run-id, another forward goes on where this one was
    /// killed. A folder of its own below the system's for temporary files when nothing says.
    #[arg(long, env = "TIDEMARK_SPOOL", value_name = "DIR")]
    spool: Option<PathBuf>,
    /// How much may wait there before k6 has to, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    spool_mib: u64,
    #[command(flatten)]
    kafka: KafkaArgument,
    #[command(flatten)]
    log: LogArgument,
}

const EXAMPLES: &str = "Examples:
  k6 run --out json=- -q --summary-mode disabled script.js | tidemark forward --brokers localhost:9092
  tidemark forward --brokers localhost:9092 -- k6 run script.js
  tidemark forward --brokers localhost:9092 pod-1.json.gz pod-2.json.gz
  k6 run --out json=- -q script.js | tidemark forward --run-id nightly-7 --pods 3 --pod $HOSTNAME";

/// So much in the spool means that the broker is slower than k6.
const BEHIND_BYTES: u64 = 16 << 20;

impl Forward {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        self.log.begin("warn");
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).context("failed to listen for signals")?;
        }
        let (access, topic) = (self.kafka.access(config)?, self.kafka.topic(config));
        let run = self.run_id.clone().unwrap_or_else(made_up);
        let is_piped = self.inputs.is_empty() || self.inputs == [PathBuf::from("-")];
        if !self.command.is_empty() && !self.inputs.is_empty() {
            return Err(UsageError("give inputs, or a command behind --, not both".to_owned()).into());
        }
        if self.command.is_empty() && is_piped && io::stdin().is_terminal() {
            return Err(
                UsageError("nothing comes from stdin: pipe k6's output into it, or name its files".to_owned()).into()
            );
        }
        let code = if !self.command.is_empty() {
            self.command(&access, &topic, &run, config, &stop)?
        } else if is_piped && !is_file(&io::stdin()) {
            let pipe = File::from(rustix::io::dup(io::stdin()).context("failed to open stdin")?);
            self.piped(&access, &topic, &run, config, &pipe, &|| self.k6_exit_code, &stop)?;
            0
        } else {
            self.files(&access, &topic, &run, config, &stop)?;
            0
        };
        Ok(if stop.load(Ordering::Relaxed) { exit::INTERRUPTED } else { code })
    }

    fn about(&self, config: &Config, place: u32, pods_here: u32) -> About {
        let ci = answer::ci();
        let mut tags = config.tags.clone();
        tags.extend(self.tags.iter().cloned());
        let labels = RunLabels {
            test: self.test.clone().or_else(|| config.test.clone()),
            environment: self.environment.clone().or_else(|| config.environment.clone()),
            commit: self.commit.clone().or_else(|| ci.as_ref()?.commit.clone()),
            branch: ci.as_ref().and_then(|ci| ci.branch.clone()),
            pull_request: ci.as_ref().and_then(|ci| ci.pull_request.clone()),
            ci_url: ci.and_then(|ci| ci.url),
            tags,
        };
        // Whoever names the run may have other pods of it elsewhere.
        let pods_count = self.pods.or_else(|| self.run_id.is_none().then_some(pods_here));
        About { labels, pods_count, place }
    }

    /// Files are read again when this is: they need no spool.
    fn files(
        &self,
        access: &Access,
        topic: &str,
        run: &str,
        config: &Config,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let paths = if self.inputs.is_empty() { vec![PathBuf::from("-")] } else { self.inputs.clone() };
        let mut inputs = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
            let opened =
                bytes::open(path, End::AtEnd, stop.clone()).with_context(|| format!("failed to read {name}"))?;
            let pod = self.pod.clone().filter(|_| paths.len() == 1).unwrap_or(name);
            let about = self.about(config, place as u32, paths.len() as u32);
            inputs.push(PodInput { pod, about, reader: opened.reader, before: Sent::default() });
        }
        let exit_code = || self.k6_exit_code;
        let mut door = Door { exit_code: &exit_code, confirmed: &mut |_| {}, stop };
        let sent = forward::forward(access, topic, run, inputs, &mut door)?;
        self.tell(run, topic, &sent);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "they are what a pipe into a topic is")]
    fn piped(
        &self,
        access: &Access,
        topic: &str,
        run: &str,
        config: &Config,
        pipe: &File,
        exit_code: &dyn Fn() -> Option<i32>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let temporary = std::env::temp_dir().join(format!("tidemark-forward-{}", std::process::id()));
        let folder = self.spool.clone().unwrap_or(temporary);
        let failed = || format!("failed to use the spool {}", folder.display());
        let left = Spool::left(&folder).with_context(failed)?;
        let spool = match left {
            Some(left) if left.state().run == run && !left.state().has_ended => left,
            Some(left) => {
                eprintln!("tidemark: sending the rest of run {} from the spool first", left.state().run);
                self.send_spooled(access, topic, left, &|| None, stop, None)?;
                self.begin_spool(&folder, run, config).with_context(failed)?
            }
            None => self.begin_spool(&folder, run, config).with_context(failed)?,
        };
        self.send_spooled(access, topic, spool, exit_code, stop, Some(pipe))
    }

    fn begin_spool(&self, folder: &Path, run: &str, config: &Config) -> io::Result<Spool> {
        let pod = self.pod.clone().unwrap_or_else(|| "stdin".to_owned());
        let about = self.about(config, 0, 1);
        Spool::begin(folder, SpoolState { run: run.to_owned(), pod, about, ..SpoolState::default() })
    }

    /// `pipe`: what goes on; none for a spool whose pipe is gone.
    fn send_spooled(
        &self,
        access: &Access,
        topic: &str,
        spool: Spool,
        exit_code: &dyn Fn() -> Option<i32>,
        stop: &Arc<AtomicBool>,
        pipe: Option<&File>,
    ) -> anyhow::Result<()> {
        let state = spool.state();
        let before = Sent { lines_count: state.confirmed_lines, bytes: state.confirmed_bytes };
        let reader: Box<dyn Read + Send> = match pipe {
            Some(_) => Box::new(spool.reader()),
            None => Box::new(Abandoned(spool.reader())),
        };
        let input = PodInput { pod: state.pod, about: state.about, reader, before };
        let (is_behind, failure) = (Cell::new(false), Cell::new(None));
        let over = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let filling = pipe.map(|pipe| scope.spawn(|| spool.fill(pipe, self.spool_mib << 20, &over)));
            let mut confirmed = |sent: &[Sent]| {
                let confirmed = sent.first().map_or(Ok(()), |sent| spool.confirm(sent.lines_count, sent.bytes));
                failure.set(failure.take().or(confirmed.err()));
                let waiting = spool.waiting_bytes();
                if waiting >= BEHIND_BYTES && !is_behind.replace(true) {
                    eprintln!("tidemark: the broker is slower than k6: {} MiB wait in the spool", waiting >> 20);
                } else if waiting < BEHIND_BYTES / 2 && is_behind.replace(false) {
                    eprintln!("tidemark: the broker has caught up");
                }
            };
            let mut door = Door { exit_code, confirmed: &mut confirmed, stop };
            let sent = forward::forward(access, topic, &state.run, vec![input], &mut door);
            over.store(true, Ordering::Relaxed);
            // After an interruption its writer may hold the pipe open for long: the process ends without it.
            if let Some(filling) = filling.filter(|filling| sent.is_err() || filling.is_finished()) {
                let filled = filling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                failure.set(failure.take().or(filled.err()));
            }
            sent
        });
        if let Some(error) = failure.take() {
            return Err(error).context("failed to use the spool");
        }
        let sent = sent?;
        self.tell(&state.run, topic, &sent);
        spool.delete().context("failed to delete the spool")
    }

    /// Runs k6 with its JSON into a named pipe, beside whatever else it writes.
    fn command(
        &self,
        access: &Access,
        topic: &str,
        run: &str,
        config: &Config,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<u8> {
        let folder = tempfile::tempdir().context("failed to make a folder for k6's pipe")?;
        let path = folder.path().join("k6.json");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
            .context("failed to make k6's pipe")?;
        let mut command = Command::new(&self.command[0]);
        let at = self.command.iter().position(|word| word == "run").unwrap_or(0);
        let out = format!("json={}", path.display());
        let words = self.command[1..=at].iter().map(String::as_str).chain(["--out", &out]);
        command.args(words).args(&self.command[at + 1..]);
        let child = command.spawn().with_context(|| format!("failed to start {}", self.command[0]))?;
        let ended = Arc::new(std::sync::OnceLock::new());
        // Held open for writing until k6 has ended: otherwise a k6 that opens it late, or never, would end it too soon.
        let writer = File::options().read(true).write(true).open(&path).context("failed to open k6's pipe")?;
        let pipe = File::open(&path).context("failed to open k6's pipe")?;
        let waiting = wait_for(child, writer, ended.clone());
        let exit_code = || ended.get().copied().flatten();
        let result = self.piped(access, topic, run, config, &pipe, &exit_code, stop);
        let waited = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result?;
        let status = waited.context("failed to wait for k6")?;
        Ok(u8::try_from(status.code().unwrap_or(i32::from(exit::INTERRUPTED))).unwrap_or(u8::MAX))
    }

    fn tell(&self, run: &str, topic: &str, sent: &[Sent]) {
        let lines: u64 = sent.iter().map(|sent| sent.lines_count).sum();
        eprintln!("tidemark: run {run}: {lines} lines are in topic {topic}");
    }
}

/// Waits for k6 in a thread of its own, since nobody may wait for the pipe while k6 waits for it; lets go of the pipe then.
fn wait_for(
    mut child: Child,
    writer: File,
    ended: Arc<std::sync::OnceLock<Option<i32>>>,
) -> std::thread::JoinHandle<io::Result<std::process::ExitStatus>> {
    std::thread::spawn(move || {
        let status = child.wait();
        // Set once, here.
        let _ = ended.set(status.as_ref().ok().and_then(std::process::ExitStatus::code));
        drop(writer);
        status
    })
}

/// A spool whose pipe is gone: what it holds is all.
struct Abandoned<R>(R);

impl<R: Read> Read for Abandoned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            read => read,
        }
    }
}

fn is_file(stdin: &io::Stdin) -> bool {
    rustix::fs::fstat(stdin).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
}

/// Names a run by the time and this process.
fn made_up() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    format!("run-{}-{}", since.as_secs(), std::process::id())
}
