//! One member of a consumer group: messages of the partitions that it owns, from where their owner says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::access::{ANSWER_WITHIN, Access, AccessError};

/// A member that died is noticed after so long: the least that brokers allow by default.
const SESSION_MILLISECONDS: &str = "6000";
const HEARTBEAT_MILLISECONDS: &str = "1500";
/// Of each partition, read ahead: enough for a second, so that a restart with any lag takes no more memory.
const READ_AHEAD_KILOBYTES: &str = "8192";
/// How long fetching rests when so much was read ahead; librdkafka's own second would be most of the time.
const RESTS_MILLISECONDS: &str = "5";
/// Of one partition, and of all that one broker has, as it lies there: what `forward` sends inflates by twenty.
const FETCH_BYTES: &str = "262144";
const FETCHED_TOGETHER_BYTES: &str = "1048576";
/// The end of a partition is told by an answer without messages, which the broker holds back for so long.
const END_TOLD_MILLISECONDS: &str = "100";
const STATISTICS_MILLISECONDS: &str = "2000";
/// A topic that was deleted, or made anew, is noticed after so long.
const METADATA_MILLISECONDS: &str = "5000";

/// The first and the next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    pub low: i64,
    pub high: i64,
    /// The first message that is newer than what was asked about; none where there is none.
    pub first_newer: Option<i64>,
}

/// Asks about a partition, and about messages after a time (milliseconds since 1970, as the messages tell it); none
/// where the broker does not answer.
pub type Look<'l> = &'l dyn Fn(Option<i64>) -> Option<Watermarks>;

fn look<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    after_ms: Option<i64>,
) -> Option<Watermarks> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN).ok()?;
    let first_newer = match after_ms {
        Some(after_ms) => {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(topic, partition, Offset::Offset(after_ms.saturating_add(1))).ok()?;
            let answered = consumer.offsets_for_times(asked, ANSWER_WITHIN).ok()?;
            answered.find_partition(topic, partition).and_then(|found| match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        }
        None => None,
    };
    Some(Watermarks { low, high, first_newer })
}

type Take = dyn Fn(i32, Look) -> Option<i64> + Send + Sync;
type Release = dyn Fn(&[i32], bool) + Send + Sync;

/// Who keeps the positions. Both are called within `Member::next`.
pub struct Owner {
    /// Says where a partition begins that is ours from now on; none: it cannot be said, and why is kept by the owner.
    pub take: Box<Take>,
    /// Keeps what was read of partitions that go to another member. `true`: they are lost already, and another may read them.
    pub release: Box<Release>,
}

struct Group {
    topic: String,
    owner: Owner,
    high: Arc<Mutex<BTreeMap<i32, High>>>,
}

/// The offset that a broker will give next, and when that was heard.
#[derive(Debug, Clone, Copy)]
pub struct High {
    pub offset: i64,
    pub heard: Instant,
}

impl ClientContext for Group {
    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let mut high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = Instant::now();
        let known = topic.partitions.values().filter(|partition| partition.partition >= 0 && partition.hi_offset >= 0);
        high.extend(known.map(|partition| (partition.partition, High { offset: partition.hi_offset, heard })));
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is called an error, too.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!(%error, reason, "the brokers are in trouble");
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements_for_topic(&self.topic).iter().map(|one| one.partition()).collect();
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(?partitions, "partitions were given to this instance");
            for partition in &partitions {
                let ask = |after_ms| look(consumer, &self.topic, *partition, after_ms);
                if let Some(offset) = (self.owner.take)(*partition, &ask)
                    && let Err(error) = list.set_partition_offset(&self.topic, *partition, Offset::Offset(offset))
                {
                    tracing::warn!(partition, %error, "a partition's position could not be set");
                }
            }
            if let Err(error) = consumer.incremental_assign(list) {
                tracing::warn!(%error, "partitions could not be taken");
            }
        } else {
            let is_lost = consumer.assignment_lost();
            tracing::info!(?partitions, is_lost, "partitions go to another instance");
            (self.owner.release)(&partitions, is_lost);
            if let Err(error) = consumer.incremental_unassign(list) {
                tracing::warn!(%error, "partitions could not be given back");
            }
        }
    }
}

/// What came next.
pub enum Next<'m> {
    Message(BorrowedMessage<'m>),
    /// All that a partition holds was read.
    End(i32),
    Nothing,
    /// A position that the broker does not have: the topic is away, was made anew, or what was there is deleted.
    OutOfRange,
    /// What one message, or a set of them, cannot be read for; of which partition is not told.
    Unreadable(RDKafkaErrorCode),
    /// The brokers are in trouble, or the topic is away: it may come back.
    Trouble(RDKafkaErrorCode),
}

fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    let codes =
        [Code::BadCompression, Code::BadMessage, Code::InvalidMessage, Code::InvalidMessageSize, Code::NotImplemented];
    codes.contains(&code)
}

