//! The push API: producers send batches of events over gRPC, and get an acknowledgement for each once it is durable and readable.
//!
//! Events of a source that is read from a Kafka topic go to that topic, and are acknowledged once the broker has them.
//!
//! A producer may have a bounded number of batches on their way; beyond that it waits, and so does its connection.

mod bulk;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_features::value::{Type, ValueRef};
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::columns::RowBuilder;
use floodmark_intake::payload::payload_of_values;
use floodmark_intake::router::Router;
use floodmark_proto::v1;
use floodmark_proto::v1::push_service_server::{PushService, PushServiceServer};
use floodmark_store::BatchReport;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use bulk::{Acknowledged, Bulk};

use crate::kafka::append::Appender;
use crate::writer::{Handle, Submitted};

/// Batches of one stream that are not acknowledged yet.
const IN_FLIGHT: usize = 16;
/// How long to wait before asking a full queue again.
const QUEUE_RETRY: Duration = Duration::from_millis(2);
/// Events of one batch: it is one commit.
pub const MAX_ROWS: usize = 65_536;

/// The push service.
#[derive(Clone)]
pub struct Push {
    writer: Handle,
    /// The topics of the sources that have one.
    topics: Topics,
}

/// For each source that is read from a topic, who appends to it.
pub type Topics = Arc<HashMap<usize, Arc<Appender>>>;

impl Push {
    /// As health and reflection call it.
    pub const NAME: &str = "floodmark.v1.PushService";

    /// A service that hands events to a writer.
    pub fn new(writer: Handle) -> Push {
        Push { writer, topics: Topics::default() }
    }

    /// The same, with sources that are read from topics.
    pub fn with_topics(self, topics: Topics) -> Push {
        Push { topics, ..self }
    }

    /// With a bound on the size of a message.
    pub fn into_service(self, max_request_bytes: usize) -> PushServiceServer<Push> {
        PushServiceServer::new(self).max_decoding_message_size(max_request_bytes)
    }
}

/// The acknowledgement to come of one batch.
type Pending = Result<(u64, Underway), Status>;

/// Where a batch is on its way to.
enum Underway {
    Store(oneshot::Receiver<(BatchReport, u64)>),
    /// To a topic, with the number of its events.
    Topic(JoinHandle<Result<(), KafkaError>>, u64),
}

#[tonic::async_trait]
impl PushService for Push {
    type PushStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::PushAck, Status>> + Send>>;

    async fn push(&self, request: Request<Streaming<v1::PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        let (pending, acknowledged) = mpsc::channel::<Pending>(IN_FLIGHT);
        let (writer, topics) = (self.writer.clone(), self.topics.clone());
        tokio::spawn(async move { read_all(writer, topics, request.into_inner(), pending).await });
        let acks = ReceiverStream::new(acknowledged).then(acknowledge);
        Ok(Response::new(Box::pin(acks)))
    }
}

async fn acknowledge(pending: Pending) -> Result<v1::PushAck, Status> {
    let (batch_id, underway) = pending?;
    let (report, from) = match underway {
        Underway::Store(report) => report.await.map_err(|_| stopped())?,
        Underway::Topic(appending, events) => {
            appending.await.map_err(|_| stopped())?.map_err(|error| not_appended(&error))?;
            return Ok(v1::PushAck { batch_id, appended: events, ..v1::PushAck::default() });
        }
    };
    let tally = report.tally;
    let rejections = report.rejects.iter().map(|reject| v1::Rejected {
        index: u32::try_from(reject.position.offset.saturating_sub(from)).unwrap_or(u32::MAX),
        code: reject.code.clone(),
        message: reject.message.clone(),
    });
    Ok(v1::PushAck {
        batch_id,
        version: report.version,
        accepted: tally.accepted,
        partially_late: tally.partially_late,
        late: tally.late,
        rejected: tally.rejected,
        duplicates: tally.duplicates,
        rejections: rejections.collect(),
        appended: 0,
    })
}

fn not_appended(error: &KafkaError) -> Status {
    Status::unavailable(format!(
        "the broker did not confirm every event of the batch: send it again, those it has are duplicates. reason={error}"
    ))
}

fn stopped() -> Status {
    Status::unavailable("the server is stopping and did not take this batch: send it again")
}

/// Reads a producer's messages until it ends, fails, or the server stops taking events.
async fn read_all(writer: Handle, topics: Topics, mut requests: Streaming<v1::PushRequest>, pending: mpsc::Sender<Pending>) {
    let mut producer = Producer::default();
    let mut stopping = writer.stopping();
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            _ = stopping.wait_for(|stop| *stop) => Some(Err(stopped())),
        };
        let Some(request) = request else { return };
        let taken = match request {
            Ok(request) => take(&writer, &topics, &mut producer, request).await,
            Err(status) => Err(status),
        };
        let failed = taken.is_err();
        if pending.send(taken).await.is_err() || failed {
            return;
        }
    }
}

/// What a stream has said so far: it holds until it is said again.
#[derive(Default)]
struct Producer {
    source: Option<usize>,
    partition: String,
    /// For each column of the source, its place among the values of a row.
    places: Vec<Option<usize>>,
    width: usize,
    required: Vec<usize>,
}

