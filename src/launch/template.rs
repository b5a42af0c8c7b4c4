//! Texts with placeholders, read once from the configuration and filled in for each child.

use std::fmt;

use allexmaster_state::{Protocol, SpawnOrder};
use serde_json::Value;
use thiserror::Error;

/// The names that may stand between braces, for messages.
pub(crate) const PLACEHOLDERS: [&str; 5] = [
    "instancename",
    "tcpport",
    "httpport",
    "wsport",
    "propertyhash.NAME",
];

/// What precedes the name of a property of the need.
const PROPERTY_PREFIX: &str = "propertyhash.";

/// A text in which `{instancename}`, `{tcpport}`, `{httpport}`, `{wsport}` and
/// `{propertyhash.X}` are filled in. `{{` and `}}` stand for the braces themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    InstanceName,
    Port(Protocol),
    Property(String),
}

/// A text that is no template.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadTemplate {
    #[error("`{{{name}}}` is no placeholder")]
    Unknown {
        /// What stands between the braces.
        name: String,
    },
    /// `{` without `}`.
    #[error("a `{{` is never closed")]
    Unclosed,
    /// `}` without `{`.
    #[error("a `}}` closes nothing")]
    Unopened,
}

/// A placeholder that cannot be filled in for this need.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Unfillable {
    #[error("the need has no `propertyhash.{name}`, which the launcher asks for")]
    Missing { name: String },
    #[error(
        "`propertyhash.{name}` of the need is {found}; an argument can only be made of text, a number or a boolean"
    )]
    Unsuitable { name: String, found: &'static str },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// An unknown placeholder, or a brace without its partner.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, at_brace) = rest.split_at(brace);
            literal.push_str(before);
            if let Some(after) = at_brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = at_brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = at_brace.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or(BadTemplate::Unclosed)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(placeholder(name)?);
                rest = after;
            } else {
                return Err(BadTemplate::Unopened);
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// A text in which nothing is filled in; braces stand for themselves.
    pub(crate) fn of_text(text: &str) -> Self {
        Self {
            pieces: vec![Piece::Text(text.to_owned())],
        }
    }

    /// Whether nothing has to be filled in.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Whether the port of `protocol` is filled in somewhere.
    #[must_use]
    pub fn mentions(&self, protocol: Protocol) -> bool {
        self.pieces.contains(&Piece::Port(protocol))
    }

    /// Fills the template in. Whatever a property holds stays inside the one text.
    ///
    /// # Errors
    /// The need lacks a property, or has one that makes no argument.
    pub fn fill(&self, order: &SpawnOrder) -> Result<String, Unfillable> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::InstanceName => text.push_str(order.need.instance.as_str()),
                Piece::Port(protocol) => text.push_str(&order.ports.get(*protocol).to_string()),
                Piece::Property(name) => text.push_str(&property(order, name)?),
            }
        }
        Ok(text)
    }
}

/// As it stands in the configuration.
impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => {
                    formatter.write_str(&literal.replace('{', "{{").replace('}', "}}"))?;
                }
                Piece::InstanceName => formatter.write_str("{instancename}")?,
                Piece::Port(protocol) => write!(formatter, "{{{protocol}port}}")?,
                Piece::Property(name) => write!(formatter, "{{{PROPERTY_PREFIX}{name}}}")?,
            }
        }
        Ok(())
    }
}

fn placeholder(name: &str) -> Result<Piece, BadTemplate> {
    match name {
        "instancename" => Ok(Piece::InstanceName),
        "tcpport" => Ok(Piece::Port(Protocol::Tcp)),
        "httpport" => Ok(Piece::Port(Protocol::Http)),
        "wsport" => Ok(Piece::Port(Protocol::Ws)),
        other => match other.strip_prefix(PROPERTY_PREFIX) {
            Some(property) if !property.is_empty() => Ok(Piece::Property(property.to_owned())),
            Some(_) | None => Err(BadTemplate::Unknown {
                name: name.to_owned(),
            }),
        },
    }
}

fn property(order: &SpawnOrder, name: &str) -> Result<String, Unfillable> {
    let value = order
        .need
        .details
        .get("propertyhash")
        .and_then(|properties| properties.get(name));
    let unsuitable = |found| {
        Err(Unfillable::Unsuitable {
            name: name.to_owned(),
            found,
        })
    };
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(truth)) => Ok(truth.to_string()),
        Some(Value::Null) => unsuitable("null"),
        Some(Value::Array(_)) => unsuitable("a list"),
        Some(Value::Object(_)) => unsuitable("an object"),
        None => Err(Unfillable::Missing {
            name: name.to_owned(),
        }),
    }
}
