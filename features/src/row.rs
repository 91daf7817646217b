//! Rows: events as a timeline keeps them, a fixed number of 64-bit words each, text beside them in a heap.
//!
//! ```text
//!   word 0     1          2             3        4      5 ..
//!   time | event id | visible_from | version | nulls | columns of the view, in order
//! ```
//!
//! A word holds an `i64`, the bits of a float, 0 or 1, microseconds, or for text `offset << 32 | length` into the heap.
//! Bit `n` of `nulls` is set where column `n` is null; its word is then 0.

mod block;

use std::cmp::Ordering;

pub use block::{Block, Ends};

use crate::expression::Inputs;
use crate::key::EventId;
use crate::time::Time;
use crate::value::{Type, Value, ValueRef};

/// Words in front of the columns.
pub const HEADER: usize = 5;
const TIME: usize = 0;
const ID: usize = 1;
const VISIBLE: usize = 2;
/// Where the version stands.
pub const VERSION: usize = 3;
/// Where the null bits stand.
pub const NULLS: usize = 4;
/// A view keeps at most this many columns: one null bit each.
pub const MAX_COLUMNS: usize = 64;

/// What the words of a row mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Types of the columns.
    pub types: Box<[Type]>,
    /// Whether event ids are text.
    pub id_is_text: bool,
}

impl Layout {
    /// Words in a row.
    pub fn stride(&self) -> usize {
        HEADER + self.types.len()
    }

    /// Whether a row points into the heap at all.
    pub fn has_text(&self) -> bool {
        self.id_is_text || self.types.contains(&Type::String)
    }
}

/// One row with the heap that its text is in.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Header and columns, [`Row::step`] words apart.
    words: &'a [u64],
    step: usize,
    /// Text of this row's chunk or section.
    pub heap: &'a [u8],
    /// What the words mean.
    pub layout: &'a Layout,
}

/// Rows one after the other in the total order of events: row by row in a [`RowBuffer`], column by column in a [`Block`].
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first word of the first row on.
    words: &'a [u64],
    len: usize,
    /// From one row to the next.
    row_step: usize,
    /// From one word of a row to the next.
    word_step: usize,
    /// The columns that are null in some row, or may be.
    nulls: u64,
    /// Text of these rows.
    heap: &'a [u8],
    /// What the words mean.
    layout: &'a Layout,
}

/// The word that says where a text lies.
pub fn text_word(offset: usize, len: usize) -> u64 {
    (offset as u64) << 32 | len as u64
}

/// The text that a word points to; empty if it points nowhere.
pub fn text_at(heap: &[u8], word: u64) -> &str {
    let (offset, len) = ((word >> 32) as usize, (word & u64::from(u32::MAX)) as usize);
    heap.get(offset..offset + len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The value of a word of that type.
#[inline]
pub fn value_of_word(kind: Type, word: u64, heap: &[u8]) -> ValueRef<'_> {
    match kind {
        Type::Bool => ValueRef::Bool(word != 0),
        Type::Int64 => ValueRef::Int(word as i64),
        Type::Float64 => ValueRef::Float(f64::from_bits(word)),
        Type::String => ValueRef::Str(text_at(heap, word)),
        Type::Timestamp => ValueRef::Time(Time::from_micros(word as i64)),
    }
}

/// The word of a value; text is appended to the heap. `Null` is 0, with its null bit set by the caller.
pub fn word_of_value(value: ValueRef<'_>, heap: &mut Vec<u8>) -> u64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Bool(b) => u64::from(b),
        ValueRef::Int(i) => i as u64,
        ValueRef::Float(x) => x.to_bits(),
        ValueRef::Time(t) => t.micros() as u64,
        ValueRef::Str(s) => push_text(heap, s.as_bytes()),
    }
}

/// Appends a text and gives the word that points to it.
pub fn push_text(heap: &mut Vec<u8>, text: &[u8]) -> u64 {
    let offset = heap.len();
    heap.extend_from_slice(text);
    text_word(offset, text.len())
}

impl<'a> Row<'a> {
    /// A row of words that stand one after the other.
    #[inline]
    pub fn of_words(words: &'a [u64], heap: &'a [u8], layout: &'a Layout) -> Row<'a> {
        Row { words, step: 1, heap, layout }
    }

    /// As rows, of which it is the only one.
    #[inline]
    pub fn alone(&self) -> Rows<'a> {
        let Row { words, step, heap, layout } = *self;
        Rows { words, len: 1, row_step: 0, word_step: step, nulls: self.word(NULLS), heap, layout }
    }

