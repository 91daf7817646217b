//! What a model's metadata and configuration say of it.

use std::collections::BTreeMap;

use floodmark_features::schema::Schema;
use floodmark_models::manifest::MODEL_FILE;
use floodmark_models::model::Model;
use floodmark_models::signature::Tensors;
use floodmark_proto::inference::model_metadata_response::TensorMetadata;
use floodmark_proto::inference::model_version_policy::{PolicyChoice, Specific};
use floodmark_proto::inference::{
    ModelConfig, ModelInput, ModelInstanceGroup, ModelMetadataResponse, ModelOutput, ModelParameter, ModelVersionPolicy,
    model_instance_group,
};

use super::answer::SCORE;
use super::datatype::Datatype;
use super::{Inference, Refusal};
use crate::plan::Plan;

/// What Triton calls ONNX models.
const PLATFORM: &str = "onnxruntime_onnx";
const BACKEND: &str = "onnxruntime";

impl Inference {
    pub(super) fn metadata(&self, name: &str, version: &str) -> Result<ModelMetadataResponse, Refusal> {
        let (scores, model) = self.pick(name, version)?;
        let versions = scores.models().versions(name).map_err(Refusal::Model)?;
        let tensor = |(name, datatype, shape): (&str, Datatype, Vec<i64>)| TensorMetadata {
            name: name.to_owned(),
            datatype: datatype.name().to_owned(),
            shape,
        };
        Ok(ModelMetadataResponse {
            name: model.name().to_owned(),
            versions: versions.iter().map(|model| model.version().to_string()).collect(),
            platform: PLATFORM.to_owned(),
            inputs: inputs(&model).into_iter().map(tensor).collect(),
            outputs: vec![tensor(output(&model))],
            properties: properties(&model, scores.plan_of(&model)?),
        })
    }

    pub(super) fn config(&self, name: &str, version: &str) -> Result<ModelConfig, Refusal> {
        let (scores, model) = self.pick(name, version)?;
        let versions = scores.models().versions(name).map_err(Refusal::Model)?;
        let versions = versions.iter().map(|model| i64::try_from(model.version()).unwrap_or(i64::MAX)).collect();
        let input = |(name, datatype, dims): (&str, Datatype, Vec<i64>)| ModelInput {
            name: name.to_owned(),
            data_type: datatype.config().into(),
            dims,
        };
        let (output, datatype, dims) = output(&model);
        let parameter = |(name, string_value)| (name, ModelParameter { string_value });
        Ok(ModelConfig {
            name: model.name().to_owned(),
            platform: PLATFORM.to_owned(),
            version_policy: Some(ModelVersionPolicy { policy_choice: Some(PolicyChoice::Specific(Specific { versions })) }),
            max_batch_size: 0,
            input: inputs(&model).into_iter().map(input).collect(),
            output: vec![ModelOutput { name: output.to_owned(), data_type: datatype.config().into(), dims }],
            instance_group: vec![ModelInstanceGroup {
                name: model.name().to_owned(),
                count: i32::try_from(model.instances()).unwrap_or(i32::MAX),
                kind: model_instance_group::Kind::Cpu.into(),
            }],
            default_model_filename: MODEL_FILE.to_owned(),
            parameters: properties(&model, scores.plan_of(&model)?).into_iter().map(parameter).collect(),
            backend: BACKEND.to_owned(),
        })
    }
}

/// The model's own tensors.
fn inputs(model: &Model) -> Vec<(&str, Datatype, Vec<i64>)> {
    let signature = model.signature();
    match &signature.tensors {
        Tensors::Matrix(name) => vec![(name, Datatype::Fp32, vec![-1, signature.inputs.len() as i64])],
        Tensors::Columns(columns) => {
            let shape = |upright| if upright { vec![-1, 1] } else { vec![-1] };
            let tensors = columns.iter().zip(&signature.inputs);
            tensors.map(|(tensor, input)| (tensor.name.as_str(), input.element.into(), shape(tensor.upright))).collect()
        }
    }
}

fn output(model: &Model) -> (&'static str, Datatype, Vec<i64>) {
    (SCORE, model.score_element().into(), vec![-1])
}

/// How the model is asked by key, and what it is fed.
fn properties(model: &Model, plan: &Plan) -> BTreeMap<String, String> {
    let columns = |schema: &Schema| {
        let column = |column: &floodmark_features::schema::Column| format!("{}:{}", column.name, Datatype::from(column.kind));
        schema.columns.iter().map(column).collect::<Vec<_>>().join(",")
    };
    let fed = model.signature().inputs.iter().map(|input| input.column.as_str()).collect::<Vec<_>>().join(",");
    let properties = [
        ("service", model.signature().service.clone()),
        ("entity_keys", columns(&plan.lookup.keys)),
        ("request_fields", columns(&plan.lookup.request)),
        ("columns", fed),
    ];
    properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
