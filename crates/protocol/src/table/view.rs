//! What a role sees of a row, and the event texts that queries with the same view share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::filter::{Filter, Row};

/// The visible fields. Clones are the same view; two views made apart are not, whatever they show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct View {
    fields: Arc<[String]>,
    /// Those of them that are shown only in rows that have them.
    sparse: Arc<BTreeSet<String>>,
}

impl View {
    pub(super) fn new(fields: &[String], sparse: &BTreeSet<String>) -> Self {
        Self {
            fields: fields.into(),
            sparse: Arc::new(sparse.clone()),
        }
    }

    /// The fields of this view that are also wanted.
    pub(super) fn narrowed(&self, wanted: &BTreeSet<String>) -> Self {
        let fields = self.fields.iter();
        Self {
            fields: fields
                .filter(|field| wanted.contains(*field))
                .cloned()
                .collect(),
            sparse: Arc::clone(&self.sparse),
        }
    }

    /// The row as it is seen: exactly the visible fields, absent ones as null but for the sparse ones.
    pub(super) fn of_row(&self, row: &Row) -> Row {
        self.fields
            .iter()
            .filter(|field| row.contains_key(*field) || !self.sparse.contains(*field))
            .map(|field| {
                (
                    field.clone(),
                    row.get(field).cloned().unwrap_or(Value::Null),
                )
            })
            .collect()
    }

    /// The visible fields that differ.
    fn differences(&self, old: &Row, new: &Row) -> Row {
        self.fields
            .iter()
            .filter_map(|field| {
                let (before, after) = (
                    old.get(field).unwrap_or(&Value::Null),
                    new.get(field).unwrap_or(&Value::Null),
                );
                (before != after).then(|| (field.clone(), after.clone()))
            })
            .collect()
    }

    pub(super) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Identifies the view within one change, during which nothing is freed.
    fn identity(&self) -> usize {
        self.fields.as_ptr().addr()
    }
}

/// The texts of one change of one row, made when first asked for.
pub(super) struct ViewTexts<'change> {
    old: Option<&'change Row>,
    new: Option<&'change Row>,
    row_filter: Value,
    created: BTreeMap<usize, Arc<str>>,
    updated: BTreeMap<usize, Option<Arc<str>>>,
    deleted: Option<Arc<str>>,
}

impl<'change> ViewTexts<'change> {
    pub(super) fn new(
        key: &[String],
        old: Option<&'change Row>,
        new: Option<&'change Row>,
    ) -> Self {
        let row_filter = new
            .or(old)
            .map(|row| row_filter(key, row))
            .unwrap_or(Value::Null);
        Self {
            old,
            new,
            row_filter,
            created: BTreeMap::new(),
            updated: BTreeMap::new(),
            deleted: None,
        }
    }

    pub(super) fn created(&mut self, view: &View) -> Option<Arc<str>> {
        let new = self.new?;
        let text = self
            .created
            .entry(view.identity())
            .or_insert_with(|| json!(["c", view.of_row(new)]).to_string().into());
        Some(Arc::clone(text))
    }

    /// None when nothing that the view shows has changed.
    pub(super) fn updated(&mut self, view: &View) -> Option<Arc<str>> {
        let (old, new) = (self.old?, self.new?);
        let row_filter = &self.row_filter;
        let text = self.updated.entry(view.identity()).or_insert_with(|| {
            let fields = view.differences(old, new);
            (!fields.is_empty()).then(|| json!(["u", row_filter, fields]).to_string().into())
        });
        text.clone()
    }

    pub(super) fn deleted(&mut self) -> Option<Arc<str>> {
        let row_filter = &self.row_filter;
        let text = self
            .deleted
            .get_or_insert_with(|| json!(["d", row_filter]).to_string().into());
        Some(Arc::clone(text))
    }
}

/// The descriptor that matches exactly the row with this key.
fn row_filter(key: &[String], row: &Row) -> Value {
    let mut parts: Vec<Filter> = key
        .iter()
        .map(|field| {
            Filter::equal(
                field.clone(),
                row.get(field).cloned().unwrap_or(Value::Null),
            )
        })
        .collect();
    match parts.pop() {
        Some(only) if parts.is_empty() => only.to_value(),
        Some(last) => {
            parts.push(last);
            Filter::And(parts).to_value()
        }
        None => Value::Null,
    }
}
