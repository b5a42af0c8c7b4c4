//! Wires: any cutting of the bytes gives the same items, any bytes are tolerated, and the other end may
//! be the library or another wire.

mod library;
mod sockets;

use std::collections::VecDeque;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::signalr::{
    encode_at_client, encode_at_server, handshake_answer, handshake_request, hub_ping,
};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::framing::{
    FramingError, MAX_MESSAGE_BYTES, MAX_QUEUED_BYTES, length_prefixed, newline_delimited,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::decoders::{cases, pieces, texts};
use crate::images::copies;

pub(crate) const SEED: [u8; 32] = [7; 32];

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    LengthPrefixed,
    NewlineDelimited,
    WebSocket,
    WebSocketServer,
    SignalR,
    SignalRServer,
}

const KINDS: [Kind; 6] = [
    Kind::LengthPrefixed,
    Kind::NewlineDelimited,
    Kind::WebSocket,
    Kind::WebSocketServer,
    Kind::SignalR,
    Kind::SignalRServer,
];

pub(crate) fn wire(kind: Kind) -> Wire {
    match kind {
        Kind::LengthPrefixed => Wire::length_prefixed(),
        Kind::NewlineDelimited => Wire::newline_delimited(),
        Kind::WebSocket => Wire::web_socket_client(SEED),
        Kind::WebSocketServer => Wire::web_socket_server(),
        Kind::SignalR => Wire::signalr_client(SEED),
        Kind::SignalRServer => Wire::signalr_server(),
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(KINDS.to_vec())
}

pub(crate) fn text(content: &str) -> WireItem {
    WireItem::Text(content.to_owned())
}

/// Everything that these bytes bring.
fn received(wire: &mut Wire, bytes: &[u8]) -> Vec<WireItem> {
    let mut items = Vec::new();
    wire.receive(bytes, &mut items);
    items
}

/// A frame as a server sends it.
pub(crate) fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match payload.len() {
        length @ 0..126 => bytes.push(length as u8),
        length @ 126..65_536 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// The same frames as a client sends them: masked. What is no whole frame stays as it is.
pub(crate) fn masked(mut frames: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0, 0xff, 0x13];
    let mut bytes = Vec::new();
    while let [_, length, ..] = *frames {
        let (head, length) = match length {
            126 => (4, u16::from_be_bytes([frames[2], frames[3]]) as usize),
            127 => (
                10,
                u64::from_be_bytes(frames[2..10].try_into().unwrap()) as usize,
            ),
            length => (2, length as usize),
        };
        let (frame, rest) = frames.split_at(head + length);
        bytes.extend([frame[0], frame[1] | 0x80]);
        bytes.extend(&frame[2..head]);
        bytes.extend(MASK);
        let payload = frame[head..].iter().zip(MASK.iter().cycle());
        bytes.extend(payload.map(|(byte, mask)| byte ^ mask));
        frames = rest;
    }
    bytes.extend(frames);
    bytes
}

/// Frames as they arrive at a wire of this kind.
fn arriving(kind: Kind, frames: Vec<u8>) -> Vec<u8> {
    match kind {
        Kind::WebSocketServer | Kind::SignalRServer => masked(&frames),
        Kind::LengthPrefixed | Kind::NewlineDelimited | Kind::WebSocket | Kind::SignalR => frames,
    }
}

/// Frames of all kinds, in an order that is often wrong.
pub(crate) fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first_byte = prop_oneof![
        6 => Just(FIN | TEXT),
        3 => Just(TEXT),
        4 => Just(CONTINUATION),
        4 => Just(FIN | CONTINUATION),
        3 => Just(FIN | PING),
        2 => Just(FIN | PONG),
        1 => Just(FIN | CLOSE),
        1 => Just(FIN | BINARY),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        8 => "[a-z\\u{e9}\\u{1f600}]{1,9}".prop_map(String::into_bytes),
        2 => Just("é\u{1f600}".as_bytes()[..3].to_vec()),
        2 => Just("é\u{1f600}".as_bytes()[3..].to_vec()),
        2 => "[a-z]{100,400}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => (900_u16..5_100).prop_map(|code| code.to_be_bytes().to_vec()),
    ];
    prop::collection::vec((first_byte, payload), 0..12).prop_map(|frames| {
        frames
            .iter()
            .flat_map(|(first_byte, payload)| frame(*first_byte, payload))
            .collect()
    })
}

