//! How brokers are reached: addresses, TLS, and who one is.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

/// Brokers that do not answer within this are away.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A broker may not know yet of a topic that was made just now.
const TOPIC_WITHIN: Duration = Duration::from_secs(2);
/// How long one question waits, so that what is wrong for good is told sooner.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
    #[error("failed to ask the brokers {brokers} for topic {topic}: {reason}")]
    Unreachable {
        brokers: String,
        topic: String,
        reason: String,
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

    /// Returns how many partitions a topic has; asked for first, so that a wrong address, name or password is told at once, and
    /// not tried again for ever.
    pub(super) fn partitions_count(&self, topic: &str) -> Result<usize, AccessError> {
        let asking: BaseProducer<Asking> =
            self.client().create_with_context(Asking::default()).map_err(AccessError::options)?;
        let (brokers, named) = (self.brokers.clone(), topic.to_owned());
        let began = Instant::now();
        loop {
            match asking.client().fetch_metadata(Some(topic), ASKED_AGAIN_AFTER) {
                Ok(metadata) if metadata.topics().first().is_some_and(|topic| topic.error().is_none()) => {
                    return Ok(metadata.topics()[0].partitions().len());
                }
                Ok(_) if began.elapsed() >= TOPIC_WITHIN => return Err(AccessError::NoTopic { brokers, topic: named }),
                Ok(_) => std::thread::sleep(ASKED_AGAIN_AFTER / 10),
                Err(cause) => {
                    // What the brokers were in trouble with is told by the events.
                    asking.poll(Duration::ZERO);
                    let mut trouble = asking.context().trouble.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_final = trouble.as_ref().is_some_and(|trouble| trouble.is_final);
                    if is_final || began.elapsed() >= ANSWER_WITHIN {
                        let reason = trouble.take().map_or_else(|| UNREACHABLE.to_owned(), |trouble| trouble.reason);
                        return Err(AccessError::Unreachable { brokers, topic: named, reason, cause: Box::new(cause) });
                    }
                }
            }
        }
    }
}

const UNREACHABLE: &str = "is the address right, a broker running, and --tls given where it encrypts?";

/// What the brokers were in trouble with last.
#[derive(Debug)]
struct Trouble {
    reason: String,
    /// It will be the same the next time.
    is_final: bool,
}

/// Remembers why brokers cannot be reached.
#[derive(Debug, Default)]
struct Asking {
    trouble: Mutex<Option<Trouble>>,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let is_final = matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL));
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down says less than why.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) && !trouble.as_ref().is_some_and(|trouble| trouble.is_final) {
            *trouble = Some(Trouble { reason: reason.to_owned(), is_final });
        }
    }
}

impl ProducerContext for Asking {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
