//! Connections to Redis: which node has which partition, and one round trip to all nodes that a request needs.
//!
//! Requests are sent to every node before the first answer is waited for. Whatever goes wrong, the connections are thrown away, and with
//! them what was known of the nodes: a timed-out answer must not be taken for the next one's.

use std::str::FromStr;
use std::time::{Duration, Instant};

use ::redis::{
    Client, ClientTlsConfig, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
    TlsCertificates, Value,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::OnlineError;
use super::layout::{meta_slot, slot_of};

/// Where Redis answers: a server, a cluster's nodes, or the sentinels that know the server.
#[derive(Clone)]
pub struct Address {
    seeds: Vec<ConnectionInfo>,
    /// What the sentinels call it, and how to speak to it.
    master: Option<(String, ConnectionInfo)>,
    /// Without the password.
    shown: String,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for Address {
    type Err = OnlineError;

    /// `redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][/DB]`, `rediss://` for TLS, `redis+sentinel://` with the master's name as path.
    fn from_str(text: &str) -> Result<Address, OnlineError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let shown = format!("{scheme}://{hosts}{}{path}", if path.is_empty() { "" } else { "/" });
        let wrong = |what: String| OnlineError::Address { what, address: shown.clone() };
        let (scheme, sentinel) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+sentinel" => ("redis", true),
            "rediss+sentinel" => ("rediss", true),
            _ => return Err(wrong("its scheme is unknown".to_owned())),
        };
        let at = if user.is_empty() { "" } else { "@" };
        let info = |user: &str, at: &str, host: &str, db: &str| {
            let info = format!("{scheme}://{user}{at}{host}/{db}").into_connection_info().map_err(|error| wrong(error.to_string()))?;
            // Which library this is would be two more answers that a connection waits for, and one more command that a user has to be allowed.
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            Ok::<_, OnlineError>(info.set_redis_settings(settings))
        };
        // The password is for the server; sentinels are asked without one.
        let seed = |host: &str| if sentinel { info("", "", host, "") } else { info(user, at, host, path) };
        let seeds: Vec<ConnectionInfo> = hosts.split(',').map(seed).collect::<Result<_, _>>()?;
        let first = hosts.split(',').next().unwrap_or_default();
        let master = match sentinel {
            true if path.is_empty() => return Err(wrong("sentinels need the master's name".to_owned())),
            true => Some((path.to_owned(), info(user, at, first, "")?)),
            false => None,
        };
        if scheme == "rediss" {
            // Somebody else in the process may have chosen already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Address { seeds, master, shown })
    }
}

/// What shows over TLS who is who, each as PEM.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Who may vouch for Redis; the authorities that the system knows if not said.
    pub authorities: Option<Vec<u8>>,
    /// Our own certificate and its key, where Redis asks for one.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Address {
    /// The same, with certificates.
    pub fn with(self, certificates: Certificates) -> Result<Address, OnlineError> {
        let Certificates { authorities, own } = certificates;
        if authorities.is_none() && own.is_none() {
            return Ok(self);
        }
        let wrong = |what: String| OnlineError::Certificates { what, address: self.shown.clone() };
        if let Some(authorities) = &authorities
            && CertificateDer::pem_slice_iter(authorities).next().is_none_or(|first| first.is_err())
        {
            return Err(wrong("the file of authorities has none".to_owned()));
        }
        let client_tls = own.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let certificates = TlsCertificates { client_tls, root_cert: authorities };
        let with = |info: &ConnectionInfo| {
            let client = Client::build_with_tls(info.clone(), certificates.clone()).map_err(|error| wrong(error.to_string()))?;
            Ok::<_, OnlineError>(client.get_connection_info().clone())
        };
        let seeds = self.seeds.iter().map(with).collect::<Result<_, _>>()?;
        let master = self.master.as_ref().map(|(name, info)| Ok::<_, OnlineError>((name.clone(), with(info)?))).transpose()?;
        Ok(Address { seeds, master, shown: self.shown })
    }
}

