//! `boot`: how the LanManager starts.

use std::fmt;

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
    /// Keys that mean nothing here, worth a word in the log.
    pub unused: Vec<String>,
}

/// The keys that mean something here, for suggestions.
const KEYS: [&str; 2] = ["portcorrection", "reconnectgrace"];

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

/// The known key that an unknown one was meant to be, if it looks like one.
fn slip(key: &str) -> Option<&'static str> {
    if FOREIGN_KEYS.contains(&key) {
        return None;
    }
    let lowercase = key.to_lowercase();
    KEYS.into_iter()
        .find(|known| strsim::jaro_winkler(&lowercase, known) >= SLIP_SIMILARITY)
}
