//! A feature of the definition file: its function with parameters, column, filter, windows and default.

use super::error::Problems;
use super::grammar::{DEFAULT_EXACT, FEATURE, MAX_EXACT, MAX_K};
use super::reader::{Fields, Item};
use super::{OutputType, Source, windows};
use crate::aggregate::Function;
use crate::expression::{Expression, Scope};
use crate::schema::Schema;
use crate::time::{Span, Time};
use crate::value::{Type, Value};
use crate::window::Window;

/// A feature before its view puts it into a slot; positions are those of the source's schema.
pub(super) struct Draft<'a> {
    pub(super) at: Item<'a>,
    pub(super) name: String,
    pub(super) function: Function,
    pub(super) column: Option<usize>,
    pub(super) filter: Option<Expression>,
    pub(super) windows: Vec<Window>,
    pub(super) delay: Span,
    pub(super) default: Value,
    pub(super) kind: OutputType,
}

/// Without a source (it is wrong and has been told), only what needs no columns is checked.
pub(super) fn parse<'a>(name: &str, item: &Item<'a>, source: Option<&Source>, problems: &mut Problems) -> Option<Draft<'a>> {
    let fields = item.fields(&FEATURE, problems)?;
    let windows = fields.get("windows").and_then(|item| windows::parse(item, problems));
    let delay = match fields.get("delay") {
        Some(item) => item.span(problems),
        None => Some(Span::ZERO),
    };
    let choice = fields.choice(&FEATURE, problems);
    let function = choice.as_ref().and_then(|(function, _)| function_of(function, &fields, problems));
    if let (Some(Function::Rate), Some(windows)) = (&function, &windows)
        && let Some(endless) = windows.iter().find(|w| matches!(w, Window::Session { .. } | Window::Lifetime))
    {
        item.wrong(
            format!("a rate needs a window of fixed length, found {}; expected rolling, tumbling or sliding", endless.label()),
            problems,
        );
        return None;
    }
    let schema = &source?.schema;
    let filter = fields.get("where").map(|item| filter(item, schema, problems));
    let (function_name, column_at) = choice?;
    let column = column(function_name, &column_at, schema, problems)?;
    let kind = output_type(function?, column.map(|at| schema.columns[at].kind));
    let Some(kind) = kind else {
        let (column, kind) = column.map(|at| (&schema.columns[at].name, schema.columns[at].kind))?;
        let expected = if matches!(function_name, "sum" | "mean") { "a bool, int64 or float64" } else { "an int64 or float64" };
        column_at.wrong(format!("{function_name} needs {expected} column, \"{column}\" is {kind}"), problems);
        return None;
    };
    let default = match fields.get("default") {
        Some(item) => default(item, kind, problems)?,
        None => Value::Null,
    };
    let filter = match filter {
        Some(filter) => Some(filter?),
        None => None,
    };
    Some(Draft {
        at: item.clone(),
        name: name.to_owned(),
        function: function?,
        column,
        filter,
        windows: windows?,
        delay: delay?,
        default,
        kind,
    })
}

/// The function with its parameters; those of other functions are refused.
fn function_of(name: &str, fields: &Fields<'_>, problems: &mut Problems) -> Option<Function> {
    let parameters = [("k", &["first_k", "last_k", "top_k"][..]), ("q", &["quantile"]), ("exact_up_to", &["distinct"])];
    let mut fits = true;
    for (key, functions) in parameters {
        match fields.get(key) {
            Some(item) if !functions.contains(&name) => {
                item.wrong(format!("{name} has no {key}, expected it with {}", functions.join(", ")), problems);
                fits = false;
            }
            None if functions.contains(&name) && key != "exact_up_to" => {
                let range = if key == "k" { format!("a whole number in 1..={MAX_K}") } else { "a number in 0..=1".to_owned() };
                fields.at().wrong(format!("{name} needs the key \"{key}\", {range}"), problems);
                fits = false;
            }
            _ => {}
        }
    }
    if !fits {
        return None;
    }
    let k = |problems: &mut Problems| fields.get("k").and_then(|item| item.whole((1, MAX_K), problems));
    Some(match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "min" => Function::Min,
        "max" => Function::Max,
        "var_pop" => Function::VarPop,
        "var_samp" => Function::VarSamp,
        "stddev_pop" => Function::StddevPop,
        "stddev_samp" => Function::StddevSamp,
        "first" => Function::First,
        "last" => Function::Last,
        "first_k" => Function::FirstK { k: k(problems)? },
        "last_k" => Function::LastK { k: k(problems)? },
        "top_k" => Function::TopK { k: k(problems)? },
        "distinct" => Function::Distinct {
            exact_up_to: match fields.get("exact_up_to") {
                Some(item) => item.whole((1, MAX_EXACT), problems)?,
                None => DEFAULT_EXACT,
            },
        },
        "quantile" => Function::Quantile { q: fields.get("q")?.fraction(problems)? },
        "rate" => Function::Rate,
        "time_since_last" => Function::TimeSinceLast,
        _ => return None,
    })
}

