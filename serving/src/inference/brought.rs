//! The model's own tensors as rows of its inputs, in pieces that are scored in one turn each.

use std::sync::Arc;

use floodmark_models::matrix::{InputError, Matrix};
use floodmark_models::model::Model;
use floodmark_models::signature::{Element, Tensors};

use super::datatype::Datatype;
use super::error::TensorError;
use super::tensor::Tensor;
use crate::asked::MAX_ROWS;
use crate::refusal::{Refusal, shown};
use crate::score::ROWS_IN_A_TURN;

/// Rows out of one matrix.
pub(super) fn matrix(model: &Arc<Model>, tensor: &Tensor<'_>) -> Result<Vec<Matrix>, Refusal> {
    let width = model.signature().inputs.len();
    let rows = match *tensor.shape {
        [rows, columns] if columns as usize == width => rows as usize,
        [columns] if columns as usize == width => 1,
        _ => return Err(tensor.shape_error(format!("[N,{width}] or [{width}]")).into()),
    };
    if tensor.datatype == Datatype::Bytes {
        return Err(tensor.datatype_error("FP32, or another number").into());
    }
    bounded(rows)?;
    pieces(model, rows, |matrix, row| {
        let pushed = matrix.push(|input| tensor.value(row * width + input));
        pushed.map_err(|error| Refusal::Input { error, field: format!("inputs[0], row {row}") })
    })
}

/// Rows out of a tensor for each input; `order` has their positions.
pub(super) fn columns(model: &Arc<Model>, tensors: &[Tensor<'_>], order: &[usize]) -> Result<Vec<Matrix>, Refusal> {
    let signature = model.signature();
    let rows = rows(tensors)?;
    for (input, at) in signature.inputs.iter().zip(order) {
        let tensor = &tensors[*at];
        if (tensor.datatype == Datatype::Bytes) != (input.element == Element::String) {
            return Err(tensor.datatype_error(Datatype::from(input.element).name()).into());
        }
    }
    pieces(model, rows, |matrix, row| {
        let pushed = matrix.push(|input| tensors[order[input]].value(row));
        pushed.map_err(|error| {
            let field = format!("{}, row {row}", field(&error, model, tensors, order));
            Refusal::Input { error, field }
        })
    })
}

/// All rows; of none at all, one empty piece.
fn pieces(
    model: &Arc<Model>,
    rows: usize,
    mut push: impl FnMut(&mut Matrix, usize) -> Result<usize, Refusal>,
) -> Result<Vec<Matrix>, Refusal> {
    let piece = |from: usize| {
        let mut matrix = model.matrix();
        (from..rows.min(from + ROWS_IN_A_TURN)).try_for_each(|row| push(&mut matrix, row).map(|_| ()))?;
        Ok(matrix)
    };
    (0..rows.max(1)).step_by(ROWS_IN_A_TURN).map(piece).collect()
}

/// The number of rows, which is that of every tensor.
pub(super) fn rows(tensors: &[Tensor<'_>]) -> Result<usize, Refusal> {
    let mut rows = None;
    for tensor in tensors {
        let found = tensor.column_rows()?;
        let expected = *rows.get_or_insert(found);
        if found != expected {
            return Err(TensorError::Rows { at: tensor.at, tensor: shown(tensor.name), expected, found }.into());
        }
    }
    let rows = rows.unwrap_or(0);
    bounded(rows)?;
    Ok(rows)
}

fn bounded(rows: usize) -> Result<(), Refusal> {
    match rows > MAX_ROWS {
        true => Err(Refusal::TooManyRows { rows, most: MAX_ROWS }),
        false => Ok(()),
    }
}

/// The tensor of the input that an error is about.
fn field(error: &InputError, model: &Model, tensors: &[Tensor<'_>], order: &[usize]) -> String {
    let (InputError::Missing { column } | InputError::WrongType { column, .. }) = error;
    let input = model.signature().inputs.iter().position(|input| input.column == *column);
    let at = input.and_then(|input| order.get(input)).and_then(|at| tensors.get(*at)).map_or(0, |tensor| tensor.at);
    match (&model.signature().tensors, input) {
        (Tensors::Columns(names), Some(input)) => format!("inputs[{at}] \"{}\"", names[input].name),
        _ => format!("inputs[{at}]"),
    }
}
