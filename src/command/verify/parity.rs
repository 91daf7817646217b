//! `floodmark verify --service`: features at entities and times chosen from the events, as they are served, as a training set has them, and
//! as plain loops over the offline store count them. The three must agree.

mod answers;
mod chosen;
mod judge;
mod past;
mod report;

use std::sync::Arc;

use arrow::array::RecordBatch;
use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_history::Remembered;
use floodmark_offline::OfflineStore;
use floodmark_serving::client::Remote;
use floodmark_store::Store;

use self::answers::{Online, served, training_set};
use self::chosen::Chosen;
use self::judge::Judge;
use self::past::Past;
use crate::command::get::service_named;
use crate::failure::Failure;
use crate::output::stdout;
use crate::progress::Bar;

/// Features in place of predictions.
#[derive(Debug, clap::Args)]
pub(super) struct ParityArgs {
    /// In place of predictions, the features of a service, at entities and times that are chosen from the events of the offline store: as
    /// served, in a training set, and recounted in plain loops.
    #[arg(long, value_name = "SERVICE")]
    pub(super) service: Option<String>,
    /// The offline store with the events; that of --store if not said.
    #[arg(long, value_name = "PLACE", requires = "service")]
    offline: Option<String>,
    /// So many entity rows, the same ones each time.
    #[arg(long, value_name = "N", requires = "service", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entities: u32,
    /// Each as of so many times: that of an event, the tick before, and others after it.
    #[arg(long, value_name = "N", requires = "service", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
}

/// Where the events are, and who answers online.
pub(super) struct Place {
    pub(super) definitions: Arc<Definitions>,
    /// A store on this machine.
    pub(super) store: Option<Arc<Store>>,
    /// A server.
    pub(super) server: Option<Box<Remote>>,
}

impl ParityArgs {
    /// Where the offline store is.
    fn place(&self, store: Option<&Arc<Store>>) -> Result<String, Failure> {
        let place = self.offline.clone().or_else(|| store.and_then(|store| store.offline()));
        place.ok_or_else(|| Failure::usage("events are recounted from an offline store: add --offline PLACE"))
    }
}

/// Compares and prints; exit code 1 if anything differs.
pub(super) fn run(args: &ParityArgs, service: &str, mut place: Place, json: bool) -> Result<(), Failure> {
    let at = crate::offline::absolute(&args.place(place.store.as_ref())?)?;
    let lookup = Arc::new(Lookup::of_service(place.definitions.clone(), service_named(&place.definitions, service)?));
    let (store, sources) = events_at(&at, &place)?;
    let involved: Vec<usize> = lookup.reads.iter().map(|read| place.definitions.views[read.view].source).collect();
    // Sources are flushed one after the other: up to here, all of them are whole.
    let version =
        sources.iter().filter(|(source, _)| involved.contains(source)).filter_map(|(_, events)| past::newest_version(events)).min();
    let Some(version) = version else { return Err(Failure::failed(format!("there are no events to choose from. place={at}"))) };
    let chosen = Chosen::new(&lookup, &sources, args.entities as usize, args.times as usize)?;
    let past = Past::new(&lookup, &sources, &chosen)?;
    let mut online = match &mut place.server {
        Some(server) => Online::Server(server, service),
        None => Online::Store(&store),
    };
    let mut judge = Judge::new(&lookup, version, chosen.rows.len(), args.times as usize);
    let bar = Bar::new("verify");
    for (at, mode) in [Mode::AsServed, Mode::AsCorrected].into_iter().enumerate() {
        let served = served(&mut online, &lookup, &chosen, version, mode)?;
        let trained = training_set(&store, &lookup, &chosen, version, mode)?;
        for (row, (online, training)) in served.into_iter().zip(trained).enumerate() {
            bar.at((at * chosen.rows.len() + row) as u64, 2 * chosen.rows.len() as u64);
            judge.row(&past, &chosen.rows[row], mode, online, &training)?;
        }
    }
    drop(bar);
    report::write(&mut stdout(), &judge.report, json)?;
    judge.report.verdict().map_or(Ok(()), |wrong| Err(Failure::failed(wrong)))
}

/// The events, and the store that training sets are made from: the given one, or one in memory that is made of them.
fn events_at(at: &str, place: &Place) -> Result<(Arc<Store>, Vec<Events>), Failure> {
    let Some(store) = &place.store else {
        let Remembered { store, events, .. } = crate::offline::remembered(at, &place.definitions)?;
        return Ok((store, events));
    };
    if store.offline().as_deref() == Some(at) {
        // What still waits in the store is part of it.
        OfflineStore::open(at, store)?.flush(store)?;
    }
    Ok((store.clone(), OfflineStore::existing(at, &place.definitions)?.history_for(store)?))
}

/// The events of a source.
type Events = (usize, RecordBatch);
