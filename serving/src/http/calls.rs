//! floodmark's own calls over HTTP: the messages of gRPC in JSON, worked on by the same functions, so that values are the same bits.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_server::FeatureService as _;
use floodmark_proto::v1::model_service_server::ModelService as _;
use floodmark_proto::v1::score_service_server::ScoreService as _;
use http::{Method, Response, StatusCode, header};
use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use tonic::{Code, Request as Grpc, Status};

use super::proto_json::{broken, pool, read, write};
use super::routes::{Call, Found, Route, find};
use super::{Answer, Handler, Refused, Request, json, openapi, refusal};
use crate::deadline::{Due, deadline_exceeded, timeout};
use crate::metrics::calls::{Counts, Lane};
use crate::score::Scores;
use crate::service::Features;

/// Answers `/v1/...` and `/openapi.json`.
pub struct Calls {
    pub(super) features: Features,
    /// Absent on a server without models.
    pub(super) scores: Option<Arc<Scores>>,
    pub(super) pool: DescriptorPool,
    lane: Arc<Lane>,
}

impl Calls {
    /// The calls of these services, counted there. An error is a fault of the build.
    pub fn new(features: Features, scores: Option<Arc<Scores>>, counts: &Counts) -> Result<Calls, Status> {
        Ok(Calls { features, scores, pool: pool()?, lane: counts.lane("http") })
    }

    /// The method of gRPC that a route stands for.
    pub(super) fn rpc(&self, route: &Route) -> Result<MethodDescriptor, Status> {
        let (service, method) = route.rpc;
        let service = self.pool.get_service_by_name(service).ok_or_else(|| broken(&service))?;
        service.methods().find(|known| known.name() == method).ok_or_else(|| broken(&method))
    }

    fn scores(&self) -> Result<&Scores, Status> {
        self.scores.as_deref().ok_or_else(|| Status::unimplemented("there are no models on this server; start it with --models"))
    }

    async fn call(&self, route: &Route, name: &str, request: &Request, due: Option<Instant>) -> Result<Bytes, Status> {
        let rpc = self.rpc(route)?;
        let asked = Asked { kind: rpc.input(), body: &request.body, name };
        let out = rpc.output();
        match route.call {
            Call::GetFeatures => {
                let mut asked = asked.message()?;
                due.map(|due| asked.extensions_mut().insert(Due(due)));
                write(&out, &self.features.get_features(asked).await?.into_inner())
            }
            Call::ListServices => write(&out, &self.features.list_services(asked.bodiless(|_, _| ())).await?.into_inner()),
            Call::GetService => write(
                &out,
                &self.features.get_service(asked.bodiless(|m: &mut v1::GetServiceRequest, name| m.service = name)).await?.into_inner(),
            ),
            Call::Score => write(&out, &self.scores()?.score(asked.named(|m: &mut v1::ScoreRequest| &mut m.model)?).await?.into_inner()),
            Call::ListModels => write(&out, &self.scores()?.list_models(asked.bodiless(|_, _| ())).await?.into_inner()),
            Call::ListOneModel => {
                let listed =
                    self.scores()?.list_models(asked.bodiless(|m: &mut v1::ListModelsRequest, name| m.model = name)).await?.into_inner();
                if listed.models.is_empty() {
                    return Err(Status::not_found("no such model; GET /v1/models lists them"));
                }
                write(&out, &listed)
            }
            Call::LoadModel => {
                write(&out, &self.scores()?.load_model(asked.named(|m: &mut v1::LoadModelRequest| &mut m.model)?).await?.into_inner())
            }
            Call::UnloadModel => {
                write(&out, &self.scores()?.unload_model(asked.named(|m: &mut v1::UnloadModelRequest| &mut m.model)?).await?.into_inner())
            }
            Call::LabelModel => {
                write(&out, &self.scores()?.label_model(asked.named(|m: &mut v1::LabelModelRequest| &mut m.model)?).await?.into_inner())
            }
            Call::SetCanaryShare => write(
                &out,
                &self.scores()?.set_canary_share(asked.named(|m: &mut v1::SetCanaryShareRequest| &mut m.model)?).await?.into_inner(),
            ),
        }
    }

    async fn respond(&self, request: &Request) -> Option<Response<Bytes>> {
        if request.path() == "/openapi.json" {
            return Some(match request.method {
                Method::GET => answered(openapi::document(self).map(|document| document.to_string().into())),
                _ => Refused::Method { allowed: "GET, HEAD".to_owned() }.response(),
            });
        }
        match find(&request.method, request.path()) {
            Found::Call(..) if !is_plain(request) => Some(Refused::Encoded.response()),
            Found::Call(route, name) => {
                let ((service, method), began) = (route.rpc, Instant::now());
                let mut watched = self.lane.begin(self.lane.place(&format!("/{service}/{method}")), began);
                let due = timeout(&request.headers).map(|after| began + after);
                let call = self.call(route, &name, request, due);
                let body = match due {
                    Some(due) => tokio::time::timeout_at(due.into(), call).await.unwrap_or_else(|_| Err(deadline_exceeded())),
                    None => call.await,
                };
                watched.end(body.as_ref().map_or_else(Status::code, |_| Code::Ok));
                Some(answered(body))
            }
            Found::Methods(allowed) => Some(Refused::Method { allowed }.response()),
            Found::Nothing => None,
        }
    }
}

impl Handler for Calls {
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(self.respond(request))
    }
}

fn answered(body: Result<Bytes, Status>) -> Response<Bytes> {
    match body {
        Ok(body) => json(StatusCode::OK, body),
        Err(status) => refusal(&status),
    }
}

fn is_plain(request: &Request) -> bool {
    matches!(request.header(header::CONTENT_ENCODING.as_str()), "" | "identity")
}

/// What a request says: its body, and the name in its path.
struct Asked<'a> {
    kind: MessageDescriptor,
    body: &'a [u8],
    name: &'a str,
}

impl Asked<'_> {
    /// The body; one that is empty is a message with nothing set.
    fn message<M: Message + Default>(&self) -> Result<Grpc<M>, Status> {
        if self.body.is_empty() { Ok(Grpc::new(M::default())) } else { read(&self.kind, self.body).map(Grpc::new) }
    }

    /// The body, with the name that the path gives. If the body gives one as well, it must be the same.
    fn named<M: Message + Default>(&self, field: impl Fn(&mut M) -> &mut String) -> Result<Grpc<M>, Status> {
        let mut message = self.message::<M>()?;
        let model = field(message.get_mut());
        if !model.is_empty() && model != self.name {
            return Err(Status::invalid_argument("the model in the body is not the one in the path; leave it out of the body"));
        }
        self.name.clone_into(model);
        Ok(message)
    }

    /// Only what the path says.
    fn bodiless<M: Default>(&self, set: impl Fn(&mut M, String)) -> Grpc<M> {
        let mut message = M::default();
        set(&mut message, self.name.to_owned());
        Grpc::new(message)
    }
}
