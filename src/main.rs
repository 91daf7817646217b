//! The `floodmark` command: reads its arguments, wires the rooms of the house, and says what came of it.
//!
//! One command a file in `command`. Exit codes: 0 it worked, 1 it did not, 2 the arguments or the definitions are wrong.

mod backfill;
mod command;
mod failure;
mod history;
mod logged;
mod offline;
mod online;
mod output;
mod progress;
mod repository;
mod simulator;
mod stored;

use std::process::ExitCode;

use clap::Parser;

/// Half again the calls a second of the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time feature store: event-time features, served and trained from one definition.
#[derive(Debug, Parser)]
#[command(name = "floodmark", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
    /// Answers in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run(cli.json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
