//! What a model's file says about itself, read without running it: operators, tensors outside the file, outputs.
//!
//! Only the fields that are looked at are decoded ([`onnx`]); [`reduce`] edits the bytes and copies what it does not know.

mod bytes;
pub(crate) mod onnx;
mod reduce;

use prost::Message;

use onnx::{Attribute, Graph, Model, Node, TensorData};
pub(crate) use reduce::{Classes, ReduceError, Reduced, reduced_to};

/// Domains whose operators come with ONNX Runtime.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Why a file is not to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GraphError {
    /// It is no ONNX model.
    Malformed(String),
    /// Weights in another file, which nobody has checked.
    ExternalData { tensor: String },
    /// An operator that needs a library of its own.
    CustomOperator { domain: String, operator: String },
}

/// The model in these bytes, if all that it needs is in them.
pub(crate) fn read(bytes: &[u8]) -> Result<Model, GraphError> {
    let model = Model::decode(bytes).map_err(|e| GraphError::Malformed(e.to_string()))?;
    let Some(graph) = &model.graph else {
        return Err(GraphError::Malformed("there is no graph in it".to_owned()));
    };
    let own: Vec<&str> = model.functions.iter().map(|f| f.domain.as_str()).collect();
    check_graph(graph, &own)?;
    model.functions.iter().flat_map(|f| &f.nodes).try_for_each(|node| check_node(node, &own))?;
    Ok(model)
}

/// `own` are the domains of functions that the file brings along.
fn check_graph(graph: &Graph, own: &[&str]) -> Result<(), GraphError> {
    let sparse = graph.sparse_initializers.iter().flat_map(|s| s.values.iter().chain(&s.indices));
    graph.initializers.iter().chain(sparse).try_for_each(check_tensor)?;
    graph.nodes.iter().try_for_each(|node| check_node(node, own))
}

fn check_node(node: &Node, own: &[&str]) -> Result<(), GraphError> {
    let domain = node.domain.as_str();
    if !DOMAINS.contains(&domain) && !own.contains(&domain) {
        return Err(GraphError::CustomOperator { domain: node.domain.clone(), operator: node.operator.clone() });
    }
    node.attributes.iter().try_for_each(|attribute| check_attribute(attribute, own))
}

fn check_attribute(attribute: &Attribute, own: &[&str]) -> Result<(), GraphError> {
    attribute.tensor.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
    attribute.graph.iter().chain(&attribute.graphs).try_for_each(|graph| check_graph(graph, own))
}

fn check_tensor(tensor: &TensorData) -> Result<(), GraphError> {
    match tensor.location == onnx::EXTERNAL || !tensor.external.is_empty() {
        true => Err(GraphError::ExternalData { tensor: tensor.name.clone() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
