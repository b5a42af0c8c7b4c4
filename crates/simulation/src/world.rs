//! The world: one clock, one queue, one stream of chance.

use allexmaster_journal::store::FakeDisk;
use allexmaster_state::State;

use crate::agenda::{Agenda, Happening};
use crate::chance::Chance;
use crate::crash::{CrashPoints, Crashes};
use crate::engine::Engine;
use crate::front::Front;
use crate::lan_manager::LanManager;
use crate::machine::Machine;
use crate::network::{End, LinkId, Network, Packet};
use crate::plan::{Length, Plan};

/// The wall clock at the beginning, in milliseconds since the epoch: some day of 2026.
const BEGINNING: u64 = 1_780_000_000_000;
/// While the engine is away, what arrives for its connections waits in them; looked at so often.
const WAIT_FOR_ENGINE: u64 = 5;

/// Everything.
pub(crate) struct World {
    /// Milliseconds since the beginning. Never goes back.
    pub(crate) now: u64,
    /// How far the master's wall clock is ahead of that.
    pub(crate) wall_ahead: i64,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: bool,
    pub(crate) agenda: Agenda,
    pub(crate) disk: FakeDisk,
    pub(crate) engine: Option<Engine>,
    /// The connections, while there is a master.
    pub(crate) front: Option<Front>,
    pub(crate) machine: Machine,
    pub(crate) network: Network,
    pub(crate) lan_manager: LanManager,
    pub(crate) crash_points: CrashPoints,
    /// Counts the masters.
    pub(crate) life: u64,
    /// Counts the engines.
    pub(crate) engines: u64,
    /// Counts the forks.
    pub(crate) forks: u64,
    /// Counts the masters that have ended by themselves.
    pub(crate) exits: u64,
    /// The number of the last event that the journal has said to be durable.
    pub(crate) acknowledged: u64,
    /// The state of the last engine.
    pub(crate) expected: State,
    /// The first promise that does not hold.
    pub(crate) broken: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, length: Length, crashes: Crashes) -> Self {
        let mut chance = Chance::new(seed);
        let loses = matches!(crashes, Crashes::Random { .. });
        let mut plan = Plan::new(&mut chance, length, loses);
        let lan_manager = LanManager::new(std::mem::take(&mut plan.needs));
        let mut world = Self {
            now: 0,
            wall_ahead: 0,
            chance,
            plan,
            is_calm: false,
            agenda: Agenda::default(),
            disk: FakeDisk::new(),
            engine: None,
            front: None,
            machine: Machine::new(),
            network: Network::default(),
            lan_manager,
            crash_points: CrashPoints::new(crashes),
            life: 0,
            engines: 0,
            forks: 0,
            exits: 0,
            acknowledged: 0,
            expected: State::default(),
            broken: None,
        };
        for (at, fault) in world.plan.faults.clone() {
            world.agenda.enter(at, Happening::Fault(fault));
        }
        world.agenda.enter(0, Happening::LanManagerStart);
        world.agenda.enter(0, Happening::Start { life: 0 });
        world
    }

    /// The master's wall clock.
    pub(crate) fn wall(&self) -> u64 {
        (BEGINNING + self.now).saturating_add_signed(self.wall_ahead)
    }

    /// Something is as it must be, or the run has failed. The first failure counts.
    pub(crate) fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(otherwise());
        }
    }

    /// Sends a packet that takes so long.
    pub(crate) fn send(&mut self, link: LinkId, to: End, delay: u64, packet: Packet) {
        if let Some(at) = self.network.send(link, to, self.now + delay, packet) {
            self.agenda.enter(at, Happening::Deliver { link, at: to });
        }
    }

    /// The next thing happens, if it does before `end`. False where it does not.
    pub(crate) fn tick(&mut self, end: u64) -> bool {
        let times = [
            self.agenda.next_at(),
            self.engine_due(),
            self.front_due(),
            self.lan_manager.poll_timeout(),
            self.lan_manager.deadline(),
        ];
        let Some(at) = times.iter().flatten().min().copied().filter(|at| *at < end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(at);
        let is_first = |time: Option<u64>| time == Some(at);
        if is_first(times[0]) {
            if let Some(happening) = self.agenda.pop() {
                self.happen(happening);
            }
        } else if is_first(times[1]) {
            self.turn();
        } else if is_first(times[2]) {
            self.front_timeout();
        } else if is_first(times[3]) {
            self.lan_manager_timeout();
        } else {
            self.tell_lan_manager(allexmaster_lanmanager::rules::Event::DeadlineReached);
        }
        true
    }

    /// When the engine has a deadline, on the clock that does not go back.
    fn engine_due(&self) -> Option<u64> {
        let deadline = self.engine.as_ref()?.deadline()?;
        Some(self.now + deadline.saturating_sub(self.wall()))
    }

    /// When the conversation has something to do; it cannot without the engine.
    fn front_due(&self) -> Option<u64> {
        self.engine.as_ref()?;
        self.front.as_ref()?.poll_timeout()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn { engine } => {
                if self.engine.as_ref().map(|engine| engine.number) == Some(engine) {
                    self.turn();
                }
            }
            Happening::Start { life } => self.start_engine(life),
            Happening::Driver { engine, deed } => self.drive(engine, deed),
            Happening::Process { identity, act } => self.process_acts(&identity, act),
            Happening::Deliver { link, at } => self.deliver(link, at),
            Happening::Dialed { connection } => {
                if self.front.is_some() && self.engine.is_none() {
                    let at = self.now + WAIT_FOR_ENGINE;
                    self.agenda.enter(at, Happening::Dialed { connection });
                } else {
                    self.dialed(connection);
                }
            }
            Happening::LanManager { run, chore } => self.lan_manager_chore(run, chore),
            Happening::LanManagerStart => self.start_lan_manager(),
            Happening::PortIsFreed(port) => {
                self.machine.foreign.remove(&port);
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    fn deliver(&mut self, link: LinkId, end: End) {
        let is_cut = self.now < self.network.cut_until;
        let waits = end == End::Master && self.front.is_some() && self.engine.is_none();
        if is_cut || waits {
            let at = if is_cut {
                self.network.cut_until
            } else {
                self.now + WAIT_FOR_ENGINE
            };
            return self.agenda.enter(at, Happening::Deliver { link, at: end });
        }
        let Some(packet) = self.network.receive(link, end) else {
            return;
        };
        match end {
            End::Master => self.front_receives(link, packet),
            End::LanManager => self.lan_manager_receives(link, packet),
        }
    }
}
