//! Kafka topics among the inputs of `floodmark up`: reading them, their metrics, and their end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_ingest::kafka::Topic;
use floodmark_ingest::kafka::append::Appender;
use floodmark_ingest::kafka::consume::{self, ConsumeError};
use floodmark_ingest::kafka::outbox::Shared as Outbound;
use floodmark_ingest::kafka::status::Status;
use floodmark_ingest::push;
use floodmark_ingest::writer::Handle;
use floodmark_serving::metrics::{Kept, catalog};

use super::watched::Watched;
use crate::command::complaints::Complaints;
use crate::failure::Failure;
use crate::stored::source_named;

/// How often clients are asked what they complain of.
const LOOK: Duration = Duration::from_millis(200);

/// A topic that is being read, for whoever looks at it.
#[derive(Clone)]
pub(super) struct Read {
    source: String,
    topic: Topic,
    status: Arc<Status>,
    /// Position in the definitions' sources, and who appends to the topic.
    appender: (usize, Arc<Appender>),
}

/// All topics that are being read.
pub(super) struct Topics {
    pub(super) read: Vec<Read>,
    threads: Vec<Watched>,
}

impl Topics {
    /// Begins to read them, where the store has come to.
    pub(super) fn start(named: Vec<(String, Topic)>, handle: &Handle) -> Result<Topics, Failure> {
        let mut topics = Topics { read: Vec::new(), threads: Vec::new() };
        for (source, topic) in named {
            let position = source_named(handle.store().definitions(), &source)?;
            let (status, thread) = consume::spawn(topic.clone(), handle.feed(position)).map_err(|error| match error {
                ConsumeError::Client(_) => Failure::usage(format!("{error}: see --kafka-config")),
                ConsumeError::Format(_) => Failure::usage(error.to_string()),
                _ => Failure::from(error),
            })?;
            let appender = (position, Arc::new(Appender::new(&topic, status.clone())?));
            topics.threads.push(Watched::new(thread, "whoever read a topic panicked; what was committed is kept"));
            topics.read.push(Read { source, topic, status, appender });
        }
        Ok(topics)
    }

    /// One of them is no longer read; never if there is none.
    pub(super) async fn ended(&mut self) {
        let mut waiting: Vec<_> = self.threads.iter_mut().map(|thread| Box::pin(thread.ended())).collect();
        let any = std::future::poll_fn(|context| match waiting.iter_mut().any(|thread| thread.as_mut().poll(context).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        });
        any.await;
    }

    /// How they ended, after the writer's handle has told them to.
    pub(super) async fn result(self) -> Result<(), Failure> {
        for thread in self.threads {
            thread.result().await?;
        }
        Ok(())
    }
}

/// Says on standard error what Kafka clients complain of, for ever.
pub(super) async fn tell(read: &[Read], published: Option<&Outbound>) {
    let mut all: Vec<(String, Arc<Status>, Complaints)> = Vec::new();
    for read in read {
        all.push((format!("source {}", read.source), read.status.clone(), Complaints::default()));
    }
    if let Some(published) = published {
        all.push(("outputs".to_owned(), published.status().clone(), Complaints::default()));
    }
    loop {
        for (what, status, complaints) in &mut all {
            if let Some(complaint) = complaints.news(status, Instant::now()) {
                eprintln!("warning: kafka, {what}: {complaint}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// For each source that is read from a topic, where pushed events go; the first topic where it has several.
pub(super) fn appenders(read: &[Read]) -> push::Topics {
    Arc::new(read.iter().rev().map(|read| read.appender.clone()).collect())
}

impl Read {
    /// Its numbers, each with its entry in the catalog of metrics.
    pub(super) fn kept(&self) -> Vec<Kept> {
        let (lag, idle, delay, troubles, clients) = (self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        let source = self.source.as_str();
        vec![
            Kept::gauges(&catalog::KAFKA_LAG, move || lag.of_partitions(|partition| partition.lag.map(|lag| lag as f64))),
            Kept::gauges(&catalog::KAFKA_IDLE, move || idle.of_partitions(|partition| Some(f64::from(u8::from(partition.idle))))),
            Kept::gauges(&catalog::KAFKA_DELAY, move || vec![(vec![delay.source.clone()], delay.status.delay().as_secs_f64())]),
            Kept::new(&catalog::KAFKA_TROUBLES, &[source], move || troubles.status.troubles()),
            Kept::new(&catalog::KAFKA_CLIENTS, &[source], move || clients.status.replaced()),
        ]
    }

    fn of_partitions(&self, value: impl Fn(&floodmark_ingest::kafka::status::PartitionStatus) -> Option<f64>) -> Vec<(Vec<String>, f64)> {
        let all = self.status.partitions();
        let named = |(number, partition): (&i32, _)| Some((vec![self.source.clone(), self.topic.partition(*number)], value(partition)?));
        all.iter().filter_map(named).collect()
    }
}
