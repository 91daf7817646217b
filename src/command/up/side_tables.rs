//! Side outputs as tables over Arrow Flight, with the columns that they have in the offline store.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use floodmark_offline::side::{KINDS, rows_of, schema_of, table_of};
use floodmark_serving::flight::get::Tables;
use floodmark_store::Store;
use tonic::Status;

/// Outputs of one batch.
const BATCH: usize = 1 << 14;

/// Those of a store.
#[derive(Debug)]
pub(super) struct SideTables(pub(super) Arc<Store>);

impl Tables for SideTables {
    fn all(&self) -> Vec<(&'static str, SchemaRef)> {
        KINDS.iter().map(|kind| (table_of(*kind), schema_of(*kind))).collect()
    }

    fn read(&self, name: &str, each: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), Status> {
        let failed = |error: &dyn std::error::Error| Status::internal(error.to_string());
        let Some(kind) = KINDS.iter().find(|kind| table_of(**kind) == name) else { return Ok(()) };
        for source in 0..self.0.definitions().sources.len() {
            let mut next = 0;
            loop {
                let found = self.0.outputs_from(*kind, source, next, BATCH).map_err(|error| failed(&error))?;
                let Some((last, _)) = found.last() else { break };
                next = last + 1;
                let rows = rows_of(self.0.definitions(), *kind, &found).map_err(|error| failed(&error))?;
                if !each(rows) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
