//! A need that the LanManager takes is one that a master takes, up to the limits that both share.

use std::sync::Arc;

use allexmaster_lanmanager::rules::{Descriptor, Need, NeedError};
use allexmaster_protocol::limits::{
    MAX_NAME_BYTES, MAX_NEED_BYTES, MAX_ROW_BYTES, MAX_SUBNETS, NameError,
};
use allexmaster_sessions::rows::{need_from_row, row_from_record};
use allexmaster_state::{PerProtocol, Pid, Port, ServiceRecord};
use proptest::prelude::*;
use serde_json::{Value, json};

fn named(instance: &str, module: &str) -> Value {
    json!({"instancename": instance, "modulename": module})
}

/// A need of exactly so many bytes of JSON.
fn sized(bytes: usize) -> Value {
    let mut need = named("Big", "m");
    need["propertyhash"] = json!({"text": ""});
    let missing = bytes - need.to_string().len();
    need["propertyhash"]["text"] = Value::from("x".repeat(missing));
    assert_eq!(need.to_string().len(), bytes);
    need
}

#[test]
fn the_largest_need_is_taken_by_both_and_answered() {
    let longest = "n".repeat(MAX_NAME_BYTES);
    for value in [
        named(&longest, &longest),
        sized(MAX_NEED_BYTES),
        json!({"instancename": "A", "modulename": "m", "tcpport": 65_535, "httpport": 0, "wsport": null}),
    ] {
        let row = Need::from_json(value).unwrap().open_row();
        let need = need_from_row(&row).unwrap();
        // The answer to the LanManager carries the whole need back.
        let record = ServiceRecord {
            need: Arc::new(need),
            pid: Pid(7),
            ports: PerProtocol {
                tcp: Some(Port(65_535)),
                http: None,
                ws: None,
            },
            address: Some(Arc::from("127.0.0.1")),
        };
        let answer = Value::Object(row_from_record(&record));
        assert!(Descriptor::from_json(&answer).is_ok());
    }
}

#[test]
fn beyond_the_largest_need_the_lan_manager_refuses() {
    let over = "n".repeat(MAX_NAME_BYTES + 1);
    let too_long = NameError::TooLong(MAX_NAME_BYTES + 1);
    let name = |field, reason| NeedError::Name { field, reason };
    for (value, expected) in [
        (named(&over, "m"), name("instancename", too_long)),
        (named("A", &over), name("modulename", too_long)),
        (
            named("A\n", "m"),
            name("instancename", NameError::ControlCharacters),
        ),
        (
            sized(MAX_NEED_BYTES + 1),
            NeedError::TooLarge(MAX_NEED_BYTES + 1),
        ),
        (
            json!({"instancename": "A", "wsport": 65_536}),
            NeedError::Port("wsport"),
        ),
        (
            json!({"instancename": "A", "tcpport": "80"}),
            NeedError::Port("tcpport"),
        ),
    ] {
        assert_eq!(Need::from_json(value), Err(expected));
    }
}

#[test]
fn three_files_and_all_networks_fit_into_a_row() {
    let strategy = json!({"ip": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "role": "user"});
    let networks = (MAX_SUBNETS + 1) * (strategy.to_string().len() + 1);
    let place = 1_024;
    assert!(3 * MAX_NEED_BYTES + networks + place <= MAX_ROW_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_lan_manager_takes_a_master_takes(
        instance in ".{0,260}",
        module in ".{1,260}",
        port in prop_oneof![Just(Value::Null), any::<u32>().prop_map(Value::from), (0_u32..65_537).prop_map(Value::from), Just(json!("80"))],
        more in prop::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..4),
    ) {
        let mut value = named(&instance, &module);
        value["httpport"] = port;
        value["propertyhash"] = json!(more);
        if let Ok(need) = Need::from_json(value) {
            prop_assert!(need_from_row(&need.open_row()).is_ok());
        }
    }
}
