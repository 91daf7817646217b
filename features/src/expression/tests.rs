//! Expressions as tables: text in, value or error out.

mod oracle;

use super::*;
use crate::time::Time;

/// A transaction: what the stories below are over.
struct Transaction;

const COLUMNS: [(&str, Type); 9] = [
    ("amount", Type::Float64),
    ("items", Type::Int64),
    ("country", Type::String),
    ("fraud", Type::Bool),
    ("at", Type::Timestamp),
    ("fee", Type::Float64),
    ("view.avg_7d", Type::Float64),
    ("user", Type::String),
    ("big", Type::Int64),
];

impl Scope for Transaction {
    fn resolve(&self, name: &str) -> Option<(usize, Type)> {
        let position = COLUMNS.iter().position(|(column, _)| *column == name)?;
        Some((position, COLUMNS[position].1))
    }

    fn names(&self) -> Vec<String> {
        COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn refuses(&self, name: &str) -> Option<String> {
        (name == "view.last3_7d").then(|| "view.last3_7d is a list".to_owned())
    }
}

/// amount=20.5 items=3 country='Fr' fraud=null at=Sunday 2018-04-01 13:45:10 fee=0 view.avg_7d=8 user='u' big=i64::MAX
fn row() -> Vec<ValueRef<'static>> {
    let at = Time::parse("2018-04-01 13:45:10").expect("an instant");
    vec![
        ValueRef::Float(20.5),
        ValueRef::Int(3),
        ValueRef::Str("Fr"),
        ValueRef::Null,
        ValueRef::Time(at),
        ValueRef::Float(0.0),
        ValueRef::Float(8.0),
        ValueRef::Str("u"),
        ValueRef::Int(i64::MAX),
    ]
}

