//! The compiled tree and its evaluation. Types are proven when it is built; what does not fit after all is null.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Inputs;
use super::function::Call;
use super::like::Pattern;
use crate::time::Time;
use crate::value::{Value, ValueRef};

/// One step of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Input(usize),
    Literal(Value),
    /// An integer becomes a float.
    ToFloat(Box<Node>),
    Negate(Box<Node>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    // The usual `where`: a column against a literal, without a detour.
    CompareInt(Comparison, usize, i64),
    CompareFloat(Comparison, usize, f64),
    CompareText(Comparison, usize, Box<str>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    IsNull(Box<Node>),
    In(Box<Node>, Vec<Node>),
    /// Value, least, greatest.
    Between(Box<[Node; 3]>),
    Like(Box<Node>, Pattern),
    Case {
        operand: Option<Box<Node>>,
        arms: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    Call(Call, Vec<Node>),
}

/// Operators of numbers; `Minus` also of two instants, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

/// A comparison as the set of orderings that it holds for: bit 0 less, bit 1 equal, bit 2 greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison(u8);

impl Comparison {
    pub(super) const LESS: Comparison = Comparison(0b001);
    pub(super) const EQUAL: Comparison = Comparison(0b010);
    pub(super) const GREATER: Comparison = Comparison(0b100);
    pub(super) const AT_MOST: Comparison = Comparison(0b011);
    pub(super) const AT_LEAST: Comparison = Comparison(0b110);
    pub(super) const DIFFERENT: Comparison = Comparison(0b101);

    #[inline]
    fn holds(self, ordering: Ordering) -> bool {
        self.0 >> (ordering as i8 + 1) & 1 == 1
    }

    /// The comparison of the same two the other way round.
    pub(super) fn flipped(self) -> Comparison {
        Comparison((self.0 & 0b010) | (self.0 & 0b001) << 2 | self.0 >> 2)
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Comparison::LESS => "<",
            Comparison::EQUAL => "=",
            Comparison::GREATER => ">",
            Comparison::AT_MOST => "<=",
            Comparison::AT_LEAST => ">=",
            _ => "<>",
        }
    }
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arithmetic::Plus => "+",
            Arithmetic::Minus => "-",
            Arithmetic::Times => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
        }
    }
}

/// A value on its way up the tree: borrowed, but for text that was made here.
#[derive(Clone, Debug)]
pub(super) enum Word<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    Time(Time),
}

impl<'a> From<ValueRef<'a>> for Word<'a> {
    fn from(value: ValueRef<'a>) -> Word<'a> {
        match value {
            ValueRef::Null => Word::Null,
            ValueRef::Bool(b) => Word::Bool(b),
            ValueRef::Int(i) => Word::Int(i),
            ValueRef::Float(x) => Word::Float(x),
            ValueRef::Str(s) => Word::Str(Cow::Borrowed(s)),
            ValueRef::Time(t) => Word::Time(t),
        }
    }
}

impl Word<'_> {
    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Word::Null => ValueRef::Null,
            Word::Bool(b) => ValueRef::Bool(*b),
            Word::Int(i) => ValueRef::Int(*i),
            Word::Float(x) => ValueRef::Float(*x),
            Word::Str(s) => ValueRef::Str(s),
            Word::Time(t) => ValueRef::Time(*t),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Word::Null)
    }

    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Word::Int(i) => Some(i as f64),
            Word::Float(x) => Some(x),
            _ => None,
        }
    }

    /// `None` if one of them is null.
    pub(super) fn compare(&self, other: &Word<'_>) -> Option<Ordering> {
        match (self, other) {
            (Word::Bool(a), Word::Bool(b)) => Some(a.cmp(b)),
            (Word::Int(a), Word::Int(b)) => Some(a.cmp(b)),
            (Word::Str(a), Word::Str(b)) => Some(a.cmp(b)),
            (Word::Time(a), Word::Time(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }

    /// Null unless finite.
    pub(super) fn finite(x: f64) -> Word<'static> {
        if x.is_finite() { Word::Float(x) } else { Word::Null }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Word::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl From<Option<bool>> for Word<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Word::Null, Word::Bool)
    }
}

