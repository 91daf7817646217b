//! `floodmark check`: is a definition file right, and what does it define; or the JSON Schema of such files.

use std::io::{self, Write};
use std::path::PathBuf;

use floodmark_features::definition::{Definitions, OutputType, Service, View, json_schema};
use floodmark_features::lookup::Lookup;
use floodmark_features::schema::Schema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Pairs, json_line, stdout};
use crate::stored::read_definitions;

const EXAMPLE: &str = "EXAMPLES:
  floodmark check --definitions floodmark.yaml
  floodmark check --schema > floodmark.schema.json    # for an editor";

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The definition file.
    #[arg(long, value_name = "FILE", required_unless_present = "schema")]
    definitions: Option<PathBuf>,
    /// Prints the JSON Schema of definition files instead.
    #[arg(long, conflicts_with = "definitions")]
    schema: bool,
}

/// Everything that is defined.
#[derive(Serialize)]
struct Listing {
    sources: Vec<String>,
    entities: Pairs<Vec<String>>,
    views: Pairs<Value>,
    services: Pairs<Value>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), Failure> {
    let mut out = stdout();
    match &args.definitions {
        None => writeln!(out, "{:#}", json_schema())?,
        Some(path) => {
            let defined = read_definitions(path)?;
            match json {
                true => json_line(&mut out, &listing(&defined.definitions))?,
                false => print(&mut out, &path.display().to_string(), &defined.definitions)?,
            }
        }
    }
    Ok(out.flush()?)
}

fn listing(definitions: &std::sync::Arc<Definitions>) -> Listing {
    let service = |(at, service): (usize, &Service)| {
        let lookup = Lookup::of_service(definitions.clone(), at);
        let columns: Vec<&str> = lookup.columns.iter().map(|name| &**name).collect();
        let about = json!({ "keys": names(&lookup.keys), "request": names(&lookup.request), "columns": columns });
        (service.name.clone(), about)
    };
    Listing {
        sources: definitions.sources.iter().map(|s| s.name.clone()).collect(),
        entities: Pairs(definitions.entities.iter().map(|e| (e.name.clone(), names(&e.keys))).collect()),
        views: Pairs(definitions.views.iter().map(|v| (v.name.clone(), view(definitions, v))).collect()),
        services: Pairs(definitions.services.iter().enumerate().map(service).collect()),
    }
}

fn view(definitions: &Definitions, view: &View) -> Value {
    let features: Vec<Value> = view.outputs.iter().map(|o| json!({ "name": *o.full_name, "type": type_name(o.kind) })).collect();
    json!({
        "entity": definitions.entities[view.entity].name,
        "source": definitions.sources[view.source].name,
        "fingerprint": format!("{:016x}", view.fingerprint),
        "features": features,
    })
}

fn print(out: &mut impl Write, file: &str, definitions: &std::sync::Arc<Definitions>) -> io::Result<()> {
    writeln!(out, "{file} is right.")?;
    for view in &definitions.views {
        let (entity, source) = (&definitions.entities[view.entity].name, &definitions.sources[view.source].name);
        writeln!(out, "\nview {} of {entity} from {source}, fingerprint {:016x}", view.name, view.fingerprint)?;
        for output in &view.outputs {
            writeln!(out, "  {:<40} {}", output.full_name, type_name(output.kind))?;
        }
    }
    for (at, service) in definitions.services.iter().enumerate() {
        let lookup = Lookup::of_service(definitions.clone(), at);
        writeln!(out, "\nservice {}: {} columns", service.name, lookup.columns.len())?;
        writeln!(out, "  keys     {}", names(&lookup.keys).join(" "))?;
        if !lookup.request.columns.is_empty() {
            writeln!(out, "  request  {}", names(&lookup.request).join(" "))?;
        }
        if !service.derived.is_empty() {
            let derived: Vec<&str> = service.derived.iter().map(|d| &*d.name).collect();
            writeln!(out, "  derived  {}", derived.join(" "))?;
        }
    }
    Ok(())
}

fn names(schema: &Schema) -> Vec<String> {
    schema.columns.iter().map(|column| column.name.clone()).collect()
}

fn type_name(kind: OutputType) -> String {
    match kind {
        OutputType::Scalar(kind) => kind.to_string(),
        OutputType::List(kind) => format!("list of {kind}"),
    }
}
