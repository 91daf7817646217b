//! The port from outside, byte by byte: what clients do by the book, and what they do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::*;

/// A test never waits longer than this; it is no measure of speed.
const LONG: Duration = Duration::from_secs(30);

/// Answers with what came, after a while, or not at all.
struct Echo;

impl Handler for Echo {
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move {
            match request.path() {
                "/echo" => {}
                "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
                "/never" => std::future::pending().await,
                "/panics" => panic!("a fault, as the test wants it"),
                "/big" => return Some(Response::new(Bytes::from(vec![b'x'; 64 << 20]))),
                _ => return None,
            }
            let said = format!("{} {} {} {}", request.method, request.path(), request.query(), request.body.len());
            Some(json(StatusCode::OK, said))
        })
    }
}

/// A server on a thread, and how to end it.
struct Running {
    address: SocketAddr,
    leave: watch::Sender<bool>,
    thread: HttpThread,
}

impl Running {
    fn with(change: impl FnOnce(&mut HttpSettings)) -> Running {
        let mut settings = HttpSettings::at(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut settings);
        let server = HttpServer::bind(settings).expect("a port");
        let (leave, leaving) = watch::channel(false);
        let address = server.local_addr();
        let thread = server.start(vec![Arc::new(Echo)], leaving).expect("a thread");
        Running { address, leave, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("a socket");
        stream.set_write_timeout(Some(LONG)).expect("a socket");
        stream
    }

    fn sent(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("it takes them");
        stream
    }

    fn end(self) -> Drained {
        self.leave.send(true).expect("it runs");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.thread.result()).expect("an end in order")
    }
}

/// One answer: its status, and its body as its length says.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head)));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let status = head[9..12].parse().expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    (status, String::from_utf8(body).expect("text"))
}

/// The reason of a refusal.
fn reason(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["error"]["details"][0]["reason"].as_str().expect("a reason").to_owned()
}

/// All that is still to come.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("the connection is still open: {error}"),
    }
}

const GET: &[u8] = b"GET /echo?a=b HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn a_connection_is_kept_and_requests_may_come_in_one_piece() {
    let running = Running::with(|_| {});
    let mut stream = running.sent(GET);
    assert_eq!(answer(&mut stream), (200, "GET /echo a=b 0".to_owned()));
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabcGET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("written");
    stream
        .write_all(b"PUT /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
        .expect("written");
    for expected in ["POST /echo  3", "GET /slow  0", "PUT /echo  4"] {
        assert_eq!(answer(&mut stream), (200, expected.to_owned()));
    }
    assert_eq!(running.end(), Drained::InTime);
}

#[test]
fn head_is_get_without_the_body() {
    let running = Running::with(|_| {});
    let mut stream = running.sent(b"HEAD /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let said = String::from_utf8(rest(&mut stream)).expect("text");
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("content-length: 12") && said.ends_with("\r\n\r\n"), "{said}");
}

