//! The online store in Redis as commands are given it.

use std::time::Duration;

use floodmark_store::redis::{Address, OnlineError, RedisSettings};

use crate::failure::Failure;

/// How the online store is called, and how long it is waited for.
#[derive(Debug, clap::Args)]
pub(crate) struct OnlineArgs {
    /// Tells several stores in one Redis apart.
    #[arg(long, value_name = "NAME", default_value = "floodmark")]
    online_name: String,
    /// A look-up in Redis that takes longer is given up.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    online_patience: u64,
}

impl OnlineArgs {
    pub(crate) fn settings(&self, address: &Address) -> RedisSettings {
        let read_patience = Duration::from_millis(self.online_patience);
        RedisSettings { name: self.online_name.clone(), read_patience, ..RedisSettings::new(address.clone()) }
    }
}

/// Other definitions, another name or another policy are the caller's to correct.
pub(crate) fn failure(error: &OnlineError) -> Failure {
    match error {
        OnlineError::Other { .. } | OnlineError::Evicts { .. } | OnlineError::Missing { .. } => Failure::usage(error.to_string()),
        _ => Failure::failed(error.to_string()),
    }
}
