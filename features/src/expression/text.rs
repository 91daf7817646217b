//! The canonical text of an expression: every operator in parentheses, functions in lower case, inputs by name.
//! It reads back as the same expression, and goes into the fingerprint of a view.

use std::fmt::Write;

use super::node::Node;
use crate::value::Value;

/// Names of inputs by position.
pub(super) type Names = Vec<(usize, String)>;

pub(super) fn canonical(node: &Node, names: &Names) -> String {
    let mut out = String::new();
    write_node(node, names, &mut out);
    out
}

fn write_node(node: &Node, names: &Names, out: &mut String) {
    match node {
        Node::Input(position) => write_name(*position, names, out),
        Node::Literal(value) => write_literal(value, out),
        // Where a float is needed, an integer becomes one when it is read again.
        Node::ToFloat(of) => write_node(of, names, out),
        Node::Negate(of) => write_around("(- ", of, ")", names, out),
        Node::Not(of) => write_around("(NOT ", of, ")", names, out),
        Node::IsNull(of) => write_around("(", of, " IS NULL)", names, out),
        Node::Arithmetic(operator, sides) => write_joined("(", &sides[..], operator.sign(), names, out),
        Node::Compare(comparison, sides) => write_joined("(", &sides[..], comparison.sign(), names, out),
        Node::CompareInt(comparison, position, literal) => {
            write_comparison(*position, comparison.sign(), &Value::Int(*literal), names, out);
        }
        Node::CompareFloat(comparison, position, literal) => {
            write_comparison(*position, comparison.sign(), &Value::Float(*literal), names, out);
        }
        Node::CompareText(comparison, position, literal) => {
            write_comparison(*position, comparison.sign(), &Value::Str((&**literal).into()), names, out);
        }
        Node::And(parts) => write_joined("(", parts, "AND", names, out),
        Node::Or(parts) => write_joined("(", parts, "OR", names, out),
        Node::In(of, list) => {
            write_around("(", of, " IN (", names, out);
            write_list(list, names, out);
            out.push_str("))");
        }
        Node::Between(parts) => {
            write_around("(", &parts[0], " BETWEEN ", names, out);
            write_around("", &parts[1], " AND ", names, out);
            write_around("", &parts[2], ")", names, out);
        }
        Node::Like(of, pattern) => {
            write_around("(", of, " LIKE ", names, out);
            write_literal(&Value::Str(pattern.text().into()), out);
            out.push(')');
        }
        Node::Case { operand, arms, otherwise } => {
            out.push_str("CASE");
            if let Some(of) = operand {
                write_around(" ", of, "", names, out);
            }
            for (when, then) in arms {
                write_around(" WHEN ", when, " THEN ", names, out);
                write_node(then, names, out);
            }
            if let Some(otherwise) = otherwise {
                write_around(" ELSE ", otherwise, "", names, out);
            }
            out.push_str(" END");
        }
        Node::Call(call, arguments) => {
            out.push_str(call.name());
            out.push('(');
            write_list(arguments, names, out);
            out.push(')');
        }
    }
}

fn write_around(before: &str, node: &Node, after: &str, names: &Names, out: &mut String) {
    out.push_str(before);
    write_node(node, names, out);
    out.push_str(after);
}

fn write_joined(open: &str, parts: &[Node], sign: &str, names: &Names, out: &mut String) {
    out.push_str(open);
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            // Writing to a String cannot fail.
            let _ = write!(out, " {sign} ");
        }
        write_node(part, names, out);
    }
    out.push(')');
}

fn write_list(parts: &[Node], names: &Names, out: &mut String) {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_node(part, names, out);
    }
}

fn write_comparison(position: usize, sign: &str, literal: &Value, names: &Names, out: &mut String) {
    out.push('(');
    write_name(position, names, out);
    let _ = write!(out, " {sign} ");
    write_literal(literal, out);
    out.push(')');
}

fn write_name(position: usize, names: &Names, out: &mut String) {
    let name = names.iter().find(|(at, _)| *at == position).map_or("?", |(_, name)| name);
    for (i, part) in name.split('.').enumerate() {
        let _ = write!(out, "{}\"{}\"", if i == 0 { "" } else { "." }, part.replace('"', "\"\""));
    }
}

fn write_literal(value: &Value, out: &mut String) {
    let _ = match value {
        Value::Str(text) => write!(out, "'{}'", text.replace('\'', "''")),
        Value::Time(at) => write!(out, "TIMESTAMP '{at}'"),
        Value::Float(x) => write!(out, "{x:?}"),
        other => write!(out, "{other}"),
    };
}
