//! What a session asks of a table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::filter::{Filter, FilterError, Row};
use thiserror::Error;

/// The most names in `visiblefields`; the widest table has 22 fields.
pub const MAX_VISIBLE_FIELDS: usize = 128;

/// A query that has been read and checked.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whether the query stays open and tells changes.
    pub continuous: bool,
    /// Which rows.
    pub filter: Filter,
    /// Which fields of them; none for all that the role may see.
    pub visible_fields: Option<BTreeSet<String>>,
    /// The most rows of the first reading. Changes are told of all matching rows.
    pub limit: Option<usize>,
    /// How many matching rows the first reading leaves out.
    pub offset: usize,
}

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The argument is not an object.
    #[error("a query is an object such as {{\"continuous\":true,\"filter\":\"*\"}}")]
    NotAQuery,
    /// A member has the wrong type.
    #[error("the member \"{member}\" of the query has to be {expected}")]
    WrongMember {
        /// The member.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The filter cannot be used.
    #[error("{0}")]
    Filter(#[from] FilterError),
}

impl Query {
    /// All rows, once.
    #[must_use]
    pub fn all() -> Self {
        Self {
            continuous: false,
            filter: Filter::All,
            visible_fields: None,
            limit: None,
            offset: 0,
        }
    }

    /// Reads a query descriptor. A filter that is a text names one of the table's own filters
    /// (`"unsatisfied"`), or all rows (`"*"`). `singleshot` is accepted and means nothing more
    /// than a query that is not continuous.
    ///
    /// # Errors
    /// [`QueryError`] with a sentence for the one who wrote it.
    pub fn from_value(
        value: &Value,
        named_filters: &BTreeMap<String, Filter>,
    ) -> Result<Self, QueryError> {
        let members = match value {
            Value::Object(members) => members,
            Value::Null => return Ok(Self::all()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(QueryError::NotAQuery);
            }
        };
        let filter = match members.get("filter") {
            None => Filter::All,
            Some(Value::String(name)) if named_filters.contains_key(name) => {
                named_filters.get(name).cloned().unwrap_or(Filter::All)
            }
            Some(descriptor) => Filter::from_value(descriptor)?,
        };
        Ok(Self {
            continuous: members.get("continuous").is_some_and(is_truthy),
            filter,
            visible_fields: read_fields(members.get("visiblefields"))?,
            limit: read_count(members, "limit")?,
            offset: read_count(members, "offset")?.unwrap_or(0),
        })
    }
}

fn read_fields(value: Option<&Value>) -> Result<Option<BTreeSet<String>>, QueryError> {
    let wrong = || QueryError::WrongMember {
        member: "visiblefields",
        expected: "a list of at most 128 field names",
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(names)) if names.len() <= MAX_VISIBLE_FIELDS => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn read_count(members: &Row, member: &'static str) -> Result<Option<usize>, QueryError> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .map(Some)
            .ok_or(QueryError::WrongMember {
                member,
                expected: "a whole number that is not negative",
            }),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => true,
    }
}
