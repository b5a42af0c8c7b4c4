//! The restart policy and the match of addresses, by themselves.

use std::sync::Arc;

use allexmaster_state::{
    Decision, InstanceName, ModuleName, Need, PerProtocol, RestartPolicy, Timestamp,
};
use proptest::prelude::*;
use serde_json::Map;

/// Half of the entropy: no jitter.
const MIDDLE: u32 = u32::MAX / 2 + 1;

fn pause(decision: Decision) -> Option<u64> {
    match decision {
        Decision::After(pause) => Some(pause),
        Decision::GiveUp => None,
    }
}

fn pauses(policy: RestartPolicy, approved: bool, failures: &[u32]) -> Vec<Option<u64>> {
    failures
        .iter()
        .map(|failures| pause(policy.decide(*failures, approved, MIDDLE)))
        .collect()
}

#[test]
fn pauses_double_from_the_first_to_the_longest() {
    let policy = RestartPolicy::default();
    let expected = [
        500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
    ];
    let failures: Vec<u32> = (1..=9).collect();
    let found = pauses(policy, false, &failures);
    assert_eq!(found, expected.map(Some));
    assert_eq!(pauses(policy, false, &[u32::MAX]), [Some(60_000)]);
}

#[test]
fn the_first_failure_of_an_approved_service_costs_no_pause() {
    let policy = RestartPolicy::default();
    let found = pauses(policy, true, &[1, 2, 3]);
    assert_eq!(found, [Some(0), Some(500), Some(1_000)]);
}

#[test]
fn so_many_attempts_are_made_and_no_more() {
    let policy = RestartPolicy {
        attempts: 2,
        ..RestartPolicy::default()
    };
    let found = pauses(policy, false, &[1, 2, 3, 4]);
    assert_eq!(found, [Some(500), Some(1_000), None, None]);
}

#[test]
fn jitter_moves_a_pause_by_its_share_at_most_in_both_directions() {
    let policy = RestartPolicy::default();
    assert_eq!(pause(policy.decide(1, false, 0)), Some(400));
    assert_eq!(pause(policy.decide(1, false, MIDDLE)), Some(500));
    assert_eq!(pause(policy.decide(1, false, u32::MAX)), Some(600));
}

fn need_at(address: Option<&str>) -> Need {
    Need {
        instance: InstanceName::from("Web"),
        module: ModuleName::from("exec:web"),
        address: address.map(Arc::from),
        ports: PerProtocol::default(),
        details: Map::new(),
    }
}

#[test]
fn a_need_is_for_every_machine_that_its_address_names() {
    let cases = [
        (None, "10.0.0.1", true),
        (Some(""), "10.0.0.1", true),
        (Some("10.0.0.1"), "10.0.0.1", true),
        (Some("10.0.0.2"), "10.0.0.1", false),
        (Some("10.0.0.0/24"), "10.0.0.1", true),
        (Some("10.0.0.77/24"), "10.0.0.1", true),
        (Some("10.0.1.0/24"), "10.0.0.1", false),
        (Some("10.0.0.1/32"), "10.0.0.1", true),
        (Some("10.0.0.0/32"), "10.0.0.1", false),
        (Some("0.0.0.0/0"), "10.0.0.1", true),
        (Some("10.0.0.0/33"), "10.0.0.1", false),
        (Some("10.0.0.0/-1"), "10.0.0.1", false),
        (Some("10.0.0.0/"), "10.0.0.1", false),
        (Some("/24"), "10.0.0.1", false),
        (Some("somewhere"), "10.0.0.1", false),
        (Some("10.0.0.0/24"), "nowhere", false),
        (Some("fd00::/8"), "fd12::1", true),
        (Some("fd00::/8"), "fe80::1", false),
        (Some("::/0"), "fe80::1", true),
        (Some("fd00::/129"), "fd00::1", false),
        (Some("::/0"), "10.0.0.1", false),
        (Some("0.0.0.0/0"), "::1", false),
    ];
    for (wanted, own, expected) in cases {
        assert_eq!(need_at(wanted).is_for(own), expected, "{wanted:?} {own}");
    }
}

#[test]
fn time_stops_at_its_ends() {
    assert_eq!(Timestamp(u64::MAX - 1).plus(5), Timestamp(u64::MAX));
    assert_eq!(Timestamp(3).since(Timestamp(5)), 0);
    assert_eq!(Timestamp(5).since(Timestamp(3)), 2);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn no_policy_and_no_number_of_failures_is_too_much(
        (delay, delay_most, stable_after) in any::<(u64, u64, u64)>(),
        (attempts, jitter) in any::<(u32, u16)>(),
        (failures, approved, entropy) in any::<(u32, bool, u32)>(),
    ) {
        let policy = RestartPolicy { delay, delay_most, stable_after, attempts, jitter };
        if let Some(pause) = pause(policy.decide(failures, approved, entropy)) {
            prop_assert!(pause <= delay_most.saturating_mul(2));
        }
    }

    #[test]
    fn no_text_is_too_much_for_an_address(wanted in ".*", own in ".*") {
        let _ = need_at(Some(&wanted)).is_for(&own);
    }

    #[test]
    fn a_network_contains_those_who_share_its_first_bits(
        base in any::<u32>(),
        own in any::<u32>(),
        bits in 0_u32..=32,
    ) {
        let text = |address: u32| std::net::Ipv4Addr::from(address).to_string();
        let network = format!("{}/{bits}", text(base));
        let shared = (base ^ own).leading_zeros() >= bits;
        prop_assert_eq!(need_at(Some(&network)).is_for(&text(own)), shared);
    }
}
