//! `floodmark stats`: what a service's features are like over some time, and how far they have moved from another.

use std::io::Write;
use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use floodmark_features::time::Time;
use floodmark_offline::OfflineStore;
use floodmark_serving::flight::history::{SAMPLE, StatisticsAsk};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::history::statistics;
use crate::output::{json_line, stdout};
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLES:
  floodmark stats --definitions floodmark.yaml --offline history --service fraud --from 2018-06-01 --to 2018-07-01
  floodmark stats --definitions floodmark.yaml --offline history --service fraud --from 2018-06-01 --to 2018-07-01 \\
    --against-from 2018-05-01 --against-to 2018-06-01

The rows are events of the time, each as it would have been scored. psi is the population stability index between the two times: 0 where
nothing has moved; above 0.1 a feature is worth a look, and above 0.25 it is another one.";

/// Whose features, over which time.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file.
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// The offline store: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE")]
    offline: String,
    /// The service whose features are looked at.
    #[arg(long)]
    service: String,
    /// The source whose events are the rows; that of the service's first view if not said.
    #[arg(long)]
    source: Option<String>,
    /// The time of the first row: 2018-06-01, or 2018-06-01T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Time,
    /// All rows are before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Time,
    /// The time of the first row to compare with.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "against_to")]
    against_from: Option<Time>,
    /// All rows to compare with are before this time.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "against_from")]
    against_to: Option<Time>,
    /// So many rows of each time, the same ones each time that it is asked.
    #[arg(long, value_name = "N", default_value_t = SAMPLE as u32, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sample: u32,
}

fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| "expected a time, such as 2018-06-01 or 2018-06-01T12:00:00Z".to_owned())
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let definitions = read_definitions(&args.definitions)?.definitions;
    let store = crate::offline::history(&args.offline, &definitions)?;
    let failed = |error: floodmark_offline::OfflineError| Failure::failed(error.to_string());
    let offline = OfflineStore::existing(&crate::offline::absolute(&args.offline)?, &definitions).map_err(failed)?;
    let ask = StatisticsAsk {
        service: args.service.clone(),
        source: args.source.clone(),
        range: (args.from, args.to),
        against: args.against_from.zip(args.against_to),
        sample: args.sample as usize,
    };
    let table = statistics(&store, &offline, &ask).map_err(|status| Failure::failed(status.message()))?;
    let mut out = stdout();
    match json {
        true => (0..table.num_rows()).try_for_each(|row| json_line(&mut out, &object(&table, row)))?,
        false => print(&mut out, &table)?,
    }
    Ok(out.flush()?)
}

/// A row as an object.
fn object(table: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = table.schema();
    let cell = |at: usize| {
        let column = table.column(at);
        match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Utf8 => column.as_string::<i32>().value(row).into(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
            _ => column.as_primitive::<Float64Type>().value(row).into(),
        }
    };
    schema.fields().iter().enumerate().map(|(at, field)| (field.name().clone(), cell(at))).collect()
}

/// The columns that fit beside each other, a line for each feature.
fn print(out: &mut impl Write, table: &RecordBatch) -> std::io::Result<()> {
    const SHOWN: [&str; 12] = ["feature", "range", "rows", "nulls", "not_found", "expired", "mean", "min", "p50", "p95", "max", "psi"];
    let mut lines = vec![SHOWN.map(str::to_owned)];
    for row in 0..table.num_rows() {
        let object = object(table, row);
        lines.push(SHOWN.map(|name| match &object[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or_default()),
            other => other.to_string(),
        }));
    }
    let widths: Vec<usize> = (0..SHOWN.len()).map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0)).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let padded: Vec<String> =
            cells.map(|(at, (cell, width))| if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
