//! The names that a request gives, matched once with the columns that are wanted, so that its rows are read by position.

use floodmark_features::schema::Schema;
use floodmark_features::suggest::Hint;

use crate::refusal::{Refusal, listed, shown};

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

/// Keys must all be there.
pub(crate) fn check_keys(wanted: &Schema, there: impl Iterator<Item = bool>) -> Result<(), Refusal> {
    match wanted.columns.iter().zip(there).find(|(_, there)| !there) {
        None => Ok(()),
        Some((key, _)) => {
            let expected = listed(wanted.columns.iter().map(|c| c.name.as_str()));
            Err(Refusal::MissingKey { name: key.name.clone(), expected })
        }
    }
}
