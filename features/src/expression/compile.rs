//! From text to tree: `sqlparser` reads the grammar, this file checks names and types.
//!
//! Hostile text is refused before it can cost anything: a bound on tokens, on the parser's recursion and on the tree's depth.

use sqlparser::ast::{self, BinaryOperator as Sql, Expr, UnaryOperator};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::function::{Call, FUNCTIONS, Gives, Signature, Takes};
use super::like::Pattern;
use super::node::{Arithmetic, Comparison, Node};
use super::text::{Names, canonical};
use super::{Expression, ExpressionError, Scope};
use crate::suggest;
use crate::time::Time;
use crate::value::{Type, Value};

/// More are refused; an `IN` list of a thousand ids fits.
const MAX_TOKENS: usize = 4_000;
/// Deeper trees are refused, so that neither checking nor evaluating can run out of stack.
const MAX_DEPTH: usize = 100;

type Checked<T> = Result<T, ExpressionError>;

pub(super) fn compile(text: &str, scope: &dyn Scope) -> Checked<Expression> {
    let parsed = parse(text)?;
    let mut checker = Checker { scope, names: Names::new(), depth: 0 };
    let root = checker.check(&parsed)?;
    let Some(kind) = root.kind else {
        return error("the value is always null, expected an expression with a type");
    };
    let text = canonical(&root.node, &checker.names).into();
    Ok(Expression { inputs: super::inputs_of(&root.node), root: root.node, kind, text })
}

fn parse(text: &str) -> Checked<Expr> {
    if text.trim().is_empty() {
        return error("expected an expression, found nothing");
    }
    let dialect = GenericDialect {};
    let tokens = match Tokenizer::new(&dialect, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(e) => return error(format!("cannot be read as SQL: {}", e.message)),
    };
    if tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count() > MAX_TOKENS {
        return error(format!("too long, expected at most {MAX_TOKENS} words and signs"));
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|e| ExpressionError { message: readable(e) })?;
    match parser.peek_token().token {
        Token::EOF => Ok(parsed),
        other => error(format!("expected the end of the expression, found \"{other}\"")),
    }
}

fn readable(e: ParserError) -> String {
    match e {
        ParserError::RecursionLimitExceeded => too_deep(),
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            let text = text.split(" at Line:").next().unwrap_or_default().replacen("Expected: ", "expected ", 1);
            format!("cannot be read as SQL: {}", text.replace("found: EOF", "found its end").replace("found: ", "found "))
        }
    }
}

fn too_deep() -> String {
    format!("nested too deeply, expected at most {MAX_DEPTH} levels")
}

fn error<T>(message: impl Into<String>) -> Checked<T> {
    Err(ExpressionError { message: message.into() })
}

/// A checked part; without a type it is always null, and fits everywhere.
struct Typed {
    node: Node,
    kind: Option<Type>,
}

struct Checker<'a> {
    scope: &'a dyn Scope,
    names: Names,
    depth: usize,
}

