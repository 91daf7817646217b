//! Requests in both forms, what they are answered, and why others are refused.

#![allow(clippy::unwrap_used)] // in a test, a panic is the message

use floodmark_proto::inference::grpc_inference_service_server::GrpcInferenceService;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use floodmark_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use floodmark_proto::inference::*;
use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;
use prost::Message;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::testing::{World, asked, floats, ints, linear, raw, texts};
use super::*;

/// The scores of an answer.
fn scores(response: &ModelInferResponse) -> Vec<f64> {
    assert_eq!(response.outputs.len(), response.raw_output_contents.len());
    let (output, raw) = (&response.outputs[0], &response.raw_output_contents[0]);
    let scores: Vec<f64> = match output.datatype.as_str() {
        "FP32" => raw.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap()).into()).collect(),
        "FP64" => raw.chunks(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect(),
        other => panic!("a score of {other}"),
    };
    assert_eq!((output.name.as_str(), &output.shape[..]), ("score", &[scores.len() as i64][..]));
    scores
}

fn int(response: &ModelInferResponse, name: &str) -> Option<i64> {
    match response.parameters.get(name)?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(value) => Some(*value),
        other => panic!("{name} is {other:?}"),
    }
}

/// The code, the reason and the field of a refusal.
fn why(refused: Result<impl std::fmt::Debug, Status>) -> (Code, String, String) {
    let status = refused.expect_err("it is refused");
    let details = status.get_error_details();
    let field = details.bad_request().and_then(|bad| bad.field_violations.first()).map(|violation| violation.field.clone());
    (status.code(), details.error_info().map(|info| info.reason.clone()).unwrap_or_default(), field.unwrap_or_default())
}

fn said(reason: &str, field: &str) -> (Code, String, String) {
    (Code::InvalidArgument, reason.to_owned(), field.to_owned())
}

#[tokio::test]
async fn a_matrix_of_any_numbers_is_scored() {
    let Some(world) = World::loaded(false) else { return };
    let inference = &world.inference;
    let rows = [[4.0, 2.0, 1.0], [10.0, 0.0, -3.0]];
    let expected = rows.map(|row| f64::from(linear(row)));
    let flat: Vec<f32> = rows.concat();
    let response = inference.infer(&asked("matrix", vec![floats("X", &[2, 3], &flat)]), None).await.unwrap();
    assert_eq!(scores(&response), expected);
    assert_eq!(
        (response.model_name.as_str(), response.model_version.as_str(), response.outputs[0].datatype.as_str()),
        ("matrix", "1", "FP32")
    );
    assert!(response.parameters.is_empty() && response.outputs[0].contents.is_none());
    for (datatype, raw_contents) in [
        ("FP64", flat.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect::<Vec<u8>>()),
        ("INT64", flat.iter().flat_map(|x| (*x as i64).to_le_bytes()).collect()),
        ("INT8", flat.iter().map(|x| (*x as i8) as u8).collect()),
    ] {
        let response = inference.infer(&asked("matrix", vec![raw("X", datatype, &[2, 3], [raw_contents])]), None).await.unwrap();
        assert_eq!(scores(&response), expected, "{datatype}");
    }
    let one = inference.infer(&asked("matrix", vec![floats("X", &[3], &rows[0])]), None).await.unwrap();
    assert_eq!(scores(&one), expected[..1]);
    let none = inference.infer(&asked("matrix", vec![floats("X", &[0, 3], &[])]), None).await.unwrap();
    assert_eq!(scores(&none), [0.0; 0]);

    // NaN is what is missing: the manifest says what stands in for it, and is counted.
    let missing = asked("matrix", vec![floats("X", &[2, 3], &[4.0, f32::NAN, f32::NAN, 1.0, 2.0, f32::NAN])]);
    let response = inference.infer(&missing, None).await.unwrap();
    assert_eq!(scores(&response), [linear([4.0, 0.0, 0.5]), linear([1.0, 2.0, 0.5])].map(f64::from));
    assert_eq!(int(&response, "missing"), Some(3));
    let amount = asked("matrix", vec![floats("X", &[2, 3], &[4.0, 1.0, 1.0, f32::NAN, 2.0, 1.0])]);
    assert_eq!(why(inference.infer(&amount, None).await), said("MISSING_INPUT", "inputs[0], row 1"));

    // Many rows are scored in turns, and are the same.
    let many: Vec<f32> = (0..3 * 1000).map(|n| (n % 97) as f32).collect();
    let response = inference.infer(&asked("matrix", vec![floats("X", &[1000, 3], &many)]), None).await.unwrap();
    let expected: Vec<f64> = many.chunks(3).map(|row| linear([row[0], row[1], row[2]]).into()).collect();
    assert_eq!(scores(&response), expected);
    let too_many = asked("matrix", vec![floats("X", &[10_001, 3], &vec![0.0; 3 * 10_001])]);
    assert_eq!(why(inference.infer(&too_many, None).await), said("TOO_MANY_ROWS", "rows"));
}

