//! Lanes: connections are accepted in one place and handed to the server thread that has the fewest.
//!
//! The kernel would deal them out by hash (SO_REUSEPORT), and a client with a handful of connections, as gRPC's clients are,
//! would often leave one thread idle while the other has twice the work.

use std::convert::Infallible;
use std::io;
use std::net;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// After an accept that failed (no file descriptors left, say), the next is tried so much later.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The way to one server thread.
pub(super) struct Lane {
    to: mpsc::UnboundedSender<Arrived>,
    /// One count for each connection that is open, and one for the lane itself.
    open: Arc<()>,
}

/// A connection on its way to a thread.
pub(super) struct Arrived {
    pub(super) stream: net::TcpStream,
    /// To be kept for as long as the connection is open.
    pub(super) open: Arc<()>,
}

/// A lane and its end.
pub(super) fn lane() -> (Lane, mpsc::UnboundedReceiver<Arrived>) {
    let (to, from) = mpsc::unbounded_channel();
    (Lane { to, open: Arc::default() }, from)
}

/// Hands out connections for ever.
pub(super) async fn accept(listener: TcpListener, lanes: Vec<Lane>, keepalive: TcpKeepalive) -> Infallible {
    loop {
        let handed = match listener.accept().await {
            Ok((stream, _)) => hand_over(stream, &lanes, &keepalive),
            Err(error) => Err(error),
        };
        if handed.is_err() {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
        }
    }
}

fn hand_over(stream: TcpStream, lanes: &[Lane], keepalive: &TcpKeepalive) -> io::Result<()> {
    stream.set_nodelay(true)?; // without it an answer may wait 40 ms
    SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
    let stream = stream.into_std()?;
    if let Some(lane) = lanes.iter().min_by_key(|lane| Arc::strong_count(&lane.open)) {
        let _ = lane.to.send(Arrived { stream, open: lane.open.clone() }); // the thread has ended: so has the server
    }
    Ok(())
}
