//! Between the LanManager's rows and the rules' types: explicit, in both directions.

use std::sync::Arc;

use allexmaster_protocol::limits::{
    MAX_ENGAGED_MODULES, MAX_NAME_BYTES, MAX_ROW_BYTES, NameError, check_name,
};
use allexmaster_state::{InstanceName, ModuleName, Need, PerProtocol, Port, ServiceRecord};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// The longest reason that is kept, in characters: a few lines of a screen.
const MAX_REASON_CHARACTERS: usize = 1_000;

// The rules depend on no wire, so they have a constant of their own.
const _: () = assert!(allexmaster_state::MAX_ENGAGED_MODULES == MAX_ENGAGED_MODULES);

/// The columns of a need that the rules know; all others are handed on as they came.
const KNOWN: [&str; 7] = [
    "instancename",
    "modulename",
    "ipaddress",
    "tcpport",
    "httpport",
    "wsport",
    "pid",
];

/// The columns of a service's record beside the known ones, in the order in which the
/// JavaScript master sends them.
const DETAILS: [&str; 10] = [
    "propertyhash",
    "strategies",
    "closed",
    "tcpoptions",
    "httpoptions",
    "wsoptions",
    "debug",
    "debug_brk",
    "prof",
    "gate",
];

/// The fields of a service's state that are columns of its row in the master's table. Its names,
/// its ports and its process are not its own to tell.
pub(crate) const STATE_COLUMNS: [&str; 10] = DETAILS;

/// Why a row is no need.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RowError {
    /// A name is absent, empty, or not a text.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A name is too long.
    #[error("its {0} is longer than {MAX_NAME_BYTES} bytes")]
    TooLong(&'static str),
    /// A name has characters that break logs and terminals.
    #[error("its {0} has control characters")]
    ControlCharacters(&'static str),
    /// A port is not a port.
    #[error("its {0} is not a port number")]
    Port(&'static str),
    /// It is too large.
    #[error("it is larger than {MAX_ROW_BYTES} bytes")]
    TooLarge,
}

/// What somebody else says as a reason, cut to what people read.
#[must_use]
pub(crate) fn brief(text: &str) -> Arc<str> {
    match text.char_indices().nth(MAX_REASON_CHARACTERS) {
        Some((end, _)) => Arc::from(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Arc::from(text),
    }
}

/// Reads a row of the LanManager's table `needs`.
///
/// # Errors
///
/// What is wrong with it. Such a need cannot be satisfied by anybody.
pub fn need_from_row(row: &Map<String, Value>) -> Result<Need, RowError> {
    if serde_json::to_string(row).is_ok_and(|text| text.len() > MAX_ROW_BYTES) {
        return Err(RowError::TooLarge);
    }
    let details = row
        .iter()
        .filter(|(column, value)| !KNOWN.contains(&column.as_str()) && !value.is_null())
        .map(|(column, value)| (column.clone(), value.clone()))
        .collect();
    Ok(Need {
        instance: InstanceName::from(name(row, "instancename")?),
        module: ModuleName::from(name(row, "modulename")?),
        address: row.get("ipaddress").and_then(Value::as_str).map(Arc::from),
        ports: PerProtocol {
            tcp: port(row, "tcpport")?,
            http: port(row, "httpport")?,
            ws: port(row, "wsport")?,
        },
        details,
    })
}

fn name<'row>(row: &'row Map<String, Value>, column: &'static str) -> Result<&'row str, RowError> {
    let text = row.get(column).and_then(Value::as_str).unwrap_or_default();
    check_name(text).map_err(|error| match error {
        NameError::Empty => RowError::Missing(column),
        NameError::TooLong(_) => RowError::TooLong(column),
        NameError::ControlCharacters => RowError::ControlCharacters(column),
    })?;
    Ok(text)
}

/// A port that a need prescribes. Absent, null and 0 mean: any.
fn port(row: &Map<String, Value>, column: &'static str) -> Result<Option<Port>, RowError> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
            let number = number.ok_or(RowError::Port(column))?;
            Ok((number > 0).then_some(Port(number)))
        }
    }
}

/// The row of a running service, as the LanManager and local tools get it.
#[must_use]
pub fn row_from_record(record: &ServiceRecord) -> Map<String, Value> {
    let need = &record.need;
    let mut row = Map::new();
    for column in DETAILS {
        let value = need.details.get(column).cloned().unwrap_or(Value::Null);
        row.insert(column.to_owned(), value);
    }
    let port = |port: Option<Port>| port.map_or(Value::Null, |port| json!(port.0));
    row.insert("instancename".to_owned(), json!(need.instance.as_str()));
    row.insert("modulename".to_owned(), json!(need.module.as_str()));
    row.insert("tcpport".to_owned(), port(record.ports.tcp));
    row.insert("httpport".to_owned(), port(record.ports.http));
    row.insert("wsport".to_owned(), port(record.ports.ws));
    row.insert("pid".to_owned(), json!(record.pid.0));
    if let Some(address) = &record.address {
        row.insert("ipaddress".to_owned(), json!(address));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_need_keeps_the_columns_that_no_rule_looks_at() {
        let need = need_from_row(&row(&json!({
            "instancename": "Time", "modulename": "allex_timeservice", "propertyhash": {"a": 1},
            "strategies": {"ip": []}, "pid": null, "tcpport": 0, "httpport": 8080, "gate": null,
        })))
        .unwrap();
        assert_eq!(need.instance.as_str(), "Time");
        assert_eq!(
            need.ports,
            PerProtocol {
                tcp: None,
                http: Some(Port(8080)),
                ws: None
            }
        );
        assert_eq!(
            Value::Object(need.details),
            json!({"propertyhash": {"a": 1}, "strategies": {"ip": []}})
        );
    }

    #[test]
    fn what_others_say_is_bounded() {
        assert_eq!(brief("short").as_ref(), "short");
        let long = brief(&"é".repeat(5_000));
        assert_eq!(long.chars().count(), 1_001);
        let huge = json!({
            "instancename": "a", "modulename": "m", "propertyhash": { "x": "y".repeat(MAX_ROW_BYTES) },
        });
        assert_eq!(need_from_row(&row(&huge)), Err(RowError::TooLarge));
    }

    #[test]
    fn a_row_that_is_no_need_says_why() {
        let cases = [
            (
                json!({"modulename": "m"}),
                RowError::Missing("instancename"),
            ),
            (
                json!({"instancename": "", "modulename": "m"}),
                RowError::Missing("instancename"),
            ),
            (
                json!({"instancename": "a", "modulename": 3}),
                RowError::Missing("modulename"),
            ),
            (
                json!({"instancename": "x".repeat(MAX_NAME_BYTES + 1), "modulename": "m"}),
                RowError::TooLong("instancename"),
            ),
            (
                json!({"instancename": "a\nb", "modulename": "m"}),
                RowError::ControlCharacters("instancename"),
            ),
            (
                json!({"instancename": "a", "modulename": "m", "wsport": 65_536}),
                RowError::Port("wsport"),
            ),
            (
                json!({"instancename": "a", "modulename": "m", "wsport": "80"}),
                RowError::Port("wsport"),
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(need_from_row(&row(&value)), Err(expected), "{value}");
        }
    }
}
