//! Events in bulk over `DoPut`: who takes them is somebody else's, and stands behind a trait.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::{FlightData, PutResult};
use floodmark_proto::v1;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};

use super::{ask, whole};

/// Pieces of a stream that are not acknowledged yet.
const IN_FLIGHT: usize = 16;

/// An acknowledgement to come.
pub type Acknowledged = Pin<Box<dyn Future<Output = Result<v1::PushAck, Status>> + Send>>;

/// Takes events of a source whose batches have the same columns.
#[tonic::async_trait]
pub trait Producer: Send + Sync {
    /// Takes a batch, in pieces that are acknowledged one by one, in their order. Waits while there is no room.
    async fn push(&self, id: u64, batch: &RecordBatch) -> Result<Vec<Acknowledged>, Status>;
}

/// Whoever takes events.
pub trait Producers: Send + Sync + std::fmt::Debug {
    /// A producer of a source's events; `partition` is its name, or empty.
    fn open(&self, source: &str, partition: &str, columns: &Schema) -> Result<Box<dyn Producer>, Status>;
}

/// Reads batches until they end, and answers each piece once it is durable and can be read.
pub(super) async fn put(
    producers: Arc<dyn Producers>,
    mut input: Streaming<FlightData>,
) -> Result<impl Stream<Item = Result<PutResult, Status>>, Status> {
    let nothing = || Status::invalid_argument("expected events: their schema, with a descriptor whose command names their source");
    let first = input.message().await?.ok_or_else(nothing)?;
    let command = first.flight_descriptor.as_ref().map(|descriptor| descriptor.cmd.clone()).ok_or_else(nothing)?;
    let asked = ask::push_of(&command)?;
    let mut events = FlightRecordBatchStream::new_from_flight_data(whole(first, input));
    let mut next = events.next().await.transpose()?;
    let columns = events.schema().cloned().ok_or_else(nothing)?;
    let producer = producers.open(&asked.source, &asked.partition, &columns)?;
    let (out, pending) = mpsc::channel::<Result<Acknowledged, Status>>(IN_FLIGHT);
    tokio::spawn(async move {
        let mut batches = 0;
        while let Some(batch) = next.take() {
            let taken = producer.push(batches, &batch).await;
            batches += 1;
            let pieces = match taken {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            let failed = pieces.iter().any(Result::is_err);
            for piece in pieces {
                if out.send(piece).await.is_err() {
                    return;
                }
            }
            if failed {
                return;
            }
            next = match events.next().await.transpose() {
                Ok(next) => next,
                Err(error) => {
                    // Nobody may be there to hear of it.
                    let _ = out.send(Err(error.into())).await;
                    return;
                }
            };
        }
    });
    Ok(ReceiverStream::new(pending).then(|piece| async { piece?.await.map(|ack| answer(&ack)) }))
}

/// An acknowledgement as JSON.
fn answer(ack: &v1::PushAck) -> PutResult {
    let rejections: Vec<_> = ack.rejections.iter().map(|it| json!({ "index": it.index, "code": it.code, "message": it.message })).collect();
    let said = json!({
        "batch": ack.batch_id,
        "version": ack.version,
        "accepted": ack.accepted,
        "partially_late": ack.partially_late,
        "late": ack.late,
        "rejected": ack.rejected,
        "duplicates": ack.duplicates,
        "appended": ack.appended,
        "rejections": rejections,
    });
    PutResult { app_metadata: said.to_string().into() }
}
