//! A master: its engine, with the real rules, sessions and journal, and what outlives the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::ops::ControlFlow;

use allexmaster_journal::store::{FakeDisk, Fault as DiskFault};
use allexmaster_journal::{
    Clock, Error, EventLoop, JournaledMachine, Options, Outage, OutageBoard, Performer, Recovery,
    Stamp, Visit, Wall,
};
use allexmaster_sessions::{
    ConnectionName, Input, OutboxAck, Output, ReplayedEffects, Sessions, SessionsIdentity,
};
use allexmaster_state::{
    Effect, Event, Identity, Incarnation, JournalId, Pid, Rules, SessionEffect, State,
};
use allexmaster_testkit::chance::Chance;

use crate::agenda::{Happening, Job};
use crate::children::name_of;
use crate::crash::{Loss, Point};
use crate::env::{Env, MasterId};
use crate::machine::Machine;
use crate::network::{End, LinkId, Peer};
use crate::session_log::SessionLog;

/// The wall clock at the beginning, in milliseconds since the epoch: some day of 2026.
const BEGINNING: u64 = 1_780_000_000_000;
/// The name of the journal in the children's environment: the same in every run of a seed.
const JOURNAL: &str = "simulation";
/// No more events are taken at once, so that there are many places to crash at.
const MAX_BATCH: u64 = 4;
/// So often, in thousandths, a checkpoint is made between two batches.
const CHECKPOINT_PERMILLE: u64 = 15;
/// An engine that cannot read its journal is started again after so many milliseconds.
const START_AGAIN: u64 = 500;
/// How long the last bytes may take to leave when the master ends, in milliseconds.
const DRAIN_TIMEOUT: u64 = 2_000;

/// The engine ends here, before the next instruction.
#[derive(Debug)]
pub(crate) struct Killed;

/// What an instruction of an engine comes to.
pub(crate) type Step = Result<(), Killed>;

/// A master, on a machine of its own.
pub(crate) struct Master {
    pub(crate) id: MasterId,
    /// How far its wall clock is ahead.
    pub(crate) wall_ahead: i64,
    pub(crate) disk: FakeDisk,
    pub(crate) machine: Machine,
    pub(crate) engine: Option<Engine>,
    /// What outlives the engine, while there is a master.
    pub(crate) keeper: Option<Keeper>,
    /// Counts the masters on this machine.
    pub(crate) life: u64,
    /// Counts those that have ended by themselves.
    pub(crate) exits: u64,
    /// The number of the last event that the journal has said to be durable.
    pub(crate) acknowledged: u64,
    /// The state of the last engine.
    pub(crate) expected: State,
    /// The sessions of the last engine.
    pub(crate) expected_sessions: Option<String>,
    /// What is being lost, and how many bytes survive of what is not durable.
    pub(crate) loss: Option<(Loss, usize)>,
}

/// What the keeper holds.
#[derive(Default)]
pub(crate) struct Keeper {
    pub(crate) log: Option<File>,
    pub(crate) sockets: BTreeMap<ConnectionName, LinkId>,
    /// Counts the local peers that were accepted.
    pub(crate) accepted: u64,
}

/// The engine.
pub(crate) struct Engine {
    pub(crate) number: u64,
    pub(crate) event_loop: EventLoop<Rules, SimulatedClock, Collector>,
    /// When the loop looks again, if nothing comes.
    wakes_at: Option<u64>,
    pub(crate) log: SessionLog,
    /// What the sessions want done, in this order.
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) inbox: VecDeque<Event>,
    /// The number of the last event of the sessions that is in the inbox.
    pub(crate) emitted: u64,
    /// The processes that its drivers look after.
    pub(crate) watched: BTreeMap<Incarnation, Identity>,
    /// The connections that it has taken up.
    pub(crate) pumped: BTreeSet<ConnectionName>,
    /// Those of them that are to end, whose time is counted.
    pub(crate) expiring: BTreeSet<ConnectionName>,
    /// It takes no more events: the last bytes leave.
    pub(crate) is_ending: bool,
}

