//! Rows at rest. A row as a tree of values takes about ten times the memory of its text, and
//! tables hold rows for hours that are looked at for microseconds: so they are kept as text.

use crate::filter::Row;
use serde::{Deserialize, Serialize};

/// A row as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackedRow(Box<str>);

impl PackedRow {
    /// Packs a row.
    pub(crate) fn new(row: &Row) -> Self {
        // Names and values of JSON always have a JSON form.
        Self(serde_json::to_string(row).unwrap_or_default().into())
    }

    /// The row again.
    pub(crate) fn unpack(&self) -> Row {
        // It was written by `new`.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let row = json!({ "a": 1.5, "b": null, "c": { "d": ["é\u{0}\"", 18_446_744_073_709_551_615_u64] } });
        let row = row.as_object().cloned().unwrap();
        assert_eq!(PackedRow::new(&row).unpack(), row);
        assert_eq!(PackedRow::new(&Row::new()).unpack(), Row::new());
    }
}
