//! Events in bulk: batches of Arrow's columns in place of rows, acknowledged in the same way.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::columns::Layout;
use floodmark_intake::columns::typed::Typed;
use floodmark_intake::payload::payload_of;
use floodmark_intake::router::Router;
use floodmark_proto::v1;
use tonic::Status;

use super::{MAX_ROWS, Push, Underway, acknowledge, hand_over};

/// An acknowledgement to come.
pub type Acknowledged = Pin<Box<dyn Future<Output = Result<v1::PushAck, Status>> + Send>>;

/// A producer of a source's events, whose batches have the same columns.
pub struct Bulk {
    push: Push,
    source: usize,
    partition: String,
    typed: Typed,
}

impl Push {
    /// A producer that names itself, or is nameless; what its columns are called is what the source's are.
    pub fn bulk(&self, source: &str, partition: &str, columns: &Schema) -> Result<Bulk, Status> {
        let store = self.writer.store();
        let definitions = store.definitions();
        let known = || definitions.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(",");
        let unknown = || Status::not_found(format!("no source has this name. source={source} known={}", known()));
        let (at, definition) = definitions.source(source).ok_or_else(unknown)?;
        let required = Router::new(store.plan().clone(), at, store.partitions(), store.progress(at)).required();
        let typed = Typed::of(Layout::new(definition, &required), columns);
        let typed = typed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Bulk { push: self.clone(), source: at, partition: partition.to_owned(), typed })
    }
}

impl Bulk {
    /// Hands a batch over: as many pieces as it takes, each with an acknowledgement to come. Waits while there is no room.
    pub async fn push(&self, id: u64, batch: &RecordBatch) -> Result<Vec<Acknowledged>, Status> {
        let mut pieces: Vec<Acknowledged> = Vec::new();
        for from in (0..batch.num_rows()).step_by(MAX_ROWS) {
            let piece = batch.slice(from, MAX_ROWS.min(batch.num_rows() - from));
            let batch = self.typed.batch_of(&piece, 0).map_err(|error| Status::invalid_argument(error.to_string()))?;
            let underway = match self.push.topics.get(&self.source) {
                Some(topic) => {
                    let records = records_of(batch);
                    let (topic, key, events) = (topic.clone(), self.partition.clone(), records.len() as u64);
                    Underway::Topic(tokio::spawn(async move { topic.append(&key, &records).await }), events)
                }
                None => hand_over(&self.push.writer, self.source, &self.partition, batch).await?,
            };
            pieces.push(Box::pin(acknowledge(Ok((id, underway)))));
        }
        Ok(pieces)
    }
}

/// Events as records of a topic, and what is none as it came: whoever reads the topic judges it.
fn records_of(batch: SourceBatch) -> Vec<String> {
    let events = (0..batch.columns.num_rows()).map(|row| payload_of(&batch.columns, row));
    events.chain(batch.rejects.into_iter().map(|reject| reject.payload)).collect()
}
