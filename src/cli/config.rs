//! `tidemark.toml`: defaults for the command line, in the folder of a project.
//!
//! What the command line says comes first, then the environment, then this file, then the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::model::report::Objective;
use crate::model::threshold::Expression;

use super::fail_on::FailOn;
use super::kafka::KafkaConfig;
use super::stream::StreamConfig;
use super::telemetry_config::TelemetryConfig;

pub const FILE_NAME: &str = "tidemark.toml";

/// The defaults of a project. Every key may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "tidemark.toml")]
pub struct Config {
    /// Where runs are kept: a folder, relative to this file, or the URL of a bucket such as s3://bucket/prefix. Default: .tidemark in the current folder.
    pub store: Option<String>,
    /// The test that runs are of. Default: default.
    pub test: Option<String>,
    /// The environment that runs are made in. Default: default.
    pub environment: Option<String>,
    /// Kept with each run; --tag adds to them. Default: none.
    pub tags: BTreeMap<String, String>,
    /// Thresholds by metric or sub-metric, in k6's language, besides those that the input holds. Default: none.
    pub thresholds: BTreeMap<String, Vec<Threshold>>,
    /// Error budgets, as [[objectives]]: which part of the requests has to be good. Default: none.
    pub objectives: Vec<ObjectiveConfig>,
    /// Verdicts that end `analyze` with 1 (with 4 for inconclusive). Default: regressed and thresholds.
    pub fail_on: Option<Vec<FailOn>>,
    /// How long `analyze --follow` waits without a byte, in seconds. Default: 10.
    pub quiet_seconds: Option<QuietSeconds>,
    /// Where `baseline` writes what was agreed on: a folder, relative to this file. Default: baselines in the current folder.
    pub baselines: Option<String>,
    /// What `prune` keeps. Default: nothing is deleted.
    pub retention: RetentionConfig,
    /// Where the servers are that know what the system did meanwhile. Default: none is asked.
    pub telemetry: TelemetryConfig,
    /// Where Kafka is, for `forward` and `stream`. Default: nowhere.
    pub kafka: KafkaConfig,
    /// How `stream` reads a topic, and who is told. Default: only stdout.
    pub stream: StreamConfig,
}

/// What `prune` keeps when its options do not say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// The newest runs of each test and environment; older ones are deleted. At least 1. Default: all.
    #[schemars(range(min = 1))]
    pub keep: Option<std::num::NonZeroUsize>,
    /// How long a run keeps its samples, in days since its start. Default: for ever.
    pub samples_days: Option<u32>,
}

/// An error budget: how many requests may be bad. A run that uses it up faster than it lasts, beyond doubt, ends as
/// thresholds_failed.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// How reports call it.
    pub name: String,
    /// The endpoint that it is for, by its name. Default: all requests.
    pub endpoint: Option<String>,
    /// Requests that take longer are bad as well as those that fail, in milliseconds. Default: only those that fail.
    pub latency_ms: Option<Positive>,
    /// The part of the requests that has to be good, such as 0.999.
    pub objective: Part,
    /// What the budget is for, in days. Default: 30.
    pub window_days: Option<Positive>,
}

impl ObjectiveConfig {
    pub fn objective(&self) -> Objective {
        Objective {
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            latency_ms: self.latency_ms.map(|limit| limit.0),
            objective: self.objective.0,
            window_days: self.window_days.map_or(30.0, |days| days.0),
        }
    }
}

/// A number above 0.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub struct Positive(#[schemars(range(min = 0))] pub f64);

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Positive, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let is_one = number > 0.0 && number.is_finite();
        is_one.then_some(Positive(number)).ok_or_else(|| serde::de::Error::custom(format!("{number} is not above 0")))
    }
}

/// A part of a whole, between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub struct Part(#[schemars(range(min = 0, max = 1))] pub f64);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        let part = f64::deserialize(deserializer)?;
        let is_part = part > 0.0 && part < 1.0;
        is_part.then_some(Part(part)).ok_or_else(|| {
            serde::de::Error::custom(format!("{part} is no part that can be kept: above 0 and below 1, such as 0.999"))
        })
    }
}

/// A threshold in k6's language, such as `p(95)<500`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub struct Threshold(pub String);

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Threshold, D::Error> {
        let text = String::deserialize(deserializer)?;
        Expression::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Threshold(text))
    }
}

/// A time in seconds, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub struct QuietSeconds(#[schemars(range(min = 0))] pub f64);

impl QuietSeconds {
    /// Beyond any run; a larger one is a mistake, and no time of the system holds it.
    const MAX: f64 = 1e9;

    pub fn new(seconds: f64) -> Result<QuietSeconds, String> {
        if (0.0..=QuietSeconds::MAX).contains(&seconds) {
            Ok(QuietSeconds(seconds))
        } else {
            Err(format!("{seconds} is not a number of seconds from 0 to {}", QuietSeconds::MAX))
        }
    }
}

impl std::str::FromStr for QuietSeconds {
    type Err = String;

    fn from_str(text: &str) -> Result<QuietSeconds, String> {
        QuietSeconds::new(text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?)
    }
}

