//! Reading the files, and creating those that are missing.

use std::io;
use std::path::Path;

use allexmaster_protocol::limits::{MAX_NEEDS, MAX_SUBNETS};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::boot::Boot;
use super::error::FileError;
use super::subnet::Subnet;
use super::write::write_atomically;
use crate::rules::{Need, Row};

/// Largest file. The needs of the largest allowed number and usual size fit.
pub(super) const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

const EXPECTED_BOOT: &str = r#"an object such as {"portcorrection":0,"reconnectgrace":3000}"#;
const EXPECTED_NAT: &str = r#"an array of rows such as [{"iaddress":"192.168.1.1","iport":12345,"eaddress":"1.2.3.4","eport":80}]"#;
const EXPECTED_SUBNETS: &str =
    r#"an array of networks or addresses such as ["192.168.1.0/24","10.0.0.7"]"#;
const EXPECTED_NEEDS: &str = r#"an array of needs such as [{"instancename":"Time","modulename":"allex_timeservice","propertyhash":{}}]"#;

pub(super) fn boot(path: &Path, default: &Value) -> Result<Boot, FileError> {
    read_or_create(path, default, EXPECTED_BOOT)
}

pub(super) fn nat(path: &Path, default: &Value) -> Result<Vec<Row>, FileError> {
    let rows: Vec<NatRow> = read_or_create(path, default, EXPECTED_NAT)?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Nobody but this machine is let in where the file is missing.
pub(super) fn subnets(path: &Path, public: bool) -> Result<Vec<Subnet>, FileError> {
    let default = Value::Array(Vec::new());
    if public {
        let subnets: Entries<PublicSubnet, MAX_SUBNETS> =
            read_or_create(path, &default, EXPECTED_SUBNETS)?;
        return Ok(subnets.0.into_iter().map(|one| one.0).collect());
    }
    let subnets: Entries<PrivateSubnet, MAX_SUBNETS> =
        read_or_create(path, &default, EXPECTED_SUBNETS)?;
    Ok(subnets.0.into_iter().map(|one| one.0).collect())
}

pub(super) fn needs(path: &Path, default: &Value) -> Result<Vec<Need>, FileError> {
    let needs: Entries<NeedEntry, MAX_NEEDS> = read_or_create(path, default, EXPECTED_NEEDS)?;
    Ok(needs.0.into_iter().map(|entry| entry.0).collect())
}

fn read_or_create<T: DeserializeOwned>(
    path: &Path,
    default: &Value,
    expected: &str,
) -> Result<T, FileError> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(Unreadable::TooLarge(bytes)) => return Err(FileError::too_large(path, bytes)),
        Err(Unreadable::Failed(error)) if error.kind() == io::ErrorKind::NotFound => {
            write_atomically(path, default)?;
            default.to_string().into_bytes()
        }
        Err(Unreadable::Failed(error)) => return Err(FileError::read(path, error)),
    };
    parse(&bytes).map_err(|error| FileError::content(path, &error, expected))
}

/// Parses the bytes of a file.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

enum Unreadable {
    TooLarge(u64),
    Failed(io::Error),
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let length = std::fs::metadata(path).map_err(Unreadable::Failed)?.len();
    if length > MAX_FILE_BYTES {
        return Err(Unreadable::TooLarge(length));
    }
    std::fs::read(path).map_err(Unreadable::Failed)
}

/// A row of the nat table: an address, a port or a range of ports, and the rest.
struct NatRow(Row);

impl<'de> Deserialize<'de> for NatRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Checked(Self::check))
    }
}

impl NatRow {
    fn check(row: Row) -> Result<Self, String> {
        if !row.get("iaddress").is_some_and(Value::is_string) {
            return Err("a row needs an \"iaddress\" (a text)".to_owned());
        }
        let is_port = |value: &Value| value.as_u64().is_some_and(|port| port <= 0xffff);
        let is_range = |value: &Value| {
            let ends = value.as_array();
            ends.is_some_and(|ends| ends.len() == 2 && ends.iter().all(is_port))
        };
        if !row
            .get("iport")
            .is_some_and(|value| is_port(value) || is_range(value))
        {
            return Err(
                "a row needs an \"iport\" (a port, or a range as in [1000,2000])".to_owned(),
            );
        }
        Ok(Self(row))
    }
}

