//! `floodmark models`: what a server's models are doing, and what operators do with them.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use floodmark_serving::client::{Client, ClientError, Difference, ModelStatus};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{json_line, stdout};

const EXAMPLE: &str = "EXAMPLES:
  floodmark models --address 127.0.0.1:7070
  floodmark models --address 127.0.0.1:7070 load fraud 2
  floodmark models --address 127.0.0.1:7070 promote fraud 2
  floodmark models --address 127.0.0.1:7070 label fraud canary 3
  floodmark models --address 127.0.0.1:7070 share fraud 5
  floodmark models --address 127.0.0.1:7070 retire fraud 1

A version that is refused when it is loaded changes nothing: those that serve go on. The version labelled `stable` scores what
names no version, and without that label the greatest; `canary` scores a share of the entities; `shadow` scores beside, unseen.";

/// The label whose version scores what names no version.
const STABLE: &str = "stable";
/// The label whose version scores a share of the entities.
const CANARY: &str = "canary";

/// Whose models, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// A server, host:port.
    #[arg(long)]
    address: String,
    /// The server has so many seconds to answer; loading a large model takes some.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do; each ends with the versions that it is about.
#[derive(Debug, Subcommand)]
enum Action {
    /// Lists every version that was ever asked for (this is what is done if nothing is said).
    List {
        /// Of this model only.
        model: Option<String>,
    },
    /// Loads a version from the server's repository; again if it is there already.
    Load {
        model: String,
        /// The newest if not said.
        version: Option<u64>,
    },
    /// Takes a version without labels out of service.
    Unload { model: String, version: u64 },
    /// Puts a label on a version, and takes it off the one that had it.
    Label { model: String, label: String, version: u64 },
    /// Takes a label away.
    Unlabel { model: String, label: String },
    /// Makes a version the one that scores: the same as `label MODEL stable VERSION`.
    Promote { model: String, version: u64 },
    /// Sets the share of the entities, from 0 to 100, that the version labelled `canary` scores.
    Share { model: String, percent: f64 },
    /// The same as `unload`.
    Retire { model: String, version: u64 },
}

/// One version, as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    version: u64,
    labels: &'a [String],
    state: String,
    runs: u64,
    errors: u64,
    run_us: Option<f64>,
    service: Option<&'a str>,
    inputs: &'a [String],
    reason: Option<&'a str>,
    canary_percent: Option<f64>,
    differences: Vec<DifferenceLine>,
    retiring: u32,
}

/// What it made of the rows that another version answered.
#[derive(Serialize)]
struct DifferenceLine {
    answered_version: u64,
    rows: u64,
    dropped: u64,
    errors: u64,
    mean: f64,
    mean_abs: f64,
    max_abs: f64,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(args));
    let models = answer.map_err(|error| match error {
        ClientError::Address { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    })?;
    let mut out = stdout();
    match json {
        true => models.iter().try_for_each(|status| json_line(&mut out, &line(status)))?,
        false => print(&mut out, &models)?,
    }
    Ok(out.flush()?)
}

async fn ask(args: &Args) -> Result<Vec<ModelStatus>, ClientError> {
    let within = Duration::from_secs(args.timeout);
    let mut client = Client::connect(&args.address).await?;
    match &args.action {
        None => client.models(None, within).await,
        Some(Action::List { model }) => client.models(model.as_deref(), within).await,
        Some(Action::Load { model, version }) => Ok(vec![client.load_model(model, *version, within).await?]),
        Some(Action::Unload { model, version } | Action::Retire { model, version }) => {
            Ok(vec![client.unload_model(model, *version, within).await?])
        }
        Some(Action::Label { model, label, version }) => client.label_model(model, label, Some(*version), within).await,
        Some(Action::Unlabel { model, label }) => client.label_model(model, label, None, within).await,
        Some(Action::Share { model, percent }) => client.set_canary_share(model, *percent, within).await,
        Some(Action::Promote { model, version }) => client.label_model(model, STABLE, Some(*version), within).await,
    }
}

fn line(status: &ModelStatus) -> Line<'_> {
    Line {
        model: &status.model,
        version: status.version,
        labels: &status.labels,
        state: status.state.to_string(),
        runs: status.runs,
        errors: status.errors,
        run_us: status.run_time.map(|time| time.as_secs_f64() * 1e6),
        service: status.service.as_deref(),
        inputs: &status.inputs,
        reason: status.reason.as_deref(),
        canary_percent: status.canary_percent,
        differences: status.differences.iter().map(|difference| difference_line(*difference)).collect(),
        retiring: status.retiring,
    }
}

fn difference_line(difference: Difference) -> DifferenceLine {
    let Difference { answered_version, rows, dropped, errors, mean, mean_abs, max_abs } = difference;
    DifferenceLine { answered_version, rows, dropped, errors, mean, mean_abs, max_abs }
}

/// A table: numbers to the right, the reason, which may be long, last. Below it, what versions made of rows that others answered.
fn print(out: &mut impl Write, models: &[ModelStatus]) -> io::Result<()> {
    if models.is_empty() {
        return writeln!(out, "No model was ever asked for: `load MODEL` takes one from the server's repository.");
    }
    let header = ["MODEL", "VERSION", "LABELS", "STATE", "RUNS", "ERRORS", "ONE RUN", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(header).chain(models.iter().map(cells)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    for [model, version, labels, state, runs, errors, time, reason] in &rows {
        let [m, v, l, s, r, e, t, _] = widths;
        let row = format!("{model:<m$}  {version:>v$}  {labels:<l$}  {state:<s$}  {runs:>r$}  {errors:>e$}  {time:>t$}  {reason}");
        writeln!(out, "{}", row.trim_end())?;
    }
    for status in models {
        for Difference { answered_version, rows, dropped, errors, mean, mean_abs, max_abs } in &status.differences {
            let ModelStatus { model, version, .. } = status;
            write!(out, "{model} {version} beside {answered_version}: {rows} rows, its score less the answer {mean:+.6} in the mean, ")?;
            writeln!(out, "{mean_abs:.6} the mean size, {max_abs:.6} the greatest; {errors} errors, {dropped} not compared")?;
        }
    }
    Ok(())
}

fn cells(status: &ModelStatus) -> [String; 8] {
    [
        status.model.clone(),
        status.version.to_string(),
        status.labels.iter().map(|label| labelled(label, status.canary_percent)).collect::<Vec<_>>().join(","),
        status.state.to_string(),
        status.runs.to_string(),
        status.errors.to_string(),
        status.run_time.map_or_else(String::new, |time| format!("{:.1} us", time.as_secs_f64() * 1e6)),
        status.reason.clone().unwrap_or_default(),
    ]
}

/// The canary's label has its share: `canary:5%`.
fn labelled(label: &str, canary_percent: Option<f64>) -> String {
    match canary_percent {
        Some(percent) if label == CANARY => format!("{label}:{percent}%"),
        _ => label.to_owned(),
    }
}
