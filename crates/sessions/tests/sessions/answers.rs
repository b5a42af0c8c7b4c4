//! What a framing answers by itself leaves at once, not with the next text.

use allexmaster_sessions::{
    Endpoint, Front, FrontIdentity, Input, LanProtocol, LineName, Mark, Output,
};
use allexmaster_state::{Connection, Pid, SessionEffect};

const CONNECTION: Connection = Connection(1);

/// A front that has reached a LanManager, with nothing left to send.
fn reached(protocol: LanProtocol) -> (Front, LineName) {
    let identity = FrontIdentity {
        journal: "j".to_owned(),
        master: Pid(1),
        prefix: "m".to_owned(),
    };
    let line = LineName("lan.1".to_owned());
    let mut front = Front::new(identity, 0);
    let dial = SessionEffect::Dial {
        connection: CONNECTION,
        failures: 0,
    };
    front.handle(
        0,
        Input::Journaled {
            sequence: 1,
            heard: 0,
            effects: vec![dial],
        },
    );
    let endpoint = Endpoint {
        protocol,
        host: "127.0.0.1".to_owned(),
        port: 1,
    };
    let dialed = Input::Dialed {
        line: line.clone(),
        connection: CONNECTION,
        endpoint,
        seed: [7; 32],
    };
    front.handle(0, dialed);
    sent(&mut front, &line);
    (front, line)
}

/// What is to be sent, and whether somebody was told so.
fn sent(front: &mut Front, line: &LineName) -> (usize, bool) {
    let mut told = false;
    while let Some(output) = front.poll() {
        told |= matches!(output, Output::Write(of) if of == *line);
    }
    let mut count = 0;
    while let Some((bytes, end)) = front.chunk(line, 1_024) {
        count += bytes.len();
        front.mark(line, Mark::Taken(end));
    }
    (count, told)
}

#[test]
fn a_ping_is_answered_at_once() {
    let (mut front, line) = reached(LanProtocol::Ws);
    front.receive(1, &line, &[0x89, 0]);
    // A masked pong without a body.
    assert_eq!(sent(&mut front, &line), (6, true));
}

#[test]
fn what_waits_for_a_handshake_leaves_when_that_is_answered() {
    let (mut front, line) = reached(LanProtocol::SignalR);
    front.receive(1, &line, b"\x81\x03{}\x1e");
    let (count, told) = sent(&mut front, &line);
    assert!(told && count > 50, "the introduction: {count} bytes");
}
