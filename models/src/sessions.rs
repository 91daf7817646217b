//! The sessions of one model: each runs on the thread that calls it, and there are as many as may run at once.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use ort::memory::Allocator;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Shape, Tensor, TensorRef};
use parking_lot::{Mutex, MutexGuard};

use crate::matrix::{Cells, Column, Matrix};
use crate::runtime::Runtime;
use crate::signature::Feeding;

/// Sessions of the same model.
pub(crate) struct Sessions {
    slots: Vec<Mutex<Slot>>,
    next: AtomicUsize,
    /// Which of a row's values is the score; `None` where there must be only one.
    column: Option<usize>,
    /// Whether rows can be run together.
    batches: bool,
}

struct Slot {
    session: Session,
    /// For runs of one row of floats, the most frequent of all.
    one: Option<One>,
}

/// Tensors that are used again and again, so that a run allocates nothing of ours.
struct One {
    row: Tensor<f32>,
    options: RunOptions<HasSelectedOutputs>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Sessions {
    /// A pool that grows with [`Sessions::grow`], around its first session.
    pub(crate) fn new(first: Session, column: Option<usize>, batches: bool) -> Sessions {
        Sessions { slots: vec![Mutex::new(Slot { session: first, one: None })], next: AtomicUsize::new(0), column, batches }
    }

    /// Adds sessions up to `instances`, and the tensors for single rows.
    pub(crate) fn grow(&mut self, runtime: &Runtime, bytes: &[u8], instances: usize, trial: &Matrix) -> Result<(), String> {
        while self.slots.len() < instances {
            self.slots.push(Mutex::new(Slot { session: runtime.session(bytes)?, one: None }));
        }
        let Cells::Rows(row) = &trial.cells else { return Ok(()) };
        for slot in &mut self.slots {
            let slot = slot.get_mut();
            slot.one = One::of(&mut slot.session, row)?;
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Scores rows, in their order. The error is what ONNX Runtime said, or what is wrong with its output.
    pub(crate) fn run(&self, rows: &Matrix, scores: &mut Vec<f64>) -> Result<(), String> {
        let mut slot = self.free();
        let width = rows.signature.inputs.len();
        match &rows.cells {
            Cells::Rows(values) if rows.rows() == 1 && slot.one.is_some() => slot.run_one(values, self.column, scores),
            Cells::Rows(values) if self.batches => slot.run_rows(values, width, self.column, scores),
            Cells::Rows(values) => values.chunks(width).try_for_each(|row| slot.run_rows(row, width, self.column, scores)),
            Cells::Columns(columns) => {
                let step = if self.batches { rows.rows() } else { 1 };
                let mut starts = (0..rows.rows()).step_by(step.max(1));
                starts.try_for_each(|start| slot.run_columns(columns, &rows.signature.feeding, start..start + step, self.column, scores))
            }
        }
    }

    /// A session that nobody uses; if all are in use, the turn of one is waited for.
    fn free(&self) -> MutexGuard<'_, Slot> {
        if let [only] = self.slots.as_slice() {
            return only.lock();
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (before, after) = self.slots.split_at(start);
        after.iter().chain(before).find_map(Mutex::try_lock).unwrap_or_else(|| self.slots[start].lock())
    }
}

impl One {
    /// The tensors, where the model's output has the same shape for every row.
    fn of(session: &mut Session, row: &[f32]) -> Result<Option<One>, String> {
        let name = session.outputs()[0].name().to_owned();
        let row = Tensor::from_array(([1, row.len()], row.to_vec())).map_err(|e| e.to_string())?;
        let outputs = session.run([SessionInputValue::from(&row)]).map_err(|e| e.to_string())?;
        let Ok((shape, _)) = outputs[0].try_extract_tensor::<f32>() else { return Ok(None) };
        let score = Tensor::<f32>::new(&Allocator::default(), shape.clone()).map_err(|e| e.to_string())?;
        let selected = OutputSelector::no_default().with(name.clone()).preallocate(name, score);
        let options = RunOptions::new().map_err(|e| e.to_string())?.with_outputs(selected);
        Ok(Some(One { row, options }))
    }
}

impl Slot {
    fn run_one(&mut self, row: &[f32], column: Option<usize>, scores: &mut Vec<f64>) -> Result<(), String> {
        let Slot { session, one: Some(One { row: input, options }) } = self else { return Err("no tensors for one row".to_owned()) };
        input.extract_tensor_mut().1.copy_from_slice(row);
        let outputs = session.run_with_options([SessionInputValue::from(&*input)], options).map_err(|e| e.to_string())?;
        take(&outputs[0], 1, column, scores)
    }

    fn run_rows(&mut self, values: &[f32], width: usize, column: Option<usize>, scores: &mut Vec<f64>) -> Result<(), String> {
        let rows = values.len() / width;
        let tensor = TensorRef::from_array_view(([rows, width], values)).map_err(|e| e.to_string())?;
        let outputs = self.session.run([SessionInputValue::from(tensor)]).map_err(|e| e.to_string())?;
        take(&outputs[0], rows, column, scores)
    }

    fn run_columns(
        &mut self,
        columns: &[Column],
        feeding: &Feeding,
        rows: std::ops::Range<usize>,
        column: Option<usize>,
        scores: &mut Vec<f64>,
    ) -> Result<(), String> {
        let Feeding::Columns(order) = feeding else { return Err("columns for a model that takes a matrix".to_owned()) };
        let tensor = |&(at, upright): &(usize, bool)| columns[at].tensor(rows.clone(), upright);
        let inputs = order.iter().map(tensor).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let outputs = self.session.run(inputs.as_slice()).map_err(|e| e.to_string())?;
        take(&outputs[0], rows.len(), column, scores)
    }
}

impl Column {
    fn tensor(&self, rows: std::ops::Range<usize>, upright: bool) -> ort::Result<SessionInputValue<'_>> {
        let shape = Shape::new([rows.len() as i64].into_iter().chain(upright.then_some(1)));
        match self {
            Column::Float(values) => Ok(TensorRef::from_array_view((shape, &values[rows]))?.into()),
            Column::Double(values) => Ok(TensorRef::from_array_view((shape, &values[rows]))?.into()),
            Column::Int(values) => Ok(TensorRef::from_array_view((shape, &values[rows]))?.into()),
            Column::Bool(values) => Ok(TensorRef::from_array_view((shape, &values[rows]))?.into()),
            Column::Text(values) => Ok(Tensor::from_string_array((shape, &values[rows]))?.into()),
        }
    }
}

/// Appends the score of each row.
fn take(output: &DynValue, rows: usize, column: Option<usize>, scores: &mut Vec<f64>) -> Result<(), String> {
    if let Ok((_, values)) = output.try_extract_tensor::<f32>() {
        return take_column(values, rows, column, scores);
    }
    let (_, values) = output.try_extract_tensor::<f64>().map_err(|e| e.to_string())?;
    take_column(values, rows, column, scores)
}

fn take_column<T: Copy + Into<f64>>(values: &[T], rows: usize, column: Option<usize>, scores: &mut Vec<f64>) -> Result<(), String> {
    let width = values.len() / rows.max(1);
    let whole = width > 0 && width * rows == values.len();
    let column = column.or((width == 1).then_some(0)).filter(|column| whole && *column < width);
    let column = column.ok_or_else(|| format!("{} values for rows={rows}", values.len()))?;
    scores.extend(values.chunks_exact(width).map(|row| row[column].into()));
    Ok(())
}
