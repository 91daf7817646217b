//! A small client: one look-up by service or one score, with keys and request fields given as text, and the server's models, for the
//! command line.

mod models;

pub use models::{Difference, ModelState, ModelStatus};

mod predictions;
mod rows;

use std::time::Duration;

use floodmark_features::lookup::Answer;
use floodmark_features::suggest::Hint;
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value};
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_types::StatusExt;

pub use self::predictions::Remote;
pub use self::rows::RowAsk;
use crate::refusal::{code_name, listed};
use crate::wire::{from_value, to_answer, to_type};

/// A server has so long to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not `host:port`, with or without `http://`.
    #[error("address is not one, expected host:port. address={address}")]
    Address {
        /// As given.
        address: String,
    },
    /// Nobody answers there, or it is too slow to.
    #[error("no server answers. address={address} cause={cause}")]
    Connect {
        /// As given.
        address: String,
        /// What the network said.
        cause: String,
    },
    /// A name that is neither a key nor a request field of the service.
    #[error("name is no key or request field of the service{hint} name={name} expected={expected}")]
    UnknownName {
        /// As given.
        name: String,
        /// What was probably meant.
        hint: String,
        /// What there is.
        expected: String,
    },
    /// Text that is not a value of the type.
    #[error("value cannot be read. name={name} expected={expected}")]
    Unreadable {
        /// Of the key or field.
        name: String,
        /// Its type.
        expected: Type,
    },
    /// The server refused; the message is its own.
    #[error("{message} status={}", code_name(*code))]
    Refused {
        /// What kind of refusal.
        code: Code,
        /// A word for programs, such as `MISSING_KEY`; empty if the server gave none.
        reason: String,
        /// For people.
        message: String,
    },
    /// The server answered something that this build does not understand.
    #[error("the server's answer makes no sense: {0}")]
    Answer(&'static str),
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    features: FeatureServiceClient<Channel>,
    scores: ScoreServiceClient<Channel>,
    models: ModelServiceClient<Channel>,
    channel: Channel,
}

/// One row to score, as text.
#[derive(Clone, Debug, Default)]
pub struct ScoreQuestion<'a> {
    /// The model.
    pub model: &'a str,
    /// A version, or a label after `@`; empty for the one that the model's labels choose.
    pub model_version: &'a str,
    /// Keys and request fields, in any order.
    pub values: &'a [(String, String)],
    /// The event that the row stands for, column by column.
    pub event: &'a [(String, Value)],
    /// The event time that features are as of; `None` for the event's, and without one for now.
    pub as_of: Option<Time>,
}

/// What a model reads, as the server told.
#[derive(Clone, Debug)]
pub struct Reads(Option<v1::ServiceInfo>);

/// A score, and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The score.
    pub score: f64,
    /// Who made it.
    pub model_version: u64,
    /// The event time that the features are as of.
    pub as_of: Time,
    /// The least watermark of the sources involved; [`Time::NONE`] before the first event.
    pub watermark: Time,
    /// The version of the store.
    pub version: u64,
    /// How many inputs were missing.
    pub missing: u32,
    /// How many features may still change.
    pub provisional: u32,
    /// What the look-up and the model's run took.
    pub lookup: Duration,
    /// See `lookup`.
    pub run: Duration,
}

/// One look-up, as text.
#[derive(Clone, Debug, Default)]
pub struct Question<'a> {
    /// The service.
    pub service: &'a str,
    /// Keys and request fields, in any order.
    pub values: &'a [(String, String)],
    /// The event time that values are as of; `None` for now.
    pub as_of: Option<Time>,
    /// Only commits up to this version; `None` for the newest.
    pub version: Option<u64>,
}

/// One row of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The columns.
    pub names: Vec<String>,
    /// The event time that the values are as of.
    pub as_of: Time,
    /// A cell for each column, the watermark and the version.
    pub answer: Answer,
}

impl Client {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Result<Client, ClientError> {
        let bad = || ClientError::Address { address: address.to_owned() };
        let host = address.strip_prefix("http://").unwrap_or(address);
        let endpoint = Endpoint::from_shared(format!("http://{host}")).map_err(|_| bad())?;
        if endpoint.uri().port_u16().is_none() {
            return Err(bad());
        }
        let channel = endpoint.connect_timeout(CONNECT_WITHIN).tcp_nodelay(true).connect().await;
        let channel = channel.map_err(|e| ClientError::Connect { address: address.to_owned(), cause: innermost(&e) })?;
        Ok(Client {
            features: FeatureServiceClient::new(channel.clone()),
            scores: ScoreServiceClient::new(channel.clone()),
            models: ModelServiceClient::new(channel.clone()),
            channel,
        })
    }

    /// Scores one row, within `timeout` for each of three calls.
    pub async fn score(&mut self, question: &ScoreQuestion<'_>, timeout: Duration) -> Result<Scored, ClientError> {
        let reads = self.reads(question.model, timeout).await?;
        self.score_knowing(&reads, question, timeout).await
    }

    /// What a model reads: asked for once, before many scores.
    pub async fn reads(&mut self, model: &str, timeout: Duration) -> Result<Reads, ClientError> {
        let mut ask = Request::new(v1::ListModelsRequest { model: model.to_owned() });
        ask.set_timeout(timeout);
        let models = self.models.list_models(ask).await.map_err(refused)?.into_inner().models;
        // Of a model that is not there, the server says more than this client could.
        let service = models.into_iter().map(|model| model.service).rfind(|service| !service.is_empty());
        let Some(service) = service else { return Ok(Reads(None)) };
        let mut ask = Request::new(v1::GetServiceRequest { service });
        ask.set_timeout(timeout);
        Ok(Reads(Some(self.features.get_service(ask).await.map_err(refused)?.into_inner())))
    }

