//! The arguments of remote methods, checked as AllexJS checks them: a missing
//! argument counts as null and passes, one of the wrong type is refused with a
//! sentence in the place of the code.

use allexmaster_protocol::frame::RemoteError;
use serde_json::Value;

/// The positional arguments of one call.
pub(super) struct Arguments(std::vec::IntoIter<Value>);

impl Arguments {
    pub(super) fn new(arguments: Vec<Value>) -> Self {
        Self(arguments.into_iter())
    }

    /// The next argument, which is a text or null. `title` is its title in AllexJS.
    pub(super) fn text(&mut self, title: &str) -> Result<Option<String>, RemoteError> {
        match self.0.next() {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(wrong_type(title, "string"))
            }
        }
    }

    /// The next argument, which is an object or null.
    pub(super) fn object(&mut self, title: &str) -> Result<Option<Value>, RemoteError> {
        match self.0.next() {
            None | Some(Value::Null) => Ok(None),
            Some(object @ Value::Object(_)) => Ok(Some(object)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::String(_)) => {
                Err(wrong_type(title, "object"))
            }
        }
    }
}

fn wrong_type(title: &str, expected: &str) -> RemoteError {
    RemoteError::wrong_argument(format!("{title}:  is not of a type(s) {expected}"))
}
