//! The contract's bytes must not move: a field number that changes here breaks every client.

use prost::Message;

use crate::inference;
use crate::v1::*;

#[test]
fn a_request_has_the_bytes_it_always_had() {
    let int = |i| Value { kind: Some(value::Kind::Int64Value(i)) };
    let request = GetFeaturesRequest {
        what: Some(get_features_request::What::Service("fraud".to_owned())),
        key_names: vec!["c".to_owned(), "t".to_owned()],
        rows: vec![EntityRow { keys: vec![int(596), int(-1)], as_of_micros: Some(1), ..EntityRow::default() }],
        version: Some(7),
        mode: Mode::AsCorrected.into(),
        omit_names: true,
        ..GetFeaturesRequest::default()
    };
    let bytes: String = request.encode_to_vec().iter().map(|b| format!("{b:02x}")).collect();
    let expected = "0a056672617564".to_owned()
        + "1a0163"
        + "1a0174"
        + "3212"
        + "0a0310a809"
        + "0a021001"
        + "190100000000000000"
        + "410700000000000000"
        + "4801"
        + "5001";
    assert_eq!(bytes, expected);
    assert_eq!(GetFeaturesRequest::decode(request.encode_to_vec().as_slice()).expect("itself"), request);
}

#[test]
fn statuses_and_flags_are_packed() {
    let row = FeatureRow { statuses: vec![0, 1, 2, 3], provisional_values: vec![true, false], ..FeatureRow::default() };
    assert_eq!(row.encode_to_vec(), [0x12, 4, 0, 1, 2, 3, 0x22, 2, 1, 0]);
}

#[test]
fn descriptors_name_all_services() {
    let set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("descriptors");
    let services: Vec<&str> = set.file.iter().flat_map(|f| f.service.iter().map(|s| s.name())).collect();
    assert_eq!(services, ["FeatureService", "PushService", "ScoreService", "ModelService", "PredictionService", "GRPCInferenceService"]);
}

fn hex(message: &impl Message) -> String {
    message.encode_to_vec().iter().map(|b| format!("{b:02x}")).collect()
}

/// The bytes are those of Triton's own messages, as tritonclient 2.73.0 writes them.
#[test]
fn an_inference_has_the_bytes_of_triton() {
    use inference::infer_parameter::ParameterChoice;
    use inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use inference::model_infer_response::InferOutputTensor;
    let request = inference::ModelInferRequest {
        model_name: "fraud".to_owned(),
        model_version: "1".to_owned(),
        id: "r".to_owned(),
        parameters: [("as_of".to_owned(), inference::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(7)) })].into(),
        inputs: vec![InferInputTensor { name: "X".to_owned(), datatype: "FP32".to_owned(), shape: vec![1, 2], ..Default::default() }],
        outputs: vec![InferRequestedOutputTensor { name: "score".to_owned(), ..Default::default() }],
        raw_input_contents: vec![[1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect()],
    };
    let expected = "0a0566726175641201311a0172220b0a0561735f6f66120210072a0d0a01581204465033321a02010232070a0573636f7265".to_owned()
        + "3a080000803f00000040";
    assert_eq!(hex(&request), expected);
    let contents = inference::InferTensorContents { fp32_contents: vec![1.0], bytes_contents: vec!["x".into()], ..Default::default() };
    let response = inference::ModelInferResponse {
        model_name: "fraud".to_owned(),
        model_version: "1".to_owned(),
        outputs: vec![InferOutputTensor {
            name: "score".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1],
            contents: Some(contents),
            ..Default::default()
        }],
        raw_output_contents: vec![1.0_f32.to_le_bytes().to_vec().into()],
        ..Default::default()
    };
    let expected = "0a0566726175641201312a1b0a0573636f72651204465033321a01012a0932040000803f42017832040000803f";
    assert_eq!(hex(&response), expected);
}