/// Returns whether a partition has a message that can be read, or its end, where one asks; none where the broker does not answer.
fn is_readable(asking: &BaseConsumer, topic: &str, partition: i32, offset: i64) -> Option<bool> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).ok()?;
    asking.assign(&list).ok()?;
    let began = Instant::now();
    while let Some(left) = ANSWER_WITHIN.checked_sub(began.elapsed()) {
        match asking.poll(left) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Some(true),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_unreadable) => return Some(false),
            // Trouble may pass.
            Some(Err(_)) | None => {}
        }
    }
    None
}

/// A member of the group.
pub struct Member {
    consumer: BaseConsumer<Group>,
    /// How to ask beside the group.
    asking: ClientConfig,
    topic: String,
    /// Of the topic, when the member joined.
    pub partitions_count: usize,
    high: Arc<Mutex<BTreeMap<i32, High>>>,
}

impl Member {
    /// Joins the group; partitions come while `next` is called. A member with a name takes the place of its dead namesake.
    pub fn join(
        access: &Access,
        topic: &str,
        (group, name): (&str, Option<&str>),
        owner: Owner,
    ) -> Result<Member, AccessError> {
        let partitions_count = access.partitions_count(topic)?;
        let high = Arc::<Mutex<BTreeMap<i32, High>>>::default();
        let context = Group { topic: topic.to_owned(), owner, high: high.clone() };
        let mut asking = access.client();
        asking
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", READ_AHEAD_KILOBYTES)
            .set("fetch.queue.backoff.ms", RESTS_MILLISECONDS)
            .set("fetch.wait.max.ms", END_TOLD_MILLISECONDS)
            .set("fetch.message.max.bytes", FETCH_BYTES)
            .set("fetch.max.bytes", FETCHED_TOGETHER_BYTES);
        let mut client = asking.clone();
        client
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_MILLISECONDS)
            .set("heartbeat.interval.ms", HEARTBEAT_MILLISECONDS)
            .set("statistics.interval.ms", STATISTICS_MILLISECONDS)
            .set("topic.metadata.refresh.interval.ms", METADATA_MILLISECONDS);
        if let Some(name) = name {
            client.set("group.instance.id", name);
        }
        let consumer: BaseConsumer<Group> = client.create_with_context(context).map_err(AccessError::options)?;
        let member = Member { consumer, asking, topic: topic.to_owned(), partitions_count, high };
        member.consumer.subscribe(&[topic]).map_err(AccessError::options)?;
        Ok(member)
    }

    pub fn next(&self, timeout: Duration) -> Next<'_> {
        // Who need not wait need not ask the clock, which takes longer than a short message.
        match self.consumer.poll(Duration::ZERO).or_else(|| self.consumer.poll(timeout)) {
            None => Next::Nothing,
            Some(Ok(message)) => Next::Message(message),
            Some(Err(KafkaError::PartitionEOF(partition))) => Next::End(partition),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(code) if is_unreadable(code) => Next::Unreadable(code),
                Some(
                    RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::UnknownTopicId,
                ) => Next::OutOfRange,
                code => Next::Trouble(code.unwrap_or(RDKafkaErrorCode::Unknown)),
            },
        }
    }

    /// As a [`Look`] at a partition.
    pub fn look(&self, partition: i32, after_ms: Option<i64>) -> Option<Watermarks> {
        look(&self.consumer, &self.topic, partition, after_ms)
    }

    /// Returns where a partition can be read again, at an offset or behind it; none where the broker does not answer.
    ///
    /// Of which partition something cannot be read is not told by the client: each is asked alone, beside the group. The
    /// broker gives the whole set for any offset in it, so that its end is looked for by doubling, then by halving.
    pub fn first_readable(&self, partition: i32, offset: i64) -> Option<i64> {
        let Watermarks { low, high, .. } = self.look(partition, None)?;
        let offset = offset.max(low);
        if offset >= high {
            return Some(offset);
        }
        let asking: BaseConsumer = self.asking.create().ok()?;
        let is_readable = |offset| is_readable(&asking, &self.topic, partition, offset);
        if is_readable(offset)? {
            return Some(offset);
        }
        let (mut unreadable, mut step) = (offset, 1);
        let mut readable = loop {
            let next = unreadable + step;
            if next >= high || is_readable(next)? {
                break next.min(high);
            }
            (unreadable, step) = (next, step * 2);
        };
        while readable - unreadable > 1 {
            let middle = unreadable + (readable - unreadable) / 2;
            *(if is_readable(middle)? { &mut readable } else { &mut unreadable }) = middle;
        }
        Some(readable)
    }

    /// Goes on at another offset.
    pub fn seek(&self, partition: i32, offset: i64) {
        // By a new assignment: `seek` fails on a partition that is not being fetched.
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let removed = self.consumer.incremental_unassign(&list);
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
        let result = removed.and(added).and_then(|()| self.consumer.incremental_assign(&list));
        if let Err(error) = result {
            tracing::warn!(partition, offset, %error, "a partition's position could not be set");
        }
    }

    /// Returns by partition the offset that the broker will give next, as last heard.
    pub fn high_offsets(&self) -> BTreeMap<i32, High> {
        self.high.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