/// The column that the function is of; `Some(None)` for `"*"`.
fn column(function: &str, item: &Item<'_>, schema: &Schema, problems: &mut Problems) -> Option<Option<usize>> {
    if item.scalar() != Some("*") {
        return item.column(schema, problems).map(Some);
    }
    if matches!(function, "count" | "rate" | "time_since_last") {
        return Some(None);
    }
    item.wrong(format!("{function} needs a column, expected \"*\" with count, rate or time_since_last only"), problems);
    None
}

/// What the function of such a column gives; `None` if it is not defined.
fn output_type(function: Function, column: Option<Type>) -> Option<OutputType> {
    let number = matches!(column, Some(Type::Int64 | Type::Float64));
    let scalar = match function {
        Function::Count | Function::Distinct { .. } => Type::Int64,
        Function::Rate | Function::TimeSinceLast => Type::Float64,
        Function::Sum if column == Some(Type::Float64) => Type::Float64,
        Function::Sum if column?.is_numeric() => Type::Int64,
        Function::Mean if column?.is_numeric() => Type::Float64,
        Function::VarPop | Function::VarSamp | Function::StddevPop | Function::StddevSamp | Function::Quantile { .. } if number => {
            Type::Float64
        }
        Function::Min | Function::Max | Function::First | Function::Last => column?,
        Function::FirstK { .. } | Function::LastK { .. } | Function::TopK { .. } => return Some(OutputType::List(column?)),
        _ => return None,
    };
    Some(OutputType::Scalar(scalar))
}

fn default(item: &Item<'_>, kind: OutputType, problems: &mut Problems) -> Option<Value> {
    if item.is_null() {
        return Some(Value::Null);
    }
    match kind {
        OutputType::Scalar(kind) => constant(item, kind, problems),
        OutputType::List(kind) => {
            let items = item.list(&format!("a list of {kind}"), problems)?;
            let values = items.iter().map(|item| constant(item, kind, problems)).collect::<Option<Vec<Value>>>()?;
            Some(Value::List(values.into()))
        }
    }
}

fn constant(item: &Item<'_>, kind: Type, problems: &mut Problems) -> Option<Value> {
    let value = item.scalar().and_then(|text| match kind {
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Int64 => text.parse().ok().map(Value::Int),
        Type::Float64 => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float),
        Type::String => Some(Value::Str(text.into())),
        Type::Timestamp => Time::parse(text).map(Value::Time),
    });
    value.or_else(|| item.expected(&format!("a value of type {kind}, which the feature gives"), problems))
}

/// The columns of a source, for `where`.
struct Columns<'a>(&'a Schema);

impl Scope for Columns<'_> {
    fn resolve(&self, name: &str) -> Option<(usize, Type)> {
        let position = self.0.position(name)?;
        Some((position, self.0.columns[position].kind))
    }

    fn names(&self) -> Vec<String> {
        self.0.columns.iter().map(|column| column.name.clone()).collect()
    }
}

fn filter(item: &Item<'_>, schema: &Schema, problems: &mut Problems) -> Option<Expression> {
    let text = item.text("an expression such as amount > 100", problems)?;
    match Expression::compile(text, &Columns(schema)) {
        Ok(filter) if filter.kind() == Type::Bool => Some(filter),
        Ok(other) => {
            item.wrong(format!("expected an expression that is true or false, found one of type {}", other.kind()), problems);
            None
        }
        Err(e) => {
            item.wrong(e.message, problems);
            None
        }
    }
}
