//! `floodmark ingest`: one worker of a pipeline over several processes. Route turns topics into a feature log, apply turns that into an
//! online store in Redis; `floodmark serve` answers from there.

mod journal;
mod numbers;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::EnginePlan;
use floodmark_ingest::kafka::pipeline::{Apply, ApplySettings, Done, Pipeline, PipelineError, Route, RouteInput};
use floodmark_ingest::replay::Input;
use floodmark_serving::http::{Health, HttpServer, HttpSettings};
use floodmark_serving::metrics::{Kept, Metrics};
use floodmark_store::redis::Address;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::up::watched::Watched;
use super::{replay, topic};
use crate::failure::Failure;
use crate::online::{self, OnlineArgs};
use crate::output::{json_line, stdout};
use crate::stored::{read_definitions, source_named};
use journal::Journal;

const EXAMPLE: &str = "EXAMPLE:
  floodmark ingest --role route --worker a --definitions floodmark.yaml --pipeline kafka://127.0.0.1:9092/fraud \\
      transactions=kafka://127.0.0.1:9092/transactions
  floodmark ingest --role apply --worker a --definitions floodmark.yaml --pipeline kafka://127.0.0.1:9092/fraud \\
      --online redis://127.0.0.1:6379
Start as many of each as there is work for, each under a name of its own; they share the partitions.";

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Topics into the feature log.
    Route,
    /// The feature log into the online store.
    Apply,
}

/// Which worker of which pipeline.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// What this worker does.
    #[arg(long, value_enum)]
    role: Role,
    /// The definition file, the same for all workers.
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// Where the pipeline's own topics are: PREFIX.log (the feature log), .late, .windows and .rejects. They are made if they are not there.
    #[arg(long, value_name = "kafka://HOST:PORT/PREFIX")]
    pipeline: String,
    /// This worker's name, its own among those of its role: its transactions are known by it, and who starts under it later ends what it
    /// has left open.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    worker: String,
    /// Properties of Kafka clients, a NAME=VALUE each line, by librdkafka's names: TLS, SASL, buffers.
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<PathBuf>,
    /// Route commits this often: an event waits for half of it on average.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    commit_interval: u64,
    /// Partitions of the feature log, where it is made: apply can be shared by so many workers.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=4_096))]
    log_partitions: i32,
    /// Redis, for apply: redis://[USER:PASSWORD@]HOST:PORT, rediss:// for TLS, redis+sentinel://HOST:PORT,.../MASTER; a cluster by any of its nodes.
    #[arg(long, value_name = "URL")]
    online: Option<Address>,
    #[command(flatten)]
    at: OnlineArgs,
    /// Memory for timelines, for apply, in MiB; those that are not in use are read back from Redis.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    memory: u64,
    /// Where to answer /metrics and probes over HTTP; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// For route: a source and its topic (kafka://HOST:PORT/TOPIC).
    #[arg(value_name = "SOURCE=URL", value_parser = replay::input)]
    inputs: Vec<Input>,
}

