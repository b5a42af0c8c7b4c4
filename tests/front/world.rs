//! A front that lives, with its log; and others that were made of that log, which get all that it gets.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use allexmaster::front::Memory;
use allexmaster_sessions::{
    ChildWire, Endpoint, Front, FrontIdentity, Input, Item, LanProtocol, LineName, Mark, Output,
};
use allexmaster_state::{
    Connection, Identity, Incarnation, InstanceName, Pid, RequestId, SessionEffect,
};
use serde_json::{Value, json};

use super::peers::{Peer, answer_of_a_child, answers_of_a_lan_manager};

/// The process that all tools claim to be.
pub(crate) const TOOL: u32 = 40;

pub(crate) struct World {
    pub(crate) front: Front,
    pub(crate) memory: Memory,
    pub(crate) now: u64,
    /// Fronts that were made again at some moment; they get all further inputs.
    twins: Vec<Front>,
    pub(crate) tools: BTreeMap<LineName, Peer>,
    pub(crate) children: BTreeMap<LineName, Peer>,
    pub(crate) lan: Option<(LineName, bool, Peer)>,
    looks: Vec<RequestId>,
    lines_made: u64,
    sequence: u64,
    heard: u64,
}

pub(crate) fn identity() -> FrontIdentity {
    FrontIdentity {
        journal: "journal".to_owned(),
        master: Pid(1),
        prefix: "1_0_".to_owned(),
    }
}

/// All that a front is: its image, and what its driver asks it.
pub(crate) fn all_of(front: &Front) -> String {
    let image = serde_json::to_string(front).unwrap();
    let untold: Vec<_> = (0..)
        .map_while(|after| front.untold(front.heard().acked + after))
        .collect();
    let lines = front.lines();
    let chunks: Vec<_> = lines
        .iter()
        .map(|(line, _)| (front.chunk(line, usize::MAX), front.chunk(line, 3)))
        .collect();
    let looks = front.looks();
    let timeout = front.poll_timeout();
    format!("{image}\n{untold:?}\n{lines:?}\n{chunks:?}\n{looks:?}\n{timeout:?}")
}

/// The front that a log makes.
pub(crate) fn opened(memory: &Memory) -> Front {
    let descriptor = memory.as_fd().try_clone_to_owned().unwrap();
    Memory::open(descriptor).unwrap().1
}

impl World {
    pub(crate) fn new() -> Self {
        let front = Front::new(identity(), 0);
        let memory = Memory::create(&front).unwrap();
        Self {
            front,
            memory,
            now: 1_000,
            twins: Vec::new(),
            tools: BTreeMap::new(),
            children: BTreeMap::new(),
            lan: None,
            looks: Vec::new(),
            lines_made: 0,
            sequence: 0,
            heard: 0,
        }
    }

    /// Everything that the log makes is what lives.
    pub(crate) fn check(&self) {
        let lives = all_of(&self.front);
        assert_eq!(all_of(&opened(&self.memory)), lives, "made of the log");
        let image = Memory::create(&self.front).unwrap();
        assert_eq!(all_of(&opened(&image)), lives, "made of an image");
        for twin in &self.twins {
            assert_eq!(all_of(twin), lives, "made of the log some inputs ago");
        }
    }

    /// A further front is made of the log, and lives beside.
    pub(crate) fn split(&mut self) {
        self.twins.push(opened(&self.memory));
    }

    /// The engine is killed: what was made of the log goes on with it. The new engine may begin a new
    /// log with an image.
    pub(crate) fn restart(&mut self, with_image: bool) {
        let descriptor = self.memory.as_fd().try_clone_to_owned().unwrap();
        let (memory, front) = Memory::open(descriptor).unwrap();
        self.twins.push(std::mem::replace(&mut self.front, front));
        self.memory = if with_image {
            Memory::create(&self.front).unwrap()
        } else {
            memory
        };
    }

    pub(crate) fn enter(&mut self, input: &Input) {
        self.memory.input(self.now, input).unwrap();
        let now = self.now;
        self.all(|front| front.handle(now, input.clone()));
    }

    pub(crate) fn receive(&mut self, line: &LineName, bytes: &[u8]) {
        self.memory.bytes(self.now, line, bytes).unwrap();
        let now = self.now;
        self.all(|front| front.receive(now, line, bytes));
        self.mark(line, Mark::Consumed);
    }

    pub(crate) fn mark(&mut self, line: &LineName, mark: Mark) {
        self.memory.mark(line, mark).unwrap();
        self.all(|front| front.mark(line, mark));
    }

