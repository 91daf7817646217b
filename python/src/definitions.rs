//! A definition file: what it defines, and what of it belongs to which entity.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_pyarrow::PyArrowType;
use floodmark_features::definition;
use floodmark_features::definition::FeatureRef;
use floodmark_features::lookup::Lookup;
use floodmark_features::suggest::Hint;
use floodmark_training::add_derived;
use pyo3::prelude::*;

use crate::failed;

/// What a definition file defines.
#[pyclass(frozen, module = "floodmark._kernel")]
#[derive(Debug)]
pub(crate) struct Definitions {
    pub(crate) inner: Arc<definition::Definitions>,
}

/// Name, event time, event id, columns.
type SourceParts = (String, String, Option<String>, Vec<String>);
/// A source, its key columns, the entity's key columns, features.
type Part = (String, Vec<String>, Vec<String>, Vec<String>);

#[pymethods]
impl Definitions {
    /// Parses a definition file's text; errors name the file, the line and the key.
    #[new]
    fn new(name: &str, text: &str) -> PyResult<Definitions> {
        let inner = definition::Definitions::parse(name, text).map_err(failed)?;
        Ok(Definitions { inner: Arc::new(inner) })
    }

    /// The names of all services.
    #[getter]
    fn services(&self) -> Vec<String> {
        self.inner.services.iter().map(|service| service.name.clone()).collect()
    }

    /// Of each source its name, the columns with event time and event id, and all columns.
    #[getter]
    fn sources(&self) -> Vec<SourceParts> {
        let parts = |source: &definition::Source| {
            let columns: Vec<String> = source.schema.columns.iter().map(|column| column.name.clone()).collect();
            let id = source.event_id.map(|at| columns[at].clone());
            (source.name.clone(), columns[source.event_time].clone(), id, columns)
        };
        self.inner.sources.iter().map(parts).collect()
    }

    /// The features of a service by source and entity: what can be computed of the events and rows of some entities alone. Of each part the
    /// source, its key columns, the entity's key columns, and the features.
    fn parts(&self, service: &str) -> PyResult<Vec<Part>> {
        let lookup = self.lookup(service, None)?;
        let mut parts: Vec<((usize, usize), Part)> = Vec::new();
        for (feature, name) in lookup.features.iter().zip(&lookup.columns) {
            let view = &self.inner.views[feature.view];
            let of = (view.source, view.entity);
            let at = parts.iter().position(|(found, _)| *found == of).unwrap_or_else(|| {
                let source = &self.inner.sources[view.source];
                let source_keys = view.key_columns.iter().map(|at| source.schema.columns[*at].name.clone()).collect();
                let keys = self.inner.entities[view.entity].keys.columns.iter().map(|key| key.name.clone()).collect();
                parts.push((of, (source.name.clone(), source_keys, keys, Vec::new())));
                parts.len() - 1
            });
            parts[at].1.3.push(name.to_string());
        }
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// Adds a service's derived features to rows that have its other ones.
    fn derive(&self, py: Python<'_>, service: &str, rows: PyArrowType<RecordBatch>) -> PyResult<PyArrowType<RecordBatch>> {
        let lookup = self.lookup(service, None)?;
        py.detach(|| add_derived(&lookup, &rows.0)).map(PyArrowType).map_err(failed)
    }
}

impl Definitions {
    /// A service's features, or some of them without what is derived.
    pub(crate) fn lookup(&self, service: &str, features: Option<&[String]>) -> PyResult<Lookup> {
        if let Some(features) = features {
            let found = features.iter().map(|name| self.feature(name)).collect::<PyResult<_>>()?;
            return Ok(Lookup::of_features(self.inner.clone(), found));
        }
        let names = || self.inner.services.iter().map(|service| service.name.as_str());
        match names().position(|name| name == service) {
            Some(at) => Ok(Lookup::of_service(self.inner.clone(), at)),
            None => {
                let (hint, known) = (Hint::nearest(service, names()), names().collect::<Vec<_>>().join(","));
                Err(failed(format!("no service has this name{hint} service={service} known={known}")))
            }
        }
    }

    fn feature(&self, name: &str) -> PyResult<FeatureRef> {
        let names = || self.inner.views.iter().flat_map(|view| view.outputs.iter().map(|output| &*output.full_name));
        self.inner.output(name).ok_or_else(|| failed(format!("no feature has this name{} feature={name}", Hint::nearest(name, names()))))
    }
}
