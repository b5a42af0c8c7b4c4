//! `boot`: how the LanManager starts.

use std::fmt;

use allexmaster_protocol::handshake::web::WebAccess;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

/// How long a master that is gone has for a reconnect, in milliseconds, where
/// `boot` does not say it. It covers what a master with a broken line needs: 20 s until the
/// silence is noticed, 2.5 s until it dials again, and the time in which it is told all tables.
pub const DEFAULT_RECONNECT_GRACE: u64 = 30_000;

/// Longest grace: a day. Beyond it a mistake in the unit is more likely.
const MAX_RECONNECT_GRACE: u64 = 24 * 60 * 60 * 1_000;

/// The content of `boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Added to every port.
    pub port_correction: i32,
    /// How long a master that is gone has for a reconnect, in milliseconds.
    pub reconnect_grace: u64,
    /// Which web pages may connect, and the names that this machine goes by: `allowedorigins` and
    /// `allowedhosts`.
    pub web: WebAccess,
    /// Whether `subnets` may reach beyond private addresses: `publicsubnets`.
    pub public_subnets: bool,
    /// Keys that mean nothing here, worth a word in the log.
    pub unused: Vec<String>,
}

/// The keys that mean something here, for suggestions.
const KEYS: [&str; 5] = [
    "portcorrection",
    "reconnectgrace",
    "allowedorigins",
    "allowedhosts",
    "publicsubnets",
];

/// Most entries of `allowedorigins`, and of `allowedhosts`: each is compared with every handshake.
const MAX_WEB_NAMES: usize = 100;

/// Keys of AllexJS that this LanManager has no use for.
const FOREIGN_KEYS: [&str; 3] = ["httpmonitorport", "gate", "runtimedirectory"];

/// How similar (Jaro-Winkler, 0 to 1) an unknown key must be to a known one to be
/// taken for a typing mistake and not for a key of another program.
const SLIP_SIMILARITY: f64 = 0.85;

impl<'de> Deserialize<'de> for Boot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BootVisitor)
    }
}

struct BootVisitor;

impl<'de> Visitor<'de> for BootVisitor {
    type Value = Boot;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Boot, A::Error> {
        let mut boot = Boot {
            port_correction: 0,
            reconnect_grace: DEFAULT_RECONNECT_GRACE,
            web: WebAccess::default(),
            public_subnets: false,
            unused: Vec::new(),
        };
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "portcorrection" => boot.port_correction = map.next_value()?,
                "reconnectgrace" => {
                    boot.reconnect_grace = map.next_value()?;
                    if boot.reconnect_grace > MAX_RECONNECT_GRACE {
                        return Err(de::Error::custom(format!(
                            "\"reconnectgrace\" is in milliseconds and at most {MAX_RECONNECT_GRACE}"
                        )));
                    }
                }
                "allowedorigins" => boot.web.origins = web_names(map.next_value()?, check_origin)?,
                "allowedhosts" => boot.web.hosts = web_names(map.next_value()?, check_host)?,
                "publicsubnets" => boot.public_subnets = map.next_value()?,
                other => {
                    if let Some(meant) = slip(other) {
                        return Err(de::Error::custom(format!(
                            "unknown key \"{other}\", did you mean \"{meant}\"?"
                        )));
                    }
                    map.next_value::<IgnoredAny>()?;
                    if other != "httpmonitorport" {
                        boot.unused.push(key);
                    }
                }
            }
        }
        Ok(boot)
    }
}

fn web_names<E: de::Error>(
    names: Vec<String>,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, E> {
    if names.len() > MAX_WEB_NAMES {
        return Err(E::custom(format!(
            "{} entries are too many, the limit is {MAX_WEB_NAMES}",
            names.len()
        )));
    }
    names
        .iter()
        .try_for_each(|name| check(name))
        .map_err(E::custom)?;
    Ok(names)
}

/// An origin is what a browser sends: scheme, host and, where it is not the usual one, port.
fn check_origin(origin: &str) -> Result<(), String> {
    let host = origin.split_once("://").map(|(_, host)| host);
    let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*']));
    is_origin.then_some(()).ok_or_else(|| {
        format!("{origin:?} is no origin of a web page, such as \"https://tools.example:8443\"")
    })
}

fn check_host(host: &str) -> Result<(), String> {
    let is_name = !host.is_empty() && !host.contains([':', '/', ' ', '*']);
    is_name.then_some(()).ok_or_else(|| {
        format!("{host:?} is no name of a machine, such as \"lan.example\" (without a port)")
    })
}

/// The known key that an unknown one was meant to be, if it looks like one.
fn slip(key: &str) -> Option<&'static str> {
    if FOREIGN_KEYS.contains(&key) {
        return None;
    }
    let lowercase = key.to_lowercase();
    KEYS.into_iter()
        .find(|known| strsim::jaro_winkler(&lowercase, known) >= SLIP_SIMILARITY)
}
