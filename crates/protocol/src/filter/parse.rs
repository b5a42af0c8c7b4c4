//! Reading a descriptor, and writing one.

use regex_lite::RegexBuilder;
use serde_json::{Value, json};

use super::matching::network_of;
use super::{
    Filter, FilterError, MAX_FILTER_DEPTH, MAX_FILTER_PARTS, MAX_REGEX_BYTES, Ordering, Row,
    TextPosition,
};

/// Every operation, for the message about one that is not known.
pub(super) const OPERATIONS: [&str; 20] = [
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "in",
    "nin",
    "startswith",
    "endswith",
    "contains",
    "regex",
    "exists",
    "notexists",
    "hash",
    "cidr_match",
    "natlookup",
];

/// The most bytes that a compiled regular expression may take.
const MAX_COMPILED_REGEX_BYTES: usize = 64 * 1_024;
/// The deepest nesting inside a regular expression.
const MAX_REGEX_NESTING: u32 = 16;

impl Filter {
    /// Reads a descriptor. Null, `"*"` and an object without `op` stand for all rows.
    ///
    /// # Errors
    /// [`FilterError`] with a sentence for the one who wrote the descriptor.
    pub fn from_value(value: &Value) -> Result<Self, FilterError> {
        let mut remaining = MAX_FILTER_PARTS;
        read(value, MAX_FILTER_DEPTH, &mut remaining)
    }

    /// The descriptor as it stands on the wire.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::All => Value::Null,
            Self::And(parts) => json!({ "op": "and", "filters": values_of(parts) }),
            Self::Or(parts) => json!({ "op": "or", "filters": values_of(parts) }),
            Self::Not(part) => json!({ "op": "not", "filter": part.to_value() }),
            Self::Equal { field, value } => json!({ "op": "eq", "field": field, "value": value }),
            Self::NotEqual { field, value } => {
                json!({ "op": "ne", "field": field, "value": value })
            }
            Self::Compare {
                field,
                ordering,
                value,
            } => {
                json!({ "op": ordering_name(*ordering), "field": field, "value": value })
            }
            Self::In { field, values } => json!({ "op": "in", "field": field, "value": values }),
            Self::NotIn { field, values } => {
                json!({ "op": "nin", "field": field, "value": values })
            }
            Self::Text {
                field,
                position,
                value,
            } => {
                json!({ "op": position_name(*position), "field": field, "value": value })
            }
            Self::Regex { field, expression } => {
                json!({ "op": "regex", "field": field, "value": expression.as_str() })
            }
            Self::Exists { field } => json!({ "op": "exists", "field": field }),
            Self::NotExists { field } => json!({ "op": "notexists", "field": field }),
            Self::Hash { members } => json!({ "op": "hash", "d": members }),
            Self::CidrMatch { field, network } => {
                json!({ "op": "cidr_match", "field": field, "value": network.to_string() })
            }
            Self::NatLookup { address, port } => {
                json!({ "op": "natlookup", "iaddress": address, "iport": port })
            }
        }
    }
}

fn read(value: &Value, depth: usize, remaining: &mut usize) -> Result<Filter, FilterError> {
    let descriptor = match value {
        Value::Null => return Ok(Filter::All),
        Value::String(text) if text == "*" => return Ok(Filter::All),
        Value::Object(members) => members,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(FilterError::NotAFilter {
                found: excerpt(value),
            });
        }
    };
    if depth == 0 || *remaining == 0 {
        return Err(FilterError::TooLarge);
    }
    *remaining -= 1;
    let operation = match descriptor.get("op") {
        None | Some(Value::Null) => return Ok(Filter::All),
        Some(Value::String(operation)) => operation.as_str(),
        Some(other) => {
            return Err(FilterError::UnknownOperation {
                operation: excerpt(other),
            });
        }
    };
    let descriptor = Descriptor {
        operation,
        members: descriptor,
    };
    match operation {
        "and" => Ok(Filter::And(read_parts(&descriptor, depth, remaining)?)),
        "or" => Ok(Filter::Or(read_parts(&descriptor, depth, remaining)?)),
        "not" => Ok(Filter::Not(Box::new(read(
            descriptor.any("filter")?,
            depth - 1,
            remaining,
        )?))),
        _ => read_leaf(&descriptor),
    }
}