async fn take(writer: &Handle, topics: &Topics, producer: &mut Producer, request: v1::PushRequest) -> Pending {
    let definitions = writer.store().definitions().clone();
    producer.listen(writer, &definitions, &request)?;
    let source = producer.source.ok_or_else(|| Status::invalid_argument("the first message must name a source"))?;
    if request.rows.len() > MAX_ROWS {
        return Err(Status::invalid_argument(format!("too many events in one batch. events={} most={MAX_ROWS}", request.rows.len())));
    }
    if let Some(topic) = topics.get(&source) {
        let (topic, key, events) = (topic.clone(), producer.partition.clone(), request.rows.len() as u64);
        let records = producer.records(&definitions, source, &request);
        let appending = tokio::spawn(async move { topic.append(&key, &records).await });
        return Ok((request.batch_id, Underway::Topic(appending, events)));
    }
    let batch = producer.batch(&definitions, source, &request);
    hand_over(writer, source, &producer.partition, batch).await.map(|underway| (request.batch_id, underway))
}

/// Gives a batch to the writer, as soon as it has room.
async fn hand_over(writer: &Handle, source: usize, partition: &str, mut batch: SourceBatch) -> Result<Underway, Status> {
    let (tell, report) = oneshot::channel();
    let mut done: Box<dyn FnOnce(&BatchReport, u64) + Send> = Box::new(move |report, from| {
        // A producer that has gone away needs no answer.
        let _ = tell.send((report.clone(), from));
    });
    loop {
        match writer.submit(source, partition, batch, done) {
            Submitted::Taken => return Ok(Underway::Store(report)),
            Submitted::Stopped => return Err(stopped()),
            Submitted::Full(back, again) => (batch, done) = (back, again),
        }
        tokio::time::sleep(QUEUE_RETRY).await;
    }
}

impl Producer {
    fn listen(&mut self, writer: &Handle, definitions: &Arc<Definitions>, request: &v1::PushRequest) -> Result<(), Status> {
        if !request.source.is_empty() {
            let known = || definitions.sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(",");
            let (source, _) = definitions
                .source(&request.source)
                .ok_or_else(|| Status::not_found(format!("no source has this name. source={} known={}", request.source, known())))?;
            if self.source != Some(source) {
                let store = writer.store();
                self.required = Router::new(store.plan().clone(), source, store.partitions(), store.progress(source)).required();
                self.source = Some(source);
                self.places.clear();
            }
        }
        if !request.partition.is_empty() {
            self.partition = request.partition.clone();
        }
        let Some(source) = self.source else { return Ok(()) };
        if !request.columns.is_empty() {
            self.places = places(definitions, source, &request.columns)?;
            self.width = request.columns.len();
        }
        if self.places.is_empty() && !request.rows.is_empty() {
            return Err(Status::invalid_argument("the first message with events must name the columns"));
        }
        Ok(())
    }

    /// The rows as records of a topic, one JSON object each: whoever reads it judges them.
    fn records(&self, definitions: &Definitions, source: usize, request: &v1::PushRequest) -> Vec<String> {
        let columns = || self.places.iter().zip(&definitions.sources[source].schema.columns);
        let record = |event: &v1::EventRow| {
            let value =
                |place: &Option<usize>, kind| place.and_then(|at| event.values.get(at)).map_or(ValueRef::Null, |v| value_ref(v, kind));
            payload_of_values(columns().map(|(place, column)| (column.name.as_str(), value(place, column.kind))))
        };
        request.rows.iter().map(record).collect()
    }

    /// The rows, typed by the source; those that do not fit are rejected one by one.
    fn batch(&self, definitions: &Definitions, source: usize, request: &v1::PushRequest) -> SourceBatch {
        let definition = &definitions.sources[source];
        let mut builder = RowBuilder::new(definition, &self.required);
        let mut row = Vec::with_capacity(self.places.len());
        for (offset, event) in request.rows.iter().enumerate() {
            row.clear();
            let columns = self.places.iter().zip(&definition.schema.columns);
            row.extend(
                columns
                    .map(|(place, column)| place.and_then(|at| event.values.get(at)).map_or(ValueRef::Null, |v| value_ref(v, column.kind))),
            );
            if event.values.len() > self.width {
                let reason = floodmark_intake::reject::RejectReason::FieldCount { expected: self.width, found: event.values.len() };
                builder.reject(floodmark_intake::reject::Reject::new(offset as u64, reason, String::new()));
            } else {
                builder.push(offset as u64, &row);
            }
        }
        builder.finish(request.rows.len() as u64)
    }
}

fn places(definitions: &Definitions, source: usize, names: &[String]) -> Result<Vec<Option<usize>>, Status> {
    let schema = &definitions.sources[source].schema;
    for name in names {
        if schema.position(name).is_none() {
            let known: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(Status::invalid_argument(format!("the source has no such column. column={name} known={}", known.join(","))));
        }
    }
    Ok(schema.columns.iter().map(|column| names.iter().position(|name| *name == column.name)).collect())
}

/// A value as sent; RFC 3339 text is read where a timestamp is expected, and an integer where a float is.
fn value_ref(value: &v1::Value, kind: Type) -> ValueRef<'_> {
    use v1::value::Kind;
    match &value.kind {
        None | Some(Kind::ListValue(_)) => ValueRef::Null,
        Some(Kind::BoolValue(b)) => ValueRef::Bool(*b),
        Some(Kind::Int64Value(i)) if kind == Type::Float64 => ValueRef::Float(*i as f64),
        Some(Kind::Int64Value(i)) => ValueRef::Int(*i),
        Some(Kind::DoubleValue(x)) => ValueRef::Float(*x),
        Some(Kind::TimestampMicros(t)) => ValueRef::Time(Time::from_micros(*t)),
        Some(Kind::StringValue(s)) if kind == Type::Timestamp => Time::parse(s).map_or(ValueRef::Str(s), ValueRef::Time),
        Some(Kind::StringValue(s)) => ValueRef::Str(s),
    }
}
