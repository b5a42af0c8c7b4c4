//! `debug`, `debug_brk` and `prof` of a need, as flags of Node.

use allexmaster_state::Need;
use serde_json::Value;

use super::LaunchError;

/// The flags that a need asks for: the first of `debug_brk`, `debug` and `prof` that is set, as
/// in the JavaScript master.
///
/// Whoever reaches an inspector runs programs as this user, so it listens on the loopback alone,
/// whatever the need says.
pub(super) fn flags(need: &Need) -> Result<Vec<String>, LaunchError> {
    for (column, flag) in [("debug_brk", "--inspect-brk"), ("debug", "--inspect")] {
        if let Some(value) = set(need, column) {
            return Ok(vec![inspector(column, flag, value)?]);
        }
    }
    let profiled = set(need, "prof").map(|_| "--prof".to_owned());
    Ok(profiled.into_iter().collect())
}

/// The value of a column, where it is true in JavaScript's sense.
fn set<'need>(need: &'need Need, column: &str) -> Option<&'need Value> {
    need.details.get(column).filter(|value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    })
}

fn inspector(column: &'static str, flag: &str, value: &Value) -> Result<String, LaunchError> {
    let port = match value {
        Value::Bool(_) => return Ok(flag.to_owned()),
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(text) => {
            let local = ["127.0.0.1:", "localhost:"];
            let port = local.iter().find_map(|host| text.strip_prefix(host));
            port.unwrap_or(text).parse().ok()
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match port {
        Some(port) => Ok(format!("{flag}=127.0.0.1:{port}")),
        None => Err(LaunchError::Inspector {
            column,
            value: value.to_string().chars().take(LONGEST_SHOWN).collect(),
        }),
    }
}

/// Maximum characters of a wrong value that a message shows.
const LONGEST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use allexmaster_state::{InstanceName, ModuleName, PerProtocol};
    use serde_json::json;

    fn need(details: &Value) -> Need {
        Need {
            instance: InstanceName::from("Time"),
            module: ModuleName::from("allex_timeservice"),
            address: None,
            ports: PerProtocol::default(),
            details: details.as_object().cloned().unwrap(),
        }
    }

    #[test]
    fn the_first_flag_that_is_set_counts() {
        let cases = [
            (json!({}), vec![]),
            (json!({"debug": false, "prof": 0, "debug_brk": ""}), vec![]),
            (json!({"debug": true}), vec!["--inspect"]),
            (
                json!({"debug": true, "debug_brk": true}),
                vec!["--inspect-brk"],
            ),
            (
                json!({"debug_brk": "9300"}),
                vec!["--inspect-brk=127.0.0.1:9300"],
            ),
            (
                json!({"debug_brk": "localhost:9300"}),
                vec!["--inspect-brk=127.0.0.1:9300"],
            ),
            (
                json!({"debug": 9300, "prof": true}),
                vec!["--inspect=127.0.0.1:9300"],
            ),
            (json!({"prof": true}), vec!["--prof"]),
        ];
        for (details, expected) in cases {
            assert_eq!(flags(&need(&details)).unwrap(), expected, "{details}");
        }
    }

    #[test]
    fn an_inspector_for_the_whole_network_is_refused() {
        for value in [
            json!("0.0.0.0:9229"),
            json!("::"),
            json!([1]),
            json!(70_000),
        ] {
            let refused = flags(&need(&json!({"debug_brk": value})));
            assert!(
                matches!(refused, Err(LaunchError::Inspector { .. })),
                "{value}"
            );
        }
    }
}
