//! `floodmark up`: events in and features out, in one process, until a signal.
//!
//! Files are taken in first, as `replay` does; then the server answers, and producers push. On SIGINT or SIGTERM the producers
//! are asked to stop, calls in flight have their answers, and the writer finishes with a checkpoint.

mod answers;
mod bulk;
mod published;
mod side_tables;
mod topics;
pub(in crate::command) mod watched;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floodmark_ingest::kafka::Topic;
use floodmark_ingest::push::Push;
use floodmark_ingest::replay::Input;
use floodmark_ingest::writer;
use floodmark_offline::Flusher;
use floodmark_serving::flight::Flight;
use floodmark_serving::http::{HttpServer, HttpSettings, HttpThread};
use floodmark_serving::inference::Inference;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::predictions::Predictions;
use floodmark_serving::score::Scores;
use floodmark_serving::score::log::{LogCounts, LogSettings, LogWriter, Share};
use floodmark_serving::server::{Drained, Server, ServerSettings};
use floodmark_serving::service::Features;
use floodmark_store::Store;
use floodmark_store::redis::{Address, Following, Mirror, OnlineError};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(super) use self::answers::{Answers, MAX_REQUEST};
use self::topics::Topics;
use self::watched::Watched;
use super::scoring::{self, ScoreArg};
use super::{replay, topic};
use crate::backfill::{self, Behind};
use crate::failure::Failure;
use crate::offline;
use crate::online::{self, OnlineArgs};
use crate::output::{json_line, stdout};
use crate::repository::RepositoryArgs;
use crate::stored::{StoreArgs, source_named};

const EXAMPLE: &str = "EXAMPLES:
  floodmark up --definitions floodmark.yaml --store state
  floodmark up --definitions floodmark.yaml --store state --listen 127.0.0.1:0 --json transactions=history.parquet
  floodmark up --definitions floodmark.yaml --store state --models models --score transactions=fraud
  floodmark up --definitions floodmark.yaml --store state transactions=kafka://127.0.0.1:9092/transactions

