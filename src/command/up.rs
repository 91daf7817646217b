//! `floodmark up`: events in and features out, in one process, until a signal.
//!
//! Files are taken in first, as `replay` does; then the server answers, and producers push. On SIGINT or SIGTERM the producers
//! are asked to stop, calls in flight have their answers, and the writer finishes with a checkpoint.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use floodmark_ingest::push::Push;
use floodmark_ingest::replay::Input;
use floodmark_ingest::writer::{self, Handle, WriterError};
use floodmark_models::model::Settings as ModelSettings;
use floodmark_models::registry::Registry;
use floodmark_models::repository::Repository;
use floodmark_serving::predictions::Predictions;
use floodmark_serving::score::Scores;
use floodmark_serving::score::log::{Log, LogCounts, LogSettings, LogWriter, Share};
use floodmark_serving::server::{Calls, Drained, Server, ServerSettings};
use floodmark_serving::service::Features;
use floodmark_store::Store;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::replay;
use crate::failure::Failure;
use crate::output::{json_line, stdout};
use crate::stored::StoreArgs;

const EXAMPLE: &str = "EXAMPLES:
  floodmark up --definitions floodmark.yaml --store state
  floodmark up --definitions floodmark.yaml --store state --listen 127.0.0.1:0 --json transactions=history.parquet

Pushing (floodmark.v1.PushService) is always on. A file is taken in to its end before the first answer. SIGINT and SIGTERM end
the server in order: what was acknowledged is kept, and so it is after kill -9.";

/// A request for features may have so many bytes.
const MAX_REQUEST: usize = 4 << 20;
/// A pushed batch may have so many bytes.
const MAX_PUSH: usize = 64 << 20;

/// What to take in, and where to answer.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Where to answer gRPC; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// A repository of ONNX models, NAME/VERSION/model.onnx: the newest version of each is loaded and scores.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The ONNX Runtime library; looked for in the usual places if not said.
    #[arg(long, value_name = "FILE", requires = "models")]
    onnxruntime: Option<PathBuf>,
    /// Keeps a share of what is scored, from 0 to 1 or `all`, for `floodmark predictions` and `floodmark verify`: always the same rows,
    /// chosen by entity and as-of time.
    #[arg(long, value_name = "SHARE", requires = "models")]
    log_predictions: Option<Share>,
    /// The newest logged predictions are kept, up to so many bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, requires = "log_predictions")]
    prediction_log_bytes: u64,
    /// Threads that serve; all cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// When told to end, goes on accepting for so many seconds with health at NOT_SERVING, for load balancers.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    linger: u64,
    /// A source and a file of its events, or `SOURCE=push`, which is always on.
    #[arg(value_name = "SOURCE=URL", value_parser = replay::input)]
    inputs: Vec<Input>,
}

