//! The commands, one a file.

mod check;
mod complaints;
mod definitions;
mod demo;
mod get;
mod ingest;
mod late;
mod models;
mod predictions;
mod rejects;
mod replay;
mod score;
mod scores;
mod scoring;
mod serve;
mod stats;
mod status;
mod topic;
mod training_set;
mod up;
mod vacuum;
mod verify;
mod windows;

use clap::Subcommand;

pub(crate) use self::get::time;
use crate::failure::Failure;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole story on one machine in a minute: events in, features and scores out, a recount that must agree.
    Demo(demo::Args),
    /// Validates a definition file and lists what it defines.
    Check(check::Args),
    /// Prints the definition file that a store was made with.
    Definitions(definitions::Args),
    /// Takes files (Parquet, CSV, JSON lines) into a store.
    Replay(replay::Args),
    /// Takes events in and serves features, in one process.
    Up(Box<up::Args>),
    /// One worker of a pipeline over Kafka and Redis: route, or apply.
    Ingest(Box<ingest::Args>),
    /// Serves features from Redis, and keeps nothing.
    Serve(Box<serve::Args>),
    /// Shows where a pipeline stands: lag, watermark, and what holds it back.
    Status(status::Args),
    /// Looks up the features of one entity.
    Get(get::Args),
    /// Scores one row with a model of a server.
    Score(score::Args),
    /// Lists, loads, labels and unloads the models of a server.
    Models(models::Args),
    /// Adds features to a table of labels, each row as of its own time.
    TrainingSet(training_set::Args),
    /// Prints what was scored and logged.
    Predictions(predictions::Args),
    /// Scores again what was logged and prints the differences.
    Verify(verify::Args),
    /// Prints the events that missed final values.
    Late(late::Args),
    /// Prints the scores of events that were scored as they came.
    Scores(scores::Args),
    /// Prints the records that were refused.
    Rejects(rejects::Args),
    /// Prints the windows that have closed.
    Windows(windows::Args),
    /// What a service's features are like over some time, and how far they have moved from another.
    Stats(stats::Args),
    /// Deletes what is left over in an offline store.
    Vacuum(vacuum::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Command::Demo(args) => demo::run(&args, json),
            Command::Check(args) => check::run(&args, json),
            Command::Definitions(args) => definitions::run(&args, json),
            Command::Replay(args) => replay::run(&args, json),
            Command::Up(args) => up::run(&args, json),
            Command::Ingest(args) => ingest::run(&args, json),
            Command::Serve(args) => serve::run(&args, json),
            Command::Status(args) => status::run(&args, json),
            Command::Get(args) => get::run(&args, json),
            Command::Score(args) => score::run(&args, json),
            Command::Models(args) => models::run(&args, json),
            Command::TrainingSet(args) => training_set::run(&args, json),
            Command::Predictions(args) => predictions::run(&args, json),
            Command::Verify(args) => verify::run(&args, json),
            Command::Late(args) => late::run(&args, json),
            Command::Scores(args) => scores::run(&args, json),
            Command::Rejects(args) => rejects::run(&args, json),
            Command::Windows(args) => windows::run(&args, json),
            Command::Stats(args) => stats::run(&args, json),
            Command::Vacuum(args) => vacuum::run(&args, json),
        }
    }
}
