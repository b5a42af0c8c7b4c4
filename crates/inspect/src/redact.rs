//! A journal without names, addresses and messages of the machine.
//!
//! The same name always becomes the same pseudonym, so all that happened stays visible. Which texts
//! are names is decided by where they stand; whatever stands in a place that is not known to be
//! harmless is replaced.

use std::collections::BTreeMap;

use allexmaster_journal::record::{self, Checksum, Record, genesis};
use allexmaster_journal::{Machine as _, Position};
use allexmaster_state::{Incarnation, State};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::InspectError;
use crate::source::Start;
use allexmaster_state::Rules;

/// Replaces, and remembers by what.
pub struct Redactor {
    identity: Uuid,
    names: BTreeMap<(&'static str, String), String>,
    counts: BTreeMap<&'static str, u64>,
    checksum: Checksum,
}

/// Keys whose texts say what happened, and nothing of the machine.
const HARMLESS: [&str; 3] = ["code", "source", "restart"];

impl Redactor {
    /// Nothing is known yet. The redacted journal gets an identity of its own.
    #[must_use]
    pub fn new(identity: Uuid) -> Self {
        let hash = blake3::hash(identity.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        let identity = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        Self {
            checksum: genesis(Rules::PROGRAM, &identity.to_string()),
            identity,
            names: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The identity, and the redacted state that stands before the first event.
    ///
    /// # Errors
    /// The state does not read back.
    pub fn start(&mut self, start: &Start) -> Result<(Uuid, Start), InspectError> {
        let mut value = serde_json::to_value(&start.state).map_err(std::io::Error::from)?;
        self.value(&mut value, "");
        let state: State = serde_json::from_value(value).map_err(std::io::Error::from)?;
        let position = Position {
            checksum: self.checksum,
            ..start.position
        };
        let start = Start {
            position,
            state,
            beginning: start.beginning,
            older: None,
        };
        Ok((self.identity, start))
    }

    /// Writes the redacted record, chained to the one before.
    ///
    /// # Errors
    /// The event is no JSON, or what `show` says.
    pub fn redacted(
        &mut self,
        record: &Record<'_>,
        show: impl FnOnce(&Record<'_>) -> Result<(), InspectError>,
    ) -> Result<(), InspectError> {
        let mut value: Value =
            serde_json::from_slice(record.payload).map_err(std::io::Error::from)?;
        self.event(&mut value);
        let payload = serde_json::to_vec(&value).map_err(std::io::Error::from)?;
        let mut scratch = Vec::new();
        self.checksum = record::encode(
            &mut scratch,
            self.checksum,
            record.stamp,
            record.kind,
            &payload,
        );
        show(&Record {
            payload: &payload,
            checksum: self.checksum,
            ..*record
        })
    }

    fn event(&mut self, value: &mut Value) {
        // The outermost key is the name of the kind.
        if let Value::Object(fields) = value {
            for (_, content) in fields.iter_mut() {
                self.value(content, "");
            }
        }
    }

    fn value(&mut self, value: &mut Value, key: &str) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.text(text, key),
            Value::Array(items) => {
                for item in items {
                    self.value(item, key);
                }
            }
            Value::Object(fields) => self.fields(fields, key),
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, key: &str) {
        if key == "details"
            || (matches!(key, "need" | "add-need") && fields.contains_key("instancename"))
        {
            self.opaque(fields);
            return;
        }
        let by_name = match key {
            "services" => Some("Service"),
            "launchers" => Some("module"),
            _ => None,
        };
        if let Some(sort) = by_name {
            let taken = std::mem::take(fields);
            for (name, mut content) in taken {
                self.value(&mut content, "");
                fields.insert(self.name(sort, &name), content);
            }
            return;
        }
        for (key, content) in fields.iter_mut() {
            self.value(content, key);
        }
    }

    /// A need in its raw form: name and module get their pseudonyms, all else is removed.
    fn opaque(&mut self, fields: &mut Map<String, Value>) {
        let instance = fields
            .get("instancename")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let module = fields
            .get("modulename")
            .and_then(Value::as_str)
            .map(str::to_owned);
        fields.clear();
        if let Some(instance) = instance {
            let name = self.name("Service", &instance);
            fields.insert("instancename".to_owned(), name.into());
        }
        if let Some(module) = module {
            let name = self.name("module", &module);
            fields.insert("modulename".to_owned(), name.into());
        }
    }

    fn text(&mut self, text: &mut String, key: &str) {
        if HARMLESS.contains(&key) || is_marker(text, key) {
            return;
        }
        let sort = match key {
            "instance" => "Service",
            "module" | "engaged" => "module",
            "address" => "address",
            "endpoint" => "endpoint",
            "boot" => "boot",
            "journal" => "journal",
            _ => "text",
        };
        // A deadline of a service stands in a list under its own key.
        let sort = if key == "service" { "Service" } else { sort };
        *text = self.name(sort, text);
    }

    fn name(&mut self, sort: &'static str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        if let Some(known) = self.names.get(&(sort, text.to_owned())) {
            return known.clone();
        }
        let count = self.counts.entry(sort).or_default();
        *count += 1;
        let name = format!("{sort}{count}");
        self.names.insert((sort, text.to_owned()), name.clone());
        name
    }
}

/// Texts that are part of the form: the names of variants, and attempts (`918.2`).
fn is_marker(text: &str, key: &str) -> bool {
    const VARIANTS: [&str; 28] = [
        "again",
        "answer",
        "approved",
        "back-off",
        "challenged",
        "children",
        "deadline-reached",
        "dial",
        "done",
        "down-report",
        "farewell",
        "http",
        "lan",
        "module-changed",
        "no",
        "no-launcher",
        "none",
        "not-ready",
        "operator",
        "other-machine",
        "rejected",
        "restart",
        "shutdown",
        "signal",
        "tcp",
        "unreachable",
        "withdrawn",
        "ws",
    ];
    let named = matches!(
        key,
        "instance"
            | "module"
            | "address"
            | "endpoint"
            | "boot"
            | "journal"
            | "reason"
            | "failed"
            | "refused"
            | "lost"
    );
    let attempt = text.parse::<Incarnation>().is_ok();
    !named && (attempt || VARIANTS.contains(&text))
}
