//! `floodmark status`: where a pipeline stands, partition by partition.

use std::io::Write;

use floodmark_features::time::Time;
use floodmark_ingest::kafka::pipeline::{LogStanding, Pipeline, SourceStanding, standing};
use floodmark_ingest::replay::Input;
use serde_json::json;

use super::{replay, topic};
use crate::failure::Failure;
use crate::output::{json_line, stdout};

const EXAMPLE: &str = "EXAMPLE:
  floodmark status --pipeline kafka://127.0.0.1:9092/fraud transactions=kafka://127.0.0.1:9092/transactions";

/// Which pipeline.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Where the pipeline's own topics are.
    #[arg(long, value_name = "kafka://HOST:PORT/PREFIX")]
    pipeline: String,
    /// Properties of Kafka clients, a NAME=VALUE each line, by librdkafka's names.
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<std::path::PathBuf>,
    /// Sources and their topics, to see how far these are routed.
    #[arg(value_name = "SOURCE=URL", value_parser = replay::input)]
    inputs: Vec<Input>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let prefix = topic::topic(&args.pipeline, args.kafka_config.as_deref())?;
    let pipeline = Pipeline::of(prefix);
    let inputs = topic::named(&args.inputs, args.kafka_config.as_deref())?;
    let sources = standing::of_sources(&pipeline, &inputs)?;
    let log = standing::of_log(&pipeline)?;
    let mut out = stdout();
    if json {
        for it in &sources {
            json_line(&mut out, &source_line(it))?;
        }
        for it in &log {
            json_line(&mut out, &log_line(it))?;
        }
        return Ok(out.flush()?);
    }
    if !sources.is_empty() {
        writeln!(out, "{:<32} {:>12} {:>10}  {:<28} idle", "source partition", "next", "lag", "watermark")?;
    }
    for it in &sources {
        let (next, idle) = (number(it.next_offset), if it.idle { "idle" } else { "" });
        writeln!(out, "{:<32} {next:>12} {:>10}  {:<28} {idle}", it.partition, it.lag, text(it.watermark))?;
    }
    writeln!(out, "{:<32} {:>12} {:>10}  {:<28} held back by", "log partition", "next", "lag", "watermark")?;
    for it in &log {
        // One line for each source; one at least.
        let mut marks: Vec<(&str, Option<Time>)> = it.watermarks.iter().map(|(source, at)| (source.as_str(), Some(*at))).collect();
        if marks.is_empty() {
            marks.push(("", None));
        }
        for (source, at) in marks {
            let slowest = it.held_back_by.get(source).map_or("", String::as_str);
            let name = format!("{} {source}", it.partition);
            writeln!(out, "{name:<32} {:>12} {:>10}  {:<28} {slowest}", number(it.next_offset), it.lag, text(at))?;
        }
    }
    Ok(out.flush()?)
}

fn number(offset: Option<u64>) -> String {
    offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
}

fn text(at: Option<Time>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn source_line(it: &SourceStanding) -> serde_json::Value {
    let watermark = it.watermark.map(|at| at.to_string());
    json!({ "source": it.source, "partition": it.partition, "next_offset": it.next_offset, "lag": it.lag, "watermark": watermark, "idle": it.idle })
}

fn log_line(it: &LogStanding) -> serde_json::Value {
    let watermarks: std::collections::BTreeMap<&str, String> =
        it.watermarks.iter().map(|(source, at)| (source.as_str(), at.to_string())).collect();
    json!({ "log_partition": it.partition, "next_offset": it.next_offset, "lag": it.lag, "watermarks": watermarks, "held_back_by": it.held_back_by })
}
