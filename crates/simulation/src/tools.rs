//! Tools on a master's machine: each is one connection to its socket, spoken to with the real client.
//! Some call a method, one a master follows the table of its services.

use std::collections::BTreeMap;

use allexmaster_protocol::client::{
    Client, ClientEvent, ClientOptions, Timeout, same_machine_credentials,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{CallId, ServerFrame, SessionId, Target};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::mirror::Mirror;
use allexmaster_sessions::ConnectionName;
use serde_json::{Value, json};

use crate::agenda::{Happening, Job};
use crate::env::{Env, MasterId};
use crate::master::Master;
use crate::network::{Arrival, End, LinkId, Peer};

/// The process that every tool says it is.
pub(crate) const TOOL_PID: u32 = 40;
/// A tool stays connected for so long after its answer, in milliseconds, so that it notices a second
/// one.
const MAX_STAYS: u64 = 5_000;
/// A tool waits so long for an answer: longer than a run lasts.
const TIMEOUT: u64 = 24 * 60 * 60 * 1_000;
/// How often it is looked whether a master is watched.
const WATCH_EVERY: u64 = 2_000;

/// All tools.
#[derive(Default)]
pub(crate) struct Tools(BTreeMap<LinkId, Tool>);

/// What a tool wants.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Call {
        method: &'static str,
        argument: Value,
    },
    /// It follows the table of the services.
    Watch,
}

struct Tool {
    master: MasterId,
    purpose: Purpose,
    wire: Wire,
    client: Client,
    session: Option<SessionId>,
    /// Its call, once it is made, and how often that was answered.
    call: Option<CallId>,
    answers: u32,
    /// The answer is under way.
    expects_answer: bool,
    /// Its master ends, or is lost: so does the connection.
    may_close: bool,
    services: Mirror,
}

impl Tools {
    /// The tools of a master that wait for an answer.
    pub(crate) fn waiting(&self, master: MasterId) -> impl Iterator<Item = (LinkId, &'static str)> {
        let mine = self.0.iter().filter(move |(_, tool)| tool.master == master);
        mine.filter(|(_, tool)| tool.answers == 0)
            .filter_map(|(link, tool)| match tool.purpose {
                Purpose::Call { method, .. } => Some((*link, method)),
                Purpose::Watch => None,
            })
    }

    /// The services that a master's watching tool sees, each with its process.
    pub(crate) fn seen(&self, master: MasterId) -> Option<BTreeMap<String, u64>> {
        let mut mine = self.0.values().filter(|tool| tool.master == master);
        let watcher = mine.find(|tool| matches!(tool.purpose, Purpose::Watch))?;
        let rows = watcher.services.rows().filter_map(|row| {
            let name = row.get("instancename")?.as_str()?.to_owned();
            Some((name, row.get("pid")?.as_u64()?))
        });
        Some(rows.collect())
    }

    /// Nothing that a master has said last arrives for sure.
    pub(crate) fn expect_nothing(&mut self, master: MasterId) {
        for tool in self.0.values_mut().filter(|tool| tool.master == master) {
            tool.expects_answer = false;
        }
    }

    /// A master ends, and its connections with it.
    pub(crate) fn master_ends(&mut self, master: MasterId) {
        for tool in self.0.values_mut().filter(|tool| tool.master == master) {
            tool.may_close = true;
        }
    }

    /// When the first of them has something to do.
    pub(crate) fn next_timeout(&self) -> Option<(u64, LinkId)> {
        let timeouts = self.0.iter();
        timeouts
            .filter_map(|(link, tool)| Some((tool.client.poll_timeout()?, *link)))
            .min()
    }
}

impl Env {
    /// A tool connects to a master, if its sockets are there. Gives its connection.
    pub(crate) fn connect_tool(&mut self, master: &mut Master, purpose: Purpose) -> Option<LinkId> {
        let keeper = master.keeper.as_mut()?;
        let link = self.network.open(&mut self.chance, master.id, Peer::Tool);
        keeper.accepted += 1;
        let name = ConnectionName(format!("listen.0-0.{}", keeper.accepted));
        keeper.sockets.insert(name.clone(), link);
        if let Some(engine) = &master.engine {
            self.soon_in_engine(3, (master.id, engine.number), Job::TakeIn(name));
        }
        let options = ClientOptions {
            carrier: CarrierKind::Socket,
            identifier_prefix: format!("t{}_", link.0),
        };
        let mut client = Client::new(self.now, options);
        client.introduce(self.now, same_machine_credentials(TOOL_PID, "user"));
        let tool = Tool {
            master: master.id,
            purpose,
            wire: Wire::length_prefixed(),
            client,
            session: None,
            call: None,
            answers: 0,
            expects_answer: false,
            may_close: false,
            services: Mirror::new(["instancename"]),
        };
        self.tools.0.insert(link, tool);
        self.settle_tool(link);
        Some(link)
    }

    /// A master ends with everything answered that it has heard: its last bytes tell so.
    pub(crate) fn expect_answers(&mut self, master: MasterId) {
        let mine = self.tools.0.iter_mut();
        for (link, tool) in mine.filter(|(_, tool)| tool.master == master && tool.answers == 0) {
            // Questions about the state are answered beside the rules, and a query that goes on never.
            let is_decided = !matches!(
                tool.purpose,
                Purpose::Watch
                    | Purpose::Call {
                        method: "status",
                        ..
                    }
            );
            tool.expects_answer =
                tool.call.is_some() && is_decided && self.network.is_drained(*link);
        }
    }

