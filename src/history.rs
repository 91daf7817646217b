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
use floodmark_serving::flight::history::{EventsAsk, History, StatisticsAsk};
use floodmark_store::Store;
use floodmark_training::{Profile, TrainingSpec, TrainingStream};
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

impl History for OfStore {
    fn statistics(&self, ask: &StatisticsAsk) -> Result<RecordBatch, Status> {
        statistics(&self.store, &self.open()?, ask)
    }

    fn events(&self, ask: &EventsAsk) -> Result<RecordBatch, Status> {
        let (from, to) = ask.range;
        let events = self.open()?.between(self.source(&ask.source)?, from, to, ask.sample.unwrap_or(usize::MAX));
        events.map_err(|error| Status::unavailable(error.to_string()))
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
    let sources = || definitions.sources.iter().map(|source| source.name.as_str());
    let source = match (&ask.source, lookup.features.first()) {
        (Some(source), _) => place_of(source, "source", sources())?,
        (None, Some(feature)) => definitions.views[feature.view].source,
        (None, None) => return Err(Status::invalid_argument("the service has no features")),
    };
    let of_range = |range| profile(store, offline, &lookup, source, range, ask.sample);
    let (profiled, against) = (of_range(ask.range)?, ask.against.map(of_range).transpose()?);
    profiled.table(against.as_ref()).map_err(|error| Status::internal(error.to_string()))
}

/// What features are like, each event of the range as it would have been scored.
fn profile(
    store: &Arc<Store>,
    offline: &OfflineStore,
    lookup: &Arc<Lookup>,
    source: usize,
    (from, to): (Time, Time),
    sample: usize,
) -> Result<Profile, Status> {
    let rows = offline.between(source, from, to, sample).map_err(|error| Status::unavailable(error.to_string()))?;
    let spec = spec_of(store.definitions(), lookup, source);
    let refused = |error: floodmark_training::TrainingError| Status::invalid_argument(error.to_string());
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