/// Collects what the loop wants done: it is done behind its back, one thing after the other, so that the
/// engine can end between any two.
pub(crate) struct Collector {
    /// What of the journal the sessions are to know.
    ack: OutboxAck,
    effects: Vec<Effect>,
    /// The begins and ends of outages that the sessions do not know yet.
    outages: Vec<Option<String>>,
}

impl Performer<Rules> for Collector {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        self.effects.push(effect);
        ControlFlow::Continue(())
    }

    fn recorded(&mut self, stamp: Stamp, event: &Event) {
        self.ack.record(stamp.sequence, event);
    }

    fn settled(&mut self, _state: &State) {}

    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        self.outages.push(Some(outage.reason.clone()));
        ControlFlow::Continue(())
    }

    fn recovered(&mut self, _outage: &Outage, _repairs: &[Recovery]) {
        self.outages.push(None);
    }

    fn journal_failed(&mut self, _error: &Error) {}
}

/// A clock that stands still.
pub(crate) struct SimulatedClock {
    pub(crate) wall: u64,
    pub(crate) chance: Chance,
}

impl Clock for SimulatedClock {
    fn now(&mut self) -> Wall {
        Wall(self.wall)
    }

    fn entropy(&mut self) -> u32 {
        u32::try_from(self.chance.any() >> 32).unwrap_or(0)
    }
}

impl Master {
    /// What its journal is known by: part of the name of every child, and what the LanManager knows
    /// the master by.
    fn journal(&self) -> String {
        format!("{JOURNAL}-{}", self.id.0)
    }

    pub(crate) fn new(id: MasterId) -> Self {
        Self {
            id,
            wall_ahead: 0,
            disk: FakeDisk::new(),
            machine: Machine::new(id),
            engine: None,
            keeper: None,
            life: 0,
            exits: 0,
            acknowledged: 0,
            expected: State::default(),
            expected_sessions: None,
            loss: None,
        }
    }

    pub(crate) fn wall(&self, env: &Env) -> u64 {
        (BEGINNING + env.now).saturating_add_signed(self.wall_ahead)
    }

    /// When the loop looks again, if nothing comes.
    pub(crate) fn due(&self) -> Option<u64> {
        let engine = self.engine.as_ref().filter(|engine| !engine.is_ending)?;
        engine.wakes_at
    }

    /// When the sessions have something to do.
    pub(crate) fn sessions_due(&self) -> Option<u64> {
        Some(self.engine.as_ref()?.log.sessions().poll_timeout()?.0)
    }

    /// The process that the master is known by.
    fn pid(&self) -> Pid {
        Pid(1 + u32::try_from(self.life).unwrap_or(0))
    }

    /// A driver reports to the engine, if there is one.
    pub(crate) fn report(&mut self, env: &mut Env, event: Event) {
        if let Some(engine) = &mut self.engine {
            engine.inbox.push_back(event);
            env.soon_in_engine(3, (self.id, engine.number), Job::Turn);
        }
    }