#[tokio::test]
async fn a_tensor_for_each_input_is_scored() {
    let Some(world) = World::loaded(false) else { return };
    let inference = &world.inference;
    let amount = || floats("amount", &[2], &[2.5, 4.0]);
    let nb = || ints("nb", &[2, 1], &[3, 7]);
    let cat = || texts("cat", &[2, 1], &["food", ""]);
    let response = inference.infer(&asked("columns", vec![nb(), amount(), cat()]), None).await.unwrap();
    assert_eq!(scores(&response), [7.5, 28.0]);
    let whole = inference.infer(&asked("columns", vec![cat(), floats("nb", &[2], &[3.0, 7.0]), amount()]), None).await.unwrap();
    assert_eq!(scores(&whole), [7.5, 28.0], "whole numbers may come as floats");
    for (tensors, expected) in [
        (vec![nb(), cat()], said("MISSING_TENSOR", "inputs")),
        (vec![nb(), amount(), cat(), nb()], said("TENSOR_TWICE", "inputs[3].name")),
        (vec![ints("nb", &[3], &[1, 2, 3]), amount(), cat()], said("WRONG_SHAPE", "inputs[1].shape")),
        (vec![ints("nb", &[1, 2], &[1, 2]), amount(), cat()], said("WRONG_SHAPE", "inputs[0].shape")),
        (vec![nb(), amount(), floats("cat", &[2], &[1.0, 2.0])], said("WRONG_DATATYPE", "inputs[2].datatype")),
        (vec![texts("nb", &[2], &["3", "7"]), amount(), cat()], said("WRONG_DATATYPE", "inputs[0].datatype")),
        (vec![floats("nb", &[2], &[3.0, 7.5]), amount(), cat()], said("WRONG_INPUT_TYPE", "inputs[0] \"nb\", row 1")),
        (vec![nb(), floats("amount", &[2], &[1.0, f32::NAN]), cat()], said("MISSING_INPUT", "inputs[1] \"amount\", row 1")),
    ] {
        assert_eq!(why(inference.infer(&asked("columns", tensors), None).await), expected);
    }
}

/// The same questions in both protocols.
fn by_key(model: &str, customers: &[i64]) -> (ModelInferRequest, v1::ScoreRequest) {
    let rows = customers.len() as i64;
    let amounts: Vec<f32> = customers.iter().map(|customer| *customer as f32 + 0.5).collect();
    let terminals: Vec<String> = customers.iter().map(|customer| format!("t-{customer}")).collect();
    let terminals: Vec<&str> = terminals.iter().map(String::as_str).collect();
    let tensors = vec![
        texts("terminal_id", &[rows, 1], &terminals),
        floats("amount", &[rows], &amounts),
        ints("customer_id", &[rows], customers),
        texts("category", &[rows], &vec!["food"; customers.len()]),
    ];
    let value = |kind| v1::Value { kind: Some(kind) };
    let row = |customer: &i64| v1::EntityRow {
        keys: vec![value(Kind::Int64Value(*customer)), value(Kind::StringValue(format!("t-{customer}")))],
        request: vec![value(Kind::DoubleValue(*customer as f64 + 0.5)), value(Kind::StringValue("food".to_owned()))],
        ..v1::EntityRow::default()
    };
    let same = v1::ScoreRequest {
        model: model.to_owned(),
        key_names: ["customer_id", "terminal_id"].map(str::to_owned).to_vec(),
        request_names: ["amount", "category"].map(str::to_owned).to_vec(),
        rows: customers.iter().map(row).collect(),
        as_of_micros: Some(1_522_540_800_000_000),
        ..v1::ScoreRequest::default()
    };
    let parameter = InferParameter { parameter_choice: Some(ParameterChoice::StringParam("2018-04-01T00:00:00Z".to_owned())) };
    (ModelInferRequest { parameters: [("as_of".to_owned(), parameter)].into(), ..asked(model, tensors) }, same)
}

