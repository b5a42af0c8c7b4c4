//! A sessions that lives, with its log; and others that were made of that log, which get all that it gets.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use allexmaster::sessions::SessionLog;
use allexmaster_machine::Mono;
use allexmaster_sessions::{
    ChildWire, ConnectionName, Endpoint, Input, Item, LanProtocol, Mark, OutboxAck, Output,
    Sessions, SessionsIdentity,
};
use allexmaster_state::{
    Connection, Identity, Incarnation, InstanceName, Pid, RequestId, SessionEffect,
};
use serde_json::{Value, json};

use super::peers::{Peer, answer_of_a_child, answers_of_a_lan_manager};

/// The process that all tools claim to be.
pub(crate) const TOOL: u32 = 40;

pub(crate) struct World {
    pub(crate) log: SessionLog,
    pub(crate) now: u64,
    /// Sessions that were made again at some moment; they get all further inputs.
    twins: Vec<SessionLog>,
    pub(crate) tools: BTreeMap<ConnectionName, Peer>,
    pub(crate) children: BTreeMap<ConnectionName, Peer>,
    pub(crate) lan: Option<(ConnectionName, bool, Peer)>,
    looks: Vec<RequestId>,
    opened: u64,
    sequence: u64,
    heard: u64,
}

pub(crate) fn identity() -> SessionsIdentity {
    SessionsIdentity {
        journal: "journal".to_owned(),
        master: Pid(1),
        prefix: "1_0_".to_owned(),
    }
}

/// All that sessions are: their snapshot, and what the runtime asks them.
pub(crate) fn all_of(sessions: &Sessions) -> String {
    let snapshot = serde_json::to_string(sessions).unwrap();
    let untold: Vec<_> = (0..)
        .map_while(|after| sessions.unacked(sessions.ack().acked + after))
        .collect();
    let lines = sessions.connections();
    let chunks: Vec<_> = lines
        .iter()
        .map(|(line, _)| (sessions.chunk(line, usize::MAX), sessions.chunk(line, 3)))
        .collect();
    let looks = sessions.queries();
    let timeout = sessions.poll_timeout();
    format!("{snapshot}\n{untold:?}\n{lines:?}\n{chunks:?}\n{looks:?}\n{timeout:?}")
}

/// The sessions that a log makes. They log nothing themselves.
pub(crate) fn opened(log: &SessionLog) -> SessionLog {
    let descriptor = log.as_fd().try_clone_to_owned().unwrap();
    let mut twin = SessionLog::open(descriptor).unwrap();
    twin.detach();
    twin
}

impl World {
    pub(crate) fn new() -> Self {
        let sessions = Sessions::new(identity(), 0);
        let log = SessionLog::begin(&sessions).unwrap();
        Self {
            log,
            now: 1_000,
            twins: Vec::new(),
            tools: BTreeMap::new(),
            children: BTreeMap::new(),
            lan: None,
            looks: Vec::new(),
            opened: 0,
            sequence: 0,
            heard: 0,
        }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.log.sessions()
    }

    /// Everything that the log makes is what lives.
    pub(crate) fn check(&self) {
        let lives = all_of(self.sessions());
        assert_eq!(
            all_of(opened(&self.log).sessions()),
            lives,
            "made of the log"
        );
        let snapshot = SessionLog::begin(self.sessions()).unwrap();
        assert_eq!(
            all_of(opened(&snapshot).sessions()),
            lives,
            "made of a snapshot"
        );
        for twin in &self.twins {
            assert_eq!(
                all_of(twin.sessions()),
                lives,
                "made of the log some inputs ago"
            );
        }
    }

    /// Further sessions are made of the log, and live beside.
    pub(crate) fn split(&mut self) {
        self.twins.push(opened(&self.log));
    }

