//! Opening a store: is it ours and whole, what do the chunks stand for, and what of the log comes after.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use floodmark_features::codec::{Damaged, decode_section, restore, snapshot, take, take_varint};
use floodmark_features::definition::Definitions;
use floodmark_features::engine::{EnginePlan, EntityState, Shard};
use floodmark_features::section::Section;
use floodmark_features::time::Time;
use floodmark_features::watermark::SourceProgress;
use parking_lot::{Mutex, RwLock};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::backfill::Backfill;
use crate::changes::Changes;
use crate::checkpoint::{CheckpointNote, PartitionState};
use crate::commit::{Commit, CommitNote, Tally};
use crate::cores;
use crate::error::{OpenError, StoreError, engine};
use crate::growth::Given;
use crate::layout::{
    CHUNKS, CLOSED, FOLDED, FORMAT, LATE, LOG, META, META_CHECKPOINT, META_DEFINITIONS, META_FINGERPRINTS, META_FORMAT, META_ID,
    META_OFFLINE, META_PARTITIONS, META_SOURCES, META_TEXT_IS_OF_LOG, PROGRESS, REJECTS, SCORES, STATE, TO_KEEP, TO_SCORE, WHOLE_COMMIT,
};
use crate::likeness::{fingerprints, source_names};
use crate::read::places;
use crate::scores::Scored;
use crate::side::SideOutputs;
use crate::waiting::Queue;
use crate::{Settings, Store, Syncs, Writer, backfill, growth};

/// The engine's file in a store's directory.
const FILE: &str = "floodmark.redb";
/// Where it is made.
const NEW_FILE: &str = "floodmark.redb.new";

impl Store {
    /// Opens the store in a directory, or makes one there. `text` is the definition file that `definitions` was proven from.
    pub fn open(directory: &Path, definitions: Arc<Definitions>, text: &str, settings: Settings) -> Result<Store, OpenError> {
        std::fs::create_dir_all(directory).map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let mut database = open_database(directory, settings.engine_cache)?;
        let given = Given { directory, definitions: &definitions, text, settings: &settings };
        if is_made(&database, directory)? {
            let change = growth::check(&database, &given)?;
            if growth::log_is_of_others(&database, &given, &change)? {
                growth::settle(database, &given)?;
                database = open_database(directory, settings.engine_cache)?;
            }
            growth::note(&database, &given, change)?;
            add_new_tables(&database)?;
        } else {
            make(&database, &given)?;
        }
        let mut store = Store::of_database(directory, database, definitions, settings)?;
        store.id = id_of(&store.database)?;
        if let Some(place) = meta(&store.database, META_OFFLINE)? {
            *store.offline.get_mut() = Some(String::from_utf8_lossy(&place).into_owned());
        }
        store.restore_checkpoint()?;
        store.to_score.restore(&store.database)?;
        store.to_keep.restore(&store.database)?;
        store.replay_log()?;
        store.to_score.check()?;
        store.to_keep.check()?;
        Ok(store)
    }

