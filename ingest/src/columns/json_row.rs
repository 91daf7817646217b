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

/// One field for each column; of a name that is written twice, the last one counts.
pub(crate) fn parse<'a>(text: &'a str, columns: &[Column]) -> Result<Raws<'a>, RejectReason> {
    let mut json = serde_json::Deserializer::from_str(text);
    let row = Row { columns }.deserialize(&mut json).and_then(|row| json.end().map(|()| row));
    row.map_err(|error| match error.is_data() {
        true => RejectReason::NotAnObject,
        false => RejectReason::MalformedJson { detail: error.to_string() },
    })
}

struct Row<'c> {
    columns: &'c [Column],
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = Raws<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raws<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Raws<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Raws<'de>, A::Error> {
        let mut row: Raws<'de> = Raws::new();
        row.resize_with(self.columns.len(), Raw::default);
        let mut guess = 0;
        while let Some(position) = fields.next_key_seed(Name { columns: self.columns, guess })? {
            match position {
                Some(position) => {
                    row[position] = fields.next_value()?;
                    guess = position + 1;
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(row)
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