    fn all(&mut self, act: impl Fn(&mut Front)) {
        act(&mut self.front);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.front.poll()).collect();
        let shown = format!("{outputs:?}");
        for twin in &mut self.twins {
            act(twin);
            let theirs: Vec<Output> = std::iter::from_fn(|| twin.poll()).collect();
            assert_eq!(format!("{theirs:?}"), shown, "they act alike");
        }
        for output in outputs {
            match output {
                Output::Look(request, _) => self.looks.push(request),
                Output::Carry(line, text) => {
                    if let Some((_, _, peer)) = self.lan.as_mut().filter(|lan| lan.0 == line) {
                        peer.hear(text.as_bytes());
                    }
                }
                Output::Write(_)
                | Output::Finish(_)
                | Output::Cut(_)
                | Output::Tell
                | Output::Dial
                | Output::StopDialing
                | Output::Introduced(..)
                | Output::ChildGone(..)
                | Output::Narrate(_)
                | Output::Warn(_) => {}
            }
        }
    }

    pub(crate) fn accept(&mut self, socket: u32) -> LineName {
        self.lines_made += 1;
        let line = LineName(format!("listen.{socket}-0.{}", self.lines_made));
        self.enter(&Input::Accepted {
            line: line.clone(),
            socket,
            process: Some(TOOL),
            user: Some(0),
        });
        self.tools.insert(line.clone(), Peer::tool());
        line
    }

    pub(crate) fn open_child(&mut self, instance: &str, wire: ChildWire) -> LineName {
        self.lines_made += 1;
        let line = LineName(format!("child.{}", self.lines_made));
        self.enter(&Input::ChannelOpened {
            line: line.clone(),
            incarnation: Incarnation {
                sequence: self.lines_made,
                index: 0,
            },
            instance: InstanceName::from(instance),
            identity: Identity {
                boot: "boot".into(),
                pid: Pid(u32::try_from(self.lines_made).unwrap()),
                started: 1,
            },
            wire,
        });
        self.children.insert(line.clone(), Peer::child(wire));
        line
    }

    /// The rules want a connection to the LanManager, and it is made.
    pub(crate) fn dial(&mut self, tls: bool) {
        self.lines_made += 1;
        let connection = Connection(self.lines_made);
        self.journaled(vec![SessionEffect::Dial {
            connection,
            failures: 0,
        }]);
        let line = LineName(format!("lan.{connection}"));
        self.lan = Some((line.clone(), tls, Peer::lan(tls)));
        let protocol = if tls {
            LanProtocol::Wss
        } else {
            LanProtocol::Ws
        };
        self.enter(&Input::Dialed {
            line,
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
        let untold = (0..).map_while(|after| self.front.untold(self.heard + after));
        let most = untold.last().map_or(self.heard, |(number, _)| number);
        self.heard = (self.heard + 2).min(most);
        self.sequence += 3;
        self.enter(&Input::Journaled {
            sequence: self.sequence,
            heard: self.heard,
            effects,
        });
    }

    pub(crate) fn answer_a_look(&mut self) {
        if let Some(request) = self.looks.pop() {
            let reply = allexmaster_state::Reply::Done(json!({"services": []}));
            self.enter(&Input::Answered { request, reply });
        }
    }

    /// Moves the clock, to where the front wants to be woken if it does before.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let until = self.now + milliseconds;
        match self.front.poll_timeout().filter(|at| *at <= until) {
            Some(at) => {
                self.now = self.now.max(at);
                self.enter(&Input::Timeout);
            }
            None => self.now = until,
        }
    }

    /// A tool says a frame. So much of all that it has said arrives, in eighths.
    pub(crate) fn tool_says(&mut self, line: &LineName, frame: &Value, eighths: usize) {
        let peer = self.tools.get_mut(line).unwrap();
        peer.say(frame);
        let bytes = take(peer, eighths);
        self.receive(line, &bytes);
    }

    pub(crate) fn child_says(&mut self, line: &LineName, frame: &Value, eighths: usize) {
        let peer = self.children.get_mut(line).unwrap();
        peer.say(frame);
        let bytes = take(peer, eighths);
        self.receive(line, &bytes);
    }

    /// A child answers all that it was asked.
    pub(crate) fn child_answers(&mut self, line: &LineName, eighths: usize) {
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
                    line: line.clone(),
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
    pub(crate) fn send(&mut self, line: &LineName, most: usize, works: bool) {
        let Some((bytes, end)) = self.front.chunk(line, most) else {
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
        for (line, _) in self.front.lines() {
            self.send(&line, usize::MAX, true);
        }
    }
}

fn take(peer: &mut Peer, eighths: usize) -> Vec<u8> {
    let count = (peer.pending.len() * eighths).div_ceil(8);
    peer.pending.drain(..count).collect()
}
