//! A call on the usual way, through tonic's router, watched until its last frame.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline::InTime;
use crate::metrics::calls::Watched;

/// A call under way.
pub(super) struct RoutedCall {
    answer: InTime,
    watched: Option<Watched>,
}

impl RoutedCall {
    pub(super) fn new(answer: InTime, watched: Watched) -> RoutedCall {
        RoutedCall { answer, watched: Some(watched) }
    }
}

impl Future for RoutedCall {
    type Output = Result<Response<RoutedReply>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.answer).poll(context))?;
        let mut watched = self.watched.take();
        // A refusal has its status in the headers already.
        if let (Some(watched), Some(code)) = (&mut watched, code(response.headers())) {
            watched.end(code);
        }
        Poll::Ready(Ok(response.map(|body| RoutedReply { body, watched })))
    }
}

/// What is still to be sent.
pub(super) struct RoutedReply {
    body: Body,
    watched: Option<Watched>,
}

impl RoutedReply {
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| code(trailers).unwrap_or(Code::Unknown)),
            Some(Err(status)) => Some(status.code()),
            None => Some(Code::Unknown), // without a status
        };
        if let (Some(watched), Some(code)) = (&mut self.watched, ended) {
            watched.end(code);
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_over(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}
