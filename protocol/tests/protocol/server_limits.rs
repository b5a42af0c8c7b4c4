//! Keep-alive, reservations and the bounds of the server end; and client and server together.

use std::collections::BTreeMap;

use allexmaster_protocol::client::{
    CALL_PATIENCE_MS, CallError, Client, ClientEvent, ClientOptions, MAX_EARLY_ITEMS, Patience,
    address_credentials, reserved_session,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{RemoteError, SessionId, Target};
use allexmaster_protocol::server::{
    ConnectionId, Event, Grant, MAX_OPEN_CALLS_PER_CONNECTION, MAX_QUERIES_PER_CONNECTION,
    MAX_SESSIONS_PER_CONNECTION, MAX_UNINTELLIGIBLE_TEXTS, Output, Peer, RESERVATION_MS, Server,
    ServerOptions, ServiceId, SessionEnd, TableId, Token,
};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::{RowKey, TableDescription};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decoders::{cases, values};

const INTRODUCTION: &str = r#"["m1",[null,{"ip":{"name":"x","role":"user"}}]]"#;

/// A server that grants everything at once, and what it said.
struct Pair {
    server: Server,
    connection: ConnectionId,
    table: TableId,
    said: Vec<String>,
    events: Vec<Event>,
    closed: Option<CloseReason>,
}

impl Pair {
    fn new(carrier: CarrierKind) -> Self {
        let mut server = Server::new(ServerOptions {
            identifier_prefix: "s".to_owned(),
        });
        let table = server.add_table(TableDescription {
            key: vec!["k".to_owned()],
            visible_fields: BTreeMap::from([(
                "user".to_owned(),
                vec!["k".to_owned(), "a".to_owned()],
            )]),
            named_filters: BTreeMap::new(),
        });
        let connection = server.open(0, carrier, Peer::default()).unwrap();
        Self {
            server,
            connection,
            table,
            said: vec![],
            events: vec![],
            closed: None,
        }
    }

    fn grant(&self) -> Grant {
        Grant {
            service: ServiceId(7),
            modulename: "allex_testservice".to_owned(),
            role: "user".to_owned(),
            name: json!("x"),
            state: vec![],
            table: Some(self.table),
        }
    }

    fn receive(&mut self, now: u64, text: &str) {
        self.server.receive(now, self.connection, text);
        self.settle(now);
    }

    fn wait_until(&mut self, now: u64) {
        while let Some(deadline) = self
            .server
            .poll_timeout()
            .filter(|deadline| *deadline <= now)
        {
            self.server.handle_timeout(deadline);
            self.settle(deadline);
        }
    }

    /// Grants sessions, keeps calls, until there is nothing left to do.
    fn settle(&mut self, now: u64) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { text, .. } => self.said.push(text),
                Output::Close { reason, .. } => self.closed = Some(reason),
                Output::Event(event) => {
                    if let Event::Introduce { token, .. } | Event::SubConnect { token, .. } = &event
                    {
                        self.server.accept(now, *token, self.grant());
                    }
                    self.events.push(event);
                }
            }
        }
    }

    fn introduce(&mut self) -> String {
        self.receive(0, INTRODUCTION);
        let answer: Value = serde_json::from_str(self.said.last().unwrap()).unwrap();
        answer[2]["session"].as_str().unwrap().to_owned()
    }

    fn reserve(&mut self, now: u64, session: &str) -> String {
        self.receive(
            now,
            &json!(["m2", [session, null], ["!", ["subConnect", ["part", {}]]]]).to_string(),
        );
        let answer: Value = serde_json::from_str(self.said.last().unwrap()).unwrap();
        answer[2]["introduce"]["session"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn last_token(&self) -> Token {
        let Some(Event::Call { token, .. }) = self.events.last() else {
            panic!("not a call: {:?}", self.events.last());
        };
        *token
    }
}

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
        Patience::Unlimited,
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
    client.handle_timeout(CALL_PATIENCE_MS);
    client.handle_timeout(20_001);
    let events: Vec<ClientEvent> = std::iter::from_fn(|| client.poll_event()).collect();
    let reason = CloseReason::Silent { seconds: 20 };
    let ended = |call, session| ClientEvent::Answered {
        call,
        session,
        outcome: Err(CallError::ConnectionEnded(reason.clone())),
    };
    let timed_out = CallError::TimedOut {
        milliseconds: CALL_PATIENCE_MS,
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
                            Patience::default(),
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

fn client(carrier: CarrierKind) -> Client {
    Client::new(
        0,
        ClientOptions {
            carrier,
            identifier_prefix: "m".to_owned(),
        },
    )
}
