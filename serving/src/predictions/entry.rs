//! A record of the log of predictions in words: names beside values, for people and for `--json`.

use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_proto::v1;
use floodmark_store::Store;

use crate::plan::Plans;
use crate::wire::{service_info, to_value};

/// One row that was scored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, by the server's clock.
    pub at: Time,
    /// `call` or `stream`.
    pub origin: &'static str,
    /// By which model.
    pub model: String,
    /// And which version of it.
    pub model_version: String,
    /// The event time that the features are as of.
    pub as_of: Time,
    /// The version of the store.
    pub version: Option<u64>,
    /// The keys that the row names, and those that its event has.
    pub entity: Vec<(String, Value)>,
    /// The request fields that the row names.
    pub request: Vec<(String, Value)>,
    /// The event that the row stands for, if it does.
    pub event: Option<OwnEvent>,
    /// The caller's own mark.
    pub request_id: String,
    /// What came out.
    pub outcome: Outcome,
}

/// The event that was scored.
#[derive(Clone, Debug)]
pub struct OwnEvent {
    /// Whose it is.
    pub source: String,
    /// Its id, if it is given by itself.
    pub id: Option<Value>,
    /// Its columns.
    pub columns: Vec<(String, Value)>,
}

/// A score, or why there is none.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A score.
    Score {
        /// The score.
        score: f64,
        /// How many of the model's inputs were missing.
        missing: u32,
        /// How many of the features were provisional.
        provisional: u32,
        /// By name; by number (`#0`) where no service has these columns any more.
        features: Vec<(String, Value)>,
    },
    /// Why there is none: a word for programs, and a message.
    Error(String, String),
}

/// What the services of a store ask and answer, as a server would say it.
pub fn describe(store: &Store) -> Vec<v1::ServiceInfo> {
    let plans = Plans::new(store.definitions().clone());
    let named = plans.definitions().services.iter().zip(plans.services());
    named.map(|(service, plan)| service_info(&service.name, plan)).collect()
}

/// The service whose columns a record has, if there is one that knows the request's fields.
pub(crate) fn service_of<'s>(record: &v1::Prediction, services: &'s [v1::ServiceInfo]) -> Option<&'s v1::ServiceInfo> {
    let asked = record.request.iter().flat_map(|request| &request.request_names);
    let knows = |info: &&v1::ServiceInfo| asked.clone().all(|name| info.request.iter().any(|field| field.name == *name));
    services.iter().filter(|info| info.columns_id == record.columns_id).find(knows)
}

impl Entry {
    /// Puts names beside the values of a record.
    pub fn of(record: v1::Prediction, services: &[v1::ServiceInfo]) -> Entry {
        let service = service_of(&record, services);
        let request = record.request.unwrap_or_default();
        let mut row = request.rows.into_iter().next().unwrap_or_default();
        let mut entity = named(&request.key_names, row.keys);
        let shape = request.event_shape;
        let event = row.event.take().map(|event| {
            let shape = shape.unwrap_or_default();
            let given = event.id.map(to_value);
            OwnEvent { source: shape.source, id: given, columns: named(&shape.columns, event.values) }
        });
        let keys = service.iter().flat_map(|info| &info.keys).filter(|key| !request.key_names.contains(&key.name));
        for key in keys {
            let columns = event.iter().flat_map(|event| &event.columns);
            entity.extend(columns.filter(|(name, _)| *name == key.name).cloned());
        }
        let outcome = match record.outcome {
            Some(v1::prediction::Outcome::Row(row)) => Outcome::Score {
                score: row.score,
                missing: row.missing,
                provisional: row.provisional,
                features: features(service, row.features),
            },
            Some(v1::prediction::Outcome::Error(error)) => Outcome::Error(error.reason, error.message),
            None => Outcome::Error(String::new(), "the record has no outcome".to_owned()),
        };
        Entry {
            at: Time::from_micros(record.at_micros),
            origin: match v1::PredictionOrigin::try_from(record.origin) {
                Ok(v1::PredictionOrigin::Call) => "call",
                Ok(v1::PredictionOrigin::Stream) => "stream",
                _ => "unknown",
            },
            model: request.model,
            model_version: request.model_version,
            as_of: request.as_of_micros.map_or(Time::NONE, Time::from_micros),
            version: request.version,
            entity,
            request: named(&request.request_names, row.request),
            event,
            request_id: request.request_id,
            outcome,
        }
    }
}

fn named(names: &[String], values: Vec<v1::Value>) -> Vec<(String, Value)> {
    names.iter().cloned().zip(values.into_iter().map(to_value)).collect()
}

fn features(service: Option<&v1::ServiceInfo>, values: Vec<v1::Value>) -> Vec<(String, Value)> {
    let columns = service.map(|info| info.columns.as_slice()).unwrap_or_default();
    let name = |at: usize| columns.get(at).map_or_else(|| format!("#{at}"), |column| column.name.clone());
    values.into_iter().enumerate().map(|(at, value)| (name(at), to_value(value))).collect()
}
