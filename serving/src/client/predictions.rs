//! The client's way to the log of predictions, for callers that wait: reading it, and asking the server to do the same again.

use std::sync::Arc;
use std::time::Duration;

use floodmark_features::time::Time;
use floodmark_proto::v1;
use floodmark_proto::v1::prediction_service_client::PredictionServiceClient;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::{Request, Status};

use super::{Client, ClientError, refused};
use crate::predictions::{RecordError, Records};
use crate::verify::Again;

/// A call has so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, asked from a thread that may wait.
#[derive(Debug)]
pub struct Remote {
    runtime: Arc<Runtime>,
    client: Client,
    services: Vec<v1::ServiceInfo>,
}

impl Remote {
    /// Connects to `host:port`, and learns its services.
    pub fn connect(address: &str) -> Result<Remote, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::Connect { address: address.to_owned(), cause: error.to_string() })?;
        let (client, services) = runtime.block_on(async {
            let mut client = Client::connect(address).await?;
            let services = client.features.list_services(timed(v1::ListServicesRequest {})).await.map_err(refused)?;
            Ok::<_, ClientError>((client, services.into_inner().services))
        })?;
        Ok(Remote { runtime: Arc::new(runtime), client, services })
    }

    /// The records from one time to another, so many at most (0: all).
    pub fn records(&self, from: Time, to: Time, limit: u64) -> Result<Records, ClientError> {
        let bound = |time: Time, open: Time| (time != open).then_some(time.micros());
        let asked = v1::ListPredictionsRequest { from_micros: bound(from, Time::NONE), to_micros: bound(to, Time::MAX), limit };
        let mut client = PredictionServiceClient::new(self.client.channel.clone());
        let mut stream = self.runtime.block_on(client.list_predictions(asked)).map_err(refused)?.into_inner();
        let runtime = self.runtime.clone();
        let next = move || runtime.block_on(stream.message()).transpose();
        Ok(Box::new(std::iter::from_fn(next).map(|record| record.map_err(|status| RecordError::Client(refused(status))))))
    }

    /// Calls for all at once, and answers in their order.
    fn all<Q, A, F>(&self, asked: &[Q], call: impl Fn(Client, Request<Q>) -> F) -> Vec<Result<A, Status>>
    where
        Q: Clone,
        A: Send + 'static,
        F: Future<Output = Result<tonic::Response<A>, Status>> + Send + 'static,
    {
        self.runtime.block_on(async {
            let mut calls = JoinSet::new();
            for (at, request) in asked.iter().enumerate() {
                let call = call(self.client.clone(), timed(request.clone()));
                calls.spawn(async move { (at, call.await.map(tonic::Response::into_inner)) });
            }
            let broken = || Err(Status::internal("the call broke off"));
            let mut answers: Vec<Result<A, Status>> = asked.iter().map(|_| broken()).collect();
            while let Some(done) = calls.join_next().await {
                if let Ok((at, answer)) = done {
                    answers[at] = answer;
                }
            }
            answers
        })
    }
}

impl Again for Remote {
    fn services(&self) -> &[v1::ServiceInfo] {
        &self.services
    }

    fn score(&mut self, requests: &[v1::ScoreRequest]) -> Vec<Result<v1::ScoreResponse, Status>> {
        self.all(requests, |mut client, request| async move { client.scores.score(request).await })
    }

    fn look_up(&mut self, requests: &[v1::GetFeaturesRequest]) -> Vec<Result<v1::GetFeaturesResponse, Status>> {
        self.all(requests, |mut client, request| async move { client.features.get_features(request).await })
    }
}

fn timed<Q>(request: Q) -> Request<Q> {
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    request
}
