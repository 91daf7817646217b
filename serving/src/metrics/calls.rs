//! Calls counted where they run: each server thread has a lane of numbers of its own, which nobody else writes, so counting costs no
//! lock and no traffic between cores. A scrape adds the lanes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost_reflect::DescriptorPool;
use tonic::Code;

use super::catalog::{BUILD, CALL_SECONDS, CALLS, CALLS_IN_FLIGHT, HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS, HTTP_TURNED_AWAY};
use crate::refusal::code_name;

/// Greatest durations, in seconds, of the classes of a histogram.
const SECONDS: [f64; 18] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The same in nanoseconds.
const NANOS: [u64; SECONDS.len()] = {
    let mut nanos = [0; SECONDS.len()];
    let mut at = 0;
    while at < nanos.len() {
        nanos[at] = (SECONDS[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    nanos
};
/// Codes of gRPC.
const CODES: usize = 17;
/// What methods are called that nobody serves: labels are never a client's words.
const OTHER: &str = "other";

/// What the servers of a process count.
pub struct Counts {
    names: Arc<Names>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    pub(crate) http: HttpCounts,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { names: Arc::new(Names::known()), lanes: Mutex::default(), http: HttpCounts::default() }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("methods", &self.names.names.len()).finish_non_exhaustive()
    }
}

/// Methods by their place in a lane; the last stands for those that nobody knows.
#[derive(Debug)]
struct Names {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    /// Those of everything that is served, by its descriptors.
    fn known() -> Names {
        let sets = [
            floodmark_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let pools = sets.into_iter().filter_map(|set| DescriptorPool::decode(set).ok());
        let services = pools.flat_map(|pool| pool.services().collect::<Vec<_>>());
        let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        Names::of(methods.map(|method| format!("{}/{}", method.parent_service().full_name(), method.name())))
    }

    fn of(names: impl Iterator<Item = String>) -> Names {
        let names: Vec<String> = names.chain([OTHER.to_owned()]).collect();
        let places = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        Names { names, places }
    }
}

/// A number that one thread writes.
#[derive(Debug, Default)]
struct Own(AtomicU64);

impl Own {
    #[inline]
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one thread counts.
#[derive(Debug)]
pub(crate) struct Lane {
    transport: &'static str,
    names: Arc<Names>,
    methods: Box<[Method]>,
}

#[derive(Debug, Default)]
struct Method {
    begun: Own,
    ended: [Own; CODES],
    seconds: Durations,
}

#[derive(Debug, Default)]
struct Durations {
    counts: [Own; SECONDS.len() + 1],
    nanos: Own,
}

impl Durations {
    #[inline]
    fn take(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        let class = NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(NANOS.len());
        self.counts[class].add(1);
        self.nanos.add(nanos);
    }
}

impl Default for Lane {
    /// One that nobody reads.
    fn default() -> Lane {
        Lane::new("", Arc::new(Names::of(std::iter::empty())))
    }
}

impl Lane {
    fn new(transport: &'static str, names: Arc<Names>) -> Lane {
        let methods = names.names.iter().map(|_| Method::default()).collect();
        Lane { transport, names, methods }
    }

    /// The place of a method, by its path: `/package.Service/Method`.
    pub(crate) fn place(&self, path: &str) -> usize {
        let known = path.strip_prefix('/').and_then(|name| self.names.places.get(name));
        known.copied().unwrap_or(self.methods.len() - 1)
    }

    /// A call of the method at a place has begun then.
    #[inline]
    pub(crate) fn begin(self: &Arc<Lane>, place: usize, begun: Instant) -> Watched {
        self.methods[place].begun.add(1);
        Watched { lane: self.clone(), place, begun, ended: false }
    }
}

/// A call under way. One that is dropped before its end was cancelled.
#[derive(Debug)]
pub(crate) struct Watched {
    lane: Arc<Lane>,
    place: usize,
    begun: Instant,
    ended: bool,
}

impl Watched {
    /// The call has its answer. Only the first word counts.
    #[inline]
    pub(crate) fn end(&mut self, code: Code) {
        if !self.ended {
            self.ended = true;
            let method = &self.lane.methods[self.place];
            method.seconds.take(self.begun.elapsed());
            method.ended[code as usize % CODES].add(1);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// What the HTTP port counts; it is one thread, and has time.
#[derive(Debug, Default)]
pub(crate) struct HttpCounts {
    by_status: Mutex<BTreeMap<u16, u64>>,
    seconds: Durations,
    pub(crate) in_flight: Arc<std::sync::atomic::AtomicUsize>,
    turned_away: AtomicU64,
}

impl HttpCounts {
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let mut by_status = self.by_status.lock();
        *by_status.entry(status).or_default() += 1;
        self.seconds.take(took);
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts {
    /// A lane for one more thread.
    pub(crate) fn lane(&self, transport: &'static str) -> Arc<Lane> {
        let lane = Arc::new(Lane::new(transport, self.names.clone()));
        self.lanes.lock().push(lane.clone());
        lane
    }

    /// Tells of all methods that have been called, and of the HTTP port.
    pub(super) fn tell(&self) {
        BUILD.set(&[env!("CARGO_PKG_VERSION")], 1.0);
        for ((transport, place), sum) in self.sums() {
            let labels = [transport, self.names.names[place].as_str()];
            for (code, count) in sum.ended.iter().enumerate().filter(|(_, count)| **count > 0) {
                let code = code_name(Code::from_i32(i32::try_from(code).unwrap_or_default()));
                CALLS.count(&[labels[0], labels[1], code], *count);
            }
            CALL_SECONDS.observed(&labels, &SECONDS, &sum.counts, sum.nanos as f64 / 1e9);
            let ended: u64 = sum.ended.iter().sum();
            CALLS_IN_FLIGHT.set(&labels, sum.begun.saturating_sub(ended) as f64);
        }
        let http = &self.http;
        http.by_status.lock().iter().for_each(|(status, count)| HTTP_REQUESTS.count(&[&status.to_string()], *count));
        let counts: Vec<u64> = http.seconds.counts.iter().map(Own::read).collect();
        HTTP_SECONDS.observed(&[], &SECONDS, &counts, http.seconds.nanos.read() as f64 / 1e9);
        HTTP_IN_FLIGHT.set(&[], http.in_flight.load(Ordering::Relaxed) as f64);
        HTTP_TURNED_AWAY.count(&[], http.turned_away.load(Ordering::Relaxed));
    }

    /// The lanes added, by transport and method.
    fn sums(&self) -> BTreeMap<(&'static str, usize), Sum> {
        let mut sums: BTreeMap<(&'static str, usize), Sum> = BTreeMap::new();
        for lane in self.lanes.lock().iter() {
            for (place, method) in lane.methods.iter().enumerate() {
                // What has ended is read before what has begun, or a call might end that never began.
                let ended: Vec<u64> = method.ended.iter().map(Own::read).collect();
                let begun = method.begun.read();
                if begun > 0 {
                    sums.entry((lane.transport, place)).or_default().add(begun, &ended, &method.seconds);
                }
            }
        }
        sums
    }
}

#[derive(Default)]
struct Sum {
    begun: u64,
    ended: [u64; CODES],
    counts: [u64; SECONDS.len() + 1],
    nanos: u64,
}

impl Sum {
    fn add(&mut self, begun: u64, ended: &[u64], seconds: &Durations) {
        self.begun += begun;
        self.ended.iter_mut().zip(ended).for_each(|(sum, more)| *sum += more);
        self.counts.iter_mut().zip(&seconds.counts).for_each(|(sum, more)| *sum += more.read());
        self.nanos += seconds.nanos.read();
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Page;
    use super::*;

    const LIST: &str = "floodmark.v1.FeatureService/ListServices";

    fn page(counts: &Counts) -> String {
        Page::of(|| counts.tell())
    }

    #[track_caller]
    fn has(counts: &Counts, line: &str) {
        let page = page(counts);
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }

    #[test]
    fn lanes_are_added_and_a_call_ends_once() {
        let counts = Counts::default();
        let lanes = [counts.lane("grpc"), counts.lane("grpc"), counts.lane("http")];
        let path = format!("/{LIST}");
        for lane in &lanes {
            let mut call = lane.begin(lane.place(&path), Instant::now());
            call.end(Code::Ok);
            call.end(Code::Internal);
        }
        drop(lanes[1].begin(lanes[1].place(&path), Instant::now()));
        let open = lanes[0].begin(lanes[0].place(&path), Instant::now());
        has(&counts, &format!(r#"floodmark_calls_total{{transport="grpc",method="{LIST}",code="OK"}} 2"#));
        has(&counts, &format!(r#"floodmark_calls_total{{transport="grpc",method="{LIST}",code="CANCELLED"}} 1"#));
        has(&counts, &format!(r#"floodmark_calls_total{{transport="http",method="{LIST}",code="OK"}} 1"#));
        has(&counts, &format!(r#"floodmark_calls_in_flight{{transport="grpc",method="{LIST}"}} 1"#));
        has(&counts, &format!(r#"floodmark_call_duration_seconds_count{{transport="grpc",method="{LIST}"}} 3"#));
        assert!(!page(&counts).contains("INTERNAL"));
        drop(open);
        has(&counts, &format!(r#"floodmark_calls_in_flight{{transport="grpc",method="{LIST}"}} 0"#));
    }

    #[test]
    fn what_nobody_serves_has_one_name() {
        let counts = Counts::default();
        let lane = counts.lane("grpc");
        for path in ["/made.Up/By", "no path at all", "", "/grpc.health.v1.Health/Check"] {
            lane.begin(lane.place(path), Instant::now()).end(Code::Unimplemented);
        }
        has(&counts, r#"floodmark_calls_total{transport="grpc",method="other",code="UNIMPLEMENTED"} 3"#);
        has(&counts, r#"floodmark_calls_total{transport="grpc",method="grpc.health.v1.Health/Check",code="UNIMPLEMENTED"} 1"#);
    }

    #[test]
    fn durations_are_put_into_their_classes() {
        let durations = Durations::default();
        for nanos in [0, 10_000, 10_001, 1_000_000, 10_000_000_000, 10_000_000_001] {
            durations.take(Duration::from_nanos(nanos));
        }
        let classes: Vec<u64> = durations.counts.iter().map(Own::read).collect();
        assert_eq!((classes[0], classes[1], classes[6], classes[17], classes[18]), (2, 1, 1, 1, 1));
        assert_eq!(classes.iter().sum::<u64>(), 6);
    }
}
