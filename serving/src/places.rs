//! The names that a request gives, matched once with the columns that are wanted, so that its rows are read by position.

use floodmark_features::schema::Schema;

use crate::refusal::{Hint, Refusal, listed, shown};

/// For each wanted column, the position among the given names, if it was given. Every given name is wanted, and once.
pub(crate) type Places = Vec<Option<usize>>;

/// Matches names; `what` and `field` are for the message.
pub(crate) fn places(wanted: &Schema, given: &[String], what: &'static str, field: &str) -> Result<Places, Refusal> {
    let names = || wanted.columns.iter().map(|c| c.name.as_str());
    for (at, name) in given.iter().enumerate() {
        let field = || format!("{field}[{at}]");
        if wanted.position(name).is_none() {
            let (hint, expected) = (Hint::nearest(name, names()), listed(names()));
            return Err(Refusal::UnknownName { what, name: shown(name), hint, expected, field: field() });
        }
        if given[..at].contains(name) {
            return Err(Refusal::NameTwice { name: shown(name), field: field() });
        }
    }
    Ok(names().map(|wanted| given.iter().position(|g| g == wanted)).collect())
}

/// The same for keys, which must all be there.
pub(crate) fn key_places(wanted: &Schema, given: &[String]) -> Result<Vec<usize>, Refusal> {
    let found = places(wanted, given, "keys", "key_names")?;
    let missing = |at: usize| Refusal::MissingKey {
        name: wanted.columns[at].name.clone(),
        expected: listed(wanted.columns.iter().map(|c| c.name.as_str())),
    };
    found.into_iter().enumerate().map(|(at, place)| place.ok_or_else(|| missing(at))).collect()
}
