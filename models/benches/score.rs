//! What a score costs beside a bare ONNX Runtime session in a loop, with the example's model. In process, one thread.
//!
//! `cargo bench -p floodmark-models --bench score`

use std::path::Path;

use floodmark_models::matrix::Input;
use floodmark_models::model::{Model, Settings};
use floodmark_models::runtime::Runtime;
use floodmark_models::signature::{ColumnType, ServiceColumns, Services};
use ort::session::SessionInputValue;
use ort::value::TensorRef;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/fraud/models");

fn main() {
    divan::main();
}

/// Whatever service the model was trained on, as its manifest says.
struct AsTrained;

impl Services for AsTrained {
    fn columns(&self, _: &str) -> Option<ServiceColumns> {
        let text = std::fs::read_to_string(Path::new(MODELS).join("fraud/1/manifest.json")).ok()?;
        let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
        let column = |feature: &serde_json::Value| Some((feature["column"].as_str()?.to_owned(), ColumnType::Float64));
        Some(ServiceColumns {
            id: u64::from_str_radix(manifest["columns_id"].as_str()?, 16).ok()?,
            columns: manifest["inputs"]["features"].as_array()?.iter().filter_map(column).collect(),
        })
    }
}

fn runtime() -> &'static Runtime {
    Runtime::get(None).expect("ONNX Runtime: run `make setup`")
}

/// A tensor made and a run, for one row.
#[divan::bench]
fn bare_session(bencher: divan::Bencher<'_, '_>) {
    let onnx = std::fs::read(Path::new(MODELS).join("fraud/1/model.onnx")).expect("the example's model");
    let mut session = runtime().session(&onnx).expect("a session");
    let row = vec![1.5_f32; AsTrained.columns("fraud").expect("a manifest").columns.len()];
    bencher.bench_local(|| {
        let tensor = TensorRef::from_array_view(([1, row.len()], &row[..])).expect("a tensor");
        let outputs = session.run([SessionInputValue::from(tensor)]).expect("a run");
        outputs.len()
    });
}

/// Rows made inputs and scored; the count is rows.
#[divan::bench(args = [1, 8, 64])]
fn model(bencher: divan::Bencher<'_, '_>, rows: usize) {
    let model = Model::load(runtime(), Path::new(MODELS), "fraud", "1", &AsTrained, &Settings::default()).expect("the example's model");
    let (mut matrix, mut scores) = (model.matrix(), Vec::new());
    bencher.counter(divan::counter::ItemsCount::new(rows)).bench_local(|| {
        matrix.clear();
        (0..rows).for_each(|_| drop(matrix.push(|_| Input::Float(1.5))));
        model.score(&matrix, &mut scores).expect("scores");
        scores.len()
    });
}
