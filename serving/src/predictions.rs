//! The log of predictions, read: from a store page by page, and `floodmark.v1.PredictionService` for a store that is in use.

mod entry;
mod streamed;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use floodmark_features::time::Time;
use floodmark_proto::v1;
use floodmark_proto::v1::prediction_service_server::{PredictionService, PredictionServiceServer};
use floodmark_store::{PredictionKey, Store, StoreError};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

pub(crate) use self::entry::service_of;
pub use self::entry::{Entry, Outcome, OwnEvent, describe};
pub use self::streamed::streamed_records;
use crate::client::ClientError;
use crate::refusal::Refusal;
use crate::score::log::Log;

/// A page has so many records at most,
const PAGE_RECORDS: usize = 512;
/// or so many bytes, and one record more.
const PAGE_BYTES: usize = 1 << 20;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Bytes that are no record.
    #[error("a record of the log of predictions cannot be read: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// The server did not hand it over.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Records from wherever they are kept.
pub type Records = Box<dyn Iterator<Item = Result<v1::Prediction, RecordError>>>;

/// The records of a store from one time to another, both included. No transaction stays open between pages, so a slow reader keeps
/// nothing from being removed.
#[derive(Debug)]
pub struct StoredRecords {
    store: Arc<Store>,
    /// Where the next page begins; `None` at the end.
    next: Option<PredictionKey>,
    to: Time,
    page: VecDeque<Vec<u8>>,
}

impl StoredRecords {
    /// All that there are in between.
    pub fn new(store: Arc<Store>, from: Time, to: Time) -> StoredRecords {
        StoredRecords { store, next: Some(PredictionKey { at: from, counter: 0 }), to, page: VecDeque::new() }
    }

    /// Reads on if the page is used up; the end has come if it is empty afterwards.
    fn turn(&mut self) -> Result<(), StoreError> {
        if !self.page.is_empty() {
            return Ok(());
        }
        let Some(from) = self.next.take() else { return Ok(()) };
        let (mut last, mut bytes) = (None, 0);
        let range = from..=*PredictionKey::between(self.to, self.to).end();
        self.store.predictions(range, |key, record| {
            bytes += record.len();
            self.page.push_back(record.to_vec());
            last = Some(key);
            self.page.len() < PAGE_RECORDS && bytes < PAGE_BYTES
        })?;
        self.next = last.map(PredictionKey::next);
        Ok(())
    }
}

impl Iterator for StoredRecords {
    type Item = Result<v1::Prediction, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.turn() {
            return Some(Err(error.into()));
        }
        Some(v1::Prediction::decode(self.page.pop_front()?.as_slice()).map_err(RecordError::from))
    }
}

/// The service over a store, and over the log that is being written, if one is.
#[derive(Debug)]
pub struct Predictions {
    store: Arc<Store>,
    log: Option<Arc<Log>>,
}

impl Predictions {
    /// What health and reflection call the service.
    pub const NAME: &'static str = <PredictionServiceServer<Predictions> as NamedService>::NAME;

    /// The records of a store; `log` is asked to write what it holds before they are read.
    pub fn new(store: Arc<Store>, log: Option<Arc<Log>>) -> Predictions {
        Predictions { store, log }
    }

    /// To be added to the routes of a server.
    pub fn into_service(self) -> PredictionServiceServer<Predictions> {
        PredictionServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl PredictionService for Predictions {
    type ListPredictionsStream = Pin<Box<dyn Stream<Item = Result<v1::Prediction, Status>> + Send>>;

    async fn list_predictions(
        &self,
        request: Request<v1::ListPredictionsRequest>,
    ) -> Result<Response<Self::ListPredictionsStream>, Status> {
        let v1::ListPredictionsRequest { from_micros, to_micros, limit } = request.into_inner();
        let (from, to) = (from_micros.map_or(Time::NONE, Time::from_micros), to_micros.map_or(Time::MAX, Time::from_micros));
        let records = StoredRecords::new(self.store.clone(), from, to);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(send(records, self.log.clone(), if limit == 0 { u64::MAX } else { limit }, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Reads pages beside the thread that answers, and sends what is in them as the caller takes it.
async fn send(mut records: StoredRecords, log: Option<Arc<Log>>, limit: u64, to: mpsc::Sender<Result<v1::Prediction, Status>>) {
    let mut left = limit;
    if let Some(log) = log {
        let _ = tokio::task::spawn_blocking(move || log.flush()).await; // a log that has broken off holds nothing
    }
    while left > 0 {
        let turned = tokio::task::spawn_blocking(move || {
            let turned = records.turn();
            (records, turned)
        });
        let Ok((read, turned)) = turned.await else { return };
        records = read;
        if let Err(error) = turned {
            let _ = to.send(Err(Refusal::Read { error: error.into(), field: String::new() }.into())).await;
            return;
        }
        if records.page.is_empty() {
            return;
        }
        while left > 0
            && let Some(bytes) = records.page.pop_front()
        {
            left -= 1;
            let record = v1::Prediction::decode(bytes.as_slice()).map_err(|error| Status::internal(RecordError::from(error).to_string()));
            if to.send(record).await.is_err() {
                return; // the caller has gone
            }
        }
    }
}
