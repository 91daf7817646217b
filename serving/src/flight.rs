//! Arrow Flight: training sets over the serving port. A spine goes in, the same rows come out with the features beside them, streamed both
//! ways (`DoExchange`), all as of one version.
//!
//! What is wanted is said by the command of the flight's descriptor, in JSON:
//!
//! ```json
//! {"training_set": {"service": "fraud", "time": "tx_datetime", "event_id": "transaction_id", "mode": "as_served"}}
//! ```
//!
//! With `"carry": false`, only what is added comes back, for clients that have the rows; which columns of a spine matter is said by the
//! `app_metadata` of the service's flight (`GetFlightInfo`), so that a client needs to send no others.
//!
//! `DoGet` reads side outputs: late events, rejected records and closed windows, by the tickets that `ListFlights` and `GetFlightInfo` give.
//! `DoPut` takes events in bulk, for `{"push": {"source": "transactions", "partition": "nightly"}}`, and answers each piece with what
//! became of it.

mod ask;
pub mod get;
pub mod history;
pub mod put;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::{FlightDataDecoder, FlightRecordBatchStream};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo,
    PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use floodmark_store::{ReadError, Store};
use floodmark_training::{TrainingError, TrainingStream, schema_of, spine_columns};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use self::get::Tables;
use self::history::History;
use self::put::Producers;
use crate::server::Calls;

/// Rows that all training sets together work on at a time. A key that has rows in several blocks is looked up in each, so one that is made
/// alone has blocks of all of them, and of more than one each has its share. While a block is worked on, the next one comes in.
const BLOCK_ROWS: usize = 1 << 21;
/// Batches that may wait for their reader: it bounds the memory of a call, together with [`BLOCK_ROWS`].
const QUEUE: usize = 64;
/// A reader that takes nothing for so long is given up: it writes, perhaps, and waits for us to read.
const PATIENCE: Duration = Duration::from_secs(60);
/// Training sets, statistics and the like that are made at the same time, by all threads: each may use all cores, and has rows in memory.
static LARGE_CALLS: Semaphore = Semaphore::const_new(MOST_CALLS);
const MOST_CALLS: usize = 4;
/// Whoever brings a spine may stop so long in the middle of it.
const SILENCE: Duration = Duration::from_secs(300);
/// A message may have so many bytes.
const MAX_MESSAGE: usize = 64 << 20;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Leave to make something large.
fn permit() -> Result<SemaphorePermit<'static>, Status> {
    LARGE_CALLS.try_acquire().map_err(|_| Status::resource_exhausted("other training sets are being built: try again later"))
}

/// How many are made now.
fn calls() -> usize {
    MOST_CALLS.saturating_sub(LARGE_CALLS.available_permits()).max(1)
}

