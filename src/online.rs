//! The online store in Redis as commands are given it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use floodmark_store::redis::{Address, Certificates, OnlineError, RedisSettings};

use crate::failure::Failure;

/// How the online store is called, and how long it is waited for.
#[derive(Debug, clap::Args)]
pub(crate) struct OnlineArgs {
    /// Tells several stores in one Redis apart.
    #[arg(long, value_name = "NAME", default_value = "floodmark")]
    online_name: String,
    /// A look-up in Redis that takes longer is given up; sooner where the caller's deadline is.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    online_patience: u64,
    /// Who may vouch for Redis over TLS (rediss://): certificates as PEM; those that the system trusts if not said.
    #[arg(long, value_name = "FILE")]
    online_ca: Option<PathBuf>,
    /// Our own certificate, as PEM, for a Redis that asks for one.
    #[arg(long, value_name = "FILE", requires = "online_key")]
    online_cert: Option<PathBuf>,
    /// The key of our own certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "online_cert")]
    online_key: Option<PathBuf>,
}

impl OnlineArgs {
    pub(crate) fn settings(&self, address: &Address) -> Result<RedisSettings, Failure> {
        let read_patience = Duration::from_millis(self.online_patience);
        let address = address.clone().with(self.certificates()?).map_err(|error| failure(&error))?;
        Ok(RedisSettings { name: self.online_name.clone(), read_patience, ..RedisSettings::new(address) })
    }

    fn certificates(&self) -> Result<Certificates, Failure> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())));
        let authorities = self.online_ca.as_deref().map(read).transpose()?;
        let (cert, key) = (self.online_cert.as_deref().map(read).transpose()?, self.online_key.as_deref().map(read).transpose()?);
        Ok(Certificates { authorities, own: cert.zip(key) })
    }
}

/// Other definitions, another name, another policy or other certificates are the caller's to correct.
pub(crate) fn failure(error: &OnlineError) -> Failure {
    match error {
        OnlineError::Other { .. } | OnlineError::Evicts { .. } | OnlineError::Missing { .. } | OnlineError::Certificates { .. } => {
            Failure::usage(error.to_string())
        }
        _ => Failure::failed(error.to_string()),
    }
}
