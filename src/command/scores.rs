//! `floodmark scores`: the scores of events that were scored as they came, in the order of source and sequence.

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_features::definition::Definitions;
use floodmark_serving::score::record::{Unreadable, read};
use floodmark_store::ScoreRecord;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Json, Pairs, json_line, stdout, text_of};
use crate::stored::{open_existing, source_named};

const EXAMPLE: &str = "EXAMPLES:
  floodmark scores --store state
  floodmark scores --store state --json | jq 'select(.score > 0.5) | .event_id'

Each accepted event of a source that was taken in with `up --score SOURCE=MODEL` has one score, or the error that it has instead.";

/// Which to print.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Of this source only.
    #[arg(long)]
    source: Option<String>,
}

/// One score, as the contract writes it.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    source: &'a str,
    event_id: String,
    event_time: Option<String>,
    pub(super) entity: Pairs<Json>,
    model: String,
    model_version: Option<u64>,
    score: Option<f64>,
    as_of: Option<String>,
    version: u64,
    sequence: u64,
    missing: Option<u32>,
    provisional: Option<u32>,
    error: Option<Error>,
}

/// Why an event has no score.
#[derive(Serialize)]
struct Error {
    reason: String,
    message: String,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let store = open_existing(&args.store, None)?;
    let definitions = store.definitions();
    let wanted = args.source.as_deref().map(|name| source_named(definitions, name)).transpose()?;
    let mut out = stdout();
    let mut written = Ok(());
    store.scores(|record| {
        if wanted.is_none_or(|source| source == record.source) {
            written = print(definitions, &record, &mut out, json);
        }
        written.is_ok()
    })?;
    written?;
    Ok(out.flush()?)
}

fn print(definitions: &Definitions, record: &ScoreRecord, out: &mut impl Write, json: bool) -> Result<(), Failure> {
    Ok(line(definitions, record)?.write(out, json)?)
}

pub(super) fn line<'a>(definitions: &'a Definitions, record: &ScoreRecord) -> Result<Line<'a>, Unreadable> {
    let scored = read(definitions, record)?;
    let made = scored.outcome.as_ref().ok().copied();
    Ok(Line {
        source: &definitions.sources[record.source].name,
        event_id: scored.event_id.to_string(),
        event_time: scored.event_time.map(|time| time.to_string()),
        entity: Pairs(scored.keys.into_iter().map(|(name, value)| (name, Json(value))).collect()),
        model: scored.model,
        model_version: scored.model_version.parse().ok(),
        score: made.map(|made| made.score),
        as_of: scored.as_of.map(|time| time.to_string()),
        version: record.version,
        sequence: record.sequence,
        missing: made.map(|made| made.missing),
        provisional: made.map(|made| made.provisional),
        error: scored.outcome.err().map(|error| Error { reason: error.reason, message: error.message }),
    })
}

impl Line<'_> {
    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let by = self.model_version.map_or_else(|| self.model.clone(), |version| format!("{} version {version}", self.model));
        let (entity, time) = (text_of(&self.entity), self.event_time.as_deref().unwrap_or("no time"));
        let what = match (self.score, &self.error) {
            (Some(score), _) => score.to_string(),
            (None, Some(error)) => format!("no score: {}", error.message),
            (None, None) => "no score".to_owned(),
        };
        writeln!(out, "{} {entity} event {} of {time} by {by}: {what}", self.source, self.event_id)
    }
}
