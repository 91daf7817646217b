//! The events that rows of a spine stand for (T5), made for a few rows at a time.

use floodmark_features::definition::View;
use floodmark_features::evaluate::Own;
use floodmark_features::key::EventId;
use floodmark_features::lookup::OwnEvent;
use floodmark_features::row::{Layout, RowBuffer, word_of_value};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, ValueRef};

use crate::spine::{Block, OwnColumns};
use crate::words::Words;

/// The events of some rows, as one view sees them.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    view: &'a View,
    layout: Layout,
    time: usize,
    columns: Option<&'a OwnColumns>,
    /// Empty where rows stand for no events.
    events: Vec<Option<OwnEvent>>,
    rows: RowBuffer,
    /// For each event, whether its columns are known.
    whole: Vec<bool>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(view: &'a View, layout: Layout, time: usize, columns: Option<&'a OwnColumns>) -> Events<'a> {
        Events { view, layout, time, columns, events: Vec::new(), rows: RowBuffer::default(), whole: Vec::new() }
    }

    /// Makes the events of these rows; those of the call before are gone.
    pub(crate) fn make(&mut self, block: &Block, rows: &[u32]) {
        let Some(columns) = self.columns else { return };
        self.events.clear();
        self.whole.clear();
        self.rows.words.clear();
        self.rows.heap.clear();
        for column in columns.fields.iter().flatten().chain([&columns.id]) {
            block.columns[*column].fetch(rows);
        }
        for row in rows {
            let row = *row as usize;
            let at = Time::from_micros(block.columns[self.time].word(row) as i64);
            let id = match block.columns[columns.id].value(row) {
                ValueRef::Int(id) => Some(EventId::Int(id)),
                ValueRef::Str(id) => Some(EventId::Str(id.into())),
                _ => None,
            };
            self.events.push(id.map(|id| OwnEvent { source: self.view.source, id, time: at, fields: None, exclude: false }));
            if let Some(fields) = &columns.fields {
                let whole = self.push_row(block, row, at, columns.id, fields);
                self.whole.push(whole);
            }
        }
    }

    /// The event as the view would keep it, visible from its own time on. False if it would have been refused: a float that is not finite.
    fn push_row(&mut self, block: &Block, row: usize, at: Time, id: usize, fields: &[usize]) -> bool {
        let nulls = fields.iter().enumerate().fold(0, |bits, (n, field)| bits | u64::from(block.columns[*field].is_null(row)) << n);
        let id = self.word(&block.columns[id], row);
        self.rows.words.extend([at.micros() as u64, id, at.micros() as u64, 0, nulls]);
        let mut finite = true;
        for field in fields {
            let column = &block.columns[*field];
            let word = self.word(column, row);
            finite &= column.kind != Type::Float64 || f64::from_bits(word).is_finite();
            self.rows.words.push(word);
        }
        finite
    }

    /// The word of a value, its text in the heap of these rows.
    fn word(&mut self, column: &Words, row: usize) -> u64 {
        match column.kind {
            Type::String => word_of_value(column.value(row), &mut self.rows.heap),
            _ => column.word(row),
        }
    }

    /// The event of the row at a place among those last made.
    #[inline]
    pub(crate) fn own(&self, at: usize) -> Option<Own<'_>> {
        let event = self.events.get(at)?.as_ref()?;
        let whole = self.whole.get(at).is_some_and(|whole| *whole);
        Some(Own { event, row: whole.then(|| self.rows.rows(&self.layout).row(at)) })
    }
}
