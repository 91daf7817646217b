//! `floodmark training-set`: features beside labels, each row as of its own time.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use floodmark_features::lookup::{Lookup, Mode};
use serde_json::json;

use super::get::service_named;
use crate::failure::Failure;
use crate::output::{json_line, stdout};
use crate::progress::Bar;
use crate::stored::open_existing;
use crate::stub::{TrainingRequest, write_training_set};

const EXAMPLE: &str = "EXAMPLE:
  floodmark training-set --store state --service fraud --spine labels.parquet --time tx_datetime \\
    --event-id transaction_id --out training.parquet

Rows, their order and their columns stay as they are; the service's features follow them.";

/// What to make.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file; without it, the store's own.
    #[arg(long, value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
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
    let store = open_existing(&args.store, args.definitions.as_deref())?;
    let definitions = store.definitions().clone();
    let service = service_named(&definitions, &args.service)?;
    let request = TrainingRequest {
        lookup: Arc::new(Lookup::of_service(definitions, service)),
        spine: args.spine.clone(),
        time: args.time.clone(),
        event_id: args.event_id.clone(),
        mode: match args.mode {
            ModeArg::AsServed => Mode::AsServed,
            ModeArg::AsCorrected => Mode::AsCorrected,
        },
        version: args.version,
        out: args.out.clone(),
        threads: args.threads.map_or_else(cores, usize::from),
        statuses: args.statuses,
    };
    let bar = Bar::new("training set");
    let summary = write_training_set(&store, &request, &mut |done, total| bar.at(done, total))?;
    drop(bar);
    let rate = if summary.seconds > 0.0 { summary.rows as f64 / summary.seconds } else { 0.0 };
    let mut out = stdout();
    match json {
        true => json_line(
            &mut out,
            &json!({ "rows": summary.rows, "version": summary.version, "seconds": summary.seconds, "rows_per_second": rate, "out": args.out }),
        )?,
        false => writeln!(
            out,
            "{} rows at version {} in {:.2} s, {rate:.0} rows a second: {}",
            summary.rows,
            summary.version,
            summary.seconds,
            args.out.display()
        )?,
    }
    Ok(out.flush()?)
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
