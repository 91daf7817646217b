//! `floodmark.v1.FeatureService`: what is asked is checked once for a request, then its rows are read one by one.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use floodmark_features::lookup::{Answer, Ask};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_server::{FeatureService, FeatureServiceServer};
use floodmark_store::Store;
use prost::Message;
use prost::bytes::Bytes;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use self::asked::{Asked, planned};
use crate::plan::{Plan, Plans};
use crate::refusal::Refusal;
use crate::server::{Calls, Framed, Outcome, UnaryMethod};
use crate::wire::{feature_row, service_info};

/// A request with more rows is refused: one caller must not keep a thread from the others.
pub const MAX_ROWS: usize = 10_000;

/// After so many rows, other calls on the thread have their turn, and a deadline is noticed.
const ROWS_IN_A_TURN: usize = 64;

/// The service over a store. Make one for each server thread: what it remembers is then shared with nobody.
#[derive(Debug)]
pub struct Features {
    store: Arc<Store>,
    plans: Plans,
}

impl Features {
    /// What health and reflection call the service.
    pub const NAME: &'static str = <FeatureServiceServer<Features> as NamedService>::NAME;

    /// Resolves every service of the store's definitions.
    pub fn new(store: Arc<Store>) -> Features {
        let plans = Plans::new(store.definitions().clone());
        Features { store, plans }
    }

    /// All that the service answers, look-ups on the short way. A request of more bytes is refused.
    pub fn into_calls(self, max_request_bytes: usize) -> Calls {
        let shared = Arc::new(self);
        let service = FeatureServiceServer::from_arc(shared.clone()).max_decoding_message_size(max_request_bytes);
        Calls::new(Routes::new(service)).with_unary(GET_FEATURES, Arc::new(GetFeatures { shared, max_request_bytes }))
    }

    async fn look_up(&self, request: &v1::GetFeaturesRequest) -> Result<v1::GetFeaturesResponse, Status> {
        let plan = planned(&self.plans, request)?;
        let asked = Asked::of(&plan, request)?;
        let (now, mut rows) = (now(), Vec::with_capacity(request.rows.len()));
        for turn in (0..request.rows.len()).step_by(ROWS_IN_A_TURN) {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            self.read_rows(&asked, turn..request.rows.len().min(turn + ROWS_IN_A_TURN), now, &mut rows)?;
        }
        Ok(response(&plan, request, rows))
    }

    /// The same where the rows are so few that others need not have their turn in between.
    fn look_up_at_once(&self, request: &v1::GetFeaturesRequest) -> Result<v1::GetFeaturesResponse, Status> {
        let plan = planned(&self.plans, request)?;
        let asked = Asked::of(&plan, request)?;
        let mut rows = Vec::with_capacity(request.rows.len());
        self.read_rows(&asked, 0..request.rows.len(), now(), &mut rows)?;
        Ok(response(&plan, request, rows))
    }

    fn read_rows(&self, asked: &Asked<'_>, rows: Range<usize>, now: Time, into: &mut Vec<v1::FeatureRow>) -> Result<(), Refusal> {
        let mut values = Vec::with_capacity(asked.values_in_a_row());
        for at in rows {
            values.clear();
            into.push(self.read_row(asked, at, &asked.request.rows[at], now, &mut values)?);
        }
        Ok(())
    }

    /// Reads one row; `values` is empty, and there so that its memory is used again.
    fn read_row<'r>(
        &self,
        asked: &Asked<'r>,
        at: usize,
        row: &'r v1::EntityRow,
        now: Time,
        values: &mut Vec<ValueRef<'r>>,
    ) -> Result<v1::FeatureRow, Refusal> {
        asked.read_values(at, row, values)?;
        let (keys, request) = values.split_at(asked.keys.len());
        let own_event = asked.own_event(at, row)?;
        let as_of = asked.as_of(at, row, own_event.as_ref(), now)?;
        let (version, mode) = (asked.request.version, asked.mode);
        let ask = Ask { keys, request, as_of, version, own_event: own_event.as_ref(), mode };
        let mut answer = ANSWER.take();
        let read = self.store.read(&asked.plan.lookup, &ask, &mut answer);
        let row = match read {
            Ok(()) => Ok(feature_row(&mut answer, as_of)),
            Err(error) => Err(Refusal::Read { error, field: format!("rows[{at}]") }),
        };
        ANSWER.set(answer);
        row
    }
}

fn response(plan: &Plan, request: &v1::GetFeaturesRequest, rows: Vec<v1::FeatureRow>) -> v1::GetFeaturesResponse {
    let names = if request.omit_names { Vec::new() } else { plan.names.clone() };
    v1::GetFeaturesResponse { names, columns_id: plan.columns_id, rows }
}

/// The path of look-ups.
const GET_FEATURES: &str = "/floodmark.v1.FeatureService/GetFeatures";

/// Look-ups on the short way.
struct GetFeatures {
    shared: Arc<Features>,
    max_request_bytes: usize,
}

impl UnaryMethod for GetFeatures {
    fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    fn call(self: Arc<Self>, request: Bytes) -> Outcome {
        let request = match v1::GetFeaturesRequest::decode(request) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(Status::internal(format!("the message cannot be decoded: {error}")))),
        };
        if request.rows.len() <= ROWS_IN_A_TURN {
            return Outcome::Now(self.shared.look_up_at_once(&request).map(|response| Framed::of(&response)));
        }
        Outcome::Later(Box::pin(async move { self.shared.look_up(&request).await.map(|response| Framed::of(&response)) }))
    }
}

thread_local! {
    /// Used again from row to row, so that cells need no new memory.
    static ANSWER: Cell<Answer> = Cell::default();
}

#[tonic::async_trait]
impl FeatureService for Features {
    async fn get_features(&self, request: Request<v1::GetFeaturesRequest>) -> Result<Response<v1::GetFeaturesResponse>, Status> {
        self.look_up(request.get_ref()).await.map(Response::new)
    }

    async fn list_services(&self, _: Request<v1::ListServicesRequest>) -> Result<Response<v1::ListServicesResponse>, Status> {
        let named = self.plans.definitions().services.iter().zip(self.plans.services());
        let services = named.map(|(service, plan)| service_info(&service.name, plan)).collect();
        Ok(Response::new(v1::ListServicesResponse { services }))
    }

    async fn get_service(&self, request: Request<v1::GetServiceRequest>) -> Result<Response<v1::ServiceInfo>, Status> {
        let name = &request.get_ref().service;
        let plan = self.plans.service(name)?;
        Ok(Response::new(service_info(name, plan)))
    }
}

/// The wall clock, which is read here and nowhere below.
fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(_) => Time::from_micros(0),
    }
}

mod asked;
#[cfg(test)]
mod tests;
