//! What a program that runs for long says of itself: lines on stderr, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object a line.
    Json,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArgument {
    /// How the log is written to stderr; what is logged, TIDEMARK_LOG says (info when it does not).
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    log_format: LogFormat,
}

impl LogArgument {
    /// Begins to log; `usual`: what is logged when the environment does not say.
    pub fn begin(&self, usual: &str) {
        let filter = EnvFilter::try_from_env("TIDEMARK_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        // A second one within a process would be a test's.
        let _ = match self.log_format {
            LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
            LogFormat::Json => logs.json().try_init(),
        };
    }
}
