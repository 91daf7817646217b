//! The gRPC server: a single-threaded runtime for each thread, all on one port, with health, reflection and a bounded drain.
//!
//! On one thread the handlers of one read all run before the connection is written, so one write carries many answers:
//! twice the calls of a shared runtime. A connection stays on its thread, so heavy callers should open several.

mod admission;
mod calls;
mod conversation;
mod lanes;
mod routed;
mod unary;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use self::admission::Load;
pub use self::calls::{Calls, Framed, Outcome, UnaryMethod};
use self::conversation::converse;
use self::lanes::Arrived;
use crate::metrics::calls::Counts;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// How a server listens and ends.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Threads, at least one.
    pub threads: usize,
    /// Services by their full names, for health and reflection.
    pub services: Vec<String>,
    /// Calls in flight on one connection; more wait with the client.
    pub max_concurrent_streams: u32,
    /// A connection that is silent for so long is probed (TCP keepalive).
    pub keepalive_after: Duration,
    /// And so often from then on; one that does not answer a few times is closed.
    pub keepalive_interval: Duration,
    /// When told to end, goes on accepting for so long with health at NOT_SERVING, for load balancers to look elsewhere.
    pub linger: Duration,
    /// How long calls in flight have to end after that.
    pub drain: Duration,
    /// Where calls keep waiting longer than this, those that would are refused (RESOURCE_EXHAUSTED); zero refuses none.
    pub longest_wait: Duration,
    /// How many were refused.
    pub refused: Arc<AtomicU64>,
    /// Where calls are counted.
    pub counts: Arc<Counts>,
}

