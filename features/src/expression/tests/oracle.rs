//! Random expressions against an evaluator too simple to be wrong: optional numbers, integers as `i128`.

use proptest::prelude::*;

use super::*;

/// A tree that prints as SQL. Inputs are `items` (int64) and `amount` (float64), either of them null at times.
#[derive(Clone, Debug)]
enum Num {
    Items,
    Amount,
    Int(i64),
    Float(f64),
    Op(char, Box<Num>, Box<Num>),
    Coalesce(Box<Num>, Box<Num>),
    Case(Box<Truth>, Box<Num>, Box<Num>),
}

#[derive(Clone, Debug)]
enum Truth {
    Compare(&'static str, Num, Num),
    IsNull(Num),
    Between(Num, Num, Num),
    In(Num, Vec<Num>),
    Not(Box<Truth>),
    And(Box<Truth>, Box<Truth>),
    Or(Box<Truth>, Box<Truth>),
}

impl Num {
    fn sql(&self) -> String {
        match self {
            Num::Items => "items".to_owned(),
            Num::Amount => "amount".to_owned(),
            Num::Int(i) => i.to_string(),
            Num::Float(x) => format!("{x:?}"),
            Num::Op(op, a, b) => format!("({} {op} {})", a.sql(), b.sql()),
            Num::Coalesce(a, b) => format!("coalesce({}, {})", a.sql(), b.sql()),
            Num::Case(when, a, b) => format!("CASE WHEN {} THEN {} ELSE {} END", when.sql(), a.sql(), b.sql()),
        }
    }

    fn is_float(&self) -> bool {
        match self {
            Num::Items | Num::Int(_) => false,
            Num::Amount | Num::Float(_) | Num::Op('/', ..) => true,
            Num::Op(_, a, b) | Num::Coalesce(a, b) | Num::Case(_, a, b) => a.is_float() || b.is_float(),
        }
    }

    fn float(&self, items: Option<i64>, amount: Option<f64>) -> Option<f64> {
        if !self.is_float() {
            return self.int(items, amount).map(|i| i as f64);
        }
        match self {
            Num::Amount => amount,
            Num::Float(x) => Some(*x),
            Num::Op(op, a, b) => {
                let (a, b) = (a.float(items, amount)?, b.float(items, amount)?);
                let x = match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' => a / b,
                    _ => a % b,
                };
                x.is_finite().then_some(x)
            }
            Num::Coalesce(a, b) => a.float(items, amount).or_else(|| b.float(items, amount)),
            Num::Case(when, a, b) => if when.holds(items, amount) == Some(true) { a } else { b }.float(items, amount),
            Num::Items | Num::Int(_) => unreachable!("not floats"),
        }
    }

    fn int(&self, items: Option<i64>, amount: Option<f64>) -> Option<i64> {
        match self {
            Num::Items => items,
            Num::Int(i) => Some(*i),
            Num::Op(op, a, b) => {
                let (a, b) = (i128::from(a.int(items, amount)?), i128::from(b.int(items, amount)?));
                let i = match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a.checked_rem(b)?,
                };
                i64::try_from(i).ok()
            }
            Num::Coalesce(a, b) => a.int(items, amount).or_else(|| b.int(items, amount)),
            Num::Case(when, a, b) => if when.holds(items, amount) == Some(true) { a } else { b }.int(items, amount),
            Num::Amount | Num::Float(_) => unreachable!("not integers"),
        }
    }
}

impl Truth {
    fn sql(&self) -> String {
        match self {
            Truth::Compare(op, a, b) => format!("({} {op} {})", a.sql(), b.sql()),
            Truth::IsNull(a) => format!("({} IS NULL)", a.sql()),
            Truth::Between(a, b, c) => format!("({} BETWEEN {} AND {})", a.sql(), b.sql(), c.sql()),
            Truth::In(a, list) => format!("({} IN ({}))", a.sql(), list.iter().map(Num::sql).collect::<Vec<_>>().join(", ")),
            Truth::Not(a) => format!("(NOT {})", a.sql()),
            Truth::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Truth::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
        }
    }

    fn holds(&self, items: Option<i64>, amount: Option<f64>) -> Option<bool> {
        let and = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        let not = |a: Option<bool>| a.map(|a| !a);
        // Small numbers only, so that floats say the same as integers.
        let compare = |op: &str, a: &Num, b: &Num| {
            let (a, b) = (a.float(items, amount)?, b.float(items, amount)?);
            Some(match op {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                ">=" => a >= b,
                "=" => a == b,
                _ => a != b,
            })
        };
        match self {
            Truth::Compare(op, a, b) => compare(op, a, b),
            Truth::IsNull(a) => Some(a.float(items, amount).is_none()),
            Truth::Between(a, b, c) => and(compare(">=", a, b), compare("<=", a, c)),
            #[allow(clippy::manual_try_fold)] // an unknown comparison does not end the search
            Truth::In(a, list) => list.iter().fold(Some(false), |found, b| not(and(not(found), not(compare("=", a, b))))),
            Truth::Not(a) => not(a.holds(items, amount)),
            Truth::And(a, b) => and(a.holds(items, amount), b.holds(items, amount)),
            Truth::Or(a, b) => not(and(not(a.holds(items, amount)), not(b.holds(items, amount)))),
        }
    }
}

