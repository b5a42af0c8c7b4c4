//! A tool's session with a child, carried by the master: the tool's frames go in at the local
//! socket, and come out on the child's channel under names of their own; and back.

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::server::{ConnectionId, Peer};
use allexmaster_sessions::FromChild;
use allexmaster_sessions::child::{self, Session};
use allexmaster_sessions::local::service::{Output, Service};
use allexmaster_state::{InstanceName, Pid};
use serde_json::{Value, json};

/// A master between one tool and one child.
struct Between {
    service: Service,
    /// What the tool has not fetched yet.
    heard: Vec<Value>,
    session: Session,
    tool: ConnectionId,
}

impl Between {
    /// With the child introduced, and the tool let in under the session that is returned.
    fn new() -> (Self, String) {
        let mut service = Service::new("m".to_owned());
        let peer = Peer {
            process: Some(40),
            ..Peer::default()
        };
        let tool = service.open(0, peer).unwrap();
        let mut session = Session::new(0, CarrierKind::Ipc, Pid(1), Pid(2));
        session.receive(0, r#"{"child_init":2}"#);
        let sent: Value = serde_json::from_str(&session.poll_transmit().unwrap()).unwrap();
        let granted = json!({"session": "1", "role": "service", "modulename": "allex_x"});
        session.receive(0, &json!(["r", sent[0], granted]).to_string());
        assert!(matches!(
            session.poll_output(),
            Some(child::Output::Introduced { .. })
        ));
        let mut between = Self {
            service,
            heard: Vec::new(),
            session,
            tool,
        };
        let credentials = json!({"samemachineprocess": {"pid": 40, "role": "service"}});
        let told = between.tool_says(&json!(["a", [null, credentials]]));
        let session = told.last().unwrap()[2]["session"]
            .as_str()
            .unwrap()
            .to_owned();
        (between, session)
    }

    /// The tool says something; what it hears at once.
    fn tool_says(&mut self, frame: &Value) -> Vec<Value> {
        self.service.receive(1, self.tool, &frame.to_string());
        self.tool_hears()
    }

    fn tool_hears(&mut self) -> Vec<Value> {
        self.carry_on();
        std::mem::take(&mut self.heard)
    }

    /// What the tool hears, and what the child is told of its wishes.
    fn carry_on(&mut self) {
        while let Some(output) = self.service.poll(1) {
            match output {
                Output::Send { text, .. } => self.heard.push(serde_json::from_str(&text).unwrap()),
                Output::ToChild(wish) => self.session.request(1, wish),
                Output::Close { .. } | Output::Asked { .. } => {}
            }
        }
    }

    /// What the child hears of what tools want.
    fn child_hears(&mut self) -> Vec<Value> {
        self.carry_on();
        self.carry_back();
        std::iter::from_fn(|| self.session.poll_transmit())
            .map(|text| serde_json::from_str(&text).unwrap())
            .collect()
    }

    /// The child says something; what the tool hears of it.
    fn child_says(&mut self, frame: &Value) -> Vec<Value> {
        self.session.receive(1, &frame.to_string());
        self.carry_back();
        self.tool_hears()
    }

    fn carry_back(&mut self) {
        let instance = InstanceName::from("X");
        while let Some(news) = self.session.poll_output() {
            let message = match news {
                child::Output::SubConnected {
                    token,
                    connection,
                    outcome,
                } => FromChild::SubConnected {
                    instance: instance.clone(),
                    token,
                    connection,
                    outcome,
                },
                child::Output::Frame { connection, frame } => {
                    FromChild::Frame { connection, frame }
                }
                child::Output::SessionEnded(session) => FromChild::SessionEnded { session },
                child::Output::Introduced { .. }
                | child::Output::Failed(_)
                | child::Output::Column { .. } => continue,
            };
            self.service.take_from_child(message);
        }
    }

    /// The tool gets the session `s` of the child.
    fn connect(&mut self, own: &str) {
        let wish =
            json!(["b", [own, null], ["!", ["subConnect", ["X", {"role": "user", "name": "t"}]]]]);
        assert_eq!(self.tool_says(&wish), [Value::Null; 0]);
        let asked = self.child_hears();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0][1], json!(["1", null]));
        assert_eq!(
            asked[0][2],
            json!(["!", ["subConnect", [".", {"role": "user", "name": "t"}]]])
        );
        let granted =
            json!({"introduce": {"session": "s", "role": "user", "modulename": "allex_x"}});
        let heard = self.child_says(&json!(["r", asked[0][0], granted]));
        assert_eq!(heard, [json!(["r", "b", granted])]);
    }
}

#[test]
fn a_tool_gets_a_session_with_a_child_and_talks_in_it_as_if_it_were_there() {
    let (mut between, own) = Between::new();
    between.connect(&own);
    between.tool_says(&json!(["c", ["s", null]]));
    between.tool_says(&json!(["d", ["s", null], [".", ["add", [1, 2]]]]));
    let heard = between.child_hears();
    assert_eq!(heard[0][1], json!(["s", null]));
    assert_eq!(heard[1][2], json!([".", ["add", [1, 2]]]));
    assert_ne!(
        heard[0][0], "c",
        "names of calls are the master's own on the channel"
    );
    let state = json!(["oob", ["s", "s", {"p": ["x"], "o": "s", "d": 1}]]);
    assert_eq!(between.child_says(&state), [state]);
    let progress = between.child_says(&json!(["n", heard[1][0], 50]));
    assert_eq!(progress, [json!(["n", "d", 50])]);
    assert_eq!(
        between.child_says(&json!(["r", heard[1][0], 3])),
        [json!(["r", "d", 3])]
    );
    let forgotten = json!(["f", [heard[0][0], ["s", null]]]);
    assert_eq!(
        between.child_says(&forgotten),
        [json!(["f", ["c", ["s", null]]])]
    );
}

#[test]
fn a_session_ends_for_the_tool_when_its_child_does() {
    let (mut between, own) = Between::new();
    between.connect(&own);
    between.tool_says(&json!(["d", ["s", null], [".", ["wait", []]]]));
    between.child_hears();
    between.session.closed(CloseReason::ByPeer);
    between.carry_back();
    let heard = between.tool_hears();
    assert!(
        heard.contains(&json!(["oob", ["s", "-", true]])),
        "{heard:?}"
    );
    assert!(
        heard.iter().any(|frame| frame[0] == "e" && frame[1] == "d"),
        "{heard:?}"
    );
    let late = between.tool_says(&json!(["e", ["s", null], [".", ["more", []]]]));
    // On sockets, this is how a session that is not known is answered.
    assert_eq!(late, [json!(["r", "e", null])]);
}

#[test]
fn a_childs_sessions_end_when_their_tool_goes() {
    let (mut between, own) = Between::new();
    between.connect(&own);
    between.service.closed(between.tool, CloseReason::ByPeer);
    between.tool_hears();
    let heard = between.child_hears();
    assert_eq!(heard.len(), 1);
    assert_eq!(
        (&heard[0][1], &heard[0][2]),
        (&json!(["s", null]), &json!(["!", ["die", []]]))
    );
}

#[test]
fn nobody_talks_in_the_session_of_another_connection() {
    let (mut between, own) = Between::new();
    between.connect(&own);
    let other = between.service.open(0, Peer::default()).unwrap();
    between.service.receive(
        1,
        other,
        &json!(["z", ["s", null], [".", ["add", []]]]).to_string(),
    );
    let heard = between.tool_hears();
    assert_eq!(heard, [json!(["r", "z", null])]);
    assert_eq!(between.child_hears(), [Value::Null; 0]);
}
