//! What a score costs over a bare session in a loop; a measurement, so it is run by name:
//! `cargo test --profile fast -p floodmark-models speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use ort::session::SessionInputValue;
use ort::value::TensorRef;

use super::{Model, Settings};
use crate::matrix::Input;
use crate::testing::{self, Fraud, MANIFEST, golden};

const RUNS: u32 = 20_000;

/// Nanoseconds a run, in the best of a few rounds: what is left is what the code costs.
fn nanoseconds(mut run: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..RUNS).for_each(|_| run());
        start.elapsed().as_nanos() as f64 / f64::from(RUNS)
    };
    (0..7).map(|_| round()).fold(f64::MAX, f64::min)
}

#[test]
#[ignore = "a measurement is no test"]
#[allow(clippy::print_stderr)]
fn speed_over_a_bare_session() {
    let Some(runtime) = testing::runtime() else { return };
    let onnx = testing::bytes(&testing::logistic());
    let mut session = runtime.session(&onnx).unwrap();
    let row = [1.5f32, 2.0, 0.5];
    let bare = nanoseconds(|| {
        let tensor = TensorRef::from_array_view(([1usize, 3], &row[..])).unwrap();
        let outputs = session.run([SessionInputValue::from(tensor)]).unwrap();
        black_box(outputs[0].try_extract_tensor::<f32>().unwrap().1[0]);
    });

    let folder = tempfile::tempdir().unwrap();
    testing::write(&folder.path().join("fraud"), "1", &onnx, MANIFEST, &golden());
    let model = Model::load(runtime, folder.path(), "fraud", "1", &Fraud, &Settings::default()).unwrap();
    let (mut rows, mut scores) = (model.matrix(), Vec::new());
    let inputs = [Input::Float(1.5), Input::Int(2), Input::Float(0.5)];
    let one = nanoseconds(|| {
        rows.clear();
        rows.push(|at| inputs[at]).unwrap();
        model.score(&rows, &mut scores).unwrap();
        black_box(scores[0]);
    });
    eprintln!("one row: bare {bare:.0} ns, with the model {one:.0} ns, ratio {:.2}", one / bare);
    for batch in [8, 64] {
        let together = nanoseconds(|| {
            rows.clear();
            (0..batch).for_each(|_| assert!(rows.push(|at| inputs[at]).is_ok()));
            model.score(&rows, &mut scores).unwrap();
            black_box(scores[0]);
        });
        eprintln!("{batch} rows: {:.0} ns a row", together / f64::from(batch));
    }
}
