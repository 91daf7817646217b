//! `floodmark late`: the events that missed final values, in the order in which they came (T10).

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::{LateEvent, Outcome};
use floodmark_features::section::Position;
use floodmark_features::time::Time;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Json, Pairs, json_line, stdout, text_of};
use crate::stored::open_existing;

const EXAMPLE: &str = "EXAMPLES:
  floodmark late --store state
  floodmark late --store state --json | jq -r 'select(.outcome == \"late\") | .payload'";

/// Which to print.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Of this view only.
    #[arg(long)]
    view: Option<String>,
}

/// One late event, as the contract writes it.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    source: &'a str,
    view: &'a str,
    pub(super) entity: Pairs<Json>,
    event_id: &'a str,
    event_time: String,
    outcome: &'static str,
    reason: &'static str,
    watermark: String,
    lateness_us: i64,
    position: &'a Position,
    payload: &'a str,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let store = open_existing(&args.store, None)?;
    let definitions = store.definitions();
    let wanted = super::windows::view_named(definitions, args.view.as_deref())?;
    let mut out = stdout();
    let mut written = Ok(());
    store.late_events(|event| {
        if wanted.is_none_or(|view| view == event.view) {
            written = line(definitions, &event).write(&mut out, json);
        }
        written.is_ok()
    })?;
    written?;
    Ok(out.flush()?)
}

pub(super) fn line<'a>(definitions: &'a Definitions, event: &'a LateEvent) -> Line<'a> {
    let view = &definitions.views[event.view];
    let (outcome, reason) = match event.outcome {
        Outcome::PartiallyLate => ("partially_late", "some_values_final"),
        _ => ("late", "all_windows_final"),
    };
    Line {
        source: &definitions.sources[view.source].name,
        view: &view.name,
        entity: crate::output::entity_of(definitions, view, &event.key),
        event_id: &event.event_id,
        event_time: event.event_time.to_string(),
        outcome,
        reason,
        watermark: event.watermark.to_string(),
        lateness_us: if event.watermark == Time::NONE { 0 } else { event.watermark.since(event.event_time).micros() },
        position: &event.position,
        payload: &event.payload,
    }
}

impl Line<'_> {
    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let behind = floodmark_features::time::Span::from_micros(self.lateness_us);
        writeln!(
            out,
            "{} {} {} event {} of {}, {behind} behind the watermark, at {}#{}",
            self.outcome,
            self.view,
            text_of(&self.entity),
            self.event_id,
            self.event_time,
            self.position.partition,
            self.position.offset
        )
    }
}