    /// A tool watches a master, if none does.
    pub(crate) fn watch(&mut self, master: &mut Master) {
        let id = master.id;
        if self.tools.seen(id).is_none() {
            self.connect_tool(master, Purpose::Watch);
        }
        self.after(WATCH_EVERY, Happening::Watch { master: id });
    }

    /// Something arrives at a tool.
    pub(crate) fn tool_receives(&mut self, link: LinkId, arrival: Arrival) {
        let now = self.now;
        let Some(tool) = self.tools.0.get_mut(&link) else {
            return;
        };
        let mut items = Vec::new();
        match arrival {
            Arrival::Bytes(bytes) => tool.wire.receive(&bytes, &mut items),
            Arrival::Closed => tool.wire.receive_end(&mut items),
        }
        let mut answers = 0;
        let mut broken = None;
        for item in items {
            match item {
                WireItem::Text(text) => {
                    match ServerFrame::from_text(&text) {
                        Ok(ServerFrame::Result { id, .. } | ServerFrame::Failure { id, .. })
                            if tool.call.as_ref() == Some(&id) =>
                        {
                            answers += 1;
                        }
                        Ok(_) => {}
                        Err(error) => broken = Some(error.to_string()),
                    }
                    tool.client.receive(now, &text);
                }
                WireItem::Alive => tool.client.traffic(now),
                WireItem::Closed(CloseReason::ByPeer) => tool.client.closed(CloseReason::ByPeer),
                // A master that was killed may stop in the middle of a message.
                WireItem::Closed(CloseReason::HalfMessage) => {
                    tool.client.closed(CloseReason::HalfMessage);
                }
                WireItem::Closed(reason) => broken = Some(reason.to_string()),
            }
        }
        tool.answers += answers;
        let (answered, broken_by) = (tool.answers, broken);
        let is_left = tool.expects_answer && answered == 0 && tool.client.is_closed();
        let purpose = tool.purpose.clone();
        self.demand(!is_left, || {
            format!("a call is left without an answer by a master that ends: {purpose:?}")
        });
        self.demand(answered <= 1, || {
            "a local call is answered twice".to_owned()
        });
        self.demand(broken_by.is_none(), || {
            format!("a local tool is sent what makes no sense: {broken_by:?}")
        });
        self.settle_tool(link);
    }

    /// The time of a tool has come.
    pub(crate) fn tool_timeout(&mut self, link: LinkId) {
        if let Some(tool) = self.tools.0.get_mut(&link) {
            tool.client.handle_timeout(self.now);
        }
        self.settle_tool(link);
    }

    /// A tool hangs up.
    pub(crate) fn tool_leaves(&mut self, link: LinkId) {
        if self.tools.0.remove(&link).is_some() {
            self.close(link, End::Peer);
        }
    }

    fn settle_tool(&mut self, link: LinkId) {
        let now = self.now;
        let Some(tool) = self.tools.0.get_mut(&link) else {
            return;
        };
        let mut leaves_after = None;
        let mut broken = None;
        while let Some(event) = tool.client.poll_event() {
            match event {
                ClientEvent::Introduced { introduction, .. } => {
                    let session = introduction.session;
                    tool.call = Some(match &tool.purpose {
                        Purpose::Call { method, argument } => {
                            let arguments = vec![argument.clone()];
                            let timeout = Timeout::Answer(TIMEOUT);
                            let user = Target::User;
                            tool.client
                                .call(now, &session, user, method, arguments, timeout)
                        }
                        Purpose::Watch => tool.client.query(
                            now,
                            &session,
                            json!({ "continuous": true, "filter": "*" }),
                        ),
                    });
                    tool.session = Some(session);
                }
                ClientEvent::Answered { call, .. } if tool.call.as_ref() == Some(&call) => {
                    leaves_after = Some(MAX_STAYS);
                }
                ClientEvent::Progress { data, .. } => {
                    if let Err(error) = tool.services.apply(data) {
                        broken = Some(error.to_string());
                    }
                }
                ClientEvent::Closed { reason } => {
                    leaves_after = Some(0);
                    if !tool.may_close {
                        broken = Some(format!("it is cut off from a master that lives: {reason}"));
                    }
                }
                ClientEvent::Answered { .. }
                | ClientEvent::State { .. }
                | ClientEvent::Exclusivity { .. }
                | ClientEvent::SessionEnded { .. }
                | ClientEvent::ChildReady { .. }
                | ClientEvent::ChildFailed { .. } => {}
            }
        }
        while let Some(text) = tool.client.poll_transmit() {
            // A tool that is closed sends nothing more.
            let _ = tool.wire.send(&text);
        }
        let bytes = tool.wire.take_output();
        if !bytes.is_empty() {
            self.send(link, End::Master, &bytes);
        }
        if let Some(after) = leaves_after {
            self.soon(after, Happening::ToolLeaves(link));
        }
        self.demand(broken.is_none(), || format!("a local tool: {broken:?}"));
    }
}
