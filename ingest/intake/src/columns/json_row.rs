//! The text of one JSON object, read straight into the fields of a schema: no tree is built, unknown fields are skipped.

use std::fmt;

use floodmark_features::schema::Column;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

use super::position_of;
use crate::field::Raw;
use crate::reject::RejectReason;

/// A row's fields; those of most rows fit where they need no memory of their own.
pub(crate) type Raws<'a> = SmallVec<[Raw<'a>; FIELDS]>;
/// So many fields have most rows at most.
pub(crate) const FIELDS: usize = 16;

/// Fills in one field for each column; of a name that is written twice, the last one counts.
pub(crate) fn parse<'a>(text: &'a str, columns: &[Column], row: &mut Raws<'a>) -> Result<(), RejectReason> {
    row.clear();
    row.resize_with(columns.len(), Raw::default);
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = Row { columns, row }.deserialize(&mut json).and_then(|()| json.end());
    parsed.map_err(|error| match error.is_data() {
        true => RejectReason::NotAnObject,
        false => RejectReason::MalformedJson { detail: error.to_string() },
    })
}

/// Fields are put where they belong: a row is too large to be handed up from call to call.
struct Row<'c, 'r, 'de> {
    columns: &'c [Column],
    row: &'r mut Raws<'de>,
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut guess = 0;
        while let Some(position) = fields.next_key_seed(Name { columns: self.columns, guess })? {
            match position {
                Some(position) => {
                    self.row[position] = fields.next_value()?;
                    guess = position + 1;
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The field's name as the position of its column.
struct Name<'c> {
    columns: &'c [Column],
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(position_of(self.columns, name, self.guess))
    }
}
