//! Messages about names that nobody knows: what was expected, and what was probably meant.

/// Above this many, the expected names are not listed.
const LISTED: usize = 40;

/// `unknown key "colum", expected one of column, table; did you mean "column"?`
pub(crate) fn unknown(what: &str, found: &str, expected: &[&str]) -> String {
    let mut text = format!("unknown {what} \"{found}\"");
    match expected {
        [] => text.push_str(", there is none"),
        [only] => text.push_str(&format!(", expected {only}")),
        several if several.len() <= LISTED => text.push_str(&format!(", expected one of {}", several.join(", "))),
        _ => {}
    }
    if let Some(near) = nearest(found, expected) {
        text.push_str(&format!("; did you mean \"{near}\"?"));
    }
    text
}

/// The expected name that is most like the one found, if one is like it at all.
pub(crate) fn nearest<'a>(found: &str, expected: &[&'a str]) -> Option<&'a str> {
    let lower = found.to_lowercase();
    let allowed = 1 + found.chars().count() / 4;
    expected
        .iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
