//! A connection that waits for its client for so long and no longer: one that takes nothing of its answer is cut off.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Counted;

/// A stream whose writes must go on.
pub(super) struct Patient {
    stream: TcpStream,
    taken_within: Duration,
    /// Since when a write waits, and until when it may. Made for the first write that has to.
    due: Option<Pin<Box<Sleep>>>,
    counts: [Arc<AtomicUsize>; 2],
    /// While a write waits, it counts as a call in flight.
    waits: Option<[Counted; 2]>,
}

impl Patient {
    /// Calls in flight are counted there, of the connection and of all.
    pub(super) fn new(stream: TcpStream, taken_within: Duration, counts: [Arc<AtomicUsize>; 2]) -> Patient {
        Patient { stream, taken_within, due: None, counts, waits: None }
    }

    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let until = Instant::now() + self.taken_within;
        let due = self.due.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if self.waits.is_none() {
            self.waits = Some(self.counts.each_ref().map(Counted::one_more));
            due.as_mut().reset(until);
        }
        due.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context) // does nothing for TCP
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