fn read_leaf(descriptor: &Descriptor<'_>) -> Result<Filter, FilterError> {
    let compare = |ordering| {
        Ok(Filter::Compare {
            field: descriptor.field()?,
            ordering,
            value: descriptor.any("value")?.clone(),
        })
    };
    let text = |position| {
        Ok(Filter::Text {
            field: descriptor.field()?,
            position,
            value: descriptor.any("value")?.clone(),
        })
    };
    match descriptor.operation {
        // A missing value is an undefined one, and that equals null.
        "eq" => Ok(Filter::Equal {
            field: descriptor.field()?,
            value: descriptor.optional("value"),
        }),
        "ne" => Ok(Filter::NotEqual {
            field: descriptor.field()?,
            value: descriptor.optional("value"),
        }),
        "gt" => compare(Ordering::Greater),
        "gte" => compare(Ordering::GreaterOrEqual),
        "lt" => compare(Ordering::Less),
        "lte" => compare(Ordering::LessOrEqual),
        "in" => Ok(Filter::In {
            field: descriptor.field()?,
            values: descriptor.list("value")?.clone(),
        }),
        "nin" => Ok(Filter::NotIn {
            field: descriptor.field()?,
            values: descriptor.list("value")?.clone(),
        }),
        "startswith" => text(TextPosition::Start),
        "endswith" => text(TextPosition::End),
        "contains" => text(TextPosition::Anywhere),
        "regex" => read_regex(descriptor),
        "exists" => Ok(Filter::Exists {
            field: descriptor.field()?,
        }),
        "notexists" => Ok(Filter::NotExists {
            field: descriptor.field()?,
        }),
        "hash" => Ok(Filter::Hash {
            members: descriptor.object("d")?.clone(),
        }),
        "cidr_match" => read_cidr_match(descriptor),
        "natlookup" => read_nat_lookup(descriptor),
        unknown => Err(FilterError::UnknownOperation {
            operation: shorten(unknown),
        }),
    }
}

fn read_cidr_match(descriptor: &Descriptor<'_>) -> Result<Filter, FilterError> {
    let network = network_of(descriptor.text("value")?)
        .ok_or_else(|| descriptor.wrong("value", "an address or a CIDR"))?;
    Ok(Filter::CidrMatch {
        field: descriptor.field()?,
        network,
    })
}

fn read_nat_lookup(descriptor: &Descriptor<'_>) -> Result<Filter, FilterError> {
    let port = descriptor
        .any("iport")?
        .as_u64()
        .ok_or_else(|| descriptor.wrong("iport", "a port number"))?;
    Ok(Filter::NatLookup {
        address: descriptor.text("iaddress")?.to_owned(),
        port,
    })
}

fn read_parts(
    descriptor: &Descriptor<'_>,
    depth: usize,
    remaining: &mut usize,
) -> Result<Vec<Filter>, FilterError> {
    descriptor
        .list("filters")?
        .iter()
        .map(|part| read(part, depth - 1, remaining))
        .collect()
}

fn read_regex(descriptor: &Descriptor<'_>) -> Result<Filter, FilterError> {
    let source = descriptor.text("value")?;
    if source.len() > MAX_REGEX_BYTES {
        return Err(FilterError::WrongRegex {
            reason: format!("it is longer than {MAX_REGEX_BYTES} bytes"),
        });
    }
    let expression = RegexBuilder::new(source)
        .size_limit(MAX_COMPILED_REGEX_BYTES)
        .nest_limit(MAX_REGEX_NESTING)
        .build()
        .map_err(|error| FilterError::WrongRegex {
            reason: error.to_string(),
        })?;
    Ok(Filter::Regex {
        field: descriptor.field()?,
        expression,
    })
}

/// A descriptor with its operation, so that every complaint can name it.
struct Descriptor<'value> {
    operation: &'value str,
    members: &'value Row,
}

impl<'value> Descriptor<'value> {
    fn wrong(&self, member: &'static str, expected: &'static str) -> FilterError {
        FilterError::WrongMember {
            operation: self.operation.to_owned(),
            member,
            expected,
        }
    }

    fn optional(&self, member: &str) -> Value {
        self.members.get(member).cloned().unwrap_or(Value::Null)
    }

    fn any(&self, member: &'static str) -> Result<&'value Value, FilterError> {
        self.members
            .get(member)
            .ok_or_else(|| self.wrong(member, "present"))
    }

    fn text(&self, member: &'static str) -> Result<&'value str, FilterError> {
        self.any(member)?
            .as_str()
            .ok_or_else(|| self.wrong(member, "a text"))
    }

    fn list(&self, member: &'static str) -> Result<&'value Vec<Value>, FilterError> {
        self.any(member)?
            .as_array()
            .ok_or_else(|| self.wrong(member, "a list"))
    }

    fn object(&self, member: &'static str) -> Result<&'value Row, FilterError> {
        self.any(member)?
            .as_object()
            .ok_or_else(|| self.wrong(member, "an object"))
    }

    fn field(&self) -> Result<String, FilterError> {
        Ok(self.text("field")?.to_owned())
    }
}

fn values_of(parts: &[Filter]) -> Vec<Value> {
    parts.iter().map(Filter::to_value).collect()
}

fn ordering_name(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::Greater => "gt",
        Ordering::GreaterOrEqual => "gte",
        Ordering::Less => "lt",
        Ordering::LessOrEqual => "lte",
    }
}

fn position_name(position: TextPosition) -> &'static str {
    match position {
        TextPosition::Start => "startswith",
        TextPosition::End => "endswith",
        TextPosition::Anywhere => "contains",
    }
}

fn excerpt(value: &Value) -> String {
    shorten(&value.to_string())
}

/// The beginning of a text: what a peer sent must not fill a log line.
fn shorten(text: &str) -> String {
    const LONGEST_EXCERPT_CHARACTERS: usize = 80;
    text.chars().take(LONGEST_EXCERPT_CHARACTERS).collect()
}
