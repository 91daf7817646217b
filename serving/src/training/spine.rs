//! The spine: the rows that a training set is built for, which of its columns mean what, and how they are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema as ArrowSchema;
use floodmark_features::definition::Source;
use floodmark_features::lookup::Lookup;
use floodmark_features::value::Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

use super::TrainingRequest;
use super::error::TrainingError;
use super::tasks::in_parallel;
use super::words::{Words, widens};

/// Rows decoded at once.
const BATCH_ROWS: usize = 1 << 16;

/// An open spine whose columns are matched with the look-up.
#[derive(Debug)]
pub(super) struct Spine {
    pub(super) path: PathBuf,
    pub(super) metadata: ArrowReaderMetadata,
    /// What is decoded; the rest is only carried through.
    needed: Vec<Needed>,
    /// For each key of the look-up, its place among the decoded columns.
    pub(super) keys: Vec<usize>,
    pub(super) time: usize,
    /// For each read of the look-up, how its rows stand for events.
    pub(super) own: Vec<Option<OwnColumns>>,
    /// For each request field of the look-up; `None` if the spine does not have it.
    pub(super) request: Vec<Option<usize>>,
}

/// The columns with the event that a row stands for, as places among the decoded columns.
#[derive(Debug)]
pub(super) struct OwnColumns {
    pub(super) id: usize,
    /// The columns that the view keeps, if the spine has all of them.
    pub(super) fields: Option<Vec<usize>>,
}

#[derive(Debug, PartialEq)]
struct Needed {
    /// Which column of the spine.
    position: usize,
    /// What it is widened to.
    kind: Type,
}

/// Some rows of the spine, decoded.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rows: usize,
    pub(super) columns: Vec<Words>,
}

impl Spine {
    pub(super) fn open(request: &TrainingRequest) -> Result<Spine, TrainingError> {
        let path = request.spine.clone();
        let file = open(&path)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)
            .map_err(|error| TrainingError::NotParquet { path: path.clone(), detail: error.to_string() })?;
        let (keys, own, asked) = (Vec::new(), Vec::new(), Vec::new());
        let mut spine = Spine { path, metadata, needed: Vec::new(), keys, time: 0, own, request: asked };
        spine.match_columns(request)?;
        Ok(spine)
    }

    pub(super) fn schema(&self) -> &ArrowSchema {
        self.metadata.schema()
    }

    fn match_columns(&mut self, request: &TrainingRequest) -> Result<(), TrainingError> {
        let lookup = &request.lookup;
        self.check_names(lookup)?;
        self.time = self.need("time", &request.time, Type::Timestamp)?;
        self.keys = lookup.keys.columns.iter().map(|key| self.need("key", &key.name, key.kind)).collect::<Result<_, _>>()?;
        for field in &lookup.request.columns {
            let found = self.position(&field.name).map(|_| self.need("request", &field.name, field.kind));
            self.request.push(found.transpose()?);
        }
        self.own = lookup.reads.iter().map(|_| None).collect();
        match &request.event_id {
            Some(column) => self.match_events(lookup, column),
            None => Ok(()),
        }
    }

    /// A row stands for an event of each source whose ids are of the column's type.
    fn match_events(&mut self, lookup: &Lookup, column: &str) -> Result<(), TrainingError> {
        let kinds: Vec<Type> = lookup
            .reads
            .iter()
            .filter_map(|read| id_kind(&lookup.definitions.sources[lookup.definitions.views[read.view].source]))
            .collect();
        let Some(first) = kinds.first() else { return Err(TrainingError::NoEventIds { column: column.to_owned() }) };
        let position = self.position(column).ok_or_else(|| self.missing("event id", column, *first))?;
        let found = self.schema().field(position).data_type().clone();
        if !kinds.iter().any(|kind| widens(&found, *kind)) {
            return Err(self.wrong_type("event id", column, kinds[0].name()));
        }
        for (at, read) in lookup.reads.iter().enumerate() {
            let view = &lookup.definitions.views[read.view];
            let source = &lookup.definitions.sources[view.source];
            let Some(kind) = id_kind(source).filter(|kind| widens(&found, *kind)) else { continue };
            let id = self.add(position, kind);
            let fields =
                view.columns.iter().map(|c| self.try_need(&source.schema.columns[*c].name, source.schema.columns[*c].kind)).collect();
            self.own[at] = Some(OwnColumns { id, fields });
        }
        Ok(())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.schema().fields().iter().position(|field| field.name() == name)
    }

    fn need(&mut self, role: &'static str, name: &str, kind: Type) -> Result<usize, TrainingError> {
        if self.position(name).is_none() {
            return Err(self.missing(role, name, kind));
        }
        self.try_need(name, kind).ok_or_else(|| self.wrong_type(role, name, kind.name()))
    }

    /// The place of a column among the decoded ones, if the spine has it in a type that fits.
    fn try_need(&mut self, name: &str, kind: Type) -> Option<usize> {
        let position = self.position(name)?;
        widens(self.schema().field(position).data_type(), kind).then(|| self.add(position, kind))
    }

    fn add(&mut self, position: usize, kind: Type) -> usize {
        let needed = Needed { position, kind };
        self.needed.iter().position(|n| *n == needed).unwrap_or_else(|| {
            self.needed.push(needed);
            self.needed.len() - 1
        })
    }

    fn check_names(&self, lookup: &Lookup) -> Result<(), TrainingError> {
        let names: Vec<&str> = self.schema().fields().iter().map(|f| f.name().as_str()).collect();
        for (at, name) in names.iter().enumerate() {
            let (path, column) = (self.path.clone(), (*name).to_owned());
            if names[..at].contains(name) {
                return Err(TrainingError::DuplicateColumn { path, column, columns: self.columns() });
            }
            if lookup.columns.iter().any(|c| **c == **name || name.strip_suffix(super::STATUS_SUFFIX) == Some(c)) {
                return Err(TrainingError::ColumnTaken { path, column });
            }
        }
        Ok(())
    }

    fn columns(&self) -> String {
        self.schema().fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ")
    }

    fn missing(&self, role: &'static str, column: &str, expected: Type) -> TrainingError {
        TrainingError::MissingColumn { path: self.path.clone(), role, column: column.to_owned(), expected, columns: self.columns() }
    }

    fn wrong_type(&self, role: &'static str, column: &str, expected: &str) -> TrainingError {
        let found = self.position(column).map_or(String::new(), |at| self.schema().field(at).data_type().to_string());
        TrainingError::WrongType { path: self.path.clone(), role, column: column.to_owned(), expected: expected.to_owned(), found }
    }
}

