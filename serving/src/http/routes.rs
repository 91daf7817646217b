//! Which path and method stand for which call of gRPC. One table: the handler reads it, and so does the description in OpenAPI.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// A call of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    GetFeatures,
    ListServices,
    GetService,
    Score,
    ListModels,
    ListOneModel,
    LoadModel,
    UnloadModel,
    LabelModel,
    SetCanaryShare,
}

/// Where a call is found.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// A name in braces stands for one segment.
    pub(super) template: &'static str,
    pub(super) call: Call,
    /// Service and method, in `floodmark.v1`.
    pub(super) rpc: (&'static str, &'static str),
}

const FEATURES: &str = "floodmark.v1.FeatureService";
const SCORES: &str = "floodmark.v1.ScoreService";
const MODELS: &str = "floodmark.v1.ModelService";

/// All of them.
pub(super) const ROUTES: [Route; 10] = [
    Route { method: Method::POST, template: "/v1/features:get", call: Call::GetFeatures, rpc: (FEATURES, "GetFeatures") },
    Route { method: Method::GET, template: "/v1/services", call: Call::ListServices, rpc: (FEATURES, "ListServices") },
    Route { method: Method::GET, template: "/v1/services/{service}", call: Call::GetService, rpc: (FEATURES, "GetService") },
    Route { method: Method::POST, template: "/v1/models/{model}:score", call: Call::Score, rpc: (SCORES, "Score") },
    Route { method: Method::GET, template: "/v1/models", call: Call::ListModels, rpc: (MODELS, "ListModels") },
    Route { method: Method::GET, template: "/v1/models/{model}", call: Call::ListOneModel, rpc: (MODELS, "ListModels") },
    Route { method: Method::POST, template: "/v1/models/{model}:load", call: Call::LoadModel, rpc: (MODELS, "LoadModel") },
    Route { method: Method::POST, template: "/v1/models/{model}:unload", call: Call::UnloadModel, rpc: (MODELS, "UnloadModel") },
    Route { method: Method::POST, template: "/v1/models/{model}:label", call: Call::LabelModel, rpc: (MODELS, "LabelModel") },
    Route {
        method: Method::POST,
        template: "/v1/models/{model}:setCanaryShare",
        call: Call::SetCanaryShare,
        rpc: (MODELS, "SetCanaryShare"),
    },
];

/// What a path is.
#[derive(Debug)]
pub(super) enum Found<'p> {
    /// A call, and the name in its path; empty if it has none.
    Call(&'static Route, Cow<'p, str>),
    /// A path that has these methods, and not the one asked for.
    Methods(String),
    /// None of ours.
    Nothing,
}

/// Finds the call of a path.
pub(super) fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let mut others = Vec::new();
    for route in &ROUTES {
        let Some(name) = route.name_in(path) else { continue };
        if route.method == method {
            return Found::Call(route, name);
        }
        others.push(route.method.as_str());
        if route.method == Method::GET {
            others.push("HEAD");
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::Methods(others.join(", ")) }
}

impl Route {
    /// The path's parameter, such as `model`.
    pub(super) fn parameter(&self) -> Option<&'static str> {
        self.parts().map(|(_, name, _)| name)
    }

    fn parts(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let (before, rest) = self.template.split_once('{')?;
        let (name, after) = rest.split_once('}')?;
        Some((before, name, after))
    }

    fn name_in<'p>(&self, path: &'p str) -> Option<Cow<'p, str>> {
        let Some((before, _, after)) = self.parts() else {
            return (path == self.template).then_some(Cow::Borrowed(""));
        };
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        let plain = !name.is_empty() && !name.contains(['/', ':']);
        plain.then(|| percent_decode_str(name).decode_utf8_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        match find(&method, path) {
            Found::Call(route, name) => format!("{:?} {name}", route.call),
            Found::Methods(methods) => methods,
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(found(Method::POST, "/v1/features:get"), "GetFeatures ");
        assert_eq!(found(Method::GET, "/v1/services/fraud"), "GetService fraud");
        assert_eq!(found(Method::POST, "/v1/models/a%3Ab:score"), "Score a:b");
        assert_eq!(found(Method::GET, "/v1/models/fraud"), "ListOneModel fraud");
        assert_eq!(found(Method::GET, "/v1/models/fraud:score"), "POST");
        assert_eq!(found(Method::DELETE, "/v1/models"), "GET, HEAD");
        for nothing in ["/", "/v1", "/v1/models/", "/v1/models/a/b", "/v1/models/:score", "/v1/models/a:b", "/v2/models"] {
            assert_eq!(found(Method::GET, nothing), "nothing", "{nothing}");
        }
    }
}