impl Checker<'_> {
    fn check(&mut self, expr: &Expr) -> Checked<Typed> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return error(too_deep());
        }
        let checked = self.check_here(expr);
        self.depth -= 1;
        checked
    }

    fn check_here(&mut self, expr: &Expr) -> Checked<Typed> {
        match expr {
            Expr::Nested(inner) => self.check(inner),
            Expr::Identifier(ident) => self.name(std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(idents) => self.name(idents),
            Expr::Value(value) => literal(&value.value, ""),
            Expr::TypedString(typed) => timestamp_literal(typed),
            Expr::UnaryOp { op, expr: of } => self.unary(op, of, expr),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, expr),
            Expr::IsNull(of) => Ok(boolean(Node::IsNull(Box::new(self.check(of)?.node)))),
            Expr::IsNotNull(of) => Ok(negated(true, Node::IsNull(Box::new(self.check(of)?.node)))),
            Expr::IsTrue(of) => self.is_true(of, false, false),
            Expr::IsNotTrue(of) => self.is_true(of, false, true),
            Expr::IsFalse(of) => self.is_true(of, true, false),
            Expr::IsNotFalse(of) => self.is_true(of, true, true),
            Expr::InList { expr: of, list, negated: not } => self.in_list(of, list, *not),
            Expr::Between { expr: of, negated: not, low, high } => {
                let mut parts = vec![self.check(of)?, self.check(low)?, self.check(high)?];
                unify(&mut parts, "BETWEEN")?;
                let [of, low, high] = take(parts);
                Ok(negated(*not, Node::Between(Box::new([of, low, high]))))
            }
            Expr::Like { negated: not, any: false, expr: of, pattern, escape_char: None } => self.like(of, pattern, *not),
            Expr::Case { operand, conditions, else_result, .. } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Function(function) => self.function(function, expr),
            Expr::Floor { expr: of, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call("floor", vec![of])
            }
            Expr::Ceil { expr: of, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call("ceil", vec![of])
            }
            Expr::Extract { field, expr: of, .. } => match field {
                ast::DateTimeField::Hour => self.call("hour", vec![of]),
                ast::DateTimeField::Minute => self.call("minute", vec![of]),
                ast::DateTimeField::Isodow => self.call("day_of_week", vec![of]),
                other => error(format!("cannot extract {other}, expected one of HOUR, MINUTE, ISODOW")),
            },
            other => unsupported(other),
        }
    }

    fn name(&mut self, idents: &[ast::Ident]) -> Checked<Typed> {
        let name = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
        if let Some((position, kind)) = self.scope.resolve(&name) {
            if self.names.iter().all(|(known, _)| *known != position) {
                self.names.push((position, name));
            }
            return Ok(Typed { node: Node::Input(position), kind: Some(kind) });
        }
        if let Some(why) = self.scope.refuses(&name) {
            return error(why);
        }
        let names = self.scope.names();
        let mut message = suggest::unknown("name", &name, &names.iter().map(String::as_str).collect::<Vec<_>>());
        if idents.iter().any(|ident| ident.quote_style == Some('"')) {
            message.push_str("; text stands in single quotes");
        }
        error(message)
    }

    fn unary(&mut self, operator: &UnaryOperator, of: &Expr, whole: &Expr) -> Checked<Typed> {
        match operator {
            UnaryOperator::Not => {
                let of = self.truth(of, "after NOT")?;
                Ok(negated(true, of))
            }
            UnaryOperator::Minus => {
                if let Expr::Value(value) = of
                    && let ast::Value::Number(..) = value.value
                {
                    return literal(&value.value, "-");
                }
                let of = self.check(of)?;
                expect_number(&of, "after \"-\"")?;
                Ok(Typed { kind: of.kind, node: Node::Negate(Box::new(of.node)) })
            }
            UnaryOperator::Plus => {
                let of = self.check(of)?;
                expect_number(&of, "after \"+\"")?;
                Ok(of)
            }
            _ => unsupported(whole),
        }
    }

    fn binary(&mut self, left: &Expr, operator: &Sql, right: &Expr, whole: &Expr) -> Checked<Typed> {
        let comparison = match operator {
            Sql::And | Sql::Or => return self.logic(whole, operator),
            Sql::Plus => return self.arithmetic(left, Arithmetic::Plus, right),
            Sql::Minus => return self.arithmetic(left, Arithmetic::Minus, right),
            Sql::Multiply => return self.arithmetic(left, Arithmetic::Times, right),
            Sql::Divide => return self.arithmetic(left, Arithmetic::Divide, right),
            Sql::Modulo => return self.arithmetic(left, Arithmetic::Modulo, right),
            Sql::Lt => Comparison::LESS,
            Sql::LtEq => Comparison::AT_MOST,
            Sql::Gt => Comparison::GREATER,
            Sql::GtEq => Comparison::AT_LEAST,
            Sql::Eq => Comparison::EQUAL,
            Sql::NotEq => Comparison::DIFFERENT,
            _ => return unsupported(whole),
        };
        let mut sides = vec![self.check(left)?, self.check(right)?];
        unify(&mut sides, comparison.sign())?;
        let [left, right] = take(sides);
        Ok(boolean(compare(comparison, left, right)))
    }

    /// `a AND b AND c` as one node, whatever its length.
    fn logic(&mut self, whole: &Expr, operator: &Sql) -> Checked<Typed> {
        let mut operands = Vec::new();
        let mut rest = whole;
        while let Expr::BinaryOp { left, op, right } = rest
            && op == operator
        {
            operands.push(&**right);
            rest = left;
        }
        operands.push(rest);
        operands.reverse();
        let at = format!("beside {operator}");
        let parts = operands.into_iter().map(|operand| self.truth(operand, &at)).collect::<Checked<Vec<Node>>>()?;
        Ok(boolean(if *operator == Sql::And { Node::And(parts) } else { Node::Or(parts) }))
    }

    fn arithmetic(&mut self, left: &Expr, operator: Arithmetic, right: &Expr) -> Checked<Typed> {
        let (left, right) = (self.check(left)?, self.check(right)?);
        let instants = [left.kind, right.kind].iter().all(|kind| matches!(kind, Some(Type::Timestamp)));
        if operator == Arithmetic::Minus && instants {
            let node = Node::Arithmetic(operator, Box::new([left.node, right.node]));
            return Ok(Typed { node, kind: Some(Type::Float64) });
        }
        let sign = operator.sign();
        expect_number(&left, &format!("on the left of \"{sign}\""))?;
        expect_number(&right, &format!("on the right of \"{sign}\""))?;
        let whole = [left.kind, right.kind].iter().all(|kind| matches!(kind, Some(Type::Int64) | None));
        let kind = if whole && operator != Arithmetic::Divide { Type::Int64 } else { Type::Float64 };
        let [left, right] = [left, right].map(|side| promote(side, kind).node);
        Ok(Typed { node: Node::Arithmetic(operator, Box::new([left, right])), kind: Some(kind) })
    }

    fn is_true(&mut self, of: &Expr, flip: bool, not: bool) -> Checked<Typed> {
        let of = self.truth(of, "before IS")?;
        let of = if flip { Node::Not(Box::new(of)) } else { of };
        Ok(negated(not, Node::Call(Call::Coalesce, vec![of, Node::Literal(Value::Bool(false))])))
    }

    fn in_list(&mut self, of: &Expr, list: &[Expr], not: bool) -> Checked<Typed> {
        let mut parts = vec![self.check(of)?];
        for item in list {
            parts.push(self.check(item)?);
        }
        unify(&mut parts, "IN")?;
        let mut nodes = parts.into_iter().map(|part| part.node);
        let Some(of) = nodes.next() else { return error("expected a value before IN") };
        Ok(negated(not, Node::In(Box::new(of), nodes.collect())))
    }

    fn like(&mut self, of: &Expr, pattern: &Expr, not: bool) -> Checked<Typed> {
        let of = self.check(of)?;
        expect(&of, Type::String, "before LIKE")?;
        match self.check(pattern)?.node {
            Node::Literal(Value::Str(pattern)) => Ok(negated(not, Node::Like(Box::new(of.node), Pattern::new(&pattern)))),
            _ => error("expected a pattern in single quotes after LIKE, such as 'a%'"),
        }
    }

    fn case(&mut self, operand: Option<&Expr>, arms: &[ast::CaseWhen], otherwise: Option<&Expr>) -> Checked<Typed> {
        let (mut whens, mut thens) = (Vec::new(), Vec::new());
        if let Some(of) = operand {
            whens.push(self.check(of)?);
        }
        for arm in arms {
            let when = self.check(&arm.condition)?;
            if operand.is_none() {
                expect(&when, Type::Bool, "after WHEN")?;
            }
            whens.push(when);
            thens.push(self.check(&arm.result)?);
        }
        if operand.is_some() {
            unify(&mut whens, "CASE")?;
        }
        if let Some(of) = otherwise {
            thens.push(self.check(of)?);
        }
        let kind = unify(&mut thens, "THEN and ELSE")?;
        let otherwise = otherwise.and_then(|_| thens.pop()).map(|part| Box::new(part.node));
        let mut whens = whens.into_iter().map(|part| part.node);
        let operand = operand.and_then(|_| whens.next()).map(Box::new);
        let arms = whens.zip(thens.into_iter().map(|part| part.node)).collect();
        Ok(Typed { node: Node::Case { operand, arms, otherwise }, kind })
    }

    fn function(&mut self, function: &ast::Function, whole: &Expr) -> Checked<Typed> {
        let name = function.name.to_string();
        let ast::FunctionArguments::List(list) = &function.args else {
            // `user` and its like: words that SQL calls without parentheses may be columns here.
            let ast::FunctionArguments::None = function.args else { return unsupported(whole) };
            return self.name(&[ast::Ident::new(name)]);
        };
        let plain = list.duplicate_treatment.is_none()
            && list.clauses.is_empty()
            && function.filter.is_none()
            && function.over.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty();
        if Call::named(&name).is_none() {
            let names = FUNCTIONS.map(|signature| signature.name);
            return error(suggest::unknown("function", &name.to_lowercase(), &names));
        }
        let mut arguments = Vec::new();
        for argument in &list.args {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) if plain => arguments.push(expr),
                _ => return unsupported(whole),
            }
        }
        self.call(&name, arguments)
    }

    fn call(&mut self, name: &str, arguments: Vec<&Expr>) -> Checked<Typed> {
        let Some(Signature { name, call, arguments: (fewest, most), takes, gives }) = Call::named(name) else {
            return error(format!("unknown function \"{name}\""));
        };
        if arguments.len() < *fewest || arguments.len() > *most {
            let expected = match (*fewest, *most) {
                (1, 1) => "1 argument".to_owned(),
                (fewest, most) if fewest == most => format!("{fewest} arguments"),
                (fewest, _) => format!("{fewest} or more arguments"),
            };
            return error(format!("expected {expected} in {name}(...), found {}", arguments.len()));
        }
        let mut parts = arguments.into_iter().map(|argument| self.check(argument)).collect::<Checked<Vec<Typed>>>()?;
        let inside = format!("in {name}(...)");
        let mut kind = None;
        match takes {
            Takes::Alike => kind = unify(&mut parts, name)?,
            Takes::Text => parts.iter().try_for_each(|part| expect(part, Type::String, &inside))?,
            Takes::Time => parts.iter().try_for_each(|part| expect(part, Type::Timestamp, &inside))?,
            Takes::Numbers | Takes::Floats => {
                parts.iter().try_for_each(|part| expect_number(part, &inside))?;
                kind = parts.first().and_then(|part| part.kind);
            }
        }
        let kind = match gives {
            Gives::Same => kind,
            Gives::Float => Some(Type::Float64),
            Gives::Int => Some(Type::Int64),
            Gives::Text => Some(Type::String),
        };
        let promoted = parts.into_iter().map(|part| if *takes == Takes::Floats { promote(part, Type::Float64) } else { part });
        let nodes = promoted.map(|part| part.node).collect();
        Ok(Typed { node: Node::Call(*call, nodes), kind })
    }

    fn truth(&mut self, expr: &Expr, at: &str) -> Checked<Node> {
        let checked = self.check(expr)?;
        expect(&checked, Type::Bool, at)?;
        Ok(checked.node)
    }
}

