//! Tables: rows as JSON objects, what each role sees of them, and the queries that follow them.
//!
//! A change is told to each open query that it concerns, as the text of a data-stream event. Queries
//! that demand a text in a field (`eq`, as every search by name does) are found through an index, so
//! that a thousand children that wait for a thousand names cost nothing when another row changes; and
//! queries that see the same fields share one text.

mod event;
mod image;
mod index;
mod query;
mod view;

pub use event::{DataEvent, DataEventError};
pub use query::{MAX_VISIBLE_FIELDS, Query, QueryError};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::filter::{Filter, Row};
use crate::packed::PackedRow;
use image::TableImage;
use index::QueryIndex;
use view::{View, ViewTexts};

/// What a table is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableDescription {
    /// The fields that identify a row, in order.
    pub key: Vec<String>,
    /// Role to the fields that it sees; a role that is not here sees nothing.
    pub visible_fields: BTreeMap<String, Vec<String>>,
    /// Those of them that are shown only in rows that have them; all others are null there.
    #[serde(default)]
    pub sparse_fields: BTreeSet<String>,
    /// Filters that a query may name instead of describing, such as `"unsatisfied"`.
    pub named_filters: BTreeMap<String, Filter>,
}

/// The values of a row's key fields, comparable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey(String);

/// The number of an open query in its table, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryNumber(u64);

/// An event for one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The query.
    pub query: QueryNumber,
    /// The JSON text of the event, shared between queries that see the same fields.
    pub event: Arc<str>,
}

/// Why a role may not read a table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the role \"{role}\" may not read this table; introduce yourself with another role")]
pub struct RoleRefused {
    /// The role.
    pub role: String,
}

/// A table with its open queries.
#[derive(Debug, Deserialize)]
#[serde(try_from = "TableImage")]
pub struct Table {
    description: TableDescription,
    views: BTreeMap<String, View>,
    rows: BTreeMap<RowKey, PackedRow>,
    queries: BTreeMap<QueryNumber, OpenQuery>,
    index: QueryIndex,
    next_query: u64,
}

#[derive(Debug)]
struct OpenQuery {
    filter: Filter,
    view: View,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(description: TableDescription) -> Self {
        let views = description
            .visible_fields
            .iter()
            .map(|(role, fields)| (role.clone(), View::new(fields, &description.sparse_fields)))
            .collect();
        Self {
            description,
            views,
            rows: BTreeMap::new(),
            queries: BTreeMap::new(),
            index: QueryIndex::default(),
            next_query: 0,
        }
    }

    /// What the table is.
    #[must_use]
    pub fn description(&self) -> &TableDescription {
        &self.description
    }

