//! Decoders bear any bytes in any pieces, refuse what is too large at once, and undo their encoders.

use std::collections::VecDeque;

use allexmaster_protocol::frame::{ClientFrame, ServerFrame};
use allexmaster_protocol::framing::signalr::{self, CHUNK_CHARACTERS};
use allexmaster_protocol::framing::{
    End, FramingError, MAX_MESSAGE_BYTES, length_prefixed, newline_delimited, text_batch,
};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::DataEvent;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::transcripts::received;

/// Enough cases to find what there is, few enough for a debug build.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// JSON texts of many sizes, among them some that are longer than a batch.
pub(crate) fn texts() -> impl Strategy<Value = VecDeque<String>> {
    let text = prop_oneof![
        8 => "[a-z\\u{e9}\\u{1f600}\"\\\\\n]{0,40}",
        1 => (1_usize..90_000).prop_map(|length| "é".repeat(length)),
    ];
    prop::collection::vec(text.prop_map(|text| Value::from(text).to_string()), 0..12)
        .prop_map(VecDeque::from)
}

/// Cuts bytes into pieces of these sizes, over and over.
pub(crate) fn pieces<'bytes>(mut bytes: &'bytes [u8], sizes: &[usize]) -> Vec<&'bytes [u8]> {
    let mut cut = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        cut.push(piece);
        bytes = rest;
    }
    cut
}

/// Any JSON value, nested a little.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(|number: f64| Value::from(number)),
        prop_oneof!["[a-z]{0,3}", "r|e|n|oob|f|\\?|!|~|s|x|-|eq|and|not|\\*|\\."]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(
                "op|field|value|filters|filter|p|o|d|err|[a-z]{1,3}",
                inner,
                0..5
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn length_prefixed_texts_survive_any_cutting(sent in texts(), sizes in prop::collection::vec(1_usize..5_000, 1..6)) {
        let mut bytes = Vec::new();
        sent.iter().for_each(|text| length_prefixed::encode(text, &mut bytes));
        let mut decoder = length_prefixed::Decoder::default();
        let mut decoded = VecDeque::new();
        for piece in pieces(&bytes, &sizes) {
            decoder.feed(piece).unwrap();
            decoded.extend(std::iter::from_fn(|| decoder.next_text()));
        }
        prop_assert_eq!(decoded, sent);
        prop_assert!(!decoder.is_inside_message());
    }

    #[test]
    fn newline_delimited_texts_survive_any_cutting(sent in texts(), sizes in prop::collection::vec(1_usize..5_000, 1..6)) {
        let mut bytes = Vec::new();
        sent.iter().for_each(|text| newline_delimited::encode(text, &mut bytes));
        let mut decoder = newline_delimited::Decoder::default();
        let mut decoded = VecDeque::new();
        for piece in pieces(&bytes, &sizes) {
            decoder.feed(piece).unwrap();
            decoded.extend(std::iter::from_fn(|| decoder.next_text()));
        }
        prop_assert_eq!(decoded, sent);
        prop_assert!(!decoder.is_inside_message());
    }

    #[test]
    fn batches_keep_their_texts(first in texts(), last in texts()) {
        let texts: Vec<String> = first.into_iter().chain(last).chain(["1".to_owned()]).collect();
        let batch = texts.join(&text_batch::SEPARATOR.to_string());
        prop_assert_eq!(text_batch::split(&batch).unwrap(), texts);
    }

    #[test]
    fn signalr_frames_survive_in_both_directions_however_long(sent in texts()) {
        let frames: VecDeque<String> = sent.iter().map(|text| format!("[\"n\",\"m1\",{text}]")).collect();
        let expected: Vec<Value> = frames.iter().map(|text| serde_json::from_str(text).unwrap()).collect();

        let mut at_server = signalr::Decoder::new(End::Server);
        at_server.feed(&signalr::handshake_request()).unwrap();
        for frame in &frames {
            at_server.feed(&signalr::encode_at_client(frame)).unwrap();
        }
        prop_assert_eq!(&received(&mut at_server), &expected);

        let mut at_client = signalr::Decoder::new(End::Client);
        at_client.feed(&signalr::handshake_answer()).unwrap();
        for frame in &frames {
            at_client.feed(&signalr::encode_at_server(frame)).unwrap();
        }
        prop_assert_eq!(&received(&mut at_client), &expected);
    }

    #[test]
    fn any_bytes_are_borne_and_what_is_refused_stays_refused(
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(b'\n'), Just(b'{'), any::<u8>()], 0..300),
        sizes in prop::collection::vec(1_usize..40, 1..4),
    ) {
        let mut prefixed = length_prefixed::Decoder::default();
        let mut by_line = newline_delimited::Decoder::default();
        let mut refused = (false, false);
        for piece in pieces(&bytes, &sizes) {
            let now = (prefixed.feed(piece).is_err(), by_line.feed(piece).is_err());
            prop_assert!(now.0 >= refused.0 && now.1 >= refused.1);
            refused = now;
        }
        let text = String::from_utf8_lossy(&bytes);
        drop(text_batch::split(&text));
        for end in [End::Client, End::Server] {
            let mut decoder = signalr::Decoder::new(end);
            drop(decoder.feed(&text));
            drop(decoder.feed(&format!("{text}\u{1e}")));
        }
    }

    #[test]
    fn any_value_is_borne_by_every_reader_and_what_is_understood_is_kept(value in values()) {
        if let Ok(frame) = ClientFrame::from_value(value.clone()) {
            let again = frame.clone().into_value();
            prop_assert_eq!(ClientFrame::from_value(again), Ok(frame));
        }
        if let Ok(frame) = ServerFrame::from_value(value.clone()) {
            let again = frame.clone().into_value();
            prop_assert_eq!(ServerFrame::from_value(again), Ok(frame));
        }
        if let Some(item) = StateItem::from_value(&value) {
            prop_assert_eq!(StateItem::from_value(&item.clone().into_value()), Some(item));
        }
        if let Ok(event) = DataEvent::from_value(value) {
            let written = event.into_value();
            prop_assert_eq!(DataEvent::from_value(written.clone()).unwrap().into_value(), written);
        }
    }

    #[test]
    fn almost_frames_are_borne(members in prop::collection::vec(values(), 0..5), kind in "r|e|n|oob|f|\\?|!|~|i|rb|c|u|d") {
        let value: Value = std::iter::once(Value::from(kind)).chain(members).collect();
        if let Ok(frame) = ServerFrame::from_value(value.clone()) {
            prop_assert_eq!(ServerFrame::from_value(frame.clone().into_value()), Ok(frame));
        }
        drop(ClientFrame::from_value(value.clone()));
        drop(DataEvent::from_value(value));
    }
}