/// An error as a call tells it.
fn refused(error: &TrainingError) -> Status {
    match error {
        TrainingError::Store(ReadError::BeforeRetention { .. } | ReadError::VersionInFuture { .. }) => {
            Status::out_of_range(error.to_string())
        }
        TrainingError::Store(ReadError::Backfilling { .. }) => Status::unavailable(error.to_string()),
        TrainingError::Store(_) | TrainingError::Write { .. } | TrainingError::Read { .. } => Status::internal(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// Training sets of a store.
#[derive(Clone, Debug)]
pub struct Flight {
    store: Arc<Store>,
    producers: Option<Arc<dyn Producers>>,
    tables: Option<Arc<dyn Tables>>,
    history: Option<Arc<dyn History>>,
}

impl Flight {
    /// What it is called in health checks and reflection.
    pub const NAME: &str = "arrow.flight.protocol.FlightService";

    /// Of this store.
    pub fn new(store: Arc<Store>) -> Flight {
        Flight { store, producers: None, tables: None, history: None }
    }

    /// The same, with whoever takes events.
    pub fn with_producers(self, producers: Arc<dyn Producers>) -> Flight {
        Flight { producers: Some(producers), ..self }
    }

    /// The same, with tables to read.
    pub fn with_tables(self, tables: Arc<dyn Tables>) -> Flight {
        Flight { tables: Some(tables), ..self }
    }

    /// The same, with whoever has the events of before.
    pub fn with_history(self, history: Option<Arc<dyn History>>) -> Flight {
        Flight { history, ..self }
    }

    fn history(&self) -> Result<Arc<dyn History>, Status> {
        let nobody = || Status::unimplemented("the events of before are not here: start the server with --offline");
        self.history.clone().ok_or_else(nobody)
    }

    /// Adds its calls.
    pub fn add_to(self, calls: Calls) -> Calls {
        let service = FlightServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        calls.map_routes(|routes| routes.add_service(service))
    }

    /// The flight of a service: what a training set adds to a spine.
    fn info(&self, service: usize) -> Result<FlightInfo, Status> {
        let definitions = self.store.definitions();
        let name = definitions.services[service].name.clone();
        let spec = ask::spec_of_service(definitions, service);
        let info = FlightInfo::new().try_with_schema(&schema_of(&spec)).map_err(|error| Status::internal(error.to_string()))?;
        let descriptor = FlightDescriptor::new_path(vec![ask::TRAINING_SET.to_owned(), name]);
        let needed = serde_json::json!({ "spine": spine_columns(&spec.lookup) }).to_string();
        Ok(info.with_descriptor(descriptor).with_app_metadata(needed).with_total_records(-1).with_total_bytes(-1))
    }

    /// The flight of that path.
    fn info_of(&self, descriptor: &FlightDescriptor) -> Result<FlightInfo, Status> {
        if history::is_command(&descriptor.cmd) {
            return history::info_of(&*self.history()?, &descriptor.cmd);
        }
        match (descriptor.path.as_slice(), &self.tables) {
            ([kind, service], _) if kind == ask::TRAINING_SET => self.info(ask::service_named(self.store.definitions(), service)?),
            ([kind, table], Some(tables)) if kind == get::TABLE => get::info_of(&**tables, table),
            _ => Err(Status::invalid_argument("a flight is named by the path training_set/SERVICE or table/NAME")),
        }
    }

    /// Reads the spine in blocks and sends each back with its features.
    async fn build(
        set: Arc<TrainingStream>,
        mut spine: FlightRecordBatchStream,
        out: &mpsc::Sender<RecordBatch>,
    ) -> Result<(), FlightError> {
        let mut block = next_block(&mut spine).await?;
        while !block.is_empty() {
            let worker = set.clone();
            let sweep = tokio::task::spawn_blocking(move || worker.add(&block));
            // The next one comes in meanwhile.
            let (built, next) = tokio::join!(sweep, next_block(&mut spine));
            let built = built.map_err(|panic| Status::internal(panic.to_string()))?.map_err(|error| refused(&error))?;
            for batch in built {
                match out.send_timeout(batch, PATIENCE).await {
                    Ok(()) => {}
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return Ok(()),
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                        let why = "what comes back is not read: read it while the spine is written, or send the spine in smaller parts";
                        return Err(Status::resource_exhausted(why).into());
                    }
                }
            }
            block = next?;
        }
        Ok(())
    }
}

/// The rows that are worked on together; none at the end.
async fn next_block(spine: &mut FlightRecordBatchStream) -> Result<Vec<RecordBatch>, FlightError> {
    let (mut block, mut rows) = (Vec::new(), 0);
    let silent = |_| Status::deadline_exceeded("nothing more of the spine has come for five minutes: other calls wait for the place");
    while rows < BLOCK_ROWS / calls()
        && let Some(batch) = tokio::time::timeout(SILENCE, spine.next()).await.map_err(silent)?.transpose()?
    {
        rows += batch.num_rows();
        block.push(batch);
    }
    Ok(block)
}

/// All messages of a stream whose first one was looked at. Some clients say first what they want, and then what they bring.
fn whole(first: FlightData, rest: Streaming<FlightData>) -> impl Stream<Item = Result<FlightData, FlightError>> + Send {
    let first = (!first.data_header.is_empty()).then_some(Ok(first));
    tokio_stream::iter(first).chain(rest.map(|message| message.map_err(FlightError::from)))
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        let mut all: Vec<_> = (0..self.store.definitions().services.len()).map(|service| self.info(service)).collect();
        all.extend(self.tables.iter().flat_map(|tables| get::infos(&**tables)));
        Ok(Response::new(Box::pin(tokio_stream::iter(all))))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.info_of(request.get_ref()).map(Response::new)
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let schema = self.info_of(request.get_ref())?.try_decode_schema();
        let options = IpcWriteOptions::default();
        let result = schema.and_then(|schema| SchemaAsIpc::new(&schema, &options).try_into());
        result.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        let mut input = request.into_inner();
        let nothing = || Status::invalid_argument("expected a spine: its schema, with a descriptor whose command says what to add");
        let first = input.message().await?.ok_or_else(nothing)?;
        let command = first.flight_descriptor.as_ref().map(|descriptor| descriptor.cmd.clone()).ok_or_else(nothing)?;
        let (spec, carry) = ask::spec_of(self.store.definitions(), &command)?;
        // The answer begins with its columns, before the first row has come.
        let mut decoder = FlightDataDecoder::new(whole(first, input));
        while decoder.schema().is_none() {
            decoder.next().await.ok_or_else(nothing)??;
        }
        let columns = decoder.schema().cloned().ok_or_else(nothing)?;
        // Not before there is something to be done.
        let permit = permit()?;
        let spine = FlightRecordBatchStream::new(decoder);
        let set = TrainingStream::new(self.store.clone(), spec, &columns).map_err(|error| refused(&error))?;
        let set = Arc::new(if carry { set } else { set.without_rows() });
        let (out, answers) = mpsc::channel(QUEUE);
        let told = set.schema().clone();
        let failure: Arc<Mutex<Option<FlightError>>> = Arc::default();
        let failed = failure.clone();
        tokio::spawn(async move {
            // Dropped with the queue, so that what has failed is there when the queue is found to have ended.
            let (_permit, out) = (permit, out);
            *failed.lock() = Flight::build(set, spine, &out).await.err();
        });
        // After what is queued: the queue may be full of what nobody reads.
        let answers = ReceiverStream::new(answers).map(Some).chain(tokio_stream::once(None));
        let answers = answers.filter_map(move |answer| answer.map(Ok).or_else(|| failure.lock().take().map(Err)));
        let encoder = FlightDataEncoderBuilder::new().with_schema(told).with_max_flight_data_size(MAX_MESSAGE / 16);
        let answers = encoder.build(answers).map(|answer| answer.map_err(Status::from));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented("there is nothing to agree upon"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("training sets come by DoExchange"))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        if history::is_command(&request.get_ref().ticket) {
            let (history, permit) = (self.history()?, permit()?);
            return Ok(Response::new(Box::pin(history::get(history, &request.get_ref().ticket, permit).await?)));
        }
        let none = || Status::unimplemented("there are no tables here; training sets come by DoExchange");
        let tables = self.tables.clone().ok_or_else(none)?;
        Ok(Response::new(Box::pin(get::get(tables, request.get_ref())?)))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let nobody = || Status::unimplemented("nobody takes events here");
        let producers = self.producers.clone().ok_or_else(nobody)?;
        Ok(Response::new(Box::pin(put::put(producers, request.into_inner()).await?)))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::unimplemented("there are no actions"))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}
