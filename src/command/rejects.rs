//! `floodmark rejects`: the records that were refused, with the reason and the record itself.

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_features::definition::Definitions;
use floodmark_features::section::Position;
use floodmark_store::RejectedRecord;
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

/// One rejected record, as the contract writes it.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    source: &'a str,
    position: &'a Position,
    code: &'a str,
    message: &'a str,
    payload: &'a str,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let store = open_existing(&args.store, None)?;
    let definitions = store.definitions();
    let mut out = stdout();
    let mut written = Ok(());
    store.rejected_records(|record| {
        written = line(definitions, &record).write(&mut out, json);
        written.is_ok()
    })?;
    written?;
    Ok(out.flush()?)
}

pub(super) fn line<'a>(definitions: &'a Definitions, record: &'a RejectedRecord) -> Line<'a> {
    Line {
        source: definitions.sources.get(record.source as usize).map_or("", |s| s.name.as_str()),
        position: &record.position,
        code: &record.code,
        message: &record.message,
        payload: &record.payload,
    }
}

impl Line<'_> {
    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let Line { source, position, code, message, payload } = self;
        writeln!(out, "{source} {}#{} {code}: {message}: {payload}", position.partition, position.offset)
    }
}