    /// The engine starts: the first one of a master, or one that goes on with the connections.
    pub(crate) fn start(&mut self, env: &mut Env, life: u64) -> Step {
        if life != self.life || self.engine.is_some() {
            return Ok(());
        }
        let restored = match self.keeper.as_ref().and_then(|keeper| keeper.log.as_ref()) {
            Some(log) => match SessionLog::open(log) {
                Ok(log) => Some(log),
                Err(error) => {
                    env.demand(false, || format!("the log of the sessions: {error}"));
                    return Ok(());
                }
            },
            None => None,
        };
        if let (Some(log), Some(expected)) = (&restored, self.expected_sessions.take()) {
            let same = serde_json::to_string(log.sessions()).is_ok_and(|found| found == expected);
            env.demand(same, || {
                "the log of the sessions gives other sessions than lived".to_owned()
            });
        }
        let ack = restored.as_ref().map(|log| log.sessions().ack());
        let mut replayed = ReplayedEffects::after(ack.unwrap_or_default());
        let after = replayed.ack.sequence;
        let mut visit = |stamp: Stamp, event: Event, effects: Vec<Effect>| {
            replayed.replay(stamp.sequence, &event, effects);
        };
        let visit = ack.map(|_| (after, &mut visit as Visit<'_, Rules>));
        let location = Box::new(self.disk.clone());
        let options = Options::default();
        let (live, opened) = match JournaledMachine::<Rules>::open_at(location, options, visit) {
            Ok(opened) => opened,
            Err(error) => {
                env.demand(self.disk.is_broken(), || format!("the journal: {error}"));
                let start = Happening::Start {
                    master: self.id,
                    life,
                };
                env.after(START_AGAIN, start);
                return Ok(());
            }
        };
        self.check_what_came_back(env, &live, &opened.recoveries);
        let is_known = ack.is_none_or(|ack| opened.replayed_after(ack.sequence));
        env.demand(is_known, || {
            "the journal cannot tell what the sessions have missed".to_owned()
        });
        let resumed = restored.is_some();
        let log = restored.map_or_else(
            || {
                let identity = SessionsIdentity {
                    journal: self.journal(),
                    master: self.pid(),
                    prefix: format!("{}_{}_", self.pid(), opened.last),
                };
                SessionLog::begin(&Sessions::new(identity, opened.last))
            },
            Ok,
        );
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                env.demand(false, || format!("the log of the sessions: {error}"));
                return Ok(());
            }
        };
        let state = live.state();
        let mut first = VecDeque::new();
        if opened.created || state.settings != env.plan.settings {
            let settings = env.plan.settings.clone();
            first.push_back(Event::SettingsLoaded { settings });
        }
        first.push_back(Event::MasterStarted {
            journal: JournalId::from(self.journal()),
            boot: self.machine.boot.clone(),
            pid: self.pid(),
            survivors: self.machine.survivors(&recorded_children(state)),
            ended: self.machine.unheard_ends(),
            resumed,
        });
        env.engines += 1;
        let clock = SimulatedClock {
            wall: self.wall(env),
            chance: Chance::new(env.chance.any()),
        };
        let collector = Collector {
            ack: if resumed {
                replayed.ack
            } else {
                log.sessions().ack()
            },
            effects: Vec::new(),
            outages: Vec::new(),
        };
        self.engine = Some(Engine {
            number: env.engines,
            event_loop: EventLoop::new(live, clock, collector, OutageBoard::default()),
            wakes_at: None,
            emitted: log.sessions().ack().acked,
            log,
            outputs: VecDeque::new(),
            inbox: first,
            watched: BTreeMap::new(),
            pumped: BTreeSet::new(),
            expiring: BTreeSet::new(),
            is_ending: false,
        });
        env.soon_in_engine(3, (self.id, env.engines), Job::Turn);
        if self.keeper.is_none() {
            self.keeper = Some(Keeper::default());
            env.soon(20, Happening::Watch { master: self.id });
        }
        self.start_sessions(env, resumed.then_some(replayed))
    }

    /// The real loop takes what waits: recorded, durable, decided. Then all of it is performed.
    pub(crate) fn turn(&mut self, env: &mut Env) -> Step {
        let wall = self.wall(env);
        let Some(engine) = self.engine.as_mut().filter(|engine| !engine.is_ending) else {
            return Ok(());
        };
        engine.event_loop.clock().wall = wall;
        if engine.event_loop.is_suspended() {
            return self.try_again(env);
        }
        let batch = usize::try_from(env.chance.between(1, MAX_BATCH)).unwrap_or(1);
        let batch = batch.min(engine.inbox.len());
        let events: Vec<Event> = engine.inbox.drain(..batch).collect();
        if !engine.inbox.is_empty() {
            env.soon_in_engine(1, (self.id, engine.number), Job::Turn);
        }
        let name = events.first().map_or("deadline-reached", Event::kind_name);
        let waited = events.is_empty();
        if !waited {
            self.passes(env, Point::Received, name)?;
        }
        let torn = if waited {
            Ok(())
        } else {
            self.passes(env, Point::Appended, name)
        };
        if torn.is_err() {
            self.disk.fail_next(DiskFault::Sync);
        }
        let engine = self.engine.as_mut().ok_or(Killed)?;
        let turned = engine.event_loop.turn(events, waited);
        env.demand(turned.is_ok(), || format!("the loop: {turned:?}"));
        if let Err(killed) = torn {
            let is_early = !engine.event_loop.performer().effects.is_empty();
            env.demand(!is_early, || {
                "effects were given out although the disk did not confirm their cause".to_owned()
            });
            if let Some((_, kept)) = &mut self.loss {
                *kept = env.chance.below(self.disk.pending_bytes() + 1);
            }
            return Err(killed);
        }
        self.perform_what_is_durable(env, name)
    }