/// A network that holds private addresses only.
struct PrivateSubnet(Subnet);

impl<'de> Deserialize<'de> for PrivateSubnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let subnet = PublicSubnet::deserialize(deserializer)?.0;
        subnet.check_private().map_err(de::Error::custom)?;
        Ok(Self(subnet))
    }
}

/// Any network.
struct PublicSubnet(Subnet);

impl<'de> Deserialize<'de> for PublicSubnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Subnet::parse(text).map(Self).map_err(de::Error::custom)
    }
}

/// An array of at most `MOST` entries.
struct Entries<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Entries<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries: Vec<T> = Vec::deserialize(deserializer)?;
        if entries.len() > MOST {
            return Err(de::Error::custom(format!(
                "{} entries are too many, the limit is {MOST}",
                entries.len()
            )));
        }
        Ok(Self(entries))
    }
}

struct NeedEntry(Need);

impl<'de> Deserialize<'de> for NeedEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Checked(Self::check))
    }
}

impl NeedEntry {
    fn check(row: Row) -> Result<Self, String> {
        if row.contains_key("instancename") {
            let need = Need::from_json(Value::Object(row));
            return need.map(Self).map_err(|error| error.to_string());
        }
        let meant = row.keys().find(|key| is_like_instancename(key));
        Err(match meant {
            Some(meant) => {
                format!("a need without \"instancename\", is \"{meant}\" meant to be it?")
            }
            None => "a need without \"instancename\"".to_owned(),
        })
    }
}

/// Reads an object and checks it where it ends, so that a complaint names that place
/// and not where the next one begins.
struct Checked<T>(fn(Row) -> Result<T, String>);

impl<'de, T> de::Visitor<'de> for Checked<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut row = Row::new();
        while let Some((field, value)) = map.next_entry()? {
            row.insert(field, value);
        }
        (self.0)(row).map_err(de::Error::custom)
    }
}

/// How similar (Jaro-Winkler, 0 to 1) a key must be to be named as a likely slip.
const SLIP_SIMILARITY: f64 = 0.85;

fn is_like_instancename(key: &str) -> bool {
    strsim::jaro_winkler(&key.to_lowercase(), "instancename") >= SLIP_SIMILARITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_text() -> impl Strategy<Value = Vec<u8>> {
        let fragments = prop::sample::select(vec![
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "\"instancename\"",
            "\"A\"",
            "\"\"",
            "\"iport\"",
            "\"iaddress\"",
            "\"portcorrection\"",
            "\"reconnectgrace\"",
            "1",
            "-1",
            "1e99",
            "70000",
            "null",
            "true",
            "\n",
            " ",
            "\"10.0.0.0/8\"",
            "\"10.0.0.0/99\"",
            "\u{feff}",
        ]);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            prop::collection::vec(fragments, 0..24).prop_map(|parts| parts.concat().into_bytes()),
        ]
    }

    fn has_a_place<T>(outcome: &Result<T, serde_json::Error>) -> bool {
        outcome.as_ref().err().is_none_or(|error| error.line() > 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_value_or_an_error_with_a_place(bytes in any_text()) {
            prop_assert!(has_a_place(&parse::<Boot>(&bytes)));
            prop_assert!(has_a_place(&parse::<Vec<NatRow>>(&bytes)));
            prop_assert!(has_a_place(&parse::<Entries<PrivateSubnet, MAX_SUBNETS>>(&bytes)));
            prop_assert!(has_a_place(&parse::<Entries<NeedEntry, MAX_NEEDS>>(&bytes)));
        }
    }
}
