//! The LanManager: its real rules, its real sessions over byte streams, its journal; restarted now and
//! then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{JournaledMachine, Options};
use allexmaster_lanmanager::rules::{self, Event, Files, Need, Settings};
use allexmaster_lanmanager::serve::{Rules, Sessions, Task};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::server::{ConnectionId, Output, Peer as ServerPeer};
use allexmaster_testkit::chance::Chance;

use crate::agenda::{Chore, Happening};
use crate::env::{Env, MasterId};
use crate::master::SimulatedClock;
use crate::network::{Arrival, End, LinkId, Peer};

/// How long a master that is gone has for a reconnect, in milliseconds.
const RECONNECT_GRACE: u64 = 3_000;
/// How long after its start everybody who stood at its doors is in.
const CATCH_UP: u64 = 3_000;
/// So often, in thousandths, it is killed between a decision and what follows from it.
const CRASH_PERMILLE: u64 = 2;

/// The LanManager.
pub(crate) struct LanManager {
    pub(crate) disk: FakeDisk,
    parts: Option<Parts>,
    /// Counts its starts.
    pub(crate) run: u64,
    needs: Vec<Need>,
    runtime: Vec<Need>,
}

struct Parts {
    live: JournaledMachine<Rules>,
    sessions: Sessions,
    wires: BTreeMap<ConnectionId, (LinkId, Wire)>,
}

impl LanManager {
    pub(crate) fn new(needs: Vec<Need>) -> Self {
        Self {
            disk: FakeDisk::new(),
            parts: None,
            run: 0,
            needs,
            runtime: Vec::new(),
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.parts.is_some()
    }

    /// What it knows.
    pub(crate) fn state(&self) -> Option<&rules::State> {
        self.parts.as_ref().map(|parts| parts.live.state())
    }

    /// When its connections have something to do.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.parts.as_ref()?.sessions.server.poll_timeout()
    }

