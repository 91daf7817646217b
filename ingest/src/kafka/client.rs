//! The settings of Kafka clients, in one place: librdkafka's defaults that cost time or safety, changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::statistics::Statistics;

use super::status::Status;
use super::topic::Topic;

/// What all clients of a topic have in common.
fn client(topic: &Topic) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.brokers).set("client.id", "floodmark");
    // A connection that was cut is tried again soon: the default of ten seconds adds as much to every outage.
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// What the topic's properties say wins, but for what is set afterwards: what correctness rests on.
fn with_properties(mut config: ClientConfig, topic: &Topic) -> ClientConfig {
    topic.properties.iter().for_each(|(name, value)| {
        config.set(name, value);
    });
    config
}

/// A consumer of a topic.
pub(super) fn consumer(topic: &Topic) -> ClientConfig {
    let mut config = client(topic);
    config.set("group.id", "floodmark").set("statistics.interval.ms", "500");
    // A full queue makes the fetcher sleep for a second by default; at 10 ms it reads up to four times as much.
    config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "131072").set("fetch.wait.max.ms", "100");
    // Some questions wait for as long as a request may, whatever else was said: a minute by default.
    config.set("socket.timeout.ms", "10000");
    let mut config = with_properties(config, topic);
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false").set("isolation.level", "read_committed");
    // Where the records are gone that come next, that is said; a silent jump would lose them.
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config
}

/// How a member of a group reads, where the properties do not say it.
pub(super) type Habit = [(&'static str, &'static str)];
/// As soon as there is something.
pub(super) const AT_ONCE: &Habit = &[];
/// A little at a time costs a broker most: who gathers records anyway lets it gather them too.
pub(super) const GATHERED: &Habit = &[("fetch.min.bytes", "131072"), ("fetch.wait.max.ms", "20")];

/// A member of a group that shares the partitions of topics.
pub(super) fn member(topic: &Topic, group: &str, habit: &Habit) -> ClientConfig {
    let mut config = consumer(topic);
    // A member that is gone is noticed after the session's timeout; until then nobody has its partitions.
    let membership = [("session.timeout.ms", "10000"), ("heartbeat.interval.ms", "1000")];
    for (name, value) in membership.iter().chain(habit) {
        if !topic.properties.iter().any(|(given, _)| given == name) {
            config.set(*name, *value);
        }
    }
    // A record of the feature log may be larger than what brokers take by default.
    config.set("fetch.message.max.bytes", "64000000");
    config.set("group.id", group).set("partition.assignment.strategy", "cooperative-sticky");
    config
}

/// A producer whose transactions are one after the other under this id.
pub(super) fn producer(topic: &Topic, id: &str) -> ClientConfig {
    let mut config = client(topic);
    // The same partition for a key as Java's clients choose; a transaction that nobody ends blocks its readers for half a minute.
    config.set("linger.ms", "5").set("partitioner", "murmur2_random").set("compression.type", "lz4");
    config.set("transaction.timeout.ms", "30000").set("message.timeout.ms", "25000").set("message.max.bytes", "64000000");
    // Who sends positions to a coordinator that is no longer among the brokers, if only because it was restarted, waits until some
    // connection changes its state, whatever the timeout (librdkafka issue 5511). One that is idle is closed, which is such a change.
    config.set("connections.max.idle.ms", "6000");
    let mut config = with_properties(config, topic);
    config.set("transactional.id", id).set("enable.idempotence", "true").set("acks", "all");
    config
}

/// A producer of single records, each there once and in order however often it has to be sent.
pub(super) fn appender(topic: &Topic) -> ClientConfig {
    let mut config = client(topic);
    config.set("linger.ms", "2").set("partitioner", "murmur2_random").set("compression.type", "lz4").set("message.timeout.ms", "30000");
    let mut config = with_properties(config, topic);
    config.set("enable.idempotence", "true").set("acks", "all");
    config
}

/// Makes topics.
pub(super) fn admin(topic: &Topic) -> ClientConfig {
    with_properties(client(topic), topic)
}

/// How long brokers may take to make topics.
const MAKING: Duration = Duration::from_secs(10);

