//! What the offline store has of before: events of a source, and statistics of a service's features over them; for the command and for a
//! running server.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_features::suggest::Hint;
use floodmark_features::time::Time;
use floodmark_offline::OfflineStore;
use floodmark_serving::client::value_of_text;
use floodmark_serving::flight::history::{EventsAsk, History, StatisticsAsk, ValuesAsk};
use floodmark_store::Store;
use floodmark_training::{Profile, TrainingError, TrainingSpec, TrainingStream};
use tonic::Status;

/// Events at a place, and a store with their features.
#[derive(Debug)]
pub(crate) struct OfStore {
    pub(crate) store: Arc<Store>,
    pub(crate) place: String,
}

impl OfStore {
    /// Opened each time, as it is asked for rarely and by people; what was flushed last is there then.
    fn open(&self) -> Result<OfflineStore, Status> {
        OfflineStore::existing(&self.place, self.store.definitions()).map_err(|error| Status::unavailable(error.to_string()))
    }

    fn source(&self, name: &str) -> Result<usize, Status> {
        place_of(name, "source", self.store.definitions().sources.iter().map(|source| source.name.as_str()))
    }
}

impl OfStore {
    fn between(&self, source: usize, ask: &EventsAsk) -> Result<RecordBatch, Status> {
        let schema = &self.store.definitions().sources[source].schema;
        let names = || schema.columns.iter().map(|column| column.name.as_str());
        let value = |(name, value): &(String, serde_json::Value)| {
            let at = place_of(name, "column", names())?;
            let wrong = || {
                Status::invalid_argument(format!("a value of type {} is expected. column={name} found={value}", schema.columns[at].kind))
            };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            value_of_text(&text, schema.columns[at].kind).map(|value| (at, value)).ok_or_else(wrong)
        };
        let only = ask.only.iter().map(value).collect::<Result<Vec<_>, Status>>()?;
        let events = self.open()?.between(source, ask.range, &only, ask.sample.unwrap_or(usize::MAX));
        events.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Whose events are rows, and what is added to them.
    fn spec(&self, ask: &ValuesAsk) -> Result<(usize, TrainingSpec), Status> {
        let definitions = self.store.definitions();
        let services = definitions.services.iter().map(|service| service.name.as_str());
        let lookup = Arc::new(Lookup::of_service(definitions.clone(), place_of(&ask.service, "service", services)?));
        let source = source_of(&lookup, Some(&ask.events.source).filter(|source| !source.is_empty()))?;
        Ok((source, TrainingSpec { mode: ask.mode, statuses: ask.statuses, ..spec_of(definitions, &lookup, source) }))
    }
}

impl History for OfStore {
    fn statistics(&self, ask: &StatisticsAsk) -> Result<RecordBatch, Status> {
        statistics(&self.store, &self.open()?, ask)
    }

    fn events(&self, ask: &EventsAsk) -> Result<RecordBatch, Status> {
        self.between(self.source(&ask.source)?, ask)
    }

    fn values(&self, ask: &ValuesAsk) -> Result<Vec<RecordBatch>, Status> {
        let (source, spec) = self.spec(ask)?;
        let events = self.between(source, &ask.events)?;
        let set = TrainingStream::new(self.store.clone(), spec, &events.schema()).map_err(refused)?;
        set.add(std::slice::from_ref(&events)).map_err(refused)
    }

    fn value_columns(&self, ask: &ValuesAsk) -> Result<SchemaRef, Status> {
        let (source, spec) = self.spec(ask)?;
        let columns = floodmark_offline::columns_of(&self.store.definitions().sources[source]);
        let set = TrainingStream::new(self.store.clone(), spec, &columns).map_err(refused)?;
        Ok(set.schema().clone())
    }

    fn columns(&self, source: &str) -> Result<SchemaRef, Status> {
        let source = &self.store.definitions().sources[self.source(source)?];
        Ok(floodmark_offline::columns_of(source))
    }
}

/// The table of statistics.
pub(crate) fn statistics(store: &Arc<Store>, offline: &OfflineStore, ask: &StatisticsAsk) -> Result<RecordBatch, Status> {
    let definitions = store.definitions();
    let services = || definitions.services.iter().map(|service| service.name.as_str());
    let service = place_of(&ask.service, "service", services())?;
    let lookup = Arc::new(Lookup::of_service(definitions.clone(), service));
    let source = source_of(&lookup, ask.source.as_ref())?;
    let of_range = |range| profile(store, offline, &lookup, source, range, ask.sample);
    let (profiled, against) = (of_range(ask.range)?, ask.against.map(of_range).transpose()?);
    profiled.table(against.as_ref()).map_err(|error| Status::internal(error.to_string()))
}

/// The source whose events are rows: that of the service's first view if none is said.
fn source_of(lookup: &Lookup, named: Option<&String>) -> Result<usize, Status> {
    let definitions = &lookup.definitions;
    match (named, lookup.features.first()) {
        (Some(source), _) => place_of(source, "source", definitions.sources.iter().map(|source| source.name.as_str())),
        (None, Some(feature)) => Ok(definitions.views[feature.view].source),
        (None, None) => Err(Status::invalid_argument("the service has no features")),
    }
}

fn refused(error: TrainingError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// What features are like, each event of the range as it would have been scored.
fn profile(
    store: &Arc<Store>,
    offline: &OfflineStore,
    lookup: &Arc<Lookup>,
    source: usize,
    range: (Time, Time),
    sample: usize,
) -> Result<Profile, Status> {
    let rows = offline.between(source, range, &[], sample).map_err(|error| Status::unavailable(error.to_string()))?;
    let spec = spec_of(store.definitions(), lookup, source);
    let set = TrainingStream::new(store.clone(), spec, &rows.schema()).map_err(refused)?;
    let made = set.add(std::slice::from_ref(&rows)).map_err(refused)?;
    Profile::of(set.schema(), &made, rows.num_columns()).map_err(|error| Status::internal(error.to_string()))
}

fn spec_of(definitions: &Definitions, lookup: &Arc<Lookup>, source: usize) -> TrainingSpec {
    let source = &definitions.sources[source];
    let name = |at: usize| source.schema.columns[at].name.clone();
    TrainingSpec {
        lookup: lookup.clone(),
        time: name(source.event_time),
        event_id: source.event_id.map(name),
        mode: Mode::AsServed,
        version: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        statuses: true,
    }
}

fn place_of<'a>(name: &str, what: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<usize, Status> {
    known.clone().position(|it| it == name).ok_or_else(|| {
        let (hint, all) = (Hint::nearest(name, known.clone()), known.collect::<Vec<_>>().join(","));
        Status::not_found(format!("no {what} has this name{hint} {what}={name} known={all}"))
    })
}
