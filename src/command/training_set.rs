//! `floodmark training-set`: features beside labels, each row as of its own time.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_history::History;
use floodmark_store::Store;
use floodmark_training::{TrainingRequest, TrainingSpec, TrainingSummary, fits, write_training_set, write_training_set_in_parts};
use serde::Serialize;

use super::get::service_named;
use crate::failure::Failure;
use crate::offline;
use crate::output::{json_line, stdout};
use crate::progress::Bar;
use crate::stored::{open_existing, read_definitions};

const EXAMPLE: &str = "EXAMPLES:
  floodmark training-set --store state --service fraud --spine labels.parquet --time tx_datetime \\
    --event-id transaction_id --out training.parquet
  floodmark training-set --offline history --definitions new.yaml --service fraud --spine labels.parquet \\
    --time tx_datetime --out training.parquet

Rows, their order and their columns stay as they are; the service's features follow them.";

/// What to make.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file; without it, the store's own.
    #[arg(long, value_name = "FILE", required_unless_present = "store")]
    definitions: Option<PathBuf>,
    /// The directory of the store.
    #[arg(long, value_name = "DIR", required_unless_present = "offline", conflicts_with = "offline")]
    store: Option<PathBuf>,
    /// In place of a store, an offline store: every event that was ever kept there, also for views that are new.
    #[arg(long, value_name = "PLACE")]
    offline: Option<String>,
    /// The service whose features are added.
    #[arg(long)]
    service: String,
    /// A Parquet file with a row for each label: keys, a time, whatever else.
    #[arg(long, value_name = "FILE")]
    spine: PathBuf,
    /// The spine's column with the time that a row's features are as of.
    #[arg(long, value_name = "COLUMN")]
    time: String,
    /// The spine's column with the id of the event that a row stands for: it counts in its own windows, ties go by it.
    #[arg(long, value_name = "COLUMN")]
    event_id: Option<String>,
    /// Which events a value counts.
    #[arg(long, value_enum, default_value_t = ModeArg::AsServed)]
    mode: ModeArg,
    /// Only commits up to this version.
    #[arg(long)]
    version: Option<u64>,
    /// The Parquet file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Adds a column with the status of each value.
    #[arg(long)]
    statuses: bool,
    /// With --offline, what is worked on may take so many MiB; a history that is larger is sent to scratch files beside the output first.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Threads; all cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// T15.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModeArg {
    /// As it was, or would have been, served.
    AsServed,
    /// As known now: late events included.
    AsCorrected,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let summary = match (&args.store, &args.offline, &args.definitions) {
        (Some(store), _, definitions) => of_store(args, &*open_existing(store, definitions.as_deref())?)?,
        (None, Some(place), Some(definitions)) => of_history(args, place, &read_definitions(definitions)?.definitions)?,
        _ => return Err(Failure::usage("expected --store DIR, or --offline PLACE with --definitions FILE".to_owned())),
    };
    let seconds = began.elapsed().as_secs_f64();
    let report = Report {
        rows: summary.rows,
        rows_without_key: summary.rows_without_key,
        features: summary.features,
        version: summary.version,
        seconds,
        rows_per_second: if seconds > 0.0 { summary.rows as f64 / seconds } else { 0.0 },
        missing_request_fields: summary.missing_request_fields,
        out: args.out.clone(),
    };
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &report)?,
        false => report.print(&mut out)?,
    }
    Ok(out.flush()?)
}

fn of_store(args: &Args, store: &Store) -> Result<TrainingSummary, Failure> {
    let request = request(args, store.definitions())?;
    let bar = Bar::new("training set");
    Ok(write_training_set(store, &request, &|progress| bar.at(progress.done, progress.rows))?)
}

/// What fits in memory is kept there; otherwise it is made part by part.
fn of_history(args: &Args, place: &str, definitions: &Arc<Definitions>) -> Result<TrainingSummary, Failure> {
    let request = request(args, definitions)?;
    let (history, memory) = (History::at(&offline::absolute(place)?, definitions)?, u64::from(args.memory) << 20);
    if fits(&history, &request.spec, memory)? {
        return of_store(args, &*offline::history(place, definitions)?);
    }
    let bar = Bar::new("training set");
    Ok(write_training_set_in_parts(&history, &request, memory, &|progress| bar.at(progress.done, progress.rows))?)
}

fn request(args: &Args, definitions: &Arc<Definitions>) -> Result<TrainingRequest, Failure> {
    let service = service_named(definitions, &args.service)?;
    let spec = TrainingSpec {
        lookup: Arc::new(Lookup::of_service(definitions.clone(), service)),
        time: args.time.clone(),
        event_id: args.event_id.clone(),
        mode: match args.mode {
            ModeArg::AsServed => Mode::AsServed,
            ModeArg::AsCorrected => Mode::AsCorrected,
        },
        version: args.version,
        threads: args.threads.map_or_else(cores, usize::from),
        statuses: args.statuses,
    };
    Ok(TrainingRequest { spec, spine: args.spine.clone(), out: args.out.clone() })
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    rows: u64,
    rows_without_key: u64,
    features: usize,
    version: u64,
    seconds: f64,
    rows_per_second: f64,
    missing_request_fields: Vec<String>,
    out: PathBuf,
}

impl Report {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Report { rows, features, version, seconds, rows_per_second, .. } = self;
        writeln!(out, "{rows} rows with {features} features at version {version}: {}", self.out.display())?;
        writeln!(out, "{seconds:.2} s, {rows_per_second:.0} rows a second")?;
        if self.rows_without_key > 0 {
            writeln!(out, "{} rows have no key or no time, so some of their features are null.", self.rows_without_key)?;
        }
        if !self.missing_request_fields.is_empty() {
            let missing = self.missing_request_fields.join(" ");
            writeln!(out, "The spine lacks request fields, so what is derived from them is null: {missing}")?;
        }
        Ok(())
    }
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
