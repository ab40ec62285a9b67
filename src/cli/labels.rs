//! What the user says of a run: the command line first, then the configuration, then the CI that it runs in.

use crate::model::run::RunLabels;

use super::config::Config;
use super::{answer, key_value};

#[derive(Debug, Clone, Default, clap::Args)]
pub struct LabelsArgument {
    /// The test that this is a run of.
    #[arg(long, env = "TIDEMARK_TEST", value_name = "NAME")]
    pub test: Option<String>,
    /// The environment that it ran against.
    #[arg(long, env = "TIDEMARK_ENVIRONMENT", value_name = "NAME")]
    pub environment: Option<String>,
    /// The commit of the system under test.
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// Kept with the run.
    #[arg(long = "tag", value_name = "K=V", value_parser = key_value)]
    tags: Vec<(String, String)>,
}

impl LabelsArgument {
    pub fn labels(&self, config: &Config) -> RunLabels {
        let ci = answer::ci();
        let mut tags = config.tags.clone();
        tags.extend(self.tags.iter().cloned());
        RunLabels {
            test: self.test.clone().or_else(|| config.test.clone()),
            environment: self.environment.clone().or_else(|| config.environment.clone()),
            commit: self.commit.clone().or_else(|| ci.as_ref()?.commit.clone()),
            branch: ci.as_ref().and_then(|ci| ci.branch.clone()),
            pull_request: ci.as_ref().and_then(|ci| ci.pull_request.clone()),
            ci_url: ci.and_then(|ci| ci.url),
            tags,
        }
    }
}
