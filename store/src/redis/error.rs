//! What can go wrong between us and Redis, one variant for each reaction.

use floodmark_features::codec::Damaged;

use crate::error::StoreError;

/// Why Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// Too slow: the caller may try again.
    #[error("redis did not answer in time. waited_ms={waited_ms}")]
    Timeout {
        /// How long was waited.
        waited_ms: u64,
    },
    /// Not there, or not able: the caller may try again, the operator looks.
    #[error("redis cannot answer: {what}. address={address}")]
    Unavailable {
        /// What it or the network said.
        what: String,
        /// Where.
        address: String,
    },
    /// Nothing was ever written under this name, or not all of it yet.
    #[error(
        "redis has no whole store of this name (yet): `floodmark up --online` writes one, or `floodmark ingest --role apply` soon after it has begun. name={name}"
    )]
    Missing {
        /// The store's name.
        name: String,
    },
    /// Another process writes now: this one must stop.
    #[error("another process has taken over writing to redis, so this one stopped. epoch={ours} newest={newest}")]
    Fenced {
        /// That of this process.
        ours: u64,
        /// That of the other.
        newest: u64,
    },
    /// What is there comes from another store or other definitions.
    #[error("redis holds something else under this name: {difference}. Choose another name (`--online-name`). name={name}")]
    Other {
        /// What differs.
        difference: String,
        /// The store's name.
        name: String,
    },
    /// Redis is set up so that it would lose data in silence.
    #[error("redis may drop keys when memory runs short: set maxmemory-policy to noeviction. maxmemory-policy={policy}")]
    Evicts {
        /// Its policy.
        policy: String,
    },
    /// An address that cannot be understood.
    #[error(
        "not the address of redis: {what}. Expected redis://[USER:PASSWORD@]HOST:PORT, rediss:// for TLS, or redis+sentinel://HOST:PORT,.../MASTER. address={address}"
    )]
    Address {
        /// What is wrong.
        what: String,
        /// As given, without the password.
        address: String,
    },
    /// Certificates that cannot be used.
    #[error(
        "the certificates for redis cannot be used: {what}. Expected files of PEM, and an address that begins with rediss. address={address}"
    )]
    Certificates {
        /// What is wrong.
        what: String,
        /// As given, without the password.
        address: String,
    },
    /// Bytes are not what was written.
    #[error("what redis holds is damaged: {0}")]
    Damaged(#[from] Damaged),
    /// The embedded store that is mirrored failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
