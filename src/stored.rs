//! Definition files and stores as commands are given them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_offline::Flusher;
use floodmark_store::{Settings, Store};

use crate::failure::Failure;

/// Where a command that writes finds its definitions and its store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// The definition file.
    #[arg(long, value_name = "FILE")]
    pub(crate) definitions: PathBuf,
    /// The directory of the store; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Timelines in memory may take so many MiB; cold ones are read back when asked for.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Log partitions of a new store; an old one keeps its own.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    partitions: u32,
    /// Keeps every event, late event, rejected record and closed window of a new store as Delta tables: a folder, or s3://BUCKET/PREFIX
    /// with the variables AWS_...; an old store keeps its own.
    #[arg(long, value_name = "PLACE")]
    offline: Option<String>,
    /// Events wait so long for their table at most, or until there are enough for a good file.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    offline_interval: u64,
    /// Adds the views that follow in the definitions those that the store was made with, and computes them from its offline store.
    #[arg(long)]
    backfill: bool,
}

impl StoreArgs {
    /// Opens the store, or makes it.
    pub(crate) fn open(&self) -> Result<Arc<Store>, Failure> {
        let memory_budget = (self.memory as usize) << 20;
        let settings = Settings { memory_budget, partitions: self.partitions, grows: self.backfill, writes: true, ..Settings::default() };
        let store = open(&self.store, &read_definitions(&self.definitions)?, settings)?;
        if let Some(place) = &self.offline {
            store.set_offline(&crate::offline::absolute(place)?).map_err(|error| Failure::usage(error.to_string()))?;
        }
        Ok(store)
    }

    /// Starts to keep what the store takes in, if it has an offline store.
    pub(crate) fn flusher(&self, store: &Arc<Store>) -> Result<Option<Flusher>, Failure> {
        crate::offline::start(store, Duration::from_millis(self.offline_interval))
    }
}

/// A definition file and what it proves.
#[derive(Debug)]
pub(crate) struct Defined {
    pub(crate) text: String,
    pub(crate) definitions: Arc<Definitions>,
}

impl Defined {
    /// Proves a text; `name` is for the errors.
    pub(crate) fn parse(name: &str, text: String) -> Result<Defined, Failure> {
        let definitions = Definitions::parse(name, &text).map_err(|errors| Failure::definitions(&errors))?;
        Ok(Defined { text, definitions: Arc::new(definitions) })
    }
}

/// Reads a definition file.
pub(crate) fn read_definitions(path: &Path) -> Result<Defined, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("the definition file cannot be read: {error}. file={name}")))?;
    Defined::parse(&name, text)
}

/// Opens a store, or makes it.
pub(crate) fn open(directory: &Path, defined: &Defined, settings: Settings) -> Result<Arc<Store>, Failure> {
    let store = Store::open(directory, defined.definitions.clone(), &defined.text, settings);
    store.map(Arc::new).map_err(|error| Failure::open(&error))
}

/// The source of that name.
pub(crate) fn source_named(definitions: &Definitions, name: &str) -> Result<usize, Failure> {
    definitions.source(name).map(|(at, _)| at).ok_or_else(|| {
        let known: Vec<&str> = definitions.sources.iter().map(|s| s.name.as_str()).collect();
        Failure::usage(format!("no source has this name. source={name} known={}", known.join(",")))
    })
}

/// Opens a store that is there, with other definitions than its own if they are given (services are free to change).
pub(crate) fn open_existing(directory: &Path, definitions: Option<&Path>) -> Result<Arc<Store>, Failure> {
    let text = Store::definitions_of(directory).map_err(|error| Failure::open(&error))?;
    let defined = match definitions {
        Some(path) => read_definitions(path)?,
        None => Defined::parse(&format!("definitions of {}", directory.display()), text)?,
    };
    open(directory, &defined, Settings::default())
}
