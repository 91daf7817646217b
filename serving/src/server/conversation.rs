//! One connection: HTTP/2 by hyper, calls answered in turns.
//!
//! A turn reads what has come, runs every call that it brought, and then writes: one read and one write carry many calls, and a
//! call that need not wait costs no task. Calls that wait for each other, to be worked on together, go on at the end of the turn; one
//! that must wait longer becomes a task of its own.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::admission::{self, Load, Standing};
use super::calls::{Calls, Unary};
use super::routed::{RoutedCall, RoutedReply};
use super::unary::{Reply, UnaryCall};
use crate::deadline::{Due, timeout, within};

/// A call that has been read and not been run.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls of a turn.
#[derive(Clone, Default)]
struct Turn(Arc<Mutex<Vec<Waiting>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Turn {
    fn execute(&self, call: F) {
        self.0.lock().push(Box::pin(call));
    }
}

/// Answers a connection until it is closed, or until it has drained after `stopped`.
pub(super) async fn converse(
    stream: TcpStream,
    calls: Calls,
    max_concurrent_streams: u32,
    load: Arc<Load>,
    mut stopped: watch::Receiver<()>,
) {
    let (turn, methods) = (Turn::default(), calls.clone());
    let connection = http2::Builder::new(turn.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_concurrent_streams)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), Dispatch { calls });
    let mut connection = pin!(connection);
    let mut stopping = Some(Box::pin(async move {
        let _ = stopped.changed().await; // an error is the sign: the sender is gone
    }));
    let mut drained = Instant::now();
    poll_fn(|context| {
        loop {
            if stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
                stopping = None;
                connection.as_mut().graceful_shutdown();
            }
            READ.set(None);
            // How it ended is the client's affair: what it had asked before is answered or reset.
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let calls = std::mem::take(&mut *turn.0.lock());
            if calls.is_empty() {
                give_way();
                return Poll::Pending;
            }
            RUN.set(RUN.get() + calls.len());
            let read = Instant::now();
            TURN.set(Some(load.turn(read, drained, calls.len())));
            drained = read;
            IN_TURN.set(true);
            let waiting: Vec<Waiting> = calls.into_iter().filter_map(run).collect();
            IN_TURN.set(false);
            let turn = TURN.take();
            if !waiting.is_empty() {
                methods.end_turn();
                waiting.into_iter().filter_map(run).for_each(|call| {
                    tokio::spawn(call);
                });
            }
            if let Some(turn) = turn {
                load.ended(Instant::now(), &turn);
            }
        }
    })
    .await;
}

thread_local! {
    /// Calls that this thread has run since it last gave way.
    static RUN: Cell<usize> = const { Cell::new(0) };
    /// When the calls of this turn were read; the clock is looked at for the first of them.
    static READ: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether the calls of a turn are run, whose end will be told.
    static IN_TURN: Cell<bool> = const { Cell::new(false) };
    /// The turn whose calls are run.
    static TURN: RefCell<Option<admission::Turn>> = const { RefCell::new(None) };
}

/// How long the call that asks has waited, and whether it is to be refused; to be asked once, by a call that can be.
pub(super) fn standing() -> Standing {
    TURN.with_borrow_mut(|turn| turn.as_mut().map_or(Standing::FIRST, admission::Turn::next))
}

/// When the call was read that begins now.
fn read_at() -> Instant {
    let at = READ.get().unwrap_or_else(Instant::now);
    READ.set(Some(at));
    at
}

/// Whether a call that is run now may wait for the end of a turn. One whose request came in pieces is run later, by itself.
pub(super) fn in_turn() -> bool {
    IN_TURN.get()
}

/// Calls that a thread may run before it lets others have its core, if any want it.
const CALLS_IN_A_ROW: usize = 64;

/// Where clients share the cores with the server, a thread that could go on would keep them waiting for a whole time slice.
fn give_way() {
    if RUN.get() >= CALLS_IN_A_ROW {
        RUN.set(0);
        thread::yield_now();
    }
}

/// Runs a call as far as it goes; what it gives back has to wait. A panic ends that call and no other: its stream is reset.
fn run(mut call: Waiting) -> Option<Waiting> {
    let mut nobody = Context::from_waker(Waker::noop());
    let ran = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut nobody)));
    matches!(ran, Ok(Poll::Pending)).then_some(call)
}

/// Finds out who answers a call.
struct Dispatch {
    calls: Calls,
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        match self.calls.unary(request.uri().path()) {
            Some(unary) if is_plain(&request) => Call::Unary(call(&self.calls, unary, request)),
            _ => Call::Routed(Box::new(routed(&self.calls, request))),
        }
    }
}

fn call(calls: &Calls, unary: &Unary, request: Request<Incoming>) -> UnaryCall {
    let read = read_at();
    let (watched, deadline) = (calls.begin_unary(unary, read), timeout(request.headers()));
    UnaryCall::new(unary.method.clone(), watched, request.into_body(), deadline, read)
}

fn routed(calls: &Calls, mut request: Request<Incoming>) -> RoutedCall {
    let read = read_at();
    let (watched, deadline) = (calls.begin(request.uri().path(), read), timeout(request.headers()));
    if let Some(after) = deadline {
        request.extensions_mut().insert(Due(read + after));
    }
    RoutedCall::new(within(deadline, calls.routes.clone().call(request.map(Body::new))), watched)
}

/// Whether a call is as the unary path takes it; the rest is tonic's to answer or refuse.
fn is_plain(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    request.method() == Method::POST
        && matches!(kind, Some(b"application/grpc" | b"application/grpc+proto"))
        && headers.get("grpc-encoding").is_none_or(|encoding| encoding == "identity")
}

/// A call under way; small, as it is moved a few times before it runs.
enum Call {
    Unary(UnaryCall),
    Routed(Box<RoutedCall>),
}

impl Future for Call {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Call::Unary(call) => Pin::new(call).poll(context).map(|response| Ok(response.map(Answer::Unary))),
            Call::Routed(call) => Pin::new(&mut **call).poll(context).map_ok(|response| response.map(Answer::Routed)),
        }
    }
}

/// The body of an answer.
enum Answer {
    Unary(Reply),
    Routed(RoutedReply),
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Answer::Unary(reply) => Poll::Ready(reply.next().map(Ok)),
            Answer::Routed(reply) => reply.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Unary(reply) => reply.is_over(),
            Answer::Routed(reply) => reply.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Unary(_) => SizeHint::default(),
            Answer::Routed(reply) => reply.size_hint(),
        }
    }
}
