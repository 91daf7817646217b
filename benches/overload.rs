//! More calls than a server can answer: an open loop at a given rate, each call with a deadline, those that are answered apart from the rest.
//!
//! `cargo bench --bench overload -- ADDRESS METHOD REQUESTS RATE [SECONDS [DEADLINE_MS [CONNECTIONS]]]`: REQUESTS as the bench `requests` writes
//! them, RATE in calls a second. A call is due at its moment whatever became of the others, and its latency counts from there; so no stall
//! is hidden. Prints JSON: what came back by status, latencies of the answered ones, how many were later than their deadline. Give it a core of its own (taskset).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use serde_json::json;
use tokio::task::LocalSet;

type Failure = Box<dyn Error>;

/// Calls before this are not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// So long after the last one was due, whoever has no answer has none.
const PATIENCE: Duration = Duration::from_secs(3);

struct Plan {
    address: SocketAddr,
    method: String,
    frames: Vec<Bytes>,
    rate: f64,
    span: Duration,
    deadline: Duration,
    connections: usize,
}

#[derive(Default)]
struct Seen {
    by_status: BTreeMap<String, u64>,
    answered: Vec<u64>,
    refused: Vec<u64>,
    answered_late: u64,
    sent: u64,
    in_flight: u64,
    most_in_flight: u64,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let (Some(address), Some(method), Some(requests), Some(rate)) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Ok(()); // `cargo bench` without a server
    };
    let mut number = |or: f64| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(or);
    let plan = Plan {
        address: address.parse()?,
        method,
        frames: frames(std::fs::read(requests)?.into()),
        rate: rate.parse()?,
        span: Duration::from_secs_f64(number(5.0)),
        deadline: Duration::from_secs_f64(number(50.0) / 1e3),
        connections: number(16.0) as usize,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = LocalSet::new().block_on(&runtime, drive(&plan))?;
    report(&plan, seen);
    Ok(())
}

/// Messages, each after its length as a varint, as gRPC frames them.
fn frames(mut file: Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Ok(length) = prost::encoding::decode_varint(&mut file) {
        let mut frame = BytesMut::with_capacity(5 + length as usize);
        frame.put_u8(0);
        frame.put_u32(length as u32);
        frame.put(file.split_to(length as usize));
        frames.push(frame.freeze());
    }
    frames
}

async fn drive(plan: &Plan) -> Result<Seen, Failure> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(connect(plan.address).await?);
    }
    let head = http::Request::post(format!("http://{}{}", plan.address, plan.method))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", format!("{}u", plan.deadline.as_micros()))
        .body(())?;
    let seen = Rc::new(RefCell::new(Seen::default()));
    let (begin, mut sent) = (Instant::now(), 0_usize);
    while begin.elapsed() < WARM_UP + plan.span {
        let due = (begin.elapsed().as_secs_f64() * plan.rate) as usize;
        while sent < due {
            let at = begin + Duration::from_secs_f64(sent as f64 / plan.rate);
            let (connection, frame) = (connections[sent % connections.len()].clone(), plan.frames[sent % plan.frames.len()].clone());
            let call = call(connection, head.clone(), frame);
            let (seen, counts, deadline) = (seen.clone(), at >= begin + WARM_UP, plan.deadline);
            tokio::task::spawn_local(async move {
                seen.borrow_mut().began(counts);
                let status = call.await.unwrap_or_else(|error| error.to_string());
                seen.borrow_mut().ended(status, at.elapsed(), deadline, counts);
            });
            sent += 1;
        }
        tokio::task::yield_now().await; // it never sleeps: a timer would be late by more than an answer takes
    }
    let until = Instant::now() + PATIENCE;
    while seen.borrow().in_flight > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(seen.take())
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, Failure> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    // Answers wait here while the generator sends: that is no attack.
    builder.initial_connection_window_size(1 << 24).data_frame_budget(1 << 24);
    let (client, connection) = builder.handshake(socket).await?;
    tokio::task::spawn_local(connection);
    Ok(client)
}

/// The gRPC status of a call.
async fn call(connection: SendRequest<Bytes>, head: http::Request<()>, frame: Bytes) -> Result<String, h2::Error> {
    let mut connection = connection.ready().await?;
    let (answer, mut body) = connection.send_request(head, false)?;
    body.send_data(frame, true)?;
    let (head, mut body) = answer.await?.into_parts();
    while let Some(chunk) = body.data().await {
        let length = chunk?.len();
        body.flow_control().release_capacity(length)?;
    }
    let end = body.trailers().await?.unwrap_or(head.headers);
    Ok(end.get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("none").to_owned())
}

impl Seen {
    fn began(&mut self, counts: bool) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        self.sent += u64::from(counts);
    }

    fn ended(&mut self, status: String, latency: Duration, deadline: Duration, counts: bool) {
        self.in_flight -= 1;
        if !counts {
            return;
        }
        let micros = latency.as_micros() as u64;
        match status.as_str() {
            "0" => {
                self.answered.push(micros);
                self.answered_late += u64::from(latency > deadline);
            }
            _ => self.refused.push(micros),
        }
        *self.by_status.entry(status).or_default() += 1;
    }
}

#[allow(clippy::print_stdout)]
fn report(plan: &Plan, mut seen: Seen) {
    let latencies = |all: &mut Vec<u64>| {
        all.sort_unstable();
        let at = |quantile: f64| all.get((all.len().saturating_sub(1) as f64 * quantile) as usize).copied();
        json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
    };
    let seconds = plan.span.as_secs_f64();
    let all = json!({
        "rate": plan.rate, "seconds": seconds, "deadline_ms": plan.deadline.as_secs_f64() * 1e3, "sent": seen.sent,
        "answered_per_second": seen.answered.len() as f64 / seconds, "refused_per_second": seen.refused.len() as f64 / seconds,
        "by_status": seen.by_status, "unanswered": seen.in_flight, "answered_after_their_deadline": seen.answered_late,
        "answered_us": latencies(&mut seen.answered), "refused_us": latencies(&mut seen.refused),
        "most_in_flight": seen.most_in_flight,
    });
    println!("{all}");
}
