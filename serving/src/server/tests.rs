//! The server from outside: health, reflection, deadlines, drain, ports.

use std::sync::Arc;
use std::time::Instant;

use floodmark_store::Store;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::client::{Client, ClientError, Question};
use crate::service::Features;
use crate::testing::{TEXT, definitions};

const WAIT: Duration = Duration::from_secs(5);

/// A server of the stub store, its end, and how it ended.
struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<Drained, ServeError>>,
}

fn settings() -> ServerSettings {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    ServerSettings {
        threads: 2,
        services: vec![Features::NAME.to_owned()],
        drain: Duration::from_millis(300),
        ..ServerSettings::at(listen)
    }
}

fn start(settings: ServerSettings) -> Running {
    let server = Server::bind(settings).expect("a free port");
    let address = server.local_addr().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path(), definitions(), TEXT, floodmark_store::Settings::default()).expect("a store");
    let store = Arc::new(store);
    let (stop, stopped) = oneshot::channel();
    let calls = move || Features::new(store.clone()).into_calls(1 << 20);
    let ended = tokio::spawn(server.serve(calls, async {
        let _ = stopped.await;
    }));
    Running { address, stop, ended }
}

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a server")
}

async fn health(address: &str, service: &str) -> Result<i32, Code> {
    let mut client = HealthClient::new(channel(address).await);
    let asked = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    asked.map(|answer| answer.into_inner().status).map_err(|status| status.code())
}

#[tokio::test]
async fn a_server_says_that_it_serves_and_ends_when_told() {
    let running = start(settings());
    assert_eq!(health(&running.address, "").await, Ok(ServingStatus::Serving as i32));
    assert_eq!(health(&running.address, Features::NAME).await, Ok(ServingStatus::Serving as i32));
    assert_eq!(health(&running.address, "nobody").await, Err(Code::NotFound));
    running.stop.send(()).expect("it listens");
    assert_eq!(running.ended.await.expect("no panic").expect("no error"), Drained::InTime);
    assert!(std::net::TcpStream::connect(&running.address).is_err());
}

#[tokio::test]
async fn who_watches_health_sees_the_end_and_does_not_hold_it_up() {
    let running = start(settings());
    let mut client = HealthClient::new(channel(&running.address).await);
    let mut watch = client.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("a word").expect("one").status, ServingStatus::Serving as i32);
    running.stop.send(()).expect("it listens");
    assert_eq!(watch.message().await.expect("a word").expect("one").status, ServingStatus::NotServing as i32);
    assert_eq!(running.ended.await.expect("no panic").expect("no error"), Drained::InTime);
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_when_the_drain_is_over() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let running = start(settings());
    let mut client = ServerReflectionClient::new(channel(&running.address).await);
    let held = client.server_reflection_info(tokio_stream::pending()).await.expect("a stream");
    running.stop.send(()).expect("it listens");
    let began = Instant::now();
    assert_eq!(running.ended.await.expect("no panic").expect("no error"), Drained::CutShort);
    assert!(began.elapsed() < WAIT);
    drop(held);
}

#[tokio::test]
async fn reflection_names_what_is_served() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let running = start(settings());
    let mut client = ServerReflectionClient::new(channel(&running.address).await);
    let ask =
        |message_request| tonic_reflection::pb::v1::ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
    let asks = [ask(MessageRequest::ListServices(String::new())), ask(MessageRequest::FileContainingSymbol(Features::NAME.to_owned()))];
    let mut answers = client.server_reflection_info(tokio_stream::iter(asks)).await.expect("a stream").into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.expect("a word").expect("one").message_response else {
        panic!("not a list");
    };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["grpc.health.v1.Health", Features::NAME]);
    let file = answers.message().await.expect("a word").expect("one").message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
}

#[tokio::test]
async fn two_servers_do_not_share_a_port_unseen() {
    let first = Server::bind(settings()).expect("a free port");
    let second = Server::bind(ServerSettings { listen: first.local_addr(), ..settings() });
    assert_eq!(second.expect_err("a refusal").kind(), io::ErrorKind::AddrInUse);
    let address = first.local_addr();
    drop(first);
    Server::bind(ServerSettings { listen: address, ..settings() }).expect("it is free again");
}

#[tokio::test]
async fn answers_do_not_wait_for_acknowledgements() {
    let running = start(settings());
    let mut client = HealthClient::new(channel(&running.address).await);
    let mut times = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        client.check(HealthCheckRequest::default()).await.expect("an answer");
        times.push(began.elapsed());
    }
    times.sort();
    assert!(times[90] < Duration::from_millis(10), "Nagle's algorithm is on: {:?}", times[90]);
}

