//! What a framing answers by itself leaves at once, not with the next text.

use allexmaster_machine::Mono;
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
    let _ = sessions.handle(
        Mono(0),
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
    let _ = sessions.handle(Mono(0), dialed);
    send(&mut sessions, &line);
    (sessions, line)
}

/// Sends all that is to be sent; gives how many bytes that was.
fn send(sessions: &mut Sessions, line: &ConnectionName) -> usize {
    let mut count = 0;
    while let Some((bytes, end)) = sessions.chunk(line, 1_024) {
        count += bytes.len();
        let (name, mark) = (line.clone(), Mark::Taken(end));
        let _ = sessions.handle(Mono(0), Input::Marked { name, mark });
    }
    count
}

/// Takes bytes; gives how many are sent then, and whether the runtime is told so.
fn receive(sessions: &mut Sessions, line: &ConnectionName, bytes: &[u8]) -> (usize, bool) {
    let (name, bytes) = (line.clone(), bytes.to_vec());
    let outputs = sessions.handle(Mono(1), Input::Received { name, bytes });
    let is_write = |output: &Output| matches!(output, Output::Write(of) if of == line);
    let told = outputs.iter().any(is_write);
    (send(sessions, line), told)
}

#[test]
fn a_ping_is_answered_at_once() {
    let (mut sessions, line) = reached(LanProtocol::Ws);
    // A masked pong without a body.
    assert_eq!(receive(&mut sessions, &line, &[0x89, 0]), (6, true));
}

#[test]
fn what_waits_for_a_handshake_leaves_when_that_is_answered() {
    let (mut sessions, line) = reached(LanProtocol::SignalR);
    let (count, told) = receive(&mut sessions, &line, b"\x81\x03{}\x1e");
    assert!(told && count > 50, "the introduction: {count} bytes");
}