/// A worker's thread, and what it tells.
struct Worker {
    done: Arc<Done>,
    thread: JoinHandle<Result<(), PipelineError>>,
    kept: Vec<Kept>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let definitions = read_definitions(&args.definitions)?.definitions;
    let pipeline = Pipeline {
        prefix: topic::topic(&args.pipeline, args.kafka_config.as_deref())?,
        worker: args.worker.clone(),
        commit_interval: Duration::from_millis(args.commit_interval),
        log_partitions: args.log_partitions,
    };
    let plan = Arc::new(EnginePlan::new(definitions.clone()));
    let workers = match args.role {
        Role::Route => route(args, &definitions, &plan, &pipeline)?,
        Role::Apply => vec![apply(args, &definitions, &plan, pipeline)?],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(until_told(args, workers, json))
}

/// One worker for each source: their partitions are shared out apart from each other.
fn route(args: &Args, definitions: &Arc<Definitions>, plan: &Arc<EnginePlan>, pipeline: &Pipeline) -> Result<Vec<Worker>, Failure> {
    if args.online.is_some() {
        return Err(Failure::usage("--online is for --role apply: route writes nothing but the feature log"));
    }
    let named = topic::named(&args.inputs, args.kafka_config.as_deref())?;
    if named.is_empty() || named.len() < args.inputs.len() {
        return Err(Failure::usage(
            "--role route needs the topics of its sources, such as transactions=kafka://127.0.0.1:9092/transactions, and takes nothing else",
        ));
    }
    let mut workers = Vec::new();
    for (name, topic) in named {
        let source = source_named(definitions, &name)?;
        let input = RouteInput { source, topic };
        let route = Route::new(pipeline.clone(), plan.clone(), input, topic::encoder(definitions.clone())).map_err(failure)?;
        let done = route.done();
        let kept = numbers::of_worker("route", &name, &done);
        let thread = std::thread::Builder::new().name(format!("route {name}")).spawn(move || route.run())?;
        workers.push(Worker { done, thread, kept });
    }
    Ok(workers)
}

fn apply(args: &Args, definitions: &Arc<Definitions>, plan: &Arc<EnginePlan>, pipeline: Pipeline) -> Result<Worker, Failure> {
    let Some(online) = &args.online else {
        return Err(Failure::usage("--role apply needs --online, such as redis://127.0.0.1:6379"));
    };
    if !args.inputs.is_empty() {
        return Err(Failure::usage("--role apply reads the feature log and nothing else: topics of sources are for --role route"));
    }
    let memory_budget = usize::try_from(args.memory << 20).unwrap_or(usize::MAX);
    let settings = ApplySettings { online: args.at.settings(online)?, memory_budget };
    let apply = Apply::new(pipeline, plan.clone(), settings, topic::encoder(definitions.clone()));
    let (done, states) = (apply.done(), apply.states());
    let mut kept = numbers::of_worker("apply", "", &done);
    kept.extend(numbers::of_apply(definitions, &done, &states));
    let thread = std::thread::Builder::new().name("apply".to_owned()).spawn(move || apply.run())?;
    Ok(Worker { done, thread, kept })
}

/// Runs until a signal, or until a worker can go on no more.
async fn until_told(args: &Args, workers: Vec<Worker>, json: bool) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (leave, leaving) = watch::channel(false);
    let (mut kept, mut done, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    let mut journal = Journal::new(args, json);
    for worker in workers {
        kept.extend(worker.kept);
        done.push(worker.done);
        threads.push(Watched::new(worker.thread, "a worker panicked; what was committed is kept"));
    }
    let http = args.http.map(|address| listen(address, kept, leaving)).transpose()?;
    announce(args, http.as_ref().map(|(address, _)| *address), json)?;
    let any = async {
        let mut waiting: Vec<_> = threads.iter_mut().map(|thread| Box::pin(thread.ended())).collect();
        std::future::poll_fn(|context| match waiting.iter_mut().any(|thread| thread.as_mut().poll(context).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    };
    tokio::select! {
        () = any => {}
        () = journal.keep(&done) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let _ = leave.send(true);
    done.iter().for_each(|done| done.stop());
    for thread in threads {
        thread.result().await?;
    }
    Ok(())
}

fn listen(
    address: SocketAddr,
    kept: Vec<Kept>,
    leaving: watch::Receiver<bool>,
) -> Result<(SocketAddr, floodmark_serving::http::HttpThread), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("cannot listen: {error}. address={address}"));
    let server = HttpServer::bind(HttpSettings::at(address)).map_err(failed)?;
    let (local, counts) = (server.local_addr(), server.counts().clone());
    let handlers: Vec<Arc<dyn floodmark_serving::http::Handler>> =
        vec![Arc::new(Health::new(leaving.clone(), None)), Arc::new(Metrics::new(None, None, counts, kept))];
    Ok((local, server.start(handlers, leaving)?))
}

fn announce(args: &Args, http: Option<SocketAddr>, json: bool) -> std::io::Result<()> {
    let mut out = stdout();
    let role = if args.role == Role::Route { "route" } else { "apply" };
    match json {
        true => json_line(&mut out, &json!({ "role": role, "worker": args.worker, "http": http.map(|address| address.to_string()) }))?,
        false => writeln!(out, "floodmark {role} runs as {}; stop it with Ctrl-C.", args.worker)?,
    }
    out.flush()
}

/// What the caller has to correct, and what has failed.
fn failure(error: PipelineError) -> Failure {
    match &error {
        PipelineError::Client(_) => Failure::usage(format!("{error}: see --kafka-config")),
        PipelineError::Format(_) | PipelineError::NoTopic { .. } | PipelineError::OtherDefinitions { .. } => {
            Failure::usage(error.to_string())
        }
        PipelineError::Online(online) => online::failure(online),
        _ => Failure::failed(error.to_string()),
    }
}