    /// A store that is nowhere: for history that is kept elsewhere.
    pub fn in_memory(definitions: Arc<Definitions>, settings: Settings) -> Result<Store, OpenError> {
        let nowhere = Path::new("");
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).map_err(engine)?;
        make(&database, &Given { directory: nowhere, definitions: &definitions, text: "", settings: &settings })?;
        Ok(Store::of_database(nowhere, database, definitions, settings)?)
    }

    /// The definition file that the store in a directory was made with.
    pub fn definitions_of(directory: &Path) -> Result<String, OpenError> {
        if !directory.join(FILE).exists() {
            return Err(OpenError::Missing(directory.to_owned()));
        }
        let database = open_database(directory, 1 << 20)?;
        let text = meta(&database, META_DEFINITIONS)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn of_database(directory: &Path, database: Database, definitions: Arc<Definitions>, settings: Settings) -> Result<Store, StoreError> {
        let partitions = meta(&database, META_PARTITIONS)?.map_or(Ok(settings.partitions), |bytes| restore(&bytes))?;
        let sources = definitions.sources.len();
        let plan = Arc::new(EnginePlan::new(definitions.clone()));
        let backfill = Backfill::of(backfill::begin(&database)?, &plan);
        let live = backfill.live_plan(&plan);
        let times = |at: Time| (0..sources).map(|_| AtomicI64::new(at.micros())).collect();
        Ok(Store {
            directory: directory.to_owned(),
            id: 0,
            database,
            settings,
            layouts: definitions.views.iter().map(|v| v.layout(&definitions.sources)).collect(),
            places: places(&definitions),
            shards: (0..partitions).map(|_| RwLock::new(Shard::new(live.clone()))).collect(),
            has_cold: (0..partitions).map(|_| AtomicBool::new(false)).collect(),
            published: AtomicU64::new(0),
            watermarks: times(Time::NONE),
            oldest: times(Time::NONE),
            folded_version: (0..sources).map(|_| AtomicU64::new(0)).collect(),
            tick: AtomicU32::new(1),
            epoch: AtomicU64::new(0),
            writer: Mutex::new(Writer {
                version: 0,
                checkpointed: 0,
                log_bytes: 0,
                progress: definitions.sources.iter().map(|s| SourceProgress::new(s.max_out_of_orderness)).collect(),
                tallies: vec![Tally::default(); sources],
            }),
            syncs: Syncs::default(),
            pending: Mutex::new(SideOutputs::default()),
            to_score: Queue::new(TO_SCORE),
            to_keep: Queue::new(TO_KEEP),
            offline: Mutex::default(),
            scored: Mutex::new(Scored::default()),
            changes: Changes::new(partitions as usize, definitions.entities.len()),
            turn: Mutex::new(()),
            backfill,
            plan,
        })
    }

    fn restore_checkpoint(&mut self) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let progress = transaction.open_table(PROGRESS).map_err(engine)?;
        for entry in progress.iter().map_err(engine)? {
            let (source, bytes) = entry.map_err(engine)?;
            self.writer.get_mut().progress[source.value() as usize] = restore(bytes.value())?;
        }
        if let Some(bytes) = meta(&self.database, META_CHECKPOINT)? {
            self.restore_note(restore(&bytes)?);
        }
        let cold = transaction.open_table(CHUNKS).map_err(engine)?.len().map_err(engine)? > 0;
        self.has_cold.iter().for_each(|flag| flag.store(cold, Ordering::Release));
        let states = transaction.open_table(STATE).map_err(engine)?;
        for partition in 0..self.shards.len() {
            if let Some(bytes) = states.get(partition as u32).map_err(engine)? {
                self.restore_partition(partition, restore(bytes.value())?)?;
            }
        }
        Ok(())
    }

    fn restore_note(&mut self, note: CheckpointNote) {
        let writer = self.writer.get_mut();
        writer.version = note.version;
        writer.checkpointed = note.version;
        // A source that was added since has none yet.
        writer.tallies.iter_mut().zip(note.tallies).for_each(|(tally, noted)| *tally = noted);
        self.published.store(note.version, Ordering::Release);
        let store_times =
            |into: &[AtomicI64], from: &[Time]| into.iter().zip(from).for_each(|(a, t)| a.store(t.micros(), Ordering::Release));
        store_times(&self.watermarks, &note.watermarks);
        store_times(&self.oldest, &note.oldest);
        self.folded_version.iter().zip(note.folded_version).for_each(|(a, v)| a.store(v, Ordering::Release));
    }

    fn restore_partition(&self, partition: usize, state: PartitionState) -> Result<(), StoreError> {
        for (entity, key, open) in state.open {
            let entity = entity as usize;
            let mut loaded = self.load_entity(entity, &key)?.unwrap_or_else(|| EntityState::new(&key, self.plan.views_of(entity)));
            loaded.open = open;
            self.shards[partition].write().admit(entity, loaded);
        }
        let mut shard = self.shards[partition].write();
        // Sections and views that were added since have nothing yet.
        shard.closing.iter_mut().zip(state.closing).for_each(|(closing, stored)| *closing = stored);
        shard.counts.iter_mut().zip(state.counts).for_each(|(counts, stored)| *counts = stored);
        self.backfill.forget_counts(&mut shard.counts);
        Ok(())
    }

    /// Applies what was committed after the checkpoint.
    fn replay_log(&mut self) -> Result<(), StoreError> {
        let from = self.version() + 1;
        let mut at = (from, 0);
        loop {
            let Some((version, batch, note, bytes)) = self.read_commit(at)? else { return Ok(()) };
            let outputs = self.apply_on_all_cores(version, &batch)?;
            let mut outputs = outputs;
            let tally = self.tally_of(version, batch.source, (note.read, note.rejected), &mut outputs);
            self.publish_tally(version, batch.source, note.watermark, &tally, outputs);
            let writer = self.writer.get_mut();
            writer.version = version;
            writer.log_bytes += bytes;
            self.keep_memory_bounded()?;
            at = (version + 1, 0);
        }
    }

    /// Each partition is on its own, so each core takes its share of them.
    pub fn apply_on_all_cores(&self, version: u64, batch: &Commit) -> Result<Vec<floodmark_features::engine::Outputs>, StoreError> {
        let cores = cores::all().min(self.shards.len());
        let share = |core: usize| (core..self.shards.len()).step_by(cores);
        cores::share_out(cores, (0..cores).collect(), |core| self.apply(version, batch, share(core))).into_iter().collect()
    }

    /// The first commit at or after a place in the log, with its size.
    fn read_commit(&self, at: (u64, u32)) -> Result<Option<(u64, Commit, CommitNote, u64)>, StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let log = transaction.open_table(LOG).map_err(engine)?;
        let Some(first) = log.range(at..).map_err(engine)?.next() else { return Ok(None) };
        let version = first.map_err(engine)?.0.value().0;
        let mut partitions: Vec<Vec<Section>> = (0..self.shards.len()).map(|_| self.empty_sections()).collect();
        let (mut note, mut size) = (None, 0);
        for entry in log.range((version, 0)..=(version, WHOLE_COMMIT)).map_err(engine)? {
            let (key, bytes) = entry.map_err(engine)?;
            match key.value().1 {
                WHOLE_COMMIT => note = Some(restore::<CommitNote>(bytes.value())?),
                partition => {
                    size += bytes.value().len() as u64;
                    self.decode_block(bytes.value(), &mut partitions[partition as usize])?;
                }
            }
        }
        let mut note = note.ok_or(Damaged { what: "a commit has no end" })?;
        let commit = Commit {
            source: note.source as usize,
            partitions,
            trail: std::mem::take(&mut note.trail),
            read: note.read,
            ..Commit::default()
        };
        Ok(Some((version, commit, note, size)))
    }

    /// A place for the rows of each section of the plan.
    pub fn empty_sections(&self) -> Vec<Section> {
        self.plan.sections.iter().map(|_| Section::default()).collect()
    }

    fn decode_block(&self, mut bytes: &[u8], sections: &mut [Section]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let at = take_varint(&mut bytes)? as usize;
            let plan = self.plan.sections.get(at).ok_or(Damaged { what: "a section is not one of the definitions'" })?;
            sections[at] = decode_section(&mut take(&mut bytes)?, &plan.layout)?;
        }
        Ok(())
    }
}

