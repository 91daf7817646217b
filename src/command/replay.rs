//! `floodmark replay`: files into a store, to their end, with a summary.

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_ingest::kafka::Topic;
use floodmark_ingest::replay::{Input, ReplayError, Summary, replay_scored};
use floodmark_ingest::scoring::Scoring;
use floodmark_store::Store;
use serde::Serialize;

use crate::backfill;
use crate::failure::Failure;
use crate::offline;
use crate::output::{Counts, Pairs, json_line, stdout};
use crate::progress::Bar;
use crate::stored::StoreArgs;

const EXAMPLE: &str = "EXAMPLE:
  floodmark replay --definitions floodmark.yaml --store state transactions=2018-04.parquet transactions=2018-05.jsonl

Each file is a partition of its source and is read in row order. A file that was taken before is passed over, one that has
grown goes on where it stopped.";

/// What to take in.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// A source of the definitions and a file of its events (.parquet .csv .jsonl .ndjson .json).
    #[arg(value_name = "SOURCE=FILE", required = true, value_parser = input)]
    inputs: Vec<Input>,
}

/// What came of it, as the contract writes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) read: u64,
    pub(crate) accepted: u64,
    pub(crate) partially_late: u64,
    pub(crate) late: u64,
    pub(crate) rejected: u64,
    pub(crate) duplicates: u64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    pub(crate) views: Pairs<Counts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    already_taken: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    if let Some(topic) = args.inputs.iter().find(|input| Topic::is_url(&input.path.to_string_lossy())) {
        let message = "a topic has no end: `floodmark up` reads it";
        return Err(Failure::usage(format!("{message}. input={}", topic.path.display())));
    }
    let store = args.store.open()?;
    let flusher = args.store.flusher(&store)?;
    backfill::finish(&store, flusher.as_ref())?;
    let report = Report::of(take(&store, &args.inputs, None)?);
    offline::finish(flusher)?;
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &report)?,
        false => report.print(&mut out, &args.store.store.display().to_string())?,
    }
    Ok(out.flush()?)
}

/// `SOURCE=FILE`
pub(super) fn input(text: &str) -> Result<Input, String> {
    match text.split_once('=') {
        Some((source, path)) if !source.is_empty() && !path.is_empty() => {
            Ok(Input { source: source.to_owned(), path: PathBuf::from(path) })
        }
        _ => Err("expected SOURCE=FILE, such as transactions=2018-04.parquet".to_owned()),
    }
}

/// Takes files in, with a progress bar, and has their events scored if somebody does.
pub(super) fn take(store: &std::sync::Arc<Store>, inputs: &[Input], scoring: Option<Scoring>) -> Result<Summary, Failure> {
    let bar = Bar::new("replay");
    let summary = replay_scored(store, inputs, scoring, &mut |progress| match progress.rows_total {
        Some(total) => bar.at(progress.rows, total),
        None => bar.at(progress.bytes, progress.bytes_total),
    });
    summary.map_err(|error| match error {
        ReplayError::UnknownSource { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    })
}

impl Report {
    /// The summary of a replay.
    pub(crate) fn of(summary: Summary) -> Report {
        let Summary { tally, views, seconds, already_taken } = summary;
        Report {
            read: tally.read,
            accepted: tally.accepted,
            partially_late: tally.partially_late,
            late: tally.late,
            rejected: tally.rejected,
            duplicates: tally.duplicates,
            seconds,
            events_per_second: if seconds > 0.0 { tally.read as f64 / seconds } else { 0.0 },
            views: Pairs(views.into_iter().map(|(name, counts)| (name, Counts::from(counts))).collect()),
            already_taken,
        }
    }

    fn print(&self, out: &mut impl Write, store: &str) -> io::Result<()> {
        for path in &self.already_taken {
            writeln!(out, "{} was taken before: nothing new in it.", path.display())?;
        }
        writeln!(out, "read            {:>12}  in {:.2} s, {:.0} events a second", self.read, self.seconds, self.events_per_second)?;
        writeln!(out, "accepted        {:>12}", self.accepted)?;
        writeln!(out, "  partially late{:>12}", self.partially_late)?;
        writeln!(out, "late            {:>12}", self.late)?;
        writeln!(out, "rejected        {:>12}", self.rejected)?;
        writeln!(out, "duplicates      {:>12}", self.duplicates)?;
        if self.late + self.partially_late > 0 {
            writeln!(out, "The late ones: floodmark late --store {store}")?;
        }
        if self.rejected > 0 {
            writeln!(out, "The rejected ones: floodmark rejects --store {store}")?;
        }
        Ok(())
    }
}
