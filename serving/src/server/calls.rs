//! What a server thread answers: services as tonic routes them, and the few methods that are worth a way of their own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tonic::Status;
use tonic::service::Routes;

use crate::metrics::calls::{Lane, Watched};

/// A byte that says "not compressed" and four for the length stand before each message.
pub(super) const PREFIX: usize = 5;

/// A unary method on the short way: no router, no stream of messages, no task unless it has to wait. It is asked and answers in bytes.
pub trait UnaryMethod: Send + Sync {
    /// A request of more bytes is refused.
    fn max_request_bytes(&self) -> usize;
    /// Answers a request's message; after `due`, nobody waits for the answer. In a turn it may wait for the others of the turn; else
    /// nobody will tell it that they have come.
    fn call(self: Arc<Self>, request: Bytes, due: Option<Instant>, in_turn: bool) -> Outcome;
    /// All calls of a turn have come: those that wait to be worked on together need wait no longer.
    fn end_turn(&self) {}
}

/// What a method answers.
pub enum Outcome {
    /// At once.
    Now(Result<Framed, Status>),
    /// Not before it has waited, or let others have their turn.
    Later(Pin<Box<dyn Future<Output = Result<Framed, Status>> + Send>>),
}

/// A message as it goes over the wire, in the making.
#[derive(Debug)]
pub struct Framed(Vec<u8>);

impl Framed {
    /// An empty message, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Framed {
        let mut framed = Vec::with_capacity(PREFIX + bytes);
        framed.resize(PREFIX, 0);
        Framed(framed)
    }

    /// Where the bytes of the message are appended.
    pub fn message(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The message alone.
    pub fn as_message(&self) -> &[u8] {
        &self.0[PREFIX..]
    }

    /// The message with its prefix.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut framed = self.0;
        let length = (framed.len() - PREFIX) as u32;
        framed[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        framed.into()
    }
}

/// What one thread answers.
#[derive(Clone)]
pub struct Calls {
    pub(super) routes: Routes,
    methods: Vec<Unary>,
    /// Where the thread counts its calls.
    lane: Arc<Lane>,
}

/// A method on the short way.
#[derive(Clone)]
pub(super) struct Unary {
    path: &'static str,
    pub(super) method: Arc<dyn UnaryMethod>,
    /// In the lane.
    place: usize,
}

impl Calls {
    /// Services, all on the usual way.
    pub fn new(routes: Routes) -> Calls {
        Calls { routes, methods: Vec::new(), lane: Arc::default() }
    }

    /// Takes the calls of a path (`/package.Service/Method`) the short way.
    pub fn with_unary(mut self, path: &'static str, method: Arc<dyn UnaryMethod>) -> Calls {
        self.methods.push(Unary { path, method, place: 0 });
        self
    }

    /// Adds services on the usual way.
    pub fn map_routes(self, add: impl FnOnce(Routes) -> Routes) -> Calls {
        Calls { routes: add(self.routes), ..self }
    }

    /// Makes routing quick and counts in a lane, once all services are there.
    pub(super) fn prepare(mut self, lane: Arc<Lane>) -> Calls {
        self.methods.iter_mut().for_each(|unary| unary.place = lane.place(unary.path));
        self.lane = lane;
        self.map_routes(Routes::prepare)
    }

    /// A call of a path that goes the usual way begins.
    pub(super) fn begin(&self, path: &str, at: Instant) -> Watched {
        self.lane.begin(self.lane.place(path), at)
    }

    /// Tells every method that a turn has ended.
    pub(super) fn end_turn(&self) {
        self.methods.iter().for_each(|unary| unary.method.end_turn());
    }

    /// The method of a path that goes the short way.
    #[inline]
    pub(super) fn unary(&self, path: &str) -> Option<&Unary> {
        self.methods.iter().find(|unary| unary.path == path)
    }

    /// A call of it begins.
    #[inline]
    pub(super) fn begin_unary(&self, unary: &Unary, at: Instant) -> Watched {
        self.lane.begin(unary.place, at)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods.iter().map(|unary| unary.path)).finish()
    }
}
