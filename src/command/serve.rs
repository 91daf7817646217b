//! `floodmark serve`: answers look-ups and scores from Redis, which `floodmark up --online` or the workers of `floodmark ingest` fill. It
//! keeps nothing, so there may be any number.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use floodmark_models::registry::Registry;
use floodmark_serving::http::{Calls as JsonCalls, Handler, Health, HttpServer, HttpSettings};
use floodmark_serving::inference::Inference;
use floodmark_serving::metrics::Metrics;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::score::Scores;
use floodmark_serving::server::{Calls, Drained, Server, ServerSettings};
use floodmark_serving::service::Features;
use floodmark_store::redis::{Address, Reader};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::up::MAX_REQUEST;
use crate::failure::Failure;
use crate::online::{self, OnlineArgs};
use crate::output::{json_line, stdout};
use crate::repository::RepositoryArgs;
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLES:
  floodmark serve --definitions floodmark.yaml --online redis://127.0.0.1:6379 --listen 127.0.0.1:7071
  floodmark serve --definitions floodmark.yaml --online redis://127.0.0.1:6379 --models models";

/// What to answer, from where, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file.
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// Redis: redis://[USER:PASSWORD@]HOST:PORT, rediss:// for TLS, redis+sentinel://HOST:PORT,.../MASTER; a cluster by any of its nodes.
    #[arg(long, value_name = "URL")]
    online: Address,
    #[command(flatten)]
    at: OnlineArgs,
    /// Where to answer gRPC; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where to answer over HTTP: look-ups as JSON, /metrics, probes; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Threads that serve; all cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let definitions = read_definitions(&args.definitions)?.definitions;
    let mut settings = ServerSettings { services: vec![Features::NAME.to_owned()], ..ServerSettings::at(args.listen) };
    settings.services.push(Inference::NAME.to_owned());
    if args.repository.models.is_some() {
        settings.services.extend(Scores::NAMES.map(str::to_owned));
    }
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    let counts = settings.counts.clone();
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let http = args.http.map(|listen| bind_http(listen, &counts)).transpose()?;
    let reader = Reader::open(args.at.settings(&args.online)?, definitions).map_err(|error| online::failure(&error))?;
    let models = args.repository.load(|models| Scores::over_redis(reader.another(), models))?;
    let (leave, leaving) = watch::channel(false);
    let answers = Answers { reader: Arc::new(reader), models, admin: args.repository.admin, leaving };
    let address = server.local_addr().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drained = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let until_told = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let mut told = vec![address.clone()];
        let http = match http {
            Some(http) => {
                told.push(http.local_addr().to_string());
                let handlers = answers.handlers(http.counts())?;
                Some(http.start(handlers, answers.leaving.clone())?)
            }
            None => None,
        };
        let until_told = async move {
            until_told.await;
            let _ = leave.send(true);
        };
        let calls = move || answers.calls();
        // The server's first turn starts its threads; then it answers, and that is said.
        let (drained, announced) = tokio::join!(biased; server.serve(calls, until_told), async { announce(&told, json) });
        // Nobody may be waiting for the first line: that is no reason to have stopped.
        let _ = announced;
        match http {
            Some(http) => Ok::<_, Failure>(drained?.and(http.result().await?)),
            None => Ok(drained?),
        }
    })?;
    match drained {
        Drained::InTime => Ok(()),
        Drained::CutShort => Err(Failure::failed("some calls were cut short: they took longer than the drain allows")),
    }
}

/// What is answered, and from what.
#[derive(Clone)]
struct Answers {
    reader: Arc<Reader>,
    models: Option<Arc<Registry>>,
    /// Whether models may be loaded and unloaded over the Open Inference Protocol.
    admin: bool,
    /// Turns true when the server is about to end.
    leaving: watch::Receiver<bool>,
}

impl Answers {
    fn features(&self) -> Features {
        Features::over_redis(self.reader.another())
    }

    fn scores(&self) -> Option<Arc<Scores>> {
        self.models.as_ref().map(|models| Arc::new(Scores::over_redis(self.reader.another(), models.clone())))
    }

    fn inference(&self, scores: Option<Arc<Scores>>) -> Inference {
        Inference::new(scores, self.admin, self.leaving.clone())
    }

    /// What one gRPC thread answers.
    fn calls(&self) -> Calls {
        let (calls, scores) = (self.features().into_calls(MAX_REQUEST), self.scores());
        let calls = match &scores {
            Some(scores) => scores.clone().add_to(calls, MAX_REQUEST),
            None => calls,
        };
        self.inference(scores).add_to(calls, MAX_REQUEST)
    }

    /// What the HTTP port answers: handlers that are asked in turn.
    fn handlers(&self, counts: &Arc<Counts>) -> Result<Vec<Arc<dyn Handler>>, Failure> {
        let scores = self.scores();
        let health = Health::new(self.leaving.clone(), self.models.clone());
        let metrics = Metrics::new(None, self.models.clone(), counts.clone(), Vec::new());
        let inference = self.inference(scores.clone());
        let calls = JsonCalls::new(self.features(), scores, counts).map_err(|status| Failure::failed(status.message()))?;
        Ok(vec![Arc::new(health), Arc::new(metrics), Arc::new(calls), Arc::new(inference)])
    }
}

fn bind_http(listen: SocketAddr, counts: &Arc<Counts>) -> Result<HttpServer, Failure> {
    let settings = HttpSettings { max_body_bytes: MAX_REQUEST, counts: counts.clone(), ..HttpSettings::at(listen) };
    HttpServer::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={listen}")))
}

/// The address of gRPC, and that of HTTP if there is one.
fn announce(addresses: &[String], json: bool) -> std::io::Result<()> {
    let mut out = stdout();
    match (json, addresses) {
        (true, [grpc, http]) => json_line(&mut out, &json!({ "grpc": grpc, "http": http }))?,
        (true, _) => json_line(&mut out, &json!({ "grpc": addresses[0] }))?,
        (false, [grpc, http]) => writeln!(out, "floodmark answers gRPC on {grpc}, HTTP on {http}, from Redis; stop it with Ctrl-C.")?,
        (false, _) => writeln!(out, "floodmark answers gRPC on {}, from Redis; stop it with Ctrl-C.", addresses[0])?,
    }
    out.flush()
}
