//! Our server against recorded clients.

use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::server::{Output, Peer, Server, ServerOptions};
use serde_json::{Value, json};

use super::Bindings;
use super::lan_manager::{Application, LanManager, Master};
use crate::frames::assert_snapshot;
use crate::transcript::{Line, Recorded, all_lines, lines_of};

#[test]
fn the_recorded_error_shapes_of_a_lan_manager_are_answered_alike() {
    let lines = lines_of("lan-ws-error-shapes.jsonl");
    let need = first_row(&lines).unwrap();
    let mut server = server();
    let mut application = LanManager::new(&mut server, need);
    let played = play(
        &mut server,
        CarrierKind::WebSocket,
        &mut application,
        &lines,
    );
    assert_eq!(played.compared, 64);
    assert_snapshot("conversation_error_shapes", played.report);
}

#[test]
fn the_recorded_visitors_of_a_masters_sockets_are_answered_alike() {
    let mut connections: Vec<(String, String)> = Vec::new();
    let mut compared = 0;
    let lines = all_lines();
    for line in &lines {
        let ours = line.accepted
            && (line.connection.contains("/allexmachinemanager.")
                || line.connection.contains("/availablelanservices."));
        let visit = (line.file.clone(), line.connection.clone());
        // Some recordings begin in the middle of a connection.
        let begins = matches!(&line.recorded, Recorded::Client(frame) if frame[1][0].is_null() && frame[1][1].is_object());
        if ours && begins && !connections.contains(&visit) {
            connections.push(visit);
        }
    }
    assert_eq!(connections.len(), 12);
    for (file, connection) in connections {
        let lines: Vec<Line> = lines
            .iter()
            .filter(|line| line.accepted && line.file == file && line.connection == connection)
            .cloned()
            .collect();
        let manager = connection.contains("/allexmachinemanager.");
        let modulename = if manager {
            "allex_masterservice"
        } else {
            "allex_availablelanservicesservice"
        };
        let mut server = server();
        let mut application = Master::new(&mut server, modulename, first_row(&lines));
        compared += play(&mut server, CarrierKind::Socket, &mut application, &lines).compared;
    }
    assert_eq!(compared, 83);
}

struct Played {
    /// How many recorded frames had one of ours.
    compared: usize,
    /// What our server said to each request.
    report: String,
}

/// Feeds what the recorded client said and finds, for each frame of the recorded server, the same
/// frame among what our server said so far.
fn play(
    server: &mut Server,
    carrier: CarrierKind,
    application: &mut dyn Application,
    lines: &[Line],
) -> Played {
    let connection = server.open(0, carrier, Peer::default()).unwrap();
    let mut bindings = Bindings::default();
    let mut said: Vec<Value> = Vec::new();
    let mut played = Played {
        compared: 0,
        report: String::new(),
    };
    for line in lines {
        match &line.recorded {
            Recorded::Client(frame) => {
                let text = bindings.translate(frame).to_string();
                played.report.push_str(&format!("> {text}\n"));
                server.receive(0, connection, &text);
                said.extend(drain(server, application, &mut played.report));
            }
            // JavaScript tells one change in up to 20 updates, we in one: compared by the mirror's test.
            Recorded::Server(frame) if is_update(frame) => {}
            Recorded::Server(frame) => {
                if *frame == json!(["f", "string"]) {
                    // The recording lacks the request: a text instead of a frame.
                    server.receive(0, connection, "\"string\"");
                    said.extend(drain(server, application, &mut played.report));
                }
                let translated = bindings.translate(frame);
                if frame[1][1] == "-" && !said.contains(&translated) {
                    // The recorded server went down and said so to everybody.
                    server.kill(&translated[1][0].as_str().unwrap().into());
                    said.extend(drain(server, application, &mut played.report));
                }
                let found = said
                    .iter()
                    .position(|ours| bindings.clone().unify(&translated, ours));
                let index = found.unwrap_or_else(|| {
                    panic!(
                        "{}:{}: nobody said {translated}, but {said:#?}",
                        line.file, line.number
                    )
                });
                assert!(bindings.unify(frame, &said.remove(index)));
                played.compared += 1;
            }
            Recorded::SignalRFromClient(_)
            | Recorded::SignalRFromServer(_)
            | Recorded::Beside(_) => {}
        }
    }
    said.retain(|frame| !is_update(frame));
    assert_eq!(
        said,
        Vec::<Value>::new(),
        "our server says more than the recorded one"
    );
    played
}

/// Lets the application decide until there is nothing left to do; what was said meanwhile.
fn drain(
    server: &mut Server,
    application: &mut dyn Application,
    report: &mut String,
) -> Vec<Value> {
    let mut said = Vec::new();
    while let Some(output) = server.poll_output() {
        match output {
            Output::Send { text, .. } => {
                report.push_str(&format!("    < {text}\n"));
                said.push(serde_json::from_str(&text).unwrap());
            }
            Output::Event(event) => application.decide(server, event),
            Output::Close { reason, .. } => panic!("cut: {reason}"),
        }
    }
    said
}

fn is_update(frame: &Value) -> bool {
    frame[0] == "n" && ["u", "d", "c"].iter().any(|kind| frame[2][0] == *kind)
}

fn first_row(lines: &[Line]) -> Option<Row> {
    lines.iter().find_map(|line| match &line.recorded {
        Recorded::Server(frame) if frame[0] == "n" && frame[2][0] == "r1" => {
            frame[2][2].as_object().cloned()
        }
        Recorded::Server(_)
        | Recorded::Client(_)
        | Recorded::SignalRFromClient(_)
        | Recorded::SignalRFromServer(_)
        | Recorded::Beside(_) => None,
    })
}

fn server() -> Server {
    Server::new(ServerOptions {
        identifier_prefix: "s".to_owned(),
    })
}
