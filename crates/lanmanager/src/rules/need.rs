//! What a need and its answer consist of, and the rows that they become.

use std::net::IpAddr;

use allexmaster_protocol::limits::{MAX_NEED_BYTES, MAX_ROW_BYTES, NameError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::{InstanceName, ModuleName};

/// A row of a table, as AllexJS sees it: field name to value.
pub type Row = Map<String, Value>;

/// The fields that say where a service runs. An open need has none of them from an
/// earlier life, except those that its configuration asks for.
const PLACE_FIELDS: [&str; 8] = [
    "ipaddress",
    "tcpport",
    "tcpoptions",
    "httpport",
    "httpoptions",
    "wsport",
    "wsoptions",
    "pid",
];

/// The fields with which a need asks for ports.
const PORT_FIELDS: [&str; 3] = ["tcpport", "httpport", "wsport"];

/// Seconds that AllexJS shows for a need without a timeout (storage descriptor of
/// `allex_remoteserviceneedingservice`).
const DEFAULT_TIMEOUT_SECONDS: u64 = 60;

/// A need as it is configured: a name and whatever fields AllexJS gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    name: InstanceName,
    fields: Row,
}

/// Why a value is not a need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    #[error("a need must be an object with an \"instancename\"")]
    NotDefined,
    /// The name of the instance or the module cannot be used.
    #[error("the \"{field}\" of a need cannot be used: {reason}")]
    Name {
        field: &'static str,
        reason: NameError,
    },
    #[error("the \"{0}\" of a need must be a port number, or null or 0 for any")]
    Port(&'static str),
    /// More than [`MAX_NEED_BYTES`].
    #[error("a need of {0} bytes is too large, the limit is {MAX_NEED_BYTES}")]
    TooLarge(usize),
}

impl Need {
    /// Takes a need from JSON.
    ///
    /// # Errors
    /// [`NeedError`] when it has no usable name or is too large.
    pub fn from_json(value: Value) -> Result<Self, NeedError> {
        let Value::Object(fields) = value else {
            return Err(NeedError::NotDefined);
        };
        let Some(Value::String(name)) = fields.get("instancename") else {
            return Err(NeedError::NotDefined);
        };
        let unusable = |field| move |reason| NeedError::Name { field, reason };
        let name = InstanceName::parse(name.as_str()).map_err(unusable("instancename"))?;
        // Without a module no master starts it, but AllexJS lists such needs, too.
        if let Some(Value::String(module)) = fields.get("modulename") {
            ModuleName::parse(module.as_str()).map_err(unusable("modulename"))?;
        }
        for field in PORT_FIELDS {
            let value = fields.get(field).filter(|value| !value.is_null());
            if value.is_some_and(|value| port_number(value).is_none()) {
                return Err(NeedError::Port(field));
            }
        }
        let size = serde_json::to_vec(&fields).map_or(usize::MAX, |bytes| bytes.len());
        if size > MAX_NEED_BYTES {
            return Err(NeedError::TooLarge(size));
        }
        Ok(Self { name, fields })
    }

    /// What the need is called.
    #[must_use]
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// The fields as configured, the name among them.
    #[must_use]
    pub fn fields(&self) -> &Row {
        &self.fields
    }

