//! Whether a row matches.

use std::cmp;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Filter, Ordering, Row, TextPosition};

impl Filter {
    /// Whether the row matches.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.matches(row)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(row)),
            Self::Not(part) => !part.matches(row),
            Self::Equal { field, value } => equal(field_of(row, field), value),
            Self::NotEqual { field, value } => !equal(field_of(row, field), value),
            Self::Compare {
                field,
                ordering,
                value,
            } => compares(field_of(row, field), *ordering, value),
            Self::In { field, values } => values
                .iter()
                .any(|value| equal(field_of(row, field), value)),
            Self::NotIn { field, values } => !values
                .iter()
                .any(|value| equal(field_of(row, field), value)),
            Self::Text {
                field,
                position,
                value,
            } => text_stands(field_of(row, field), *position, value),
            Self::Regex { field, expression } => field_of(row, field)
                .as_str()
                .is_some_and(|text| expression.is_match(text)),
            Self::Exists { field } => !field_of(row, field).is_null(),
            Self::NotExists { field } => field_of(row, field).is_null(),
            Self::Hash { members } => members
                .iter()
                .all(|(field, value)| equal(field_of(row, field), value)),
            Self::CidrMatch { field, network } => cidr_matches(field_of(row, field), network),
            Self::NatLookup { address, port } => {
                field_of(row, "iaddress").as_str() == Some(address)
                    && port_matches(field_of(row, "iport"), *port)
            }
        }
    }
}

/// Equality as JavaScript's `===` has it for scalars: `1` and `1.0` are the same number.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => left == right,
    }
}

pub(crate) fn field_of<'row>(row: &'row Row, field: &str) -> &'row Value {
    row.get(field).unwrap_or(&Value::Null)
}

/// Reads an address or a network; an address is a network of one.
pub(crate) fn network_of(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn compares(left: &Value, ordering: Ordering, right: &Value) -> bool {
    let result = match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            (None, _) | (_, None) => None,
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => None,
    };
    let Some(result) = result else { return false };
    match ordering {
        Ordering::Greater => result == cmp::Ordering::Greater,
        Ordering::GreaterOrEqual => result != cmp::Ordering::Less,
        Ordering::Less => result == cmp::Ordering::Less,
        Ordering::LessOrEqual => result != cmp::Ordering::Greater,
    }
}

fn text_stands(field: &Value, position: TextPosition, value: &Value) -> bool {
    match (field, value) {
        (Value::String(text), Value::String(part)) => match position {
            TextPosition::Start => text.starts_with(part.as_str()),
            TextPosition::End => text.ends_with(part.as_str()),
            TextPosition::Anywhere => text.contains(part.as_str()),
        },
        (Value::Array(elements), value) => match position {
            TextPosition::Anywhere => elements.iter().any(|element| equal(element, value)),
            TextPosition::Start | TextPosition::End => false,
        },
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_),
            _,
        ) => false,
    }
}

fn cidr_matches(field: &Value, network: &IpNet) -> bool {
    field
        .as_str()
        .and_then(network_of)
        .is_some_and(|other| network.contains(&other) || other.contains(network))
}

fn port_matches(field: &Value, port: u64) -> bool {
    match field {
        Value::Number(number) => number.as_u64() == Some(port),
        Value::Array(bounds) => match bounds.as_slice() {
            [low, high] => {
                low.as_u64().is_some_and(|low| low <= port)
                    && high.as_u64().is_some_and(|high| port <= high)
            }
            _ => false,
        },
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => false,
    }
}
