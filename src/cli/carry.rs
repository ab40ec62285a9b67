//! `tidemark export` and `tidemark import`: a run as one file, from store to store.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use super::config::Config;
use super::{StoreArgument, UsageError};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidemark export last > run.tmk
  tidemark export 3f2a --store s3://bucket/load-tests > run.tmk")]
pub struct Export {
    /// An id, the start of one, last, or last~2.
    #[arg(default_value = "last")]
    run: String,
    #[command(flatten)]
    store: StoreArgument,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidemark import run.tmk
  tidemark export last | tidemark import - --store elsewhere/")]
pub struct Import {
    /// What `tidemark export` wrote (`-` is stdin).
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgument,
}

impl Export {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(UsageError("a run is no text for a terminal: add > run.tmk".to_owned()).into());
        }
        let store = self.store.open(config)?;
        let manifest = super::find(&store, &self.run, config)?;
        store.export(&manifest, stdout.lock())?;
        Ok(0)
    }
}

impl Import {
    pub fn run(self, config: &Config) -> anyhow::Result<u8> {
        let input: Box<dyn Read> = if self.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).with_context(|| format!("failed to open {}", self.file.display()))?)
        };
        let store = self.store.create(config)?;
        let attempt = crate::store::attempt(SystemTime::now().into());
        let claim = store.claim(&attempt)?;
        let manifest = store.import(input, &attempt)?;
        drop(claim);
        println!("kept in {} as {}", store.location, manifest.run_id);
        Ok(0)
    }
}