fn compiled(text: &str) -> Expression {
    Expression::compile(text, &Transaction).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn check(text: &str, expected: &str) {
    let expression = compiled(text);
    let value = expression.evaluate(row().as_slice());
    assert_eq!(format!("{} {value}", expression.kind()), expected, "{text}");
    // Its own text is the same expression, and moving its inputs does not change its value.
    assert_eq!(compiled(&expression.to_string()), expression, "{text}");
    let mut moved = vec![ValueRef::Null; 2];
    moved.extend(row());
    assert_eq!(expression.remap(&|at| at + 2).evaluate(moved.as_slice()), value, "{text}");
}

fn refused(text: &str, expected: &str) {
    let message = Expression::compile(text, &Transaction).map(|e| e.to_string()).expect_err(text).message;
    assert_eq!(message, expected, "{text}");
}

#[test]
fn numbers() {
    check("amount + 1", "float64 21.5");
    check("items + 1", "int64 4");
    check("items * 2 - 1", "int64 5");
    check("items / 2", "float64 1.5");
    check("items % 2", "int64 1");
    check("-items", "int64 -3");
    check("+items", "int64 3");
    check("- amount * 2", "float64 -41");
    check("amount / view.avg_7d", "float64 2.5625");
    check("-9223372036854775808", "int64 -9223372036854775808");
    check("1e3", "float64 1000");
    check("at - TIMESTAMP '2018-04-01 13:45:00'", "float64 10");
    check("1 + 2 * 3", "int64 7");
    check("(1 + 2) * 3", "int64 9");
}

#[test]
fn what_has_no_value_is_null() {
    check("amount / fee", "float64 null");
    check("items / 0", "float64 null");
    check("items % 0", "int64 null");
    check("amount % 0", "float64 null");
    check("big + 1", "int64 null");
    check("big * 2", "int64 null");
    check("- (0 - big - 1)", "int64 null");
    check("1e308 * 10", "float64 null");
    check("ln(fee)", "float64 null");
    check("sqrt(0 - amount)", "float64 null");
    check("items + NULL", "int64 null");
    check("CASE WHEN fraud THEN 1 END", "int64 null");
    check("least(items, null)", "int64 null");
    check("country = null", "bool null");
}

#[test]
fn truths() {
    check("amount > 20", "bool true");
    check("20 < amount", "bool true");
    check("20.5 >= amount", "bool true");
    check("items = 3", "bool true");
    check("items > 2.5", "bool true");
    check("items <> 3", "bool false");
    check("items != 3", "bool false");
    check("country = 'Fr'", "bool true");
    check("country > 'De'", "bool true");
    check("user = 'u'", "bool true");
    check("at >= '2018-04-01'", "bool true");
    check("at < TIMESTAMP '2018-04-01 00:00:00'", "bool false");
    check("at = at", "bool true");
    check("fraud = true", "bool null");
}

#[test]
fn three_valued_logic() {
    check("fraud", "bool null");
    check("NOT fraud", "bool null");
    check("fraud AND false", "bool false");
    check("fraud AND true", "bool null");
    check("fraud OR true", "bool true");
    check("fraud OR false", "bool null");
    check("true AND amount > 1 AND items > 1 AND country = 'Fr'", "bool true");
    check("amount > 1 AND items > 5 OR country = 'Fr'", "bool true");
    check("fraud IS NULL", "bool true");
    check("fraud IS NOT NULL", "bool false");
    check("fraud IS TRUE", "bool false");
    check("fraud IS NOT TRUE", "bool true");
    check("fraud IS NOT FALSE", "bool true");
    check("amount > 1 IS TRUE", "bool true");
}

#[test]
fn sets_ranges_and_patterns() {
    check("country IN ('De', 'Fr')", "bool true");
    check("country NOT IN ('De', 'Fr')", "bool false");
    check("items IN (1, 2, null)", "bool null");
    check("items IN (1, 3, null)", "bool true");
    check("items IN (1, 3.0)", "bool true");
    check("amount BETWEEN 20 AND 20.5", "bool true");
    check("amount NOT BETWEEN 20 AND 20.5", "bool false");
    check("amount BETWEEN 21 AND null", "bool false");
    check("amount BETWEEN 20 AND null", "bool null");
    check("at BETWEEN '2018-04-01' AND '2018-04-02'", "bool true");
    check("country LIKE 'F%'", "bool true");
    check("country LIKE '_r'", "bool true");
    check("country NOT LIKE '%x%'", "bool true");
    check("'aXbXc' LIKE '%X_'", "bool true");
    check("'abc' LIKE 'abc%%'", "bool true");
    check("'abc' LIKE 'ab'", "bool false");
}

#[test]
fn choices_and_functions() {
    check("CASE WHEN amount > 100 THEN 'big' WHEN amount > 10 THEN 'mid' ELSE 'small' END", "string mid");
    check("CASE items WHEN 3 THEN 1 ELSE 0.5 END", "float64 1");
    check("CASE country WHEN 'De' THEN 1 END", "int64 null");
    check("coalesce(fraud, true)", "bool true");
    check("COALESCE(items, 0.5)", "float64 3");
    check("abs(1 - items)", "int64 2");
    check("least(items, amount, 7)", "float64 3");
    check("GREATEST(items, 7)", "int64 7");
    check("exp(ln(1))", "float64 1");
    check("ln(items) > 1", "bool true");
    check("sqrt(16)", "float64 4");
    check("power(items, 2)", "float64 9");
    check("floor(amount) + ceil(amount)", "float64 41");
    check("round(amount)", "float64 21");
    check("round(items)", "int64 3");
    check("lower(country)", "string fr");
    check("UPPER(country) = 'FR'", "bool true");
    check("length(country)", "int64 2");
    check("nullif(items, 3)", "int64 null");
    check("hour(at)", "int64 13");
    check("EXTRACT(HOUR FROM at)", "int64 13");
    check("EXTRACT(minute FROM at)", "int64 45");
    check("day_of_week(at)", "int64 7");
    check("extract(isodow from at) >= 6", "bool true");
}

#[test]
fn errors_say_what_was_expected() {
    refused("", "expected an expression, found nothing");
    refused("amount >", "cannot be read as SQL: expected an expression, found its end");
    refused("amount 3", "expected the end of the expression, found \"3\"");
    refused("amount > 'a", "cannot be read as SQL: Unterminated string literal");
    let names = "amount, items, country, fraud, at, fee, view.avg_7d, user, big";
    refused("amout > 3", &format!("unknown name \"amout\", expected one of {names}; did you mean \"amount\"?"));
    refused("amount > view.avg_7", &format!("unknown name \"view.avg_7\", expected one of {names}; did you mean \"view.avg_7d\"?"));
    refused("country = \"Fr\"", &format!("unknown name \"Fr\", expected one of {names}; text stands in single quotes"));
    refused("view.last3_7d > 3", "view.last3_7d is a list");
    let functions = FUNCTIONS.map(|signature| signature.name).join(", ");
    refused("sqr(amount)", &format!("unknown function \"sqr\", expected one of {functions}; did you mean \"sqrt\"?"));
    refused("sqrt(amount, 2)", "expected 1 argument in sqrt(...), found 2");
    refused("sqrt(country)", "expected a number in sqrt(...), found string");
    refused("hour(amount)", "expected timestamp in hour(...), found float64");
    refused("amount = 'a'", "expected a number beside =, found string");
    refused("country = 1", "expected string beside =, found int64");
    refused("fraud = 1", "expected bool beside =, found int64");
    refused("amount + country", "expected a number on the right of \"+\", found string");
    refused("fraud * 2", "expected a number on the left of \"*\", found bool");
    refused("amount AND fraud", "expected bool beside AND, found float64");
    refused("NOT amount", "expected bool after NOT, found float64");
    refused("CASE WHEN amount THEN 1 END", "expected bool after WHEN, found float64");
    refused("CASE WHEN fraud THEN 1 ELSE 'a' END", "expected a number beside THEN and ELSE, found string");
    refused("amount LIKE 'a'", "expected string before LIKE, found float64");
    refused("country LIKE user", "expected a pattern in single quotes after LIKE, such as 'a%'");
    refused("at > 'soon'", "'soon' is not an instant, expected one such as '2018-04-01 00:00:00'");
    refused("EXTRACT(YEAR FROM at)", "cannot extract YEAR, expected one of HOUR, MINUTE, ISODOW");
    refused("99999999999999999999", "number 99999999999999999999 is out of range, expected an int64 or a float64 such as 1e20");
    refused("NULL", "the value is always null, expected an expression with a type");
    refused(
        "CAST(amount AS INT)",
        "\"CAST(amount AS INT)\" is not offered here, expected columns, literals, + - * / %, comparisons, AND, OR, NOT, IS NULL, IN, \
         BETWEEN, LIKE, CASE or a function",
    );
}

#[test]
fn hostile_text_is_refused_not_fatal() {
    let deep = format!("{}1{}", "(".repeat(3_000), ")".repeat(3_000));
    refused(&deep, "too long, expected at most 4000 words and signs");
    let deep = format!("{}1{}", "(".repeat(1_900), ")".repeat(1_900));
    refused(&deep, "nested too deeply, expected at most 100 levels");
    assert!(Expression::compile(&"NOT ".repeat(3_000), &Transaction).is_err());
    assert!(Expression::compile(&"CASE WHEN ".repeat(1_000), &Transaction).is_err());
    assert!(Expression::compile(&"coalesce(".repeat(1_000), &Transaction).is_err());
    refused(&format!("1{}", " + 1".repeat(1_900)), "nested too deeply, expected at most 100 levels");
    refused(&"- ".repeat(3_000), "nested too deeply, expected at most 100 levels");
    let long = format!("amount = 1{}", " OR amount = 1".repeat(600));
    check(&long, "bool false");
}

#[test]
fn it_knows_its_inputs_and_accepts_only_truth() {
    let expression = compiled("items > 1 AND amount > 2 OR amount IN (fee, 3)");
    assert_eq!(expression.inputs(), [0, 1, 5]);
    assert!(compiled("amount > 20").accepts(row().as_slice()));
    assert!(!compiled("amount > 21").accepts(row().as_slice()));
    assert!(!compiled("fraud").accepts(row().as_slice()), "null is not true");
    assert_eq!(compiled("100 < amount"), compiled("amount>100.0"), "one canonical form");
    assert_eq!(compiled("amount>100").to_string(), "(\"amount\" > 100.0)");
}

use function::FUNCTIONS;
