//! Every recorded frame is understood, and nothing of it is lost.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use allexmaster_protocol::frame::{ClientFrame, ServerFrame};
use allexmaster_protocol::framing::signalr::{self, Received};
use allexmaster_protocol::framing::{End, length_prefixed, newline_delimited};
use serde_json::Value;

use crate::frames::assert_snapshot;
use crate::transcript::{Recorded, all_lines, file_names, lines_of};

#[test]
fn every_recorded_frame_decodes_and_encodes_back_to_the_same_json() {
    for name in file_names() {
        let mut count = 0;
        for line in lines_of(&name) {
            let place = format!("{}:{}", line.file, line.number);
            match line.recorded {
                Recorded::Client(value) => {
                    count += 1;
                    let frame = ClientFrame::from_value(value.clone())
                        .unwrap_or_else(|error| panic!("{place}: {error}"));
                    assert_eq!(frame.into_value(), value, "{place}");
                }
                Recorded::Server(value) => {
                    count += 1;
                    let frame = ServerFrame::from_value(value.clone())
                        .unwrap_or_else(|error| panic!("{place}: {error}"));
                    assert_eq!(frame.into_value(), value, "{place}");
                }
                Recorded::SignalRFromClient(_)
                | Recorded::SignalRFromServer(_)
                | Recorded::Beside(_) => {}
            }
        }
        assert_eq!(
            count > 0,
            name != "portoffice.jsonl",
            "{name} has {count} frames"
        );
    }
}

#[test]
fn every_line_of_the_recordings_is_accounted_for() {
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for line in all_lines() {
        let what = match line.recorded {
            Recorded::Client(_) => "frame from client",
            Recorded::Server(_) => "frame from server",
            Recorded::SignalRFromClient(_) | Recorded::SignalRFromServer(_) => {
                "SignalR handshake or hub ping"
            }
            Recorded::Beside(what) => what,
        };
        *counts.entry((line.file, what)).or_default() += 1;
    }
    let mut report = String::new();
    for ((file, what), count) in counts {
        writeln!(report, "{file}: {count} × {what}").unwrap();
    }
    assert_snapshot("recorded_lines", report);
}

#[test]
fn every_recorded_frame_survives_the_framing_of_every_carrier() {
    let mut client_texts = VecDeque::new();
    let mut server_texts = VecDeque::new();
    for line in all_lines() {
        match line.recorded {
            Recorded::Client(value) => client_texts.push_back(value.to_string()),
            Recorded::Server(value) => server_texts.push_back(value.to_string()),
            Recorded::SignalRFromClient(_)
            | Recorded::SignalRFromServer(_)
            | Recorded::Beside(_) => {}
        }
    }
    assert!(client_texts.len() > 100 && server_texts.len() > 1_000);
    for texts in [&client_texts, &server_texts] {
        assert_eq!(&through_length_prefix(texts), texts);
        assert_eq!(&through_lines(texts), texts);
    }
    assert_eq!(
        through_signalr_from_client(&client_texts),
        values(&client_texts)
    );
    // A child's notices never travel over SignalR, and are no frames there.
    server_texts.retain(|text| !text.contains("child_init") && !text.contains("uncaughtException"));
    assert_eq!(
        through_signalr_from_server(&server_texts),
        values(&server_texts)
    );
}

#[test]
fn the_recorded_signalr_handshake_and_pings_are_understood_and_written_the_same() {
    let mut seen = 0;
    for line in all_lines() {
        let (end, record) = match line.recorded {
            Recorded::SignalRFromClient(record) => (End::Server, record),
            Recorded::SignalRFromServer(record) => (End::Client, record),
            Recorded::Client(_) | Recorded::Server(_) | Recorded::Beside(_) => continue,
        };
        seen += 1;
        let text = format!("{record}\u{1e}");
        let mut decoder = signalr::Decoder::new(end);
        if record.get("type").is_some() {
            decoder.feed(&signalr::handshake_request()).unwrap();
            assert_eq!(decoder.next_received(), Some(Received::Handshake));
            decoder.feed(&text).unwrap();
            assert_eq!(decoder.next_received(), Some(Received::Alive));
            assert_eq!(text, signalr::hub_ping());
        } else {
            decoder.feed(&text).unwrap();
            assert_eq!(decoder.next_received(), Some(Received::Handshake));
            let own = if end == End::Server {
                signalr::handshake_request()
            } else {
                signalr::handshake_answer()
            };
            assert_eq!(text, own);
        }
    }
    assert_eq!(seen, 6);
}

fn values(texts: &VecDeque<String>) -> Vec<Value> {
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

fn through_length_prefix(texts: &VecDeque<String>) -> VecDeque<String> {
    let mut decoder = length_prefixed::Decoder::default();
    for text in texts {
        let mut message = Vec::new();
        length_prefixed::encode(text, &mut message);
        decoder.feed(&message).unwrap();
    }
    assert!(!decoder.is_inside_message());
    std::iter::from_fn(|| decoder.next_text()).collect()
}

fn through_lines(texts: &VecDeque<String>) -> VecDeque<String> {
    let mut decoder = newline_delimited::Decoder::default();
    for text in texts {
        let mut line = Vec::new();
        newline_delimited::encode(text, &mut line);
        decoder.feed(&line).unwrap();
    }
    std::iter::from_fn(|| decoder.next_text()).collect()
}

fn through_signalr_from_client(texts: &VecDeque<String>) -> Vec<Value> {
    let mut decoder = signalr::Decoder::new(End::Server);
    decoder.feed(&signalr::handshake_request()).unwrap();
    for text in texts {
        decoder.feed(&signalr::encode_at_client(text)).unwrap();
    }
    received(&mut decoder)
}

fn through_signalr_from_server(texts: &VecDeque<String>) -> Vec<Value> {
    let mut decoder = signalr::Decoder::new(End::Client);
    decoder.feed(&signalr::handshake_answer()).unwrap();
    for text in texts {
        decoder.feed(&signalr::encode_at_server(text)).unwrap();
    }
    received(&mut decoder)
}

/// The frames that a decoder has received behind the handshake.
pub(crate) fn received(decoder: &mut signalr::Decoder) -> Vec<Value> {
    assert_eq!(decoder.next_received(), Some(Received::Handshake));
    std::iter::from_fn(|| decoder.next_received())
        .filter_map(|received| match received {
            Received::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            Received::Handshake | Received::Alive => None,
        })
        .collect()
}
