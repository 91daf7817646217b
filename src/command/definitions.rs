//! `floodmark definitions`: the definition file that a store was made with, as it was written.

use std::io::Write;
use std::path::PathBuf;

use floodmark_store::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{json_line, stdout};

const EXAMPLE: &str = "EXAMPLE:\n  floodmark definitions --store state > floodmark.yaml";

/// What to print.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let text = Store::definitions_of(&args.store).map_err(|error| Failure::open(&error))?;
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &json!({ "definitions": text }))?,
        false => out.write_all(text.as_bytes())?,
    }
    Ok(out.flush()?)
}
