//! An Avro schema, compiled from its JSON: names are resolved once, and a record is walked without a look-up.
//!
//! Only what the reading of bytes asks for is kept: no defaults, no aliases, no documentation.

use std::collections::HashMap;

use floodmark_features::time::Time;
use serde_json::{Map, Value};

/// The schema that records were written with.
#[derive(Debug)]
pub(crate) struct Schema {
    nodes: Vec<Node>,
    root: Id,
}

/// The place of a type in its schema; a type may hold itself.
pub(super) type Id = usize;

/// A type, as its bytes are read.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Str,
    /// A `long` that counts from the epoch.
    Instant(Unit),
    /// An `int` that counts days from the epoch.
    Date,
    /// A decimal as bytes: its digits do not fit a float.
    Decimal,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Vec<Field>),
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Id,
}

/// What the ticks of an instant are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// The instant, rounded down to its microsecond; `None` if it is too far.
    pub(super) fn time(self, ticks: i64) -> Option<Time> {
        let micros = match self {
            Unit::Millis => ticks.checked_mul(1_000)?,
            Unit::Micros => ticks,
            Unit::Nanos => ticks.div_euclid(1_000),
        };
        Some(Time::from_micros(micros))
    }
}

impl Schema {
    /// Compiles a schema whose top is a record. `referenced` are schemas of names that it uses, each after those that it uses itself.
    pub(crate) fn compile(text: &str, referenced: &[&str]) -> Result<Schema, String> {
        let mut compiler = Compiler { nodes: Vec::new(), names: HashMap::new() };
        for text in referenced {
            compiler.schema(text)?;
        }
        let root = compiler.schema(text)?;
        match compiler.nodes[root] {
            Node::Record(_) => Ok(Schema { nodes: compiler.nodes, root }),
            _ => Err("schema is not that of a record".to_owned()),
        }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The record at the top.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The fields of the record at the top.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.nodes[self.root] {
            Node::Record(fields) => fields,
            _ => &[],
        }
    }
}

struct Compiler {
    nodes: Vec<Node>,
    /// Records, enums and fixed by full name.
    names: HashMap<String, Id>,
}

impl Compiler {
    fn schema(&mut self, text: &str) -> Result<Id, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| format!("schema is not JSON: {error}"))?;
        self.compile(&json, "")
    }

    /// `space` is the namespace of the record around.
    fn compile(&mut self, json: &Value, space: &str) -> Result<Id, String> {
        match json {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.compile(branch, space)).collect::<Result<_, _>>()?;
                Ok(self.add(Node::Union(branches)))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.object(kind, object, space),
                Some(nested) => self.compile(nested, space),
                None => Err("type is missing".to_owned()),
            },
            other => Err(format!("there is no such type. type={other}")),
        }
    }

    fn object(&mut self, kind: &str, object: &Map<String, Value>, space: &str) -> Result<Id, String> {
        let part = |name: &str| object.get(name).ok_or_else(|| format!("{kind} lacks its {name}"));
        let list = |name: &str| part(name)?.as_array().ok_or_else(|| format!("{name} of {kind} are not a list"));
        match kind {
            "record" | "error" => {
                let (id, space) = self.define(kind, object, space)?;
                let mut fields = Vec::new();
                for field in list("fields")? {
                    let name = field.get("name").and_then(Value::as_str).ok_or("a field lacks its name")?.to_owned();
                    let kind = field.get("type").ok_or_else(|| format!("field lacks its type. field={name}"))?;
                    fields.push(Field { kind: self.compile(kind, &space)?, name });
                }
                self.nodes[id] = Node::Record(fields);
                Ok(id)
            }
            "enum" => {
                let (id, _) = self.define(kind, object, space)?;
                let text = |symbol: &Value| symbol.as_str().map(str::to_owned).ok_or("a symbol of an enum is not text");
                self.nodes[id] = Node::Enum(list("symbols")?.iter().map(text).collect::<Result<_, _>>()?);
                Ok(id)
            }
            "fixed" => {
                let (id, _) = self.define(kind, object, space)?;
                let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                self.nodes[id] = Node::Fixed(size.ok_or("size of fixed is not a number of bytes")?);
                Ok(id)
            }
            "array" => {
                let items = self.compile(part("items")?, space)?;
                Ok(self.add(Node::Array(items)))
            }
            "map" => {
                let values = self.compile(part("values")?, space)?;
                Ok(self.add(Node::Map(values)))
            }
            // A logical type that is not known, or not of this type, is not there: so says the specification.
            _ => match (kind, object.get("logicalType").and_then(Value::as_str)) {
                ("long", Some("timestamp-millis" | "local-timestamp-millis")) => Ok(self.add(Node::Instant(Unit::Millis))),
                ("long", Some("timestamp-micros" | "local-timestamp-micros")) => Ok(self.add(Node::Instant(Unit::Micros))),
                ("long", Some("timestamp-nanos" | "local-timestamp-nanos")) => Ok(self.add(Node::Instant(Unit::Nanos))),
                ("int", Some("date")) => Ok(self.add(Node::Date)),
                ("bytes", Some("decimal")) => Ok(self.add(Node::Decimal)),
                _ => self.named(kind, space),
            },
        }
    }

    /// A primitive type, or one that was defined before.
    fn named(&mut self, name: &str, space: &str) -> Result<Id, String> {
        let primitive = match name {
            "null" => Node::Null,
            "boolean" => Node::Bool,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::Str,
            _ => {
                let full = full_name(name, space);
                // Some writers leave out the namespace of a type that has none.
                let known = self.names.get(&full).or_else(|| self.names.get(name));
                return known.copied().ok_or_else(|| format!("there is no such type. type={full}"));
            }
        };
        Ok(self.add(primitive))
    }

    /// A place for a named type, before what is in it: it may hold itself. Beside it, the namespace within.
    fn define(&mut self, kind: &str, object: &Map<String, Value>, space: &str) -> Result<(Id, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or_else(|| format!("{kind} lacks its name"))?;
        let full = full_name(name, object.get("namespace").and_then(Value::as_str).unwrap_or(space));
        let space = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        let id = self.add(Node::Null);
        match self.names.insert(full, id) {
            None => Ok((id, space)),
            Some(_) => Err(format!("type is defined twice. type={name}")),
        }
    }

    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}