fn open_database(directory: &Path, cache: usize) -> Result<Database, OpenError> {
    let path = directory.join(FILE);
    if !path.exists() {
        make_database(directory, &path)?;
    }
    create(directory, &path, cache)
}

/// Makes an empty database beside its place and moves it there: whoever is killed in between leaves nothing that is taken for a store.
fn make_database(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let new = directory.join(NEW_FILE);
    match create(directory, &new, 1 << 20) {
        // Somebody was killed here.
        Err(OpenError::Store(_)) if new.exists() => {
            std::fs::remove_file(&new).map_err(|source| StoreError::Directory { path: new.clone(), source })?;
            drop(create(directory, &new, 1 << 20)?);
        }
        made => drop(made?),
    }
    let moved = std::fs::rename(&new, path).and_then(|()| std::fs::File::open(directory)?.sync_all());
    match moved {
        Err(source) if !path.exists() => Err(StoreError::Directory { path: path.to_owned(), source }.into()),
        _ => Ok(()), // another process may have been quicker
    }
}

fn create(directory: &Path, path: &Path, cache: usize) -> Result<Database, OpenError> {
    Database::builder().set_cache_size(cache).create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(directory.to_owned()),
        other => OpenError::Store(engine(other)),
    })
}

pub(crate) fn meta(database: &Database, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    match transaction.open_table(META) {
        Ok(table) => Ok(table.get(name).map_err(engine)?.map(|bytes| bytes.value().to_vec())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(engine(error)),
    }
}

/// Whether it is a store, of the format that this program reads.
fn is_made(database: &Database, directory: &Path) -> Result<bool, OpenError> {
    let Some(bytes) = meta(database, META_FORMAT)? else { return Ok(false) };
    let found: u32 = restore(&bytes).map_err(StoreError::from)?;
    match found == FORMAT {
        true => Ok(true),
        false => Err(OpenError::Format { found, known: FORMAT, directory: directory.to_owned() }),
    }
}

/// Makes the tables of a new store.
fn make(database: &Database, given: &Given<'_>) -> Result<(), StoreError> {
    let Given { definitions, text, settings, .. } = given;
    let transaction = database.begin_write().map_err(engine)?;
    let fill = || -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, snapshot(&FORMAT).as_slice())?;
        meta.insert(META_PARTITIONS, snapshot(&settings.partitions).as_slice())?;
        meta.insert(META_DEFINITIONS, text.as_bytes())?;
        meta.insert(META_TEXT_IS_OF_LOG, [].as_slice())?;
        meta.insert(META_FINGERPRINTS, snapshot(&fingerprints(definitions)).as_slice())?;
        meta.insert(META_SOURCES, snapshot(&source_names(definitions)).as_slice())?;
        transaction.open_table(LOG)?;
        transaction.open_table(PROGRESS)?;
        transaction.open_table(STATE)?;
        for table in [CHUNKS, FOLDED, LATE, CLOSED, REJECTS, SCORES] {
            transaction.open_table(table)?;
        }
        transaction.open_table(TO_SCORE)?;
        transaction.open_table(TO_KEEP)?;
        Ok(())
    };
    fill()?;
    transaction.commit().map_err(engine)
}

/// A store made before something was kept gets its tables.
fn add_new_tables(database: &Database) -> Result<(), StoreError> {
    match database.begin_read().map_err(engine)?.open_table(TO_KEEP) {
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        found => return found.map(|_| ()).map_err(engine),
    }
    let transaction = database.begin_write().map_err(engine)?;
    transaction.open_table(SCORES).map_err(engine)?;
    transaction.open_table(TO_SCORE).map_err(engine)?;
    transaction.open_table(TO_KEEP).map_err(engine)?;
    transaction.commit().map_err(engine)
}

/// The number that a store is known by; drawn when it is first opened.
fn id_of(database: &Database) -> Result<u64, StoreError> {
    if let Some(bytes) = meta(database, META_ID)? {
        return Ok(restore(&bytes)?);
    }
    // Keys of the standard hasher are random in each process, and drawn from the system.
    let id = RandomState::new().hash_one(std::process::id());
    let transaction = database.begin_write().map_err(engine)?;
    transaction.open_table(META).map_err(engine)?.insert(META_ID, snapshot(&id).as_slice()).map_err(engine)?;
    transaction.commit().map_err(engine)?;
    Ok(id)
}
