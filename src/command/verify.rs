//! `floodmark verify`: scores again what was logged and prints the differences: the skew of the running system. Or compares a sample of a
//! service's features with a recount.

mod parity;
mod report;

use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;

use floodmark_models::model::Settings as ModelSettings;
use floodmark_models::registry::Registry;
use floodmark_models::repository::Repository;
use floodmark_serving::predictions::Records;
use floodmark_serving::verify::{Again, Local, ROWS_AT_ONCE, Report, Verifier};

use self::parity::ParityArgs;
use self::report::write;
use crate::failure::Failure;
use crate::logged::{LoggedArgs, Place, connect};
use crate::output::stdout;
use crate::progress::Bar;
use crate::stored::{open_existing, read_definitions};

const EXAMPLE: &str = "EXAMPLES:
  floodmark verify --store state --models models
  floodmark verify --address 127.0.0.1:7070 --sample 10000
  floodmark verify --store state --service fraud --entities 5000
  floodmark verify --address 127.0.0.1:7070 --service fraud --definitions floodmark.yaml --offline history

Every logged prediction, and in a store every score of `up --score`, is scored again at the version of the store that it was made
with. Features and scores must be the same, bit for bit; exit code 1 if any is not. Then what was served is compared with what is known
now.

With --service, it is features that are verified: at entities and times chosen from the events in the offline store, what is answered
online, what a training set has and what plain loops over the events count must be the same; exit code 1 if any is not. Online answers a
server, or the store, or (with --offline and --definitions alone) a store made of the events.";

/// What to score again, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(flatten)]
    logged: LoggedArgs,
    /// The repository of models, for --store.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["address", "service"], conflicts_with = "address")]
    models: Option<PathBuf>,
    /// The ONNX Runtime library; looked for in the usual places if not said.
    #[arg(long, value_name = "FILE", requires = "models")]
    onnxruntime: Option<PathBuf>,
    /// So many of the records, the same ones each time; all if not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sample: Option<u32>,
    #[command(flatten)]
    parity: ParityArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    if let Some(service) = &args.parity.service {
        return parity::run(&args.parity, service, place(&args.logged)?, json);
    }
    let place = args.logged.open()?;
    // A sample is chosen among all, which are read twice so that none is held that is not chosen.
    let chosen = args.sample.map(|most| choose(args.logged.all_records(&place)?, most as usize)).transpose()?;
    let records = args.logged.all_records(&place)?;
    let (report, refused) = match place {
        Place::Server(remote) => {
            let verifier = verify(Verifier::new(*remote), records, chosen.as_deref())?;
            (verifier.finish(), Vec::new())
        }
        Place::Store(store) => {
            let directory = args.models.as_ref().ok_or_else(|| Failure::usage("expected --models"))?;
            let models = Registry::new(Repository::new(directory), args.onnxruntime.clone(), ModelSettings::default());
            let verifier = verify(Verifier::new(Local::new(store, Arc::new(models))), records, chosen.as_deref())?;
            let refused: Vec<String> = verifier.again().refused().collect();
            (verifier.finish(), refused)
        }
    };
    for why in refused {
        eprintln!("warning: {why}");
    }
    write(&mut stdout(), &report, json)?;
    match verdict(&report) {
        None => Ok(()),
        Some(wrong) => Err(Failure::failed(wrong)),
    }
}

/// Who answers online, and by which definitions.
fn place(logged: &LoggedArgs) -> Result<parity::Place, Failure> {
    let given = logged.definitions.as_deref();
    if let Some(store) = &logged.store {
        let store = open_existing(store, given)?;
        return Ok(parity::Place { definitions: store.definitions().clone(), store: Some(store), server: None });
    }
    let Some(path) = given else { return Err(Failure::usage("expected --store, or --definitions with --offline")) };
    let server = logged.address.as_deref().map(connect).transpose()?;
    Ok(parity::Place { definitions: read_definitions(path)?.definitions, store: None, server })
}

/// Verifies records a few at a time; of a sample, those whose hashes were chosen.
fn verify<A: Again>(mut verifier: Verifier<A>, records: Records, chosen: Option<&[u64]>) -> Result<Verifier<A>, Failure> {
    let bar = Bar::new("verify");
    let (mut batch, mut seen) = (Vec::with_capacity(ROWS_AT_ONCE), 0);
    for record in records {
        let record = record?;
        if chosen.is_none_or(|chosen| chosen.binary_search(&floodmark_serving::verify::hash(&record)).is_ok()) {
            batch.push(record);
        }
        seen += 1;
        if batch.len() == ROWS_AT_ONCE {
            verifier.take(&batch)?;
            batch.clear();
            bar.at(seen, seen);
        }
    }
    verifier.take(&batch)?;
    Ok(verifier)
}

/// The least hashes of all records, in order.
fn choose(records: Records, most: usize) -> Result<Vec<u64>, Failure> {
    let mut least = BinaryHeap::with_capacity(most.min(1 << 16) + 1);
    for record in records {
        least.push(floodmark_serving::verify::hash(&record?));
        if least.len() > most {
            least.pop();
        }
    }
    Ok(least.into_sorted_vec())
}

/// What is wrong, if anything is.
fn verdict(report: &Report) -> Option<String> {
    let (differ, moved) = (report.compared - report.equal, report.skew.final_changed());
    if differ > 0 {
        let what = "predictions do not come out the same again: no event can change a read at a version, so this is a fault of the \
                    system, the log or the model file";
        return Some(format!("{what}. differ={differ} compared={}", report.compared));
    }
    if moved > 0 {
        return Some(format!("values that were final when they were served have changed, which no event may do. values={moved}"));
    }
    (!report.holds()).then(|| format!("nothing could be compared. records={}", report.records))
}
