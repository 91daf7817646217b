//! The kernel as a Python module: definitions, events taken in, training sets out, all as Arrow data that is not copied.
//!
//! What a user meets is written in Python beside it (`floodmark/`); this is the part that computes, with the interpreter let go.

mod definitions;
mod events;
mod training;

use pyo3::prelude::*;

/// An error as the package shows it: what is wrong, and the way out.
fn failed(error: impl std::fmt::Display) -> PyErr {
    let raised = |message: String| {
        Python::attach(|py| {
            let kind = py.import("floodmark.errors")?.getattr("FloodmarkError")?;
            Ok::<PyErr, PyErr>(PyErr::from_value(kind.call1((message,))?))
        })
    };
    raised(error.to_string()).unwrap_or_else(|other| other)
}

#[pymodule]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<definitions::Definitions>()?;
    module.add_class::<events::Events>()
}
