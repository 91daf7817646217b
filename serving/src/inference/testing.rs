//! A server's inside for tests: payments in a store, and three small models whose scores are known.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use floodmark_features::definition::Definitions;
use floodmark_models::model::Settings as ModelSettings;
use floodmark_models::registry::Registry;
use floodmark_models::repository::Repository;
use floodmark_proto::inference::ModelInferRequest;
use floodmark_proto::inference::model_infer_request::InferInputTensor;
use floodmark_store::{Settings, Store};
use tokio::sync::watch;

use super::Inference;
use crate::plan::Plans;
use crate::score::Scores;

/// The definitions that the tests share, with one more field for requests.
fn text() -> String {
    crate::testing::TEXT.replace("amount: float64, tx_datetime", "amount: float64, category: string, tx_datetime")
}

/// What [`World`]'s model `matrix` makes of a row.
pub(super) fn linear(row: [f32; 3]) -> f32 {
    0.5 * row[0] - 0.25 * row[1] + row[2]
}

/// Everything that a request walks through.
pub(super) struct World {
    pub(super) inference: Inference,
    pub(super) scores: Arc<Scores>,
    pub(super) leave: watch::Sender<bool>,
    pub(super) home: tempfile::TempDir,
}

impl World {
    /// With models `matrix`, `wide` (the same, with a score of 64 bits) and `columns` (`amount` times `nb`, and a text that is compared
    /// with itself), each of version 1, not loaded yet.
    pub(super) fn new(admin: bool) -> World {
        let home = tempfile::tempdir().expect("a directory");
        let text = text();
        let definitions = Arc::new(Definitions::parse("payments.yaml", &text).expect("definitions"));
        let columns_id = Plans::new(definitions.clone()).service("fraud").expect("the service").columns_id;
        let store = Store::open(&home.path().join("store"), definitions, &text, Settings::default()).expect("a store");
        let models = home.path().join("models");
        let matrix = r#""tensor": "X", "features": [ { "column": "amount", "missing": "reject" },
            { "column": "customer_spend.nb_tx_1d", "missing": { "default": 0 } },
            { "column": "customer_spend.nb_tx_7d", "missing": { "default": 0.5 } } ]"#;
        let columns = r#""features": [ { "tensor": "cat", "column": "category", "missing": { "default": "none" } },
            { "tensor": "amount", "column": "amount", "missing": "reject" },
            { "tensor": "nb", "column": "customer_spend.nb_tx_1d", "missing": { "default": 0 } } ]"#;
        let row =
            |inputs: &str, score: f64| format!(r#"{{ "tolerance": 1e-5, "rows": [ {{ "inputs": [{inputs}], "score": {score} }} ] }}"#);
        for (name, inputs, onnx, golden) in [
            ("matrix", matrix, matrix_model(false), row("4, 2, 1", 2.5)),
            ("wide", matrix, matrix_model(true), row("4, 2, 1", 2.5)),
            ("columns", columns, columns_model(), row(r#""food", 4, 2"#, 8.0)),
        ] {
            let folder = models.join(name).join("1");
            fs::create_dir_all(&folder).expect("a folder");
            let manifest = format!(
                r#"{{ "format": 1, "service": "fraud", "columns_id": "{columns_id:016x}", "inputs": {{ {inputs} }},
                    "score": {{ "output": "score" }}, "golden": "golden.json" }}"#
            );
            for (file, bytes) in [("model.onnx", onnx), ("manifest.json", manifest.into_bytes()), ("golden.json", golden.into_bytes())] {
                fs::write(folder.join(file), bytes).expect("a file");
            }
        }
        let settings = ModelSettings { instances: 1, warm_up_runs: 3, ..ModelSettings::default() };
        let scores = Arc::new(Scores::new(Arc::new(store), Arc::new(Registry::new(Repository::new(models), None, settings))));
        let (leave, leaving) = watch::channel(false);
        World { inference: Inference::new(Some(scores.clone()), admin, leaving), scores, leave, home }
    }

    /// The same with all models loaded; `None`, loudly, where there is no ONNX Runtime.
    #[allow(clippy::print_stderr)]
    pub(super) fn loaded(admin: bool) -> Option<World> {
        let world = World::new(admin);
        if let Err(error) = world.scores.models().runtime() {
            assert!(std::env::var_os("REQUIRE_ORT").is_none(), "REQUIRE_ORT is set, and {error}");
            eprintln!("SKIPPED: {error}");
            return None;
        }
        for model in ["matrix", "wide", "columns"] {
            world.scores.load(model, 1).expect("a model that loads");
        }
        Some(world)
    }

    /// Puts a version beside the first of a model; `spoil` changes its golden rows.
    pub(super) fn another(&self, model: &str, version: u64, spoil: bool) {
        let models = self.home.path().join("models").join(model);
        copy(&models.join("1"), &models.join(version.to_string()));
        if spoil {
            fs::write(models.join(version.to_string()).join("golden.json"), "{}").expect("a file");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in ["model.onnx", "manifest.json", "golden.json"] {
        fs::copy(from.join(file), to.join(file)).expect("a copy");
    }
}

/// A request for a model.
pub(super) fn asked(model: &str, tensors: Vec<(InferInputTensor, Bytes)>) -> ModelInferRequest {
    let (inputs, raw_input_contents) = tensors.into_iter().unzip();
    ModelInferRequest { model_name: model.to_owned(), inputs, raw_input_contents, ..ModelInferRequest::default() }
}

/// A tensor with raw contents.
pub(super) fn raw(
    name: &str,
    datatype: &str,
    shape: &[i64],
    contents: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> (InferInputTensor, Bytes) {
    let bytes: Vec<u8> = contents.into_iter().flat_map(|value| value.as_ref().to_vec()).collect();
    let (name, datatype, shape) = (name.to_owned(), datatype.to_owned(), shape.to_vec());
    (InferInputTensor { name, datatype, shape, ..InferInputTensor::default() }, bytes.into())
}

pub(super) fn floats(name: &str, shape: &[i64], values: &[f32]) -> (InferInputTensor, Bytes) {
    raw(name, "FP32", shape, values.iter().map(|value| value.to_le_bytes()))
}

pub(super) fn ints(name: &str, shape: &[i64], values: &[i64]) -> (InferInputTensor, Bytes) {
    raw(name, "INT64", shape, values.iter().map(|value| value.to_le_bytes()))
}

pub(super) fn texts(name: &str, shape: &[i64], values: &[&str]) -> (InferInputTensor, Bytes) {
    raw(name, "BYTES", shape, values.iter().map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()))
}

/// `score = X · (0.5, -0.25, 1)`, of shape `[rows]`.
fn matrix_model(wide: bool) -> Vec<u8> {
    let weights = [0.5_f32, -0.25, 1.0].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let weights = node("Constant", &[], &["weights"], &[(1, "value_floats".as_bytes()), (7, &weights), (20, &[6])]);
    let sum = node("MatMul", &["X", "weights"], &[if wide { "sum" } else { "score" }], &[]);
    let cast = node("Cast", &["sum"], &["score"], &[(1, "to".as_bytes()), (3, &[11]), (20, &[2])]);
    let mut nodes = vec![weights, sum];
    nodes.extend(wide.then_some(cast));
    model(&nodes, &[value("X", 1, &[None, Some(3)])], &[value("score", if wide { 11 } else { 1 }, &[None])])
}

/// `score = amount · nb`, where `cat` equals itself.
fn columns_model() -> Vec<u8> {
    let to_float = [(1, "to".as_bytes()), (3, &[1][..]), (20, &[2][..])];
    let nodes = [
        node("Cast", &["nb"], &["count"], &to_float),
        node("Equal", &["cat", "cat"], &["same"], &[]),
        node("Cast", &["same"], &["one"], &to_float),
        node("Mul", &["count", "amount"], &["product"], &[]),
        node("Mul", &["product", "one"], &["score"], &[]),
    ];
    let column = |name, element| value(name, element, &[None, Some(1)]);
    model(&nodes, &[column("cat", 8), column("amount", 1), column("nb", 7)], &[column("score", 1)])
}

/// A field of a protobuf message: the fields 3 and 20 are small numbers, the rest has its length in front.
fn field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    let is_number = number == 20 || number == 3;
    let tag = u32::from(number) << 3 | if is_number { 0 } else { 2 };
    floodmark_features::codec::put_varint(u64::from(tag), out);
    if !is_number {
        floodmark_features::codec::put_varint(value.len() as u64, out);
    }
    out.extend_from_slice(value);
}

fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(number, value)| field(&mut out, *number, value));
    out
}

/// `NodeProto`, with at most one `AttributeProto`.
fn node(operator: &str, inputs: &[&str], outputs: &[&str], attribute: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    inputs.iter().for_each(|name| field(&mut out, 1, name.as_bytes()));
    outputs.iter().for_each(|name| field(&mut out, 2, name.as_bytes()));
    field(&mut out, 4, operator.as_bytes());
    if !attribute.is_empty() {
        field(&mut out, 5, &message(attribute));
    }
    out
}

/// `ValueInfoProto` of a tensor.
fn value(name: &str, element: u8, sizes: &[Option<u8>]) -> Vec<u8> {
    let mut shape = Vec::new();
    for size in sizes {
        let dimension = size.map_or_else(|| message(&[(2, b"N")]), |size| vec![1 << 3, size]);
        field(&mut shape, 1, &dimension);
    }
    let mut tensor = vec![1 << 3, element];
    field(&mut tensor, 2, &shape);
    message(&[(1, name.as_bytes()), (2, &message(&[(1, &tensor)]))])
}

/// `ModelProto`.
fn model(nodes: &[Vec<u8>], inputs: &[Vec<u8>], outputs: &[Vec<u8>]) -> Vec<u8> {
    let mut graph = Vec::new();
    nodes.iter().for_each(|node| field(&mut graph, 1, node));
    field(&mut graph, 2, b"g");
    inputs.iter().for_each(|input| field(&mut graph, 11, input));
    outputs.iter().for_each(|output| field(&mut graph, 12, output));
    let mut out = vec![1 << 3, 8]; // ir_version
    field(&mut out, 7, &graph);
    field(&mut out, 8, &[2 << 3, 19]); // opset 19
    out
}
