//! The client's deadline (the header `grpc-timeout`, of HTTP as well), answered with DEADLINE_EXCEEDED. tonic notices it as well, but says CANCELLED;
//! this sits inside and is looked at first. It bounds the time to a response's start; a stream that runs is not cut.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::service::Routes;

const HEADER: &str = "grpc-timeout";

/// When the caller stops waiting: goes with a call, for whoever would wait longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due(pub(crate) Instant);

/// An answer, or the deadline, whichever is first.
pub(crate) struct InTime {
    answer: <Routes as Service<Request<Body>>>::Future,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// An answer that comes in time.
pub(crate) fn within(deadline: Option<Duration>, answer: <Routes as Service<Request<Body>>>::Future) -> InTime {
    InTime { answer, deadline: deadline.map(|after| Box::pin(tokio::time::sleep(after))) }
}

impl Future for InTime {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(context) {
            return Poll::Ready(answer);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(context).map(|()| Ok(deadline_exceeded().into_http())),
            None => Poll::Pending,
        }
    }
}

/// What a call is told that was not answered in time.
pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the client's deadline passed before the answer was ready")
}

/// The deadline that a call's headers give: at most eight digits and a unit. What is not that is no deadline, as in tonic.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, tonic::codegen::http::HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for wrong in ["", "5", "m", "5x", "999999999m", "-1S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
