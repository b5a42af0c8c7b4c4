//! The master's end of a child's channel, played against the recordings of the child's.

use std::collections::BTreeMap;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_sessions::child::{Output, Session};
use allexmaster_state::Pid;
use serde_json::{Value, json};

use super::recording;

/// What a child says in a recording, by its process number, with the master's introduction of it.
struct Child {
    master: u32,
    says: Vec<Value>,
}

fn children(name: &str) -> BTreeMap<u32, Child> {
    let mut children: BTreeMap<u32, Child> = BTreeMap::new();
    for line in recording(name) {
        let connection = line["conn"].as_str().unwrap_or_default();
        let Some(pid) = connection
            .strip_prefix("ipc:")
            .and_then(|pid| pid.parse().ok())
        else {
            continue;
        };
        let master = u32::try_from(line["pid"].as_u64().unwrap()).unwrap();
        let child = children.entry(pid).or_insert(Child {
            master,
            says: Vec::new(),
        });
        if line["dir"] == "in" {
            child.says.push(line["frame"].clone());
        }
    }
    children
}

/// Plays a child to a session; the names of calls are those that the session gives.
fn play(pid: u32, child: &Child) -> Vec<Output> {
    let mut session = Session::new(0, CarrierKind::Ipc, Pid(child.master), Pid(pid));
    let own = child.master.to_string();
    let mut introduction = None;
    let mut news = Vec::new();
    for frame in &child.says {
        let mut frame = frame.clone();
        if frame[0] == "r" && frame[2]["session"].as_str() == Some(own.as_str()) {
            frame[1] = introduction
                .clone()
                .expect("the session has introduced itself");
        }
        session.receive(1, &frame.to_string());
        while let Some(text) = session.poll_transmit() {
            let sent: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(sent[1], json!([child.master.to_string(), null]), "{sent}");
            introduction = Some(sent[0].clone());
        }
        news.extend(std::iter::from_fn(|| session.poll_output()));
    }
    session.closed(CloseReason::ByPeer);
    news.extend(std::iter::from_fn(|| session.poll_output()));
    news
}

#[test]
fn every_recorded_child_is_introduced_once_it_is_there() {
    for name in [
        "child-ipc-master-side.jsonl",
        "child-ipc-deaths-and-throws.jsonl",
    ] {
        let mut introduced = 0;
        for (pid, child) in children(name) {
            let news = play(pid, &child);
            let count = news
                .iter()
                .filter(|news| matches!(news, Output::Introduced { .. }))
                .count();
            let answered = child.says.iter().any(|frame| frame[0] == "r");
            assert_eq!(
                count,
                usize::from(answered),
                "{name}: child {pid}: {news:?}"
            );
            introduced += count;
        }
        assert!(introduced > 1, "{name} has children");
    }
}

#[test]
fn a_service_that_ends_says_that_it_is_closed_and_then_counts_as_failed() {
    let mut closed = 0;
    for (pid, child) in children("child-ipc-deaths-and-throws.jsonl") {
        let is_dead = |frame: &Value| frame[0] == "oob" && frame[1][1] == "-";
        let news = play(pid, &child);
        let told: Vec<String> = news
            .iter()
            .filter_map(|news| match news {
                Output::Column { name, value } => Some(format!("{name}: {value}")),
                Output::Failed(reason) => Some(reason.clone()),
                Output::Introduced { .. }
                | Output::SubConnected { .. }
                | Output::Frame { .. }
                | Output::SessionEnded(_) => None,
            })
            .collect();
        if child.says.iter().any(is_dead) {
            assert_eq!(
                told.last().map(String::as_str),
                Some("its service has ended"),
                "{pid}"
            );
            closed += usize::from(told.len() > 1 && told[0] == "closed: true");
        }
    }
    assert!(closed > 0, "the recording has such a child");
}

#[test]
fn only_the_childs_own_word_counts_and_only_once() {
    let mut session = Session::new(0, CarrierKind::Ipc, Pid(1), Pid(2));
    for said in [
        r#"{"child_init":3}"#,
        r#"{"hello":1}"#,
        "nonsense",
        r#"["oob",["1","s",{}]]"#,
    ] {
        session.receive(1, said);
        assert_eq!(session.poll_transmit(), None, "{said}");
        if session.is_closed() {
            session = Session::new(0, CarrierKind::Ipc, Pid(1), Pid(2));
        }
    }
    session.receive(2, r#"{"child_init":2}"#);
    assert!(session.poll_transmit().is_some());
    session.receive(3, r#"{"child_init":2}"#);
    assert_eq!(session.poll_transmit(), None);
}

#[test]
fn a_child_that_does_not_let_its_master_in_has_failed() {
    let mut session = Session::new(0, CarrierKind::Ipc, Pid(1), Pid(2));
    session.receive(0, r#"{"child_init":2}"#);
    let due = session
        .poll_timeout()
        .expect("the introduction has its time");
    session.handle_timeout(due);
    let news: Vec<Output> = std::iter::from_fn(|| session.poll_output()).collect();
    assert!(matches!(news.as_slice(), [Output::Failed(_)]), "{news:?}");
}

#[test]
fn a_child_that_opened_a_socket_is_introduced_at_once() {
    let mut session = Session::new(0, CarrierKind::Socket, Pid(1), Pid(2));
    let sent: Value = serde_json::from_str(&session.poll_transmit().unwrap()).unwrap();
    assert_eq!(sent[1], json!(["1", null]));
    let id = sent[0].clone();
    let answer = json!(["r", id, {"session": "1", "role": "service", "modulename": "Hello"}]);
    session.receive(1, &answer.to_string());
    let news = session.poll_output();
    assert!(matches!(news, Some(Output::Introduced { modulename }) if modulename == "Hello"));
    session.closed(CloseReason::ByPeer);
    assert!(matches!(session.poll_output(), Some(Output::Failed(_))));
}