/// Connections, made when they are needed.
pub(super) struct Link {
    address: Address,
    name: String,
    nodes: Vec<Node>,
    /// For each range of slots, its node; empty if there is one node for all.
    slots: Vec<(std::ops::RangeInclusive<u16>, usize)>,
    /// After a failure, nobody is made to wait for the next one until then.
    down_until: Option<(Instant, String)>,
}

struct Node {
    info: ConnectionInfo,
    connection: Option<Connection>,
}

/// What a request is about: decides which node it goes to.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Meta,
    Partition(usize),
}

/// Commands for one place, packed, and how many answers they have.
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) commands: Vec<u8>,
    pub(super) answers: usize,
}

/// Why an exchange failed.
enum Failed {
    Late,
    Redis(RedisError),
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Failed {
        if error.is_timeout() { Failed::Late } else { Failed::Redis(error) }
    }
}

/// Reads are refused at once for so long after one has failed.
const REST: Duration = Duration::from_millis(100);

impl Link {
    pub(super) fn new(address: Address, name: String) -> Link {
        Link { address, name, nodes: Vec::new(), slots: Vec::new(), down_until: None }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Throws all connections away.
    pub(super) fn forget(&mut self) {
        self.nodes.clear();
        self.slots.clear();
    }

    /// Sends all parts and returns the answers to each. A node that has moved, or is gone, is looked for again while there is time.
    pub(super) fn exchange(&mut self, parts: &[Part], patience: Duration) -> Result<Vec<Vec<Value>>, OnlineError> {
        self.exchange_with(parts, patience, true)
    }

    /// The same, sent once: where a node is lost, what it said before may be lost too, and whoever asks has to look.
    pub(super) fn exchange_once(&mut self, parts: &[Part], patience: Duration) -> Result<Vec<Vec<Value>>, OnlineError> {
        self.exchange_with(parts, patience, false)
    }

    fn exchange_with(&mut self, parts: &[Part], patience: Duration, again: bool) -> Result<Vec<Vec<Value>>, OnlineError> {
        let began = Instant::now();
        if let Some((until, what)) = &self.down_until {
            if began < *until {
                return Err(OnlineError::Unavailable { what: what.clone(), address: self.address.to_string() });
            }
            self.down_until = None;
        }
        let deadline = began + patience;
        let mut pause = Duration::ZERO;
        loop {
            let failed = match self.try_exchange(parts, deadline) {
                Ok(answers) => return Ok(answers),
                Err(failed) => failed,
            };
            self.forget();
            let now = Instant::now();
            if again
                && let Failed::Redis(error) = &failed
                && may_pass(error)
                && now + pause < deadline
            {
                std::thread::sleep(pause);
                pause = (pause * 2).max(Duration::from_millis(2)).min(Duration::from_millis(100));
                continue;
            }
            let error = match failed {
                Failed::Late => OnlineError::Timeout { waited_ms: (now - began).as_millis() as u64 },
                Failed::Redis(error) => OnlineError::Unavailable { what: told(&error), address: self.address.to_string() },
            };
            self.down_until = Some((now + REST.min(patience), error.to_string()));
            return Err(error);
        }
    }

    fn try_exchange(&mut self, parts: &[Part], deadline: Instant) -> Result<Vec<Vec<Value>>, Failed> {
        if self.nodes.is_empty() {
            self.find_nodes(deadline)?;
        }
        let mut of_node: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (at, part) in parts.iter().enumerate() {
            of_node[self.node_of(part.place)?].push(at);
        }
        for (node, mine) in self.nodes.iter_mut().zip(&of_node).filter(|(_, mine)| !mine.is_empty()) {
            let connection = node.connection(deadline)?;
            connection.set_write_timeout(Some(left(deadline)?))?;
            match mine.as_slice() {
                [one] => connection.send_packed_command(&parts[*one].commands)?,
                several => {
                    let commands: Vec<&[u8]> = several.iter().map(|at| parts[*at].commands.as_slice()).collect();
                    connection.send_packed_command(&commands.concat())?;
                }
            }
        }
        let mut answers: Vec<Vec<Value>> = parts.iter().map(|part| Vec::with_capacity(part.answers)).collect();
        for (node, mine) in self.nodes.iter_mut().zip(&of_node).filter(|(_, mine)| !mine.is_empty()) {
            let connection = node.connection(deadline)?;
            for at in mine {
                for _ in 0..parts[*at].answers {
                    connection.set_read_timeout(Some(left(deadline)?))?;
                    answers[*at].push(connection.recv_response()?.extract_error()?);
                }
            }
        }
        Ok(answers)
    }

    fn node_of(&self, place: Place) -> Result<usize, Failed> {
        if self.slots.is_empty() {
            return Ok(0);
        }
        let slot = match place {
            Place::Meta => meta_slot(&self.name),
            Place::Partition(partition) => slot_of(&self.name, partition),
        };
        let found = self.slots.iter().find(|(range, _)| range.contains(&slot));
        found.map(|(_, node)| *node).ok_or_else(|| Failed::Redis((ErrorKind::Io, "no node of the cluster has the slot").into()))
    }

    fn find_nodes(&mut self, deadline: Instant) -> Result<(), Failed> {
        let mut last = Failed::Redis((ErrorKind::InvalidClientConfig, "no address").into());
        for seed in self.address.seeds.clone() {
            let found = match &self.address.master {
                Some((master, info)) => ask_sentinel(&seed, master, info, deadline).map(|info| vec![Node { info, connection: None }]),
                None => self.ask_node(&seed, deadline),
            };
            match found {
                Ok(nodes) => {
                    self.nodes = nodes;
                    return Ok(());
                }
                Err(failed) => last = failed,
            }
        }
        Err(last)
    }

    /// The nodes that a node knows: itself, or those of its cluster.
    fn ask_node(&mut self, seed: &ConnectionInfo, deadline: Instant) -> Result<Vec<Node>, Failed> {
        let mut node = Node { info: seed.clone(), connection: None };
        let connection = node.connection(deadline)?;
        // Whoever may not ask is on a single server.
        let info = ::redis::cmd("INFO").arg("cluster").query::<String>(connection).unwrap_or_default();
        if !info.contains("cluster_enabled:1") {
            return Ok(vec![node]);
        }
        connection.set_read_timeout(Some(left(deadline)?))?;
        let ranges: Vec<Vec<Value>> = ::redis::cmd("CLUSTER").arg("SLOTS").query(connection)?;
        let mut nodes: Vec<((String, u16), Node)> = Vec::new();
        for range in &ranges {
            let [Value::Int(from), Value::Int(to), Value::Array(at), ..] = range.as_slice() else { continue };
            let [host, Value::Int(port), ..] = at.as_slice() else { continue };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() => String::from_utf8_lossy(host).into_owned(),
                _ => host_of(seed),
            };
            let at = (host, *port as u16);
            let place = nodes.iter().position(|(known, _)| *known == at).unwrap_or_else(|| {
                let info = with_host(seed, &at.0, at.1);
                nodes.push((at, Node { info, connection: None }));
                nodes.len() - 1
            });
            self.slots.push((*from as u16..=*to as u16, place));
        }
        if nodes.is_empty() {
            return Err(Failed::Redis((ErrorKind::Io, "the cluster has no nodes yet").into()));
        }
        Ok(nodes.into_iter().map(|(_, node)| node).collect())
    }
}

