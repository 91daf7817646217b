//! `floodmark.v1.FeatureService`: what is asked is checked once for a request, then its rows are read one by one.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use floodmark_features::time::Time;
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_server::{FeatureService, FeatureServiceServer};
use floodmark_store::Store;
use floodmark_store::redis::Reader;
use prost::Message;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::asked::{Asked, Spine, planned};
use crate::deadline::Due;
use crate::online_store::{OnlineStore, When};
use crate::plan::Plans;
use crate::refusal::Refusal;
use crate::server::{Calls, Framed, Outcome, UnaryMethod};
use crate::wire::{Response, service_info};

/// After so many rows, other calls on the thread have their turn, and a deadline is noticed.
const ROWS_IN_A_TURN: usize = 64;

/// The service over a store. Make one for each server thread: what it remembers is then shared with nobody.
#[derive(Debug)]
pub struct Features {
    online: OnlineStore,
    plans: Plans,
}

impl Features {
    /// What health and reflection call the service.
    pub const NAME: &'static str = <FeatureServiceServer<Features> as NamedService>::NAME;

    /// Resolves every service of the store's definitions.
    pub fn new(store: Arc<Store>) -> Features {
        let plans = Plans::new(store.definitions().clone());
        Features { online: OnlineStore::Store(store), plans }
    }

    /// The same over an online store, for which the thread waits.
    pub fn over_redis(reader: Reader) -> Features {
        let plans = Plans::new(reader.definitions().clone());
        Features { online: OnlineStore::Redis(Box::new(reader)), plans }
    }

    /// All that the service answers, look-ups on the short way. A request of more bytes is refused.
    pub fn into_calls(self, max_request_bytes: usize) -> Calls {
        let shared = Arc::new(self);
        let service = FeatureServiceServer::from_arc(shared.clone()).max_decoding_message_size(max_request_bytes);
        Calls::new(Routes::new(service)).with_unary(GET_FEATURES, Arc::new(GetFeatures { shared, max_request_bytes }))
    }

    /// Every service, in the order of the definition.
    pub(crate) fn infos(&self) -> Vec<v1::ServiceInfo> {
        let named = self.plans.definitions().services.iter().zip(self.plans.services());
        named.map(|(service, plan)| service_info(&service.name, plan)).collect()
    }

    async fn look_up(&self, request: &v1::GetFeaturesRequest, due: Option<Instant>) -> Result<Framed, Status> {
        let plan = planned(&self.plans, request)?;
        let asked = Asked::of(&plan, Spine::from(request))?;
        let (when, mut response) = (When { now: now(), due }, Response::new(&plan, request.omit_names, request.rows.len()));
        for turn in (0..request.rows.len()).step_by(ROWS_IN_A_TURN) {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            self.read_rows(&asked, turn..request.rows.len().min(turn + ROWS_IN_A_TURN), when, &mut response)?;
        }
        Ok(response.finish())
    }

    /// The same where the rows are so few that others need not have their turn in between.
    pub(crate) fn look_up_at_once(&self, request: &v1::GetFeaturesRequest, due: Option<Instant>) -> Result<Framed, Status> {
        let plan = planned(&self.plans, request)?;
        let asked = Asked::of(&plan, Spine::from(request))?;
        let mut response = Response::new(&plan, request.omit_names, request.rows.len());
        self.read_rows(&asked, 0..request.rows.len(), When { now: now(), due }, &mut response)?;
        Ok(response.finish())
    }

    fn read_rows(&self, asked: &Asked<'_>, rows: Range<usize>, when: When, into: &mut Response) -> Result<(), Refusal> {
        self.online.read(asked, rows, when, |found| {
            into.push(found.answer, found.as_of);
            Ok(())
        })
    }
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

    fn call(self: Arc<Self>, request: Bytes, due: Option<Instant>, _: bool) -> Outcome {
        let request: v1::GetFeaturesRequest = match decoded(request) {
            Ok(request) => request,
            Err(status) => return Outcome::Now(Err(status)),
        };
        if request.rows.len() <= ROWS_IN_A_TURN {
            return Outcome::Now(self.shared.look_up_at_once(&request, due));
        }
        Outcome::Later(Box::pin(async move { self.shared.look_up(&request, due).await }))
    }
}

fn decoded<M: Message + Default>(message: impl Buf) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(format!("the message cannot be decoded: {error}")))
}

#[tonic::async_trait]
impl FeatureService for Features {
    async fn get_features(&self, request: Request<v1::GetFeaturesRequest>) -> Result<tonic::Response<v1::GetFeaturesResponse>, Status> {
        let due = request.extensions().get::<Due>().map(|due| due.0);
        let response = self.look_up(request.get_ref(), due).await?;
        decoded(response.as_message()).map(tonic::Response::new)
    }

    async fn list_services(&self, _: Request<v1::ListServicesRequest>) -> Result<tonic::Response<v1::ListServicesResponse>, Status> {
        Ok(tonic::Response::new(v1::ListServicesResponse { services: self.infos() }))
    }

    async fn get_service(&self, request: Request<v1::GetServiceRequest>) -> Result<tonic::Response<v1::ServiceInfo>, Status> {
        let name = &request.get_ref().service;
        let plan = self.plans.service(name)?;
        Ok(tonic::Response::new(service_info(name, plan)))
    }
}

/// The wall clock, which is read here and nowhere below.
fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(_) => Time::from_micros(0),
    }
}

#[cfg(test)]
mod tests;
