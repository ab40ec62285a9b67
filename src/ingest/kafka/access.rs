//! How brokers are reached: addresses, TLS, and who one is.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;

/// Brokers that do not answer within this are away.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How passwords are told to a broker. Without TLS, `Plain` sends them readably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Login({:?}, {})", self.mechanism, self.user)
    }
}

/// TLS: by the system's certificates unless another authority is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// None: not encrypted.
    pub tls: Option<Tls>,
    pub login: Option<Login>,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("the brokers or the options for them are wrong")]
    Options(#[source] Box<KafkaError>),
    #[error("failed to ask the brokers {brokers} for topic {topic}: is the address right, and a broker running?")]
    Unreachable {
        brokers: String,
        topic: String,
        #[source]
        cause: Box<KafkaError>,
    },
    #[error("the brokers {brokers} have no topic {topic}: create it, or name another by --topic")]
    NoTopic { brokers: String, topic: String },
}

impl AccessError {
    pub(super) fn options(cause: KafkaError) -> AccessError {
        AccessError::Options(Box::new(cause))
    }
}

impl Access {
    /// Returns what both ends are made with.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("client.id", "tidemark");
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        let files = self.tls.iter().flat_map(|tls| {
            [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ]
        });
        for (name, file) in files {
            if let Some(file) = file {
                client.set(name, file.to_string_lossy());
            }
        }
        if let Some(login) = &self.login {
            client.set("sasl.mechanism", login.mechanism.name());
            client.set("sasl.username", &login.user).set("sasl.password", &login.password);
        }
        client
    }

    /// Asks for a topic, so that a wrong address or name is told at once.
    pub(super) fn check_topic<C: ClientContext>(&self, topic: &str, client: &Client<C>) -> Result<(), AccessError> {
        let (brokers, named) = (self.brokers.clone(), topic.to_owned());
        match client.fetch_metadata(Some(topic), ANSWER_WITHIN) {
            Ok(metadata) if metadata.topics().first().is_some_and(|topic| topic.error().is_none()) => Ok(()),
            Ok(_) => Err(AccessError::NoTopic { brokers, topic: named }),
            Err(cause) => Err(AccessError::Unreachable { brokers, topic: named, cause: Box::new(cause) }),
        }
    }
}