    /// A number that differs where the fields differ: FNV-1a of their JSON.
    pub(super) fn digest(&self) -> u64 {
        let text = serde_json::to_vec(&self.fields).unwrap_or_default();
        text.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Takes over the fields of a later layer of the same name (shallow, as
    /// AllexJS does it).
    pub(super) fn extend(&mut self, later: Self) {
        self.fields.extend(later.fields);
    }

    /// Puts the LanManager's list of addresses into the strategies: instead of the
    /// need's own (`addNeed`) or after it, without doubles (the files).
    pub(super) fn set_ip_strategies(&mut self, list: &[Value], keep_own: bool) {
        let strategies = self
            .fields
            .entry("strategies")
            .or_insert_with(|| Value::Object(Map::new()));
        if !strategies.is_object() {
            *strategies = Value::Object(Map::new());
        }
        let Value::Object(strategies) = strategies else {
            return;
        };
        match strategies.get_mut("ip") {
            Some(Value::Array(own)) if keep_own => {
                for entry in list {
                    if !own.contains(entry) {
                        own.push(entry.clone());
                    }
                }
            }
            Some(_) | None => {
                strategies.insert("ip".to_owned(), Value::Array(list.to_vec()));
            }
        }
    }

    /// Whether a bidder at `offered` may have this need: its configured
    /// `ipaddress`, where there is one, equals the offer or is a network that
    /// contains it. An offer without an address passes, as in AllexJS.
    pub(super) fn accepts_address(&self, offered: Option<&str>) -> bool {
        let (Some(wanted), Some(offered)) = (self.wanted_address(), offered) else {
            return true;
        };
        if wanted == offered {
            return true;
        }
        match (wanted.parse::<ipnet::IpNet>(), offered.parse::<IpAddr>()) {
            (Ok(network), Ok(address)) => network.contains(&address),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    fn wanted_address(&self) -> Option<&str> {
        self.fields
            .get("ipaddress")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The row of the `needs` table while the need is open.
    #[must_use]
    pub fn open_row(&self) -> Row {
        let mut row = self.fields.clone();
        row.entry("propertyhash")
            .or_insert_with(|| Value::Object(Map::new()));
        row.entry("timeout")
            .or_insert_with(|| DEFAULT_TIMEOUT_SECONDS.into());
        row
    }

    /// The row of the `needs` table in the moment it is satisfied.
    pub(super) fn satisfied_row(&self, descriptor: &Descriptor) -> Row {
        let mut row = self.open_row();
        descriptor.write_into(&mut row);
        row.insert("closed".to_owned(), Value::Bool(true));
        row
    }

    /// The row of the `services` table. Only the place comes from the answer: a
    /// master cannot rename or redefine what was asked for.
    pub(super) fn service_row(&self, descriptor: &Descriptor, created: u64) -> Row {
        let mut row = self.fields.clone();
        descriptor.write_into(&mut row);
        row.insert("created".to_owned(), created.into());
        row
    }
}

/// Where a started service answers: what a bidder responds with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The address of the machine that runs it.
    pub address: IpAddr,
    pub pid: u32,
    /// The port of raw TCP, if it has one.
    pub tcp: Option<Endpoint>,
    /// The port of http and SignalR, if it has one.
    pub http: Option<Endpoint>,
    /// The port of plain WebSocket, if it has one.
    pub ws: Option<Endpoint>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The port number, never 0.
    pub port: u16,
    /// What AllexJS wants to know of it, or null.
    pub options: Value,
}

/// Why a value is not a usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    #[error("a response needs \"{field}\": {expected}")]
    Field {
        /// The field that is wrong.
        field: &'static str,
        expected: &'static str,
    },
    /// More than [`MAX_ROW_BYTES`].
    #[error("a response of {0} bytes is too large, the limit is {MAX_ROW_BYTES}")]
    TooLarge(usize),
}

impl Descriptor {
    /// Takes the place of a service from JSON; other fields are ignored.
    ///
    /// # Errors
    /// [`DescriptorError`] names the field that is missing or wrong.
    pub fn from_json(value: &Value) -> Result<Self, DescriptorError> {
        let size = serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len());
        if size > MAX_ROW_BYTES {
            return Err(DescriptorError::TooLarge(size));
        }
        let address = value
            .get("ipaddress")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or(DescriptorError::Field {
                field: "ipaddress",
                expected: "an IP address",
            })?;
        let pid = value
            .get("pid")
            .and_then(Value::as_u64)
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid > 0)
            .ok_or(DescriptorError::Field {
                field: "pid",
                expected: "a process id",
            })?;
        Ok(Self {
            address,
            pid,
            tcp: endpoint(value, "tcpport", "tcpoptions")?,
            http: endpoint(value, "httpport", "httpoptions")?,
            ws: endpoint(value, "wsport", "wsoptions")?,
        })
    }

    /// The ports in the order AllexJS checks them: tcp, http, ws.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        [&self.tcp, &self.http, &self.ws]
            .into_iter()
            .flatten()
            .map(|endpoint| endpoint.port)
            .collect()
    }

    fn write_into(&self, row: &mut Row) {
        for field in PLACE_FIELDS {
            row.insert(field.to_owned(), Value::Null);
        }
        row.insert("ipaddress".to_owned(), self.address.to_string().into());
        row.insert("pid".to_owned(), self.pid.into());
        let endpoints = [
            (&self.tcp, "tcpport", "tcpoptions"),
            (&self.http, "httpport", "httpoptions"),
            (&self.ws, "wsport", "wsoptions"),
        ];
        for (endpoint, port_field, options_field) in endpoints {
            if let Some(endpoint) = endpoint {
                row.insert(port_field.to_owned(), endpoint.port.into());
                row.insert(options_field.to_owned(), endpoint.options.clone());
            }
        }
    }
}

