//! The client end: deadlines, keep-alive, bounds; and both ends together.

use allexmaster_protocol::client::{
    CALL_TIMEOUT_MS, CallError, ClientEvent, MAX_EARLY_ITEMS, Timeout, address_credentials,
    reserved_session,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{RemoteError, Target};
use proptest::prelude::*;
use serde_json::json;

use crate::decoders::{cases, values};
use crate::pair::{Pair, client};

#[test]
fn a_client_pings_gives_up_silent_servers_and_answers_every_call() {
    let mut client = client(CarrierKind::WebSocket);
    let introduction = client.introduce(0, address_credentials("any_name", "user"));
    let query = client.query(0, &"s1".into(), json!({}));
    let bid = client.call(
        0,
        &"s1".into(),
        Target::Session,
        "bid",
        vec![],
        Timeout::Unlimited,
    );
    client.receive(1, r#"["n","m000002",["i","q1"]]"#);
    assert_eq!(client.poll_timeout(), Some(10_000));
    client.handle_timeout(10_000);
    assert_eq!(
        std::iter::from_fn(|| client.poll_transmit())
            .last()
            .unwrap(),
        r#"["?",10000]"#
    );
    client.handle_timeout(CALL_TIMEOUT_MS);
    client.handle_timeout(20_001);
    let events: Vec<ClientEvent> = std::iter::from_fn(|| client.poll_event()).collect();
    let reason = CloseReason::Silent { seconds: 20 };
    let ended = |call, session| ClientEvent::Answered {
        call,
        session,
        outcome: Err(CallError::ConnectionEnded(reason.clone())),
    };
    let timed_out = CallError::TimedOut {
        milliseconds: CALL_TIMEOUT_MS,
    };
    assert_eq!(
        events[1..],
        [
            ClientEvent::Answered {
                call: introduction,
                session: None,
                outcome: Err(timed_out)
            },
            ended(query, Some("s1".into())),
            ended(bid, Some("s1".into())),
            ClientEvent::Closed {
                reason: reason.clone()
            },
        ]
    );
    assert_eq!(
        (
            client.open_call_count(),
            client.poll_timeout(),
            client.is_closed()
        ),
        (0, None, true)
    );
}

#[test]
fn refused_credentials_answer_the_oldest_introduction() {
    let mut client = client(CarrierKind::WebSocket);
    let first = client.introduce(0, json!({}));
    client.introduce(0, json!({}));
    client.receive(0, r#"{"err":{}}"#);
    let refused = ClientEvent::Answered {
        call: first,
        session: None,
        outcome: Err(CallError::AuthenticationFailed),
    };
    assert_eq!(client.poll_event(), Some(refused));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn state_for_sessions_that_never_come_is_bounded() {
    let mut client = client(CarrierKind::WebSocket);
    for number in 0..MAX_EARLY_ITEMS + 1_000 {
        client.receive(
            0,
            &json!(["oob", [format!("s{number}"), "s", {"p": ["a"], "o": "s", "d": number}]])
                .to_string(),
        );
    }
    client.introduce(0, json!({}));
    let newest = MAX_EARLY_ITEMS + 999;
    client.receive(0, &json!(["r", "m000001", {"session": format!("s{newest}"), "role": "user", "modulename": "x"}]).to_string());
    assert!(matches!(
        client.poll_event(),
        Some(ClientEvent::Introduced { .. })
    ));
    assert!(matches!(
        client.poll_event(),
        Some(ClientEvent::State { .. })
    ));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn a_call_on_a_connection_that_has_ended_is_answered_at_once() {
    let mut client = client(CarrierKind::Socket);
    client.closed(CloseReason::ByPeer);
    assert_eq!(
        client.poll_event(),
        Some(ClientEvent::Closed {
            reason: CloseReason::ByPeer
        })
    );
    let ended = || Err(CallError::ConnectionEnded(CloseReason::ByPeer));
    let introduction = client.introduce(1, json!({}));
    let claim = client.claim(1, &"s1".into());
    let call = client.die(1, &"s1".into());
    for (call, session) in [
        (introduction, None),
        (claim, Some("s1".into())),
        (call, Some("s1".into())),
    ] {
        assert_eq!(
            client.poll_event(),
            Some(ClientEvent::Answered {
                call,
                session,
                outcome: ended()
            })
        );
    }
    assert_eq!(
        (
            client.poll_event(),
            client.poll_transmit(),
            client.open_call_count()
        ),
        (None, None, 0)
    );
}

#[test]
fn the_end_of_a_session_is_told_after_the_failure_of_its_calls_and_dying_is_a_success() {
    let mut client = client(CarrierKind::WebSocket);
    client.introduce(0, json!({}));
    client.receive(
        0,
        r#"["r","m000001",{"session":"s1","role":"user","modulename":"x"}]"#,
    );
    client.poll_event();
    let bid = client.call(
        0,
        &"s1".into(),
        Target::Session,
        "bid",
        vec![],
        Timeout::Unlimited,
    );
    let die = client.die(0, &"s1".into());
    client.receive(0, r#"["oob",["s1","-",true]]"#);
    client.receive(0, r#"["r","m000003","dead"]"#);
    let answered = |call, outcome| {
        Some(ClientEvent::Answered {
            call,
            session: Some("s1".into()),
            outcome,
        })
    };
    assert_eq!(
        client.poll_event(),
        answered(bid, Err(CallError::SessionEnded))
    );
    assert_eq!(client.poll_event(), answered(die, Ok(json!("dead"))));
    assert_eq!(
        client.poll_event(),
        Some(ClientEvent::SessionEnded {
            session: "s1".into()
        })
    );
    assert_eq!(client.poll_event(), None);
}

#[test]
fn a_refused_confirmation_ends_the_session_and_null_means_that_a_socket_does_not_know_it() {
    let mut client = client(CarrierKind::Socket);
    let call = client.claim(0, &"s1".into());
    client.receive(
        0,
        r#"["r","m000001",{"session":"s1","role":"user","modulename":"x"}]"#,
    );
    client.receive(0, r#"["e","m000002",{"code":"TOO_LATE"}]"#);
    assert!(
        matches!(client.poll_event(), Some(ClientEvent::Introduced { call: introduced, .. }) if introduced == call)
    );
    assert_eq!(
        client.poll_event(),
        Some(ClientEvent::SessionEnded {
            session: "s1".into()
        })
    );

    let call = client.claim(0, &"s2".into());
    client.receive(0, r#"["r","m000003",null]"#);
    let outcome = Err(CallError::SessionUnknown);
    assert_eq!(
        client.poll_event(),
        Some(ClientEvent::Answered {
            call,
            session: Some("s2".into()),
            outcome
        })
    );
    assert_eq!((client.poll_event(), client.open_call_count()), (None, 0));
    assert_eq!(
        CallError::Remote(RemoteError::default()).to_string(),
        "the service refused the call: the peer gave no reason"
    );
}

#[test]
fn a_thousand_sub_sessions_on_one_connection_are_opened_followed_and_ended() {
    let mut pair = Pair::new(CarrierKind::WebSocket);
    let mut client = client(CarrierKind::WebSocket);
    client.introduce(0, address_credentials("any_name", "user"));
    let mut live = 0;
    let mut ended = 0;
    loop {
        let texts: Vec<String> = std::iter::from_fn(|| client.poll_transmit()).collect();
        if texts.is_empty() {
            break;
        }
        for text in texts {
            pair.receive(0, &text);
        }
        for text in pair.said.drain(..) {
            client.receive(0, &text);
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Introduced { introduction, .. } if live == 0 => {
                    live = 1;
                    for number in 0..1_000 {
                        let name = format!("need{number}");
                        client.sub_connect(
                            0,
                            &introduction.session,
                            &name,
                            json!({}),
                            Timeout::default(),
                        );
                    }
                }
                ClientEvent::Introduced { introduction, .. } => {
                    live += 1;
                    client.query(0, &introduction.session, json!({"continuous": true}));
                    client.die(0, &introduction.session);
                }
                ClientEvent::Answered { outcome, .. } => {
                    if let Some(reserved) = outcome.ok().as_ref().and_then(reserved_session) {
                        client.claim(0, &reserved);
                    }
                }
                ClientEvent::SessionEnded { .. } => ended += 1,
                ClientEvent::Progress { .. } | ClientEvent::State { .. } => {}
                ClientEvent::Exclusivity { .. }
                | ClientEvent::ChildReady { .. }
                | ClientEvent::ChildFailed { .. }
                | ClientEvent::Closed { .. } => panic!("unexpected {event:?}"),
            }
        }
    }
    assert_eq!(
        (
            live,
            ended,
            pair.server.session_count(),
            client.open_call_count()
        ),
        (1_001, 1_000, 1, 0)
    );
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn neither_end_panics_or_keeps_anything_whatever_is_said(
        texts in prop::collection::vec(prop_oneof![
            values().prop_map(|value| value.to_string()),
            "[\\[\\]{}\",a-z0-9]{0,20}",
            (values(), "subConnect|query|closeQuery|read|die|confirmReservation|x", "!|\\.|sub")
                .prop_map(|(value, method, target)| json!(["m9", ["s000003", null], [target, [method, [value]]]]).to_string()),
            values().prop_map(|value| json!(["r", "m000001", value]).to_string()),
            values().prop_map(|value| json!(["oob", ["s1", "s", value]]).to_string()),
        ], 0..40),
    ) {
        for carrier in [CarrierKind::Socket, CarrierKind::WebSocket, CarrierKind::SignalR, CarrierKind::Ipc] {
            let mut pair = Pair::new(carrier);
            pair.introduce();
            let mut client = client(carrier);
            client.introduce(0, json!({}));
            client.claim(0, &"s1".into());
            for (now, text) in texts.iter().enumerate() {
                pair.receive(now as u64, text);
                client.receive(now as u64, text);
            }
            pair.server.closed(pair.connection, CloseReason::ByPeer);
            client.closed(CloseReason::ByPeer);
            pair.settle(0);
            prop_assert_eq!((pair.server.connection_count(), pair.server.session_count()), (0, 0));
            prop_assert_eq!(client.open_call_count(), 0);
            let last = std::iter::from_fn(|| client.poll_event()).last();
            let told_last = matches!(last, Some(ClientEvent::Closed { .. }));
            prop_assert!(told_last);
        }
    }
}
