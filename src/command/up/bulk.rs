//! Events that come in bulk over Arrow Flight, on their way to the push API.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use floodmark_ingest::push::{self, Push};
use floodmark_serving::flight::put::{Acknowledged, Producer, Producers};
use tonic::Status;

/// Takes events as the push API does.
pub(super) struct Bulk(pub(super) Push);

/// One of its producers.
struct OfSource(push::Bulk);

impl Producers for Bulk {
    fn open(&self, source: &str, partition: &str, columns: &Schema) -> Result<Box<dyn Producer>, Status> {
        Ok(Box::new(OfSource(self.0.bulk(source, partition, columns)?)))
    }
}

#[tonic::async_trait]
impl Producer for OfSource {
    async fn push(&self, id: u64, batch: &RecordBatch) -> Result<Vec<Acknowledged>, Status> {
        self.0.push(id, batch).await
    }
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bulk")
    }
}
