//! Where the rows of a batch stood in their source.

use std::ops::Range;

/// The source position of each row of a batch, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// Row `n` stood at `start + n`: nothing was left out.
    Range(Range<u64>),
    /// One position a row: something between them was rejected or empty.
    List(Vec<u64>),
}

impl Default for Offsets {
    fn default() -> Offsets {
        Offsets::Range(0..0)
    }
}

impl Offsets {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Offsets::Range(range) => range.end.saturating_sub(range.start) as usize,
            Offsets::List(list) => list.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position of a row; `None` past the last one.
    pub fn get(&self, row: usize) -> Option<u64> {
        match self {
            Offsets::Range(range) => (row < self.len()).then(|| range.start + row as u64),
            Offsets::List(list) => list.get(row).copied(),
        }
    }

    /// The positions, row by row.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// Adds the position of one more row: a range stays one as long as there is no gap.
    pub fn push(&mut self, offset: u64) {
        match self {
            Offsets::Range(range) if range.is_empty() => *range = offset..offset + 1,
            Offsets::Range(range) if range.end == offset => range.end += 1,
            Offsets::Range(range) => *self = Offsets::List(range.clone().chain([offset]).collect()),
            Offsets::List(list) => list.push(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_makes_a_list_of_a_range() {
        let mut offsets = Offsets::default();
        assert!(offsets.is_empty());
        for offset in [7, 8, 9] {
            offsets.push(offset);
        }
        assert_eq!(offsets, Offsets::Range(7..10));
        offsets.push(11);
        offsets.push(12);
        assert_eq!(offsets, Offsets::List(vec![7, 8, 9, 11, 12]));
        assert_eq!((offsets.len(), offsets.get(3), offsets.get(5)), (5, Some(11), None));
        assert_eq!(offsets.iter().sum::<u64>(), 47);
    }
}