    /// Scores one row in one call, within `timeout`; `reads` is of the same model.
    pub async fn score_knowing(&mut self, reads: &Reads, question: &ScoreQuestion<'_>, timeout: Duration) -> Result<Scored, ClientError> {
        let mut request = v1::ScoreRequest {
            model: question.model.to_owned(),
            model_version: question.model_version.to_owned(),
            as_of_micros: question.as_of.map(Time::micros),
            ..v1::ScoreRequest::default()
        };
        if let Some(info) = &reads.0 {
            fill(question, info, &mut request)?;
        }
        let mut ask = Request::new(request);
        ask.set_timeout(timeout);
        let response = self.scores.score(ask).await.map_err(refused)?.into_inner();
        scored(&response).ok_or(ClientError::Answer("no row"))
    }

    /// Looks up one row, within `timeout`. Text becomes keys and fields by the types that the server tells.
    pub async fn get(&mut self, question: &Question<'_>, timeout: Duration) -> Result<Row, ClientError> {
        let mut ask = Request::new(v1::GetServiceRequest { service: question.service.to_owned() });
        ask.set_timeout(timeout);
        let info = self.features.get_service(ask).await.map_err(refused)?.into_inner();
        let mut ask = Request::new(request(question, &info)?);
        ask.set_timeout(timeout);
        let response = self.features.get_features(ask).await.map_err(refused)?.into_inner();
        let row = response.rows.into_iter().next().ok_or(ClientError::Answer("no row"))?;
        let (as_of, answer) = to_answer(row);
        match answer.cells.len() == response.names.len() {
            true => Ok(Row { names: response.names, as_of, answer }),
            false => Err(ClientError::Answer("names and values differ in number")),
        }
    }
}

/// Puts the row of a question into a request.
fn fill(question: &ScoreQuestion<'_>, info: &v1::ServiceInfo, request: &mut v1::ScoreRequest) -> Result<(), ClientError> {
    let as_look_up = Question { service: &info.name, values: question.values, as_of: None, version: None };
    let look_up = self::request(&as_look_up, info)?;
    (request.key_names, request.request_names, request.rows) = (look_up.key_names, look_up.request_names, look_up.rows);
    if !question.event.is_empty() {
        let source = info.views.first().map(|view| view.source.clone()).unwrap_or_default();
        let columns = question.event.iter().map(|(name, _)| name.clone()).collect();
        let values = question.event.iter().map(|(_, value)| from_value(value.clone())).collect();
        request.event_shape = Some(v1::EventShape { source, columns });
        request.rows[0].event = Some(v1::OwnEvent { values, ..v1::OwnEvent::default() });
    }
    Ok(())
}

fn scored(response: &v1::ScoreResponse) -> Option<Scored> {
    let (row, times) = (response.rows.first()?, response.times.unwrap_or_default());
    Some(Scored {
        score: row.score,
        model_version: row.model_version,
        as_of: Time::from_micros(row.as_of_micros),
        watermark: row.watermark_micros.map_or(Time::NONE, Time::from_micros),
        version: row.version,
        missing: row.missing,
        provisional: row.provisional,
        lookup: Duration::from_nanos(times.lookup_nanos),
        run: Duration::from_nanos(times.model_nanos),
    })
}

/// The request for a question to a service.
fn request(question: &Question<'_>, info: &v1::ServiceInfo) -> Result<v1::GetFeaturesRequest, ClientError> {
    let mut request = v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service(question.service.to_owned())),
        as_of_micros: question.as_of.map(Time::micros),
        version: question.version,
        ..v1::GetFeaturesRequest::default()
    };
    let mut row = v1::EntityRow::default();
    for (name, text) in question.values {
        let find = |columns: &[v1::Column]| columns.iter().find(|c| c.name == *name).map(|c| c.r#type);
        let (key, field) = (find(&info.keys), find(&info.request));
        if key.is_none() && field.is_none() {
            let names = || info.keys.iter().chain(&info.request).map(|c| c.name.as_str());
            let (hint, expected) = (Hint::nearest(name, names()).to_string(), listed(names()));
            return Err(ClientError::UnknownName { name: name.clone(), hint, expected });
        }
        // One text may be both, such as a timestamp that is a key and an input of a derived feature.
        if let Some(kind) = key {
            request.key_names.push(name.clone());
            row.keys.push(read_as(kind, name, text)?);
        }
        if let Some(kind) = field {
            request.request_names.push(name.clone());
            row.request.push(read_as(kind, name, text)?);
        }
    }
    request.rows.push(row);
    Ok(request)
}

fn read_as(kind: i32, name: &str, text: &str) -> Result<v1::Value, ClientError> {
    let kind = to_type(kind).ok_or(ClientError::Answer("a key of a type that this build does not know"))?;
    let value = value_of_text(text, kind).ok_or_else(|| ClientError::Unreadable { name: name.to_owned(), expected: kind })?;
    Ok(from_value(value))
}

/// Reads a value as a shell gives it; a float must be finite.
pub fn value_of_text(text: &str, kind: Type) -> Option<Value> {
    match kind {
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Int64 => text.parse().ok().map(Value::Int),
        Type::Float64 => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float),
        Type::String => Some(Value::Str(text.into())),
        Type::Timestamp => Time::parse(text).map(Value::Time),
    }
}

fn refused(status: tonic::Status) -> ClientError {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    if status.code() == Code::Unimplemented && status.message().is_empty() {
        let message = "the server does not answer such calls; those about models need `up --models DIR`".to_owned();
        return ClientError::Refused { code: status.code(), reason, message };
    }
    ClientError::Refused { code: status.code(), reason, message: status.message().to_owned() }
}

/// The last cause of an error is the one that helps.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
