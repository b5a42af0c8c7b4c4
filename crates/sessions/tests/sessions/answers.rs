//! What a framing answers by itself leaves at once, not with the next text.

use allexmaster_sessions::{
    ConnectionName, Endpoint, Input, LanProtocol, Mark, OutboxAck, Output, Sessions,
    SessionsIdentity,
};
use allexmaster_state::{Connection, Pid, SessionEffect};

const CONNECTION: Connection = Connection(1);

/// A sessions that has reached a LanManager, with nothing left to send.
fn reached(protocol: LanProtocol) -> (Sessions, ConnectionName) {
    let identity = SessionsIdentity {
        journal: "j".to_owned(),
        master: Pid(1),
        prefix: "m".to_owned(),
    };
    let line = ConnectionName("lan.1".to_owned());
    let mut sessions = Sessions::new(identity, 0);
    let dial = SessionEffect::Dial {
        connection: CONNECTION,
        failures: 0,
    };
    sessions.handle(
        0,
        Input::Journaled {
            ack: OutboxAck {
                sequence: 1,
                acked: 0,
            },
            effects: vec![dial],
        },
    );
    let endpoint = Endpoint {
        protocol,
        host: "127.0.0.1".to_owned(),
        port: 1,
    };
    let dialed = Input::Dialed {
        name: line.clone(),
        connection: CONNECTION,
        endpoint,
        seed: [7; 32],
    };
    sessions.handle(0, dialed);
    sent(&mut sessions, &line);
    (sessions, line)
}

/// What is to be sent, and whether somebody was told so.
fn sent(sessions: &mut Sessions, line: &ConnectionName) -> (usize, bool) {
    let mut told = false;
    while let Some(output) = sessions.poll() {
        told |= matches!(output, Output::Write(of) if of == *line);
    }
    let mut count = 0;
    while let Some((bytes, end)) = sessions.chunk(line, 1_024) {
        count += bytes.len();
        let (name, mark) = (line.clone(), Mark::Taken(end));
        sessions.handle(0, Input::Marked { name, mark });
    }
    (count, told)
}

fn receive(sessions: &mut Sessions, line: &ConnectionName, bytes: &[u8]) {
    let (name, bytes) = (line.clone(), bytes.to_vec());
    sessions.handle(1, Input::Received { name, bytes });
}

#[test]
fn a_ping_is_answered_at_once() {
    let (mut sessions, line) = reached(LanProtocol::Ws);
    receive(&mut sessions, &line, &[0x89, 0]);
    // A masked pong without a body.
    assert_eq!(sent(&mut sessions, &line), (6, true));
}

#[test]
fn what_waits_for_a_handshake_leaves_when_that_is_answered() {
    let (mut sessions, line) = reached(LanProtocol::SignalR);
    receive(&mut sessions, &line, b"\x81\x03{}\x1e");
    let (count, told) = sent(&mut sessions, &line);
    assert!(told && count > 50, "the introduction: {count} bytes");
}