fn boolean(node: Node) -> Typed {
    Typed { node, kind: Some(Type::Bool) }
}

fn negated(not: bool, node: Node) -> Typed {
    boolean(if not { Node::Not(Box::new(node)) } else { node })
}

fn unsupported<T>(expr: &Expr) -> Checked<T> {
    let mut text: String = expr.to_string();
    if let Some((end, _)) = text.char_indices().nth(60) {
        text.truncate(end);
        text.push_str("...");
    }
    error(format!(
        "\"{text}\" is not offered here, expected columns, literals, + - * / %, comparisons, AND, OR, NOT, IS NULL, IN, BETWEEN, LIKE, CASE or a function"
    ))
}

fn expect(part: &Typed, expected: Type, at: &str) -> Checked<()> {
    match part.kind {
        Some(kind) if kind != expected => error(format!("expected {expected} {at}, found {kind}")),
        _ => Ok(()),
    }
}

fn expect_number(part: &Typed, at: &str) -> Checked<()> {
    match part.kind {
        Some(kind) if !is_number(kind) => error(format!("expected a number {at}, found {kind}")),
        _ => Ok(()),
    }
}

/// Booleans are numbers for aggregates, not here.
fn is_number(kind: Type) -> bool {
    matches!(kind, Type::Int64 | Type::Float64)
}