/// What a peer of this kind sends: texts, then something that need not be right.
fn sent(kind: Kind, texts: &VecDeque<String>, behind: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = |text: &str| frame(FIN | TEXT, text.as_bytes());
    match kind {
        Kind::LengthPrefixed => {
            texts
                .iter()
                .for_each(|text| length_prefixed::encode(text, &mut bytes));
        }
        Kind::NewlineDelimited => {
            texts
                .iter()
                .for_each(|text| newline_delimited::encode(text, &mut bytes));
        }
        Kind::WebSocket | Kind::WebSocketServer => {
            bytes.extend(texts.iter().flat_map(|text| message(text)));
        }
        Kind::SignalR | Kind::SignalRServer => {
            let at_server = matches!(kind, Kind::SignalRServer);
            bytes.extend(message(&if at_server {
                handshake_request()
            } else {
                handshake_answer()
            }));
            for text in texts {
                let text = format!("[\"f\",{text}]");
                bytes.extend(message(&hub_ping()));
                bytes.extend(message(&if at_server {
                    encode_at_client(&text)
                } else {
                    encode_at_server(&text)
                }));
            }
        }
    }
    bytes = arriving(kind, bytes);
    bytes.extend(behind);
    bytes
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_cutting_of_the_bytes_gives_the_same_items_and_answers(
        kind in kinds(),
        texts in texts(),
        behind in prop_oneof![frames(), frames().prop_map(|frames| masked(&frames)), prop::collection::vec(any::<u8>(), 0..60)],
        sizes in prop::collection::vec(1_usize..5_000, 1..6),
    ) {
        let bytes = sent(kind, &texts, &behind);
        let mut whole = wire(kind);
        let expected = received(&mut whole, &bytes);
        let mut cut = wire(kind);
        let mut items = Vec::new();
        let mut output = Vec::new();
        for piece in pieces(&bytes, &sizes) {
            cut.receive(piece, &mut items);
            output.extend(cut.take_output());
        }
        prop_assert_eq!(&items, &expected);
        prop_assert_eq!(output, whole.take_output());
        let count = items.iter().filter(|item| matches!(item, WireItem::Text(_))).count();
        prop_assert!(count >= texts.len());
    }

}

proptest! {
    // Each of them is written and read four times.
    #![proptest_config(cases(32))]

    #[test]
    fn a_wire_goes_on_from_its_image_in_the_middle_of_anything(
        kind in kinds(),
        texts in texts(),
        behind in prop_oneof![frames(), frames().prop_map(|frames| masked(&frames))],
        cut in any::<Index>(),
        answers in prop::collection::vec("[a-z]{0,200}", 0..4),
    ) {
        let bytes = sent(kind, &texts, &behind);
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut wire = wire(kind);
        received(&mut wire, first);
        for answer in &answers {
            let _ = wire.send(answer);
        }
        let mut twins = copies(&wire);
        let _ = wire.send("\"between\"");
        let items = received(&mut wire, second);
        let sent = wire.send("\"behind\"");
        let output = wire.take_output();
        for twin in &mut twins {
            let _ = twin.send("\"between\"");
            prop_assert_eq!(&received(twin, second), &items);
            prop_assert_eq!(&twin.send("\"behind\""), &sent);
            prop_assert_eq!(&twin.take_output(), &output);
            prop_assert_eq!(twin.closed(), wire.closed());
        }
    }

}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_bytes_are_borne_and_nothing_follows_an_end(
        kind in kinds(),
        bytes in prop::collection::vec(prop_oneof![
            2 => Just(0_u8), 1 => Just(b'\n'), 1 => Just(FIN | TEXT), 1 => Just(FIN | PING), 1 => Just(127), 3 => any::<u8>(),
        ], 0..400),
        sizes in prop::collection::vec(1_usize..40, 1..4),
    ) {
        let mut wire = wire(kind);
        let mut items = Vec::new();
        for piece in pieces(&bytes, &sizes) {
            wire.receive(piece, &mut items);
        }
        wire.receive_end(&mut items);
        wire.receive(&bytes, &mut items);
        wire.receive_end(&mut items);
        let ends = items.iter().filter(|item| matches!(item, WireItem::Closed(_))).count();
        prop_assert_eq!(ends, 1);
        let Some(WireItem::Closed(reason)) = items.last() else { panic!("{items:?}") };
        prop_assert_eq!(wire.closed(), Some(reason));
        prop_assert_eq!(wire.send("1"), Err(reason.clone()));
        // An answer to a ping is at most three times as long as the ping.
        prop_assert!(wire.take_output().len() <= 3 * bytes.len() + 200);
    }
}

