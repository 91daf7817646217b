//! `floodmark demo`: the whole story on one machine in a minute.
//!
//! Transactions are made up, get out of order, and are written to files; the files are replayed into a new store; a server in
//! this process is asked for features as of random times; a training set is built; the example's model scores the last day; and
//! everything is compared with a recount in plain loops over what was made up, scores with those of a training set's rows. Whatever
//! differs is a mismatch, and one is too many.

mod ranking;
mod recount;
mod report;
mod score;
mod serve;
mod training;
mod world;

use std::path::{Path, PathBuf};

use floodmark_store::{Settings, Store};

use super::replay;
use crate::failure::Failure;
use crate::output::{json_line, stdout};
use crate::simulator;
use crate::stored::{Defined, open};
use recount::Recount;
use report::Report;
use world::World;

/// The definitions of the demo: the fraud example.
const DEFINITIONS: &str = include_str!("../../examples/fraud/floodmark.yaml");
/// The service that is asked.
const SERVICE: &str = "fraud_live";

const EXAMPLE: &str = "EXAMPLES:
  floodmark demo
  floodmark demo --seed 7 --customers 2000 --terminals 4000
  floodmark demo --store state && floodmark late --store state";

/// How large a world to make up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The same seed gives the same world.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Customers that are made up.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// Terminals that are made up.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    terminals: u32,
    /// Days that they live.
    #[arg(long, default_value_t = 183, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Transactions of your own instead: transaction_id, tx_datetime, customer_id, terminal_id, amount, fraud.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["customers", "terminals", "days"])]
    transactions: Option<PathBuf>,
    /// Where to keep the store and the files, a new directory; without it, they vanish.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Look-ups to make and compare.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    reads: u32,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let vanishing = tempfile::tempdir()?;
    let directory = args.store.clone().unwrap_or_else(|| vanishing.path().join("store"));
    if Store::definitions_of(&directory).is_ok() {
        return Err(Failure::usage(format!("there is a store already: name a new directory. store={}", directory.display())));
    }
    let report = tell(args, &directory)?;
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &report)?,
        false => report.print(&mut out, args.store.as_deref())?,
    }
    std::io::Write::flush(&mut out)?;
    match report.mismatches() {
        0 => Ok(()),
        several => Err(Failure::failed(format!("values or scores differ from what they are compared with. mismatches={several}"))),
    }
}

/// The story, step by step.
fn tell(args: &Args, directory: &Path) -> Result<Report, Failure> {
    let defined = Defined::parse("examples/fraud/floodmark.yaml", DEFINITIONS.to_owned())?;
    let settings = simulator::Settings { customers: args.customers, terminals: args.terminals, days: args.days, ..Default::default() };
    let transactions = match &args.transactions {
        Some(path) => world::read_transactions(path, &defined.definitions)?,
        None => simulator::Simulator::new(args.seed, settings).transactions(),
    };
    let world = World::of(transactions, args.seed)?;
    let inputs = world.write(&directory.join("input"))?;

    let store = open(directory, &defined, Settings::default())?;
    let mut replayed = Vec::new();
    for input in inputs {
        replayed.push(replay::take(&store, &[input], None)?);
    }

    let recount = Recount::of(&defined.definitions, world.arrivals());
    let samples = world.samples(args.seed, args.reads as usize);
    let served = serve::read(&store, &samples, &recount)?;
    let training = training::build(&store, &world, &directory.join("input"), &recount)?;
    let scores = score::last_day(&store, &world, directory)?;
    Ok(Report::new(&world, replayed, &recount, served, training, scores))
}