/// Brings all parts to one type, and says which: numbers meet as floats, text that stands beside an instant is read as one.
fn unify(parts: &mut [Typed], at: &str) -> Checked<Option<Type>> {
    if parts.iter().any(|part| part.kind == Some(Type::Timestamp)) {
        for part in parts.iter_mut() {
            if let Node::Literal(Value::Str(text)) = &part.node {
                *part = instant(text)?;
            }
        }
    }
    let mut kind: Option<Type> = None;
    for found in parts.iter().filter_map(|part| part.kind) {
        kind = Some(match kind {
            Some(kind) if kind == found => kind,
            Some(kind) if is_number(kind) && is_number(found) => Type::Float64,
            Some(kind) if is_number(kind) => return error(format!("expected a number beside {at}, found {found}")),
            Some(kind) => return error(format!("expected {kind} beside {at}, found {found}")),
            None => found,
        });
    }
    if kind == Some(Type::Float64) {
        for part in parts.iter_mut() {
            let taken = Typed { node: Node::Literal(Value::Null), kind: None };
            *part = promote(std::mem::replace(part, taken), Type::Float64);
        }
    }
    Ok(kind)
}

/// An integer where a float is needed.
fn promote(part: Typed, to: Type) -> Typed {
    match (part.kind, to) {
        (Some(Type::Int64), Type::Float64) => {
            let node = match part.node {
                Node::Literal(Value::Int(i)) => Node::Literal(Value::Float(i as f64)),
                node => Node::ToFloat(Box::new(node)),
            };
            Typed { node, kind: Some(Type::Float64) }
        }
        _ => part,
    }
}

