//! A LanManager that forgets to tell of a need: the master looks again.

use std::sync::Arc;

use allexmaster_protocol::close::CarrierKind;
use allexmaster_sessions::lan::conversation::{
    Conversation, FIRST_READ_MS, Output, READ_INTERVAL_MS, SECOND_READ_MS,
};
use allexmaster_state::{Connection, Event};
use serde_json::{Value, json};

/// Answers what the conversation asks, as a LanManager does, with one need in the followed query and
/// two where it is read again.
fn answer(conversation: &mut Conversation, now: u64) {
    while let Some(text) = conversation.poll_transmit() {
        let frame: Value = serde_json::from_str(&text).unwrap();
        let id = &frame[0];
        let row = |name: &str, pid: Value| json!({"instancename": name, "modulename": "allex_x", "pid": pid});
        let (method, argument) = (&frame[2][1][0], &frame[2][1][1][0]);
        let answers = match (method.as_str(), &frame[1][0]) {
            (None, Value::Null) => vec![
                json!(["r", id, {"session": "root", "role": "user", "modulename": "m"}]),
                json!(["oob", ["root", "s", {"p": ["name"], "o": "s", "d": "127.0.0.1"}]]),
                json!(["oob", ["root", "s", {"p": ["haveneeds"], "o": "s", "d": true}]]),
            ],
            (None, session) => {
                vec![json!(["r", id, {"session": session, "role": "user", "modulename": "m"}])]
            }
            (Some("subConnect"), _) => {
                vec![json!(["r", id, {"introduce": {"session": argument, "role": "user"}}])]
            }
            (Some("query"), _) => {
                let first = [
                    json!(["n", id, ["i", "q"]]),
                    json!(["n", id, ["rb", "r"]]),
                    json!(["n", id, ["r1", "r", row("Told", Value::Null)]]),
                ];
                let rest = if argument["continuous"] == true {
                    vec![json!(["n", id, ["re", "r"]])]
                } else {
                    vec![
                        json!(["n", id, ["r1", "r", row("Untold", Value::Null)]]),
                        json!(["n", id, ["r1", "r", row("Settled", json!(7))]]),
                        json!(["n", id, ["re", "r"]]),
                        json!(["r", id, true]),
                    ]
                };
                first.into_iter().chain(rest).collect()
            }
            (Some(_), _) => vec![json!(["r", id, "ok"])],
        };
        for answer in answers {
            conversation.receive(now, &answer.to_string());
        }
    }
}

fn appeared(conversation: &mut Conversation) -> Vec<String> {
    std::iter::from_fn(|| conversation.poll_output())
        .filter_map(|news| match news {
            Output::Emit(Event::NeedAppeared { need, .. }) => Some(need.instance.to_string()),
            Output::Emit(_) | Output::Table(_) | Output::Warn(_) => None,
        })
        .collect()
}

#[test]
fn a_need_that_was_never_told_is_found_by_looking_again() {
    let endpoint = Arc::from("ws://127.0.0.1:1");
    let carrier = CarrierKind::WebSocket;
    let mut conversation = Conversation::new(0, Connection(1), carrier, endpoint, &crate::master());
    answer(&mut conversation, 0);
    assert_eq!(
        appeared(&mut conversation),
        [""; 0],
        "what is listed does not appear"
    );
    assert!(
        conversation
            .poll_timeout()
            .is_some_and(|at| at <= FIRST_READ_MS)
    );
    conversation.handle_timeout(FIRST_READ_MS);
    answer(&mut conversation, FIRST_READ_MS);
    assert_eq!(appeared(&mut conversation), ["Untold"]);
    assert_eq!(conversation.poll_timeout(), Some(SECOND_READ_MS));
    for now in [SECOND_READ_MS, SECOND_READ_MS + READ_INTERVAL_MS] {
        conversation.handle_timeout(now);
        answer(&mut conversation, now);
        assert_eq!(appeared(&mut conversation), [""; 0], "once is enough");
    }
}