#[test]
fn the_end_of_the_bytes_is_an_end_or_half_a_message() {
    for (kind, bytes, expected) in [
        (Kind::LengthPrefixed, &[][..], CloseReason::ByPeer),
        (Kind::LengthPrefixed, &[9, 0], CloseReason::HalfMessage),
        (Kind::NewlineDelimited, b"{}\n", CloseReason::ByPeer),
        (Kind::NewlineDelimited, b"{}\n{", CloseReason::HalfMessage),
        (Kind::WebSocket, &[FIN | TEXT, 9, b'x'], CloseReason::ByPeer),
    ] {
        let mut wire = wire(kind);
        let mut items = received(&mut wire, bytes);
        wire.receive_end(&mut items);
        assert_eq!(items.last(), Some(&WireItem::Closed(expected)));
    }
}

#[test]
fn a_message_above_the_limit_is_refused_as_soon_as_it_is_announced() {
    let too_large = |announced| {
        let limit = MAX_MESSAGE_BYTES;
        WireItem::Closed(CloseReason::Framing(FramingError::TooLarge {
            announced,
            limit,
        }))
    };
    for (kind, length) in [(Kind::WebSocket, 127), (Kind::WebSocketServer, 0x80 | 127)] {
        let mut announcement = vec![FIN | TEXT, length];
        announcement.extend((1_u64 << 30).to_be_bytes());
        let items = received(&mut wire(kind), &announcement);
        assert_eq!(items, [too_large(1 << 30)]);
    }

    // In parts, each of which may be.
    let mut wire = wire(Kind::WebSocket);
    let part = vec![b'x'; MAX_MESSAGE_BYTES / 4];
    assert_eq!(received(&mut wire, &frame(TEXT, &part)), []);
    for _ in 0..3 {
        assert_eq!(received(&mut wire, &frame(CONTINUATION, &part)), []);
    }
    assert_eq!(
        received(&mut wire, &[FIN | CONTINUATION, 1]),
        [too_large(MAX_MESSAGE_BYTES + 1)]
    );
}

#[test]
fn a_peer_that_does_not_read_is_cut_whatever_it_is_sent() {
    let megabyte = "x".repeat(1_024 * 1_024);
    for kind in KINDS {
        let mut wire = wire(kind);
        let refusal = (0..100).find_map(|_| wire.send(&megabyte).err()).unwrap();
        let CloseReason::SlowPeer { queued, limit } = refusal else {
            panic!("{kind:?}: {refusal}")
        };
        assert!(queued > limit && limit == MAX_QUEUED_BYTES, "{kind:?}");
        assert!(wire.take_output().is_empty(), "{kind:?}");
    }
    // Answers to pings count too.
    let mut wire = wire(Kind::WebSocket);
    let pings = frame(FIN | PING, &[0; 125]).repeat(10_000);
    let cut = (0..100).find_map(|_| received(&mut wire, &pings).pop().filter(is_end));
    assert!(matches!(
        cut,
        Some(WireItem::Closed(CloseReason::SlowPeer { .. }))
    ));
}