    /// The engine is killed: what was made of the log goes on with it. The new engine may begin a new
    /// file with a snapshot.
    pub(crate) fn restart(&mut self, with_snapshot: bool) {
        let descriptor = self.log.as_fd().try_clone_to_owned().unwrap();
        let log = SessionLog::open(descriptor).unwrap();
        let mut before = std::mem::replace(&mut self.log, log);
        before.detach();
        self.twins.push(before);
        if with_snapshot {
            self.log.renew().unwrap();
        }
    }

    pub(crate) fn enter(&mut self, input: &Input) {
        let now = Mono(self.now);
        let outputs = self.log.commit(now, input).unwrap();
        let shown = format!("{outputs:?}");
        for twin in &mut self.twins {
            let theirs = twin.commit(now, input).unwrap();
            assert_eq!(format!("{theirs:?}"), shown, "they act alike");
        }
        for output in outputs {
            self.obey(output);
        }
    }

    pub(crate) fn receive(&mut self, line: &ConnectionName, bytes: &[u8]) {
        self.receive_unmarked(line, bytes);
        self.mark(line, Mark::Consumed);
    }

    /// The bytes have come, and it is not logged that they were taken out of the socket.
    pub(crate) fn receive_unmarked(&mut self, line: &ConnectionName, bytes: &[u8]) {
        self.enter(&Input::Received {
            name: line.clone(),
            bytes: bytes.to_vec(),
        });
    }

