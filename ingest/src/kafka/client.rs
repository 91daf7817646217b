//! The settings of Kafka clients, in one place: librdkafka's defaults that cost time or safety, changed.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::statistics::Statistics;

use super::status::Status;
use super::topic::Topic;

/// A consumer of a topic. What the topic's properties say wins, but for what correctness rests on.
pub(super) fn consumer(topic: &Topic) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.brokers).set("client.id", "floodmark").set("group.id", "floodmark");
    // A full queue makes the fetcher sleep for a second by default; at 10 ms it reads up to four times as much.
    config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "131072").set("fetch.wait.max.ms", "100");
    // A connection that was cut is tried again soon: the default of ten seconds adds as much to every outage.
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config.set("statistics.interval.ms", "500");
    topic.properties.iter().for_each(|(name, value)| {
        config.set(name, value);
    });
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false").set("isolation.level", "read_committed");
    // Where the records are gone that come next, that is said; a silent jump would lose them.
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// What a client tells while it runs goes to the status of its topic.
pub(super) struct Told(pub(super) Arc<Status>);

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.0.trouble(message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        self.0.trouble(&format!("{error}: {reason}"));
    }

    fn stats(&self, statistics: Statistics) {
        self.0.take(&statistics);
    }
}

impl ConsumerContext for Told {}
