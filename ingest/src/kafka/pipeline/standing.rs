//! Where a pipeline stands: how far each partition was committed, how much is left, how far event time has come, and what holds it back.
//! All of it is asked of the brokers; no worker has to answer, or to run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use floodmark_features::time::Time;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use serde::de::DeserializeOwned;

use super::keeper::ApplyNote;
use super::route::RouteNote;
use super::{Pipeline, PipelineError};
use crate::kafka::client::{AT_ONCE, Told, member, no_answer};
use crate::kafka::topic::Topic;

/// How long brokers may take for a question.
const ANSWER: Duration = Duration::from_secs(10);
/// So few offsets may be marks of transactions and nothing else: it is looked what they are.
const FEW: u64 = 64;

/// A partition of a source's topic.
#[derive(Clone, Debug)]
pub struct SourceStanding {
    /// The source.
    pub source: String,
    /// Its partition, by name.
    pub partition: String,
    /// The offset of the next record to be routed; `None` if nothing was.
    pub next_offset: Option<u64>,
    /// Records that are to be routed.
    pub lag: u64,
    /// How far event time has come there.
    pub watermark: Option<Time>,
    /// Whether it is idle (T8).
    pub idle: bool,
}

/// A partition of the feature log.
#[derive(Clone, Debug)]
pub struct LogStanding {
    /// Its number.
    pub partition: usize,
    /// The offset of the next record to be applied; `None` if nothing was.
    pub next_offset: Option<u64>,
    /// Records that are to be applied.
    pub lag: u64,
    /// By source, how far event time has come.
    pub watermarks: BTreeMap<String, Time>,
    /// By source, the partition that is waited for.
    pub held_back_by: BTreeMap<String, String>,
}

/// The partitions of sources' topics, as far as they were routed.
pub fn of_sources(pipeline: &Pipeline, inputs: &[(String, Topic)]) -> Result<Vec<SourceStanding>, PipelineError> {
    let mut all = Vec::new();
    for (source, topic) in inputs {
        let group = format!("{}.route.{source}", pipeline.prefix.name);
        for found in look::<RouteNote>(topic, &group, &topic.name)? {
            let (watermark, idle) = found.note.map_or((None, false), |note| (Some(note.watermark), note.idle));
            let watermark = watermark.filter(|at| *at > Time::NONE);
            let partition = topic.partition(found.partition);
            all.push(SourceStanding { source: source.clone(), partition, next_offset: found.next, lag: found.lag, watermark, idle });
        }
    }
    Ok(all)
}

/// The partitions of the feature log, as far as they were applied.
pub fn of_log(pipeline: &Pipeline) -> Result<Vec<LogStanding>, PipelineError> {
    let group = format!("{}.apply", pipeline.prefix.name);
    let found = look::<ApplyNote>(&pipeline.prefix, &group, &pipeline.topic("log"))?;
    if found.is_empty() {
        return Err(pipeline.no_topic(&pipeline.topic("log")));
    }
    let standing = |found: Found<ApplyNote>| {
        let note = found.note.unwrap_or_default();
        let watermarks = note.watermarks.into_iter().filter(|(_, at)| *at > Time::NONE).collect();
        let (partition, held_back_by) = (found.partition as usize, note.held_back_by);
        LogStanding { partition, next_offset: found.next, lag: found.lag, watermarks, held_back_by }
    };
    Ok(found.into_iter().map(standing).collect())
}

/// What was found of a partition.
struct Found<N> {
    partition: i32,
    next: Option<u64>,
    lag: u64,
    note: Option<N>,
}

/// Asks about all partitions of a topic; there are none if the topic is not there.
fn look<N: DeserializeOwned>(brokers: &Topic, group: &str, topic: &str) -> Result<Vec<Found<N>>, PipelineError> {
    let client: BaseConsumer<Told> = member(brokers, group, AT_ONCE).create_with_context(Told::default()).map_err(PipelineError::Client)?;
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|_| PipelineError::NoAnswer(no_answer(brokers)))?;
    let partitions: Vec<i32> =
        metadata.topics().iter().filter(|found| found.error().is_none()).flat_map(|found| found.partitions()).map(|it| it.id()).collect();
    let mut list = TopicPartitionList::new();
    partitions.iter().for_each(|partition| {
        list.add_partition(topic, *partition);
    });
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let committed = client.committed_offsets(list, ANSWER).map_err(PipelineError::Fatal)?;
    let mut all = Vec::new();
    for element in committed.elements() {
        let next = if let Offset::Offset(next) = element.offset() { u64::try_from(next).ok() } else { None };
        let (oldest, end) = client.fetch_watermarks(topic, element.partition(), ANSWER).map_err(PipelineError::Fatal)?;
        let from = next.unwrap_or(u64::try_from(oldest).unwrap_or(0));
        let lag = u64::try_from(end).unwrap_or(0).saturating_sub(from);
        all.push(Found { partition: element.partition(), next, lag, note: serde_json::from_str(element.metadata()).ok() });
    }
    for found in all.iter_mut().filter(|found| (1..=FEW).contains(&found.lag)) {
        found.lag = records_from(&client, topic, found.partition, found.next.unwrap_or(0)).map_err(PipelineError::Fatal)?;
    }
    all.sort_by_key(|found| found.partition);
    Ok(all)
}

/// How many records there are from an offset on: what ends a transaction has an offset too.
fn records_from(client: &BaseConsumer<Told>, topic: &str, partition: i32, from: u64) -> KafkaResult<u64> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)))?;
    client.assign(&list)?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < ANSWER {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => count += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(_)) | None => {}
        }
    }
    Ok(count)
}