#[tokio::test]
async fn keys_are_looked_up_as_floodmark_does() {
    let Some(world) = World::loaded(false) else { return };
    for model in ["matrix", "wide", "columns"] {
        for count in [1, 5, 200] {
            let customers: Vec<i64> = (0..count).collect();
            let (request, same) = by_key(model, &customers);
            let response = world.inference.infer(&request, None).await.unwrap();
            let expected = world.scores.score_in_turns(&same, None).await.unwrap();
            assert_eq!(scores(&response), expected.rows.iter().map(|row| row.score).collect::<Vec<f64>>(), "{model}, {count} rows");
            let missing = expected.rows.iter().map(|row| i64::from(row.missing)).sum();
            assert_eq!(int(&response, "missing"), Some(missing));
            assert_eq!(int(&response, "as_of_micros"), Some(1_522_540_800_000_000));
            assert_eq!(int(&response, "version"), Some(expected.rows[0].version as i64));
            assert_eq!(int(&response, "watermark_micros"), None, "before the first event there is none");
        }
    }
    let (request, _) = by_key("matrix", &[7]);
    let without = |name: &str| {
        let kept = request.inputs.iter().zip(&request.raw_input_contents).filter(|(input, _)| input.name != name);
        asked("matrix", kept.map(|(input, raw)| (input.clone(), raw.clone())).collect())
    };
    assert_eq!(why(world.inference.infer(&without("customer_id"), None).await), said("MISSING_KEY", "key_names"));
    assert_eq!(why(world.inference.infer(&without("amount"), None).await), said("MISSING_INPUT", "rows[0]"));
    let mut null = request.clone();
    null.raw_input_contents[1] = f32::NAN.to_le_bytes().to_vec().into();
    assert_eq!(why(world.inference.infer(&null, None).await), said("MISSING_INPUT", "rows[0]"), "NaN is what is missing");
    let mut odd = request.clone();
    odd.inputs[0] = InferInputTensor { datatype: "INT32".to_owned(), ..odd.inputs[0].clone() };
    odd.raw_input_contents[0] = vec![0; 4].into();
    assert_eq!(why(world.inference.infer(&odd, None).await), said("WRONG_DATATYPE", "inputs[0].datatype"));
    for wrong in [ParameterChoice::StringParam("yesterday".to_owned()), ParameterChoice::BoolParam(true)] {
        let mut request = request.clone();
        request.parameters.insert("as_of".to_owned(), InferParameter { parameter_choice: Some(wrong) });
        assert_eq!(why(world.inference.infer(&request, None).await), said("WRONG_PARAMETER", "parameters.as_of"));
    }
}

#[tokio::test]
async fn names_tell_the_forms_apart() {
    let Some(world) = World::loaded(false) else { return };
    let infer = async |model: &str, names: &[&str]| {
        let tensors = names.iter().map(|name| floats(name, &[1], &[1.0])).collect();
        why(world.inference.infer(&asked(model, tensors), None).await)
    };
    assert_eq!(infer("matrix", &[]).await, said("MISSING_TENSOR", "inputs"));
    assert_eq!(infer("matrix", &["Y"]).await, said("UNKNOWN_TENSOR", "inputs[0].name"));
    assert_eq!(infer("matrix", &["X", "X"]).await, said("TENSOR_TWICE", "inputs[1].name"));
    let many: Vec<&str> = ["X", "amount"].into_iter().cycle().take(50_000).collect();
    assert_eq!(infer("matrix", &many).await, said("TENSOR_TWICE", "inputs[2].name"), "and soon");
    assert_eq!(infer("matrix", &["X", "customer_id"]).await, said("MIXED_FORMS", "inputs[1].name"));
    assert_eq!(infer("matrix", &["amount"]).await, said("MISSING_KEY", "key_names"));
    // `amount` is a tensor of this model, and a field of its service's requests.
    assert_eq!(infer("columns", &["amount"]).await, said("MISSING_TENSOR", "inputs"));
    assert_eq!(infer("columns", &["amount", "nb", "customer_id"]).await, said("MIXED_FORMS", "inputs[2].name"));
    assert_eq!(infer("columns", &["amount", "customer_id"]).await, said("WRONG_DATATYPE", "inputs[1].datatype"), "keys are no floats");
    assert_eq!(infer("columns", &["amount", "nb", "cta"]).await, said("UNKNOWN_TENSOR", "inputs[2].name"));
}