#[test]
fn what_nobody_knows_is_not_found() {
    let running = Running::with(|_| {});
    let (status, body) = answer(&mut running.sent(b"GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert_eq!((status, reason(&body).as_str()), (404, "UNKNOWN_PATH"));
}

#[test]
fn too_long_a_body_is_refused_and_the_refusal_arrives() {
    let running = Running::with(|settings| settings.max_body_bytes = 1000);
    let said = |length: usize| format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    for length in [1001, 3000, 1_000_000_000] {
        let mut stream = running.sent(&said(length));
        if length < 4000 {
            stream.write_all(&vec![b'x'; length]).expect("written");
        }
        let (status, body) = answer(&mut stream);
        assert_eq!((status, reason(&body).as_str()), (413, "BODY_TOO_LARGE"), "{length}");
        assert!(rest(&mut stream).is_empty(), "it is closed");
    }
    // In pieces whose sum nobody announced.
    let mut stream = running.sent(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        stream.write_all(format!("200\r\n{}\r\n", "x".repeat(512)).as_bytes()).expect("written");
    }
    stream.write_all(b"0\r\n\r\n").expect("written");
    assert_eq!(answer(&mut stream).0, 413);
    // A client that asks first is told before it sends anything.
    let mut stream = running.sent(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n");
    assert_eq!(answer(&mut stream).0, 413);
    // At the limit it is taken.
    let mut stream = running.sent(&said(1000));
    stream.write_all(&[b'x'; 1000]).expect("written");
    assert_eq!(answer(&mut stream), (200, "POST /echo  1000".to_owned()));
}

#[test]
fn bodies_have_a_bound_together() {
    let running = Running::with(|settings| settings.max_bodies_bytes = 1000);
    let post = |stream: &mut TcpStream| {
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 700\r\n\r\n").expect("written");
    };
    let (mut first, mut second) = (running.connect(), running.connect());
    post(&mut first);
    first.write_all(&[b'x'; 600]).expect("written");
    assert_eq!(answer(&mut running.sent(GET)).0, 200, "by now the first has been read as well");
    post(&mut second);
    second.write_all(&[b'x'; 700]).expect("written");
    let (status, body) = answer(&mut second);
    assert_eq!((status, reason(&body).as_str()), (503, "TOO_MANY_BODIES"));
    first.write_all(&[b'x'; 100]).expect("written");
    assert_eq!(answer(&mut first).0, 200);
    // What they held is given back.
    let mut third = running.connect();
    post(&mut third);
    third.write_all(&[b'x'; 700]).expect("written");
    assert_eq!(answer(&mut third).0, 200);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let running = Running::with(|_| {});
    let mut kept = running.sent(GET);
    assert_eq!(answer(&mut kept).0, 200);
    let long = format!("GET /echo HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let garbage: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        long.as_bytes(),
    ];
    for bytes in garbage {
        let mut stream = running.connect();
        let _ = stream.write_all(bytes); // it may be closed before all is written
        let _ = stream.shutdown(Shutdown::Write);
        let said = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{:?} gave {said}", String::from_utf8_lossy(&bytes[..10]));
    }
    kept.write_all(GET).expect("it is still open");
    assert_eq!(answer(&mut kept).0, 200);
}

#[test]
fn a_panic_ends_one_call() {
    let running = Running::with(|_| {});
    let mut stream = running.sent(b"GET /panics HTTP/1.1\r\nhost: x\r\n\r\n");
    let (status, body) = answer(&mut stream);
    assert_eq!((status, reason(&body).as_str()), (500, "BROKEN"));
    stream.write_all(GET).expect("it is still open");
    assert_eq!(answer(&mut stream).0, 200);
}

#[test]
fn what_is_too_slow_is_ended() {
    let running = Running::with(|settings| {
        settings.head_within = Duration::from_millis(200);
        settings.body_within = Duration::from_millis(200);
        settings.answer_within = Duration::from_millis(200);
        settings.taken_within = Duration::from_millis(200);
    });
    // A head that never ends, and an idle connection.
    for begun in [&b"GET /echo HTTP/1.1\r\nx: y"[..], GET, b""] {
        let mut stream = running.sent(begun);
        let said = String::from_utf8(rest(&mut stream)).expect("text");
        assert_eq!(said.starts_with("HTTP/1.1 200"), begun == GET, "{said}");
    }
    let (status, body) = answer(&mut running.sent(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab"));
    assert_eq!((status, reason(&body).as_str()), (408, "BODY_TOO_SLOW"));
    let (status, body) = answer(&mut running.sent(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert_eq!((status, reason(&body).as_str()), (504, "TIMED_OUT"));
    // A client that takes nothing of a long answer: some is lost, and the end comes.
    let mut stream = running.sent(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n");
    std::thread::sleep(Duration::from_secs(1));
    assert!(rest(&mut stream).len() < 64 << 20, "it was cut off");
}

#[test]
fn a_client_that_has_said_all_is_still_answered() {
    let running = Running::with(|_| {});
    let mut stream = running.sent(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(answer(&mut stream), (200, "GET /slow  0".to_owned()));
    assert!(rest(&mut stream).is_empty());
    // One that went away in the middle of a body is forgotten.
    drop(running.sent(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab"));
    assert_eq!(running.end(), Drained::InTime);
}

#[test]
fn too_many_connections_are_told() {
    let running = Running::with(|settings| settings.max_connections = 2);
    let mut first = running.sent(GET);
    assert_eq!(answer(&mut first).0, 200);
    let mut second = running.sent(GET);
    assert_eq!(answer(&mut second).0, 200);
    let mut third = running.sent(GET);
    let (status, body) = answer(&mut third);
    assert_eq!((status, reason(&body).as_str()), (503, "TOO_MANY_CONNECTIONS"));
    assert!(rest(&mut third).is_empty(), "it is closed");
    drop((second, third));
    // The place is free once the server has seen that the client is gone.
    let again = (0..1000).any(|_| {
        let free = answer(&mut running.sent(GET)).0 == 200;
        std::thread::sleep(Duration::from_millis(10));
        free
    });
    assert!(again, "a place that is free is given to another");
    first.write_all(GET).expect("it is still open");
    assert_eq!(answer(&mut first).0, 200);
}

#[test]
fn a_drain_answers_what_was_asked_and_waits_for_nobody_else() {
    let running = Running::with(|_| {});
    let mut idle = running.sent(GET);
    assert_eq!(answer(&mut idle).0, 200);
    let mut half = running.sent(b"GET /echo HTT");
    let mut asked = running.sent(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(answer(&mut running.sent(GET)).0, 200, "by now those before have been read as well");
    let address = running.address;
    assert_eq!(running.end(), Drained::InTime);
    assert_eq!(answer(&mut asked), (200, "GET /slow  0".to_owned()));
    assert!(rest(&mut asked).is_empty() && rest(&mut idle).is_empty() && rest(&mut half).is_empty());
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn while_it_lingers_it_still_accepts() {
    let running = Running::with(|settings| settings.linger = Duration::from_secs(2));
    running.leave.send(true).expect("it runs");
    let mut late = running.sent(GET);
    assert_eq!(answer(&mut late).0, 200);
    assert_eq!(running.end(), Drained::InTime);
    assert!(rest(&mut late).is_empty());
}

#[test]
fn a_drain_has_an_end() {
    let running = Running::with(|settings| settings.drain = Duration::from_millis(300));
    let mut stream = running.sent(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut other = running.sent(GET);
    assert_eq!(answer(&mut other).0, 200, "by now the first has been read as well");
    assert_eq!(running.end(), Drained::CutShort);
    assert!(rest(&mut stream).is_empty());
}
