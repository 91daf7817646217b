//! `floodmark serve`: answers look-ups from Redis, which `floodmark up --online` fills. It keeps nothing, so there may be any number.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use floodmark_serving::http::{Calls, Handler, Health, HttpServer, HttpSettings};
use floodmark_serving::metrics::Metrics;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::server::{Drained, Server, ServerSettings};
use floodmark_serving::service::Features;
use floodmark_store::redis::{Address, Reader};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::up::MAX_REQUEST;
use crate::failure::Failure;
use crate::online::{self, OnlineArgs};
use crate::output::{json_line, stdout};
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLE:\n  floodmark serve --definitions floodmark.yaml --online redis://127.0.0.1:6379 --listen 127.0.0.1:7071";

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
    /// Threads that serve; all cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let definitions = read_definitions(&args.definitions)?.definitions;
    let mut settings = ServerSettings { services: vec![Features::NAME.to_owned()], ..ServerSettings::at(args.listen) };
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    let counts = settings.counts.clone();
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let http = args.http.map(|listen| bind_http(listen, &counts)).transpose()?;
    let reader = Reader::open(args.at.settings(&args.online)?, definitions).map_err(|error| online::failure(&error))?;
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
        let reader = Arc::new(reader);
        let (leave, leaving) = watch::channel(false);
        let mut told = vec![address.clone()];
        let http = match http {
            Some(http) => {
                told.push(http.local_addr().to_string());
                let json = Calls::new(Features::over_redis(reader.another()), None, http.counts());
                let json = json.map_err(|status| std::io::Error::other(status.message().to_owned()))?;
                let health = Health::new(leaving.clone(), None);
                let metrics = Metrics::new(None, None, http.counts().clone(), Vec::new());
                let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(health), Arc::new(metrics), Arc::new(json)];
                Some(http.start(handlers, leaving)?)
            }
            None => None,
        };
        let until_told = async move {
            until_told.await;
            let _ = leave.send(true);
        };
        let calls = move || Features::over_redis(reader.another()).into_calls(MAX_REQUEST);
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
