//! A copy of a remote table, kept in step by the progress of a query.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::filter::{Filter, Row};
use crate::packed::PackedRow;
use crate::table::{DataEvent, DataEventError, RowKey};

/// Most rows of a copy: a table has a row for each need at most.
pub const MAX_MIRROR_ROWS: usize = crate::limits::MAX_NEEDS;

/// What changed in the copy.
#[derive(Clone, Debug, PartialEq)]
pub enum MirrorChange {
    /// The copy is empty: a reading begins.
    Reset,
    /// The reading is complete: the copy is now what the table was.
    Complete,
    /// The row is new or has changed; here it is whole.
    Upserted(Row),
    /// The row is gone; here it is as it was last.
    Removed(Row),
}

/// Why the copy cannot follow any longer; the query has to be opened again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MirrorError {
    /// Something that is not an event.
    #[error(transparent)]
    Event(#[from] DataEventError),
    /// More than [`MAX_MIRROR_ROWS`] rows.
    #[error("the remote table has more than {MAX_MIRROR_ROWS} rows; check what fills it")]
    TooManyRows,
}

/// The copy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mirror {
    key: Vec<String>,
    rows: BTreeMap<RowKey, PackedRow>,
    query: Option<String>,
}

impl Mirror {
    /// An empty copy of a table with these key fields.
    pub fn new(key: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            key: key.into_iter().map(Into::into).collect(),
            rows: BTreeMap::new(),
            query: None,
        }
    }

    /// The rows in the order of their keys.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row> {
        self.rows.values().map(PackedRow::unpack)
    }

    /// The row with a key.
    #[must_use]
    pub fn get(&self, key: &RowKey) -> Option<Row> {
        self.rows.get(key).map(PackedRow::unpack)
    }

    /// Whether there is a row with a key.
    #[must_use]
    pub fn has(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    /// The identifier of the open query, for `closeQuery`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Takes the data of one progress frame and says what changed. An update that changes nothing
    /// and a deletion that matches nothing give nothing: servers send both.
    ///
    /// # Errors
    /// [`MirrorError`]; the copy stays as it was.
    pub fn apply(&mut self, data: Value) -> Result<Vec<MirrorChange>, MirrorError> {
        match DataEvent::from_value(data)? {
            DataEvent::Opened { query } => {
                self.query = Some(query);
                Ok(Vec::new())
            }
            DataEvent::ReadBegins { reading: _ } => {
                self.rows.clear();
                Ok(vec![MirrorChange::Reset])
            }
            DataEvent::ReadEnds { reading: _ } => Ok(vec![MirrorChange::Complete]),
            DataEvent::ReadOne { reading: _, row } | DataEvent::Created { row } => self.upsert(row),
            DataEvent::Replaced { new, old } => {
                let mut changes = Vec::new();
                if RowKey::of(&self.key, &old) != RowKey::of(&self.key, &new) {
                    changes.extend(
                        self.rows
                            .remove(&RowKey::of(&self.key, &old))
                            .map(|row| MirrorChange::Removed(row.unpack())),
                    );
                }
                changes.extend(self.upsert(new)?);
                Ok(changes)
            }
            DataEvent::Updated { filter, fields } => Ok(self.update(&filter, &fields)),
            DataEvent::Deleted { filter } => Ok(self.delete(&filter)),
        }
    }

    fn upsert(&mut self, row: Row) -> Result<Vec<MirrorChange>, MirrorError> {
        let key = RowKey::of(&self.key, &row);
        if self.rows.len() >= MAX_MIRROR_ROWS && !self.rows.contains_key(&key) {
            return Err(MirrorError::TooManyRows);
        }
        let packed = PackedRow::new(&row);
        let unchanged = self.rows.get(&key) == Some(&packed);
        if unchanged {
            return Ok(Vec::new());
        }
        self.rows.insert(key, packed);
        Ok(vec![MirrorChange::Upserted(row)])
    }

    fn update(&mut self, filter: &Filter, fields: &Row) -> Vec<MirrorChange> {
        let mut changes = Vec::new();
        for key in self.matching(filter) {
            let Some(before) = self.rows.remove(&key).map(|row| row.unpack()) else {
                continue;
            };
            let mut row = before.clone();
            row.extend(fields.clone());
            let new_key = RowKey::of(&self.key, &row);
            if new_key != key {
                changes.push(MirrorChange::Removed(before.clone()));
            }
            if row != before {
                changes.push(MirrorChange::Upserted(row.clone()));
            }
            self.rows.insert(new_key, PackedRow::new(&row));
        }
        changes
    }

    fn delete(&mut self, filter: &Filter) -> Vec<MirrorChange> {
        self.matching(filter)
            .iter()
            .filter_map(|key| self.rows.remove(key))
            .map(|row| MirrorChange::Removed(row.unpack()))
            .collect()
    }

    /// The keys of the rows that match; found at once when the filter demands the key.
    fn matching(&self, filter: &Filter) -> Vec<RowKey> {
        let matches =
            |(key, row): (&RowKey, &PackedRow)| filter.matches(&row.unpack()).then(|| key.clone());
        match (self.key.as_slice(), filter.demanded_text()) {
            ([key_field], Some((field, text))) if key_field == field => self
                .rows
                .get_key_value(&RowKey::of_text(text))
                .and_then(matches)
                .into_iter()
                .collect(),
            _ => self.rows.iter().filter_map(matches).collect(),
        }
    }
}
