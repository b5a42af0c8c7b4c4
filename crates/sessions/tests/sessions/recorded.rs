//! The recorded LanManager, and this master's end of the conversation in the place of the JavaScript
//! master's: through needs, bids, approvals, a death, a need more and a need less.
//!
//! The recording gives the pace: what its master does by itself (a death, a tool's wish) happens here
//! when it is next there. What ours says has to be, but for the names of the calls, what was said
//! then; and it gets the recorded answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use allexmaster_protocol::close::CarrierKind;
use allexmaster_sessions::lan::conversation::{Conversation, Output};
use allexmaster_state::{
    BidAnswer, Connection, Event, Incarnation, InstanceName, LanAnswer, LanEffect, Need,
    PerProtocol, Pid, Port, RequestId, ResponseAnswer, ServiceRecord,
};
use serde_json::{Value, json};

use crate::recording;

const CONNECTION: Connection = Connection(1);

#[test]
fn the_recorded_lan_manager_is_told_what_the_javascript_master_told_it() {
    let lines = recording("lan-ws-needs-and-restarts.jsonl");
    let lines = lines
        .iter()
        .filter(|line| line["conn"] == "master->lan:23451#1");
    let mut play = Play::new(lines);
    play.play();
    assert_eq!(
        play.told,
        [
            "connected as 127.0.0.1",
            "needs Time",
            "Time: go on",
            "Time: approved",
            "Time is not needed",
            "heard that Time is down",
            "Time is needed",
            "Time: go on",
            "Time: approved",
            "Time is not needed",
            "Time2 is needed",
            "done: true",
            "Time2: go on",
            "Time2: approved",
            "Time2 is not needed",
            "done: true",
        ]
    );
}

struct Play {
    conversation: Conversation,
    /// What the recorded master said and ours has not said yet.
    to_say: Vec<Value>,
    /// What the recorded LanManager said, in its order, the last first.
    to_hear: Vec<Value>,
    /// The recorded names of calls, and ours.
    calls: BTreeMap<String, String>,
    needs: BTreeMap<InstanceName, Arc<Need>>,
    bids: u64,
    told: Vec<String>,
}