    /// The journal could not be written: the real loop opens it again, if it is time for that.
    fn try_again(&mut self, env: &mut Env) -> Step {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        if engine.wakes_at.is_some_and(|at| at > env.now) {
            return Ok(());
        }
        let tried = engine.event_loop.retry(engine.inbox.len() as u64);
        env.demand(tried.is_ok(), || format!("the loop: {tried:?}"));
        if !engine.event_loop.is_suspended() {
            env.soon_in_engine(1, (self.id, engine.number), Job::Turn);
        }
        self.perform_what_is_durable(env, "outage")
    }

    /// Performs what the loop has decided on.
    fn perform_what_is_durable(&mut self, env: &mut Env, name: &'static str) -> Step {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let is_suspended = engine.event_loop.is_suspended();
        let wait = engine.event_loop.wait();
        let wait = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        engine.wakes_at = wait.map(|wait| env.now.saturating_add(wait));
        let last = engine.event_loop.machine().position().sequence;
        let is_new = last > self.acknowledged;
        self.acknowledged = last;
        let effects = std::mem::take(&mut engine.event_loop.performer().effects);
        let outages = std::mem::take(&mut engine.event_loop.performer().outages);
        let checked = engine.event_loop.state().check();
        let pending = self.disk.pending_bytes();
        env.demand(pending == 0 || is_suspended && effects.is_empty(), || {
            format!("{pending} bytes are not durable, but their effects are performed")
        });
        env.demand(checked.is_ok(), || format!("the state: {checked:?}"));
        if is_new {
            self.passes(env, Point::Durable, name)?;
        }
        for outage in outages {
            self.enter(env, Input::JournalOut { outage })?;
        }
        if !is_new {
            return Ok(());
        }
        self.perform_all(env, effects)?;
        self.maintain(env)
    }

    /// The loop has nothing urgent to do.
    fn maintain(&mut self, env: &mut Env) -> Step {
        if let Some(engine) = self.engine.as_mut().filter(|engine| !engine.is_ending)
            && !self.disk.is_broken()
        {
            if env.chance.permille(CHECKPOINT_PERMILLE) {
                let made = engine.event_loop.machine().make_checkpoint();
                env.demand(made.is_ok(), || format!("the checkpoint: {made:?}"));
            }
            let maintained = engine.event_loop.maintain();
            env.demand(maintained.is_ok(), || format!("the loop: {maintained:?}"));
        }
        Ok(())
    }

    fn perform_all(&mut self, env: &mut Env, effects: Vec<Effect>) -> Step {
        let mut for_sessions = Vec::new();
        let (mut exits, mut last) = (false, None);
        for effect in effects {
            let name = name_of(&effect);
            self.passes(env, Point::Before, name)?;
            match effect {
                Effect::Child(effect) => self.perform(env, effect)?,
                Effect::Session(effect) => for_sessions.push(effect),
                // No program of the simulation lacks a package.
                Effect::Install { .. } => {}
                // The loop ends when the whole batch is performed.
                Effect::Exit => exits = true,
            }
            last = Some(name);
        }
        self.hand_over(env, for_sessions)?;
        if let Some(name) = last {
            self.passes(env, Point::After, name)?;
        }
        if exits {
            return self.begin_to_end(env);
        }
        Ok(())
    }

