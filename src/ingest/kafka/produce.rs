//! Records of `forward` to a topic: each once, those of a pod in their order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::model::stream::{About, PodEnd};

use super::access::{ANSWER_WITHIN, Access, AccessError};
use super::record;

/// Records of k6's lines shrink to a twentieth.
const COMPRESSION: &str = "zstd";
/// A record waits so long for others to be compressed with it.
const LINGER_MILLISECONDS: &str = "20";
const BATCH_BYTES: &str = "1000000";
/// What waits for the broker in memory; the rest waits where it came from.
const WAITING_KILOBYTES: &str = "32768";

#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    #[error("the broker refused a record of {bytes} bytes: its topic takes smaller ones (max.message.bytes)")]
    TooLarge { bytes: usize },
    #[error("the broker takes no more records")]
    Refused(#[source] Box<KafkaError>),
}

/// Whole lines of one pod, or the mark of its end.
#[derive(Debug)]
pub struct Outgoing<'o> {
    pub run: &'o str,
    pub pod: &'o str,
    /// Index of the pod, which `delivered` uses.
    pub pod_index: usize,
    pub first_line: u64,
    pub lines_count: u64,
    /// Bytes of the pod's output up to the end of the text.
    pub input_end: u64,
    pub text: &'o [u8],
    pub about: Option<&'o About>,
    pub end: Option<&'o PodEnd>,
}

/// How far the broker has confirmed a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    pub lines_count: u64,
    /// Of the pod's output.
    pub bytes: u64,
    pub has_end: bool,
}

#[derive(Debug, Default)]
struct Deliveries {
    by_pod: Mutex<BTreeMap<usize, Delivered>>,
    failure: Mutex<Option<KafkaError>>,
}

/// What a record in flight is.
#[derive(Debug)]
struct Flight {
    pod_index: usize,
    lines_end: u64,
    input_end: u64,
    is_end: bool,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::info!(%error, reason, "the brokers are in trouble: trying again");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Box<Flight>) {
        match result {
            Ok(_) => {
                let mut by_pod = self.by_pod.lock().unwrap_or_else(PoisonError::into_inner);
                let delivered = by_pod.entry(flight.pod_index).or_default();
                delivered.lines_count = delivered.lines_count.max(flight.lines_end);
                delivered.bytes = delivered.bytes.max(flight.input_end);
                delivered.has_end |= flight.is_end;
            }
            Err((error, _)) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error.clone());
            }
        }
    }
}

/// Sends records; what does not get through is tried again without end.
pub struct Producer {
    producer: BaseProducer<Deliveries>,
    topic: String,
}

impl Producer {
    /// Asks for the topic first, so that a wrong address is told at once.
    pub fn start(access: &Access, topic: &str) -> Result<Producer, AccessError> {
        access.partitions_count(topic)?;
        let mut client = access.client();
        client
            .set("enable.idempotence", "true")
            .set("compression.type", COMPRESSION)
            .set("linger.ms", LINGER_MILLISECONDS)
            .set("batch.size", BATCH_BYTES)
            .set("message.max.bytes", "10000000")
            // Without end: whoever waits for the broker has a spool, or a file.
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.kbytes", WAITING_KILOBYTES);
        let producer: BaseProducer<Deliveries> =
            client.create_with_context(Deliveries::default()).map_err(AccessError::options)?;
        Ok(Producer { producer, topic: topic.to_owned() })
    }

    /// Forgets what was delivered: pods are counted anew.
    pub fn begin(&self) {
        self.producer.context().by_pod.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Records that were handed over and are not confirmed.
    pub fn in_flight_count(&self) -> usize {
        self.producer.in_flight_count().try_into().unwrap_or(0)
    }

    /// Hands a record over; false while too many wait for the broker.
    pub fn send(&self, outgoing: &Outgoing) -> Result<bool, ProduceError> {
        let Outgoing { run, pod, pod_index, first_line, lines_count, input_end, text, about, end } = *outgoing;
        let key = format!("{run}\n{pod}");
        let flight = Flight { pod_index, lines_end: first_line + lines_count, input_end, is_end: end.is_some() };
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(flight))
            .key(&key)
            .payload(text)
            .headers(record::headers(run, pod, first_line, about, end));
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Err((error, _)) => Err(refused(error, text.len())),
        }
    }

    /// Takes what the broker has confirmed; waits for it at most so long.
    pub fn poll(&self, timeout: Duration) -> Result<(), ProduceError> {
        self.producer.poll(timeout);
        let failure = self.producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), |error| Err(refused(error, 0)))
    }

    /// Returns how far the broker has confirmed a pod.
    pub fn delivered(&self, pod_index: usize) -> Delivered {
        let by_pod = self.producer.context().by_pod.lock().unwrap_or_else(PoisonError::into_inner);
        by_pod.get(&pod_index).copied().unwrap_or_default()
    }
}

/// Publishes messages of our own to a topic, in their order by key.
pub struct Publisher {
    producer: BaseProducer,
    topic: String,
}

impl Publisher {
    /// Asks for the topic first, so that a wrong name is told at once.
    pub fn start(access: &Access, topic: &str) -> Result<Publisher, AccessError> {
        access.partitions_count(topic)?;
        let mut client = access.client();
        client.set("enable.idempotence", "true").set("compression.type", COMPRESSION);
        let producer: BaseProducer = client.create().map_err(AccessError::options)?;
        Ok(Publisher { producer, topic: topic.to_owned() })
    }

    /// Never waits for the broker; false when too many messages wait for it already.
    pub fn publish(&self, key: &str, message: &str) -> bool {
        let sent = self.producer.send(BaseRecord::to(&self.topic).key(key).payload(message)).is_ok();
        self.producer.poll(Duration::ZERO);
        sent
    }

    /// Waits until the broker has all; false when it takes too long.
    pub fn finish(&self) -> bool {
        self.producer.flush(ANSWER_WITHIN).is_ok()
    }
}

fn refused(error: KafkaError, bytes: usize) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => ProduceError::TooLarge { bytes },
        _ => ProduceError::Refused(Box::new(error)),
    }
}