#[tokio::test]
async fn the_client_says_what_is_wrong() {
    let running = start(settings());
    let mut client = Client::connect(&running.address).await.expect("a server");
    let pairs = |text: &str| -> Vec<(String, String)> {
        text.split_whitespace().filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let mut get = async |service: &str, text: &str| {
        let values = pairs(text);
        let question = Question { service, values: &values, ..Question::default() };
        client.get(&question, WAIT).await.expect_err("a refusal").to_string()
    };
    assert_eq!(get("frad", "").await, "no such service, did you mean fraud? service=frad status=NOT_FOUND");
    assert_eq!(
        get("fraud", "terminal_id=a").await,
        "a key is missing. key=customer_id expected=customer_id,terminal_id status=INVALID_ARGUMENT"
    );
    assert_eq!(get("fraud", "customer_id=x").await, "value cannot be read. name=customer_id expected=int64");
    assert_eq!(
        get("fraud", "amuont=1").await,
        "name is no key or request field of the service, did you mean amount? name=amuont expected=customer_id,terminal_id,amount,tx_datetime"
    );
}

#[tokio::test]
async fn the_client_says_that_nobody_answers() {
    let free = Server::bind(settings()).expect("a free port").local_addr().to_string();
    assert!(matches!(Client::connect(&free).await, Err(ClientError::Connect { .. })));
    assert!(matches!(Client::connect("nowhere").await, Err(ClientError::Address { .. })));
}

/// Stands where the feature service would, and never answers.
#[derive(Clone)]
struct Never;

impl tonic::server::NamedService for Never {
    const NAME: &'static str = Features::NAME;
}

impl<B> tonic::codegen::Service<tonic::codegen::http::Request<B>> for Never {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::codegen::http::Request<B>) -> Self::Future {
        std::future::pending()
    }
}

/// By bare HTTP/2: tonic's own client would give up at the same moment and never see the answer.
#[tokio::test]
async fn a_deadline_that_passes_is_answered_as_such() {
    let server = Server::bind(settings()).expect("a free port");
    let address = server.local_addr();
    let ended = tokio::spawn(server.serve(|| Calls::new(Routes::new(Never)), std::future::pending()));
    let socket = tokio::net::TcpStream::connect(address).await.expect("a server");
    let (mut client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let ask = tonic::codegen::http::Request::post(format!("http://{address}/{}/GetService", Features::NAME))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20m")
        .body(())
        .expect("a request");
    let (answer, _) = client.send_request(ask, true).expect("it is sent");
    let headers = tokio::time::timeout(WAIT, answer).await.expect("in time").expect("an answer");
    assert_eq!(headers.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string().as_str());
    ended.abort();
}

/// Takes its time for each call, whatever else the machine does.
struct Slow;

impl UnaryMethod for Slow {
    fn max_request_bytes(&self) -> usize {
        1 << 20
    }

    fn call(self: Arc<Self>, _: bytes::Bytes, _: Option<Instant>, _: bool) -> Outcome {
        thread::sleep(Duration::from_millis(2));
        Outcome::Now(Ok(Framed::with_capacity(0)))
    }
}

/// 64 callers of a server that needs 128 ms for them all: it has no rest, so after a while it refuses some, and goes on answering others.
#[tokio::test]
async fn a_server_that_stays_behind_refuses_calls_and_answers_others() {
    use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
    let settings = ServerSettings { threads: 1, ..settings() };
    let (refused, server) = (settings.refused.clone(), Server::bind(settings).expect("a free port"));
    let address = server.local_addr().to_string();
    let calls = || Calls::new(Routes::default()).with_unary("/floodmark.v1.FeatureService/GetFeatures", Arc::new(Slow));
    let ended = tokio::spawn(server.serve(calls, std::future::pending()));
    let client = FeatureServiceClient::new(channel(&address).await);
    let caller = || {
        let mut client = client.clone();
        async move {
            let mut seen = [0, 0];
            while seen[1] == 0 {
                match client.get_features(floodmark_proto::v1::GetFeaturesRequest::default()).await {
                    Ok(_) => seen[0] += 1,
                    Err(status) if status.code() == Code::ResourceExhausted => seen[1] += 1,
                    Err(status) => panic!("{status}"),
                }
            }
            seen
        }
    };
    let mut callers: JoinSet<[u64; 2]> = (0..64).map(|_| caller()).collect();
    let first = tokio::time::timeout(Duration::from_secs(60), callers.join_next()).await.expect("some are refused");
    let [answered, refusals] = first.expect("a caller").expect("no panic");
    assert!(answered > 0 && refusals == 1, "it was patient first");
    assert!(refused.load(std::sync::atomic::Ordering::Relaxed) > 0);
    callers.abort_all();
    ended.abort();
}
