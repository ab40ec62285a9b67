//! `tidemark forward`: what k6 writes, to Kafka.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::engine::forward::{self, Door, ForwardError, PodInput, Sent};
use crate::ingest::bytes::{self, End};
use crate::ingest::kafka::produce::Producer;
use crate::model::stream::About;
use crate::store::spool::{Spool, SpoolState};

use super::config::Config;
use super::kafka::KafkaArgument;
use super::labels::LabelsArgument;
use super::logs::LogArgument;
use super::{UsageError, exit};

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
    #[command(flatten)]
    labels: LabelsArgument,
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

/// What all ways of sending need.
struct Sending<'s> {
    producer: Producer,
    topic: String,
    run: String,
    config: &'s Config,
    /// Set to end at once.
    stop: Arc<AtomicBool>,
    /// Set by an interrupt, which a k6 at the same terminal has got as well.
    interrupted: Arc<AtomicBool>,
}

impl Forward {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        self.log.begin("warn");
        let (stop, interrupted) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        for (signal, flag) in [(signal_hook::consts::SIGINT, &interrupted), (signal_hook::consts::SIGTERM, &stop)] {
            signal_hook::flag::register(signal, flag.clone()).context("failed to listen for signals")?;
        }
        let is_piped = self.inputs.is_empty() || self.inputs == [PathBuf::from("-")];
        if !self.command.is_empty() && !self.inputs.is_empty() {
            return Err(UsageError("give inputs, or a command behind --, not both".to_owned()).into());
        }
        if self.command.is_empty() && is_piped && io::stdin().is_terminal() {
            return Err(
                UsageError("nothing comes from stdin: pipe k6's output into it, or name its files".to_owned()).into()
            );
        }
        let topic = self.kafka.topic(config);
        // Before k6 is started: without a broker its results would go nowhere.
        let producer = Producer::start(&self.kafka.access(config)?, &topic).map_err(ForwardError::from)?;
        let run = self.run_id.clone().unwrap_or_else(made_up);
        let sending = Sending { producer, topic, run, config, stop, interrupted };
        let code = if !self.command.is_empty() {
            self.command(&sending)?
        } else if is_piped && !is_file(&io::stdin()) {
            let pipe = File::from(rustix::io::dup(io::stdin()).context("failed to open stdin")?);
            self.piped(&sending, pipe, &|| self.k6_exit_code)?;
            0
        } else {
            self.files(&sending)?;
            0
        };
        Ok(if sending.stop.load(Ordering::Relaxed) { exit::INTERRUPTED } else { code })
    }

    fn about(&self, config: &Config, place: u32, pods_here: u32) -> About {
        // Whoever names the run may have other pods of it elsewhere.
        let pods_count = self.pods.or_else(|| self.run_id.is_none().then_some(pods_here));
        About { labels: self.labels.labels(config), pods_count, place }
    }

    /// Files are read again when this is: they need no spool.
    fn files(&self, sending: &Sending) -> anyhow::Result<()> {
        let stop = &sending.stop;
        let paths = if self.inputs.is_empty() { vec![PathBuf::from("-")] } else { self.inputs.clone() };
        let mut inputs = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
            // Not with `stop`: an input that ends early would be sent as whole.
            let opened = bytes::open(path, End::AtEnd, Arc::default());
            let opened = opened.with_context(|| format!("failed to read {name}"))?;
            let pod = self.pod.clone().filter(|_| paths.len() == 1).unwrap_or(name);
            let about = self.about(sending.config, place as u32, paths.len() as u32);
            inputs.push(PodInput { pod, about, reader: opened.reader, before: Sent::default() });
        }
        let mut confirmed = |_: &[Sent]| {
            if sending.interrupted.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let mut door = Door { exit_code: &|| self.k6_exit_code, confirmed: &mut confirmed, stop };
        let sent = forward::forward(&sending.producer, &sending.run, inputs, &mut door)?;
        sending.tell(&sending.run, &sent, "send the files again, with the same --run-id");
        Ok(())
    }

    /// `exit_code`: asked when the pipe has ended.
    fn piped(&self, sending: &Sending, pipe: File, exit_code: &dyn Fn() -> Option<i32>) -> anyhow::Result<()> {
        let temporary = std::env::temp_dir().join(format!("tidemark-forward-{}", std::process::id()));
        let folder = self.spool.clone().unwrap_or(temporary);
        let failed = |cause| ForwardError::Spool { folder: folder.clone(), cause };
        match Spool::left(&folder).map_err(failed)? {
            Some(left) if left.state().run == sending.run && !left.state().has_ended => {
                return self.send_spooled(sending, left, exit_code, Some(pipe));
            }
            Some(left) => {
                let is_same = left.state().run == sending.run;
                eprintln!("tidemark: sending the rest of run {} from the spool first", left.state().run);
                self.send_spooled(sending, left, &|| None, None)?;
                // Its pipe had ended: whatever comes down this one is no part of it.
                if is_same || sending.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            None => {}
        }
        let (pod, about) = (self.pod.clone().unwrap_or_else(|| "stdin".to_owned()), self.about(sending.config, 0, 1));
        let state = SpoolState { run: sending.run.clone(), pod, about, ..SpoolState::default() };
        let spool = Spool::begin(&folder, state).map_err(failed)?;
        self.send_spooled(sending, spool, exit_code, Some(pipe))
    }

    /// `pipe`: what goes on; none for a spool whose pipe is gone.
    fn send_spooled(
        &self,
        sending: &Sending,
        spool: Spool,
        exit_code: &dyn Fn() -> Option<i32>,
        pipe: Option<File>,
    ) -> anyhow::Result<()> {
        let state = spool.state();
        let before = Sent { lines_count: state.confirmed_lines, bytes: state.confirmed_bytes };
        let reader: Box<dyn Read + Send> = match pipe {
            Some(_) => Box::new(spool.reader()),
            None => Box::new(Abandoned(spool.reader())),
        };
        let input = PodInput { pod: state.pod, about: state.about, reader, before };
        let spool = Arc::new(spool);
        let mut filling = pipe.map(|pipe| fill(spool.clone(), pipe, self.spool_mib << 20, sending.stop.clone()));
        let (mut is_behind, mut has_waited, mut failure) = (false, false, None);
        let mut confirmed = |sent: &[Sent]| {
            let confirmed = sent.first().map_or(Ok(()), |sent| spool.confirm(sent.lines_count, sent.bytes));
            let filled = filling.take_if(|filling| filling.is_finished());
            let filled = filled
                .map_or(Ok(()), |filling| filling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            if let Some(error) = confirmed.and(filled).err() {
                failure.get_or_insert(error);
                sending.stop.store(true, Ordering::Relaxed);
            }
            let waiting = spool.waiting_bytes();
            if waiting >= BEHIND_BYTES && !std::mem::replace(&mut is_behind, true) {
                eprintln!("tidemark: the broker is slower than k6: {} MiB wait in the spool", waiting >> 20);
            } else if waiting < BEHIND_BYTES / 2 && std::mem::replace(&mut is_behind, false) {
                eprintln!("tidemark: the broker has caught up");
            }
            if sending.interrupted.swap(false, Ordering::Relaxed) {
                if std::mem::replace(&mut has_waited, true) {
                    sending.stop.store(true, Ordering::Relaxed);
                } else {
                    eprintln!("tidemark: waiting for the end of the pipe; interrupt again to stop at once");
                }
            }
        };
        let mut door = Door { exit_code, confirmed: &mut confirmed, stop: &sending.stop };
        let sent = forward::forward(&sending.producer, &state.run, vec![input], &mut door);
        let failed = |cause| ForwardError::Spool { folder: spool.folder().to_owned(), cause };
        if let Some(cause) = failure {
            return Err(failed(cause).into());
        }
        let rest = format!("the rest waits in {}: give --spool with it, and --run-id", spool.folder().display());
        sending.tell(&state.run, &sent?, &rest);
        if sending.stop.load(Ordering::Relaxed) { Ok(()) } else { Ok(spool.delete().map_err(failed)?) }
    }

    /// Runs k6 with its JSON into a named pipe, beside whatever else it writes.
    fn command(&self, sending: &Sending) -> anyhow::Result<u8> {
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
        let ended = Arc::new(OnceLock::new());
        // Held open for writing until k6 has ended: otherwise a k6 that opens it late, or never, would end it too soon.
        let writer = File::options().read(true).write(true).open(&path).context("failed to open k6's pipe")?;
        let pipe = File::open(&path).context("failed to open k6's pipe")?;
        let waiting = wait_for(child, writer, ended.clone());
        let result = self.piped(sending, pipe, &|| ended.get().copied().flatten());
        if result.is_err() || sending.stop.load(Ordering::Relaxed) {
            // Nobody reads what k6 writes any more: it is not waited for.
            return result.map(|()| exit::INTERRUPTED);
        }
        let waited = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let status = waited.context("failed to wait for k6")?;
        Ok(u8::try_from(status.code().unwrap_or(i32::from(exit::INTERRUPTED))).unwrap_or(u8::MAX))
    }
}

impl Sending<'_> {
    /// `how_to_go_on`: said when it was stopped.
    fn tell(&self, run: &str, sent: &[Sent], how_to_go_on: &str) {
        let lines: u64 = sent.iter().map(|sent| sent.lines_count).sum();
        eprintln!("tidemark: run {run}: {lines} lines are in topic {}", self.topic);
        if self.stop.load(Ordering::Relaxed) {
            eprintln!("tidemark: stopped before the end; {how_to_go_on} {run}, to go on");
        }
    }
}

/// Fills a spool in a thread that nobody has to wait for: the pipe's writer may hold it open for long.
fn fill(spool: Arc<Spool>, pipe: File, bytes_max: u64, stop: Arc<AtomicBool>) -> JoinHandle<io::Result<()>> {
    std::thread::spawn(move || spool.fill(&pipe, bytes_max, &stop))
}

/// Waits for k6 in a thread of its own, since nobody may wait for the pipe while k6 waits for it; lets go of the pipe then.
fn wait_for(mut child: Child, writer: File, ended: Arc<OnceLock<Option<i32>>>) -> JoinHandle<io::Result<ExitStatus>> {
    std::thread::spawn(move || {
        let status = child.wait();
        // Set once, here.
        let _ = ended.set(status.as_ref().ok().and_then(ExitStatus::code));
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