Pushing (floodmark.v1.PushService) is always on. A file is taken in to its end before the first answer. SIGINT and SIGTERM end
the server in order: what was acknowledged is kept, and so it is after kill -9.";

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
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Scores each accepted event of a source with a model; `floodmark scores` prints the scores.
    #[arg(long, value_name = "SOURCE=MODEL", requires = "models", value_parser = scoring::score_arg)]
    score: Vec<ScoreArg>,
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
    /// Where look-ups and scores keep waiting longer than this, those that would are refused; 0 lets them wait.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2)]
    longest_wait: u64,
    /// When told to end, goes on accepting for so many seconds with health at NOT_SERVING, for load balancers.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    linger: u64,
    /// Mirrors the store to Redis, for `floodmark serve`: redis://[USER:PASSWORD@]HOST:PORT, rediss:// for TLS,
    /// redis+sentinel://HOST:PORT,.../MASTER; a cluster by any of its nodes.
    #[arg(long, value_name = "URL")]
    online: Option<Address>,
    #[command(flatten)]
    online_at: OnlineArgs,
    /// Properties of Kafka clients, a NAME=VALUE each line, by librdkafka's names: TLS, SASL, buffers.
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<PathBuf>,
    /// Sends late events, closed windows, rejected records and scores to the topics PREFIX.late, .windows, .rejects and .scores, each
    /// exactly once (read them with isolation.level=read_committed).
    #[arg(long, value_name = "kafka://HOST:PORT/PREFIX")]
    publish: Option<String>,
    /// A source and a file of its events, a Kafka topic (kafka://HOST:PORT/TOPIC), or `SOURCE=push`, which is always on.
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
    settings.services.extend([Inference::NAME, Flight::NAME].map(str::to_owned));
    if args.repository.models.is_some() {
        settings.services.extend(Scores::NAMES.map(str::to_owned));
    }
    settings.threads = args.threads.map_or(settings.threads, usize::from);
    settings.longest_wait = Duration::from_millis(args.longest_wait);
    settings.linger = Duration::from_secs(args.linger);
    let (counts, refused) = (settings.counts.clone(), settings.refused.clone());
    // The port is taken first: if it is in use, no store need be made and no file read to learn it.
    let server = Server::bind(settings).map_err(|error| Failure::failed(format!("cannot listen: {error}. address={}", args.listen)))?;
    let http = args.http.map(|listen| bind_http(listen, args.linger, &counts)).transpose()?;
    let store = args.store.open()?;
    let files: Vec<Input> = args.inputs.iter().filter(|input| is_file(input)).cloned().collect();
    known_sources(&store, &args.inputs)?;
    let topics = topic::named(&args.inputs, args.kafka_config.as_deref())?;
    let prefix = args.publish.as_deref().map(|url| topic::topic(url, args.kafka_config.as_deref())).transpose()?;
    let models = args.repository.load(|models| Scores::new(store.clone(), models))?;
    let (scoring, streamed) = scoring::scoring(&store, models.as_ref(), &args.score, &files)?.unzip();
    let flusher = args.store.flusher(&store)?;
    // A mirror takes what is there: it must be whole.
    let backfill = match args.online {
        Some(_) => backfill::finish(&store, flusher.as_ref()).map(|()| None)?,
        None => Behind::start(&store, flusher.as_ref())?,
    };
    if !files.is_empty() {
        replay::take(&store, &files, scoring.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (handle, writer) = writer::spawn(store.clone(), scoring);
    let log = start_log(args, &store)?;
    let mirror = args.online.as_ref().map(|address| start_mirror(&store, address, &args.online_at)).transpose()?;
    let logged = log.as_ref().map(|log| log.log().clone());
    let (leave, leaving) = watch::channel(false);
    let topics = Topics::start(topics, &handle)?;
    let read = topics.read.clone();
    let outbox = prefix.map(|prefix| published::start(prefix, &store)).transpose()?;
    let published = outbox.as_ref().map(|outbox| outbox.shared());
    let answers = Answers {
        log: logged,
        streamed,
        refused,
        read,
        published,
        offline: flusher.as_ref().map(Flusher::standing),
        backfill: backfill.as_ref().map(Behind::standing),
        admin: args.repository.admin,
        leaving,
        ..Answers::new(store, handle, models)
    };
    let written = Watched::new(writer, "the writer panicked; what was acknowledged is kept");
    let behind = Background { written, topics, mirror: mirror.as_ref() };
    let drained = runtime.block_on(serve(server, http, answers, leave, behind, json));
    let mirrored = mirror.map_or(Ok(()), end_mirror);
    if let Some(log) = log {
        tell_log(log.end());
    }
    // After the writer: what it decided last is to go out too.
    outbox.map(published::end).transpose()?;
    // It asks the flusher, which goes on until then.
    let filled = backfill.map_or(Ok(()), Behind::end);
    let kept = offline::finish(flusher);
    let drained = drained?;
    mirrored?;
    kept?;
    filled?;
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

fn start_log(args: &Args, store: &Arc<Store>) -> Result<Option<LogWriter>, Failure> {
    let Some(share) = args.log_predictions.filter(|share| !share.is_none()) else { return Ok(None) };
    let settings = LogSettings { share, keep_bytes: args.prediction_log_bytes };
    Ok(Some(LogWriter::start(store.clone(), settings, |trouble| eprintln!("warning: {trouble}"))?))
}

/// What is not in the log is said.
fn tell_log(LogCounts { written, dropped, failed, lost, removed }: LogCounts) {
    eprintln!("predictions are logged. written={written} dropped={dropped} failed={failed} lost={lost} removed={removed}");
}

fn is_file(input: &Input) -> bool {
    input.path.as_os_str() != "push" && !Topic::is_url(&input.path.to_string_lossy())
}

fn known_sources(store: &Store, inputs: &[Input]) -> Result<(), Failure> {
    inputs.iter().try_for_each(|input| source_named(store.definitions(), &input.source).map(|_| ()))
}

/// The server's settings, with the names of what it serves.
pub(super) fn settings(listen: SocketAddr) -> ServerSettings {
    ServerSettings { services: [Features::NAME, Push::NAME, Predictions::NAME].map(str::to_owned).to_vec(), ..ServerSettings::at(listen) }
}

/// What goes on behind the answers, and ends by itself only when something is wrong.
struct Background<'a> {
    written: Watched,
    topics: Topics,
    mirror: Option<&'a Following>,
}

async fn serve(
    server: Server,
    http: Option<HttpServer>,
    answers: Answers,
    leave: watch::Sender<bool>,
    Background { mut written, mut topics, mirror }: Background<'_>,
    json: bool,
) -> Result<Drained, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let addresses = Addresses { grpc: server.local_addr().to_string(), http: http.as_ref().map(|http| http.local_addr().to_string()) };
    let mut http = match http {
        Some(http) => {
            let handlers = answers.handlers(http.counts())?;
            Some(http.start(handlers, answers.leaving.clone())?)
        }
        None => None,
    };
    let (read, published) = (answers.read.clone(), answers.published.clone());
    let (handle, make_calls) = (answers.handle.clone(), move || answers.calls());
    let until_told = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // The writer has died: nothing pushed would be kept, so nothing is served either.
            () = written.ended() => {}
            // A topic cannot be read any more: what is served would grow old, and nobody would see it.
            () = topics.ended() => {}
            () = ended(&mut http) => {}
            // Another process has taken over: it has the events from now on.
            () = mirror_ended(mirror) => {}
            () = topics::tell(&read, published.as_deref()) => {}
        }
        let _ = leave.send(true); // whoever tells clients that the server is ready
        handle.stop_taking();
    };
    // The server's first turn starts its threads; then it answers, and that is said.
    let (drained, announced) = tokio::join!(biased; server.serve(make_calls, until_told), async { announce(&addresses, json) });
    // Nobody may be waiting for the first line: that is no reason to have stopped.
    let _ = announced;
    // They hand over what they have; then nothing more comes.
    let read = topics.result().await;
    handle.close();
    written.result().await?;
    read?;
    match (drained?, http) {
        (drained, None) => Ok(drained),
        (drained, Some(http)) => Ok(drained.and(http.result().await?)),
    }
}

fn start_mirror(store: &Arc<Store>, address: &Address, at: &OnlineArgs) -> Result<Following, Failure> {
    let mirror = Mirror::attach(store.clone(), &at.settings(address)?).map_err(|error| online::failure(&error))?;
    Ok(mirror.follow(|news| eprintln!("warning: {news}"))?)
}

/// What Redis has not got yet it gets when the store is opened the next time.
fn end_mirror(mirror: Following) -> Result<(), Failure> {
    match mirror.stop() {
        Err(error @ (OnlineError::Timeout { .. } | OnlineError::Unavailable { .. })) => {
            eprintln!("warning: redis does not have everything yet: {error}");
            Ok(())
        }
        other => other.map_err(|error| online::failure(&error)),
    }
}

/// The mirror has ended by itself; never if there is none.
async fn mirror_ended(mirror: Option<&Following>) {
    while mirror.is_none_or(|mirror| !mirror.has_ended()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
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