#[tokio::test]
async fn outputs_are_as_they_are_asked_for() {
    let Some(world) = World::loaded(false) else { return };
    let row = || vec![floats("X", &[1, 3], &[4.0, 2.0, 1.0])];
    let output = |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..InferRequestedOutputTensor::default() };
    let bool = |b| InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(b)) };

    let named = ModelInferRequest { outputs: vec![output("score")], id: "r-7".to_owned(), ..asked("wide", row()) };
    let response = world.inference.infer(&named, None).await.unwrap();
    assert_eq!((response.outputs.len(), response.id.as_str(), response.outputs[0].datatype.as_str()), (1, "r-7", "FP64"));
    assert_eq!(scores(&response), [2.5]);
    let twice = ModelInferRequest { outputs: vec![output("score"), output("score")], ..asked("wide", row()) };
    assert_eq!(why(world.inference.infer(&twice, None).await), said("OUTPUT_TWICE", "outputs[1].name"));
    let typed = ModelInferRequest { parameters: [("typed_outputs".to_owned(), bool(true))].into(), ..asked("matrix", row()) };
    let response = world.inference.infer(&typed, None).await.unwrap();
    assert!(response.raw_output_contents.is_empty());
    assert_eq!(response.outputs[0].contents.as_ref().expect("typed contents").fp32_contents, [2.5]);

    let unknown = ModelInferRequest { outputs: vec![output("label")], ..asked("matrix", row()) };
    assert_eq!(why(world.inference.infer(&unknown, None).await), said("UNKNOWN_OUTPUT", "outputs[0].name"));
    let mut classified = ModelInferRequest { outputs: vec![output("score")], ..asked("matrix", row()) };
    classified.outputs[0].parameters.insert("classification".to_owned(), bool(true));
    assert_eq!(why(world.inference.infer(&classified, None).await).0, Code::Unimplemented);
    let mut shared = asked("matrix", row());
    shared.inputs[0].parameters.insert("shared_memory_region".to_owned(), bool(true));
    assert_eq!(why(world.inference.infer(&shared, None).await).0, Code::Unimplemented);
    let mut few = asked("columns", vec![floats("amount", &[1], &[1.0]), ints("nb", &[1], &[1]), texts("cat", &[1], &["a"])]);
    few.raw_input_contents.pop();
    assert_eq!(why(world.inference.infer(&few, None).await), said("RAW_AND_TYPED", "raw_input_contents"));
}

