//! The server end: keep-alive, reservations, open calls, queries, and the bounds.

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{RemoteError, SessionId};
use allexmaster_protocol::server::{
    Event, MAX_OPEN_CALLS_PER_CONNECTION, MAX_QUERIES_PER_CONNECTION, MAX_SESSIONS_PER_CONNECTION,
    MAX_UNINTELLIGIBLE_TEXTS, Peer, RESERVATION_MS, ServiceId, SessionEnd,
};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::RowKey;
use serde_json::{Value, json};

use crate::pair::{INTRODUCTION, Pair};

#[test]
fn a_socket_peer_is_cut_twenty_seconds_after_its_last_ping_whatever_else_it_says() {
    let mut pair = Pair::new(CarrierKind::Socket);
    pair.receive(9_000, r#"["?",9000]"#);
    assert_eq!(pair.said, [r#"["!",9000]"#]);
    pair.receive(25_000, INTRODUCTION);
    pair.wait_until(28_999);
    assert_eq!(pair.closed, None);
    pair.wait_until(29_000);
    assert_eq!(pair.closed, Some(CloseReason::Silent { seconds: 20 }));
    let ends: Vec<_> = pair.events[1..].to_vec();
    assert!(matches!(
        ends[0],
        Event::SessionEnded {
            reason: SessionEnd::ConnectionEnded,
            ..
        }
    ));
    assert!(matches!(ends[1], Event::ConnectionEnded { .. }));
    assert_eq!(
        (
            pair.server.connection_count(),
            pair.server.session_count(),
            pair.server.poll_timeout()
        ),
        (0, 0, None)
    );
}

#[test]
fn a_web_socket_peer_lives_by_anything_it_says_and_a_child_without_a_word() {
    let mut pair = Pair::new(CarrierKind::WebSocket);
    pair.receive(19_000, INTRODUCTION);
    pair.wait_until(38_999);
    assert_eq!(pair.closed, None);
    pair.server.traffic(38_999, pair.connection);
    pair.wait_until(58_998);
    assert_eq!(pair.closed, None);
    pair.wait_until(58_999);
    assert!(pair.closed.is_some());

    let mut child = Pair::new(CarrierKind::Ipc);
    child.wait_until(1_000_000);
    assert_eq!((child.closed, child.server.poll_timeout()), (None, None));
}

#[test]
fn a_signalr_peer_is_pinged_every_ten_seconds_and_cut_when_it_does_not_answer() {
    let mut pair = Pair::new(CarrierKind::SignalR);
    pair.wait_until(10_000);
    pair.receive(10_001, r#"["!",10000]"#);
    pair.wait_until(30_000);
    assert_eq!(
        pair.said,
        [r#"["?",10000]"#, r#"["?",20000]"#, r#"["?",30000]"#]
    );
    pair.wait_until(30_001);
    assert_eq!(pair.closed, Some(CloseReason::Silent { seconds: 20 }));
}

#[test]
fn sockets_answer_null_where_web_sockets_forget() {
    for (carrier, expected) in [
        (CarrierKind::Socket, r#"["r","m1",null]"#),
        (CarrierKind::Ipc, r#"["r","m1",null]"#),
        (CarrierKind::WebSocket, r#"["f",["m1",["gone",null]]]"#),
        (CarrierKind::SignalR, r#"["f",["m1",["gone",null]]]"#),
    ] {
        let mut pair = Pair::new(carrier);
        pair.receive(0, r#"["m1",["gone",null]]"#);
        assert_eq!(pair.said, [expected]);
    }
}

#[test]
fn a_reservation_is_claimed_within_ten_minutes_or_dropped_and_only_on_its_own_connection() {
    let mut pair = Pair::new(CarrierKind::Ipc);
    let root = pair.introduce();
    let kept = pair.reserve(0, &root);
    let dropped = pair.reserve(0, &root);
    let other = pair
        .server
        .open(0, CarrierKind::WebSocket, Peer::default())
        .unwrap();
    let claim = json!(["m3", [kept, null]]).to_string();
    pair.server.receive(1, other, &claim);
    pair.settle(1);
    assert!(pair.said.last().unwrap().starts_with(r#"["f","#));
    pair.server.closed(other, CloseReason::ByPeer);

    pair.server.push_state(
        &SessionId::from(kept.as_str()),
        StateItem::set("early", json!(1)),
    );
    pair.receive(RESERVATION_MS - 1, &claim);
    assert!(
        pair.said[pair.said.len() - 2].contains("early"),
        "state that came before the claim waits for it"
    );
    pair.wait_until(RESERVATION_MS);
    let expired = Event::SessionEnded {
        session: SessionId::from(dropped),
        service: ServiceId(7),
        connection: pair.connection,
        reason: SessionEnd::ReservationExpired,
    };
    assert_eq!(pair.events.last(), Some(&expired));
    assert_eq!(pair.server.session_count(), 2);
}

#[test]
fn a_peer_that_opens_a_hundred_thousand_sessions_is_cut_and_the_others_go_on() {
    let mut pair = Pair::new(CarrierKind::WebSocket);
    let other = pair
        .server
        .open(0, CarrierKind::WebSocket, Peer::default())
        .unwrap();
    let opened = (0..100_000).take_while(|_| {
        pair.receive(0, INTRODUCTION);
        pair.said.clear();
        pair.events.clear();
        pair.closed.is_none()
    });
    assert_eq!(opened.count(), MAX_SESSIONS_PER_CONNECTION);
    assert_eq!(
        pair.closed,
        Some(CloseReason::TooManySessions {
            limit: MAX_SESSIONS_PER_CONNECTION
        })
    );
    assert_eq!(
        (pair.server.connection_count(), pair.server.session_count()),
        (1, 0)
    );
    pair.server.receive(0, other, INTRODUCTION);
    pair.settle(0);
    assert_eq!(pair.server.session_count(), 1);
}

#[test]
fn a_peer_that_leaves_too_many_calls_or_queries_open_is_cut() {
    let mut pair = Pair::new(CarrierKind::WebSocket);
    let session = pair.introduce();
    let call = json!(["m", [session, null], [".", ["wait", []]]]).to_string();
    for _ in 0..=MAX_OPEN_CALLS_PER_CONNECTION {
        pair.receive(0, &call);
    }
    assert_eq!(
        pair.closed,
        Some(CloseReason::TooManyCalls {
            limit: MAX_OPEN_CALLS_PER_CONNECTION
        })
    );

    let mut pair = Pair::new(CarrierKind::WebSocket);
    let session = pair.introduce();
    let query = json!(["m", [session, null], ["!", ["query", [{"continuous": true}]]]]).to_string();
    for _ in 0..=MAX_QUERIES_PER_CONNECTION {
        pair.receive(0, &query);
    }
    assert_eq!(
        pair.closed,
        Some(CloseReason::TooManyQueries {
            limit: MAX_QUERIES_PER_CONNECTION
        })
    );
}

#[test]
fn garbage_cuts_a_socket_at_once_and_a_web_socket_after_a_while() {
    let mut pair = Pair::new(CarrierKind::Socket);
    pair.receive(0, "garbage");
    assert!(matches!(pair.closed, Some(CloseReason::Frame(_))));
    let mut pair = Pair::new(CarrierKind::WebSocket);
    for _ in 0..MAX_UNINTELLIGIBLE_TEXTS {
        pair.receive(0, "garbage");
    }
    assert_eq!(pair.closed, None);
    pair.receive(0, "garbage");
    assert!(matches!(pair.closed, Some(CloseReason::Frame(_))));
}

#[test]
fn a_call_may_be_answered_much_later_once_and_not_after_its_session() {
    let mut pair = Pair::new(CarrierKind::Ipc);
    let session = pair.introduce();
    let call = |id: &str| json!([id, [session, null], ["!", ["bid", [1]]]]).to_string();
    pair.receive(0, &call("m5"));
    let first = pair.last_token();
    pair.receive(0, &call("m6"));
    let second = pair.last_token();
    pair.said.clear();
    assert!(pair.server.is_pending(first));
    pair.server
        .answer(first, Err(RemoteError::no_ports_reachable()));
    pair.server.answer(first, Ok(json!(1)));
    pair.server.kill(&SessionId::from(session.as_str()));
    pair.server.answer(second, Ok(json!(2)));
    pair.settle(0);
    let dead = json!(["oob", [session, "-", true]]).to_string();
    assert_eq!(
        pair.said,
        [
            r#"["e","m5",{"code":"NO_PORTS_REACHABLE","message":""}]"#,
            &dead
        ]
    );
    assert!(!pair.server.is_pending(second));
}

#[test]
fn a_continuous_query_is_told_changes_until_it_is_closed() {
    let mut pair = Pair::new(CarrierKind::Ipc);
    let session = pair.introduce();
    let call = |id: &str, method: &str, argument: Value| {
        json!([id, [session, null], ["!", [method, [argument]]]]).to_string()
    };
    pair.said.clear();
    pair.receive(0, &call("m5", "query", json!({"continuous": true})));
    let opened: Value = serde_json::from_str(&pair.said[0]).unwrap();
    pair.server.put_row(
        pair.table,
        json!({"k": "Time", "a": 1, "hidden": 2})
            .as_object()
            .unwrap()
            .clone(),
    );
    pair.settle(0);
    assert_eq!(
        pair.said.last().unwrap(),
        r#"["n","m5",["c",{"a":1,"k":"Time"}]]"#
    );
    pair.said.clear();
    pair.receive(0, &call("m6", "closeQuery", opened[2][1].clone()));
    pair.server.remove_row(pair.table, &RowKey::of_text("Time"));
    pair.settle(0);
    assert_eq!(pair.said, [r#"["r","m5",true]"#, r#"["r","m6",true]"#]);
    pair.said.clear();
    pair.receive(0, &call("m7", "query", json!({"filter": {"op": "like"}})));
    assert!(
        pair.said[0]
            .starts_with(r#"["e","m7",{"code":"the filter operation \"like\" is not known"#)
    );
}
