//! The LanManager: its real rules, its real front, its journal; restarted now and then.

use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{JournaledMachine, Options};
use allexmaster_lanmanager::rules::{self, Event, Files, Need, Settings};
use allexmaster_lanmanager::serve::{Access, Rules, Sessions, Task};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::server::{ConnectionId, Output, Peer};
use allexmaster_state::Port;

use crate::agenda::{Chore, Happening};
use crate::engine::SimulatedClock;
use crate::network::{End, LinkId, Packet};
use crate::plan::ADDRESS;
use crate::world::World;

/// How long a master that is gone has for a reconnect, in milliseconds.
const RECONNECT_GRACE: u64 = 3_000;
/// So often, in thousandths, it is killed between a decision and what follows from it.
const CRASH_PERMILLE: u64 = 2;

/// The LanManager.
pub(crate) struct LanManager {
    disk: FakeDisk,
    parts: Option<Parts>,
    /// Counts its starts.
    pub(crate) run: u64,
    needs: Vec<Need>,
    runtime: Vec<Need>,
}

struct Parts {
    live: JournaledMachine<Rules>,
    front: Sessions,
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
        self.parts.as_ref()?.front.server.poll_timeout()
    }

    /// When its rules have something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let state = self.state()?;
        state.next_deadline().map(|(at, _)| at.0)
    }
}

impl World {
    /// Starts it, with what its files say.
    pub(crate) fn start_lan_manager(&mut self) {
        let lan_manager = &mut self.lan_manager;
        if lan_manager.is_up() {
            return;
        }
        lan_manager.run += 1;
        let store = Box::new(lan_manager.disk.clone());
        let live = match JournaledMachine::with_store(store, Options::default()) {
            Ok((live, _)) => live,
            Err(error) => {
                return self.demand(false, || format!("the LanManager cannot start: {error}"));
            }
        };
        let prefix = format!("l{}_", lan_manager.run);
        let front = Sessions::new(Access::new(Vec::new()), prefix);
        lan_manager.parts = Some(Parts { live, front });
        let files = Files {
            needs: lan_manager.needs.clone(),
            runtime: lan_manager.runtime.clone(),
            ..Files::default()
        };
        self.tell_lan_manager(Event::FilesRead { first: true, files });
        let settings = Settings {
            ip_strategies: Vec::new(),
            reconnect_grace: RECONNECT_GRACE,
        };
        self.tell_lan_manager(Event::Started { settings });
    }

    /// It is killed. Its connections break.
    pub(crate) fn lose_lan_manager(&mut self) {
        let Some(parts) = self.lan_manager.parts.take() else {
            return;
        };
        drop(parts);
        let pending = self.lan_manager.disk.pending_bytes();
        self.lan_manager.disk.crash(pending);
        for link in self.network.open_at(End::LanManager) {
            let delay = self.chance.between(0, 50);
            self.send(link, End::Master, delay, Packet::Closed);
            self.network.close(link, End::LanManager);
        }
    }

    /// Takes a connection; `None` where nobody listens.
    pub(crate) fn accept(&mut self) -> Option<(u64, ConnectionId)> {
        let run = self.lan_manager.run;
        let parts = self.lan_manager.parts.as_mut()?;
        let peer = Peer {
            address: ADDRESS.parse().ok(),
            ..Peer::default()
        };
        let opened = parts
            .front
            .server
            .open(self.now, CarrierKind::WebSocket, peer);
        opened.ok().map(|connection| (run, connection))
    }

    /// Something arrives for it.
    pub(crate) fn lan_manager_receives(&mut self, link: LinkId, packet: Packet) {
        let Some((run, connection)) = self.network.get(link).map(|link| link.server) else {
            return;
        };
        let is_closed = matches!(packet, Packet::Closed);
        if run == self.lan_manager.run
            && let Some(parts) = &mut self.lan_manager.parts
        {
            let server = &mut parts.front.server;
            match packet {
                Packet::Text(text) => server.receive(self.now, connection, &text),
                Packet::Closed => server.closed(connection, CloseReason::ByPeer),
            }
        }
        if is_closed {
            self.network.close(link, End::LanManager);
        }
        self.settle_lan_manager();
    }