fn endpoint(
    value: &Value,
    port_field: &'static str,
    options_field: &'static str,
) -> Result<Option<Endpoint>, DescriptorError> {
    let port = match value.get(port_field) {
        None | Some(Value::Null) => return Ok(None),
        Some(port) => port_number(port).ok_or(DescriptorError::Field {
            field: port_field,
            expected: "a port number, or null for none",
        })?,
    };
    // AllexJS writes 0 for "no such port" in its services table.
    if port == 0 {
        return Ok(None);
    }
    let options = value.get(options_field).cloned().unwrap_or(Value::Null);
    Ok(Some(Endpoint { port, options }))
}

fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn need(value: Value) -> Need {
        Need::from_json(value).unwrap()
    }

    #[test]
    fn a_need_without_a_name_is_not_defined() {
        for value in [
            json!({"modulename": "x"}),
            json!(1),
            json!({"instancename": 7}),
        ] {
            assert_eq!(Need::from_json(value), Err(NeedError::NotDefined));
        }
    }

    #[test]
    fn a_need_beyond_the_limit_is_refused() {
        let value =
            json!({"instancename": "Big", "propertyhash": {"text": "x".repeat(MAX_NEED_BYTES)}});
        assert!(matches!(
            Need::from_json(value),
            Err(NeedError::TooLarge(_))
        ));
    }

    #[test]
    fn an_address_is_matched_exactly_or_by_its_network() {
        let anywhere = need(json!({"instancename": "A"}));
        assert!(anywhere.accepts_address(Some("10.0.0.1")));
        let exact = need(json!({"instancename": "A", "ipaddress": "10.0.0.1"}));
        assert!(exact.accepts_address(Some("10.0.0.1")));
        assert!(!exact.accepts_address(Some("10.0.0.2")));
        assert!(exact.accepts_address(None));
        let network = need(json!({"instancename": "A", "ipaddress": "10.0.0.0/8"}));
        assert!(network.accepts_address(Some("10.9.9.9")));
        assert!(!network.accepts_address(Some("11.0.0.1")));
        assert!(!network.accepts_address(Some("garbage")));
    }

    #[test]
    fn the_lan_managers_addresses_replace_or_follow_the_needs_own() {
        let list = [json!({"ip": "127.0.0.1/32", "role": "user"})];
        let own = json!({"instancename": "A", "strategies": {"ip": [{"ip": "1.2.3.4/32", "role": "user"}]}});
        let mut kept = need(own.clone());
        kept.set_ip_strategies(&list, true);
        kept.set_ip_strategies(&list, true);
        assert_eq!(
            kept.fields()["strategies"],
            json!({"ip": [{"ip": "1.2.3.4/32", "role": "user"}, {"ip": "127.0.0.1/32", "role": "user"}]})
        );
        let mut replaced = need(own);
        replaced.set_ip_strategies(&list, false);
        assert_eq!(replaced.fields()["strategies"], json!({"ip": list}));
        let mut broken = need(json!({"instancename": "A", "strategies": 7}));
        broken.set_ip_strategies(&list, true);
        assert_eq!(broken.fields()["strategies"], json!({"ip": list}));
    }

    #[test]
    fn an_answer_must_say_where_the_service_is() {
        let complete = json!({"ipaddress": "127.0.0.1", "pid": 7, "httpport": 8, "tcpport": 0, "wsport": null});
        let descriptor = Descriptor::from_json(&complete).unwrap();
        assert_eq!(descriptor.ports(), [8]);
        for (field, wrong) in [
            ("ipaddress", json!("somewhere")),
            ("pid", json!(0)),
            ("httpport", json!(70_000)),
        ] {
            let mut value = complete.clone();
            value[field] = wrong;
            assert!(
                matches!(Descriptor::from_json(&value), Err(DescriptorError::Field { field: named, .. }) if named == field)
            );
        }
        let portless = json!({"ipaddress": "127.0.0.1", "pid": 7});
        assert!(Descriptor::from_json(&portless).unwrap().ports().is_empty());
    }

    #[test]
    fn a_service_row_takes_only_its_place_from_the_answer() {
        let need = need(json!({"instancename": "A", "modulename": "m", "tcpport": 5}));
        let answer = json!({"instancename": "B", "modulename": "evil", "ipaddress": "127.0.0.1", "pid": 7, "wsport": 9});
        let row = need.service_row(&Descriptor::from_json(&answer).unwrap(), 1000);
        assert_eq!(row["instancename"], "A");
        assert_eq!(row["modulename"], "m");
        assert_eq!(row["wsport"], 9);
        assert_eq!(row["tcpport"], Value::Null);
        assert_eq!(row["created"], 1000);
    }
}
