//! What differs between two states, for people: each place that changed, and nothing else.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde_json::{Map, Value, json};

use crate::{Deadline, Incarnation, State};

/// One place that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As a path: `services.Clock.activity`.
    pub place: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// How values are shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// A process by its number and the boot of the system, not by its number alone.
    pub boots: bool,
}

impl Style {
    /// Each place that differs, in their order.
    #[must_use]
    pub fn difference(self, before: &State, after: &State) -> Vec<Change> {
        self.difference_of_values(&self.shape(before), &self.shape(after))
    }

    /// Each place in which two documents differ.
    #[must_use]
    pub fn difference_of_values(self, before: &Value, after: &Value) -> Vec<Change> {
        let mut changes = Vec::new();
        self.compare("", before, after, &mut changes);
        changes
    }

    /// The state as it is compared: lists of pairs as tables, the ports of one holder, or of one moment,
    /// side by side, and without what the event itself says: its time, and the end of a child.
    fn shape(self, state: &State) -> Value {
        // A state always has a JSON form: the journal's own checkpoints are made so.
        let mut shape = serde_json::to_value(state).unwrap_or_default();
        let deadlines = state
            .deadlines
            .iter()
            // Each blocked port has one; it stands beside the port.
            .filter(|(_, reason)| !matches!(reason, Deadline::PortUsable(_)))
            .map(|(at, reason)| (self.name_of(reason), Value::from(at.0)));
        shape["deadlines"] = Value::Object(deadlines.collect());
        let mut leases: BTreeMap<Incarnation, Vec<String>> = BTreeMap::new();
        for (port, holder) in state.ports.leases() {
            leases.entry(holder).or_default().push(port.to_string());
        }
        let mut blocked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (port, until) in state.ports.blocked() {
            let until = format!("until {until}");
            blocked.entry(until).or_default().push(port.to_string());
        }
        let mut pools = Map::new();
        for field in ["first", "end", "watermark", "released"] {
            let pool = |protocol: &str| self.brief(&shape["ports"]["pools"][protocol][field]);
            let together = format!("{}/{}/{}", pool("tcp"), pool("http"), pool("ws"));
            pools.insert(field.into(), Value::from(together));
        }
        shape["ports"] =
            json!({ "leases": table(leases), "blocked": table(blocked), "pools": pools });
        if let Some(fields) = shape.as_object_mut() {
            fields.remove("now");
        }
        let services = shape["services"].as_object_mut();
        for service in services.into_iter().flat_map(Map::values_mut) {
            if let Some(history) = service["history"].as_object_mut() {
                history.remove("ends");
            }
        }
        shape
    }

    fn name_of(self, reason: &Deadline) -> String {
        self.brief(&serde_json::to_value(reason).unwrap_or_default())
    }

    fn compare(self, path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
        if before == after {
            return;
        }
        let change = |before: Option<String>, after: Option<String>| Change {
            place: path.to_owned(),
            before,
            after,
        };
        let (Value::Object(old), Value::Object(new)) = (before, after) else {
            changes.push(change(Some(self.variant(before)), Some(self.brief(after))));
            return;
        };
        // Another variant of an enum is another thing, not a thing that changed.
        let may_be_variant = path == "lan" || path.starts_with("services.");
        if let ([variant], [other]) = (keys(old).as_slice(), keys(new).as_slice())
            && may_be_variant
            && variant != other
        {
            changes.push(change(Some((*variant).clone()), Some(self.brief(after))));
            return;
        }
        let mut both: Vec<&String> = old.keys().chain(new.keys()).collect();
        both.sort();
        both.dedup();
        for key in both {
            let place = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) => self.compare(&place, old, new, changes),
                (old, new) => changes.push(Change {
                    place,
                    before: old.map(|value| self.brief(value)),
                    after: new.map(|value| self.brief(value)),
                }),
            }
        }
    }

    /// What an enum was; its fields were shown when it became so.
    fn variant(self, value: &Value) -> String {
        let only = value.as_object().filter(|fields| fields.len() == 1);
        let name = only.and_then(|fields| fields.keys().next());
        name.cloned().unwrap_or_else(|| self.brief(value))
    }

    /// JSON without what says nothing: quotes, and fields that are absent or empty.
    #[must_use]
    pub fn brief(self, value: &Value) -> String {
        match value {
            Value::Null => "-".into(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.brief(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Object(fields) => self.brief_object(fields),
        }
    }

    fn brief_object(self, fields: &Map<String, Value>) -> String {
        if let (3, Some(tcp), Some(http), Some(ws)) = (
            fields.len(),
            fields.get("tcp"),
            fields.get("http"),
            fields.get("ws"),
        ) {
            return format!(
                "{}/{}/{}",
                self.brief(tcp),
                self.brief(http),
                self.brief(ws)
            );
        }
        if let (3, Some(boot), Some(pid)) = (fields.len(), fields.get("boot"), fields.get("pid")) {
            return if self.boots {
                format!("{} of {}", self.brief(pid), self.brief(boot))
            } else {
                self.brief(pid)
            };
        }
        let mut keys: Vec<&String> = fields.keys().collect();
        keys.sort();
        let shown: Vec<String> = keys
            .into_iter()
            .filter_map(|key| fields.get(key).map(|value| (key, value)))
            .filter(|(_, value)| !says_nothing(value))
            .map(|(key, value)| format!("{key}: {}", self.brief(value)))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}

fn table(rows: BTreeMap<impl Display, Vec<String>>) -> Value {
    let rows = rows
        .into_iter()
        .map(|(key, values)| (key.to_string(), Value::from(values.join(" "))));
    Value::Object(rows.collect())
}

fn keys(fields: &Map<String, Value>) -> Vec<&String> {
    fields.keys().collect()
}

fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}