fn is_end(item: &WireItem) -> bool {
    match item {
        WireItem::Closed(_) => true,
        WireItem::Text(_) | WireItem::Alive => false,
    }
}

#[test]
fn a_signalr_wire_shakes_hands_first_and_what_is_sent_meanwhile_waits() {
    let mut wire = wire(Kind::SignalR);
    let request = wire.take_output();
    assert!(!request.is_empty());
    wire.send("[\"m1\"]").unwrap();
    assert!(wire.take_output().is_empty() && wire.queued_bytes() == 6);
    let answer = frame(FIN | TEXT, handshake_answer().as_bytes());
    assert_eq!(received(&mut wire, &answer), [WireItem::Alive]);
    assert!(wire.queued_bytes() > 6 && !wire.take_output().is_empty());
    let goodbye = frame(FIN | TEXT, b"{\"type\":7}\x1e");
    assert_eq!(
        received(&mut wire, &goodbye),
        [WireItem::Closed(CloseReason::ByPeer)]
    );
}

#[test]
fn a_server_answers_the_handshake_of_signalr_before_it_sends() {
    let mut wire = wire(Kind::SignalRServer);
    wire.send("[\"r\",\"m1\",1]").unwrap();
    assert!(!wire.is_ready() && !wire.has_output() && wire.queued_bytes() > 0);
    let message = |text: &str| masked(&frame(FIN | TEXT, text.as_bytes()));
    let request = message(&handshake_request());
    assert_eq!(received(&mut wire, &request), [WireItem::Alive]);
    let answers = [handshake_answer(), encode_at_server("[\"r\",\"m1\",1]")];
    let expected: Vec<u8> = answers
        .iter()
        .flat_map(|text| frame(FIN | TEXT, text.as_bytes()))
        .collect();
    assert!(wire.is_ready());
    assert_eq!(wire.take_output(), expected);
}

#[test]
fn a_client_has_to_mask_and_a_server_must_not() {
    let plain = frame(FIN | TEXT, b"1");
    for (kind, good, bad) in [
        (Kind::WebSocket, plain.clone(), masked(&plain)),
        (Kind::WebSocketServer, masked(&plain), plain),
    ] {
        assert_eq!(received(&mut wire(kind), &good), [text("1")]);
        assert!(matches!(
            received(&mut wire(kind), &bad)[..],
            [WireItem::Closed(CloseReason::Framing(
                FramingError::NotWebSocket { .. }
            ))]
        ));
    }
}

#[test]
fn a_text_in_chunks_goes_on_from_an_image_between_them() {
    let chunk = |remaining: u64, part: &str| {
        let argument = json!([["~", remaining, part]]).to_string();
        let record = json!({"type": 1, "target": "_", "arguments": [argument]});
        frame(FIN | TEXT, format!("{record}\u{1e}").as_bytes())
    };
    let mut wire = wire(Kind::SignalR);
    let answer = frame(FIN | TEXT, handshake_answer().as_bytes());
    assert_eq!(received(&mut wire, &answer), [WireItem::Alive]);
    assert_eq!(received(&mut wire, &chunk(5, "[[\"f\",")), []);
    for mut copy in copies(&wire) {
        let items = received(&mut copy, &chunk(0, "1234]]"));
        assert_eq!(items, [text("[\"f\",1234]")]);
    }
}

#[test]
fn masks_differ_from_frame_to_frame_and_from_seed_to_seed_and_the_seed_is_not_shown() {
    let output = |seed: [u8; 32]| {
        let mut wire = Wire::web_socket_client(seed);
        [(); 2].map(|()| {
            wire.send("the same").unwrap();
            wire.take_output()
        })
    };
    let [first, second] = output(SEED);
    assert_ne!(first, second);
    assert_ne!(first, output([8; 32])[0]);
    assert_eq!(first, output(SEED)[0]);
    let shown = format!("{:?}", Wire::web_socket_client([77; 32]));
    assert!(!shown.contains("77"), "{shown}");
}