    /// When its rules have something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let state = self.state()?;
        state.next_deadline().map(|(at, _)| at.0)
    }

    /// Starts it, with what its files say.
    pub(crate) fn start(&mut self, env: &mut Env) {
        if self.is_up() {
            return;
        }
        self.run += 1;
        let store = Box::new(self.disk.clone());
        let live = match JournaledMachine::with_store(store, Options::default()) {
            Ok((live, _)) => live,
            Err(error) => {
                return env.demand(false, || format!("the LanManager cannot start: {error}"));
            }
        };
        let prefix = format!("l{}_", self.run);
        let sessions = Sessions::new(prefix);
        self.parts = Some(Parts {
            live,
            sessions,
            wires: BTreeMap::new(),
        });
        let files = Files {
            needs: self.needs.clone(),
            runtime: self.runtime.clone(),
            ..Files::default()
        };
        self.tell(env, Event::FilesRead { first: true, files });
        let settings = Settings {
            ip_strategies: Vec::new(),
            reconnect_grace: RECONNECT_GRACE,
            edition: rules::EDITION,
        };
        self.tell(env, Event::Started { settings });
        let (run, chore) = (self.run, Chore::CatchUp);
        env.after(CATCH_UP, Happening::LanManager { run, chore });
    }

    /// It is killed. Its connections break.
    pub(crate) fn lose(&mut self, env: &mut Env) {
        if self.parts.take().is_none() {
            return;
        }
        self.disk.crash(self.disk.pending_bytes());
        let is_its = |peer: &Peer| matches!(peer, Peer::LanManager { .. });
        for link in env.network.of_peer(is_its) {
            env.close(link, End::Peer);
        }
    }

    /// Takes a connection; `None` where nobody listens.
    pub(crate) fn accept(&mut self, env: &mut Env, master: MasterId) -> Option<LinkId> {
        let run = self.run;
        let parts = self.parts.as_mut()?;
        let peer = ServerPeer {
            address: master.address().parse().ok(),
            ..ServerPeer::default()
        };
        let server = &mut parts.sessions.server;
        let connection = server.open(env.now, CarrierKind::WebSocket, peer).ok()?;
        let peer = Peer::LanManager { run, connection };
        let link = env.network.open(&mut env.chance, master, peer);
        parts
            .wires
            .insert(connection, (link, Wire::web_socket_server()));
        Some(link)
    }

    /// Something arrives for it.
    pub(crate) fn receives(
        &mut self,
        env: &mut Env,
        (run, connection): (u64, ConnectionId),
        arrival: Arrival,
    ) {
        let Some(parts) = self.parts.as_mut().filter(|_| run == self.run) else {
            return;
        };
        let Some((link, wire)) = parts.wires.get_mut(&connection) else {
            return;
        };
        let link = *link;
        let mut items = Vec::new();
        match arrival {
            Arrival::Bytes(bytes) => wire.receive(&bytes, &mut items),
            Arrival::Closed => wire.receive_end(&mut items),
        }
        let answer = wire.take_output();
        env.send(link, End::Master, &answer);
        for item in items {
            let server = &mut parts.sessions.server;
            match item {
                WireItem::Text(text) => server.receive(env.now, connection, &text),
                WireItem::Alive => server.traffic(env.now, connection),
                WireItem::Closed(reason) => {
                    env.demand(reason == CloseReason::ByPeer, || {
                        format!("the LanManager is sent what makes no sense: {reason}")
                    });
                    server.closed(connection, reason);
                    parts.wires.remove(&connection);
                    env.close(link, End::Peer);
                    break;
                }
            }
        }
        self.settle(env);
    }

    /// Its connections' time has come.
    pub(crate) fn timeout(&mut self, env: &mut Env) {
        if let Some(parts) = &mut self.parts {
            parts.sessions.server.handle_timeout(env.now);
        }
        self.settle(env);
    }

    /// Something happens to it: recorded, decided, performed.
    pub(crate) fn tell(&mut self, env: &mut Env, event: Event) {
        self.commit(env, event);
        self.settle(env);
    }

    fn commit(&mut self, env: &mut Env, event: Event) {
        let Some(parts) = &mut self.parts else {
            return;
        };
        let mut clock = SimulatedClock {
            wall: env.now,
            chance: Chance::new(env.chance.any()),
        };
        let committed = parts.live.commit(&mut clock, vec![event]);
        if !env.is_calm && env.chance.permille(CRASH_PERMILLE) {
            self.lose(env);
            return env.soon(3_000, Happening::LanManagerStart);
        }
        let checked = parts.live.state().check();
        match committed {
            Ok(effects) => {
                for effect in effects {
                    parts.sessions.perform(env.now, effect);
                }
            }
            Err(error) => env.demand(false, || format!("the LanManager's journal: {error}")),
        }
        env.demand(checked.is_ok(), || format!("the LanManager: {checked:?}"));
    }

    /// Does everything that follows from what came in.
    fn settle(&mut self, env: &mut Env) {
        loop {
            let Some(parts) = &mut self.parts else {
                return;
            };
            if let Some(output) = parts.sessions.server.poll_output() {
                parts.obey(env, output);
                continue;
            }
            let Some(task) = parts.sessions.poll_task() else {
                return;
            };
            let chore = match task {
                Task::Event(event) => {
                    self.commit(env, event);
                    continue;
                }
                Task::CheckPorts {
                    check,
                    address,
                    ports,
                } => Chore::Check {
                    check,
                    address,
                    ports,
                },
                Task::WriteRuntimeNeeds { .. } => Chore::Write,
            };
            env.soon(
                100,
                Happening::LanManager {
                    run: self.run,
                    chore,
                },
            );
        }
    }

    /// The ports that it had checked answer, or do not.
    pub(crate) fn checked(&mut self, env: &mut Env, check: rules::PortsCheck, reachable: bool) {
        self.tell(env, Event::PortsChecked { check, reachable });
    }

    /// The runtime needs are written.
    pub(crate) fn write(&mut self, env: &mut Env) {
        let Some(state) = self.state() else {
            return;
        };
        let (revision, rows) = state.runtime_needs();
        let rows = rows.into_iter().map(serde_json::Value::Object);
        self.runtime = rows.filter_map(|row| Need::from_json(row).ok()).collect();
        self.tell(env, Event::RuntimeNeedsWritten { revision });
    }
}

impl Parts {
    fn obey(&mut self, env: &mut Env, output: Output) {
        match output {
            Output::Send { connection, text } => {
                if let Some((link, wire)) = self.wires.get_mut(&connection) {
                    // A connection that has ended takes nothing more.
                    let _ = wire.send(&text);
                    env.send(*link, End::Master, &wire.take_output());
                }
            }
            Output::Close { connection, reason } => {
                if let Some((link, _)) = self.wires.remove(&connection) {
                    env.close(link, End::Peer);
                }
                let is_fair = matches!(
                    reason,
                    CloseReason::ByUs | CloseReason::ByPeer | CloseReason::Silent { .. }
                );
                env.demand(is_fair, || {
                    format!("the LanManager cuts a master off: {reason}")
                });
            }
            Output::Event(event) => self.sessions.handle(env.now, event),
        }
    }
}

/// The address of a master's machine.
pub(crate) fn is_at(master: MasterId, address: IpAddr) -> bool {
    address.to_string() == master.address()
}
