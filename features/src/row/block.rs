//! Blocks: the rows of a chunk, column by column, so that a search reads nothing but times and a sum nothing but its column.
//!
//! ```text
//!   time of row 0, 1, 2 .. up to the capacity | id of row 0, 1, 2 .. | visible_from .. | version .. | nulls .. | columns ..
//! ```

use std::cmp::Ordering;

use prefetch_index::prefetch_index;

use super::{HEADER, ID, Layout, NULLS, Row, RowBuffer, Rows, TIME, push_text, text_at};
use crate::key::EventId;
use crate::time::Time;
use crate::value::Type;

/// Rows that there is room for at first.
const FIRST_ROOM: usize = 4;

/// Of the processor's cache.
const WORDS_OF_A_LINE: usize = 8;
/// Lines of a column that are asked for; then the processor sees by itself where this leads.
const LINES_AHEAD: usize = 4;

/// Some rows in the total order of events, column by column.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// As many words as a row has, times the capacity.
    words: Vec<u64>,
    len: usize,
    capacity: usize,
    /// The columns that are null in some row.
    nulls: u64,
    heap: Vec<u8>,
}

impl Block {
    /// The same rows in a block of their own.
    fn of_rows(rows: Rows<'_>) -> Block {
        let mut block = Block::default();
        block.set_capacity(rows.len(), rows.layout());
        rows.iter().for_each(|row| block.insert(block.len, &row));
        block
    }

    /// Rows whose words are given column by column, without room for more.
    pub(crate) fn of_columns(words: Vec<u64>, heap: Vec<u8>, layout: &Layout) -> Block {
        let len = words.len() / layout.stride();
        let nulls = words[NULLS * len..(NULLS + 1) * len].iter().fold(0, |all, nulls| all | nulls);
        Block { words, len, capacity: len, nulls, heap }
    }

    /// The rows inside.
    #[inline]
    pub fn rows<'a>(&'a self, layout: &'a Layout) -> Rows<'a> {
        Rows { words: &self.words, len: self.len, row_step: 1, word_step: self.capacity, nulls: self.nulls, heap: &self.heap, layout }
    }

    /// How many rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a copy of a row in at a position, its text into this heap.
    pub fn insert(&mut self, at: usize, row: &Row<'_>) {
        if self.len == self.capacity {
            self.set_capacity((self.capacity + self.capacity / 2).next_multiple_of(4).max(FIRST_ROOM), row.layout);
        }
        for (column, word) in self.words.chunks_exact_mut(self.capacity).zip(row.words()) {
            if at < self.len {
                column.copy_within(at..self.len, at + 1);
            }
            column[at] = word;
        }
        self.len += 1;
        self.nulls |= row.word(NULLS);
        if row.layout.has_text() {
            self.adopt_text(at, row);
        }
    }

    /// Moves the text of a row just copied into this heap.
    fn adopt_text(&mut self, at: usize, row: &Row<'_>) {
        let mut adopt = |place: usize| {
            let text = text_at(row.heap, row.word(place));
            self.words[place * self.capacity + at] = push_text(&mut self.heap, text.as_bytes());
        };
        if row.layout.id_is_text {
            adopt(ID);
        }
        for (column, kind) in row.layout.types.iter().enumerate() {
            if *kind == Type::String {
                adopt(HEADER + column);
            }
        }
    }

    fn set_capacity(&mut self, capacity: usize, layout: &Layout) {
        let mut words = vec![0; capacity * layout.stride()];
        if self.len > 0 {
            for (to, from) in words.chunks_exact_mut(capacity).zip(self.words.chunks_exact(self.capacity)) {
                to[..self.len].copy_from_slice(&from[..self.len]);
            }
        }
        (self.words, self.capacity) = (words, capacity);
    }

    /// Takes the rows from a position on into a block of their own.
    pub fn split_off(&mut self, at: usize, layout: &Layout) -> Block {
        let rows = self.rows(layout);
        let (head, tail) = (Block::of_rows(rows.slice(0, at)), Block::of_rows(rows.slice(at, self.len)));
        *self = head;
        tail
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8 + self.heap.capacity()
    }

    fn times(&self) -> &[u64] {
        &self.words[TIME * self.capacity..][..self.len]
    }

    /// How many rows lie before an instant.
    #[inline]
    pub fn count_before(&self, time: Time, ends: Ends) -> usize {
        count_below(self.times(), time.micros(), ends)
    }

    /// How many rows lie before an instant or at it.
    #[inline]
    pub fn count_through(&self, time: Time, ends: Ends) -> usize {
        time.micros().checked_add(1).map_or(self.len, |next| count_below(self.times(), next, ends))
    }

    /// Begins to fetch from memory what a read from or up to an instant will look at: some times, and as many rows of the columns.
    #[inline]
    pub fn fetch(&self, time: Time, ends: Ends, columns: &[usize]) {
        if time < ends.first || time > ends.last {
            return;
        }
        let at = ends.guess(time.micros(), self.len);
        prefetch_index(&self.words, at);
        for column in columns {
            let start = (HEADER + column) * self.capacity;
            (at..self.len).step_by(WORDS_OF_A_LINE).take(LINES_AHEAD).for_each(|row| prefetch_index(&self.words, start + row));
        }
    }

