//! The library as the other end, and as a second opinion.

use std::io::{Cursor, Read, Write};

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::framing::{FramingError, text_batch};
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{SEED, frames, masked, received, text};
use crate::decoders::cases;

/// A stream whose other half is this test.
#[derive(Default)]
struct Memory {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.input.read(into)? {
            0 => Err(std::io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The server end, and what it hears of these bytes.
fn server(bytes: Vec<u8>) -> (WebSocket<Memory>, Vec<Message>) {
    let memory = Memory {
        input: Cursor::new(bytes),
        output: vec![],
    };
    let mut server = WebSocket::from_raw_socket(memory, Role::Server, None);
    let mut heard = Vec::new();
    loop {
        match server.read() {
            Ok(message) => heard.push(message),
            Err(Error::Io(_) | Error::ConnectionClosed) => return (server, heard),
            Err(error) => panic!("the library refuses what the wire sends: {error}"),
        }
    }
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => "[a-z\\u{e9}]{1,300}".prop_map(Message::text),
        1 => (65_000_usize..70_000).prop_map(|length| Message::text("x".repeat(length))),
        2 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|payload| Message::Ping(payload.into())),
    ]
}

/// What the library makes of bytes at this end: the items, and whether it was content.
fn second_opinion(bytes: &[u8], end: Role) -> (Vec<WireItem>, bool) {
    let memory = Memory {
        input: Cursor::new(bytes.to_vec()),
        output: vec![],
    };
    let mut library = WebSocket::from_raw_socket(memory, end, None);
    let mut items = Vec::new();
    loop {
        match library.read() {
            Ok(Message::Text(batch)) => match text_batch::split(&batch) {
                Ok(texts) => items.extend(texts.into_iter().map(WireItem::Text)),
                Err(_) => return (items, false),
            },
            Ok(Message::Ping(_) | Message::Pong(_)) => items.push(WireItem::Alive),
            Ok(Message::Close(_)) => {
                items.push(WireItem::Closed(CloseReason::ByPeer));
                return (items, true);
            }
            Ok(Message::Binary(_) | Message::Frame(_)) => return (items, false),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return (items, true);
            }
            Err(_) => return (items, false),
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn the_library_hears_what_a_wire_sends(texts in prop::collection::vec("[a-z\\u{e9}]{1,300}", 0..8), length in 0_usize..128 * 1_024) {
        let mut wire = Wire::web_socket_client(SEED);
        let texts: Vec<String> = texts.into_iter().chain(["y".repeat(length)]).collect();
        for text in &texts {
            wire.send(text).unwrap();
        }
        wire.close();
        let (mut server, mut heard) = server(wire.take_output());
        prop_assert_eq!(heard.pop(), Some(Message::Close(None)));
        let expected: Vec<Message> = texts.iter().map(Message::text).collect();
        prop_assert_eq!(heard, expected);
        // It answers the close; that is no news to the one who closed.
        let _ = server.flush();
        let answer = std::mem::take(&mut server.get_mut().output);
        prop_assert!(!answer.is_empty());
        prop_assert_eq!(received(&mut wire, &answer), []);

        // And at the other end, without masks.
        let mut wire = Wire::web_socket_server();
        for text in &texts {
            wire.send(text).unwrap();
        }
        wire.close();
        let (mut items, content) = second_opinion(&wire.take_output(), Role::Client);
        prop_assert!(content);
        prop_assert_eq!(items.pop(), Some(WireItem::Closed(CloseReason::ByPeer)));
        let texts: Vec<WireItem> = texts.iter().map(|content| text(content)).collect();
        prop_assert_eq!(items, texts);
    }

    #[test]
    fn a_wire_hears_what_the_library_sends_and_answers(messages in prop::collection::vec(messages(), 0..8)) {
        let mut wire = Wire::web_socket_client(SEED);
        let mut at_server = Wire::web_socket_server();
        let mut items = vec![];
        for (end, wire) in [(Role::Client, &mut at_server), (Role::Server, &mut wire)] {
            let mut library = WebSocket::from_raw_socket(Memory::default(), end, None);
            for message in &messages {
                library.send(message.clone()).unwrap();
            }
            library.close(None).unwrap();
            items.push(received(wire, &library.get_ref().output));
        }
        let expected: Vec<WireItem> = messages
            .iter()
            .map(|message| if message.is_text() { text(message.to_text().unwrap()) } else { WireItem::Alive })
            .chain([WireItem::Closed(CloseReason::ByPeer)])
            .collect();
        prop_assert_eq!(items, [expected.clone(), expected]);
        let (answers, _) = second_opinion(&at_server.take_output(), Role::Client);
        prop_assert_eq!(answers.last(), Some(&WireItem::Closed(CloseReason::ByPeer)));
        let (_, heard) = server(wire.take_output());
        let pings = messages.into_iter().filter(Message::is_ping);
        let pongs = pings.map(|ping| Message::Pong(ping.into_data()));
        let expected: Vec<Message> = pongs.chain([Message::Close(None)]).collect();
        prop_assert_eq!(heard, expected);
    }
}

proptest! {
    #![proptest_config(cases(1_024))]

    #[test]
    fn a_wire_and_the_library_agree_on_any_frames(bytes in frames()) {
        for (end, bytes, mut wire) in [
            (Role::Client, bytes.clone(), Wire::web_socket_client(SEED)),
            (Role::Server, masked(&bytes), Wire::web_socket_server()),
        ] {
            let (expected, content) = second_opinion(&bytes, end);
            let mut items = received(&mut wire, &bytes);
            let refusal = items.pop_if(|item| matches!(item, WireItem::Closed(CloseReason::Framing(_))));
            if let Some(WireItem::Closed(CloseReason::Framing(FramingError::NotText))) = refusal {
                // The library takes a binary message to its end, and pings on the way.
                prop_assert!(expected.starts_with(&items));
            } else {
                prop_assert_eq!(items, expected);
                prop_assert_eq!(refusal.is_some(), !content);
            }
        }
    }
}