impl Node {
    fn connection(&mut self, deadline: Instant) -> Result<&mut Connection, Failed> {
        if self.connection.is_none() {
            let connection = Client::open(self.info.clone())?.get_connection_with_timeout(left(deadline)?)?;
            let timeout = left(deadline)?;
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or(Failed::Late)
    }
}

/// Where the master is that a sentinel knows.
fn ask_sentinel(sentinel: &ConnectionInfo, name: &str, info: &ConnectionInfo, deadline: Instant) -> Result<ConnectionInfo, Failed> {
    let mut node = Node { info: sentinel.clone(), connection: None };
    let connection = node.connection(deadline)?;
    let found: Option<(String, u16)> = ::redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).query(connection)?;
    let (host, port) = found.ok_or_else(|| RedisError::from((ErrorKind::Io, "the sentinel does not know a master of this name")))?;
    Ok(with_host(info, &host, port))
}

fn host_of(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => "127.0.0.1".to_owned(),
    }
}

fn with_host(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(addr)
}

fn left(deadline: Instant) -> Result<Duration, Failed> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failed::Late) } else { Ok(left.max(Duration::from_micros(100))) }
}

/// What Redis or the network said, and what to do where that is known.
fn told(error: &RedisError) -> String {
    match way_out(error) {
        Some(way_out) => format!("{error}: {way_out}"),
        None => error.to_string(),
    }
}

