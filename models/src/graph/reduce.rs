//! A model reduced to its score: one output, and no node that it does not need.
//!
//! Exporters add a label that nobody asked for, and a ZipMap that turns a row of probabilities into a map. Both cost time in
//! every run, and a map is no tensor.

use std::collections::HashSet;

use prost::Message;

use super::bytes::{fields, put};
use super::onnx::{FLOAT, Graph, Kind, Model, Node, TensorKind, ValueInfo};

/// The model's graph in its file, the nodes and outputs in a graph.
const GRAPH: usize = 7;
const NODE: usize = 1;
const OUTPUT: usize = 12;

/// A model with one output.
#[derive(Debug)]
pub(crate) struct Reduced {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// The labels of the columns of its output, where a ZipMap named them.
    pub(crate) classes: Option<Classes>,
}

/// Labels of classes, in the order of their columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Classes {
    /// `classlabels_int64s`
    Ints(Vec<i64>),
    /// `classlabels_strings`
    Texts(Vec<String>),
}

/// Why a model has no such score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReduceError {
    /// There is no output of that name.
    NoOutput { outputs: Vec<String> },
    /// A map or a sequence that no ZipMap made.
    NoTensor,
    /// The file is not what it seemed.
    Malformed,
}

/// The model in `bytes`, of which `model` is what was decoded, with `output` as its only output.
pub(crate) fn reduced_to(bytes: &[u8], model: &Model, output: &str) -> Result<Reduced, ReduceError> {
    let graph = model.graph.as_ref().ok_or(ReduceError::Malformed)?;
    let Some(declared) = graph.outputs.iter().find(|o| o.name == output) else {
        return Err(ReduceError::NoOutput { outputs: graph.outputs.iter().map(|o| o.name.clone()).collect() });
    };
    let zip_map = graph.nodes.iter().find(|node| is_zip_map(node) && node.outputs.iter().any(|o| o == output));
    let score = match zip_map {
        Some(node) => float_tensor(node.inputs.first().ok_or(ReduceError::Malformed)?),
        None if declared.kind.as_ref().is_some_and(|kind| kind.tensor.is_none()) => return Err(ReduceError::NoTensor),
        None => declared.clone(),
    };
    let kept = needed(graph, &score.name);
    let bytes = rewritten(bytes, &kept, &score).ok_or(ReduceError::Malformed)?;
    Ok(Reduced { bytes, classes: zip_map.and_then(classes) })
}

fn is_zip_map(node: &Node) -> bool {
    node.operator == "ZipMap" && node.domain == "ai.onnx.ml"
}

fn float_tensor(name: &str) -> ValueInfo {
    let kind = Kind { tensor: Some(TensorKind { element: FLOAT, shape: None }) };
    ValueInfo { name: name.to_owned(), kind: Some(kind) }
}

fn classes(zip_map: &Node) -> Option<Classes> {
    let attribute = |name: &str| zip_map.attributes.iter().find(|a| a.name == name);
    if let Some(ints) = attribute("classlabels_int64s").filter(|a| !a.ints.is_empty()) {
        return Some(Classes::Ints(ints.ints.clone()));
    }
    let texts = &attribute("classlabels_strings")?.texts;
    Some(Classes::Texts(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()))
}

/// Which nodes the score needs. Nodes stand after those whose outputs they take, so one pass from the end will do.
fn needed(graph: &Graph, score: &str) -> Vec<bool> {
    // A node with a graph inside may take anything from around it.
    let has_graph = |node: &Node| node.attributes.iter().any(|a| a.graph.is_some() || !a.graphs.is_empty());
    if graph.nodes.iter().any(has_graph) {
        return graph.nodes.iter().map(|node| !is_zip_map(node)).collect();
    }
    let mut wanted: HashSet<&str> = HashSet::from([score]);
    let mut kept = vec![false; graph.nodes.len()];
    for (node, kept) in graph.nodes.iter().zip(&mut kept).rev() {
        *kept = node.outputs.iter().any(|output| wanted.contains(output.as_str()));
        if *kept {
            wanted.extend(node.inputs.iter().map(String::as_str));
        }
    }
    kept
}

/// The file with these nodes and this output only; all else is copied.
fn rewritten(bytes: &[u8], kept: &[bool], score: &ValueInfo) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for field in fields(bytes)? {
        match field.tag {
            GRAPH => put(&mut out, GRAPH, &rewritten_graph(field.content, kept, score)?),
            _ => out.extend_from_slice(field.whole),
        }
    }
    Some(out)
}

fn rewritten_graph(graph: &[u8], kept: &[bool], score: &ValueInfo) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(graph.len() + 64);
    let mut kept = kept.iter();
    for field in fields(graph)? {
        let drop = match field.tag {
            NODE => !kept.next()?,
            tag => tag == OUTPUT,
        };
        if !drop {
            out.extend_from_slice(field.whole);
        }
    }
    put(&mut out, OUTPUT, &score.encode_to_vec());
    Some(out)
}
