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
use floodmark_models::repository::{Policy, Repository};
use floodmark_serving::http::{Calls as JsonCalls, Handler, Health, HttpServer, HttpSettings, HttpThread};
use floodmark_serving::inference::Inference;
use floodmark_serving::metrics::Metrics;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::score::Scores;
use floodmark_serving::server::{Calls, Drained, Server, ServerSettings};
use floodmark_serving::service::Features;
use floodmark_store::Store;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

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
    /// Where to answer HTTP: the same calls in JSON, probes and metrics; port 0 picks a free one. Off if not said.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// A repository of ONNX models, NAME/VERSION/model.onnx.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Which versions of each model to load beside those with labels: latest, latest:N, all, or numbers such as 1,4.
    #[arg(long, value_name = "VERSIONS", default_value = "latest", requires = "models")]
    model_versions: Policy,
    /// The ONNX Runtime library; looked for in the usual places if not said.
    #[arg(long, value_name = "FILE", requires = "models")]
    onnxruntime: Option<PathBuf>,
    /// Lets callers list, load and unload models over the Open Inference Protocol.
    #[arg(long)]
    admin: bool,
    /// Threads that serve; all cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Where look-ups and scores keep waiting longer than this, those that would are refused; 0 lets them wait.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3)]
    longest_wait: u64,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let mut settings = settings(args.listen);
    settings.services.push(Inference::NAME.to_owned());
    if args.models.is_some() {
        settings.services.extend(Scores::NAMES.map(str::to_owned));
    }
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    settings.longest_wait = Duration::from_millis(args.longest_wait);
    settings.linger = Duration::from_secs(args.linger);
    let counts = settings.counts.clone();
    // The port is taken first: if it is in use, no store need be made and no file read to learn it.
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let http = args.http.map(|listen| bind_http(listen, args.linger, &counts)).transpose()?;
    let store = args.store.open()?;
    let files: Vec<Input> = args.inputs.iter().filter(|input| !is_push(input)).cloned().collect();
    known_sources(&store, &args.inputs)?;
    if !files.is_empty() {
        replay::take(&store, &files)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (handle, writer) = writer::spawn(store.clone());
    let models =
        args.models.as_ref().map(|directory| load_models(&store, directory, args.onnxruntime.clone(), &args.model_versions)).transpose()?;
    let drained = runtime.block_on(serve(server, http, store, models, args.admin, handle, writer, json))?;
    match drained {
        Drained::InTime => Ok(()),
        Drained::CutShort => Err(Failure::failed("some calls were cut short: they took longer than the drain allows")),
    }
}

fn bind_http(listen: SocketAddr, linger: u64, counts: &Arc<Counts>) -> Result<HttpServer, Failure> {
    let (linger, counts) = (Duration::from_secs(linger), counts.clone());
    let settings = HttpSettings { max_body_bytes: MAX_REQUEST, linger, counts, ..HttpSettings::at(listen) };
    HttpServer::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={listen}")))
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
    ServerSettings { services: vec![Features::NAME.to_owned(), Push::NAME.to_owned()], ..ServerSettings::at(listen) }
}

/// What one thread of the server answers.
pub(super) fn calls(store: &Arc<Store>, scores: Option<&Arc<Scores>>, handle: &Handle) -> Calls {
    let push = Push::new(handle.clone()).into_service(MAX_PUSH);
    let calls = Features::new(store.clone()).into_calls(MAX_REQUEST).map_routes(|routes| routes.add_service(push));
    match scores {
        Some(scores) => scores.clone().add_to(calls, MAX_REQUEST),
        None => calls,
    }
}

/// Loads versions of each model. One that is refused is told and does not serve; features are served all the same.
pub(super) fn load_models(
    store: &Arc<Store>,
    directory: &Path,
    library: Option<PathBuf>,
    versions: &Policy,
) -> Result<Arc<Registry>, Failure> {
    let registry = Arc::new(Registry::new(Repository::new(directory), library, ModelSettings::default()));
    let loaded = Scores::new(store.clone(), registry.clone()).load_all(versions).map_err(|error| Failure::failed(error.to_string()))?;
    for (model, (version, loaded)) in loaded.iter().flat_map(|(model, tried)| tried.iter().map(move |tried| (model, tried))) {
        match loaded {
            Ok(_) => eprintln!("model is ready. model={model} version={version}"),
            Err(error) => eprintln!("warning: model is not served. model={model} version={version}: {error}"),
        }
    }
    Ok(registry)
}

