//! What does the offline store cost ingest? All given transactions into a new store, without an offline store and with one, in turns; and
//! how long everything is in its tables after the last event can be read.
//!
//! ```text
//! cargo bench --bench offline -- [transactions.parquet] [runs]
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;
use floodmark_ingest::replay::{Input, replay};
use floodmark_offline::Flusher;
use floodmark_store::{Settings, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let input = PathBuf::from(args.next().unwrap_or_else(|| "../shared/data/transactions.parquet".to_owned()));
    let runs: usize = args.next().map_or(Ok(5), |a| a.parse())?;
    let mut best = [f64::INFINITY; 2];
    for run in 0..runs {
        for offline in [false, true] {
            let directory = tempfile::tempdir()?;
            let (seconds, after, events) = take(directory.path(), &input, offline)?;
            best[usize::from(offline)] = best[usize::from(offline)].min(seconds);
            let what = if offline { "with an offline store" } else { "without" };
            eprintln!(
                "run {run} {what}: {events} events in {seconds:.3} s, {:.0} a second, in the tables after {after:.3} s",
                events as f64 / seconds
            );
        }
    }
    eprintln!("best of {runs}: {:.3} s without, {:.3} s with, {:.1} % of the rate", best[0], best[1], 100.0 * best[0] / best[1]);
    Ok(())
}

/// Seconds until all events can be read and the store is at rest, and until the tables have them all too.
fn take(home: &Path, input: &Path, offline: bool) -> Result<(f64, f64, u64), Box<dyn Error>> {
    let text = std::fs::read_to_string("examples/fraud/floodmark.yaml")?;
    let definitions = Arc::new(Definitions::parse("floodmark.yaml", &text)?);
    let store = Arc::new(Store::open(&home.join("store"), definitions.clone(), &text, Settings::default())?);
    let place = home.join("offline").display().to_string();
    let mut flusher = None;
    if offline {
        store.set_offline(&place)?;
        flusher = Some(Flusher::start(store.clone(), place, Duration::from_secs(60), |error| eprintln!("{error}"))?);
    }
    let began = Instant::now();
    let summary = replay(&store, &[Input { source: "transactions".to_owned(), path: input.to_owned() }], &mut |_| {})?;
    let seconds = began.elapsed().as_secs_f64();
    flusher.map_or(Ok(()), Flusher::finish)?;
    Ok((seconds, began.elapsed().as_secs_f64(), summary.tally.read))
}
