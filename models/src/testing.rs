//! Models for tests, written by hand: small enough to know their scores, wrong in one way each.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::graph::onnx::{Attribute, Dimension, Entry, FLOAT, Graph, Kind, Model, Node, Opset, Shape, TensorData, TensorKind, ValueInfo};
use crate::runtime::Runtime;
use crate::signature::{ColumnType, ServiceColumns, Services};

/// ONNX Runtime for a test; `None`, loudly, where it is not set up, and a failure where `REQUIRE_ORT=1` says that it must be.
#[allow(clippy::print_stderr)]
pub(crate) fn runtime() -> Option<&'static Runtime> {
    match Runtime::get(None) {
        Ok(runtime) => Some(runtime),
        Err(error) if std::env::var("REQUIRE_ORT").is_ok_and(|v| v == "1") => panic!("REQUIRE_ORT=1, and {error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

/// The columns that the models below are fed.
pub(crate) const COLUMNS: [(&str, ColumnType); 3] =
    [("amount", ColumnType::Float64), ("nb_tx_1d", ColumnType::Int64), ("risk", ColumnType::Unknown)];

/// One service, `fraud`.
pub(crate) struct Fraud;

impl Services for Fraud {
    fn columns(&self, service: &str) -> Option<ServiceColumns> {
        let extra = [("at", ColumnType::Timestamp), ("category", ColumnType::String)];
        let columns = COLUMNS.into_iter().chain(extra).map(|(name, kind)| (name.to_owned(), kind)).collect();
        (service == "fraud").then_some(ServiceColumns { id: 255, columns })
    }
}

/// The manifest of a model with one matrix.
pub(crate) const MANIFEST: &str = r#"{ "format": 1, "service": "fraud", "columns_id": "00000000000000ff",
  "inputs": { "tensor": "X", "features": [
    { "column": "amount", "missing": "reject" },
    { "column": "nb_tx_1d", "missing": { "default": 0 } },
    { "column": "risk", "missing": { "default": 0.5 } } ] },
  "score": { "output": "score" },
  "golden": "golden.json" }"#;

/// What [`logistic`] makes of a row.
pub(crate) fn expected(row: [f64; 3]) -> f64 {
    let sum: f64 = row.iter().zip(WEIGHTS).map(|(v, w)| v * f64::from(w)).sum();
    1.0 / (1.0 + (-sum).exp())
}

const WEIGHTS: [f32; 3] = [0.5, -0.25, 1.0];

/// Golden rows of [`logistic`].
pub(crate) fn golden() -> String {
    let row = |row: [f64; 3]| format!("{{ \"inputs\": {row:?}, \"score\": {} }}", expected(row));
    format!("{{ \"tolerance\": 1e-5, \"rows\": [ {}, {} ] }}", row([1.0, 2.0, 0.25]), row([3.0, 0.0, 1.0]))
}

/// Writes a version.
pub(crate) fn write(repository: &Path, version: &str, model: &[u8], manifest: &str, golden: &str) {
    let folder = repository.join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.onnx"), model).unwrap();
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    fs::write(folder.join("golden.json"), golden).unwrap();
}

/// `score = sigmoid(X · weights)`, of shape `[rows]`.
pub(crate) fn logistic() -> Model {
    let nodes = vec![constant("weights", &WEIGHTS), node("MatMul", &["X", "weights"], &["sum"]), node("Sigmoid", &["sum"], &["score"])];
    model(nodes, vec![tensor("X", FLOAT, &[None, Some(3)])], vec![tensor("score", FLOAT, &[None])])
}

/// `score = log(X · weights)`: NaN for some rows.
pub(crate) fn log() -> Model {
    let mut model = logistic();
    graph(&mut model).nodes[2].operator = "Log".to_owned();
    model
}

/// A linear classifier as scikit-learn's is exported: a label, and the probabilities as maps.
pub(crate) fn zip_map() -> Model {
    let mut classifier = node("LinearClassifier", &["X"], &["label", "raw"]);
    classifier.domain = "ai.onnx.ml".to_owned();
    let coefficients: Vec<f32> = WEIGHTS.iter().map(|w| -w).chain(WEIGHTS).collect();
    classifier.attributes = vec![
        floats("coefficients", &coefficients),
        floats("intercepts", &[0.0, 0.0]),
        ints("classlabels_ints", &[0, 1]),
        Attribute { name: "post_transform".into(), text: b"LOGISTIC".to_vec(), kind: 3, ..Default::default() },
    ];
    let mut zip = node("ZipMap", &["raw"], &["probabilities"]);
    zip.domain = "ai.onnx.ml".to_owned();
    zip.attributes = vec![ints("classlabels_int64s", &[0, 1])];
    let maps = ValueInfo { name: "probabilities".into(), kind: Some(Kind { tensor: None }) };
    let outputs = vec![tensor("label", 7, &[None]), maps];
    model(vec![classifier, zip], vec![tensor("X", FLOAT, &[None, Some(3)])], outputs)
}

/// Two inputs of their own: `score = cast(count) · amount`, and a category that is not looked at but compared with itself.
pub(crate) fn columns() -> Model {
    let mut cast = node("Cast", &["nb"], &["count"]);
    cast.attributes = vec![Attribute { name: "to".into(), int: 1, kind: 2, ..Default::default() }];
    let mut same = node("Equal", &["cat", "cat"], &["same"]);
    same.domain = String::new();
    let mut one = node("Cast", &["same"], &["one"]);
    one.attributes = vec![Attribute { name: "to".into(), int: 1, kind: 2, ..Default::default() }];
    let nodes = vec![cast, same, one, node("Mul", &["count", "amount"], &["product"]), node("Mul", &["product", "one"], &["score"])];
    let inputs = vec![tensor("cat", 8, &[None, Some(1)]), tensor("amount", FLOAT, &[None, Some(1)]), tensor("nb", 7, &[None, Some(1)])];
    model(nodes, inputs, vec![tensor("score", FLOAT, &[None, Some(1)])])
}

/// With a weight in another file.
pub(crate) fn external() -> Model {
    let mut model = logistic();
    let external = vec![Entry { key: "location".into(), value: "weights.bin".into() }];
    let far = TensorData { dimensions: vec![3], element: FLOAT, name: "far".into(), external, location: 1 };
    graph(&mut model).initializers.push(far);
    model
}

/// With an operator that nobody has.
pub(crate) fn custom() -> Model {
    let mut model = logistic();
    graph(&mut model).nodes[2].domain = "com.example".to_owned();
    model
}

/// The bytes of a model.
pub(crate) fn bytes(model: &Model) -> Vec<u8> {
    model.encode_to_vec()
}

/// The graph of a model.
pub(crate) fn graph(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().unwrap()
}

/// A graph around nodes.
pub(crate) fn model(nodes: Vec<Node>, inputs: Vec<ValueInfo>, outputs: Vec<ValueInfo>) -> Model {
    let graph = Graph { nodes, name: "g".into(), inputs, outputs, ..Default::default() };
    let opset = |domain: &str, version| Opset { domain: domain.into(), version };
    Model { ir_version: 8, graph: Some(graph), opsets: vec![opset("", 19), opset("ai.onnx.ml", 3)], functions: vec![] }
}

/// A tensor's name, type and sizes.
pub(crate) fn tensor(name: &str, element: i32, sizes: &[Option<i64>]) -> ValueInfo {
    let dimensions = sizes.iter().map(|size| Dimension { size: *size, name: size.is_none().then(|| "N".to_owned()) }).collect();
    let kind = TensorKind { element, shape: Some(Shape { dimensions }) };
    ValueInfo { name: name.into(), kind: Some(Kind { tensor: Some(kind) }) }
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Node { inputs: names(inputs), outputs: names(outputs), operator: operator.into(), ..Default::default() }
}

fn constant(name: &str, values: &[f32]) -> Node {
    let mut node = node("Constant", &[], &[name]);
    node.attributes = vec![floats("value_floats", values)];
    node
}

fn floats(name: &str, values: &[f32]) -> Attribute {
    Attribute { name: name.into(), floats: values.to_vec(), kind: 6, ..Default::default() }
}

fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: values.to_vec(), kind: 7, ..Default::default() }
}
