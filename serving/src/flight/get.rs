//! Tables over `DoGet`: what they are is somebody else's, and stands behind a trait.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use floodmark_features::suggest::Hint;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

/// The first part of a table's path.
pub(super) const TABLE: &str = "table";
/// Batches that may wait for their reader.
const QUEUE: usize = 4;

/// Tables that can be read whole.
pub trait Tables: Send + Sync + std::fmt::Debug {
    /// Their names, and their columns.
    fn all(&self) -> Vec<(&'static str, SchemaRef)>;

    /// Reads one, batch by batch, as long as `each` is true.
    fn read(&self, name: &str, each: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), Status>;
}

/// How each is fetched.
pub(super) fn infos(tables: &dyn Tables) -> Vec<Result<FlightInfo, Status>> {
    tables.all().into_iter().map(|(name, schema)| info(name, &schema)).collect()
}

/// How one is fetched.
pub(super) fn info_of(tables: &dyn Tables, name: &str) -> Result<FlightInfo, Status> {
    let (name, schema) = table_named(tables, name)?;
    info(name, &schema)
}

fn info(name: &str, schema: &SchemaRef) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(name.to_owned()));
    let descriptor = FlightDescriptor::new_path(vec![TABLE.to_owned(), name.to_owned()]);
    Ok(info.with_descriptor(descriptor).with_endpoint(endpoint).with_total_records(-1).with_total_bytes(-1))
}

/// The table of that name.
pub(super) fn table_named(tables: &dyn Tables, name: &str) -> Result<(&'static str, SchemaRef), Status> {
    let all = tables.all();
    all.iter().find(|(known, _)| *known == name).cloned().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let hint = Hint::nearest(name, names.iter().copied());
        Status::not_found(format!("no table has this name{hint} table={name} known={}", names.join(",")))
    })
}

/// Reads a table as it is now.
pub(super) fn get(tables: Arc<dyn Tables>, ticket: &Ticket) -> Result<impl Stream<Item = Result<FlightData, Status>> + use<>, Status> {
    let (name, schema) = table_named(&*tables, &String::from_utf8_lossy(&ticket.ticket))?;
    let (out, batches) = mpsc::channel::<Result<RecordBatch, FlightError>>(QUEUE);
    tokio::task::spawn_blocking(move || {
        let read = tables.read(name, &mut |batch| out.blocking_send(Ok(batch)).is_ok());
        if let Err(status) = read {
            // Nobody may be there to hear of it.
            let _ = out.blocking_send(Err(status.into()));
        }
    });
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(ReceiverStream::new(batches));
    Ok(encoder.map(|data| data.map_err(Status::from)))
}