/// The nodes of exactly so many parts.
fn take<const N: usize>(parts: Vec<Typed>) -> [Node; N] {
    let mut nodes = parts.into_iter().map(|part| part.node);
    std::array::from_fn(|_| nodes.next().unwrap_or(Node::Literal(Value::Null)))
}

/// A column against a literal is its own node, the column first.
fn compare(comparison: Comparison, left: Node, right: Node) -> Node {
    match (left, right) {
        (Node::Literal(literal), Node::Input(position)) => compare(comparison.flipped(), Node::Input(position), Node::Literal(literal)),
        (Node::Input(position), Node::Literal(Value::Int(i))) => Node::CompareInt(comparison, position, i),
        (Node::Input(position), Node::Literal(Value::Float(x))) => Node::CompareFloat(comparison, position, x),
        (Node::Input(position), Node::Literal(Value::Str(s))) => Node::CompareText(comparison, position, (&*s).into()),
        (left, right) => Node::Compare(comparison, Box::new([left, right])),
    }
}

fn literal(value: &ast::Value, sign: &str) -> Checked<Typed> {
    let (value, kind) = match value {
        ast::Value::Number(digits, _) => number(&format!("{sign}{digits}"))?,
        ast::Value::SingleQuotedString(text) => (Value::Str(text.as_str().into()), Type::String),
        ast::Value::Boolean(b) => (Value::Bool(*b), Type::Bool),
        ast::Value::Null => return Ok(Typed { node: Node::Literal(Value::Null), kind: None }),
        other => return error(format!("unknown literal {other}, expected a number, 'text', true, false, null or TIMESTAMP '...'")),
    };
    Ok(Typed { node: Node::Literal(value), kind: Some(kind) })
}

fn number(digits: &str) -> Checked<(Value, Type)> {
    if let Ok(i) = digits.parse::<i64>() {
        return Ok((Value::Int(i), Type::Int64));
    }
    match digits.parse::<f64>() {
        Ok(x) if x.is_finite() && digits.contains(['.', 'e', 'E']) => Ok((Value::Float(x), Type::Float64)),
        _ => error(format!("number {digits} is out of range, expected an int64 or a float64 such as 1e20")),
    }
}

fn timestamp_literal(typed: &ast::TypedString) -> Checked<Typed> {
    let date_or_time = matches!(typed.data_type, ast::DataType::Timestamp(..) | ast::DataType::Date | ast::DataType::Datetime(_));
    match &typed.value.value {
        ast::Value::SingleQuotedString(text) if date_or_time => instant(text),
        _ => error(format!("unknown literal {typed}, expected TIMESTAMP '2018-04-01 00:00:00'")),
    }
}

fn instant(text: &str) -> Checked<Typed> {
    match Time::parse(text) {
        Some(at) => Ok(Typed { node: Node::Literal(Value::Time(at)), kind: Some(Type::Timestamp) }),
        None => error(format!("'{text}' is not an instant, expected one such as '2018-04-01 00:00:00'")),
    }
}