#[tokio::test]
async fn the_bytes_of_an_answer_are_those_of_its_message() {
    let Some(world) = World::loaded(false) else { return };
    let inference = &world.inference;
    let rows = |model, rows: i64| asked(model, vec![floats("X", &[rows, 3], &vec![f32::from(3_u8); 3 * rows as usize])]);
    let missing = asked("matrix", vec![floats("X", &[1, 3], &[1.0, f32::NAN, 1.0])]);
    let id = ModelInferRequest { id: "r".repeat(300), ..rows("matrix", 2) };
    let typed = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    let typed = ModelInferRequest { parameters: [("typed_outputs".to_owned(), typed)].into(), ..rows("wide", 2) };
    for request in [rows("matrix", 0), rows("matrix", 1), rows("wide", 200), by_key("columns", &[1, 2, 3]).0, missing, id, typed] {
        let answer = inference.run(inference.prepare_message(&request, None).unwrap()).await.unwrap();
        let bytes = response::framed(answer.clone());
        assert_eq!(ModelInferResponse::decode(bytes.as_message()).unwrap(), answer.into_response());
    }
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_from_one_that_was_refused() {
    let Some(world) = World::loaded(false) else { return };
    world.another("matrix", 2, true);
    world.scores.load("matrix", 2).expect_err("its golden rows are gone");
    let infer = async |model: &str, version: &str| {
        let request = ModelInferRequest { model_version: version.to_owned(), ..asked(model, vec![floats("X", &[3], &[1.0; 3])]) };
        world.inference.infer(&request, None).await
    };
    assert_eq!(infer("matrix", "1").await.unwrap().model_version, "1");
    assert_eq!(infer("matrix", "").await.unwrap().model_version, "1", "what was refused is no choice");
    let refused = infer("matrix", "2").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("refused at step manifest"), "{}", refused.message());
    assert_eq!(refused.get_details_resource_info().expect("a resource").resource_name, "matrix/2");
    let unknown = infer("matrix", "9").await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.get_details_resource_info().expect("a resource").resource_name.as_str()),
        (Code::NotFound, "matrix/9")
    );
    let nobody = infer("nobody", "").await.unwrap_err();
    assert_eq!((nobody.code(), nobody.get_details_resource_info().expect("a resource").resource_type.as_str()), (Code::NotFound, "model"));
    assert_eq!(infer("matrix", "@stable").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(why(infer("matrix", "two").await), said("BAD_MODEL_VERSION", "model_version"));
    world.scores.models().promote("matrix", "stable", 1).unwrap();
    assert_eq!(infer("matrix", "@stable").await.unwrap().model_version, "1");
    let ready = async |version: &str| {
        let request = ModelReadyRequest { name: "matrix".to_owned(), version: version.to_owned() };
        world.inference.model_ready(Request::new(request)).await.unwrap().into_inner().ready
    };
    assert_eq!((ready("1").await, ready("2").await, ready("9").await, ready("").await), (true, false, false, true));
}

#[tokio::test]
async fn a_server_is_ready_once_a_model_is() {
    let world = World::new(false);
    let ready = async |inference: &Inference| inference.server_ready(Request::new(ServerReadyRequest {})).await.unwrap().into_inner().ready;
    assert!(ready(&world.inference).await, "no model was ever to be loaded");
    assert!(ready(&Inference::new(None, false, watch::channel(false).1)).await, "nor is there a repository");
    world.another("matrix", 2, true);
    world.scores.load("matrix", 2).expect_err("its golden rows are gone");
    assert!(!ready(&world.inference).await, "the only model was refused");
    if world.scores.models().runtime().is_ok() {
        world.scores.load("wide", 1).unwrap();
        assert!(ready(&world.inference).await);
        world.leave.send(true).unwrap();
        assert!(!ready(&world.inference).await, "about to end");
    }
}

#[tokio::test]
async fn metadata_and_configuration_describe_the_tensors() {
    let Some(world) = World::loaded(false) else { return };
    let metadata = world.inference.metadata("columns", "").unwrap();
    let tensors: Vec<(&str, &str, &[i64])> =
        metadata.inputs.iter().chain(&metadata.outputs).map(|t| (t.name.as_str(), t.datatype.as_str(), &t.shape[..])).collect();
    let expected: [(&str, &str, &[i64]); 4] =
        [("cat", "BYTES", &[-1, 1]), ("amount", "FP32", &[-1, 1]), ("nb", "INT64", &[-1, 1]), ("score", "FP32", &[-1])];
    assert_eq!(tensors, expected);
    assert_eq!(metadata.properties["entity_keys"], "customer_id:INT64,terminal_id:BYTES");
    assert_eq!(metadata.properties["request_fields"], "amount:FP64,category:BYTES,tx_datetime:BYTES");
    assert_eq!((metadata.versions, metadata.platform.as_str()), (vec!["1".to_owned()], "onnxruntime_onnx"));
    let config = world.inference.config("wide", "1").unwrap();
    assert_eq!((config.input[0].data_type(), &config.input[0].dims[..]), (DataType::TypeFp32, &[-1, 3][..]));
    assert_eq!((config.output[0].data_type(), config.instance_group[0].count), (DataType::TypeFp64, 1));
    assert_eq!(world.inference.extensions(), ["binary_tensor_data", "model_configuration", "statistics"]);
}

