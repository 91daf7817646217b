//! The log of predictions as commands are given it: a store on this machine, or a server that has one in use.

use std::path::PathBuf;
use std::sync::Arc;

use floodmark_features::time::Time;
use floodmark_serving::client::{ClientError, Remote};
use floodmark_serving::predictions::{Records, StoredRecords, streamed_records};
use floodmark_store::Store;

use crate::failure::Failure;
use crate::stored::open_existing;

/// Where the log is, and what of it.
#[derive(Debug, clap::Args)]
pub(crate) struct LoggedArgs {
    /// A store on this machine that no server uses.
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The definition file; without it, the store's own.
    #[arg(long, value_name = "FILE")]
    pub(crate) definitions: Option<PathBuf>,
    /// A server, host:port.
    #[arg(long, conflicts_with = "store")]
    pub(crate) address: Option<String>,
    /// Those that were scored at this time of the server's clock or later, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = super::command::time)]
    from: Option<Time>,
    /// Those that were scored at this time or before.
    #[arg(long, value_name = "TIME", value_parser = super::command::time)]
    to: Option<Time>,
}

/// Where a log is.
pub(crate) enum Place {
    Store(Arc<Store>),
    Server(Box<Remote>),
}

impl LoggedArgs {
    pub(crate) fn open(&self) -> Result<Place, Failure> {
        if self.address.is_some() && self.definitions.is_some() {
            return Err(Failure::usage("a server has its own definitions: leave out --definitions"));
        }
        match (&self.address, &self.store) {
            (Some(address), _) => connect(address).map(Place::Server),
            (None, Some(store)) => open_existing(store, self.definitions.as_deref()).map(Place::Store),
            (None, None) => Err(Failure::usage("expected --address or --store")),
        }
    }

    /// The records, and the scores of events that were scored as they came; those a running server does not tell.
    pub(crate) fn all_records(&self, place: &Place) -> Result<Records, Failure> {
        let logged = self.records(place, 0)?;
        let (from, to) = (self.from.unwrap_or(Time::NONE), self.to.unwrap_or(Time::MAX));
        match place {
            Place::Server(_) => Ok(logged),
            Place::Store(store) => Ok(Box::new(logged.chain(streamed_records(store.clone(), from, to)))),
        }
    }

    /// The records, so many at most (0: all).
    pub(crate) fn records(&self, place: &Place, limit: u64) -> Result<Records, Failure> {
        let (from, to) = (self.from.unwrap_or(Time::NONE), self.to.unwrap_or(Time::MAX));
        match place {
            Place::Server(remote) => Ok(remote.records(from, to, limit)?),
            Place::Store(store) => {
                let most = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
                Ok(Box::new(StoredRecords::new(store.clone(), from, to).take(most)))
            }
        }
    }
}

/// Connects to a server.
pub(crate) fn connect(address: &str) -> Result<Box<Remote>, Failure> {
    Remote::connect(address).map(Box::new).map_err(|error| match error {
        ClientError::Address { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    })
}
