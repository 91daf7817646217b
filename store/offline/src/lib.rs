//! The offline store: every accepted event of a store, its late events, rejected records and closed windows, as Delta tables in a folder
//! or a bucket, for whoever wants history: training sets here, DuckDB, Polars, Spark or pandas elsewhere.
//!
//! The tables follow the store. What a commit took in waits there until it is in a table ([`floodmark_store::kept`]), and a table says
//! itself how far it has come, in the very commit that brought the rows; so each row is there once, whatever is killed when.

mod error;
mod events;
mod flusher;
mod history;
mod lake;
mod range;
pub mod side;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_store::kept::Kept;
use floodmark_store::{OutputKind, Store};
use parking_lot::Mutex;

pub use error::OfflineError;
pub use flusher::{FlushNow, Flusher, Standing};
pub use history::{Following, Place, as_kept, in_order};
pub use range::{EventFile, columns_of};
pub use walk::Walk;

use crate::lake::Lake;
use crate::table::{Appended, Table};

/// Rows that become one file at most.
const FILE_ROWS: u64 = 1 << 20;
/// Side outputs that become one file at most.
const SIDE_ROWS: usize = 1 << 16;

/// The tables of a store.
#[derive(Debug)]
pub struct OfflineStore {
    lake: Arc<Lake>,
    definitions: Arc<Definitions>,
    /// For each source, the table of its events.
    events: Vec<Table>,
    /// And that of its events that came too late for every view: views of other definitions may count them. A place that was made before
    /// such were kept, and is only read, has none.
    late: Vec<Option<Table>>,
    /// For each kind of side output, its table.
    side: Vec<(OutputKind, Table)>,
    /// One flush after the other.
    flushing: Mutex<()>,
}

/// What a flush has brought into the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Accepted events.
    pub events: u64,
    /// Late events, rejected records and closed windows.
    pub side: u64,
    /// Commits to tables.
    pub commits: u64,
}

impl OfflineStore {
    /// Opens the tables of a store in a folder (a path or `file://`) or a bucket (`s3://BUCKET/PREFIX`), and makes those that are not
    /// there. A place belongs to the store that came first.
    pub fn open(place: &str, store: &Store) -> Result<OfflineStore, OfflineError> {
        let lake = Arc::new(Lake::open(place)?);
        if store.version() > 0 && lake.known_owner()?.is_none() {
            return Err(OfflineError::Gone { place: place.to_owned() });
        }
        let (own, owner) = (format!("{:016x}", store.id()), lake.owner(store.id())?);
        if owner != own {
            return Err(OfflineError::Owned { place: place.to_owned(), owner, own });
        }
        OfflineStore::with(lake, store.definitions(), true, Table::open)
    }

    /// Opens tables that are there, to be read and kept in order; they are left as they are.
    pub fn existing(place: &str, definitions: &Arc<Definitions>) -> Result<OfflineStore, OfflineError> {
        let lake = Arc::new(Lake::open(place)?);
        for source in &definitions.sources {
            if !Table::exists(&lake, &events::table_of(source))? {
                return Err(OfflineError::Missing { place: place.to_owned(), source_name: source.name.clone() });
            }
        }
        OfflineStore::with(lake, definitions, false, |lake, name, _| Table::existing(lake, name))
    }

    fn with(
        lake: Arc<Lake>,
        definitions: &Arc<Definitions>,
        makes: bool,
        open: impl Fn(&Arc<Lake>, &str, &Schema) -> Result<Table, OfflineError>,
    ) -> Result<OfflineStore, OfflineError> {
        let (mut events, mut late) = (Vec::new(), Vec::new());
        for source in &definitions.sources {
            let schema = events::schema_of(source);
            events.push(open(&lake, &events::table_of(source), &schema)?);
            let name = events::late_table_of(source);
            late.push(if makes || Table::exists(&lake, &name)? { Some(open(&lake, &name, &schema)?) } else { None });
        }
        let side = side::KINDS.iter().map(|kind| Ok((*kind, open(&lake, side::table_of(*kind), &side::schema_of(*kind))?)));
        let side = side.collect::<Result<_, OfflineError>>()?;
        Ok(OfflineStore { lake, definitions: definitions.clone(), events, late, side, flushing: Mutex::new(()) })
    }

