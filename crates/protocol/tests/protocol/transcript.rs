//! The recorded conversations of the JavaScript programs, line by line.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// What a line of a recording holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recorded {
    /// A frame from client to server.
    Client(Value),
    /// A frame from server to client.
    Server(Value),
    /// The SignalR handshake or a hub ping, from the client.
    SignalRFromClient(Value),
    /// The same from the server.
    SignalRFromServer(Value),
    /// Something beside the frames, with what it is.
    Beside(&'static str),
}

/// One line of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) file: String,
    pub(crate) number: usize,
    pub(crate) connection: String,
    /// Whether it was recorded at the end that accepted the connection.
    pub(crate) accepted: bool,
    pub(crate) recorded: Recorded,
}

/// All lines of all recordings.
pub(crate) fn all_lines() -> Vec<Line> {
    file_names()
        .iter()
        .flat_map(|name| lines_of(name))
        .collect()
}

/// The names of the recordings.
pub(crate) fn file_names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

/// The lines of one recording.
pub(crate) fn lines_of(name: &str) -> Vec<Line> {
    fs::read_to_string(folder().join(name))
        .unwrap()
        .lines()
        .enumerate()
        .map(|(index, text)| {
            let line: Value = serde_json::from_str(text).unwrap();
            Line {
                file: name.to_owned(),
                number: index + 1,
                connection: line["conn"].as_str().unwrap().to_owned(),
                accepted: line["role"] == "allexmaster",
                recorded: classify(&line),
            }
        })
        .collect()
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}

fn classify(line: &Value) -> Recorded {
    let frame = line["frame"].clone();
    let connection = line["conn"].as_str().unwrap();
    let role = line["role"].as_str().unwrap_or_default();
    let direction = line["dir"].as_str().unwrap();
    if connection.starts_with("/tmp/allexportoffice") {
        return Recorded::Beside("the port office, which has a protocol of its own");
    }
    if frame.is_null() {
        return Recorded::Beside("a connection that opens or closes");
    }
    let from_client = match direction {
        "client>lan" | "master>lan" => true,
        "lan>client" | "lan>master" => false,
        // On the IPC channel the parent is the client.
        "in" | "out" if connection.starts_with("ipc:") => direction == "out",
        "in" | "out" if connection.starts_with("ipc-child:") => direction == "in",
        "in" | "out" => {
            let dialled = role == "allexruntask.js"
                || role.starts_with("child:") && connection.starts_with("/tmp/allexmachinemanager");
            (direction == "in") != dialled
        }
        "fork" | "exit" => return Recorded::Beside("a child that starts or ends"),
        "kill" => return Recorded::Beside("a signal"),
        "note" => return Recorded::Beside("a note of the one who recorded"),
        _ if connection == "kill" => return Recorded::Beside("a signal"),
        other => panic!("an unknown direction {other}"),
    };
    if connection == "kill" {
        return Recorded::Beside("a signal");
    }
    if frame.get("http").is_some() || frame.get("httpbody").is_some() {
        return Recorded::Beside("HTTP");
    }
    if frame.get("wsopcode").is_some() {
        return Recorded::Beside("a WebSocket control frame");
    }
    let signalr_control = line["signalr"] == "control";
    match (from_client, signalr_control) {
        (true, true) => Recorded::SignalRFromClient(frame),
        (false, true) => Recorded::SignalRFromServer(frame),
        (true, false) => Recorded::Client(frame),
        (false, false) => Recorded::Server(frame),
    }
}
