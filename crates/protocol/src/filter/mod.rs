//! Filters: which rows of a table a query, an update or a deletion is about.
//!
//! A descriptor is a small JSON object with an `op`. Everything that is not understood is an error
//! with a sentence, never a filter that matches by accident. A field that a row does not have counts as
//! null, as everywhere in AllexJS.

mod matching;
mod parse;

use ipnet::IpNet;
use regex_lite::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::json_text;

/// A row of a table: a JSON object.
pub type Row = Map<String, Value>;

/// The deepest nesting of `and`, `or` and `not`. People write two or three levels.
pub const MAX_FILTER_DEPTH: usize = 16;
/// The most parts in one filter: it is evaluated for every change of a table.
pub const MAX_FILTER_PARTS: usize = 256;
/// The longest regular expression, in bytes, because its compiled form grows with it.
pub const MAX_REGEX_BYTES: usize = 1_024;

/// Why a descriptor is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Neither null, `"*"`, nor an object.
    #[error("the filter is {found}; give an object with \"op\", or \"*\" for all rows")]
    NotAFilter {
        /// What was given.
        found: String,
    },
    /// An operation that nobody knows.
    #[error("the filter operation \"{operation}\" is not known; use one of {}", parse::OPERATIONS.join(", "))]
    UnknownOperation {
        /// The operation.
        operation: String,
    },
    /// A member that the operation needs is missing or has another type.
    #[error("the filter operation \"{operation}\" needs \"{member}\" to be {expected}")]
    WrongMember {
        /// The operation.
        operation: String,
        /// The member of the descriptor.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A regular expression that cannot be compiled, or is too long.
    #[error("the regular expression of the filter is refused: {reason}")]
    WrongRegex {
        /// What the compiler said.
        reason: String,
    },
    /// Deeper than [`MAX_FILTER_DEPTH`] or larger than [`MAX_FILTER_PARTS`].
    #[error(
        "the filter is deeper than {MAX_FILTER_DEPTH} levels or has more than {MAX_FILTER_PARTS} parts; make it simpler"
    )]
    TooLarge,
}

/// How a comparison of a field with a value has to come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// `gt`.
    Greater,
    /// `gte`.
    GreaterOrEqual,
    /// `lt`.
    Less,
    /// `lte`.
    LessOrEqual,
}

/// Where a text has to stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPosition {
    /// `startswith`.
    Start,
    /// `endswith`.
    End,
    /// `contains`; for a field that is an array: an element that equals the value.
    Anywhere,
}

/// A filter that has been read and checked.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Every row.
    All,
    /// `and`: all of them match.
    And(Vec<Self>),
    /// `or`: at least one of them matches.
    Or(Vec<Self>),
    /// `not`: the other does not match.
    Not(Box<Self>),
    /// `eq`; numbers are equal when their values are.
    Equal {
        /// The field.
        field: String,
        /// What it has to be.
        value: Value,
    },
    /// `ne`.
    NotEqual {
        /// The field.
        field: String,
        /// What it must not be.
        value: Value,
    },
    /// `gt`, `gte`, `lt`, `lte`: for numbers with numbers and texts with texts; else no match.
    Compare {
        /// The field.
        field: String,
        /// How it has to compare.
        ordering: Ordering,
        /// With what.
        value: Value,
    },
    /// `in`: the field is one of the values.
    In {
        /// The field.
        field: String,
        /// The values.
        values: Vec<Value>,
    },
    /// `nin`: the field is none of the values.
    NotIn {
        /// The field.
        field: String,
        /// The values.
        values: Vec<Value>,
    },
    /// `startswith`, `endswith`, `contains`.
    Text {
        /// The field.
        field: String,
        /// Where the text has to stand.
        position: TextPosition,
        /// The text (for `contains` in an array: any value).
        value: Value,
    },
    /// `regex`.
    Regex {
        /// The field.
        field: String,
        /// The expression.
        expression: Regex,
    },
    /// `exists`: the field is there and not null.
    Exists {
        /// The field.
        field: String,
    },
    /// `notexists`.
    NotExists {
        /// The field.
        field: String,
    },
    /// `hash`: every member of the object equals the field of its name.
    Hash {
        /// The members.
        members: Row,
    },
    /// `cidr_match`: the address in the field lies in the network; or the network in the field
    /// contains the address.
    CidrMatch {
        /// The field.
        field: String,
        /// The network (a plain address is a network of one).
        network: IpNet,
    },
    /// `natlookup`: the row of a NAT table that translates this inner address and port.
    NatLookup {
        /// The inner address.
        address: String,
        /// The inner port; a row may hold a range `[low, high]`.
        port: u64,
    },
}

impl Serialize for Filter {
    fn serialize<To: Serializer>(&self, to: To) -> Result<To::Ok, To::Error> {
        json_text::serialize(&self.to_value(), to)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<From: Deserializer<'de>>(from: From) -> Result<Self, From::Error> {
        let descriptor: Value = json_text::deserialize(from)?;
        Self::from_value(&descriptor).map_err(From::Error::custom)
    }
}

impl Filter {
    /// A filter on one field.
    pub fn equal(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Equal {
            field: field.into(),
            value: value.into(),
        }
    }

    /// A filter for rows that have a field.
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists {
            field: field.into(),
        }
    }

    /// The text that a field has to equal for this filter to match, if the filter demands one: it
    /// lets a table find the few rows or queries concerned without trying all.
    #[must_use]
    pub fn demanded_text(&self) -> Option<(&str, &str)> {
        match self {
            Self::Equal {
                field,
                value: Value::String(text),
            } => Some((field, text)),
            Self::And(parts) => parts.iter().find_map(Self::demanded_text),
            Self::All
            | Self::Or(_)
            | Self::Not(_)
            | Self::Equal { .. }
            | Self::NotEqual { .. }
            | Self::Compare { .. }
            | Self::In { .. }
            | Self::NotIn { .. }
            | Self::Text { .. }
            | Self::Regex { .. }
            | Self::Exists { .. }
            | Self::NotExists { .. }
            | Self::Hash { .. }
            | Self::CidrMatch { .. }
            | Self::NatLookup { .. } => None,
        }
    }
}