    /// The newest commit whose events are here.
    pub fn version(&self) -> Result<u64, OfflineError> {
        let Some(owner) = self.lake.known_owner()? else { return Ok(0) };
        let name = format!("floodmark/{owner}");
        let positions = self.events.iter().map(|table| table.position(&name)).collect::<Result<Vec<_>, _>>()?;
        Ok(positions.into_iter().flatten().max().unwrap_or(0))
    }

    /// Where it lies.
    pub fn place(&self) -> &str {
        self.lake.root().as_str()
    }

    /// Brings what waits in the store into the tables: every event that was published before this began, and about as many side outputs.
    pub fn flush(&self, store: &Store) -> Result<Flushed, OfflineError> {
        let _one_at_a_time = self.flushing.lock();
        let mut flushed = Flushed::default();
        let until = store.version() + 1;
        for source in 0..self.events.len() {
            self.flush_events(store, source, until, &mut flushed)?;
            for (kind, table) in &self.side {
                self.flush_side(store, source, *kind, table, &mut flushed)?;
            }
        }
        Ok(flushed)
    }

    /// Makes large files of small ones, where there are many; how many there were. Readers see no difference.
    pub fn compact(&self) -> Result<usize, OfflineError> {
        self.tables().map(Table::compact).sum()
    }

    /// Deletes data files that no version of the last so long needs; their paths. With `only_look` nothing is deleted.
    pub fn vacuum(&self, keep: Duration, now: Time, only_look: bool) -> Result<Vec<String>, OfflineError> {
        let mut gone = Vec::new();
        for table in self.tables() {
            let files = table.vacuum(keep, now.micros() / 1_000, only_look)?;
            gone.extend(files.into_iter().map(|file| format!("{}{file}", table.url())));
        }
        Ok(gone)
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.events.iter().chain(self.late.iter().flatten()).chain(self.side.iter().map(|(_, table)| table))
    }

    fn flush_events(&self, store: &Store, source: usize, until: u64, flushed: &mut Flushed) -> Result<(), OfflineError> {
        let table = &self.events[source];
        let name = format!("floodmark/{:016x}", store.id());
        let schema = events::schema_of(&self.definitions.sources[source]);
        let mut at = table.position(&name)?.unwrap_or(0);
        // Of an append whose end was not heard.
        store.kept_until(source, at)?;
        loop {
            let waiting = store.kept_within(source, at + 1..until.max(at + 1), FILE_ROWS)?;
            let Some(last) = waiting.last() else { return Ok(()) };
            at = last.version;
            // Before the events, whose position says that all is done up to there.
            if let Some(late) = &self.late[source] {
                flushed.side += flush_late(late, &name, &waiting, &schema)?;
            }
            let mut batches = Vec::new();
            for kept in &waiting {
                batches.extend(events::rows_of(kept, &schema)?);
            }
            let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            if rows > 0 && table.append(&name, at, &batches)? == Appended::Now {
                flushed.events += rows as u64;
                flushed.commits += 1;
            }
            store.kept_until(source, at)?;
        }
    }

    fn flush_side(&self, store: &Store, source: usize, kind: OutputKind, table: &Table, flushed: &mut Flushed) -> Result<(), OfflineError> {
        let name = format!("floodmark/{:016x}/{}", store.id(), self.definitions.sources[source].name);
        let mut next = table.position(&name)?.map_or(0, |place| place + 1);
        loop {
            let found = store.outputs_from(kind, source, next, SIDE_ROWS)?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            next = last + 1;
            let rows = side::rows_of(&self.definitions, kind, &found)?;
            if table.append(&name, *last, std::slice::from_ref(&rows))? == Appended::Now {
                flushed.side += rows.num_rows() as u64;
                flushed.commits += 1;
            }
            // What comes meanwhile is for the next time.
            if found.len() < SIDE_ROWS {
                return Ok(());
            }
        }
    }
}

/// Brings the late events of commits into their table: those that an interrupted flush has not brought yet. Says how many.
fn flush_late(table: &Table, name: &str, waiting: &[Kept], schema: &SchemaRef) -> Result<u64, OfflineError> {
    if waiting.iter().all(|kept| kept.late.is_empty()) {
        return Ok(0);
    }
    let brought = table.position(name)?.unwrap_or(0);
    let (mut batches, mut last) = (Vec::new(), brought);
    for kept in waiting.iter().filter(|kept| kept.version > brought && !kept.late.is_empty()) {
        batches.extend(events::late_rows_of(kept, schema)?);
        last = kept.version;
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    Ok(if rows > 0 && table.append(name, last, &batches)? == Appended::Now { rows as u64 } else { 0 })
}
