//! The HTTP/1.1 port: JSON for whoever has no gRPC, probes, metrics.
//!
//! It has a thread and a port of its own: clients of HTTP come one request at a time and may be slow, and none of them holds up a
//! gRPC lane. What is answered is a list of [`Handler`]s that are asked in turn. Everything that a client could draw out has a bound
//! in [`HttpSettings`].

mod body;
mod calls;
mod connection;
mod error;
mod handler;
mod health;
mod openapi;
mod patience;
mod proto_json;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use self::calls::Calls;
use self::connection::Connections;
pub(crate) use self::error::http_of;
pub use self::error::{Refused, refusal};
pub use self::handler::{Answer, Handler, Request, json};
pub use self::health::Health;
use crate::metrics::calls::Counts;
use crate::server::{Drained, ServeError, listen};

/// After an accept that failed (no file descriptors left, say), the next is tried so much later.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How the port listens and ends.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// A request's body may have so many bytes; more are answered with 413.
    pub max_body_bytes: usize,
    /// And all bodies that are held at the same time; where they have no room, a request is answered with 503.
    pub max_bodies_bytes: usize,
    /// Connections at a time; a further one is answered with 503 and closed.
    pub max_connections: usize,
    /// The head of a request must have come so long after the connection opened, or after the answer before it: a connection that
    /// is idle for longer is closed.
    pub head_within: Duration,
    /// And its body so long after its head.
    pub body_within: Duration,
    /// A handler may take so long.
    pub answer_within: Duration,
    /// A client must take some bytes of an answer in so much time.
    pub taken_within: Duration,
    /// A connection that is silent for so long is probed (TCP keepalive).
    pub keepalive_after: Duration,
    /// And so often from then on.
    pub keepalive_interval: Duration,
    /// When told to end, goes on accepting for so long, for load balancers to look elsewhere.
    pub linger: Duration,
    /// How long calls in flight have to end after that.
    pub drain: Duration,
    /// Where requests are counted.
    pub counts: Arc<Counts>,
}

impl HttpSettings {
    /// The usual settings for an address.
    pub fn at(listen: SocketAddr) -> HttpSettings {
        HttpSettings {
            listen,
            max_body_bytes: 4 << 20,
            max_bodies_bytes: 256 << 20,
            max_connections: 1024,
            head_within: Duration::from_secs(30),
            body_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(60),
            taken_within: Duration::from_secs(30),
            keepalive_after: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            linger: Duration::ZERO,
            drain: Duration::from_secs(10),
            counts: Arc::default(),
        }
    }
}

/// The port taken, with nobody answering yet.
#[derive(Debug)]
pub struct HttpServer {
    settings: HttpSettings,
    listener: std::net::TcpListener,
    address: SocketAddr,
}

/// The thread that answers.
#[derive(Debug)]
pub struct HttpThread {
    end: oneshot::Receiver<Result<Drained, ServeError>>,
    ended: Option<Result<Drained, ServeError>>,
}

impl HttpServer {
    /// Takes the port.
    pub fn bind(settings: HttpSettings) -> io::Result<HttpServer> {
        let listener = listen(settings.listen)?;
        let address = listener.local_addr()?;
        Ok(HttpServer { settings, listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where its requests are counted.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.settings.counts
    }

    /// Answers from a thread of its own until `leaving` turns true, or its sender is gone; then drains.
    pub fn start(self, handlers: Vec<Arc<dyn Handler>>, leaving: watch::Receiver<bool>) -> io::Result<HttpThread> {
        let HttpServer { settings, listener, .. } = self;
        let (tell, end) = oneshot::channel();
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            let ran = catch_unwind(AssertUnwindSafe(|| run(settings, listener, handlers, leaving)));
            let _ = tell.send(ran.unwrap_or(Err(ServeError::ThreadDied))); // nobody waits if the command has failed already
        })?;
        Ok(HttpThread { end, ended: None })
    }
}

impl HttpThread {
    /// It has ended; by itself only if something is wrong.
    pub async fn ended(&mut self) {
        if self.ended.is_none() {
            self.ended = Some((&mut self.end).await.unwrap_or(Err(ServeError::ThreadDied)));
        }
    }

    /// How it ended.
    pub async fn result(mut self) -> Result<Drained, ServeError> {
        self.ended().await;
        self.ended.unwrap_or(Err(ServeError::ThreadDied))
    }
}

fn run(
    settings: HttpSettings,
    listener: std::net::TcpListener,
    handlers: Vec<Arc<dyn Handler>>,
    leaving: watch::Receiver<bool>,
) -> Result<Drained, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        Ok(serve(settings, listener, handlers, leaving).await)
    });
    runtime.shutdown_background();
    ended
}

async fn serve(
    settings: HttpSettings,
    listener: TcpListener,
    handlers: Vec<Arc<dyn Handler>>,
    mut leaving: watch::Receiver<bool>,
) -> Drained {
    let (linger, drain) = (settings.linger, settings.drain);
    let (stop, stopped) = watch::channel(());
    let connections = Arc::new(Connections::new(settings, handlers, stopped));
    let mut open = JoinSet::new();
    {
        let told = async {
            let _ = leaving.wait_for(|leaving| *leaving).await; // an error is the sign as well: the sender is gone
            tokio::time::sleep(linger).await;
        };
        let mut told = std::pin::pin!(told);
        loop {
            tokio::select! {
                () = &mut told => break,
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted.and_then(|(stream, _)| prepared(stream, &connections.settings)) {
                    Ok(stream) => take(stream, &connections, &mut open),
                    Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
                },
            }
        }
    }
    drop((listener, stop));
    let emptied = async { while open.join_next().await.is_some() {} };
    match tokio::time::timeout(drain, emptied).await {
        Err(_) if connections.in_flight.load(Ordering::Relaxed) > 0 => Drained::CutShort,
        _ => Drained::InTime,
    }
}

fn prepared(stream: TcpStream, settings: &HttpSettings) -> io::Result<TcpStream> {
    let keepalive = TcpKeepalive::new().with_time(settings.keepalive_after).with_interval(settings.keepalive_interval);
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Answers a connection, or tells it that there are too many. Where even those that are told are too many, it is closed.
fn take(stream: TcpStream, connections: &Arc<Connections>, open: &mut JoinSet<()>) {
    let (busy, most) = (open.len(), connections.settings.max_connections);
    let connections = connections.clone();
    if busy < most {
        open.spawn(async move { connections.converse(stream).await });
        return;
    }
    connections.settings.counts.http.turned_away();
    if busy < most.saturating_mul(2) {
        open.spawn(async move { connections.turn_away(stream).await });
    }
}

/// Counts what is under way, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
