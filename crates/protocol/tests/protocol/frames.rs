//! The main frames as they stand on the wire, for people to read.

use std::fmt::Write;

use allexmaster_protocol::client::{address_credentials, same_machine_credentials};
use allexmaster_protocol::filter::Filter;
use allexmaster_protocol::frame::{
    ClientFrame, FrameError, OutOfBand, RemoteError, ServerFrame, Target,
};
use allexmaster_protocol::framing::signalr;
use allexmaster_protocol::state_stream::{StateItem, StateTree};
use allexmaster_protocol::table::DataEvent;
use serde_json::{Value, json};

/// Compares with `snapshots/protocol__<name>.snap`.
#[track_caller]
pub(crate) fn assert_snapshot(name: &str, content: impl AsRef<str>) {
    allexmaster_testkit::assert_snapshot(&format!("protocol__{name}"), content.as_ref());
}

#[test]
fn the_main_frames_of_a_client_are_written_as_javascript_expects() {
    let call = |target, method: &str, arguments| ClientFrame::Call {
        id: "m000002".into(),
        session: "s000001".into(),
        target,
        method: method.to_owned(),
        arguments: Some(arguments),
    };
    let frames = [
        (
            "introduce to a LanManager",
            introduce(None, address_credentials("any_name", "user")),
        ),
        (
            "introduce on a Unix socket",
            introduce(None, same_machine_credentials(4711, "service")),
        ),
        (
            "claim a reserved session",
            introduce(Some("s000002"), Value::Null),
        ),
        (
            "ask for a subservice",
            call(
                Target::Session,
                "subConnect",
                vec![json!("needs"), json!({"role": "user"})],
            ),
        ),
        (
            "confirm a reservation",
            call(Target::Session, "confirmReservation", vec![]),
        ),
        (
            "open a query",
            call(
                Target::Session,
                "query",
                vec![json!({"continuous": true, "filter": "*"})],
            ),
        ),
        (
            "call a method of the user",
            call(Target::User, "notifyServiceDown", vec![json!("Time")]),
        ),
        (
            "ping",
            ClientFrame::Ping {
                stamp: json!(12_345),
            },
        ),
        (
            "pong",
            ClientFrame::Pong {
                stamp: json!(12_345),
            },
        ),
    ];
    let mut report = String::new();
    for (what, frame) in frames {
        writeln!(report, "{what}\n    {}", frame.clone().into_text()).unwrap();
        assert_eq!(
            ClientFrame::from_text(&frame.clone().into_text()),
            Ok(frame)
        );
    }
    assert_snapshot("client_frames", report);
}

#[test]
fn the_main_frames_of_a_server_are_written_as_javascript_expects() {
    let mut report = String::new();
    for (what, frame) in answers().into_iter().chain(out_of_band()).chain(others()) {
        writeln!(report, "{what}\n    {}", frame.clone().into_text()).unwrap();
        assert_eq!(
            ServerFrame::from_text(&frame.clone().into_text()),
            Ok(frame)
        );
    }
    assert_snapshot("server_frames", report);
}

#[test]
fn the_events_of_a_data_stream_are_written_as_javascript_expects() {
    let row = || {
        json!({"instancename": "Time", "pid": null})
            .as_object()
            .unwrap()
            .clone()
    };
    let time = || Filter::equal("instancename", "Time");
    let events = [
        DataEvent::Opened {
            query: "q000001".to_owned(),
        },
        DataEvent::ReadBegins {
            reading: "q000002".to_owned(),
        },
        DataEvent::ReadOne {
            reading: "q000002".to_owned(),
            row: row(),
        },
        DataEvent::ReadEnds {
            reading: "q000002".to_owned(),
        },
        DataEvent::Created { row: row() },
        DataEvent::Updated {
            filter: time(),
            fields: row(),
        },
        DataEvent::Replaced {
            new: row(),
            old: row(),
        },
        DataEvent::Deleted { filter: time() },
        DataEvent::Deleted {
            filter: Filter::All,
        },
    ];
    let mut report = String::new();
    for event in events {
        let value = event.into_value();
        writeln!(report, "{value}").unwrap();
        assert_eq!(
            DataEvent::from_value(value.clone()).unwrap().into_value(),
            value
        );
    }
    assert_snapshot("data_events", report);
}

