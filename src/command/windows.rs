//! `floodmark windows`: the windows that have closed, in the order of emission (T11).

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_features::definition::{ClosedWindows, Definitions};
use floodmark_features::engine::ClosedWindow;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Json, Pairs, entity_of, json_line, stdout, text_of};
use crate::stored::open_existing;

const EXAMPLE: &str = "EXAMPLES:
  floodmark windows --store state
  floodmark windows --store state --view customer_burst --json

Only views with `emit_closed_windows` emit their windows.";

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

/// One closed window, as the contract writes it.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    view: &'a str,
    pub(super) entity: Pairs<Json>,
    window: String,
    start: String,
    end: String,
    revision: u32,
    deleted: bool,
    values: Pairs<Json>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let store = open_existing(&args.store, None)?;
    let definitions = store.definitions();
    let wanted = view_named(definitions, args.view.as_deref())?;
    if let Some(view) = wanted.map(|at| &definitions.views[at])
        && view.closed_windows == ClosedWindows::Silent
    {
        return Err(Failure::usage(format!("view {} emits no windows: give it `emit_closed_windows: true`, in a new store", view.name)));
    }
    let mut out = stdout();
    let mut written = Ok(());
    store.closed_windows(|window| {
        if wanted.is_none_or(|view| view == window.view) {
            written = line(definitions, window).write(&mut out, json);
        }
        written.is_ok()
    })?;
    written?;
    Ok(out.flush()?)
}

/// The view that is asked for; `None` if none is.
pub(super) fn view_named(definitions: &Definitions, name: Option<&str>) -> Result<Option<usize>, Failure> {
    let Some(name) = name else { return Ok(None) };
    match definitions.view(name) {
        Some((at, _)) => Ok(Some(at)),
        None => {
            let known: Vec<&str> = definitions.views.iter().map(|v| v.name.as_str()).collect();
            Err(Failure::usage(format!("no view has this name. view={name} known={}", known.join(","))))
        }
    }
}

pub(super) fn line(definitions: &Definitions, window: ClosedWindow) -> Line<'_> {
    let view = &definitions.views[window.view];
    let name = |at: usize| view.features[at].name.clone();
    Line {
        view: &view.name,
        entity: entity_of(definitions, view, &window.key),
        window: window.window.label(),
        start: window.start.to_string(),
        end: window.end.to_string(),
        revision: window.revision,
        deleted: window.deleted,
        values: Pairs(window.values.into_iter().map(|(at, value)| (name(at), Json(value))).collect()),
    }
}

impl Line<'_> {
    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let what = if self.deleted { "deleted".to_owned() } else { text_of(&self.values) };
        let (entity, revision) = (text_of(&self.entity), self.revision);
        writeln!(out, "{} {entity} {} [{}, {}) revision {revision}: {what}", self.view, self.window, self.start, self.end)
    }
}
