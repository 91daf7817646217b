//! The spine: the rows that a training set is built for, and which of its columns mean what.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use floodmark_features::definition::Source;
use floodmark_features::lookup::Lookup;
use floodmark_features::value::Type;

use crate::TrainingSpec;
use crate::error::TrainingError;
use crate::words::{Words, widens};

/// A spine's columns, matched with the look-up.
#[derive(Debug)]
pub(crate) struct Spine {
    /// What errors call it.
    pub(crate) name: String,
    schema: SchemaRef,
    /// What is decoded; the rest is only carried through.
    pub(crate) needed: Vec<Needed>,
    /// For each key of the look-up, its place among the decoded columns.
    pub(crate) keys: Vec<usize>,
    pub(crate) time: usize,
    /// For each read of the look-up, how its rows stand for events.
    pub(crate) own: Vec<Option<OwnColumns>>,
    /// For each request field of the look-up; `None` if the spine does not have it.
    pub(crate) request: Vec<Option<usize>>,
}

/// The columns with the event that a row stands for, as places among the decoded columns.
#[derive(Debug)]
pub(crate) struct OwnColumns {
    pub(crate) id: usize,
    /// The columns that the view keeps, if the spine has all of them.
    pub(crate) fields: Option<Vec<usize>>,
}

/// A column that is decoded.
#[derive(Debug, PartialEq)]
pub(crate) struct Needed {
    /// Which column of the spine.
    pub(crate) position: usize,
    /// What it is widened to.
    pub(crate) kind: Type,
}

/// Some rows of the spine, decoded.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Words>,
}

impl Spine {
    /// Of columns like these.
    pub(crate) fn new(name: String, schema: SchemaRef, spec: &TrainingSpec) -> Result<Spine, TrainingError> {
        let (needed, keys, own, request) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut spine = Spine { name, schema, needed, keys, time: 0, own, request };
        spine.match_columns(spec)?;
        Ok(spine)
    }

    pub(crate) fn schema(&self) -> &ArrowSchema {
        &self.schema
    }

    /// The needed columns of rows that came in batches.
    pub(crate) fn block_of(&self, batches: &[RecordBatch]) -> Result<Block, TrainingError> {
        self.block_of_some(batches, |position| position)
    }

    /// The same of batches that have only some of the columns; `place` says where.
    pub(crate) fn block_of_some(&self, batches: &[RecordBatch], place: impl Fn(usize) -> usize) -> Result<Block, TrainingError> {
        let mut columns: Vec<Words> = self.needed.iter().map(|needed| Words::new(needed.kind)).collect();
        for batch in batches {
            for (needed, words) in self.needed.iter().zip(&mut columns) {
                let broken = |detail: String| TrainingError::Rows { spine: self.name.clone(), detail };
                let column = batch.columns().get(place(needed.position)).ok_or_else(|| broken("a batch has other columns".to_owned()))?;
                if !words.append(column).map_err(|error| broken(error.to_string()))? {
                    return Err(self.too_much_text(needed));
                }
            }
        }
        Ok(Block { rows: batches.iter().map(RecordBatch::num_rows).sum(), columns })
    }

    pub(crate) fn too_much_text(&self, needed: &Needed) -> TrainingError {
        TrainingError::TooMuchText { spine: self.name.clone(), column: self.schema.field(needed.position).name().clone() }
    }

    fn match_columns(&mut self, spec: &TrainingSpec) -> Result<(), TrainingError> {
        let lookup = &spec.lookup;
        self.check_names(lookup)?;
        self.time = self.need("time", &spec.time, Type::Timestamp)?;
        self.keys = lookup.keys.columns.iter().map(|key| self.need("key", &key.name, key.kind)).collect::<Result<_, _>>()?;
        for field in &lookup.request.columns {
            let found = self.position(&field.name).map(|_| self.need("request", &field.name, field.kind));
            self.request.push(found.transpose()?);
        }
        self.own = lookup.reads.iter().map(|_| None).collect();
        match &spec.event_id {
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
            let (spine, column) = (self.name.clone(), (*name).to_owned());
            if names[..at].contains(name) {
                return Err(TrainingError::DuplicateColumn { spine, column, columns: self.columns() });
            }
            if lookup.columns.iter().any(|c| **c == **name || name.strip_suffix(super::STATUS_SUFFIX) == Some(c)) {
                return Err(TrainingError::ColumnTaken { spine, column });
            }
        }
        Ok(())
    }

    fn columns(&self) -> String {
        self.schema().fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ")
    }

    fn missing(&self, role: &'static str, column: &str, expected: Type) -> TrainingError {
        TrainingError::MissingColumn { spine: self.name.clone(), role, column: column.to_owned(), expected, columns: self.columns() }
    }

    fn wrong_type(&self, role: &'static str, column: &str, expected: &str) -> TrainingError {
        let found = self.position(column).map_or(String::new(), |at| self.schema().field(at).data_type().to_string());
        TrainingError::WrongType { spine: self.name.clone(), role, column: column.to_owned(), expected: expected.to_owned(), found }
    }
}

fn id_kind(source: &Source) -> Option<Type> {
    source.event_id.map(|at| source.schema.columns[at].kind)
}
