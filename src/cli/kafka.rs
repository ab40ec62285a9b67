//! Where the brokers are: what the command line and the environment say, else the configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ingest::kafka::access::{Access, Login, Mechanism, Tls};

use super::UsageError;
use super::config::Config;

const TOPIC_DEFAULT: &str = "k6";
/// Where the password is when nothing else says.
const PASSWORD_VARIABLE: &str = "TIDEMARK_KAFKA_PASSWORD";

/// Where Kafka is, and who one is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// The brokers, as host:port, separated by commas. Default: none.
    pub brokers: Option<String>,
    /// The topic of k6's results. Default: k6.
    pub topic: Option<String>,
    /// Encrypt. Default: only when a file for it is named.
    pub tls: Option<bool>,
    /// The authorities to believe, as a PEM file, relative to this file. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// One's own certificate, as a PEM file. Default: none.
    pub certificate_file: Option<PathBuf>,
    /// Its key, as a PEM file. Default: none.
    pub key_file: Option<PathBuf>,
    /// How the password is told. Default: plain, where there is a user.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Who one is. Default: nobody.
    pub user: Option<String>,
    /// The variable of the environment that holds the password. Default: TIDEMARK_KAFKA_PASSWORD.
    pub password_env: Option<String>,
    /// A file that holds the password in its first line, in the place of a variable. Default: none.
    pub password_file: Option<PathBuf>,
}

impl KafkaConfig {
    pub fn files_are_relative_to(&mut self, folder: &Path) {
        for file in [&mut self.ca_file, &mut self.certificate_file, &mut self.key_file, &mut self.password_file] {
            *file = file.take().map(|file| folder.join(file));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    Plain,
    #[value(name = "scram-sha-256")]
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    fn mechanism(self) -> Mechanism {
        match self {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        }
    }
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgument {
    /// The brokers, as host:port, separated by commas.
    #[arg(long, env = "TIDEMARK_BROKERS", value_name = "LIST")]
    brokers: Option<String>,
    /// The topic of k6's results; k6 when nothing says.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Encrypt; a file for it says so, too.
    #[arg(long)]
    tls: bool,
    /// The authorities to believe (PEM); the system's when nothing says.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// One's own certificate (PEM).
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Who one is; the password comes from TIDEMARK_KAFKA_PASSWORD, or a file.
    #[arg(long, value_name = "NAME")]
    sasl_user: Option<String>,
    /// How the password is told; plain when nothing says.
    #[arg(long, value_enum, value_name = "NAME")]
    sasl_mechanism: Option<SaslMechanism>,
    /// Holds the password in its first line.
    #[arg(long, value_name = "FILE")]
    sasl_password_file: Option<PathBuf>,
}

impl KafkaArgument {
    pub fn topic(&self, config: &Config) -> String {
        self.topic.clone().or_else(|| config.kafka.topic.clone()).unwrap_or_else(|| TOPIC_DEFAULT.to_owned())
    }

    pub fn access(&self, config: &Config) -> anyhow::Result<Access> {
        let configured = &config.kafka;
        let said = self.brokers.clone().filter(|brokers| !brokers.is_empty());
        let missing = || UsageError("where are the brokers? Give --brokers host:port, or [kafka] brokers".to_owned());
        let brokers = said.or_else(|| configured.brokers.clone()).ok_or_else(missing)?;
        let or = |said: &Option<PathBuf>, configured: &Option<PathBuf>| said.clone().or_else(|| configured.clone());
        let files = Tls {
            ca_file: or(&self.tls_ca, &configured.ca_file),
            certificate_file: or(&self.tls_certificate, &configured.certificate_file),
            key_file: or(&self.tls_key, &configured.key_file),
        };
        let is_encrypted = self.tls || configured.tls.unwrap_or(files != Tls::default());
        let user = self.sasl_user.clone().or_else(|| configured.user.clone());
        let login = user.map(|user| self.login(user, configured)).transpose()?;
        Ok(Access { brokers, tls: is_encrypted.then_some(files), login })
    }

    fn login(&self, user: String, configured: &KafkaConfig) -> anyhow::Result<Login> {
        let mechanism = self.sasl_mechanism.or(configured.sasl_mechanism).unwrap_or(SaslMechanism::Plain).mechanism();
        let file = self.sasl_password_file.as_ref().or(configured.password_file.as_ref());
        let password = match file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("failed to read the password in {}", file.display()))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            None => {
                let variable = configured.password_env.as_deref().unwrap_or(PASSWORD_VARIABLE);
                std::env::var(variable).map_err(|_| {
                    UsageError(format!("user {user} has no password: set {variable}, or give --sasl-password-file"))
                })?
            }
        };
        Ok(Login { mechanism, user, password })
    }
}
