//! Every value of a configuration by its key, with where it comes from; and what differs between two.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::Findings;
use super::error::line_and_column;
use super::schema::{self, Values};
use super::{Config, Overrides};

/// The section whose keys are names that the user gives.
const LAUNCHERS: &str = "launchers";
/// The key below a launcher whose values may be secrets.
const ENVIRONMENT: &str = ".environment.";
/// What is shown instead of a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// One value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// With the sections it stands in: `limits.stopgrace`.
    pub key: String,
    /// Null where nothing is configured and there is no default.
    pub value: Value,
    /// What a number counts; empty for all else.
    pub unit: String,
    #[serde(flatten)]
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    Default,
    /// It stands in the file.
    File {
        line: usize,
    },
    /// A flag of the command that started the master.
    Flag {
        name: String,
    },
    /// A variable of the environment that the master was started in.
    Variable {
        name: String,
    },
}

/// A value that differs between two configurations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Difference {
    pub key: String,
    /// Null where it was not there.
    pub from: Value,
    /// Null where it is not there any more.
    pub to: Value,
}

impl Entry {
    /// Without what may be a secret.
    #[must_use]
    pub fn shown(mut self) -> Self {
        hide(&self.key, &mut self.value);
        self
    }
}

fn hide(key: &str, value: &mut Value) {
    if key.starts_with(LAUNCHERS) && key.contains(ENVIRONMENT) && !value.is_null() {
        *value = Value::from(HIDDEN);
    }
}

impl Config {
    /// What an older configuration has otherwise, by key; secrets are hidden.
    #[must_use]
    pub fn differences(&self, older: &Self) -> Vec<Difference> {
        let values = |config: &Self| -> BTreeMap<String, Value> {
            let entries = config.entries.iter();
            entries
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect()
        };
        let (before, mut after) = (values(older), values(self));
        let mut differences = Vec::new();
        for (key, from) in before {
            let to = after.remove(&key).unwrap_or_default();
            differences.push(Difference { key, from, to });
        }
        let added = after.into_iter().map(|(key, to)| Difference {
            key,
            from: Value::Null,
            to,
        });
        differences.extend(added);
        differences.retain(|difference| difference.from != difference.to);
        for Difference { key, from, to } in &mut differences {
            hide(key, from);
            hide(key, to);
        }
        differences
    }
}

/// All values of a configuration that was read, in the order of the keys.
pub(super) fn entries(
    text: &str,
    values: &Values,
    overrides: &Overrides,
    findings: &Findings,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, default, unit) in schema::plain_values(values) {
        let (value, origin) = match overrides.of(key) {
            Some((value, origin)) => (value, origin),
            None => match line_of(key, text, findings) {
                // A number as it was understood; all else as it stands there.
                Some(origin) if default.is_number() => (default, origin),
                Some(origin) => (at(&values.written, key).unwrap_or_default(), origin),
                None => (default, Origin::Default),
            },
        };
        entries.push(Entry {
            key: key.to_owned(),
            value,
            unit: unit.to_owned(),
            origin,
        });
    }
    let launchers = values.written.get(LAUNCHERS).and_then(Value::as_object);
    for (name, launcher) in launchers.into_iter().flatten() {
        for (key, value) in launcher.as_object().into_iter().flatten() {
            let path = format!("{LAUNCHERS}.{name}.{key}");
            let line = line_of(&path, text, findings).unwrap_or(Origin::Default);
            let mut push = |key: String, value: &Value| {
                entries.push(Entry {
                    key,
                    value: value.clone(),
                    unit: String::new(),
                    origin: line.clone(),
                });
            };
            match value.as_object() {
                Some(members) => members
                    .iter()
                    .for_each(|(name, value)| push(format!("{path}.{name}"), value)),
                None => push(path, value),
            }
        }
    }
    entries
}

fn line_of(key: &str, text: &str, findings: &Findings) -> Option<Origin> {
    let place = findings.place(key)?;
    let (line, _) = line_and_column(text, place.start);
    Some(Origin::File { line })
}

fn at(written: &Value, key: &str) -> Option<Value> {
    let mut value = written;
    for name in key.split('.') {
        value = value.get(name)?;
    }
    Some(value.clone())
}

impl Overrides {
    /// What stands instead of a key of the file.
    fn of(&self, key: &str) -> Option<(Value, Origin)> {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let (value, flag, variable) = match key {
            "lanmanageraddress" => (
                text(&self.lanmanager_address),
                "--lanmanager-address",
                "ALLEXMASTER_LANMANAGER_ADDRESS",
            ),
            "lanmanagerport" => (
                self.lanmanager_port.map(Value::from),
                "--lanmanager-port",
                "ALLEXMASTER_LANMANAGER_PORT",
            ),
            "lanmanagerprotocol" => (
                text(&self.lanmanager_protocol),
                "--lanmanager-protocol",
                "ALLEXMASTER_LANMANAGER_PROTOCOL",
            ),
            "lanmanagerportcorrection" => (
                self.lanmanager_port_correction.map(Value::from),
                "--lanmanager-port-correction",
                "ALLEXMASTER_LANMANAGER_PORT_CORRECTION",
            ),
            "runtimedirectory" => (
                text(&self.runtime_directory),
                "--runtime-directory",
                "ALLEXMASTER_RUNTIME_DIRECTORY",
            ),
            _ => return None,
        };
        let is_flag = |argument: std::ffi::OsString| {
            let argument = argument.to_string_lossy();
            let rest = argument.strip_prefix(flag);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        let origin = if std::env::args_os().any(is_flag) {
            Origin::Flag {
                name: flag.to_owned(),
            }
        } else {
            Origin::Variable {
                name: variable.to_owned(),
            }
        };
        Some((value?, origin))
    }
}
