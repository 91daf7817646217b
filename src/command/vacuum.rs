//! `floodmark vacuum`: deletes files of an offline store that no version of the last days needs.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use floodmark_features::time::Time;
use floodmark_offline::OfflineStore;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{json_line, stdout};
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLES:
  floodmark vacuum --definitions floodmark.yaml --offline history --dry-run
  floodmark vacuum --definitions floodmark.yaml --offline s3://bucket/history --keep-days 30

Files are left over where small ones became one, and where a write was interrupted. A reader of a version that is older than that
many days may miss files afterwards.";

/// Where, and what is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file.
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// The offline store: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE")]
    offline: String,
    /// Every version of the last so many days can still be read.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    keep_days: u32,
    /// Says what would be deleted, and deletes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    files: Vec<String>,
    deleted: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let failed = |error: floodmark_offline::OfflineError| Failure::failed(error.to_string());
    let definitions = read_definitions(&args.definitions)?.definitions;
    let offline = OfflineStore::existing(&crate::offline::absolute(&args.offline)?, &definitions).map_err(failed)?;
    let keep = Duration::from_secs(u64::from(args.keep_days) * 86_400);
    let files = offline.vacuum(keep, now(), args.dry_run).map_err(failed)?;
    let mut out = stdout();
    if json {
        json_line(&mut out, &Report { files, deleted: !args.dry_run })?;
    } else {
        files.iter().try_for_each(|file| writeln!(out, "{file}"))?;
        writeln!(out, "{} files {}", files.len(), if args.dry_run { "would be deleted" } else { "deleted" })?;
    }
    Ok(out.flush()?)
}

fn now() -> Time {
    floodmark_ingest::clock::now()
}