fn id_kind(source: &Source) -> Option<Type> {
    source.event_id.map(|at| source.schema.columns[at].kind)
}

pub(super) fn open(path: &Path) -> Result<File, TrainingError> {
    File::open(path).map_err(|error| TrainingError::Open { path: path.to_owned(), error })
}

impl Spine {
    /// Rows of a row group.
    pub(super) fn rows_in(&self, row_group: usize) -> usize {
        self.metadata.metadata().row_group(row_group).num_rows().max(0) as usize
    }

    /// Row groups that are worked on together: as many as stay below `rows`, and at least one.
    pub(super) fn blocks(&self, rows: usize) -> Vec<std::ops::Range<usize>> {
        let mut blocks: Vec<std::ops::Range<usize>> = Vec::new();
        let mut filled = 0;
        for group in 0..self.metadata.metadata().num_row_groups() {
            let more = self.rows_in(group);
            match blocks.last_mut() {
                Some(block) if filled + more <= rows => {
                    block.end = group + 1;
                    filled += more;
                }
                _ => {
                    blocks.push(group..group + 1);
                    filled = more;
                }
            }
        }
        blocks
    }

    /// Decodes the needed columns of some row groups, each column of each row group by itself.
    pub(super) fn read(&self, groups: std::ops::Range<usize>, threads: usize) -> Result<Block, TrainingError> {
        let columns = self.needed.len();
        let parts =
            in_parallel(threads, groups.len() * columns, |at| self.read_column(groups.start + at / columns, &self.needed[at % columns]))?;
        let mut all: Vec<Words> = self.needed.iter().map(|needed| Words::new(needed.kind)).collect();
        for (at, part) in parts.into_iter().enumerate() {
            if !all[at % columns].extend(part) {
                return Err(self.too_much_text(&self.needed[at % columns]));
            }
        }
        Ok(Block { rows: groups.map(|group| self.rows_in(group)).sum(), columns: all })
    }

    fn read_column(&self, row_group: usize, needed: &Needed) -> Result<Words, TrainingError> {
        let broken = |detail: String| TrainingError::Read { path: self.path.clone(), row_group, detail };
        // A file of its own: handles that are cloned share their position.
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open(&self.path)?, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), [needed.position]);
        let builder = builder.with_projection(mask).with_row_groups(vec![row_group]).with_batch_size(BATCH_ROWS);
        let mut words = Words::new(needed.kind);
        for batch in builder.build().map_err(|error| broken(error.to_string()))? {
            let batch = batch.map_err(|error| broken(error.to_string()))?;
            if !words.append(batch.column(0)).map_err(|error| broken(error.to_string()))? {
                return Err(self.too_much_text(needed));
            }
        }
        Ok(words)
    }

    fn too_much_text(&self, needed: &Needed) -> TrainingError {
        TrainingError::TooMuchText { path: self.path.clone(), column: self.schema().field(needed.position).name().clone() }
    }
}
