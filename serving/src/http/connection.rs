//! One connection: requests by hyper, each read as a whole, then answered by the first handler that knows its path.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::{Budget, Share};
use super::patience::Patient;
use super::{Counted, Handler, HttpSettings, Refused, Request};

/// How long a client that is turned away has for its request.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// When the server ends, a connection with no call in flight has so long to begin one that is on its way.
const GRACE: Duration = Duration::from_millis(500);

/// Of a body that is too long, so many times the limit are read and thrown away, for the client to come to reading the answer.
const THROWN_AWAY: usize = 4;

/// What all connections share.
pub(super) struct Connections {
    pub(super) settings: HttpSettings,
    handlers: Vec<Arc<dyn Handler>>,
    stopped: watch::Receiver<()>,
    bodies: Budget,
    /// Requests whose head has come and whose answer has not been written.
    pub(super) in_flight: Arc<AtomicUsize>,
}

impl Connections {
    pub(super) fn new(settings: HttpSettings, handlers: Vec<Arc<dyn Handler>>, stopped: watch::Receiver<()>) -> Connections {
        let bodies = Budget::new(settings.max_bodies_bytes);
        Connections { settings, handlers, stopped, bodies, in_flight: Arc::default() }
    }

    /// Answers a connection until it is closed, or until it has drained.
    pub(super) async fn converse(&self, stream: TcpStream) {
        let own = Arc::new(AtomicUsize::new(0));
        let service = service_fn(|request: http::Request<Incoming>| {
            let counted = (Counted::one_more(&own), Counted::one_more(&self.in_flight));
            async move { Ok::<_, Infallible>(self.counted(request).await.map(|body| Whole { body, _counted: Some(counted) })) }
        });
        let stream = TokioIo::new(Patient::new(stream, self.settings.taken_within));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.settings.head_within)
                .half_close(true)
                .pipeline_flush(true)
                .serve_connection(stream, service)
        );
        let mut stopped = self.stopped.clone();
        tokio::select! {
            // How it ended is the client's affair.
            _ = connection.as_mut() => return,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        while tokio::time::timeout(GRACE, connection.as_mut()).await.is_err() {
            if own.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// Says to one request that there are too many connections.
    pub(super) async fn turn_away(&self, stream: TcpStream) {
        let most = self.settings.max_connections;
        let service =
            service_fn(
                |_| async move { Ok::<_, Infallible>(Refused::Busy { most }.response().map(|body| Whole { body, _counted: None })) },
            );
        let stream = TokioIo::new(Patient::new(stream, TURNED_AWAY_WITHIN));
        let connection = http1::Builder::new().keep_alive(false).half_close(true).serve_connection(stream, service);
        let _ = tokio::time::timeout(TURNED_AWAY_WITHIN, connection).await; // it was told, or has not asked
    }

    async fn counted(&self, request: http::Request<Incoming>) -> Response<Bytes> {
        let (began, counts) = (Instant::now(), &self.settings.counts.http);
        let _in_flight = Counted::one_more(&counts.in_flight);
        let response = self.answer(request).await;
        counts.answered(response.status().as_u16(), began.elapsed());
        response
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        // A client that waits for our word before it sends too much need not send any of it.
        let asks_first = parts.headers.contains_key(header::EXPECT);
        match self.read(body, if asks_first { 1 } else { THROWN_AWAY }).await {
            Ok((body, _held)) => self.handled(&whole(parts, body)).await,
            Err(refused) => {
                let mut response = refused.response();
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }
        }
    }

    async fn read(&self, body: Incoming, thrown_away: usize) -> Result<(Bytes, Share), Refused> {
        let (within, most) = (self.settings.body_within, self.settings.max_body_bytes);
        let read = tokio::time::timeout(within, self.bodies.read(body, most, most.saturating_mul(thrown_away))).await;
        read.unwrap_or(Err(Refused::TooSlow { seconds: within.as_secs() }))
    }

    /// What the handlers say. A panic ends that call and no other.
    async fn handled(&self, request: &Request) -> Response<Bytes> {
        let mut asked = pin!(self.ask(request));
        let guarded = poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(context)));
            polled.unwrap_or_else(|_| Poll::Ready(Refused::Broken.response()))
        });
        let within = self.settings.answer_within;
        let answered = tokio::time::timeout(within, guarded).await;
        answered.unwrap_or_else(|_| Refused::TimedOut { seconds: within.as_secs() }.response())
    }

    async fn ask(&self, request: &Request) -> Response<Bytes> {
        for handler in &self.handlers {
            if let Some(response) = handler.answer(request).await {
                return response;
            }
        }
        Refused::UnknownPath.response()
    }
}

fn whole(parts: Parts, body: Bytes) -> Request {
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method };
    Request { method, uri: parts.uri, headers: parts.headers, body }
}

/// The body of an answer, which counts as in flight until hyper has taken it.
struct Whole {
    body: Bytes,
    _counted: Option<(Counted, Counted)>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = std::mem::take(&mut self.body);
        Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}
