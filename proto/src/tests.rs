//! The contract's bytes must not move: a field number that changes here breaks every client.

use prost::Message;

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