    /// Begins to fetch from memory where each column ends.
    #[inline]
    pub fn fetch_end(&self) {
        let end = self.len.saturating_sub(1);
        (end..self.words.len()).step_by(self.capacity.max(1)).for_each(|word| prefetch_index(&self.words, word));
    }

    /// How many rows come before `(time, id)` in the total order, and whether the next one is it.
    pub fn place_of(&self, time: Time, id: &EventId, layout: &Layout, ends: Ends) -> (usize, bool) {
        self.place(time, layout, ends, |row| row.order_of_id(id))
    }

    /// The same for a row.
    pub fn place_of_row(&self, row: &Row<'_>, ends: Ends) -> (usize, bool) {
        self.place(row.time(), row.layout, ends, |other| other.order(row))
    }

    /// `order` is asked of rows at the instant only.
    fn place(&self, time: Time, layout: &Layout, ends: Ends, order: impl Fn(&Row<'_>) -> Ordering) -> (usize, bool) {
        let (mut low, mut high) = (self.count_before(time, ends), self.count_through(time, ends));
        let (rows, end) = (self.rows(layout), high);
        while low < high {
            let middle = low.midpoint(high);
            if order(&rows.row(middle)) == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low, low < end && order(&rows.row(low)) == Ordering::Equal)
    }
}

/// The first and the last event time of some rows.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Of the first row.
    pub first: Time,
    /// Of the last row.
    pub last: Time,
}

impl Ends {
    /// Where among `len` ascending times a bound within the ends lies if they come at even distances.
    #[inline]
    fn guess(self, bound: i64, len: usize) -> usize {
        let from_first = |micros: i64| micros.wrapping_sub(self.first.micros()) as u64 as f64;
        let share = from_first(bound) / from_first(self.last.micros());
        ((share * (len - 1) as f64) as usize).min(len - 1)
    }
}

/// How many of these ascending times are below a bound: guessed by interpolation, as events come at about even distances; then
/// by steps that double, away from the guess; then by halves.
#[inline]
fn count_below(times: &[u64], bound: i64, ends: Ends) -> usize {
    if ends.last.micros() < bound {
        return times.len();
    }
    if ends.first.micros() >= bound {
        return 0;
    }
    // times[0] < bound <= times[last]
    let is_below = |at: usize| (times[at] as i64) < bound;
    let last = times.len() - 1;
    let guess = ends.guess(bound, times.len());
    let (mut high, mut step) = (last, 1);
    let mut low = if is_below(guess) {
        let mut low = guess;
        while low + step < high && is_below(low + step) {
            low += step;
            step *= 2;
        }
        high = high.min(low + step);
        low
    } else {
        high = guess;
        while high > step && !is_below(high - step) {
            high -= step;
            step *= 2;
        }
        high.saturating_sub(step)
    };
    // times[low] < bound <= times[high]
    while high - low > 1 {
        let middle = low.midpoint(high);
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

impl From<Block> for RowBuffer {
    /// The same rows, row by row.
    fn from(block: Block) -> RowBuffer {
        let stride = block.words.len().checked_div(block.capacity).unwrap_or(0);
        let mut words = vec![0; block.len * stride];
        for (row, into) in words.chunks_exact_mut(stride.max(1)).enumerate() {
            for (place, word) in into.iter_mut().enumerate() {
                *word = block.words[place * block.capacity + row];
            }
        }
        RowBuffer { words, heap: block.heap }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;

    proptest! {
        #[test]
        fn a_guess_finds_what_a_scan_finds(
            mut times in prop::collection::vec(prop_oneof![any::<i64>(), 0..40_i64, 1_000_000..1_000_100_i64], 1..140),
            bounds in prop::collection::vec(prop_oneof![any::<i64>(), -1..41_i64, 999_999..1_000_101_i64], 20),
        ) {
            times.sort_unstable();
            let words: Vec<u64> = times.iter().map(|t| *t as u64).collect();
            let at = |place: Option<&i64>| Time::from_micros(*place.expect("some times"));
            let ends = Ends { first: at(times.first()), last: at(times.last()) };
            for bound in bounds.into_iter().chain(times.iter().copied()) {
                prop_assert_eq!(count_below(&words, bound, ends), times.iter().filter(|t| **t < bound).count());
            }
        }

        #[test]
        fn rows_keep_their_values_wherever_they_are_put(
            places in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let layout = Layout { types: [Type::Int64, Type::String].into(), id_is_text: true };
            let (mut block, mut expected) = (Block::default(), Vec::new());
            for (n, place) in places.iter().enumerate() {
                let number = if n % 3 == 0 { Value::Null } else { Value::Int(n as i64) };
                let values = [number, Value::Str(format!("text {n}").into())];
                let mut one = RowBuffer::default();
                one.push(Time::from_micros(5), &EventId::Str(format!("{n}").into()), Time::from_micros(6), 7, &values);
                let at = place.index(expected.len() + 1);
                block.insert(at, &one.rows(&layout).row(0));
                expected.insert(at, (format!("{n}"), values));
            }
            let at = cut.index(expected.len() + 1);
            let tail = block.split_off(at, &layout);
            let both = block.rows(&layout).iter().chain(tail.rows(&layout).iter());
            let found: Vec<_> = both.map(|row| (row.text_id().to_owned(), [row.value(0).to_value(), row.value(1).to_value()])).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(block.len(), at);
        }
    }
}
