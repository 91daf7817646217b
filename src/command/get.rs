//! `floodmark get`: the features of one entity, from a server or from a store on this machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Answer, Ask, Cell, Lookup, Mode};
use floodmark_features::schema::Schema;
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_serving::client::{Client, ClientError, Question, Row, value_of_text};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Json, Pairs, json_line, status_name, stdout, watermark_text};
use crate::stored::open_existing;

const EXAMPLE: &str = "EXAMPLES:
  floodmark get --address 127.0.0.1:7070 --service fraud customer_id=596 terminal_id=3156 amount=57.16
  floodmark get --store state --service fraud customer_id=596 terminal_id=3156 --as-of 2018-08-09T12:00:00Z";

/// What to look up, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// A server, host:port.
    #[arg(long, conflicts_with_all = ["store", "definitions"], required_unless_present = "store")]
    address: Option<String>,
    /// A store on this machine that no server uses.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// The definition file for --store; without it, the store's own.
    #[arg(long, value_name = "FILE", requires = "store")]
    definitions: Option<PathBuf>,
    /// The service.
    #[arg(long)]
    service: String,
    /// The event time that values are as of, RFC 3339; now if not said.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Time>,
    /// Only commits up to this version are seen.
    #[arg(long)]
    version: Option<u64>,
    /// The server has so many seconds to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Keys and request fields of the service.
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
}

/// An answer, as the contract writes it.
#[derive(Serialize)]
struct Report {
    as_of: String,
    watermark: String,
    version: u64,
    features: Pairs<Feature>,
}

#[derive(Serialize)]
struct Feature {
    value: Json,
    status: &'static str,
    provisional: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    approximate: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let row = match (&args.address, &args.store) {
        (Some(address), _) => remote(args, address)?,
        (None, Some(store)) => local(args, store)?,
        (None, None) => return Err(Failure::usage("expected --address or --store")),
    };
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &report(row))?,
        false => print(&mut out, &row)?,
    }
    Ok(out.flush()?)
}

fn remote(args: &Args, address: &str) -> Result<Row, Failure> {
    let question = Question { service: &args.service, values: &args.values, as_of: args.as_of, version: args.version };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let mut client = Client::connect(address).await?;
        client.get(&question, Duration::from_secs(args.timeout)).await
    });
    answer.map_err(|error| match error {
        ClientError::Address { .. } | ClientError::UnknownName { .. } | ClientError::Unreadable { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    })
}

fn local(args: &Args, directory: &Path) -> Result<Row, Failure> {
    let store = open_existing(directory, args.definitions.as_deref())?;
    let definitions = store.definitions().clone();
    let service = service_named(&definitions, &args.service)?;
    let lookup = Lookup::of_service(definitions, service);
    known_names(&lookup, &args.values)?;
    let keys = values(&lookup.keys, &args.values, true)?;
    let request = values(&lookup.request, &args.values, false)?;
    let (keys, request): (Vec<ValueRef<'_>>, Vec<ValueRef<'_>>) = (refs(&keys), refs(&request));
    let as_of = args.as_of.unwrap_or_else(now);
    let ask = Ask { keys: &keys, request: &request, as_of, version: args.version, own_event: None, mode: Mode::AsServed };
    let mut answer = Answer::default();
    store.read(&lookup, &ask, &mut answer)?;
    Ok(Row { names: lookup.columns.iter().map(|name| name.to_string()).collect(), as_of, answer })
}

/// The service of that name.
pub(super) fn service_named(definitions: &Definitions, name: &str) -> Result<usize, Failure> {
    definitions.service(name).map(|(at, _)| at).ok_or_else(|| {
        let known: Vec<&str> = definitions.services.iter().map(|s| s.name.as_str()).collect();
        Failure::usage(format!("no service has this name. service={name} known={}", known.join(",")))
    })
}

fn known_names(lookup: &Lookup, given: &[(String, String)]) -> Result<(), Failure> {
    let known: Vec<&str> = lookup.keys.columns.iter().chain(&lookup.request.columns).map(|c| c.name.as_str()).collect();
    match given.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(Failure::usage(format!("name is no key or request field of the service. name={name} expected={}", known.join(","))))
        }
        None => Ok(()),
    }
}

/// The values of some columns; one that is not given is null, unless it is required.
fn values(schema: &Schema, given: &[(String, String)], required: bool) -> Result<Vec<Value>, Failure> {
    let value = |column: &floodmark_features::schema::Column| match given.iter().find(|(name, _)| *name == column.name) {
        Some((name, text)) => value_of_text(text, column.kind)
            .ok_or_else(|| Failure::usage(format!("value cannot be read. name={name} expected={}", column.kind))),
        None if required => Err(Failure::usage(format!("a key is missing: add {}=VALUE ({})", column.name, column.kind))),
        None => Ok(Value::Null),
    };
    schema.columns.iter().map(value).collect()
}

fn refs(values: &[Value]) -> Vec<ValueRef<'_>> {
    values.iter().map(Value::as_ref).collect()
}

fn report(row: Row) -> Report {
    let feature = |cell: Cell| Feature {
        value: Json(cell.value),
        status: status_name(cell.status),
        provisional: cell.provisional,
        approximate: cell.approximate,
    };
    Report {
        as_of: row.as_of.to_string(),
        watermark: row.answer.watermark.to_string(),
        version: row.answer.version,
        features: Pairs(row.names.into_iter().zip(row.answer.cells.into_iter().map(feature)).collect()),
    }
}

fn print(out: &mut impl Write, row: &Row) -> io::Result<()> {
    writeln!(out, "as of {}, watermark {}, version {}", row.as_of, watermark_text(row.answer.watermark), row.answer.version)?;
    for (name, cell) in row.names.iter().zip(&row.answer.cells) {
        let provisional = if cell.provisional { " provisional" } else { "" };
        let approximate = if cell.approximate { " approximate" } else { "" };
        writeln!(out, "  {name:<40} {:<24} {}{provisional}{approximate}", cell.value.to_string(), status_name(cell.status))?;
    }
    Ok(())
}

pub(crate) fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| "expected a time such as 2018-08-09T12:00:00Z".to_owned())
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as customer_id=596".to_owned()),
    }
}

/// The wall clock.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
