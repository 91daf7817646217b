//! `floodmark rejects`: the records that were refused, with the reason and the record itself.

use std::io::Write;
use std::path::PathBuf;

use floodmark_features::section::Position;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{json_line, stdout};
use crate::stored::open_existing;

const EXAMPLE: &str = "EXAMPLES:
  floodmark rejects --store state
  floodmark rejects --store state --json | jq -r .code | sort | uniq -c";

/// Where to look.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    position: &'a Position,
    code: &'a str,
    message: &'a str,
    payload: &'a str,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let store = open_existing(&args.store, None)?;
    let sources = &store.definitions().sources;
    let mut out = stdout();
    let mut written = Ok(());
    store.rejected_records(|record| {
        let source = sources.get(record.source as usize).map_or("", |s| s.name.as_str());
        let (position, code, message, payload) = (&record.position, &*record.code, &*record.message, &*record.payload);
        written = match json {
            true => json_line(&mut out, &Line { source, position, code, message, payload }),
            false => writeln!(out, "{source} {}#{} {code}: {message}: {payload}", position.partition, position.offset),
        };
        written.is_ok()
    })?;
    written?;
    Ok(out.flush()?)
}