    /// A word of the header or of a column.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.words[at * self.step]
    }

    /// Each word in turn.
    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.layout.stride()).map(|at| self.word(at))
    }

    /// Whether a column is null.
    #[inline]
    pub(crate) fn is_null(&self, column: usize) -> bool {
        self.word(NULLS) >> column & 1 != 0
    }

    /// Event time.
    #[inline]
    pub fn time(&self) -> Time {
        Time::from_micros(self.word(TIME) as i64)
    }

    /// The time from which the event counts (T9).
    #[inline]
    pub fn visible_from(&self) -> Time {
        Time::from_micros(self.word(VISIBLE) as i64)
    }

    /// The version that committed it.
    #[inline]
    pub fn version(&self) -> u64 {
        self.word(VERSION)
    }

    /// The event id.
    pub fn id(&self) -> EventId {
        if self.layout.id_is_text { EventId::Str(text_at(self.heap, self.word(ID)).into()) } else { EventId::Int(self.word(ID) as i64) }
    }

    /// The event id where ids are integers.
    #[inline]
    pub(crate) fn int_id(&self) -> i64 {
        self.word(ID) as i64
    }

    /// The event id where ids are text.
    pub(crate) fn text_id(&self) -> &'a str {
        text_at(self.heap, self.word(ID))
    }

    /// The value of a column.
    #[inline]
    pub fn value(&self, column: usize) -> ValueRef<'a> {
        if self.is_null(column) {
            return ValueRef::Null;
        }
        value_of_word(self.layout.types[column], self.word(HEADER + column), self.heap)
    }

    /// This row against another in the total order of events.
    #[inline]
    pub fn order(&self, other: &Row<'_>) -> Ordering {
        self.time().cmp(&other.time()).then_with(|| {
            if self.layout.id_is_text {
                text_at(self.heap, self.word(ID)).cmp(text_at(other.heap, other.word(ID)))
            } else {
                (self.word(ID) as i64).cmp(&(other.word(ID) as i64))
            }
        })
    }

    /// This row's id against an id.
    pub fn order_of_id(&self, id: &EventId) -> Ordering {
        match id {
            EventId::Int(i) if !self.layout.id_is_text => (self.word(ID) as i64).cmp(i),
            EventId::Str(s) if self.layout.id_is_text => text_at(self.heap, self.word(ID)).cmp(s),
            // Ids of another type than the source's never meet; keep the order total all the same.
            EventId::Int(_) => Ordering::Greater,
            EventId::Str(_) => Ordering::Less,
        }
    }
}

impl Inputs for Row<'_> {
    #[inline]
    fn input(&self, position: usize) -> ValueRef<'_> {
        self.value(position)
    }
}

impl<'a> Rows<'a> {
    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the words mean.
    #[inline]
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Text of these rows, and maybe of others.
    pub fn heap(&self) -> &'a [u8] {
        self.heap
    }

    /// One of them.
    #[inline]
    pub fn row(&self, at: usize) -> Row<'a> {
        debug_assert!(at < self.len);
        Row { words: &self.words[at * self.row_step..], step: self.word_step, heap: self.heap, layout: self.layout }
    }

    /// Each in turn.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        let rows = *self;
        (0..rows.len).map(move |at| rows.row(at))
    }

    /// Some of them.
    #[inline]
    pub fn slice(&self, from: usize, to: usize) -> Rows<'a> {
        Rows { words: &self.words[from * self.row_step..], len: to - from, ..*self }
    }

    /// The words of a column that is null in none of these rows, if they stand one after the other.
    #[inline]
    pub(crate) fn whole_column(&self, column: usize) -> Option<&'a [u64]> {
        let start = (HEADER + column) * self.word_step;
        (self.row_step == 1 && self.nulls >> column & 1 == 0).then(|| &self.words[start..start + self.len])
    }
}

/// Rows on their way, one after the other: words and a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBuffer {
    /// A whole number of rows.
    pub words: Vec<u64>,
    /// Their text.
    pub heap: Vec<u8>,
}

impl RowBuffer {
    /// The rows inside.
    pub fn rows<'a>(&'a self, layout: &'a Layout) -> Rows<'a> {
        let stride = layout.stride();
        Rows {
            words: &self.words,
            len: self.words.len() / stride,
            row_step: stride,
            word_step: 1,
            nulls: u64::MAX,
            heap: &self.heap,
            layout,
        }
    }

    /// Raises `visible_from` of each of `count` rows; returns the rows for which it is only now after their own time.
    pub(crate) fn see_from(&mut self, earliest: Time, count: usize) -> Vec<usize> {
        let stride = self.words.len().checked_div(count).unwrap_or(0).max(1);
        let mut overtaken = Vec::new();
        for (row, words) in self.words.chunks_exact_mut(stride).enumerate() {
            let visible = words[VISIBLE] as i64;
            if visible < earliest.micros() {
                if visible == words[TIME] as i64 {
                    overtaken.push(row);
                }
                words[VISIBLE] = earliest.micros() as u64;
            }
        }
        overtaken
    }

    /// Appends a row made of owned values: for the event that a request carries, and for tests.
    pub fn push(&mut self, time: Time, id: &EventId, visible: Time, version: u64, values: &[Value]) {
        let id = match id {
            EventId::Int(i) => *i as u64,
            EventId::Str(s) => push_text(&mut self.heap, s.as_bytes()),
        };
        let nulls = values.iter().enumerate().filter(|(_, v)| **v == Value::Null).fold(0, |bits, (at, _)| bits | 1 << at);
        self.words.extend([time.micros() as u64, id, visible.micros() as u64, version, nulls]);
        for value in values {
            let word = word_of_value(value.as_ref(), &mut self.heap);
            self.words.push(word);
        }
    }
}
