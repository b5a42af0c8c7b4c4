//! Each of our ends, played against the recorded other end of the JavaScript programs.
//!
//! Identifiers that the other side makes cannot be the same in a second life. So the first time that a
//! recorded identifier stands where one of ours does, the two are bound, and from then on they have to
//! stand together.

mod client_end;
mod lan_manager;
mod server_end;

use std::collections::BTreeMap;

use serde_json::Value;

/// Recorded identifiers and ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    ours: BTreeMap<String, String>,
}

impl Bindings {
    /// Whether the recorded value is ours but for identifiers; binds those that are new.
    pub(crate) fn unify(&mut self, recorded: &Value, ours: &Value) -> bool {
        let mut trial = self.clone();
        let same = trial.unify_inside(recorded, ours);
        if same {
            *self = trial;
        }
        same
    }

    /// The recorded value with our identifiers.
    pub(crate) fn translate(&self, recorded: &Value) -> Value {
        match recorded {
            Value::String(text) => Value::from(self.ours.get(text).unwrap_or(text).as_str()),
            Value::Array(members) => members
                .iter()
                .map(|member| self.translate(member))
                .collect(),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), self.translate(member)))
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => recorded.clone(),
        }
    }

    fn unify_inside(&mut self, recorded: &Value, ours: &Value) -> bool {
        match (recorded, ours) {
            (Value::String(recorded), Value::String(ours)) if is_identifier(recorded) => {
                self.ours
                    .entry(recorded.clone())
                    .or_insert_with(|| ours.clone())
                    == ours
            }
            (Value::Array(recorded), Value::Array(ours)) => {
                recorded.len() == ours.len()
                    && recorded
                        .iter()
                        .zip(ours)
                        .all(|(recorded, ours)| self.unify_inside(recorded, ours))
            }
            (Value::Object(recorded), Value::Object(ours)) => {
                recorded.len() == ours.len()
                    && recorded.iter().all(|(name, recorded)| {
                        ours.get(name)
                            .is_some_and(|ours| self.unify_inside(recorded, ours))
                    })
            }
            (recorded, ours) => recorded == ours,
        }
    }
}

/// JavaScript makes its identifiers from the hardware address, the pid and the time.
fn is_identifier(text: &str) -> bool {
    text.len() > 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