/// Makes the topics that are not there; those that are stay as they are.
pub(super) fn make_topics<'a>(
    brokers: &Topic,
    topics: impl IntoIterator<Item = &'a NewTopic<'a>>,
    status: &Arc<Status>,
) -> Result<(), KafkaError> {
    let admin: AdminClient<Told> = admin(brokers).create_with_context(Told(status.clone()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    let options = AdminOptions::new().request_timeout(Some(MAKING)).operation_timeout(Some(MAKING));
    let made = match runtime.block_on(admin.create_topics(topics, &options)) {
        Err(KafkaError::AdminOp(code)) if is_silence(code) => return Err(KafkaError::AdminOpCreation(no_answer(brokers))),
        made => made?,
    };
    for made in made {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

/// Whether a code says no more than that no broker has answered.
fn is_silence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut};
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | RequestTimedOut)
}

/// Which cluster this is; `None` if no broker answers.
pub(super) fn cluster_of<C: ConsumerContext>(client: &BaseConsumer<C>, topic: &str, timeout: Duration) -> Option<String> {
    // A client that has not asked anything yet waits for half a second before it does.
    client.fetch_metadata(Some(topic), timeout).ok()?;
    client.client().fetch_cluster_id(timeout)
}

/// How long a client that listens is given to reach a broker.
const REACHING: Duration = Duration::from_secs(2);

/// Why no broker answers. Whoever only asks does not hear why, so a client is made that listens.
pub(super) fn no_answer(topic: &Topic) -> String {
    let heard = Arc::new(Status::default());
    let client: Result<BaseProducer<Told>, KafkaError> = admin(topic).create_with_context(Told(heard.clone()));
    if let Ok(client) = client {
        let began = Instant::now();
        // It has no reason to connect before it is asked something.
        let _ = client.client().fetch_metadata(None, REACHING / 4);
        while heard.last_trouble().is_none() && began.elapsed() < REACHING {
            client.poll(Duration::from_millis(50));
        }
    }
    let is_told = topic.properties.iter().any(|(name, _)| name == "security.protocol");
    let hint = if is_told { "" } else { ": if they speak TLS, the file of --kafka-config has to say so with security.protocol" };
    heard.last_trouble().unwrap_or_else(|| format!("no broker answers{hint}. brokers={}", topic.brokers))
}

/// What a client said, without what differs each time, and with what to do where that is known.
fn complaint(said: &str) -> String {
    // [thrd:NAME]: BROKER: WHAT (after 3ms in state CONNECT, 2 identical error(s) suppressed)
    let said = if said.starts_with("[thrd:") { said.split_once("]: ").map_or(said, |(_, rest)| rest) } else { said };
    let said = said.split_once(" (after ").map_or(said, |(said, _)| said);
    let of = |words: &str| said.contains(words);
    let way_out = if of("SASL authentication error") {
        "correct sasl.username, sasl.password and sasl.mechanisms"
    } else if of("broker certificate could not be verified") {
        "name who vouches for it in ssl.ca.location"
    } else if of("alert bad certificate") || of("alert certificate required") {
        "show one that the broker takes, with ssl.certificate.location and ssl.key.location"
    } else {
        return said.to_owned();
    };
    format!("{said}: {way_out} in the file of --kafka-config")
}

/// What a client tells while it runs goes to the status of its topic.
#[derive(Default)]
pub(super) struct Told(pub(super) Arc<Status>);

impl Told {
    pub(super) fn hear_log(&self, said: &str) {
        // One file has the properties of producers and of consumers.
        if !said.contains("and will be ignored by this") {
            self.0.trouble(&complaint(said));
        }
    }

    pub(super) fn hear(&self, error: &KafkaError, reason: &str) {
        match error {
            // That a partition was read to its end is no trouble; that all brokers are down comes after why they are.
            KafkaError::Global(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) => {}
            KafkaError::Global(_) => self.0.trouble(&complaint(reason)),
            _ => self.0.trouble(&format!("{error}: {reason}")),
        }
    }
}

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.hear_log(message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.take(&statistics);
    }
}

impl ConsumerContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    /// A transaction that a delivery failed in cannot be committed; here is why.
    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivered {
            self.0.trouble(&error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_the_same_each_time_and_says_what_to_do() {
        let logged =
            "[thrd:sasl_ssl://a:1/bootstrap]: sasl_ssl://a:1/bootstrap: SASL authentication error: no (after 3ms in state AUTH_REQ)";
        let told = "sasl_ssl://a:1/bootstrap: SASL authentication error: no (after 9ms in state AUTH_REQ, 4 identical error(s) suppressed)";
        let expected = "sasl_ssl://a:1/bootstrap: SASL authentication error: no: correct sasl.username, sasl.password and sasl.mechanisms in the file of --kafka-config";
        assert_eq!([complaint(logged), complaint(told)], [expected, expected]);
        assert_eq!(complaint("a:1/1: Connect to ipv4#a:1 failed (after 0ms in state CONNECT)"), "a:1/1: Connect to ipv4#a:1 failed");
    }
}