impl<'de> Deserialize<'de> for QuietSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QuietSeconds, D::Error> {
        QuietSeconds::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{}, line {line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
}

/// Reads `explicit`, else the file in `folder` or its nearest parent that has one, else nothing.
pub fn load(explicit: Option<&Path>, folder: &Path) -> Result<Config, ConfigError> {
    let nearest = || folder.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file());
    let Some(path) = explicit.map(Path::to_owned).or_else(nearest) else { return Ok(Config::default()) };
    let text = std::fs::read_to_string(&path).map_err(|cause| ConfigError::Read { path: path.clone(), cause })?;
    let mut config = parse(&text).map_err(|(line, reason)| ConfigError::Line { path: path.clone(), line, reason })?;
    let Some(beside) = path.parent() else { return Ok(config) };
    let here = |folder: String| beside.join(folder).display().to_string();
    config.store = config.store.map(|store| if store.contains("://") { store } else { here(store) });
    config.baselines = config.baselines.map(here);
    config.telemetry.files_are_relative_to(beside);
    config.kafka.files_are_relative_to(beside);
    Ok(config)
}

/// Returns the configuration, or the line from 1 and what is wrong there.
fn parse(text: &str) -> Result<Config, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text.as_bytes()[..start];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, reason(error.message(), text.lines().nth(line - 1).unwrap_or_default()))
    })
}

/// Words what is wrong: an unknown key with the nearest known one, else serde's words beside the line itself.
fn reason(message: &str, line: &str) -> String {
    // "unknown field `tset`, expected one of `store`, `test`": each name stands in backticks.
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), names.next()) {
        (true, Some(unknown)) => {
            let known: Vec<&str> = names.collect();
            let nearest = known.iter().max_by(|one, other| {
                strsim::jaro_winkler(unknown, one).total_cmp(&strsim::jaro_winkler(unknown, other))
            });
            let nearest = nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
            format!("there is no key {unknown}{nearest} (known here: {})", known.join(", "))
        }
        _ => format!("{}, in: {}", message.trim().replace('\n', ", "), line.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kafka::SaslMechanism;

    fn check(text: &str, line: usize, expected: &str) {
        let (found_line, reason) = parse(text).unwrap_err();
        assert!(reason.contains(expected), "expected {expected:?} in {reason:?}");
        assert_eq!(found_line, line, "{reason}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        check("store = \"x\"\ntset = \"shop\"\n", 2, "there is no key tset; did you mean test?");
        check("[retention]\n\nkep = 3\n", 3, "there is no key kep; did you mean keep?");
        check("test = 3\n", 1, "expected a string, in: test = 3");
        check("\n[retention]\nkeep = 0\n", 3, "expected a nonzero");
        check("[retention]\nsamples_days = \"30\"\n", 2, "expected u32");
        check("quiet_seconds = -1\n", 1, "not a number of seconds");
        check("fail_on = [\"thresholds\", \"slow\"]\n", 1, "expected one of `regressed`, `thresholds`");
        check("[thresholds]\nhttp_reqs = [\"count>1\", \"p(95)\"]\n", 2, "threshold \"p(95)\"");
        check("[[objectives]]\nname = \"a\"\nobjective = 99.9\n", 3, "99.9 is no part that can be kept");
        check("[[objectives]]\nname = \"a\"\nobjective = 0.9\nlatency_ms = 0\n", 4, "0 is not above 0");
        check("[[objectives]]\nname = \"a\"\nobjective = 0.9\nlatency = 5\n", 4, "did you mean latency_ms?");
        check("test = \n", 1, "in: test =");
        check("[kafka]\nbroker = \"a\"\n", 2, "did you mean brokers?");
        check("[stream]\ncommit_mib = 0\n", 2, "expected a nonzero");
        check("[stream]\nlisten = \"9464\"\n", 2, "invalid socket address");
        check("[tags]\nteam = \"a\"\nteam = \"b\"\n", 3, "duplicate key");
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.store.as_deref(), Some("s3://results/tidemark"));
        assert_eq!(config.tags["team"], "payments");
        assert_eq!(config.thresholds["http_req_duration{name:pay}"], [Threshold("p(95)<80".to_owned())]);
        assert_eq!(config.fail_on, Some(vec![FailOn::Thresholds, FailOn::Inconclusive]));
        assert_eq!(config.quiet_seconds, Some(QuietSeconds(30.0)));
        let objective = config.objectives[0].objective();
        assert_eq!((objective.objective, objective.window_days, objective.latency_ms), (0.999, 30.0, Some(300.0)));
        assert_eq!(config.retention.keep.map(usize::from), Some(50));
        assert_eq!(config.retention.samples_days, Some(30));
        assert_eq!(config.kafka.brokers.as_deref(), Some("b1:9093,b2:9093"));
        assert_eq!(config.kafka.sasl_mechanism, Some(SaslMechanism::ScramSha512));
        assert_eq!(config.stream.quiet_seconds, Some(Positive(60.0)));
        assert_eq!(config.stream.listen.map(|address| address.port()), Some(9464));
        assert_eq!(config.stream.webhook.as_ref().map(url::Url::as_str), Some("https://hooks.example/k6"));
        assert_eq!(parse("").unwrap(), Config::default());
    }

    const EXAMPLE: &str = r#"
store = "s3://results/tidemark"
test = "checkout"
environment = "staging"
fail_on = ["thresholds", "inconclusive"]
quiet_seconds = 30

[tags]
team = "payments"

[thresholds]
http_reqs = ["rate>5", "count>200"]
"http_req_duration{name:pay}" = ["p(95)<80"]

[[objectives]]
name = "paid in time"
endpoint = "pay"
latency_ms = 300
objective = 0.999

[retention]
keep = 50
samples_days = 30

[kafka]
brokers = "b1:9093,b2:9093"
ca_file = "ca.pem"
sasl_mechanism = "scram-sha-512"
user = "tidemark"

[stream]
quiet_seconds = 60
listen = "0.0.0.0:9464"
webhook = "https://hooks.example/k6"
"#;
}