    /// The key of a row; absent key fields count as null.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> RowKey {
        RowKey::of(&self.description.key, row)
    }

    /// The row with a key.
    #[must_use]
    pub fn get(&self, key: &RowKey) -> Option<Row> {
        self.rows.get(key).map(PackedRow::unpack)
    }

    /// The rows in the order of their keys.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row> {
        self.rows.values().map(PackedRow::unpack)
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Inserts a row, or replaces the one with the same key.
    pub fn put(&mut self, row: Row) -> Vec<Told> {
        let key = self.key_of(&row);
        let old = self.rows.insert(key, PackedRow::new(&row));
        let old = old.map(|old| old.unpack());
        self.tell(old.as_ref(), Some(&row))
    }

    /// Changes some fields of a row; nothing when there is no such row. Key fields stay as they are.
    pub fn update(&mut self, key: &RowKey, fields: Row) -> Vec<Told> {
        let Some(packed) = self.rows.get_mut(key) else {
            return Vec::new();
        };
        let old = packed.unpack();
        let mut new = old.clone();
        for (field, value) in fields {
            if !self.description.key.contains(&field) {
                new.insert(field, value);
            }
        }
        *packed = PackedRow::new(&new);
        self.tell(Some(&old), Some(&new))
    }

    /// Removes a row and gives it back.
    pub fn remove(&mut self, key: &RowKey) -> (Option<Row>, Vec<Told>) {
        let removed = self.rows.remove(key).map(|row| row.unpack());
        let told = if removed.is_some() {
            self.tell(removed.as_ref(), None)
        } else {
            Vec::new()
        };
        (removed, told)
    }

    /// The keys of the rows that match a filter, found by the key where the filter demands one.
    #[must_use]
    pub fn matching(&self, filter: &Filter) -> Vec<RowKey> {
        self.candidates(filter)
            .filter(|(_, row)| filter.matches(row))
            .map(|(key, _)| key)
            .collect()
    }

    /// Reads once: the texts of the events from `rb` to `re`.
    ///
    /// # Errors
    /// [`RoleRefused`].
    pub fn read(
        &self,
        query: &Query,
        role: &str,
        reading: &str,
    ) -> Result<Vec<String>, RoleRefused> {
        let view = self.view_of(query, role)?;
        let rows = self
            .candidates(&query.filter)
            .filter(|(_, row)| query.filter.matches(row))
            .skip(query.offset)
            .take(query.limit.unwrap_or(usize::MAX))
            .map(|(_, row)| json!(["r1", reading, view.of_row(&row)]).to_string());
        let begin = json!(["rb", reading]).to_string();
        let end = json!(["re", reading]).to_string();
        Ok(std::iter::once(begin)
            .chain(rows)
            .chain(std::iter::once(end))
            .collect())
    }

    /// Opens a query that is told every change from now on; the first reading is [`Table::read`].
    ///
    /// # Errors
    /// [`RoleRefused`].
    pub fn follow(&mut self, query: &Query, role: &str) -> Result<QueryNumber, RoleRefused> {
        let view = self.view_of(query, role)?;
        let number = QueryNumber(self.next_query);
        self.next_query += 1;
        self.index.insert(number, &query.filter);
        self.queries.insert(
            number,
            OpenQuery {
                filter: query.filter.clone(),
                view,
            },
        );
        Ok(number)
    }

    /// Closes a query; whether it was open.
    pub fn close(&mut self, number: QueryNumber) -> bool {
        let Some(query) = self.queries.remove(&number) else {
            return false;
        };
        self.index.remove(number, &query.filter);
        true
    }

    fn view_of(&self, query: &Query, role: &str) -> Result<View, RoleRefused> {
        let view = self.views.get(role).ok_or_else(|| RoleRefused {
            role: role.to_owned(),
        })?;
        Ok(match &query.visible_fields {
            None => view.clone(),
            Some(wanted) => view.narrowed(wanted),
        })
    }

    fn candidates<'table>(
        &'table self,
        filter: &Filter,
    ) -> Box<dyn Iterator<Item = (RowKey, Row)> + 'table> {
        let unpacked = |(key, row): (&RowKey, &PackedRow)| (key.clone(), row.unpack());
        match (self.description.key.as_slice(), filter.demanded_text()) {
            ([key_field], Some((field, text))) if key_field == field => {
                let key = RowKey::of_values(std::iter::once(&Value::String(text.to_owned())));
                Box::new(self.rows.get_key_value(&key).into_iter().map(unpacked))
            }
            _ => Box::new(self.rows.iter().map(unpacked)),
        }
    }

    /// Tells the queries that a row changed from `old` to `new`.
    fn tell(&self, old: Option<&Row>, new: Option<&Row>) -> Vec<Told> {
        let mut concerned = BTreeSet::new();
        for row in [old, new].into_iter().flatten() {
            self.index.collect(row, &mut concerned);
        }
        let mut texts = ViewTexts::new(&self.description.key, old, new);
        concerned
            .into_iter()
            .filter_map(|number| {
                let query = self.queries.get(&number)?;
                let matched = old.is_some_and(|row| query.filter.matches(row));
                let matches = new.is_some_and(|row| query.filter.matches(row));
                let event = match (matched, matches) {
                    (false, false) => None,
                    (false, true) => texts.created(&query.view),
                    (true, true) => texts.updated(&query.view),
                    (true, false) => texts.deleted(),
                };
                event.map(|event| Told {
                    query: number,
                    event,
                })
            })
            .collect()
    }
}

impl RowKey {
    /// The key of a row by the names of the key fields.
    #[must_use]
    pub fn of(fields: &[String], row: &Row) -> Self {
        Self::of_values(
            fields
                .iter()
                .map(|field| row.get(field).unwrap_or(&Value::Null)),
        )
    }

    /// The key with these values, in the order of the key fields.
    pub fn of_values<'value>(values: impl IntoIterator<Item = &'value Value>) -> Self {
        let mut key = String::new();
        for value in values {
            key.push_str(&value.to_string());
            key.push('\n');
        }
        Self(key)
    }

    /// The key of a row in a table whose only key field is a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::of_values(std::iter::once(&Value::String(text.to_owned())))
    }
}