fn numbers() -> BoxedStrategy<Num> {
    let leaf = prop_oneof![
        Just(Num::Items),
        Just(Num::Amount),
        (-5_i64..100).prop_map(Num::Int),
        (0_u32..40).prop_map(|x| Num::Float(f64::from(x) / 4.0)),
    ];
    leaf.prop_recursive(3, 12, 2, |of| {
        let op = prop::sample::select(vec!['+', '-', '*', '/', '%']);
        let compared = (prop::sample::select(vec!["<", "=", ">="]), of.clone(), of.clone()).prop_map(|(op, a, b)| Truth::Compare(op, a, b));
        prop_oneof![
            (op, of.clone(), of.clone()).prop_map(|(op, a, b)| Num::Op(op, Box::new(a), Box::new(b))),
            (of.clone(), of.clone()).prop_map(|(a, b)| Num::Coalesce(Box::new(a), Box::new(b))),
            (compared, of.clone(), of).prop_map(|(when, a, b)| Num::Case(Box::new(when), Box::new(a), Box::new(b))),
        ]
    })
    .boxed()
}

fn truths() -> BoxedStrategy<Truth> {
    let op = prop::sample::select(vec!["<", "<=", ">", ">=", "=", "<>"]);
    let leaf = prop_oneof![
        (op, numbers(), numbers()).prop_map(|(op, a, b)| Truth::Compare(op, a, b)),
        numbers().prop_map(Truth::IsNull),
        (numbers(), numbers(), numbers()).prop_map(|(a, b, c)| Truth::Between(a, b, c)),
        (numbers(), prop::collection::vec(numbers(), 1..4)).prop_map(|(a, list)| Truth::In(a, list)),
    ];
    leaf.prop_recursive(3, 12, 2, |of| {
        prop_oneof![
            of.clone().prop_map(|a| Truth::Not(Box::new(a))),
            (of.clone(), of.clone()).prop_map(|(a, b)| Truth::And(Box::new(a), Box::new(b))),
            (of.clone(), of).prop_map(|(a, b)| Truth::Or(Box::new(a), Box::new(b))),
        ]
    })
    .boxed()
}

fn inputs(items: Option<i64>, amount: Option<f64>) -> [ValueRef<'static>; 2] {
    [amount.map_or(ValueRef::Null, ValueRef::Float), items.map_or(ValueRef::Null, ValueRef::Int)]
}

proptest! {
    #[test]
    fn numbers_agree_with_the_oracle(
        tree in numbers(),
        items in prop::option::of(-5_i64..50),
        amount in prop::option::of((-20_i32..80).prop_map(|x| f64::from(x) / 4.0)),
    ) {
        let expression = compiled(&tree.sql());
        let expected = if tree.is_float() {
            tree.float(items, amount).map_or(Value::Null, Value::Float)
        } else {
            tree.int(items, amount).map_or(Value::Null, Value::Int)
        };
        prop_assert_eq!(expression.evaluate(inputs(items, amount).as_slice()), expected, "{}", tree.sql());
        prop_assert_eq!(compiled(&expression.to_string()), expression);
    }

    #[test]
    fn truths_agree_with_the_oracle(
        tree in truths(),
        items in prop::option::of(-5_i64..50),
        amount in prop::option::of((-20_i32..80).prop_map(|x| f64::from(x) / 4.0)),
    ) {
        let expression = compiled(&tree.sql());
        let expected = tree.holds(items, amount);
        let row = inputs(items, amount);
        prop_assert_eq!(expression.evaluate(row.as_slice()), expected.map_or(Value::Null, Value::Bool), "{}", tree.sql());
        prop_assert_eq!(expression.accepts(row.as_slice()), expected == Some(true));
    }

    /// Whatever is typed, the answer is an expression or an error.
    #[test]
    fn no_text_is_fatal(words in prop::collection::vec(prop::sample::select(vec![
        "amount", "items", "country", "at", "(", ")", "+", "-", "*", "/", ",", "=", "<", "AND", "OR", "NOT", "CASE", "WHEN", "THEN",
        "ELSE", "END", "IN", "BETWEEN", "LIKE", "IS", "NULL", "'a%'", "1", "2.5", "coalesce", "hour", "EXTRACT", "HOUR", "FROM", ".",
        "TIMESTAMP", "'", "\"", "[", "]", "::", "INTERVAL", "SELECT", "{", "}", "?", "$1", ";", "--", "/*", "\u{1f600}",
    ]), 0..12)) {
        let _ = Expression::compile(&words.join(" "), &Transaction);
    }
}