#[test]
fn a_length_of_one_gigabyte_is_refused_at_once_and_half_a_frame_waits() {
    let mut decoder = length_prefixed::Decoder::default();
    let announced = 1_024 * 1_024 * 1_024;
    decoder.feed(&[0, 0, 0]).unwrap();
    let refusal = FramingError::TooLarge {
        announced,
        limit: MAX_MESSAGE_BYTES,
    };
    assert_eq!(decoder.feed(&[0x40]), Err(refusal.clone()));
    assert_eq!(decoder.feed(b"more"), Err(refusal));

    let mut decoder = length_prefixed::Decoder::default();
    decoder.feed(&[4, 0, 0, 0, b'n', b'u']).unwrap();
    assert_eq!(decoder.next_text(), None);
    assert!(decoder.is_inside_message());
    decoder.feed(b"ll").unwrap();
    assert_eq!(decoder.next_text(), Some("null".to_owned()));
    assert!(!decoder.is_inside_message());
}

#[test]
fn a_line_without_an_end_is_refused_at_the_limit() {
    let mut decoder = newline_delimited::Decoder::default();
    let piece = vec![b'a'; MAX_MESSAGE_BYTES / 2];
    decoder.feed(&piece).unwrap();
    decoder.feed(&piece).unwrap();
    assert_eq!(
        decoder.feed(b"a"),
        Err(FramingError::TooLarge {
            announced: MAX_MESSAGE_BYTES + 1,
            limit: MAX_MESSAGE_BYTES
        })
    );
}

#[test]
fn chunks_that_never_end_are_refused_at_the_limit() {
    let mut decoder = signalr::Decoder::new(End::Client);
    decoder.feed(&signalr::handshake_answer()).unwrap();
    let chunk = json!([["~", 1, "a".repeat(CHUNK_CHARACTERS)]]).to_string();
    let record = format!(
        "{}\u{1e}",
        json!({"type": 1, "target": "_", "arguments": [chunk]})
    );
    let accepted = (0..1_000)
        .take_while(|_| decoder.feed(&record).is_ok())
        .count();
    assert_eq!(accepted, MAX_MESSAGE_BYTES / CHUNK_CHARACTERS);
}

#[test]
fn empty_messages_and_bytes_that_are_not_utf8_are_refused() {
    let refused = |bytes: &[u8]| length_prefixed::Decoder::default().feed(bytes).unwrap_err();
    assert_eq!(refused(&[0, 0, 0, 0]), FramingError::Empty);
    assert_eq!(refused(&[2, 0, 0, 0, 0xff, 0xff]), FramingError::NotUtf8);
    assert_eq!(refused(&[2, 0, 0, 0, b'1', 0]), FramingError::Empty);
    assert_eq!(
        newline_delimited::Decoder::default().feed(&[0xff, b'\n']),
        Err(FramingError::NotUtf8)
    );
    assert_eq!(text_batch::split(""), Err(FramingError::Empty));
}

#[test]
fn a_signalr_peer_that_speaks_something_else_is_refused() {
    for message in [
        "",
        "\u{1e}",
        "hello",
        "{}\u{1e}",
        "{\"protocol\":\"messagepack\",\"version\":1}\u{1e}",
    ] {
        assert!(
            signalr::Decoder::new(End::Server).feed(message).is_err(),
            "{message}"
        );
    }
    let mut decoder = signalr::Decoder::new(End::Server);
    decoder.feed(&signalr::handshake_request()).unwrap();
    let goodbye = decoder.feed("{\"type\":7,\"error\":\"tired\"}\u{1e}");
    assert_eq!(
        goodbye,
        Err(FramingError::ClosedByPeer {
            reason: Some("tired".to_owned())
        })
    );
}
