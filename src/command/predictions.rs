//! `floodmark predictions`: what was scored and logged, in the order in which it was.

use std::io::{self, Write};

use floodmark_features::value::Value;
use floodmark_serving::predictions::{Entry, Outcome, describe};
use floodmark_serving::verify::Again;
use serde::Serialize;

use crate::failure::Failure;
use crate::logged::{LoggedArgs, Place};
use crate::output::{Json, Pairs, json_line, stdout, text_of};

const EXAMPLE: &str = "EXAMPLES:
  floodmark predictions --store state
  floodmark predictions --address 127.0.0.1:7070 --from 2018-08-09T12:00:00Z --json | jq .score

What is scored is logged by `floodmark up --log-predictions SHARE`. While that runs, ask it with --address.";

/// Which to print.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(flatten)]
    logged: LoggedArgs,
    /// So many at most; all if not said.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u64,
}

/// One row that was scored, as the contract writes it.
#[derive(Serialize)]
struct Line {
    at: String,
    origin: &'static str,
    model: String,
    model_version: Option<u64>,
    score: Option<f64>,
    as_of: String,
    version: Option<u64>,
    entity: Pairs<Json>,
    request: Pairs<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Event>,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    features: Pairs<Json>,
    missing: u32,
    provisional: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(Serialize)]
struct Event {
    source: String,
    id: Json,
    columns: Pairs<Json>,
}

#[derive(Serialize)]
struct Error {
    reason: String,
    message: String,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let place = args.logged.open()?;
    let services = match &place {
        Place::Store(store) => describe(store),
        Place::Server(remote) => remote.services().to_vec(),
    };
    let mut out = stdout();
    for record in args.logged.records(&place, args.limit)? {
        let line = line(Entry::of(record?, &services), &place);
        match json {
            true => json_line(&mut out, &line)?,
            false => print(&mut out, &line)?,
        }
    }
    Ok(out.flush()?)
}

fn line(entry: Entry, place: &Place) -> Line {
    let event = entry.event.map(|event| {
        // An id that is not given by itself stands in its column; only the definitions know which that is.
        let column = match place {
            Place::Store(store) => store.definitions().source(&event.source).and_then(|(_, source)| {
                let name = &source.schema.columns[source.event_id?].name;
                event.columns.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone())
            }),
            Place::Server(_) => None,
        };
        let id = Json(event.id.or(column).unwrap_or(Value::Null));
        Event { source: event.source, id, columns: pairs(event.columns) }
    });
    let (score, missing, provisional, features, error) = match entry.outcome {
        Outcome::Score { score, missing, provisional, features } => (Some(score), missing, provisional, features, None),
        Outcome::Error(reason, message) => (None, 0, 0, Vec::new(), Some(Error { reason, message })),
    };
    Line {
        at: entry.at.to_string(),
        origin: entry.origin,
        model: entry.model,
        model_version: entry.model_version.parse().ok(),
        score,
        as_of: entry.as_of.to_string(),
        version: entry.version,
        entity: pairs(entry.entity),
        request: pairs(entry.request),
        event,
        request_id: entry.request_id,
        features: pairs(features),
        missing,
        provisional,
        error,
    }
}

/// Names beside values, to be printed.
pub(super) fn pairs(named: Vec<(String, Value)>) -> Pairs<Json> {
    Pairs(named.into_iter().map(|(name, value)| (name, Json(value))).collect())
}

fn print(out: &mut impl Write, line: &Line) -> io::Result<()> {
    write!(out, "{} ", line.at)?;
    match (&line.score, &line.error) {
        (Some(score), _) => write!(out, "{score}")?,
        (None, Some(error)) => write!(out, "no score ({}: {})", error.reason, error.message)?,
        (None, None) => write!(out, "no score")?,
    }
    let version = line.model_version.unwrap_or_default();
    write!(out, " by {} version {version}, {} as of {}", line.model, text_of(&line.entity), line.as_of)?;
    writeln!(out, ", {} missing, {} of {} provisional", line.missing, line.provisional, line.features.0.len())
}
