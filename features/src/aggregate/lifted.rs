//! Partials that can be taken away again: counts and exact sums, as two machine integers.

use super::exact::ExactSum;
use super::{Function, Partial};
use crate::definition::Slot;
use crate::row::{HEADER, Row};
use crate::value::Type;

/// A count and a sum, of integers or in units of [`ExactSum`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    n: u64,
    sum: i128,
}

impl Lifted {
    /// Both together; `None` if the sum does not fit.
    #[inline]
    pub fn plus(self, other: Lifted) -> Option<Lifted> {
        Some(Lifted { n: self.n + other.n, sum: self.sum.checked_add(other.sum)? })
    }

    /// What remains after `part` of it is taken away.
    #[inline]
    pub fn minus(self, part: Lifted) -> Lifted {
        Lifted { n: self.n - part.n, sum: self.sum.wrapping_sub(part.sum) }
    }

    /// A partial in this form, if it has one.
    pub fn of(partial: &Partial) -> Option<Lifted> {
        match partial {
            Partial::Count(n) => Some(Lifted { n: *n, sum: 0 }),
            Partial::Ints { n, sum } => Some(Lifted { n: *n, sum: *sum }),
            Partial::Floats { n, sum } => Some(Lifted { n: *n, sum: sum.as_small()? }),
            _ => None,
        }
    }

    /// As a partial of an additive slot.
    #[inline]
    pub fn partial(self, slot: &Slot) -> Partial {
        match (slot.function, slot.kind) {
            (Function::Count | Function::Rate, _) => Partial::Count(self.n),
            (_, Some(Type::Float64)) => Partial::Floats { n: self.n, sum: ExactSum::of_small(self.sum) },
            _ => Partial::Ints { n: self.n, sum: self.sum },
        }
    }
}

impl Slot {
    /// Whether what is added to it can be taken away again: counts, sums and means.
    pub fn is_additive(&self) -> bool {
        matches!(self.function, Function::Count | Function::Rate | Function::Sum | Function::Mean)
    }

    /// What one row adds to an additive slot; `None` if it does not fit.
    #[inline]
    pub fn lift(&self, row: &Row<'_>) -> Option<Lifted> {
        let nothing = Some(Lifted::default());
        if self.filter.as_ref().is_some_and(|filter| !filter.accepts(row)) {
            return nothing;
        }
        let Some(column) = self.column else { return Some(Lifted { n: 1, sum: 0 }) };
        if row.is_null(column) {
            return nothing;
        }
        let word = row.word(HEADER + column);
        let sum = match (self.function, self.kind) {
            (Function::Count | Function::Rate, _) => 0,
            (_, Some(Type::Float64)) => {
                let mut sum = ExactSum::default();
                sum.add(f64::from_bits(word));
                sum.as_small()?
            }
            _ => i128::from(word as i64),
        };
        Some(Lifted { n: 1, sum })
    }
}
