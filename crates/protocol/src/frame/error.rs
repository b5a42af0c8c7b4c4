//! What a peer can report, and what can be wrong with what it sends.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// A failure as the other side reports it, `{"code":…,"message":…}`.
///
/// The code is absent for plain JavaScript errors, both are absent for a refused role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{}", self.describe())]
pub struct RemoteError {
    /// The stable code, such as `NO_PORTS_REACHABLE`; for a refused argument it is a sentence.
    pub code: Option<String>,
    /// The explanation for people.
    pub message: Option<String>,
}

impl RemoteError {
    /// An error with a code and an explanation.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            message: Some(message.into()),
        }
    }

    /// The answer to a method that the service does not know.
    #[must_use]
    pub fn method_does_not_exist(method: &str) -> Self {
        Self::new(
            "METHOD_DOES_NOT_EXIST",
            format!("Method {method} does not exist"),
        )
    }

    /// The answer to a method that exists but may not be called from outside.
    #[must_use]
    pub fn method_not_executable(method: &str) -> Self {
        Self::new(
            "METHOD_NOT_EXECUTABLE",
            format!("Method {method} is not executable"),
        )
    }

    /// The answer to an argument of the wrong type: the code itself is the sentence, as the
    /// JavaScript services have it.
    #[must_use]
    pub fn wrong_argument(sentence: impl Into<String>) -> Self {
        Self::new(sentence, "")
    }

    /// The answer to `addNeed` without an `instancename`.
    #[must_use]
    pub fn need_not_defined() -> Self {
        Self::new("NEED_NOT_DEFINED", "")
    }

    /// The answer to `respond` on a session that has not bid, or whose need is gone.
    #[must_use]
    pub fn already_destroyed() -> Self {
        Self::new("ALREADY_DESTROYED", "")
    }

    /// The answer to `respond` when none of the ports could be reached.
    #[must_use]
    pub fn no_ports_reachable() -> Self {
        Self::new("NO_PORTS_REACHABLE", "")
    }

    /// Reads the third member of an `["e", …]` frame; anything that is not an object with texts
    /// becomes a message.
    #[must_use]
    pub fn from_value(value: Value) -> Self {
        match value {
            Value::Object(mut members) => Self {
                code: members.remove("code").and_then(text_of),
                message: members.remove("message").and_then(text_of),
            },
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Self {
                code: None,
                message: text_of(value),
            },
        }
    }

    /// The error as it stands on the wire.
    #[must_use]
    pub fn into_value(self) -> Value {
        let mut members = Map::new();
        if let Some(code) = self.code {
            members.insert("code".to_owned(), Value::String(code));
        }
        if let Some(message) = self.message {
            members.insert("message".to_owned(), Value::String(message));
        }
        Value::Object(members)
    }

    fn describe(&self) -> String {
        match (self.code.as_deref(), self.message.as_deref()) {
            (None | Some(""), None | Some("")) => "the peer gave no reason".to_owned(),
            (None | Some(""), Some(message)) => message.to_owned(),
            (Some(code), None | Some("")) => code.to_owned(),
            (Some(code), Some(message)) => format!("{code}: {message}"),
        }
    }
}

/// Why a text is not a frame.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum FrameError {
    /// The text is not JSON at all.
    #[error(
        "the peer sent a text that is not JSON ({reason}); check that it speaks AllexJS on this port"
    )]
    NotJson {
        /// What the parser said, with line and column.
        reason: String,
    },
    /// The text is JSON, but not a frame in this direction.
    #[error(
        "the peer sent JSON that is not an AllexJS frame; check that it speaks AllexJS on this port"
    )]
    Unrecognised {
        /// The value, which a server echoes in a forget frame.
        #[serde(with = "crate::json_text")]
        value: Value,
    },
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(value.to_string())
        }
    }
}