/// What the operator can do about an error that does not pass by itself.
fn way_out(error: &RedisError) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Some("correct the name and the password in the address (redis://USER:PASSWORD@HOST:PORT)"),
        ErrorKind::Server(ServerErrorKind::NoPerm) => Some("allow it to the user: docs/redis.md has the rule that suffices"),
        ErrorKind::Extension if error.code() == Some("NOAUTH") => Some("the address needs a password (redis://USER:PASSWORD@HOST:PORT)"),
        // What TLS has to say comes as text.
        ErrorKind::Io => {
            let text = error.to_string();
            let of = |words: &str| text.contains(words);
            if of("received fatal alert: CertificateRequired") {
                Some("give it a certificate with --online-cert and --online-key")
            } else if of("received fatal alert") && (of("Certificate") || of("UnknownCA")) {
                Some("it does not take our certificate: correct --online-cert and --online-key")
            } else if of("invalid peer certificate: UnknownIssuer") || of("invalid peer certificate: BadSignature") {
                Some("give the file of who vouches for it with --online-ca")
            } else if of("invalid peer certificate") {
                Some("give it a certificate that is in force, and for the name in the address")
            } else if of("corrupt message") {
                Some("it does not speak TLS there: correct the port, or begin the address with redis:// and not rediss://")
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Whether an error may be gone once the nodes are looked for again: a failover ends, a slot arrives.
fn may_pass(error: &RedisError) -> bool {
    use ::redis::ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io => way_out(error).is_none(),
        ErrorKind::Server(kind) => matches!(kind, Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain),
        _ => false,
    }
}

/// The fields and values of a hash, as either protocol says it.
pub(super) fn fields(value: &Value) -> Vec<(&[u8], &[u8])> {
    match value {
        Value::Array(items) => items.chunks_exact(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect(),
        Value::Map(pairs) => pairs.iter().map(|(field, value)| (bytes(field), bytes(value))).collect(),
        _ => Vec::new(),
    }
}

/// The values of a list.
pub(super) fn items(value: &Value) -> Vec<&[u8]> {
    match value {
        Value::Array(items) => items.iter().map(bytes).collect(),
        _ => Vec::new(),
    }
}

/// Empty for nothing.
pub(super) fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.as_bytes(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let shown = |text: &str| text.parse::<Address>().map(|address| address.to_string()).map_err(|error| error.to_string());
        assert_eq!(shown("redis://127.0.0.1:6379"), Ok("redis://127.0.0.1:6379".to_owned()));
        assert_eq!(shown("rediss://user:secret@a:1,b:2/3"), Ok("rediss://a:1,b:2/3".to_owned()), "no password is shown");
        let sentinel: Address = "redis+sentinel://:secret@a:1,b:2/mymaster".parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sentinel.master.map(|(name, info)| (name, info.redis_settings().password().map(str::to_owned))), {
            Some(("mymaster".to_owned(), Some("secret".to_owned())))
        });
        assert_eq!(sentinel.seeds.len(), 2);
        assert!(sentinel.seeds.iter().all(|seed| seed.redis_settings().password().is_none()));
        for wrong in ["redis", "http://a:1", "redis+sentinel://a:1", "redis://a:1/x"] {
            let error = shown(wrong).expect_err(wrong);
            assert!(error.starts_with("not the address of redis"), "{error}");
        }
    }
}