#[test]
fn the_signalr_records_are_written_as_javascript_expects() {
    let from_server = [r#"["r","m1",1]"#, r#"["!",7]"#].map(signalr::encode_at_server);
    let report = [
        signalr::handshake_request(),
        signalr::handshake_answer(),
        signalr::hub_ping(),
        signalr::encode_at_client(r#"["m1",[null,{}]]"#),
        from_server.concat(),
        signalr::negotiation(1),
    ]
    .join("\n")
    .replace('\u{1e}', "<RS>");
    assert_snapshot("signalr_records", report);
}

#[test]
fn what_is_no_frame_comes_back_whole() {
    let strangers = [
        json!("string"),
        json!(7),
        json!(null),
        json!({}),
        json!([]),
        json!([1]),
        json!(["m1"]),
        json!(["m1", []]),
        json!(["m1", ["s", null, 1]]),
        json!(["m1", [7, null]]),
        json!([7, ["s", null]]),
        json!(["m1", ["s", null], [".", "x"]]),
        json!(["m1", [null, null], [".", ["x", []]]]),
        json!(["m1", ["s", null], [".", ["x", {"a": 1}]]]),
        json!(["m1", ["s", null], [".", ["x", []]], 4]),
        json!(["?", 1, 2]),
    ];
    for value in strangers {
        assert_eq!(
            ClientFrame::from_value(value.clone()),
            Err(FrameError::Unrecognised {
                value: value.clone()
            })
        );
        assert_eq!(
            ServerFrame::from_value(value.clone()),
            Err(FrameError::Unrecognised { value })
        );
    }
    assert!(matches!(
        ClientFrame::from_text("not json"),
        Err(FrameError::NotJson { .. })
    ));
    assert!(matches!(
        ServerFrame::from_text(&"[".repeat(100_000)),
        Err(FrameError::NotJson { .. })
    ));
}

#[test]
fn a_state_tree_follows_its_items_and_can_be_told_again() {
    let mut tree = StateTree::default();
    let path = |steps: &[&str]| {
        steps
            .iter()
            .map(|step| (*step).to_owned())
            .collect::<Vec<_>>()
    };
    let items = [
        StateItem::set("name", json!("127.0.0.1")),
        StateItem::NewCollection {
            path: path(&["services"]),
        },
        StateItem::Set {
            path: path(&["services", "Time"]),
            value: json!(1),
        },
        StateItem::Update {
            path: path(&["services", "Time"]),
            new: json!(2),
            old: json!(1),
        },
        StateItem::Set {
            path: path(&["services", "Other"]),
            value: json!(3),
        },
        StateItem::Remove {
            path: path(&["services", "Other"]),
            last: json!(3),
        },
    ];
    for item in items {
        tree.apply(item).unwrap();
    }
    assert_eq!(
        tree.to_value(),
        json!({"name": "127.0.0.1", "services": {"Time": 2}})
    );
    assert_eq!(tree.get(&["services", "Time"]), Some(&json!(2)));
    assert_eq!(tree.get(&["services"]), None);

    let mut again = StateTree::default();
    for item in tree.items() {
        again.apply(item).unwrap();
    }
    assert_eq!(again, tree);

    tree.apply(StateItem::RemoveCollection {
        path: path(&["services"]),
    })
    .unwrap();
    assert_eq!(tree.to_value(), json!({"name": "127.0.0.1"}));
    assert!(
        tree.apply(StateItem::Set {
            path: path(&["name", "inside"]),
            value: json!(1)
        })
        .is_err()
    );
    assert!(
        tree.apply(StateItem::Set {
            path: vec![],
            value: json!(1)
        })
        .is_err()
    );
    assert!(
        tree.apply(StateItem::Set {
            path: vec!["deep".to_owned(); 1_000],
            value: json!(1)
        })
        .is_err()
    );
}

fn introduce(session: Option<&str>, credentials: Value) -> ClientFrame {
    ClientFrame::Introduce {
        id: "m000001".into(),
        session: session.map(Into::into),
        credentials,
    }
}

fn failure(error: RemoteError) -> ServerFrame {
    ServerFrame::Failure {
        id: "m000001".into(),
        error,
    }
}

fn answers() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "result",
            ServerFrame::Result {
                id: "m000001".into(),
                value: json!({"session": "s000001"}),
            },
        ),
        ("failure", failure(RemoteError::no_ports_reachable())),
        ("failure without a reason", failure(RemoteError::default())),
        (
            "failure: no such method",
            failure(RemoteError::method_does_not_exist("fly")),
        ),
        (
            "failure: not executable",
            failure(RemoteError::method_not_executable("onChildDied")),
        ),
        (
            "failure: argument",
            failure(RemoteError::wrong_argument(
                "Service instancename:  is not of a type(s) string",
            )),
        ),
        (
            "progress",
            ServerFrame::Progress {
                id: "m000001".into(),
                data: json!(["i", "q000001"]),
            },
        ),
    ]
}

fn out_of_band() -> Vec<(&'static str, ServerFrame)> {
    let oob = |item| ServerFrame::OutOfBand {
        session: "s000001".into(),
        item,
    };
    let path = || vec!["services".to_owned(), "Time".to_owned()];
    vec![
        (
            "state: scalar created",
            oob(OutOfBand::State(StateItem::set("haveneeds", json!(true)))),
        ),
        (
            "state: scalar updated",
            oob(OutOfBand::State(StateItem::Update {
                path: path(),
                new: json!(2),
                old: json!(1),
            })),
        ),
        (
            "state: scalar removed",
            oob(OutOfBand::State(StateItem::Remove {
                path: path(),
                last: json!(2),
            })),
        ),
        (
            "state: collection created",
            oob(OutOfBand::State(StateItem::NewCollection { path: path() })),
        ),
        (
            "state: collection removed",
            oob(OutOfBand::State(StateItem::RemoveCollection {
                path: path(),
            })),
        ),
        ("session is dead", oob(OutOfBand::Dead)),
        (
            "exclusivity",
            oob(OutOfBand::Exclusivity(json!([
                "SESSION_ALREADY_EXISTS",
                "text"
            ]))),
        ),
    ]
}

fn others() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "forget",
            ServerFrame::Forget {
                request: json!(["m000001", ["nosuchsession", null]]),
            },
        ),
        (
            "ping",
            ServerFrame::Ping {
                stamp: json!(12_345),
            },
        ),
        (
            "pong",
            ServerFrame::Pong {
                stamp: json!(12_345),
            },
        ),
        (
            "chunk",
            ServerFrame::Chunk {
                remaining: 3,
                chunk: "[[\"r\"".to_owned(),
            },
        ),
        (
            "authentication failed",
            ServerFrame::AuthenticationFailed {
                error: RemoteError::default(),
            },
        ),
        ("child is ready", ServerFrame::ChildReady { process: 4711 }),
        (
            "child failed",
            ServerFrame::ChildFailed {
                error: RemoteError::new("MODULE_NOT_FOUND", "Cannot find module"),
            },
        ),
    ]
}
