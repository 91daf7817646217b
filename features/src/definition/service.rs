//! A service of the definition file: features in order, request fields, derived features.

use super::error::Problems;
use super::grammar::SERVICE;
use super::parse::Named;
use super::reader::Item;
use super::{Derived, Entity, FeatureRef, OutputType, Service, View};
use crate::expression::{Expression, Scope};
use crate::schema::{Column, Schema};
use crate::suggest;
use crate::value::Type;

pub(super) fn parse(
    name: &str,
    item: &Item<'_>,
    views: &[Named<View>],
    entities: &[Named<Entity>],
    problems: &mut Problems,
) -> Option<Service> {
    let fields = item.fields(&SERVICE, problems)?;
    let request = match fields.get("request") {
        Some(item) => item.schema(problems),
        None => Some(Schema::default()),
    };
    let features = fields.get("features").and_then(|item| features(item, views, problems));
    let derived_at = match fields.get("derived") {
        Some(item) => item.named("derived features", problems)?,
        None => Vec::new(),
    };
    let (features, request) = (features?, request?);
    check_keys(item, &features, views, entities, problems);
    let names: Vec<&str> = derived_at.iter().map(|(name, _)| *name).collect();
    let scope = Inputs { features: &features, views, request: &request, derived: &names };
    let mut derived = Vec::new();
    for (name, item) in &derived_at {
        if request.position(name).is_some() {
            item.wrong(format!("a request field is called \"{name}\" too, expected another name"), problems);
        }
        let Some(text) = item.text("an expression such as amount / view.feature_1d", problems) else { continue };
        match Expression::compile(text, &scope) {
            Ok(expression) => derived.push(Derived { name: (*name).into(), expression }),
            Err(e) => item.wrong(e.message, problems),
        }
    }
    Some(Service { name: name.to_owned(), features, request, derived })
}

/// Every output that is listed, `view.*` in the view's order.
fn features(item: &Item<'_>, views: &[Named<View>], problems: &mut Problems) -> Option<Vec<FeatureRef>> {
    let mut features: Vec<FeatureRef> = Vec::new();
    let mut unknown = false;
    for item in item.list("a list of features, view.output or view.*", problems)? {
        let Some(found) = resolve(&item, views, problems) else {
            unknown = true;
            continue;
        };
        for feature in found {
            if features.contains(&feature) {
                let output = output(views, feature).map_or("", |output| &output.full_name);
                item.wrong(format!("repeats {output}, expected each feature once"), problems);
                unknown = true;
            } else {
                features.push(feature);
            }
        }
    }
    (!unknown).then_some(features)
}

/// The outputs that one line of the list names; `None` if there are none, which has been told.
fn resolve(item: &Item<'_>, views: &[Named<View>], problems: &mut Problems) -> Option<Vec<FeatureRef>> {
    let text = item.text("view.output or view.*", problems)?;
    let Some((view_name, output_name)) = text.split_once('.') else {
        item.wrong(format!("expected view.output or view.*, found \"{text}\""), problems);
        return None;
    };
    let Some(view) = views.iter().position(|(name, _)| name == view_name) else {
        let names: Vec<&str> = views.iter().map(|(name, _)| name.as_str()).collect();
        item.wrong(suggest::unknown("view", view_name, &names), problems);
        return None;
    };
    let outputs = &views[view].1.as_ref()?.outputs;
    if output_name == "*" {
        return Some((0..outputs.len()).map(|output| FeatureRef { view, output }).collect());
    }
    let Some(output) = outputs.iter().position(|output| output.name == output_name) else {
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        item.wrong(suggest::unknown(&format!("output of view \"{view_name}\""), output_name, &names), problems);
        return None;
    };
    Some(vec![FeatureRef { view, output }])
}

fn output(views: &[Named<View>], at: FeatureRef) -> Option<&super::Output> {
    views.get(at.view)?.1.as_ref()?.outputs.get(at.output)
}

/// A key that two entities of one service share is asked for once, so it must be of one type.
fn check_keys(item: &Item<'_>, features: &[FeatureRef], views: &[Named<View>], entities: &[Named<Entity>], problems: &mut Problems) {
    let mut keys: Vec<(&Column, &str)> = Vec::new();
    for view in features.iter().filter_map(|feature| views[feature.view].1.as_ref()) {
        let Some(entity) = entities[view.entity].1.as_ref() else { continue };
        for key in &entity.keys.columns {
            match keys.iter().find(|(known, _)| known.name == key.name) {
                Some((known, other)) if known.kind != key.kind && *other != entity.name => {
                    let message = format!(
                        "key \"{}\" is {} in entity \"{other}\" and {} in entity \"{}\", expected one type",
                        key.name, known.kind, key.kind, entity.name
                    );
                    item.wrong(message, problems);
                    return;
                }
                Some(_) => {}
                None => keys.push((key, &entity.name)),
            }
        }
    }
}

/// What derived features are over: the service's features, then the request's fields.
struct Inputs<'a> {
    features: &'a [FeatureRef],
    views: &'a [Named<View>],
    request: &'a Schema,
    derived: &'a [&'a str],
}

impl Inputs<'_> {
    fn outputs(&self) -> impl Iterator<Item = &super::Output> {
        self.features.iter().filter_map(|feature| output(self.views, *feature))
    }
}

impl Scope for Inputs<'_> {
    fn resolve(&self, name: &str) -> Option<(usize, Type)> {
        if let Some((position, output)) = self.outputs().enumerate().find(|(_, output)| &*output.full_name == name) {
            let OutputType::Scalar(kind) = output.kind else { return None };
            return Some((position, kind));
        }
        let field = self.request.position(name)?;
        Some((self.features.len() + field, self.request.columns[field].kind))
    }

    fn names(&self) -> Vec<String> {
        let scalars = self.outputs().filter(|output| matches!(output.kind, OutputType::Scalar(_)));
        scalars.map(|output| output.full_name.to_string()).chain(self.request.columns.iter().map(|c| c.name.clone())).collect()
    }

    fn refuses(&self, name: &str) -> Option<String> {
        if self.outputs().any(|output| &*output.full_name == name) {
            return Some(format!("{name} is a list, expected a feature with one value"));
        }
        if self.derived.contains(&name) {
            return Some(format!("{name} is a derived feature, expected features of views and request fields only"));
        }
        let elsewhere = self.views.iter().filter_map(|(_, view)| view.as_ref()).flat_map(|view| &view.outputs);
        let known = elsewhere.into_iter().any(|output| &*output.full_name == name);
        known.then(|| format!("{name} is not in this service, expected it under features"))
    }
}
