//! The events of a data stream: what a query tells, and what a mirror is fed with.

use serde_json::{Value, json};

use crate::filter::{Filter, FilterError, Row};
use thiserror::Error;

/// One event, as it stands in a progress frame.
#[derive(Clone, Debug)]
pub enum DataEvent {
    /// `["i", queryId]`: the query is open; `closeQuery` takes this identifier.
    Opened {
        /// The identifier of the query.
        query: String,
    },
    /// `["rb", readId]`: a reading begins; forget the copy.
    ReadBegins {
        /// The identifier of the reading.
        reading: String,
    },
    /// `["r1", readId, row]`: one row of it.
    ReadOne {
        /// The identifier of the reading.
        reading: String,
        /// The row.
        row: Row,
    },
    /// `["re", readId]`: the reading is complete.
    ReadEnds {
        /// The identifier of the reading.
        reading: String,
    },
    /// `["c", row]`: a row was created (or began to match the filter of the query).
    Created {
        /// The row.
        row: Row,
    },
    /// `["u", filter, fields]`: the rows that match have these fields now.
    Updated {
        /// Which rows.
        filter: Filter,
        /// Some or all of their fields.
        fields: Row,
    },
    /// `["ue", new, old]`: exactly this row was replaced.
    Replaced {
        /// What it is now.
        new: Row,
        /// What it was.
        old: Row,
    },
    /// `["d", filter]`: the rows that match are gone (or stopped matching the filter of the query).
    Deleted {
        /// Which rows.
        filter: Filter,
    },
}

/// Why a progress frame is not an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DataEventError {
    /// Not one of the known shapes.
    #[error(
        "the data stream brings something that is not an event ({found}); open the query again"
    )]
    NotAnEvent {
        /// The beginning of what it brings.
        found: String,
    },
    /// A filter that cannot be read.
    #[error("the data stream brings an event with an unusable filter; open the query again")]
    Filter(#[from] FilterError),
}

impl DataEvent {
    /// Reads the data of a progress frame.
    ///
    /// # Errors
    /// [`DataEventError`] for anything else.
    pub fn from_value(value: Value) -> Result<Self, DataEventError> {
        let not_an_event = |value: &Value| {
            const LONGEST_EXCERPT_CHARACTERS: usize = 80;
            DataEventError::NotAnEvent {
                found: value
                    .to_string()
                    .chars()
                    .take(LONGEST_EXCERPT_CHARACTERS)
                    .collect(),
            }
        };
        let Value::Array(mut members) = value else {
            return Err(not_an_event(&value));
        };
        match members.as_mut_slice() {
            [Value::String(kind), Value::String(identifier)] => match kind.as_str() {
                "i" => Ok(Self::Opened {
                    query: std::mem::take(identifier),
                }),
                "rb" => Ok(Self::ReadBegins {
                    reading: std::mem::take(identifier),
                }),
                "re" => Ok(Self::ReadEnds {
                    reading: std::mem::take(identifier),
                }),
                "d" => Ok(Self::Deleted {
                    filter: Filter::from_value(&Value::String(std::mem::take(identifier)))?,
                }),
                _ => Err(not_an_event(&Value::Array(members))),
            },
            [
                Value::String(kind),
                Value::String(reading),
                Value::Object(row),
            ] if kind == "r1" => Ok(Self::ReadOne {
                reading: std::mem::take(reading),
                row: std::mem::take(row),
            }),
            [Value::String(kind), Value::Object(row)] if kind == "c" => Ok(Self::Created {
                row: std::mem::take(row),
            }),
            [Value::String(kind), filter] if kind == "d" => Ok(Self::Deleted {
                filter: Filter::from_value(filter)?,
            }),
            [Value::String(kind), filter, Value::Object(fields)] if kind == "u" => {
                Ok(Self::Updated {
                    filter: Filter::from_value(filter)?,
                    fields: std::mem::take(fields),
                })
            }
            [Value::String(kind), Value::Object(new), Value::Object(old)] if kind == "ue" => {
                Ok(Self::Replaced {
                    new: std::mem::take(new),
                    old: std::mem::take(old),
                })
            }
            _ => Err(not_an_event(&Value::Array(members))),
        }
    }

    /// The event as it stands in a progress frame.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Opened { query } => json!(["i", query]),
            Self::ReadBegins { reading } => json!(["rb", reading]),
            Self::ReadOne { reading, row } => json!(["r1", reading, row]),
            Self::ReadEnds { reading } => json!(["re", reading]),
            Self::Created { row } => json!(["c", row]),
            Self::Updated { filter, fields } => json!(["u", filter.to_value(), fields]),
            Self::Replaced { new, old } => json!(["ue", new, old]),
            Self::Deleted { filter } => json!(["d", filter.to_value()]),
        }
    }
}