/// Where it answers: the first line on stdout.
#[derive(Serialize)]
struct Addresses {
    grpc: String,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let mut settings = settings(args.listen);
    if args.models.is_some() {
        settings.services.extend(Scores::NAMES.map(str::to_owned));
    }
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    settings.linger = Duration::from_secs(args.linger);
    // The port is taken first: if it is in use, no store need be made and no file read to learn it.
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let store = args.store.open()?;
    let files: Vec<Input> = args.inputs.iter().filter(|input| !is_push(input)).cloned().collect();
    known_sources(&store, &args.inputs)?;
    if !files.is_empty() {
        replay::take(&store, &files)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (handle, writer) = writer::spawn(store.clone());
    let models = args.models.as_ref().map(|directory| load_models(&store, directory, args.onnxruntime.clone()));
    let log = start_log(args, &store)?;
    let logged = log.as_ref().map(|log| log.log().clone());
    let drained = runtime.block_on(serve(server, store, models, logged, handle, writer, json));
    if let Some(log) = log {
        tell_log(log.end());
    }
    match drained? {
        Drained::InTime => Ok(()),
        Drained::CutShort => Err(Failure::failed("some calls were cut short: they took longer than the drain allows")),
    }
}

fn start_log(args: &Args, store: &Arc<Store>) -> Result<Option<LogWriter>, Failure> {
    let Some(share) = args.log_predictions.filter(|share| !share.is_none()) else { return Ok(None) };
    let settings = LogSettings { share, keep_bytes: args.prediction_log_bytes };
    Ok(Some(LogWriter::start(store.clone(), settings, |trouble| eprintln!("warning: {trouble}"))?))
}

/// What is not in the log is said.
fn tell_log(LogCounts { written, dropped, failed, lost, removed }: LogCounts) {
    eprintln!("predictions are logged. written={written} dropped={dropped} failed={failed} lost={lost} removed={removed}");
}

fn is_push(input: &Input) -> bool {
    input.path.as_os_str() == "push"
}

fn known_sources(store: &Store, inputs: &[Input]) -> Result<(), Failure> {
    match inputs.iter().find(|input| store.definitions().source(&input.source).is_none()) {
        Some(input) => {
            let known: Vec<&str> = store.definitions().sources.iter().map(|s| s.name.as_str()).collect();
            Err(Failure::usage(format!("no source has this name. source={} known={}", input.source, known.join(","))))
        }
        None => Ok(()),
    }
}

/// The server's settings, with the names of what it serves.
pub(super) fn settings(listen: SocketAddr) -> ServerSettings {
    ServerSettings { services: [Features::NAME, Push::NAME, Predictions::NAME].map(str::to_owned).to_vec(), ..ServerSettings::at(listen) }
}

/// What one thread of the server answers.
pub(super) fn calls(store: &Arc<Store>, models: Option<&Arc<Registry>>, log: Option<&Arc<Log>>, handle: &Handle) -> Calls {
    let push = Push::new(handle.clone()).into_service(MAX_PUSH);
    let predictions = Predictions::new(store.clone(), log.cloned()).into_service();
    let calls = Features::new(store.clone()).into_calls(MAX_REQUEST);
    let calls = calls.map_routes(|routes| routes.add_service(push).add_service(predictions));
    match models {
        Some(models) => Scores::new(store.clone(), models.clone()).logged(log.cloned()).add_to(calls, MAX_REQUEST),
        None => calls,
    }
}

/// Loads the newest version of each model. One that is refused is told and does not serve; features are served all the same.
pub(super) fn load_models(store: &Arc<Store>, directory: &Path, library: Option<PathBuf>) -> Arc<Registry> {
    let registry = Arc::new(Registry::new(Repository::new(directory), library, ModelSettings::default()));
    for (model, loaded) in Scores::new(store.clone(), registry.clone()).load_all() {
        match loaded {
            Ok(version) => eprintln!("model is ready. model={model} version={version}"),
            Err(error) => eprintln!("warning: model is not served. model={model}: {error}"),
        }
    }
    registry
}

async fn serve(
    server: Server,
    store: Arc<Store>,
    models: Option<Arc<Registry>>,
    log: Option<Arc<Log>>,
    handle: Handle,
    writer: JoinHandle<Result<(), WriterError>>,
    json: bool,
) -> Result<Drained, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let address = server.local_addr();
    let mut written = watch(writer);
    let make_calls = {
        let handle = handle.clone();
        move || calls(&store, models.as_ref(), log.as_ref(), &handle)
    };
    let until_told = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // The writer has died: nothing pushed would be kept, so nothing is served either.
            () = written.ended() => {}
        }
        handle.stop_taking();
    };
    // The server's first turn starts its threads; then it answers, and that is said.
    let (drained, announced) = tokio::join!(biased; server.serve(make_calls, until_told), async { announce(address, json) });
    // Nobody may be waiting for the first line: that is no reason to have stopped.
    let _ = announced;
    handle.close();
    written.result().await?;
    Ok(drained?)
}

fn announce(address: SocketAddr, json: bool) -> io::Result<()> {
    let mut out = stdout();
    match json {
        true => json_line(&mut out, &Addresses { grpc: address.to_string() })?,
        false => writeln!(out, "floodmark answers gRPC on {address}; stop it with Ctrl-C.")?,
    }
    out.flush()
}

/// The writer's end, to be waited for without blocking.
struct Written {
    ended: oneshot::Receiver<Result<(), Failure>>,
    result: Option<Result<(), Failure>>,
}

fn watch(writer: JoinHandle<Result<(), WriterError>>) -> Written {
    let (tell, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let result = match writer.join() {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure::failed("the writer panicked; what was acknowledged is kept")),
        };
        // Nobody listens if the command has failed already.
        let _ = tell.send(result);
    });
    Written { ended, result: None }
}

impl Written {
    /// The writer has ended.
    async fn ended(&mut self) {
        if self.result.is_none() {
            let gone = |_| Err(Failure::failed("the writer is gone"));
            self.result = Some((&mut self.ended).await.unwrap_or_else(gone));
        }
    }

    /// How the writer ended.
    async fn result(mut self) -> Result<(), Failure> {
        self.ended().await;
        self.result.unwrap_or(Ok(()))
    }
}