#[tokio::test]
async fn statistics_count_calls_runs_and_rows() {
    let Some(world) = World::loaded(false) else { return };
    for rows in [1, 3, 200] {
        let request = asked("matrix", vec![floats("X", &[rows, 3], &vec![1.0; 3 * rows as usize])]);
        world.inference.infer(&request, None).await.unwrap();
    }
    let statistics = &world.inference.statistics("matrix", "").unwrap().model_stats[0];
    assert_eq!((statistics.inference_count, statistics.execution_count), (204, 6), "two hundred rows are four runs");
    let stats = statistics.inference_stats.as_ref().expect("statistics");
    assert_eq!((stats.success.unwrap().count, stats.fail.unwrap().count, stats.compute_infer.unwrap().count), (3, 0, 3));
    assert!(stats.success.unwrap().ns >= stats.compute_infer.unwrap().ns && stats.compute_infer.unwrap().ns > 0);
    assert!(statistics.last_inference > 1_500_000_000_000);
    let all = world.inference.statistics("", "").unwrap().model_stats;
    assert_eq!(
        all.iter().map(|s| (s.name.as_str(), s.inference_count)).collect::<Vec<_>>(),
        [("columns", 0), ("matrix", 204), ("wide", 0)]
    );
    assert_eq!(why(world.inference.statistics("nobody", "").map_err(Status::from)).0, Code::NotFound);
}

#[tokio::test]
async fn operators_load_and_unload_in_both_dialects() {
    let Some(world) = World::loaded(true) else { return };
    let inference = &world.inference;
    let index = |ready| {
        let index = inference.index(ready).unwrap();
        index.into_iter().map(|entry| format!("{} {} {} {}", entry.name, entry.version, entry.state, entry.reason)).collect::<Vec<_>>()
    };
    world.another("matrix", 2, false);
    assert_eq!(index(false), ["columns 1 READY ", "matrix 1 READY ", "matrix 2 UNAVAILABLE not loaded", "wide 1 READY "]);
    // KServe's clients have the model's name in the first field.
    let kserve = RepositoryModelLoadRequest { repository_name: "matrix".to_owned(), ..RepositoryModelLoadRequest::default() };
    let answer = inference.repository_model_load(Request::new(kserve)).await.unwrap().into_inner();
    assert_eq!((answer.model_name.as_str(), answer.is_loaded), ("matrix", true));
    assert_eq!(index(true), ["columns 1 READY ", "matrix 1 READY ", "matrix 2 READY ", "wide 1 READY "]);
    // Triton's have it in the second; a version may be named.
    let version =
        ModelRepositoryParameter { parameter_choice: Some(model_repository_parameter::ParameterChoice::StringParam("1".to_owned())) };
    let triton = RepositoryModelUnloadRequest {
        model_name: "matrix".to_owned(),
        parameters: [("version".to_owned(), version)].into(),
        ..RepositoryModelUnloadRequest::default()
    };
    assert!(inference.repository_model_unload(Request::new(triton)).await.unwrap().into_inner().is_unloaded);
    assert_eq!(index(false)[1..3], ["matrix 1 UNAVAILABLE unloaded", "matrix 2 READY "]);
    inference.unload("matrix", &Default::default()).await.unwrap();
    assert_eq!(index(true), ["columns 1 READY ", "wide 1 READY "]);
    let file = [("file:1/model.onnx".to_owned(), ModelRepositoryParameter::default())].into();
    assert_eq!(inference.load("matrix", &file).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(inference.load("nobody", &Default::default()).await.unwrap_err().code(), Code::NotFound);
    assert!(inference.extensions().contains(&"model_repository".to_owned()));

    let guest = Inference::new(Some(world.scores.clone()), false, watch::channel(false).1);
    let index = guest.index(false).map(|_| ()).map_err(Status::from);
    for refused in [index, guest.unload("matrix", &Default::default()).await] {
        let status = refused.expect_err("no operator");
        assert!(status.code() == Code::PermissionDenied && status.message().contains("--admin"), "{status}");
    }
    assert_eq!(guest.load("matrix", &Default::default()).await.unwrap_err().code(), Code::PermissionDenied);
}
