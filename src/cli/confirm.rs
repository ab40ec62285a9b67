//! `--confirm N -- COMMAND`: a run that stands out alone is run again before anyone is called.

use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::UsageError;

#[derive(Debug, clap::Args)]
pub struct Confirm {
    /// If the run is suspect, run COMMAND and judge again, at most N times: COMMAND writes the next run to the same INPUT,
    /// and all of them are judged together.
    #[arg(long, value_name = "N", requires = "command")]
    confirm: Option<NonZeroU32>,
    /// What --confirm runs, behind `--`; its output goes to stderr.
    #[arg(last = true, requires = "confirm", value_name = "COMMAND")]
    command: Vec<String>,
}

impl Confirm {
    /// How often it may be run again.
    pub fn rounds(&self) -> u32 {
        self.confirm.map_or(0, NonZeroU32::get)
    }

    /// Refuses what cannot be read twice, or has no history to be judged by.
    pub fn check(&self, inputs: &[&Path], keeps: bool) -> Result<(), UsageError> {
        let refused = |reason: &str| Err(UsageError(format!("--confirm {reason}")));
        match self.confirm {
            None => Ok(()),
            Some(_) if !keeps => refused("judges the runs together, so they have to be kept: leave out --no-store"),
            Some(_) if inputs.contains(&Path::new("-")) => {
                refused("reads the input again after each run, so it cannot be stdin: let COMMAND write a file")
            }
            Some(_) => Ok(()),
        }
    }

    /// Runs the command once more and waits for it; returns what it ended with, none if a signal ended it.
    pub fn run_again(&self, round: u32) -> anyhow::Result<Option<i32>> {
        let [program, arguments @ ..] = self.command.as_slice() else { return Ok(None) };
        let command = self.command.join(" ");
        eprintln!("suspect: running it again, {round} of at most {}: {command}", self.rounds());
        // stdout is for the report alone.
        let to_stderr = std::io::stderr().as_fd().try_clone_to_owned().context("failed to share stderr")?;
        let status = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(to_stderr)
            .status()
            .map_err(|cause| UsageError(format!("--confirm cannot run {program}: {cause}")))?;
        Ok(status.code())
    }
}
