//! The functions of expressions: one table for the check, the messages and the evaluation.

use std::borrow::Cow;

use super::Inputs;
use super::node::{Node, Word};
use crate::time::Time;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Abs,
    Ceil,
    Coalesce,
    DayOfWeek,
    Exp,
    Floor,
    Greatest,
    Hour,
    Least,
    Length,
    Ln,
    Lower,
    Minute,
    Nullif,
    Power,
    Round,
    Sqrt,
    Upper,
}

/// What the arguments of a function must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Numbers; integers stay integers.
    Numbers,
    /// Numbers; integers become floats.
    Floats,
    Text,
    Time,
    /// All of one type.
    Alike,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The type of its arguments.
    Same,
    Float,
    Int,
    Text,
}

/// One row of the table.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) call: Call,
    /// Fewest and most arguments.
    pub(super) arguments: (usize, usize),
    pub(super) takes: Takes,
    pub(super) gives: Gives,
}

const MANY: usize = usize::MAX;

/// Every function, by name.
pub(super) const FUNCTIONS: [Signature; 18] = [
    signature("abs", Call::Abs, (1, 1), Takes::Numbers, Gives::Same),
    signature("ceil", Call::Ceil, (1, 1), Takes::Numbers, Gives::Same),
    signature("coalesce", Call::Coalesce, (1, MANY), Takes::Alike, Gives::Same),
    // 1 is Monday, 7 is Sunday, in UTC.
    signature("day_of_week", Call::DayOfWeek, (1, 1), Takes::Time, Gives::Int),
    signature("exp", Call::Exp, (1, 1), Takes::Floats, Gives::Float),
    signature("floor", Call::Floor, (1, 1), Takes::Numbers, Gives::Same),
    // Null if one argument is, as everywhere.
    signature("greatest", Call::Greatest, (1, MANY), Takes::Alike, Gives::Same),
    // In UTC.
    signature("hour", Call::Hour, (1, 1), Takes::Time, Gives::Int),
    signature("least", Call::Least, (1, MANY), Takes::Alike, Gives::Same),
    // In characters.
    signature("length", Call::Length, (1, 1), Takes::Text, Gives::Int),
    signature("ln", Call::Ln, (1, 1), Takes::Floats, Gives::Float),
    signature("lower", Call::Lower, (1, 1), Takes::Text, Gives::Text),
    signature("minute", Call::Minute, (1, 1), Takes::Time, Gives::Int),
    signature("nullif", Call::Nullif, (2, 2), Takes::Alike, Gives::Same),
    signature("power", Call::Power, (2, 2), Takes::Floats, Gives::Float),
    // Halves away from zero.
    signature("round", Call::Round, (1, 1), Takes::Numbers, Gives::Same),
    signature("sqrt", Call::Sqrt, (1, 1), Takes::Floats, Gives::Float),
    signature("upper", Call::Upper, (1, 1), Takes::Text, Gives::Text),
];

const fn signature(name: &'static str, call: Call, arguments: (usize, usize), takes: Takes, gives: Gives) -> Signature {
    Signature { name, call, arguments, takes, gives }
}

impl Call {
    /// The function of that name, in any case.
    pub(super) fn named(name: &str) -> Option<&'static Signature> {
        FUNCTIONS.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|signature| signature.call == self).map_or("", |signature| signature.name)
    }

    pub(super) fn evaluate<'a, I: Inputs + ?Sized>(self, arguments: &'a [Node], inputs: &'a I) -> Word<'a> {
        let mut words = arguments.iter().map(|argument| argument.word(inputs));
        match self {
            Call::Coalesce => return words.find(|word| !word.is_null()).unwrap_or(Word::Null),
            Call::Least => return extreme(words, std::cmp::Ordering::is_lt),
            Call::Greatest => return extreme(words, std::cmp::Ordering::is_gt),
            _ => {}
        }
        let first = words.next().unwrap_or(Word::Null);
        let second = words.next().unwrap_or(Word::Null);
        match (self, first) {
            (_, Word::Null) => Word::Null,
            (Call::Nullif, first) => {
                let equal = first.compare(&second).is_some_and(std::cmp::Ordering::is_eq);
                if equal { Word::Null } else { first }
            }
            (Call::Abs, Word::Int(i)) => i.checked_abs().map_or(Word::Null, Word::Int),
            (Call::Ceil | Call::Floor | Call::Round, Word::Int(i)) => Word::Int(i),
            (Call::Lower, Word::Str(s)) => Word::Str(Cow::Owned(s.to_lowercase())),
            (Call::Upper, Word::Str(s)) => Word::Str(Cow::Owned(s.to_uppercase())),
            (Call::Length, Word::Str(s)) => i64::try_from(s.chars().count()).map_or(Word::Null, Word::Int),
            (Call::Hour, Word::Time(t)) => Word::Int(since_midnight(t) / MICROS_OF_HOUR),
            (Call::Minute, Word::Time(t)) => Word::Int(since_midnight(t) % MICROS_OF_HOUR / MICROS_OF_MINUTE),
            // The epoch was a Thursday, the fourth day.
            (Call::DayOfWeek, Word::Time(t)) => Word::Int((t.micros().div_euclid(MICROS_OF_DAY) + 3).rem_euclid(7) + 1),
            (call, first) => first.number().map_or(Word::Null, |x| call.of_float(x, &second)),
        }
    }

    fn of_float(self, x: f64, second: &Word<'_>) -> Word<'static> {
        Word::finite(match self {
            Call::Abs => x.abs(),
            Call::Ceil => x.ceil(),
            Call::Floor => x.floor(),
            Call::Round => x.round(),
            Call::Exp => x.exp(),
            Call::Ln => x.ln(),
            Call::Sqrt => x.sqrt(),
            Call::Power => second.number().map_or(f64::NAN, |y| x.powf(y)),
            _ => f64::NAN,
        })
    }
}

const MICROS_OF_MINUTE: i64 = 60_000_000;
const MICROS_OF_HOUR: i64 = 60 * MICROS_OF_MINUTE;
const MICROS_OF_DAY: i64 = 24 * MICROS_OF_HOUR;

fn since_midnight(t: Time) -> i64 {
    t.micros().rem_euclid(MICROS_OF_DAY)
}

fn extreme<'a>(words: impl Iterator<Item = Word<'a>>, better: fn(std::cmp::Ordering) -> bool) -> Word<'a> {
    let mut best: Option<Word<'a>> = None;
    for word in words {
        if word.is_null() {
            return Word::Null;
        }
        if best.as_ref().is_none_or(|best| word.compare(best).is_some_and(better)) {
            best = Some(word);
        }
    }
    best.unwrap_or(Word::Null)
}
