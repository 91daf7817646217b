//! Whether manifest, model and service fit: tensors by name, type and shape, columns by name and type.

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::{Fault, Step};
use crate::manifest::{Feature, Layout, Manifest};
use crate::signature::{ColumnTensor, ColumnType, Element, Feeding, ServiceColumns, Services, Signature, SignatureInput, Tensors};

/// Messages list at most this many names that would have been right.
const NAMES_LISTED: usize = 40;

/// Where an exporter may write down, in the model itself, the columns that its matrix was trained on: a JSON list, in order.
const COLUMNS: &str = "floodmark.columns";

/// What the tensors of a model take.
pub(super) struct Fed {
    /// By feature.
    elements: Vec<Element>,
    feeding: Feeding,
    /// Whether one run takes any number of rows.
    pub(super) batches: bool,
}

pub(super) fn inputs(session: &Session, manifest: &Manifest) -> Result<Fed, Fault> {
    match &manifest.layout {
        Layout::Matrix(tensor) => {
            let tensors = matrix(session, tensor, manifest.features.len())?;
            order(session, manifest)?;
            Ok(tensors)
        }
        Layout::Columns(tensors) => columns(session, tensors),
    }
}

fn matrix(session: &Session, tensor: &str, width: usize) -> Result<Fed, Fault> {
    let [input] = session.inputs() else {
        let hint = "name each feature's tensor in the manifest, or export a model that takes one matrix";
        return Err(Step::Inputs.fault(format!("one tensor \"{tensor}\""), shown_all(session), hint));
    };
    if input.name() != tensor {
        return Err(Step::Inputs.fault(format!("a tensor \"{tensor}\""), shown(input), "put inputs.tensor in the manifest right"));
    }
    let Some((Element::Float, shape)) = tensor_of(input) else {
        return Err(Step::Inputs.fault("a float matrix", shown(input), "export it with one FloatTensorType input"));
    };
    let &[rows, columns] = shape else {
        return Err(Step::Inputs.fault("rows and columns", shown(input), "export it with a [None, features] input"));
    };
    if columns >= 0 && columns != width as i64 {
        let hint = "list in the manifest the features that the model was trained with, in their order";
        return Err(Step::Inputs.fault(format!("{width} columns"), shown(input), hint));
    }
    Ok(Fed { elements: vec![Element::Float; width], feeding: Feeding::Matrix, batches: batches(input, rows)? })
}

/// Columns in another order are numbers like any others to the model, and golden rows have no names: only the exporter knows.
fn order(session: &Session, manifest: &Manifest) -> Result<(), Fault> {
    let Some(text) = session.metadata().ok().and_then(|metadata| metadata.custom(COLUMNS)) else { return Ok(()) };
    let Ok(trained) = serde_json::from_str::<Vec<String>>(&text) else {
        let hint = "export it with a JSON list of column names there, or with nothing";
        return Err(Step::Inputs.fault(format!("a list of columns in the model's {COLUMNS}"), format!("\"{text}\""), hint));
    };
    let listed: Vec<&str> = manifest.features.iter().map(|feature| feature.column.as_str()).collect();
    let Some(at) = (0..trained.len().max(listed.len())).find(|at| trained.get(*at).map(String::as_str) != listed.get(*at).copied()) else {
        return Ok(());
    };
    let shown = |column: Option<&str>| column.map_or_else(|| "none".to_owned(), |column| format!("\"{column}\""));
    let expected = format!("{} as input {at}, as the model says", shown(trained.get(at).map(String::as_str)));
    let hint = "list in the manifest the features that the model was trained with, in their order";
    Err(Step::Inputs.fault(expected, shown(listed.get(at).copied()), hint))
}

fn columns(session: &Session, tensors: &[String]) -> Result<Fed, Fault> {
    let inputs = session.inputs();
    if let Some(stray) = tensors.iter().find(|tensor| inputs.iter().all(|input| input.name() != tensor.as_str())) {
        return Err(Step::Inputs.fault(format!("a tensor \"{stray}\""), shown_all(session), "put the tensor's name in the manifest right"));
    }
    let mut elements = vec![Element::Float; tensors.len()];
    let mut order = Vec::with_capacity(tensors.len());
    let mut together = true;
    for input in inputs {
        let Some(at) = tensors.iter().position(|tensor| tensor == input.name()) else {
            return Err(Step::Inputs.fault("a feature for each tensor", shown(input), "add its feature to the manifest"));
        };
        let Some((element, shape)) = tensor_of(input) else {
            return Err(Step::Inputs.fault("a tensor of float, double, int64, bool or string", shown(input), "export it with such inputs"));
        };
        let (rows, upright) = match *shape {
            [rows] => (rows, false),
            [rows, -1 | 1] => (rows, true),
            _ => return Err(Step::Inputs.fault("one value for each row", shown(input), "export it with [None, 1] inputs")),
        };
        together &= batches(input, rows)?;
        elements[at] = element;
        order.push((at, upright));
    }
    Ok(Fed { elements, feeding: Feeding::Columns(order), batches: together })
}

