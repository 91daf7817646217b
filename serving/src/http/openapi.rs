//! `/openapi.json`: the calls over HTTP described in OpenAPI 3.1, made from the descriptors of the messages and their comments. The
//! examples are of the services and models that this server has, so they can be sent as they are.

use std::collections::BTreeMap;

use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind as Wire;
use http::Method;
use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};
use tonic::Status;

use super::calls::Calls;
use super::proto_json::value;
use super::routes::{Call, ROUTES, Route};

/// The whole description.
pub(super) fn document(calls: &Calls) -> Result<Value, Status> {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in &ROUTES {
        let operation = operation(calls, route, &mut schemas)?;
        paths.entry(route.template).or_default().insert(route.method.as_str().to_lowercase(), operation);
    }
    for (path, description, kind) in [
        ("/healthz", "Whether the process lives.", "text/plain"),
        ("/readyz", "Whether it wants calls; 503 with the reasons if not.", "application/json"),
        ("/metrics", "Metrics, in the text format of Prometheus; docs/metrics.md says what they mean.", "text/plain"),
    ] {
        let get = json!({ "operationId": &path[1..], "summary": description, "responses": { "200": {
            "description": "OK", "content": { kind: {} },
        } } });
        paths.entry(path).or_default().insert("get".to_owned(), get);
    }
    schemas.made.insert("Error".to_owned(), error_schema());
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "floodmark",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Features and scores of event data. The messages are those of floodmark.v1 over gRPC, in proto3's JSON.",
        },
        "paths": paths,
        "components": { "schemas": schemas.made },
    }))
}

fn operation(calls: &Calls, route: &Route, schemas: &mut Schemas) -> Result<Value, Status> {
    let rpc = calls.rpc(route)?;
    let mut operation = json!({
        "operationId": format!("{:?}", route.call),
        "summary": comment(&rpc.parent_service().parent_file(), rpc.path()),
        "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": schemas.message(&rpc.output()) } } },
            "default": { "description": "Refused", "content": { "application/json": { "schema": refers("Error") } } },
        },
    });
    if let Some(name) = route.parameter() {
        operation["parameters"] = json!([{ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }]);
    }
    if route.method == Method::POST {
        let mut content = json!({ "schema": schemas.message(&rpc.input()) });
        if let Some(example) = example(calls, route.call, &rpc.input())? {
            if let Some(name) = example.path {
                operation["parameters"][0]["example"] = json!(name);
            }
            content["example"] = example.body;
        }
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    Ok(operation)
}

/// The messages and enums met so far, by name.
#[derive(Default)]
struct Schemas {
    made: BTreeMap<String, Value>,
}

fn refers(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

impl Schemas {
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.name();
        if !self.made.contains_key(name) {
            self.made.insert(name.to_owned(), Value::Null); // messages may hold themselves
            let fields: Map<String, Value> = message.fields().map(|f| (f.json_name().to_owned(), self.field(&f))).collect();
            let mut schema = json!({ "type": "object", "properties": fields, "additionalProperties": false });
            describe(&mut schema, comment(&message.parent_file(), message.path()));
            self.made.insert(name.to_owned(), schema);
        }
        refers(name)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let one = match field.kind() {
            Kind::Double | Kind::Float => json!({ "type": ["number", "string"], "format": "double" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "uint32" }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": ["string", "integer"], "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": ["string", "integer"], "format": "uint64" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Message(message) => self.message(&message),
            Kind::Enum(of) => self.words(&of),
        };
        let mut schema = if field.is_list() { json!({ "type": "array", "items": one }) } else { one };
        let mut text = comment(&field.parent_message().parent_file(), field.path());
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            let names: Vec<String> = oneof.fields().map(|f| f.json_name().to_owned()).collect();
            text = format!("{text} At most one of {} is set.", names.join(", ")).trim_start().to_owned();
        }
        describe(&mut schema, text);
        schema
    }

    fn words(&mut self, of: &EnumDescriptor) -> Value {
        let words: Vec<String> = of.values().map(|value| value.name().to_owned()).collect();
        let mut schema = json!({ "type": "string", "enum": words });
        let mut text = comment(&of.parent_file(), of.path());
        for value in of.values() {
            let meaning = comment(&of.parent_file(), value.path());
            if !meaning.is_empty() {
                text = format!("{text}\n- {}: {meaning}", value.name());
            }
        }
        describe(&mut schema, text);
        self.made.insert(of.name().to_owned(), schema);
        refers(of.name())
    }
}

fn describe(schema: &mut Value, text: String) {
    if !text.is_empty() {
        schema["description"] = Value::String(text);
    }
}

/// The comment that stands before something in its `.proto`, as one text.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn error_schema() -> Value {
    let detail = json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true });
    json!({ "type": "object", "description": "Why a call was refused.", "properties": { "error": { "type": "object", "properties": {
        "code": { "type": "integer", "description": "The status of HTTP." },
        "status": { "type": "string", "description": "As in google.rpc.Code." },
        "message": { "type": "string", "description": "For people." },
        "details": { "type": "array", "items": detail, "description": "For programs: google.rpc.ErrorInfo with a stable reason, \
            google.rpc.BadRequest with the field that is to blame, google.rpc.RetryInfo." },
    } } } })
}

/// A request that this server answers.
struct Example {
    /// The name in the path.
    path: Option<String>,
    body: Value,
}

fn example(calls: &Calls, call: Call, kind: &MessageDescriptor) -> Result<Option<Example>, Status> {
    match call {
        Call::GetFeatures => {
            let Some(service) = calls.features.infos().into_iter().next() else { return Ok(None) };
            let (key_names, request_names, row) = spine(&service);
            let what = Some(v1::get_features_request::What::Service(service.name));
            let request = v1::GetFeaturesRequest { what, key_names, request_names, rows: vec![row], ..Default::default() };
            Ok(Some(Example { path: None, body: value(kind, &request)? }))
        }
        Call::Score => {
            let models = calls.scores.as_ref().map(|scores| scores.infos()).unwrap_or_default();
            let Some(model) = models.into_iter().find(|model| model.state() == v1::ModelState::Ready) else { return Ok(None) };
            let Some(service) = calls.features.infos().into_iter().find(|service| service.name == model.service) else { return Ok(None) };
            let (key_names, request_names, row) = spine(&service);
            let request = v1::ScoreRequest { key_names, request_names, rows: vec![row], ..Default::default() };
            Ok(Some(Example { path: Some(model.model), body: value(kind, &request)? }))
        }
        _ => Ok(None),
    }
}

/// The names of a row, and one that has them all.
fn spine(service: &v1::ServiceInfo) -> (Vec<String>, Vec<String>, v1::EntityRow) {
    let names = |columns: &[v1::Column]| columns.iter().map(|column| column.name.clone()).collect();
    let values = |columns: &[v1::Column]| columns.iter().map(|column| v1::Value { kind: Some(sample(column.r#type())) }).collect();
    let row = v1::EntityRow { keys: values(&service.keys), request: values(&service.request), ..Default::default() };
    (names(&service.keys), names(&service.request), row)
}

fn sample(kind: v1::Type) -> Wire {
    match kind {
        v1::Type::Bool => Wire::BoolValue(true),
        v1::Type::Int64 => Wire::Int64Value(7),
        v1::Type::Float64 => Wire::DoubleValue(57.16),
        v1::Type::String | v1::Type::Unspecified => Wire::StringValue("a".to_owned()),
        v1::Type::Timestamp => Wire::StringValue("2018-04-01T00:00:31Z".to_owned()),
    }
}