/// What the HTTP port answers: handlers that are asked in turn.
fn handlers(
    store: &Arc<Store>,
    models: Option<&Arc<Registry>>,
    admin: bool,
    leaving: &watch::Receiver<bool>,
    counts: &Arc<Counts>,
) -> Result<Vec<Arc<dyn Handler>>, Failure> {
    let scores = models.map(|models| Arc::new(Scores::new(store.clone(), models.clone())));
    let inference = Inference::new(scores.clone(), admin, leaving.clone());
    let calls = JsonCalls::new(Features::new(store.clone()), scores, counts).map_err(|status| Failure::failed(status.message()))?;
    // Counters that are kept elsewhere come here, each with its entry in the catalog of metrics.
    let counters = Vec::new();
    let metrics = Metrics::new(store.clone(), models.cloned(), counts.clone(), counters);
    Ok(vec![Arc::new(Health::new(leaving.clone(), models.cloned())), Arc::new(metrics), Arc::new(calls), Arc::new(inference)])
}

async fn serve(
    server: Server,
    http: Option<HttpServer>,
    store: Arc<Store>,
    models: Option<Arc<Registry>>,
    admin: bool,
    handle: Handle,
    writer: JoinHandle<Result<(), WriterError>>,
    json: bool,
) -> Result<Drained, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let addresses = Addresses { grpc: server.local_addr().to_string(), http: http.as_ref().map(|http| http.local_addr().to_string()) };
    let mut written = watch_writer(writer);
    let (leave, leaving) = watch::channel(false);
    let mut http = match http {
        Some(http) => {
            let handlers = handlers(&store, models.as_ref(), admin, &leaving, http.counts())?;
            Some(http.start(handlers, leaving.clone())?)
        }
        None => None,
    };
    let make_calls = {
        let (handle, leaving) = (handle.clone(), leaving.clone());
        move || {
            let scores = models.as_ref().map(|models| Arc::new(Scores::new(store.clone(), models.clone())));
            let calls = calls(&store, scores.as_ref(), &handle);
            Inference::new(scores, admin, leaving.clone()).add_to(calls, MAX_REQUEST)
        }
    };
    let until_told = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // The writer has died: nothing pushed would be kept, so nothing is served either.
            () = written.ended() => {}
            () = ended(&mut http) => {}
        }
        let _ = leave.send(true); // whoever tells clients that the server is ready
        handle.stop_taking();
    };
    // The server's first turn starts its threads; then it answers, and that is said.
    let (drained, announced) = tokio::join!(biased; server.serve(make_calls, until_told), async { announce(&addresses, json) });
    // Nobody may be waiting for the first line: that is no reason to have stopped.
    let _ = announced;
    handle.close();
    written.result().await?;
    match (drained?, http) {
        (drained, None) => Ok(drained),
        (drained, Some(http)) => Ok(drained.and(http.result().await?)),
    }
}

/// The HTTP port has ended by itself; never if there is none.
async fn ended(http: &mut Option<HttpThread>) {
    match http {
        Some(http) => http.ended().await,
        None => std::future::pending().await,
    }
}

fn announce(addresses: &Addresses, json: bool) -> io::Result<()> {
    let mut out = stdout();
    match (json, &addresses.http) {
        (true, _) => json_line(&mut out, addresses)?,
        (false, None) => writeln!(out, "floodmark answers gRPC on {}; stop it with Ctrl-C.", addresses.grpc)?,
        (false, Some(http)) => writeln!(out, "floodmark answers gRPC on {}, HTTP on {http}; stop it with Ctrl-C.", addresses.grpc)?,
    }
    out.flush()
}

/// The writer's end, to be waited for without blocking.
struct Written {
    ended: oneshot::Receiver<Result<(), Failure>>,
    result: Option<Result<(), Failure>>,
}

fn watch_writer(writer: JoinHandle<Result<(), WriterError>>) -> Written {
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
