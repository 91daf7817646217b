//! A repository on disk: `<name>/<version>/{model.onnx, manifest.json, golden.json}`.

/// Whether a model may be called so: it is a folder's name, and part of messages and metrics.
pub(crate) fn is_model_name(name: &str) -> bool {
    !name.starts_with('.') && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// The number of a version's folder: digits, no zero in front.
pub(crate) fn version_number(folder: &str) -> Option<u64> {
    let plain = !folder.starts_with('0') && folder.bytes().all(|b| b.is_ascii_digit());
    if plain { folder.parse().ok() } else { None }
}
