//! A log that was written when version 3 was made. Every program that calls itself of that version
//! must read it: an engine that is replaced hands its connections to another build.

use std::path::Path;

use allexmaster::sessions::SessionLog;
use allexmaster_sessions::{ChildWire, SESSIONS_VERSION};
use serde_json::json;

use super::torn::{bytes_of, file_of};
use super::world::{TOOL, World, all_of};

/// Its bytes.
const LOG: &[u8] = include_bytes!("data/sessions-3.log");
/// What version it is of.
const LOG_VERSION: u32 = 3;

/// A life in which every kind of conversation is in the middle of something.
fn life() -> World {
    let mut world = World::new();
    let tool = world.accept(0);
    let credentials = json!({"samemachineprocess": {"pid": TOOL, "role": "service"}});
    world.tool_says(&tool, &json!(["a", [null, credentials]]), 8);
    world.send_all();
    let session = world.tools[&tool].session.clone().unwrap();
    let of = json!([session, null]);
    let child = world.open_child("Time", ChildWire::Inherited);
    world.child_says(&child, &json!({"child_init": 2}), 8);
    world.send_all();
    world.child_answers(&child, 8);
    world.dial(false);
    for _ in 0..6 {
        world.pass(10);
        world.send_all();
        world.lan_answers(8);
    }
    // An image in the middle of it.
    world.restart(true);
    for frame in [
        json!(["b", of, ["!", ["query", [{"continuous": true}]]]]),
        json!(["c", of, [".", ["status", []]]]),
        json!(["d", of, [".", ["restart", ["Time"]]]]),
        json!(["e", of, ["!", ["subConnect", ["Time", {"role": "user", "name": "t"}]]]]),
    ] {
        world.tool_says(&tool, &frame, 8);
    }
    world.tool_says(&tool, &json!(["f", of, [".", ["needs", []]]]), 4);
    world.send(&tool, 5, true);
    world
}

#[test]
fn the_log_of_version_3_is_read_for_ever() {
    let ours = life();
    // The log of this program, from where a new version takes its golden one.
    let made =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sessions-{SESSIONS_VERSION}.log"));
    std::fs::write(&made, bytes_of(&ours.log)).unwrap();
    assert_eq!(
        SESSIONS_VERSION,
        LOG_VERSION,
        "a new version wants a golden log of its own: {}",
        made.display()
    );
    let log = SessionLog::open(file_of(LOG)).unwrap();
    let sessions = log.sessions();
    let lines: Vec<String> = sessions
        .connections()
        .iter()
        .map(|(line, _)| line.to_string())
        .collect();
    assert_eq!(lines, ["child.2", "lan.3", "listen.0-0.1"]);
    let children = sessions.children();
    assert_eq!(children.len(), 1);
    let (identity, introduced) = sessions.child(children[0]).unwrap();
    assert!(introduced, "the master has its session with {identity:?}");
    assert_eq!(
        sessions.queries().len(),
        1,
        "the question for the status waits"
    );
    let told: Vec<String> = (0..)
        .map_while(|after| sessions.unacked(sessions.ack().acked + after))
        .map(|(number, event)| {
            let event = serde_json::to_value(event).unwrap();
            format!("{number}: {event}")
        })
        .collect();
    allexmaster_testkit::assert_snapshot("sessions__golden_unacked", &told.join("\n"));
    // What goes on from here is what this program would have said itself.
    for (line, _) in sessions.connections() {
        assert_eq!(
            sessions.chunk(&line, usize::MAX),
            ours.sessions().chunk(&line, usize::MAX),
            "{line}"
        );
    }
    assert_eq!(all_of(sessions), all_of(ours.sessions()));
}
