//! `floodmark serve`: answers look-ups and scores from Redis, which `floodmark up --online` or the workers of `floodmark ingest` fill, or
//! from the history that `floodmark up --offline` keeps, for views of any definition. It keeps nothing, so there may be any number.

mod follower;
mod held;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floodmark_models::registry::Registry;
use floodmark_serving::flight::Flight;
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

use self::follower::Follower;
use self::held::Held;
use super::up::MAX_REQUEST;
use crate::failure::Failure;
use crate::online::{self, OnlineArgs};
use crate::output::{json_line, stdout};
use crate::repository::RepositoryArgs;
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLES:
  floodmark serve --definitions floodmark.yaml --online redis://127.0.0.1:6379 --listen 127.0.0.1:7071
  floodmark serve --definitions floodmark.yaml --online redis://127.0.0.1:6379 --models models
  floodmark serve --definitions new.yaml --offline history --listen 127.0.0.1:7071

With --offline, the definitions may have views that are newer than the events: they are computed of all events that were ever kept, and
then follow what comes. What takes the events in goes on as it is.";

/// What to answer, from where, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file.
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// Redis: redis://[USER:PASSWORD@]HOST:PORT, rediss:// for TLS, redis+sentinel://HOST:PORT,.../MASTER; a cluster by any of its nodes.
    #[arg(long, value_name = "URL", required_unless_present = "offline", conflicts_with = "offline")]
    online: Option<Address>,
    /// In place of Redis, the offline store of a `floodmark up --offline`: all events that were ever kept there, and those that come.
    #[arg(long, value_name = "PLACE")]
    offline: Option<String>,
    /// Looks for new events in the offline store so often.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1_000, requires = "offline", value_parser = clap::value_parser!(u64).range(1..))]
    follow_interval: u64,
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
    if args.offline.is_some() {
        settings.services.push(Flight::NAME.to_owned());
    }
    if args.repository.models.is_some() {
        settings.services.extend(Scores::NAMES.map(str::to_owned));
    }
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    let counts = settings.counts.clone();
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let http = args.http.map(|listen| bind_http(listen, &counts)).transpose()?;
    let (held, follower) = match (&args.online, &args.offline) {
        (Some(online), _) => {
            let reader = Reader::open(args.at.settings(online)?, definitions).map_err(|error| online::failure(&error))?;
            (Held::Redis(Arc::new(reader)), None)
        }
        (None, Some(place)) => {
            let (store, follower) = Follower::start(place, &definitions, Duration::from_millis(args.follow_interval))?;
            (Held::Memory(store, crate::offline::absolute(place)?), Some(follower))
        }
        (None, None) => return Err(Failure::usage("expected --online URL or --offline PLACE".to_owned())),
    };
    let models = args.repository.load(|models| held.scores(models))?;
    let (leave, leaving) = watch::channel(false);
    let followed = follower.as_ref().map(|follower| follower.counts().clone());
    let answers = Answers { held, followed, models, admin: args.repository.admin, leaving };
    let (address, place) = (server.local_addr().to_string(), answers.held.place());
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
        let (drained, announced) = tokio::join!(biased; server.serve(calls, until_told), async { announce(&told, place, json) });
        // Nobody may be waiting for the first line: that is no reason to have stopped.
        let _ = announced;
        match http {
            Some(http) => Ok::<_, Failure>(drained?.and(http.result().await?)),
            None => Ok(drained?),
        }
    })?;
    follower.map_or(Ok(()), Follower::end)?;
    match drained {
        Drained::InTime => Ok(()),
        Drained::CutShort => Err(Failure::failed("some calls were cut short: they took longer than the drain allows")),
    }
}

/// What is answered, and from what.
#[derive(Clone)]
struct Answers {
    held: Held,
    /// What has come of following an offline store.
    followed: Option<Arc<follower::Counts>>,
    models: Option<Arc<Registry>>,
    /// Whether models may be loaded and unloaded over the Open Inference Protocol.
    admin: bool,
    /// Turns true when the server is about to end.
    leaving: watch::Receiver<bool>,
}

impl Answers {
    fn scores(&self) -> Option<Arc<Scores>> {
        self.models.as_ref().map(|models| Arc::new(self.held.scores(models.clone())))
    }

    fn inference(&self, scores: Option<Arc<Scores>>) -> Inference {
        Inference::new(scores, self.admin, self.leaving.clone())
    }

    /// What one gRPC thread answers.
    fn calls(&self) -> Calls {
        let (calls, scores) = (self.held.features().into_calls(MAX_REQUEST), self.scores());
        let calls = match &scores {
            Some(scores) => scores.clone().add_to(calls, MAX_REQUEST),
            None => calls,
        };
        self.inference(scores).add_to(self.held.add_flight(calls), MAX_REQUEST)
    }

    /// What the HTTP port answers: handlers that are asked in turn.
    fn handlers(&self, counts: &Arc<Counts>) -> Result<Vec<Arc<dyn Handler>>, Failure> {
        let scores = self.scores();
        let health = Health::new(self.leaving.clone(), self.models.clone());
        let kept = self.followed.as_ref().map(follower::Counts::kept).unwrap_or_default();
        let metrics = Metrics::new(self.held.store(), self.models.clone(), counts.clone(), kept);
        let inference = self.inference(scores.clone());
        let calls = JsonCalls::new(self.held.features(), scores, counts).map_err(|status| Failure::failed(status.message()))?;
        Ok(vec![Arc::new(health), Arc::new(metrics), Arc::new(calls), Arc::new(inference)])
    }
}

fn bind_http(listen: SocketAddr, counts: &Arc<Counts>) -> Result<HttpServer, Failure> {
    let settings = HttpSettings { max_body_bytes: MAX_REQUEST, counts: counts.clone(), ..HttpSettings::at(listen) };
    HttpServer::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={listen}")))
}

/// The address of gRPC, and that of HTTP if there is one.
fn announce(addresses: &[String], place: &str, json: bool) -> std::io::Result<()> {
    let mut out = stdout();
    match (json, addresses) {
        (true, [grpc, http]) => json_line(&mut out, &json!({ "grpc": grpc, "http": http }))?,
        (true, _) => json_line(&mut out, &json!({ "grpc": addresses[0] }))?,
        (false, [grpc, http]) => writeln!(out, "floodmark answers gRPC on {grpc}, HTTP on {http}, {place}; stop it with Ctrl-C.")?,
        (false, _) => writeln!(out, "floodmark answers gRPC on {}, {place}; stop it with Ctrl-C.", addresses[0])?,
    }
    out.flush()
}
