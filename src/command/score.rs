//! `floodmark score`: one score from a server.

use std::io::{self, Write};
use std::time::Duration;

use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_serving::client::{Client, ClientError, ScoreQuestion, Scored};
use serde::Serialize;

use super::get::{pair, time};
use crate::failure::Failure;
use crate::output::{json_line, stdout, watermark_text};

const EXAMPLE: &str = r#"EXAMPLES:
  floodmark score --address 127.0.0.1:7070 --model fraud customer_id=596 terminal_id=3156 amount=57.16
  floodmark score --address 127.0.0.1:7070 --model fraud --event '{"transaction_id": 1, "tx_datetime": "2018-08-09T12:00:00Z",
    "customer_id": 596, "terminal_id": 3156, "amount": 57.16}'"#;

/// What to score, by which model.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// A server, host:port.
    #[arg(long)]
    address: String,
    /// The model.
    #[arg(long)]
    model: String,
    /// A version of it, or a label after @; what its labels choose if not said.
    #[arg(long, value_name = "VERSION", default_value = "")]
    model_version: String,
    /// The event to be scored, column by column; it counts itself. Keys and request fields are taken from it unless said.
    #[arg(long, value_name = "JSON", value_parser = event)]
    event: Option<Event>,
    /// The event time that features are as of, RFC 3339; the event's if not said, and without an event now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Time>,
    /// The server has so many seconds to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Keys and request fields of the model's service.
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
}

/// The columns of an event.
type Event = std::sync::Arc<[(String, Value)]>;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    model_version: u64,
    score: f64,
    as_of: String,
    watermark: String,
    version: u64,
    missing: u32,
    provisional: u32,
    lookup_us: f64,
    run_us: f64,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let event = args.event.as_deref().unwrap_or_default();
    let (model, model_version) = (args.model.as_str(), args.model_version.as_str());
    let question = ScoreQuestion { model, model_version, values: &args.values, event, as_of: args.as_of };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let mut client = Client::connect(&args.address).await?;
        client.score(&question, Duration::from_secs(args.timeout)).await
    });
    let scored = answer.map_err(|error| match error {
        ClientError::Address { .. } | ClientError::UnknownName { .. } | ClientError::Unreadable { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    })?;
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &report(args, &scored))?,
        false => print(&mut out, args, &scored)?,
    }
    Ok(out.flush()?)
}

fn report<'a>(args: &'a Args, scored: &Scored) -> Report<'a> {
    Report {
        model: &args.model,
        model_version: scored.model_version,
        score: scored.score,
        as_of: scored.as_of.to_string(),
        watermark: scored.watermark.to_string(),
        version: scored.version,
        missing: scored.missing,
        provisional: scored.provisional,
        lookup_us: scored.lookup.as_secs_f64() * 1e6,
        run_us: scored.run.as_secs_f64() * 1e6,
    }
}

fn print(out: &mut impl Write, args: &Args, scored: &Scored) -> io::Result<()> {
    writeln!(out, "{} by {} version {}", scored.score, args.model, scored.model_version)?;
    writeln!(out, "as of {}, watermark {}, version {}", scored.as_of, watermark_text(scored.watermark), scored.version)?;
    writeln!(out, "{} inputs missing, {} features provisional", scored.missing, scored.provisional)
}

/// An object of columns. Text may stand for a timestamp: the server knows the types.
fn event(text: &str) -> Result<Event, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("expected a JSON object of columns: {error}"))?;
    object.into_iter().map(|(name, value)| Ok((name.clone(), column(&name, &value)?))).collect::<Result<Vec<_>, String>>().map(Event::from)
}

fn column(name: &str, value: &serde_json::Value) -> Result<Value, String> {
    match value {
        serde_json::Value::Null => Ok(Value::Null),
        serde_json::Value::Bool(b) => Ok(Value::Bool(*b)),
        serde_json::Value::String(text) => Ok(Value::Str(text.as_str().into())),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(i), _) => Ok(Value::Int(i)),
            (None, Some(x)) => Ok(Value::Float(x)),
            (None, None) => Err(format!("column is a number that does not fit. column={name}")),
        },
        _ => Err(format!("column is a list or an object, expected a single value. column={name}")),
    }
}
