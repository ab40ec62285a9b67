//! `tidemark schema`: JSON Schemas, for editors and for programs that read our reports.

use schemars::generate::{SchemaGenerator, SchemaSettings};

use crate::model::report::AnalysisReport;
use crate::model::stream_event::StreamEvent;

use super::config::Config;
use super::print;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidemark schema config > tidemark.schema.json  for an editor of tidemark.toml
  tidemark schema report                         what analyze --format json prints
  tidemark schema event                          what stream prints")]
pub struct Schema {
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// The configuration file, tidemark.toml.
    Config,
    /// The report, as `analyze --format json` prints it.
    Report,
    /// A message of `stream`, as it is on stdout, on the topic of findings and at a webhook.
    Event,
}

impl Schema {
    pub fn run(self) -> anyhow::Result<u8> {
        let schema = match self.of {
            Of::Config => SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>(),
            // What is written, not what is read: a key that is always there is required.
            Of::Report => written().into_root_schema_for::<AnalysisReport>(),
            Of::Event => written().into_root_schema_for::<StreamEvent>(),
        };
        print((serde_json::to_string_pretty(&schema)? + "\n").as_bytes())?;
        Ok(0)
    }
}

fn written() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().into_generator()
}