impl Node {
    /// Its value.
    pub(super) fn word<'a, I: Inputs + ?Sized>(&'a self, inputs: &'a I) -> Word<'a> {
        match self {
            Node::Input(position) => inputs.input(*position).into(),
            Node::Literal(value) => value.as_ref().into(),
            Node::ToFloat(of) => match of.word(inputs) {
                Word::Int(i) => Word::Float(i as f64),
                other => other,
            },
            Node::Negate(of) => match of.word(inputs) {
                Word::Int(i) => i.checked_neg().map_or(Word::Null, Word::Int),
                Word::Float(x) => Word::Float(-x),
                _ => Word::Null,
            },
            Node::Arithmetic(operator, sides) => arithmetic(*operator, sides[0].word(inputs), sides[1].word(inputs)),
            Node::Case { operand, arms, otherwise } => case(operand.as_deref(), arms, otherwise.as_deref(), inputs),
            Node::Call(call, arguments) => call.evaluate(arguments, inputs),
            Node::Compare(..)
            | Node::CompareInt(..)
            | Node::CompareFloat(..)
            | Node::CompareText(..)
            | Node::And(_)
            | Node::Or(_)
            | Node::Not(_)
            | Node::IsNull(_)
            | Node::In(..)
            | Node::Between(_)
            | Node::Like(..) => self.truth(inputs).into(),
        }
    }

    /// Its value as one of three: true, false, null.
    #[inline]
    pub(super) fn truth<I: Inputs + ?Sized>(&self, inputs: &I) -> Option<bool> {
        match self {
            Node::CompareFloat(comparison, position, literal) => match inputs.input(*position) {
                ValueRef::Float(x) => Some(comparison.holds(x.partial_cmp(literal)?)),
                _ => None,
            },
            Node::CompareInt(comparison, position, literal) => match inputs.input(*position) {
                ValueRef::Int(i) => Some(comparison.holds(i.cmp(literal))),
                _ => None,
            },
            Node::CompareText(comparison, position, literal) => match inputs.input(*position) {
                ValueRef::Str(s) => Some(comparison.holds(s.cmp(literal))),
                _ => None,
            },
            Node::Input(position) => match inputs.input(*position) {
                ValueRef::Bool(b) => Some(b),
                _ => None,
            },
            _ => self.truth_of_tree(inputs),
        }
    }

    fn truth_of_tree<I: Inputs + ?Sized>(&self, inputs: &I) -> Option<bool> {
        match self {
            Node::And(parts) => decided_by(false, parts.iter().map(|part| part.truth(inputs))),
            Node::Or(parts) => decided_by(true, parts.iter().map(|part| part.truth(inputs))),
            Node::Not(of) => of.truth(inputs).map(|truth| !truth),
            Node::IsNull(of) => Some(of.word(inputs).is_null()),
            Node::Compare(comparison, sides) => {
                let ordering = sides[0].word(inputs).compare(&sides[1].word(inputs))?;
                Some(comparison.holds(ordering))
            }
            Node::In(of, list) => {
                let found = of.word(inputs);
                decided_by(true, list.iter().map(|item| Some(found.compare(&item.word(inputs))?.is_eq())))
            }
            Node::Between(parts) => {
                let value = parts[0].word(inputs);
                let above = value.compare(&parts[1].word(inputs)).map(Ordering::is_ge);
                let below = value.compare(&parts[2].word(inputs)).map(Ordering::is_le);
                decided_by(false, [above, below].into_iter())
            }
            Node::Like(of, pattern) => match of.word(inputs) {
                Word::Str(text) => Some(pattern.matches(&text)),
                _ => None,
            },
            _ => self.word(inputs).truth(),
        }
    }

    /// Every position that it reads, with repeats.
    pub(super) fn inputs(&self, out: &mut Vec<usize>) {
        match self {
            Node::Input(position)
            | Node::CompareInt(_, position, _)
            | Node::CompareFloat(_, position, _)
            | Node::CompareText(_, position, _) => out.push(*position),
            _ => self.children().into_iter().for_each(|child| child.inputs(out)),
        }
    }

