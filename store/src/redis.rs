//! Redis as online store: timelines and progress of a log partition share a hash slot, so one script writes them and one round trip
//! reads them. One server, Sentinel or a cluster.
//!
//! What is in Redis is derived. A [`Mirror`] follows an embedded store and writes what has changed, under the newest epoch only, each
//! partition up to a version; a [`Reader`] answers from it, with the same bits. Where Redis has lost what it acknowledged, the mirror
//! sees that progress went back, and writes again what is missing.

mod applier;
mod error;
mod layout;
mod link;
mod meta;
mod mirror;
mod reader;
mod scripts;
mod writer;

pub use applier::{Applier, ApplyError, LogRecord, PartitionState};
pub use error::OnlineError;
pub use link::{Address, Certificates};
pub use mirror::{Following, Mirror};
pub use reader::Reader;

use std::time::Duration;

/// Where an online store is, and how long one may wait for it.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where Redis answers.
    pub address: Address,
    /// Tells several stores in one Redis apart.
    pub name: String,
    /// A read that takes longer is given up.
    pub read_patience: Duration,
    /// So is a write, which is tried again.
    pub write_patience: Duration,
}

impl RedisSettings {
    /// The store `floodmark` at an address.
    pub fn new(address: Address) -> RedisSettings {
        let (read_patience, write_patience) = (Duration::from_millis(50), Duration::from_secs(5));
        RedisSettings { address, name: "floodmark".to_owned(), read_patience, write_patience }
    }
}

impl RedisSettings {
    fn link(&self) -> link::Link {
        link::Link::new(self.address.clone(), self.name.clone())
    }

    /// Braces say what is hashed for the slot.
    fn check_name(&self) -> Result<(), OnlineError> {
        if self.name.is_empty() || self.name.contains(['{', '}']) {
            let difference = "a name is not empty and has no braces".to_owned();
            return Err(OnlineError::Other { difference, name: self.name.clone() });
        }
        Ok(())
    }
}