impl ServerSettings {
    /// The usual settings for an address.
    pub fn at(listen: SocketAddr) -> ServerSettings {
        ServerSettings {
            listen,
            threads: thread::available_parallelism().map_or(1, usize::from),
            services: Vec::new(),
            max_concurrent_streams: 1024,
            keepalive_after: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            linger: Duration::ZERO,
            drain: Duration::from_secs(10),
            longest_wait: Duration::from_millis(2),
            refused: Arc::default(),
            counts: Arc::default(),
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every call in flight had its answer.
    InTime,
    /// Some had not when the time was up.
    CutShort,
}

impl Drained {
    /// How two that ended together have ended.
    pub fn and(self, other: Drained) -> Drained {
        if self == Drained::InTime { other } else { self }
    }
}

/// Why a server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine refused a thread, a runtime or a listener.
    #[error("a server thread could not be started: {0}")]
    Start(#[from] io::Error),
    /// The descriptors of reflection do not fit together: a fault of the build.
    #[error("reflection could not be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A thread panicked; the message is on stderr.
    #[error("a server thread panicked")]
    ThreadDied,
}

/// A server with its port taken, which does not answer yet.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the port.
    pub fn bind(settings: ServerSettings) -> io::Result<Server> {
        let listener = listen(settings.listen)?;
        let address = listener.local_addr()?;
        Ok(Server { settings, listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is ready, then drains. `make_calls` is called once for each thread.
    ///
    /// Dropping the returned future ends the server as well, only nobody waits for it.
    pub async fn serve<M>(self, make_calls: M, shutdown: impl Future<Output = ()>) -> Result<Drained, ServeError>
    where
        M: Fn() -> Calls + Send + Sync + Clone + 'static,
    {
        let Server { settings, listener, .. } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut health = Health::not_serving(&settings.services).await;
        let extras = extras(health.reporter.clone(), &settings.services)?;
        let (stop, stopped) = watch::channel(());
        let (end, mut ends) = mpsc::unbounded_channel();
        let keepalive = TcpKeepalive::new().with_time(settings.keepalive_after).with_interval(settings.keepalive_interval);
        let mut to_threads = Vec::new();
        for at in 0..settings.threads.max(1) {
            let (lane, arrivals) = lanes::lane();
            to_threads.push(lane);
            let (settings, extras, make_calls) = (settings.clone(), extras.clone(), make_calls.clone());
            let (stopped, end) = (stopped.clone(), end.clone());
            thread::Builder::new().name(format!("serve-{at}")).spawn(move || {
                let run = || run(arrivals, &settings, || make_calls().map_routes(extras).prepare(settings.counts.lane("grpc")), stopped);
                let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(ServeError::ThreadDied));
                let _ = end.send(ended); // nobody listens if the server's future was dropped
            })?;
        }
        drop((end, stopped));
        health.set(ServingStatus::Serving).await;
        let first = {
            let mut accepting = pin!(lanes::accept(listener, to_threads, keepalive));
            let first = tokio::select! {
                () = shutdown => None,
                ended = ends.recv() => ended, // by itself, which is an error
                never = &mut accepting => match never {},
            };
            health.set(ServingStatus::NotServing).await;
            if first.is_none() {
                let _ = tokio::time::timeout(settings.linger, accepting).await; // it never ends before
            }
            first
        };
        drop(stop);
        health.end_watches().await;
        let mut drained = first.unwrap_or(Ok(Drained::InTime));
        while let Some(ended) = ends.recv().await {
            drained = match (drained, ended) {
                (Err(first), _) | (Ok(_), Err(first)) => Err(first),
                (Ok(before), Ok(ended)) => Ok(before.and(ended)),
            };
        }
        drained
    }
}

/// A listener that does not block.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), socket2::Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart need not wait for old connections to be forgotten
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One thread's life, from its first connection to the end of its drain.
fn run(
    mut arrivals: mpsc::UnboundedReceiver<Arrived>,
    settings: &ServerSettings,
    make_calls: impl FnOnce() -> Calls,
    mut stopped: watch::Receiver<()>,
) -> Result<Drained, ServeError> {
    let load = Arc::new(Load::new(settings.longest_wait, settings.refused.clone(), Instant::now()));
    let (parked, woken) = (load.clone(), load.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parked.parked(Instant::now()))
        .on_thread_unpark(move || woken.woken(Instant::now()))
        .build()?;
    let ended = runtime.block_on(async {
        let (calls, mut open) = (make_calls(), JoinSet::new());
        loop {
            tokio::select! {
                _ = stopped.changed() => break, // an error is the sign: the sender is gone
                Some(Arrived { stream, open: counted }) = arrivals.recv() => {
                    let Ok(stream) = TcpStream::from_std(stream) else { continue };
                    let (calls, load, stopped) = (calls.clone(), load.clone(), stopped.clone());
                    let streams = settings.max_concurrent_streams;
                    open.spawn(async move {
                        converse(stream, calls, streams, load, stopped).await;
                        drop(counted);
                    });
                }
                Some(_) = open.join_next() => {}
            }
        }
        let drained = async { while open.join_next().await.is_some() {} };
        tokio::time::timeout(settings.drain, drained).await.map_or(Drained::CutShort, |()| Drained::InTime)
    });
    runtime.shutdown_background();
    Ok(ended)
}

/// What grpc.health.v1 says of the server ("") and of each service.
struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Health {
    async fn not_serving(services: &[String]) -> Health {
        let names = std::iter::once(String::new()).chain(services.iter().cloned()).collect();
        let health = Health { reporter: HealthReporter::new(), names };
        health.set(ServingStatus::NotServing).await;
        health
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Ends the calls that watch: they would never end by themselves, and a drain would wait for them.
    async fn end_watches(&mut self) {
        for name in &self.names {
            self.reporter.clear_service_status(name).await;
        }
    }
}

/// Adds health and reflection (v1 and v1alpha) to routes.
fn extras(reporter: HealthReporter, services: &[String]) -> Result<impl Fn(Routes) -> Routes + Clone + Send + 'static, ServeError> {
    let health = tonic_health::pb::health_server::HealthServer::new(tonic_health::server::HealthService::from_health_reporter(reporter));
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(floodmark_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        services.iter().fold(builder, |builder, name| builder.with_service_name(name))
    };
    let (v1, v1alpha) = (builder().build_v1()?, builder().build_v1alpha()?);
    Ok(move |routes: Routes| routes.add_service(health.clone()).add_service(v1.clone()).add_service(v1alpha.clone()))
}

#[cfg(test)]
mod tests;
