//! Files that are not to be run, and what is left of one that is reduced to its score.

use prost::Message;

use super::onnx::Model;
use super::{Classes, GraphError, ReduceError, read, reduced_to};
use crate::testing;

#[test]
fn what_needs_more_than_its_file_is_refused() {
    let error = |model: &Model| read(&testing::bytes(model)).unwrap_err();
    assert_eq!(error(&testing::external()), GraphError::ExternalData { tensor: "far".into() });
    let custom = GraphError::CustomOperator { domain: "com.example".into(), operator: "Sigmoid".into() };
    assert_eq!(error(&testing::custom()), custom);
    let whole = testing::bytes(&testing::logistic());
    assert!(matches!(read(&whole[..whole.len() - 5]), Err(GraphError::Malformed(_))));
    assert!(matches!(read(b""), Err(GraphError::Malformed(_))));
}

#[test]
fn a_zip_map_gives_way_to_its_tensor() {
    let model = testing::zip_map();
    let reduced = reduced_to(&testing::bytes(&model), &model, "probabilities").unwrap();
    assert_eq!(reduced.classes, Some(Classes::Ints(vec![0, 1])));
    let graph = Model::decode(reduced.bytes.as_slice()).unwrap().graph.unwrap();
    let operators: Vec<&str> = graph.nodes.iter().map(|n| n.operator.as_str()).collect();
    assert_eq!(operators, ["LinearClassifier"]);
    let outputs: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(outputs, ["raw"]);
}

#[test]
fn nodes_that_the_score_does_not_need_are_left_out_and_all_else_is_copied() {
    let mut model = testing::logistic();
    let mut stray = testing::graph(&mut model).nodes[2].clone();
    stray.outputs = vec!["stray".into()];
    testing::graph(&mut model).nodes.push(stray);
    let reduced = reduced_to(&testing::bytes(&model), &model, "score").unwrap();
    assert_eq!(Model::decode(reduced.bytes.as_slice()).unwrap(), testing::logistic());
}

#[test]
fn an_output_that_is_not_there_is_answered_with_those_that_are() {
    let model = testing::zip_map();
    let error = reduced_to(&testing::bytes(&model), &model, "score").unwrap_err();
    assert_eq!(error, ReduceError::NoOutput { outputs: vec!["label".into(), "probabilities".into()] });
}
