//! A unary call on the short way: reads the one message, asks the method, and answers in three frames.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::admission::Standing;
use super::calls::{Framed, Outcome, PREFIX, UnaryMethod};
use super::conversation::{in_turn, standing};
use crate::deadline::deadline_exceeded;
use crate::metrics::calls::Watched;
use crate::refusal::DOMAIN;

/// A call under way.
pub(super) struct UnaryCall {
    method: Arc<dyn UnaryMethod>,
    watched: Watched,
    body: Incoming,
    received: Received,
    later: Option<Pin<Box<dyn Future<Output = Result<Framed, Status>> + Send>>>,
    deadline: Deadline,
}

/// The bytes of a request so far. Nearly all come in one piece, which is not copied.
enum Received {
    One(Bytes),
    Several(BytesMut),
}

/// The client's deadline; a timer is made only for a call that has to wait.
enum Deadline {
    None,
    /// So long after the call was read, which is then.
    After(Duration, Instant),
    Running(Pin<Box<Sleep>>),
}

impl UnaryCall {
    /// `read` is when it came.
    pub(super) fn new(
        method: Arc<dyn UnaryMethod>,
        watched: Watched,
        body: Incoming,
        deadline: Option<Duration>,
        read: Instant,
    ) -> UnaryCall {
        let deadline = deadline.map_or(Deadline::None, |after| Deadline::After(after, read + after));
        UnaryCall { method, watched, body, received: Received::One(Bytes::new()), later: None, deadline }
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Framed, Status>> {
        if self.later.is_none() {
            let message = ready!(self.poll_message(context))?;
            let Standing { waited, refused } = standing();
            if self.deadline.is_within(waited) {
                return Poll::Ready(Err(deadline_exceeded())); // nobody waits for it any more
            }
            if refused {
                return Poll::Ready(Err(overloaded()));
            }
            match self.method.clone().call(message, self.deadline.due(), in_turn()) {
                Outcome::Now(answer) => return Poll::Ready(answer),
                Outcome::Later(answer) => self.later = Some(answer),
            }
        }
        match &mut self.later {
            Some(answer) => answer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        while let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) {
            let frame = frame.map_err(|error| Status::cancelled(format!("the request broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                self.received.push(data);
                self.received.check_length(self.method.max_request_bytes())?;
            }
        }
        Poll::Ready(std::mem::replace(&mut self.received, Received::One(Bytes::new())).message())
    }
}

impl Future for UnaryCall {
    type Output = Response<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Reply>> {
        let answer = self.poll_answer(context);
        let answer = match answer {
            Poll::Ready(answer) => answer,
            Poll::Pending => Err(ready!(self.deadline.poll(context).map(|()| deadline_exceeded()))),
        };
        self.watched.end(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        Poll::Ready(response(answer))
    }
}

impl Deadline {
    /// Whether a call that has waited so long is too late.
    fn is_within(&self, waited: Duration) -> bool {
        matches!(self, Deadline::After(after, _) if *after <= waited)
    }

    /// When it is.
    fn due(&self) -> Option<Instant> {
        match self {
            Deadline::None => None,
            Deadline::After(_, due) => Some(*due),
            Deadline::Running(sleep) => Some(sleep.deadline().into_std()),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Deadline::After(_, due) = self {
            *self = Deadline::Running(Box::pin(tokio::time::sleep_until((*due).into())));
        }
        match self {
            Deadline::Running(sleep) => sleep.as_mut().poll(context),
            _ => Poll::Pending,
        }
    }
}

impl Received {
    fn bytes(&self) -> &[u8] {
        match self {
            Received::One(bytes) => bytes,
            Received::Several(bytes) => bytes,
        }
    }

    fn push(&mut self, data: Bytes) {
        match self {
            Received::One(first) if first.is_empty() => *first = data,
            Received::One(first) => {
                let mut bytes = BytesMut::from(&first[..]);
                bytes.extend_from_slice(&data);
                *self = Received::Several(bytes);
            }
            Received::Several(bytes) => bytes.extend_from_slice(&data),
        }
    }

    /// The length that the message announces, once that has come.
    fn announced(&self) -> Option<usize> {
        let (_, rest) = self.bytes().split_first()?;
        rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize)
    }

    /// Refuses a message that is too long before it has come.
    fn check_length(&self, most: usize) -> Result<(), Status> {
        let length = self.announced().unwrap_or(0).max(self.bytes().len().saturating_sub(PREFIX));
        if length > most {
            return Err(Status::out_of_range(format!("the message is too long: {length} bytes, the limit is {most} bytes")));
        }
        Ok(())
    }

    /// The one message, all of it.
    fn message(self) -> Result<Bytes, Status> {
        let Some(length) = self.announced() else { return Err(Status::internal("the request has no message")) };
        if self.bytes()[0] != 0 {
            return Err(Status::internal("the message says that it is compressed, and the call does not say how"));
        }
        let mut bytes = match self {
            Received::One(bytes) => bytes,
            Received::Several(bytes) => bytes.freeze(),
        };
        bytes.advance(PREFIX);
        match bytes.len().cmp(&length) {
            std::cmp::Ordering::Equal => Ok(bytes),
            std::cmp::Ordering::Less => Err(Status::internal("the request ends in the middle of its message")),
            std::cmp::Ordering::Greater => Err(Status::internal("the request has more than one message")),
        }
    }
}

/// When a call that was refused may be tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Calls are refused for load: early, so that those which are not have their answers in time.
fn overloaded() -> Status {
    static STATUS: LazyLock<Status> = LazyLock::new(|| {
        let mut details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
        details.set_error_info("OVERLOADED", DOMAIN, HashMap::new());
        let message = "the server has more calls than it can answer in time: try again later, or elsewhere";
        Status::with_error_details(Code::ResourceExhausted, message, details)
    });
    STATUS.clone()
}

fn response(answer: Result<Framed, Status>) -> Response<Reply> {
    match answer {
        Ok(message) => {
            let mut response = Response::new(Reply::Message(message.into_bytes()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        // A refusal has its status in the headers, and no body.
        Err(status) => status.into_http::<()>().map(|()| Reply::Over),
    }
}

/// What is still to be sent.
pub(super) enum Reply {
    /// The message, and then the status.
    Message(Bytes),
    /// The status.
    Trailers,
    /// Nothing.
    Over,
}

impl Reply {
    /// The next frame.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::replace(self, Reply::Over) {
            Reply::Message(bytes) => {
                *self = Reply::Trailers;
                Some(Frame::data(bytes))
            }
            Reply::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Frame::trailers(trailers))
            }
            Reply::Over => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Reply::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(pieces: &[&[u8]]) -> Received {
        let mut received = Received::One(Bytes::new());
        pieces.iter().for_each(|piece| received.push(Bytes::copy_from_slice(piece)));
        received
    }

    #[test]
    fn a_message_is_the_same_in_any_number_of_pieces() {
        let whole = [0, 0, 0, 0, 3, 7, 8, 9];
        for first in 0..whole.len() {
            for second in first..whole.len() {
                let message = received(&[&whole[..first], &whole[first..second], &whole[second..]]).message();
                assert_eq!(message.expect("a message"), [7, 8, 9][..], "cut at {first} and {second}");
            }
        }
        assert_eq!(received(&[&[0, 0, 0, 0, 0]]).message().expect("an empty message"), Bytes::new());
    }

    #[test]
    fn who_is_refused_for_load_is_told_when_to_come_again() {
        let status = overloaded();
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(RETRY_AFTER));
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("OVERLOADED"));
    }

    #[test]
    fn what_is_not_one_message_is_refused() {
        for wrong in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 2, 1], &[0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 1]] {
            assert_eq!(received(&[wrong]).message().expect_err("no message").code(), Code::Internal, "{wrong:?}");
        }
        let long = received(&[&[0, 0, 1, 0, 0]]);
        assert_eq!(long.check_length(65_535).expect_err("too long").code(), Code::OutOfRange);
        long.check_length(65_536).expect("just not too long");
    }
}
