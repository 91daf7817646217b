//! Which of the two forms a request has: the model's own tensors, or keys and request fields to look features up by.

use floodmark_features::suggest::Hint;
use floodmark_models::model::Model;
use floodmark_models::signature::Tensors;

use super::error::TensorError;
use super::tensor::Tensor;
use crate::plan::Plan;
use crate::refusal::{listed, shown};

/// What the tensors of a request are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The model's one matrix.
    Matrix,
    /// For each input of the model, the position of its tensor in the request.
    Columns(Vec<usize>),
    /// Keys and request fields.
    LookedUp,
}

impl Form {
    /// Told apart by the tensors' names.
    pub(super) fn of(tensors: &[Tensor<'_>], model: &Model, plan: &Plan) -> Result<Form, TensorError> {
        match (&model.signature().tensors, tensors) {
            (Tensors::Matrix(name), [only]) if only.name == name => return Ok(Form::Matrix),
            (_, []) => return Err(TensorError::NoInputs { expected: expected(model, plan) }),
            _ => {}
        }
        // Of one more than there are names, one is strange or there twice: the rest need not be compared with each other.
        let most = brought(model).chain(asked(plan)).count() + 1;
        let tensors = &tensors[..tensors.len().min(most)];
        if let Some(twice) = tensors.iter().find(|tensor| tensors[..tensor.at].iter().any(|before| before.name == tensor.name)) {
            return Err(TensorError::Twice { at: twice.at, tensor: shown(twice.name) });
        }
        let is_asked = |tensor: &&Tensor<'_>| asked(plan).any(|name| name == tensor.name);
        let is_brought = |tensor: &&Tensor<'_>| brought(model).any(|name| name == tensor.name);
        if let Some(stray) = tensors.iter().find(|tensor| !is_asked(tensor) && !is_brought(tensor)) {
            let hint = Hint::nearest(stray.name, brought(model).chain(asked(plan)));
            return Err(TensorError::Unknown { at: stray.at, tensor: shown(stray.name), hint, expected: expected(model, plan) });
        }
        // A name may be both: a model's tensor `amount` and the request field that it is made of.
        let only_brought = tensors.iter().find(|tensor| !is_asked(tensor));
        let only_asked = tensors.iter().find(|tensor| !is_brought(tensor));
        match (only_brought, only_asked) {
            (Some(brought), Some(asked)) => {
                Err(TensorError::Mixture { at: asked.at, brought: shown(brought.name), asked: shown(asked.name) })
            }
            (None, Some(_)) => Ok(Form::LookedUp),
            (_, None) => columns(tensors, model).map(Form::Columns),
        }
    }
}

/// Of all inputs, none is missing: else it is said which, and what the other form would need.
fn columns(tensors: &[Tensor<'_>], model: &Model) -> Result<Vec<usize>, TensorError> {
    let find = |name: &str| {
        let missing = || TensorError::Missing { tensor: name.to_owned(), expected: listed(brought(model)) };
        tensors.iter().position(|tensor| tensor.name == name).ok_or_else(missing)
    };
    brought(model).map(find).collect()
}

/// The names of the model's own tensors.
pub(super) fn brought(model: &Model) -> impl Iterator<Item = &str> {
    let (one, many) = match &model.signature().tensors {
        Tensors::Matrix(name) => (Some(name.as_str()), [].as_slice()),
        Tensors::Columns(columns) => (None, columns.as_slice()),
    };
    one.into_iter().chain(many.iter().map(|column| column.name.as_str()))
}

/// The names of keys and request fields.
fn asked(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.lookup.keys.columns.iter().chain(&plan.lookup.request.columns).map(|column| column.name.as_str())
}

fn expected(model: &Model, plan: &Plan) -> String {
    format!("{} or {}", listed(brought(model)), listed(asked(plan)))
}