    /// The sessions get what a batch of events caused for them, all of it at once.
    fn hand_over(&mut self, env: &mut Env, effects: Vec<SessionEffect>) -> Step {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let ack = engine.event_loop.performer().ack;
        self.enter(env, Input::Journaled { ack, effects })
    }

    /// The master has done all: the last bytes leave, then it ends.
    fn begin_to_end(&mut self, env: &mut Env) -> Step {
        self.check_what_is_left(env);
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        engine.is_ending = true;
        env.tools.master_ends(self.id);
        let at = Happening::Engine {
            master: self.id,
            engine: engine.number,
            job: Job::End,
        };
        env.after(DRAIN_TIMEOUT, at);
        self.enter(env, Input::Stopping)
    }

    /// The master ends.
    pub(crate) fn end(&mut self, env: &mut Env) {
        if let Some(engine) = self.engine.take() {
            self.expected = engine.event_loop.state().clone();
            let closed = engine.event_loop.end(Ok(()));
            env.demand(closed.is_ok() || self.disk.is_broken(), || {
                format!("the journal: {closed:?}")
            });
        }
        self.end_keeper(env, true);
        self.exits += 1;
        let start = Happening::Start {
            master: self.id,
            life: self.life,
        };
        let delay = env.chance.between(100, 5_000);
        env.after(delay, start);
    }

    /// A point is passed. Where something is lost there, the engine must not go on.
    pub(crate) fn passes(&mut self, env: &mut Env, point: Point, name: &'static str) -> Step {
        let loss = env
            .crash_points
            .pass(&mut env.chance, env.is_calm, point, name);
        match loss {
            Some(loss) => {
                self.loss = Some((loss, 0));
                Err(Killed)
            }
            None if env.broken.is_some() => Err(Killed),
            None => Ok(()),
        }
    }

    /// The engine is killed, alone or with more.
    pub(crate) fn lose(&mut self, env: &mut Env) {
        let Some((loss, kept)) = self.loss.take() else {
            return;
        };
        if loss == Loss::Engine && self.engine.is_none() {
            return;
        }
        env.crash_points.losses += 1;
        env.tools.expect_nothing(self.id);
        if let Some(engine) = self.engine.take() {
            self.expected = engine.event_loop.state().clone();
            self.expected_sessions = serde_json::to_string(engine.log.sessions()).ok();
        }
        self.disk.crash(kept);
        match loss {
            Loss::Engine => {}
            Loss::Master => self.end_keeper(env, true),
            Loss::Machine => {
                let says_so = env.chance.permille(500);
                self.end_keeper(env, says_so);
                self.machine.reboot();
                let id = self.id;
                for link in env
                    .network
                    .of_peer(|peer| matches!(peer, Peer::Child(_) | Peer::Tool))
                {
                    if env
                        .network
                        .ends(link)
                        .is_some_and(|(master, _)| master == id)
                    {
                        env.tool_leaves(link);
                        env.network.vanish(link, End::Peer);
                    }
                }
            }
        }
        let delay = env.chance.pick(&[1, 20, 200, 3_000], 1);
        env.after(
            delay,
            Happening::Start {
                master: self.id,
                life: self.life,
            },
        );
    }

    /// The master is gone: its connections, and what the parent of the children kept.
    fn end_keeper(&mut self, env: &mut Env, says_so: bool) {
        self.life += 1;
        self.keeper = None;
        env.tools.master_ends(self.id);
        self.expected_sessions = None;
        self.machine.reap_all();
        for link in env.network.of_master(self.id) {
            let is_local = !matches!(env.network.ends(link), Some((_, Peer::LanManager { .. })));
            if says_so || is_local {
                env.close(link, End::Master);
            } else {
                env.network.vanish(link, End::Master);
            }
        }
    }
}

/// The processes that the journal knows.
fn recorded_children(state: &State) -> Vec<(Incarnation, Identity)> {
    state
        .services
        .iter()
        .filter_map(|(_, service)| service.activity.process())
        .map(|process| (process.incarnation, process.identity.clone()))
        .collect()
}
