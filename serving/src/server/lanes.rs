//! Lanes: connections are accepted in one place and handed to the server thread that has the fewest.
//!
//! The kernel would deal them out by hash (SO_REUSEPORT), and a client with a handful of connections, as gRPC's clients are,
//! would often leave one thread idle while the other has twice the work.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::{Connected, TcpConnectInfo};

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
    stream: net::TcpStream,
    open: Arc<()>,
}

/// A connection on its thread, counted until it is closed.
pub(super) struct Connection {
    stream: TcpStream,
    _open: Arc<()>,
}

/// A lane and its end.
pub(super) fn lane() -> (Lane, mpsc::UnboundedReceiver<Arrived>) {
    let (to, from) = mpsc::unbounded_channel();
    (Lane { to, open: Arc::default() }, from)
}

/// Hands out connections for ever.
pub(super) async fn accept(listener: TcpListener, lanes: Vec<Lane>) -> Infallible {
    loop {
        let handed = match listener.accept().await {
            Ok((stream, _)) => hand_over(stream, &lanes),
            Err(error) => Err(error),
        };
        if handed.is_err() {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
        }
    }
}

fn hand_over(stream: TcpStream, lanes: &[Lane]) -> io::Result<()> {
    stream.set_nodelay(true)?; // without it an answer may wait 40 ms
    let stream = stream.into_std()?;
    if let Some(lane) = lanes.iter().min_by_key(|lane| Arc::strong_count(&lane.open)) {
        let _ = lane.to.send(Arrived { stream, open: lane.open.clone() }); // the thread has ended: so has the server
    }
    Ok(())
}

/// The connections of a thread, as tonic takes them.
pub(super) fn connections(from: mpsc::UnboundedReceiver<Arrived>) -> impl Stream<Item = io::Result<Connection>> {
    UnboundedReceiverStream::new(from).map(|Arrived { stream, open }| {
        let stream = TcpStream::from_std(stream)?;
        Ok(Connection { stream, _open: open })
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