/// Whether the number of rows is free; one at a time will do as well.
fn batches(input: &Outlet, rows: i64) -> Result<bool, Fault> {
    match rows {
        1 => Ok(false),
        rows if rows < 0 => Ok(true),
        _ => Err(Step::Inputs.fault("any number of rows, or one", shown(input), "export it with None as the number of rows")),
    }
}

fn tensor_of(outlet: &Outlet) -> Option<(Element, &[i64])> {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => Some((Element::of(*ty)?, shape)),
        _ => None,
    }
}

/// `tensor "X" of float[-1,16]`
fn shown(outlet: &Outlet) -> String {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let element = Element::of(*ty).map_or_else(|| ty.to_string(), |element| element.to_string());
            let sizes = shape.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            format!("tensor \"{}\" of {element}[{sizes}]", outlet.name())
        }
        other => format!("\"{}\" of {other}", outlet.name()),
    }
}

fn shown_all(session: &Session) -> String {
    session.inputs().iter().map(shown).collect::<Vec<_>>().join(", ")
}

pub(super) fn features(manifest: &Manifest, fed: &Fed, services: &dyn Services) -> Result<Signature, Fault> {
    let name = &manifest.service;
    let Some(service) = services.columns(name) else {
        return Err(Step::Features.fault(
            format!("a feature service \"{name}\""),
            "none",
            "define it, or put the manifest's service right",
        ));
    };
    let elements = manifest.features.iter().zip(&fed.elements);
    let inputs = elements.map(|(feature, element)| input(feature, *element, &service)).collect::<Result<_, _>>()?;
    if service.id != manifest.columns_id {
        let hint = "the features' definitions have changed since the model was trained: train it again, or bring them back";
        return Err(Step::Features.fault(format!("columns_id {:016x}", manifest.columns_id), format!("{:016x}", service.id), hint));
    }
    let feeding = fed.feeding.clone();
    Ok(Signature { service: name.clone(), columns_id: service.id, inputs, tensors: tensors(manifest, &feeding), feeding })
}

fn tensors(manifest: &Manifest, feeding: &Feeding) -> Tensors {
    let is_upright = |input: usize| match feeding {
        Feeding::Columns(order) => order.iter().any(|(at, upright)| *at == input && *upright),
        Feeding::Matrix => false,
    };
    match &manifest.layout {
        Layout::Matrix(tensor) => Tensors::Matrix(tensor.clone()),
        Layout::Columns(names) => {
            let tensor = |(input, name): (usize, &String)| ColumnTensor { name: name.clone(), upright: is_upright(input) };
            Tensors::Columns(names.iter().enumerate().map(tensor).collect())
        }
    }
}

fn input(feature: &Feature, element: Element, service: &ServiceColumns) -> Result<SignatureInput, Fault> {
    let Feature { column, missing } = feature;
    let Some((_, found)) = service.columns.iter().find(|(name, _)| name == column) else {
        return Err(Step::Features.fault(format!("a column \"{column}\" of the service"), listed(service), nearest(column, service)));
    };
    if !element.takes(*found) {
        let hint = match found {
            ColumnType::Timestamp => "derive a number from it, such as the hour of the day",
            _ => "export the model with an input of the column's type, or derive a feature of the input's",
        };
        return Err(Step::Features.fault(format!("\"{column}\" to become a {element}"), format!("a {found}"), hint));
    }
    let fill = element.fill(missing);
    let fill = fill.map_err(|expected| {
        Step::Features.fault(expected, format!("{missing:?} for \"{column}\", a {element}"), "put missing in the manifest right")
    })?;
    Ok(SignatureInput { column: column.clone(), element, fill })
}

fn listed(service: &ServiceColumns) -> String {
    let mut names: Vec<&str> = service.columns.iter().map(|(name, _)| name.as_str()).take(NAMES_LISTED + 1).collect();
    if names.len() > NAMES_LISTED {
        names[NAMES_LISTED] = "...";
    }
    names.join(", ")
}

fn nearest(column: &str, service: &ServiceColumns) -> String {
    let allowed = 1 + column.chars().count() / 4;
    let names = service.columns.iter().map(|(name, _)| (strsim::osa_distance(column, name), name));
    match names.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance) {
        Some((_, name)) => format!("did you mean \"{name}\"?"),
        None => "name one of these in the manifest".to_owned(),
    }
}

/// The score's values must be numbers with a point; says of how many bits.
pub(super) fn output(session: &Session) -> Result<Element, Fault> {
    let score = &session.outputs()[0];
    match score.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => Ok(Element::Float),
        ValueType::Tensor { ty: TensorElementType::Float64, .. } => Ok(Element::Double),
        _ => Err(Step::Outputs.fault(
            "a float or double tensor",
            shown(score),
            "name the output with probabilities, not the one with labels",
        )),
    }
}
