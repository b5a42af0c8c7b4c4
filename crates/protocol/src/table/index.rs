//! Which queries a row can concern, without trying all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::QueryNumber;
use crate::filter::{Filter, Row};

/// Queries by the text that they demand in a field; and the rest.
#[derive(Debug, Default)]
pub(super) struct QueryIndex {
    by_text: BTreeMap<String, BTreeMap<String, BTreeSet<QueryNumber>>>,
    others: BTreeSet<QueryNumber>,
}

impl QueryIndex {
    pub(super) fn insert(&mut self, number: QueryNumber, filter: &Filter) {
        match filter.demanded_text() {
            Some((field, text)) => {
                self.by_text
                    .entry(field.to_owned())
                    .or_default()
                    .entry(text.to_owned())
                    .or_default()
                    .insert(number);
            }
            None => {
                self.others.insert(number);
            }
        }
    }

    pub(super) fn remove(&mut self, number: QueryNumber, filter: &Filter) {
        let Some((field, text)) = filter.demanded_text() else {
            self.others.remove(&number);
            return;
        };
        let Some(texts) = self.by_text.get_mut(field) else {
            return;
        };
        if let Some(numbers) = texts.get_mut(text) {
            numbers.remove(&number);
            if numbers.is_empty() {
                texts.remove(text);
            }
        }
        if texts.is_empty() {
            self.by_text.remove(field);
        }
    }

    /// Adds the queries that this row can concern.
    pub(super) fn collect(&self, row: &Row, concerned: &mut BTreeSet<QueryNumber>) {
        concerned.extend(&self.others);
        for (field, texts) in &self.by_text {
            if let Some(numbers) = row
                .get(field)
                .and_then(Value::as_str)
                .and_then(|text| texts.get(text))
            {
                concerned.extend(numbers);
            }
        }
    }
}