    /// Puts every position through the function.
    pub(super) fn remap(&mut self, to: &dyn Fn(usize) -> usize) {
        match self {
            Node::Input(position)
            | Node::CompareInt(_, position, _)
            | Node::CompareFloat(_, position, _)
            | Node::CompareText(_, position, _) => *position = to(*position),
            _ => self.children_mut().into_iter().for_each(|child| child.remap(to)),
        }
    }

    fn children(&self) -> Vec<&Node> {
        match self {
            Node::Input(_) | Node::Literal(_) | Node::CompareInt(..) | Node::CompareFloat(..) | Node::CompareText(..) => Vec::new(),
            Node::ToFloat(of) | Node::Negate(of) | Node::Not(of) | Node::IsNull(of) | Node::Like(of, _) => vec![of],
            Node::Arithmetic(_, sides) | Node::Compare(_, sides) => sides.iter().collect(),
            Node::Between(parts) => parts.iter().collect(),
            Node::And(parts) | Node::Or(parts) | Node::Call(_, parts) => parts.iter().collect(),
            Node::In(of, list) => std::iter::once(&**of).chain(list).collect(),
            Node::Case { operand, arms, otherwise } => {
                operand.as_deref().into_iter().chain(arms.iter().flat_map(|(a, b)| [a, b])).chain(otherwise.as_deref()).collect()
            }
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Node> {
        match self {
            Node::Input(_) | Node::Literal(_) | Node::CompareInt(..) | Node::CompareFloat(..) | Node::CompareText(..) => Vec::new(),
            Node::ToFloat(of) | Node::Negate(of) | Node::Not(of) | Node::IsNull(of) | Node::Like(of, _) => vec![of],
            Node::Arithmetic(_, sides) | Node::Compare(_, sides) => sides.iter_mut().collect(),
            Node::Between(parts) => parts.iter_mut().collect(),
            Node::And(parts) | Node::Or(parts) | Node::Call(_, parts) => parts.iter_mut().collect(),
            Node::In(of, list) => std::iter::once(&mut **of).chain(list).collect(),
            Node::Case { operand, arms, otherwise } => {
                let arms = arms.iter_mut().flat_map(|(a, b)| [a, b]);
                operand.as_deref_mut().into_iter().chain(arms).chain(otherwise.as_deref_mut()).collect()
            }
        }
    }
}

/// AND (decided by a false) and OR (decided by a true): else null if one is null, else the other truth.
#[inline]
fn decided_by(deciding: bool, truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(!deciding);
    for truth in truths {
        match truth {
            Some(truth) if truth == deciding => return Some(deciding),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn arithmetic(operator: Arithmetic, left: Word<'_>, right: Word<'_>) -> Word<'static> {
    let whole = |result: Option<i64>| result.map_or(Word::Null, Word::Int);
    match (operator, &left, &right) {
        (Arithmetic::Plus, Word::Int(a), Word::Int(b)) => return whole(a.checked_add(*b)),
        (Arithmetic::Minus, Word::Int(a), Word::Int(b)) => return whole(a.checked_sub(*b)),
        (Arithmetic::Times, Word::Int(a), Word::Int(b)) => return whole(a.checked_mul(*b)),
        (Arithmetic::Modulo, Word::Int(a), Word::Int(b)) => return whole(a.checked_rem(*b)),
        (Arithmetic::Minus, Word::Time(a), Word::Time(b)) => return Word::Float(a.since(*b).as_secs_f64()),
        _ => {}
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else { return Word::Null };
    Word::finite(match operator {
        Arithmetic::Plus => a + b,
        Arithmetic::Minus => a - b,
        Arithmetic::Times => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a % b,
    })
}

fn case<'a, I: Inputs + ?Sized>(
    operand: Option<&'a Node>,
    arms: &'a [(Node, Node)],
    otherwise: Option<&'a Node>,
    inputs: &'a I,
) -> Word<'a> {
    let operand = operand.map(|of| of.word(inputs));
    let taken = arms.iter().find(|(when, _)| match &operand {
        Some(value) => value.compare(&when.word(inputs)) == Some(Ordering::Equal),
        None => when.truth(inputs) == Some(true),
    });
    match (taken, otherwise) {
        (Some((_, then)), _) => then.word(inputs),
        (None, Some(otherwise)) => otherwise.word(inputs),
        (None, None) => Word::Null,
    }
}