impl Play {
    fn new<'line>(lines: impl Iterator<Item = &'line Value>) -> Self {
        let (mut to_say, mut to_hear) = (Vec::new(), Vec::new());
        for line in lines {
            let frame = &line["frame"];
            if !frame.is_array() || frame[0] == "?" || frame[0] == "!" {
                continue;
            }
            match line["dir"].as_str().unwrap() {
                "master>lan" => to_say.push(frame.clone()),
                "lan>master" => to_hear.push(frame.clone()),
                other => panic!("an unknown direction {other}"),
            }
        }
        to_hear.reverse();
        let endpoint = Arc::from("ws://127.0.0.1:1");
        let carrier = CarrierKind::WebSocket;
        Self {
            conversation: Conversation::new(0, CONNECTION, carrier, endpoint, &crate::master()),
            to_say,
            to_hear,
            calls: BTreeMap::new(),
            needs: BTreeMap::new(),
            bids: 0,
            told: Vec::new(),
        }
    }

    fn play(&mut self) {
        loop {
            while let Some(text) = self.conversation.poll_transmit() {
                self.say(&serde_json::from_str(&text).unwrap());
            }
            if let Some(news) = self.conversation.poll_output() {
                if let Output::Emit(event) = news {
                    self.take(event);
                }
            } else if !self.hear() && !self.go_on() {
                break;
            }
        }
        let none: [Value; 0] = [];
        assert_eq!(self.to_say, none, "ours does not say it");
        assert_eq!(self.to_hear, none, "ours does not wait for it");
    }

    /// Ours says something: the recorded master said the same.
    fn say(&mut self, ours: &Value) {
        let said = without_name(ours);
        let place = self
            .to_say
            .iter()
            .position(|recorded| without_name(recorded) == said);
        let place = place.unwrap_or_else(|| panic!("nobody said {ours}, but {:#?}", self.to_say));
        let recorded = self.to_say.remove(place);
        let name = |frame: &Value| frame[0].as_str().unwrap().to_owned();
        self.calls.insert(name(&recorded), name(ours));
    }

    /// Hears what the recorded LanManager said next, where it is no answer to what ours has still to
    /// say.
    fn hear(&mut self) -> bool {
        let Some(next) = self.to_hear.last() else {
            return false;
        };
        let mut frame = next.clone();
        let name = match frame[0].as_str() {
            Some("oob") => None,
            Some("f") => Some(&mut frame[1][0]),
            Some(_) | None => Some(&mut frame[1]),
        };
        if let Some(name) = name {
            match self.calls.get(name.as_str().unwrap()) {
                Some(ours) => *name = json!(ours),
                None => return false,
            }
        }
        self.to_hear.pop();
        self.conversation.receive(0, &frame.to_string());
        true
    }

    /// Does what the recorded master did next by itself.
    fn go_on(&mut self) -> bool {
        let Some(next) = self.to_say.first() else {
            return false;
        };
        let (method, argument) = (&next[2][1][0], next[2][1][1][0].clone());
        let (connection, request) = (CONNECTION, RequestId(1));
        let instance = || InstanceName::from(argument.as_str().unwrap());
        let effect = match method.as_str() {
            Some("notifyServiceDown") => LanEffect::ReportDown {
                connection,
                instance: instance(),
            },
            Some("removeNeed") => LanEffect::RemoveNeed {
                connection,
                request,
                instance: instance(),
            },
            Some("addNeed") => LanEffect::AddNeed {
                connection,
                request,
                need: argument,
            },
            Some(_) | None => return false,
        };
        self.conversation.perform(0, effect);
        true
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the LanManager causes only these, and another one is a failure"
    )]
    fn take(&mut self, event: Event) {
        let told = match event {
            Event::LanConnected { address, .. } => format!("connected as {address}"),
            Event::NeedsListed { needs, .. } => {
                let names: Vec<_> = needs.iter().map(|need| need.instance.to_string()).collect();
                needs.into_iter().for_each(|need| self.bid(need));
                format!("needs {}", names.join(", "))
            }
            Event::NeedAppeared { need, .. } => {
                let told = format!("{} is needed", need.instance);
                self.bid(need);
                told
            }
            Event::NeedWithdrawn { instance, .. } => format!("{instance} is not needed"),
            Event::BidAnswered {
                instance,
                bid,
                answer: BidAnswer::Challenged,
            } => {
                self.respond(&instance, bid);
                format!("{instance}: go on")
            }
            Event::ResponseAnswered {
                instance,
                answer: ResponseAnswer::Approved,
                ..
            } => format!("{instance}: approved"),
            Event::ServiceDownAcknowledged { instance, .. } => {
                format!("heard that {instance} is down")
            }
            Event::LanCallAnswered {
                answer: LanAnswer::Done(value),
                ..
            } => format!("done: {value}"),
            other => panic!("unexpected: {other:?}"),
        };
        self.told.push(told);
    }

    fn bid(&mut self, need: Arc<Need>) {
        let instance = need.instance.clone();
        self.needs.insert(instance.clone(), need);
        self.bids += 1;
        let bid = Incarnation {
            sequence: self.bids,
            index: 0,
        };
        let effect = LanEffect::Bid {
            connection: CONNECTION,
            instance,
            bid,
            address: Arc::from("127.0.0.1"),
        };
        self.conversation.perform(0, effect);
    }

    /// Responds with the child that the recorded master started.
    fn respond(&mut self, instance: &InstanceName, bid: Incarnation) {
        let is_its = |frame: &&Value| {
            frame[2][1][0] == "respond" && frame[2][1][1][1]["instancename"] == instance.as_str()
        };
        let row = &self.to_say.iter().find(is_its).unwrap()[2][1][1][1];
        let number = |name: &str| row[name].as_u64().unwrap();
        let port = |name: &str| Some(Port(u16::try_from(number(name)).unwrap()));
        let record = ServiceRecord {
            need: Arc::clone(&self.needs[instance]),
            pid: Pid(u32::try_from(number("pid")).unwrap()),
            ports: PerProtocol {
                tcp: port("tcpport"),
                http: port("httpport"),
                ws: port("wsport"),
            },
            address: Some(Arc::from("127.0.0.1")),
        };
        self.conversation
            .perform(0, LanEffect::Respond { bid, record });
    }
}

/// A frame as it counts here: without the name of the call, and without what is the JavaScript
/// master's own matter (a filter that no LanManager heeds, and a state of its child in the row) and
/// ours: who the master is.
fn without_name(frame: &Value) -> Value {
    let mut frame = frame.clone();
    frame[0] = Value::Null;
    if let Some(data) = frame[1][1]["ip"].as_object_mut() {
        data.remove("master");
    }
    if frame[2][1][0] == "subConnect"
        && let Some(identity) = frame[2][1][1][1].as_object_mut()
    {
        identity.remove("filter");
    }
    if frame[2][1][0] == "respond"
        && let Some(row) = frame[2][1][1][1].as_object_mut()
    {
        row.remove("closed");
    }
    frame
}