    pub(crate) fn mark(&mut self, line: &ConnectionName, mark: Mark) {
        let name = line.clone();
        self.enter(&Input::Marked { name, mark });
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Query(request, _) => self.looks.push(request),
            Output::Carry(line, text) => {
                if let Some((_, _, peer)) = self.lan.as_mut().filter(|lan| lan.0 == line) {
                    peer.hear(text.as_bytes());
                }
            }
            Output::Write(_)
            | Output::Finish(_)
            | Output::Cut(_)
            | Output::Emit
            | Output::Dial
            | Output::StopDialing
            | Output::Introduced(..)
            | Output::ChildGone(..)
            | Output::LogEvent(_)
            | Output::Warn(_) => {}
        }
    }

    pub(crate) fn accept(&mut self, socket: u32) -> ConnectionName {
        self.opened += 1;
        let line = ConnectionName(format!("listen.{socket}-0.{}", self.opened));
        self.enter(&Input::Accepted {
            name: line.clone(),
            socket,
            process: Some(TOOL),
            user: Some(0),
            user_name: None,
        });
        self.tools.insert(line.clone(), Peer::tool());
        line
    }

    pub(crate) fn open_child(&mut self, instance: &str, wire: ChildWire) -> ConnectionName {
        self.opened += 1;
        let line = ConnectionName(format!("child.{}", self.opened));
        self.enter(&Input::ChannelOpened {
            name: line.clone(),
            incarnation: Incarnation {
                sequence: self.opened,
                index: 0,
            },
            instance: InstanceName::from(instance),
            identity: Identity {
                boot: "boot".into(),
                pid: Pid(u32::try_from(self.opened).unwrap()),
                started: 1,
            },
            wire,
        });
        self.children.insert(line.clone(), Peer::child(wire));
        line
    }

    /// The rules want a connection to the LanManager, and it is made.
    pub(crate) fn dial(&mut self, tls: bool) {
        self.opened += 1;
        let connection = Connection(self.opened);
        self.journaled(vec![SessionEffect::Dial {
            connection,
            failures: 0,
        }]);
        let line = ConnectionName(format!("lan.{connection}"));
        self.lan = Some((line.clone(), tls, Peer::lan(tls)));
        let protocol = if tls {
            LanProtocol::Wss
        } else {
            LanProtocol::Ws
        };
        self.enter(&Input::Dialed {
            name: line,
            connection,
            endpoint: Endpoint {
                protocol,
                host: "lan".to_owned(),
                port: 1,
            },
            seed: [7; _],
        });
    }

    /// Some of what was told is in the journal, with what it caused.
    pub(crate) fn journaled(&mut self, effects: Vec<SessionEffect>) {
        let untold = (0..).map_while(|after| self.sessions().unacked(self.heard + after));
        let most = untold.last().map_or(self.heard, |(number, _)| number);
        self.heard = (self.heard + 2).min(most);
        self.sequence += 3;
        self.enter(&Input::Journaled {
            ack: OutboxAck {
                sequence: self.sequence,
                acked: self.heard,
            },
            effects,
        });
    }

    pub(crate) fn answer_a_look(&mut self) {
        if let Some(request) = self.looks.pop() {
            let reply = allexmaster_state::Reply::Done(json!({"services": []}));
            self.enter(&Input::Answered { request, reply });
        }
    }

    /// Moves the clock, to where the sessions want to be woken if that is before.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let until = self.now + milliseconds;
        let due = self.sessions().poll_timeout().map(|at| at.0);
        match due.filter(|at| *at <= until) {
            Some(at) => {
                self.now = self.now.max(at);
                self.enter(&Input::Timeout);
            }
            None => self.now = until,
        }
    }

    /// A tool says a frame. So much of all that it has said arrives, in eighths.
    pub(crate) fn tool_says(&mut self, line: &ConnectionName, frame: &Value, eighths: usize) {
        let peer = self.tools.get_mut(line).unwrap();
        peer.say(frame);
        let bytes = take(peer, eighths);
        self.receive(line, &bytes);
    }

    pub(crate) fn child_says(&mut self, line: &ConnectionName, frame: &Value, eighths: usize) {
        let peer = self.children.get_mut(line).unwrap();
        peer.say(frame);
        let bytes = take(peer, eighths);
        self.receive(line, &bytes);
    }

    /// A child answers all that it was asked.
    pub(crate) fn child_answers(&mut self, line: &ConnectionName, eighths: usize) {
        let peer = self.children.get_mut(line).unwrap();
        for frame in std::mem::take(&mut peer.unanswered) {
            let number = self.now;
            peer.say(&answer_of_a_child(&frame, number));
        }
        let bytes = take(peer, eighths);
        self.receive(line, &bytes);
    }

    /// The LanManager answers all that it was asked.
    pub(crate) fn lan_answers(&mut self, eighths: usize) {
        let Some((line, tls, mut peer)) = self.lan.take() else {
            return;
        };
        let asked = std::mem::take(&mut peer.unanswered);
        let answers: Vec<Value> = asked.iter().flat_map(answers_of_a_lan_manager).collect();
        if tls {
            self.lan = Some((line.clone(), tls, peer));
            for answer in answers {
                self.enter(&Input::Carried {
                    name: line.clone(),
                    item: Item::Text(answer.to_string()),
                });
            }
            return;
        }
        for answer in answers {
            peer.say(&answer);
        }
        let bytes = take(&mut peer, eighths);
        self.lan = Some((line.clone(), tls, peer));
        self.receive(&line, &bytes);
    }

    /// Sends some of what a line has to send, or fails to.
    pub(crate) fn send(&mut self, line: &ConnectionName, most: usize, works: bool) {
        let Some((bytes, end)) = self.sessions().chunk(line, most) else {
            return;
        };
        self.mark(line, Mark::Offered(end));
        if !works {
            return self.mark(line, Mark::Withdrawn);
        }
        self.mark(line, Mark::Taken(end));
        let lan = self.lan.as_mut().filter(|lan| lan.0 == *line);
        let peer = self.tools.get_mut(line);
        let peer = peer.or_else(|| self.children.get_mut(line));
        if let Some(peer) = peer.or_else(|| lan.map(|lan| &mut lan.2)) {
            peer.hear(&bytes);
        }
    }

    /// Sends all that waits.
    pub(crate) fn send_all(&mut self) {
        for (line, _) in self.sessions().connections() {
            self.send(&line, usize::MAX, true);
        }
    }
}

fn take(peer: &mut Peer, eighths: usize) -> Vec<u8> {
    let count = (peer.pending.len() * eighths).div_ceil(8);
    peer.pending.drain(..count).collect()
}
