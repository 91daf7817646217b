//! The events that rows of a spine stand for (T5), made for a few rows at a time; their columns only
//! where the store does not have the event.

use std::cell::OnceCell;

use floodmark_features::definition::View;
use floodmark_features::evaluate::{Own, OwnRows};
use floodmark_features::key::EventId;
use floodmark_features::lookup::OwnEvent;
use floodmark_features::row::{Layout, Row, RowBuffer, word_of_value};
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
    block: &'a Block,
    columns: Option<&'a OwnColumns>,
    /// Those that were made last, by the rows' places in the block.
    rows: Vec<u32>,
    /// Empty where rows stand for no events.
    events: Vec<Option<OwnEvent>>,
    /// The columns of those for which they were asked; none of one that would have been refused.
    made: Vec<OnceCell<Option<RowBuffer>>>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(view: &'a View, layout: Layout, time: usize, block: &'a Block, columns: Option<&'a OwnColumns>) -> Events<'a> {
        Events { view, layout, time, block, columns, rows: Vec::new(), events: Vec::new(), made: Vec::new() }
    }

    /// Makes the events of these rows; those of the call before are gone.
    pub(crate) fn make(&mut self, rows: &[u32]) {
        let Some(columns) = self.columns else { return };
        let (ids, times) = (&self.block.columns[columns.id], &self.block.columns[self.time]);
        ids.fetch(rows);
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.events.clear();
        self.events.extend(rows.iter().map(|row| {
            let row = *row as usize;
            let id = match ids.value(row) {
                ValueRef::Int(id) => EventId::Int(id),
                ValueRef::Str(id) => EventId::Str(id.into()),
                _ => return None,
            };
            let time = Time::from_micros(times.word(row) as i64);
            Some(OwnEvent { source: self.view.source, id, time, fields: None, exclude: false })
        }));
        self.made.clear();
        self.made.resize_with(rows.len(), OnceCell::new);
    }

    /// The event of the row at a place among those last made.
    #[inline]
    pub(crate) fn own(&self, at: usize) -> Option<Own<'_>> {
        let event = self.events.get(at)?.as_ref()?;
        let has_fields = self.columns.is_some_and(|columns| columns.fields.is_some());
        Some(Own { event, row: has_fields.then_some((self as &dyn OwnRows, at)) })
    }

    /// The event as the view would keep it, visible from its own time on. None if it would have been refused: a float that is not finite.
    fn row(&self, row: usize) -> Option<RowBuffer> {
        let OwnColumns { id, fields } = self.columns?;
        let fields = fields.as_ref()?;
        let mut made = RowBuffer::default();
        let column = |at: usize| &self.block.columns[at];
        let nulls = fields.iter().enumerate().fold(0, |bits, (n, field)| bits | u64::from(column(*field).is_null(row)) << n);
        let time = column(self.time).word(row);
        let id = word(column(*id), row, &mut made.heap);
        made.words.extend([time, id, time, 0, nulls]);
        for field in fields {
            let word = word(column(*field), row, &mut made.heap);
            if column(*field).kind == Type::Float64 && !f64::from_bits(word).is_finite() {
                return None;
            }
            made.words.push(word);
        }
        Some(made)
    }
}

impl OwnRows for Events<'_> {
    fn own_row(&self, at: usize) -> Option<Row<'_>> {
        let made = self.made.get(at)?.get_or_init(|| self.row(self.rows[at] as usize));
        made.as_ref().map(|made| made.rows(&self.layout).row(0))
    }
}

/// The word of a value, its text in the heap of its row.
fn word(column: &Words, row: usize, heap: &mut Vec<u8>) -> u64 {
    match column.kind {
        Type::String => word_of_value(column.value(row), heap),
        _ => column.word(row),
    }
}
