//! The JSON Schema of a definition file, for editors: what the grammar's tables say, nothing of its own.

use serde_json::{Map, Value, json};

use super::grammar::{ENTITY, FEATURE, FILE, Key, SERVICE, SOURCE, Shape, Table, VIEW, WINDOW};
use crate::value::Type;

/// Draft 2020-12.
pub fn json_schema() -> Value {
    let tables = [&SOURCE, &ENTITY, &VIEW, &FEATURE, &WINDOW, &SERVICE];
    let defs: Map<String, Value> = tables.into_iter().map(|table| (table.name.to_owned(), object(table))).collect();
    let mut schema = object(&FILE);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("floodmark definitions");
    schema["$defs"] = Value::Object(defs);
    schema
}

fn object(table: &'static Table) -> Value {
    let required: Vec<&str> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let properties: Map<String, Value> = table.all().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = json!({
        "description": table.doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if let Some((_, keys)) = table.choice {
        schema["oneOf"] = keys.iter().map(|key| json!({ "required": [key.name] })).collect();
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    schema["description"] = json!(key.doc);
    schema
}

const DURATION: &str = "([0-9]+(d|h|m|s|ms|us))+";

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Name | Shape::ColumnOrAll => json!({ "type": "string", "minLength": 1 }),
        Shape::Type => json!({ "enum": Type::ALL.map(|(name, _)| name) }),
        Shape::Duration => json!({ "type": "string", "pattern": format!("^{DURATION}$") }),
        Shape::Offset => json!({ "type": "string", "pattern": format!("^-?{DURATION}$") }),
        // A bare `fraud` is text, a bare `true` is not.
        Shape::Expression => json!({ "type": ["string", "boolean", "number"] }),
        Shape::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Fraction => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::FlagOr(word) => json!({ "enum": [true, false, word] }),
        Shape::AnyValue => json!({}),
        Shape::Window => json!({ "oneOf": [
            { "type": "string", "pattern": format!("^({DURATION}|lifetime)$") },
            { "$ref": "#/$defs/window" },
        ] }),
        Shape::List(of) => json!({ "type": "array", "items": shape(of), "minItems": 1, "uniqueItems": true }),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": shape(of) }),
        Shape::Object(table) => json!({ "$ref": format!("#/$defs/{}", table.name) }),
    }
}