    /// Its connections' time has come.
    pub(crate) fn lan_manager_timeout(&mut self) {
        if let Some(parts) = &mut self.lan_manager.parts {
            parts.front.server.handle_timeout(self.now);
        }
        self.settle_lan_manager();
    }

    /// Something happens to it: recorded, decided, performed.
    pub(crate) fn tell_lan_manager(&mut self, event: Event) {
        self.commit_at_lan_manager(event);
        self.settle_lan_manager();
    }

    fn commit_at_lan_manager(&mut self, event: Event) {
        let Some(parts) = &mut self.lan_manager.parts else {
            return;
        };
        let mut clock = SimulatedClock {
            wall: self.now,
            chance: &mut self.chance,
        };
        let committed = parts.live.commit(&mut clock, vec![event]);
        if !self.is_calm && self.chance.permille(CRASH_PERMILLE) {
            let at = self.now + self.chance.between(1, 3_000);
            self.lose_lan_manager();
            return self.agenda.enter(at, Happening::LanManagerStart);
        }
        let checked = parts.live.state().check();
        match committed {
            Ok(effects) => {
                for effect in effects {
                    parts.front.perform(self.now, effect);
                }
            }
            Err(error) => self.demand(false, || format!("the LanManager's journal: {error}")),
        }
        self.demand(checked.is_ok(), || format!("the LanManager: {checked:?}"));
    }

    /// Does everything that follows from what came in.
    fn settle_lan_manager(&mut self) {
        loop {
            let Some(parts) = &mut self.lan_manager.parts else {
                return;
            };
            if let Some(output) = parts.front.server.poll_output() {
                self.lan_manager_output(output);
                continue;
            }
            let Some(task) = parts.front.poll_task() else {
                return;
            };
            let run = self.lan_manager.run;
            let at = self.now + self.chance.between(1, 100);
            let chore = match task {
                Task::Event(event) => {
                    self.commit_at_lan_manager(event);
                    continue;
                }
                Task::CheckPorts { check, ports, .. } => Chore::Check { check, ports },
                Task::WriteRuntimeNeeds { .. } => Chore::Write,
            };
            self.agenda.enter(at, Happening::LanManager { run, chore });
        }
    }

    fn lan_manager_output(&mut self, output: Output) {
        let run = self.lan_manager.run;
        match output {
            Output::Send { connection, text } => {
                if let Some(link) = self.network.of_server((run, connection)) {
                    let delay = self.chance.between(0, 30);
                    self.send(link, End::Master, delay, Packet::Text(text));
                }
            }
            Output::Close { connection, .. } => {
                if let Some(link) = self.network.of_server((run, connection)) {
                    let delay = self.chance.between(0, 30);
                    self.send(link, End::Master, delay, Packet::Closed);
                    self.network.close(link, End::LanManager);
                }
            }
            Output::Event(event) => {
                if let Some(parts) = &mut self.lan_manager.parts {
                    parts.front.handle(self.now, event);
                }
            }
        }
    }

    /// Something that it had done is done.
    pub(crate) fn lan_manager_chore(&mut self, run: u64, chore: Chore) {
        if run != self.lan_manager.run {
            return;
        }
        match chore {
            Chore::Check { check, ports } => {
                let reachable = ports
                    .into_iter()
                    .any(|port| self.machine.is_taken(Port(port)));
                self.tell_lan_manager(Event::PortsChecked { check, reachable });
            }
            Chore::Write => {
                let Some(state) = self.lan_manager.state() else {
                    return;
                };
                let (revision, rows) = state.runtime_needs();
                let rows = rows.into_iter().map(serde_json::Value::Object);
                self.lan_manager.runtime =
                    rows.filter_map(|row| Need::from_json(row).ok()).collect();
                self.tell_lan_manager(Event::RuntimeNeedsWritten { revision });
            }
        }
    }
}
