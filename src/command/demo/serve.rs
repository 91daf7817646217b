//! The demo's server, in this process on a free port, and its one client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_ingest::writer;
use floodmark_models::registry::Registry;
use floodmark_serving::client::{Client, Question};
use floodmark_serving::server::{Server, ServerSettings};
use floodmark_store::Store;
use tokio::sync::oneshot;

use super::SERVICE;
use super::recount::Recount;
use super::world::Sample;
use crate::command::up::{self, Answers};
use crate::failure::Failure;

/// A call that takes longer has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// So many mismatches are told in words.
pub(super) const TOLD: usize = 10;

/// What was compared with the recount.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Values.
    pub(super) values: u64,
    /// Those that differ.
    pub(super) mismatches: u64,
    /// The first of them, in words.
    pub(super) told: Vec<String>,
}

/// What the client saw.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) compared: Compared,
    /// How long each look-up took, ascending.
    pub(super) latencies: Vec<Duration>,
}

impl Compared {
    /// Compares one value; names that are not a view's output are passed over.
    pub(super) fn add(&mut self, recount: &Recount<'_>, name: &str, sample: &Sample, found: &floodmark_features::value::Value) {
        let Some(compared) = recount.compare(name, sample, found) else { return };
        self.values += 1;
        if let Err(expected) = compared {
            self.mismatches += 1;
            if self.told.len() < TOLD {
                let Sample { customer, terminal, as_of } = sample;
                self.told.push(format!("{name} of customer {customer}, terminal {terminal} as of {as_of}: {found}, recount {expected}"));
            }
        }
    }
}

/// Serves, asks for every sample, and compares.
pub(super) fn read(store: &Arc<Store>, samples: &[Sample], recount: &Recount<'_>) -> Result<Served, Failure> {
    with_server(store, None, async |address| ask(&address, samples, recount).await)
}

/// Serves until whoever asks has all the answers.
pub(super) fn with_server<T>(
    store: &Arc<Store>,
    models: Option<Arc<Registry>>,
    ask: impl AsyncFnOnce(String) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // Whoever asks here asks one at a time: a wait is the machine's, and no call is to be refused for it.
    let settings = up::settings(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::bind(ServerSettings { longest_wait: Duration::ZERO, ..settings })?;
    let address = server.local_addr().to_string();
    let (handle, writer) = writer::spawn(store.clone(), None);
    let answers = Answers::new(store.clone(), handle.clone(), models);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, answered) = runtime.block_on(async {
        let until_told = async {
            // The sender is dropped when everything is answered.
            let _ = stopped.await;
        };
        let ask = async {
            let answered = ask(address).await;
            drop(stop);
            answered
        };
        tokio::join!(server.serve(move || answers.calls(), until_told), ask)
    });
    handle.close();
    writer.join().map_err(|_| Failure::failed("the writer panicked"))??;
    ended?;
    answered
}

async fn ask(address: &str, samples: &[Sample], recount: &Recount<'_>) -> Result<Served, Failure> {
    let mut client = Client::connect(address).await?;
    let mut served = Served::default();
    for sample in samples {
        let values = [("customer_id".to_owned(), sample.customer.to_string()), ("terminal_id".to_owned(), sample.terminal.to_string())];
        let question = Question { service: SERVICE, values: &values, as_of: Some(sample.as_of), version: None };
        let began = Instant::now();
        let row = client.get(&question, TIMEOUT).await?;
        served.latencies.push(began.elapsed());
        for (name, cell) in row.names.iter().zip(&row.answer.cells) {
            served.compared.add(recount, name, sample, &cell.value);
        }
    }
    served.latencies.sort_unstable();
    Ok(served)
}
