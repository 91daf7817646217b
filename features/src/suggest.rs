//! Messages about names that nobody knows: what was expected, and what was probably meant.

use std::fmt;

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
    nearest_of(found, expected.iter().copied())
}

fn nearest_of<'a>(found: &str, expected: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = found.to_lowercase();
    let allowed = 1 + lower.chars().count() / 4;
    expected
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What was probably meant, as the middle of a message.
#[derive(Debug)]
pub struct Hint(Option<String>);

impl Hint {
    /// The candidate that is most like `name`, if one is like it at all.
    pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Hint {
        Hint(nearest_of(name, candidates).map(str::to_owned))
    }

    /// The candidate.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(near) => write!(f, ", did you mean {near}?"),
            None => f.write_str("."),
        }
    }
}
