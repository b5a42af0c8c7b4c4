//! The engine: what `allexmaster_journal::engine` does, one instruction after the other, with a
//! possible end between any two of them.

use std::collections::{BTreeMap, VecDeque};

use allexmaster_journal::store::Fault as DiskFault;
use allexmaster_journal::{Clock, JournaledMachine, Options, Wall};
use allexmaster_state::{
    Effect, Event, Identity, Incarnation, JournalId, Pid, Recorded, Rules, SessionEffect, State,
    step,
};

use crate::agenda::Happening;
use crate::chance::Chance;
use crate::crash::{Loss, Point};
use crate::front::Front;
use crate::hands::name_of;
use crate::network::End;
use crate::world::World;

/// The name of the journal in the children's environment: the same in every run of a seed.
const JOURNAL: &str = "simulation";
/// The number of the master's process, as the world knows it: it lives as long as the connections.
const FIRST_MASTER: u32 = 1;
/// No more events are taken at once, so that there are many places to crash at.
const BATCH_MOST: u64 = 4;
/// So often, in thousandths, a checkpoint is made between two batches.
const CHECKPOINT_PERMILLE: u64 = 15;

/// The engine.
pub(crate) struct Engine {
    pub(crate) number: u64,
    pub(crate) live: JournaledMachine<Rules>,
    /// What waits, each with whether it comes from the connections.
    inbox: VecDeque<(Event, bool)>,
    /// The processes that its drivers look after.
    pub(crate) watched: BTreeMap<Incarnation, Identity>,
}

impl Engine {
    /// When its rules have something to do, as the wall clock says.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let (at, _) = self.live.state().next_deadline()?;
        Some(at.0)
    }
}

/// A clock that stands still.
pub(crate) struct SimulatedClock<'world> {
    pub(crate) wall: u64,
    pub(crate) chance: &'world mut Chance,
}

impl Clock for SimulatedClock<'_> {
    fn now(&mut self) -> Wall {
        Wall(self.wall)
    }

    fn entropy(&mut self) -> u32 {
        u32::try_from(self.chance.any() >> 32).unwrap_or(0)
    }
}

impl World {
    /// Somebody tells the engine something, if there is one.
    pub(crate) fn hear(&mut self, event: Event, of_front: bool) {
        if let Some(engine) = &mut self.engine {
            engine.inbox.push_back((event, of_front));
            let number = engine.number;
            let at = self.now + self.chance.between(0, 3);
            self.agenda.enter(at, Happening::Turn { engine: number });
        }
    }

    /// The engine starts: the first one of a master, or one that goes on with the connections.
    pub(crate) fn start_engine(&mut self, life: u64) {
        if life != self.life || self.engine.is_some() {
            return;
        }
        let store = Box::new(self.disk.clone());
        let (mut live, opened) =
            match JournaledMachine::<Rules>::with_store(store, Options::default()) {
                Ok(opened) => opened,
                Err(error) => return self.demand(false, || format!("the journal: {error}")),
            };
        self.check_what_came_back(&live, &opened.recoveries);
        let resumed = self.front.is_some();
        let late = match &mut self.front {
            Some(front) => {
                front.taken(opened.last);
                late_effects(front, &mut live)
            }
            None => Vec::new(),
        };
        let state = live.state();
        let recorded = recorded_children(state);
        let mut first = Vec::new();
        if opened.created || state.settings != self.plan.settings {
            let settings = self.plan.settings.clone();
            first.push(Event::SettingsLoaded { settings });
        }
        first.push(Event::MasterStarted {
            journal: JournalId::from(JOURNAL),
            boot: self.machine.boot.clone(),
            pid: Pid(FIRST_MASTER + u32::try_from(self.life).unwrap_or(0)),
            survivors: self.machine.survivors(&recorded),
            ended: self.machine.unheard_ends(),
            resumed,
        });
        self.engines += 1;
        self.engine = Some(Engine {
            number: self.engines,
            live,
            inbox: VecDeque::new(),
            watched: BTreeMap::new(),
        });
        let front = self.front.get_or_insert_with(Front::default);
        let again = front.untaken.clone();
        for effect in late {
            self.perform_at_front(effect);
        }
        for event in first {
            self.hear(event, false);
        }
        for event in again {
            self.hear(event, true);
        }
    }

    /// The engine takes what waits: recorded, durable, decided, performed.
    pub(crate) fn turn(&mut self) {
        let wall = self.wall();
        let Some(engine) = &mut self.engine else {
            return;
        };
        let batch = usize::try_from(self.chance.between(1, BATCH_MOST)).unwrap_or(1);
        let batch = batch.min(engine.inbox.len());
        let mut taken: Vec<(Event, bool)> = engine.inbox.drain(..batch).collect();
        if engine.deadline().is_some_and(|deadline| deadline <= wall) {
            taken.push((Event::DeadlineReached, false));
        }
        if !engine.inbox.is_empty() {
            let engine = engine.number;
            self.agenda.enter(self.now, Happening::Turn { engine });
        }
        let Some((first, _)) = taken.first() else {
            return;
        };
        let name = first.kind_name();
        if let Some(effects) = self.commit(name, taken) {
            self.perform_all(effects);
        }
    }

    /// Makes events durable and decides on them; `None` where that is where it ends.
    fn commit(&mut self, name: &'static str, taken: Vec<(Event, bool)>) -> Option<Vec<Effect>> {
        let wall = self.wall();
        let (events, ours): (Vec<Event>, Vec<bool>) = taken.into_iter().unzip();
        let engine = self.engine.as_mut()?;
        let first = engine.live.position().sequence + 1;
        if let Some(front) = &mut self.front {
            front.taking = (first, ours);
            front.before = engine.live.state().clone();
            front.performed = 0;
        }
        if let Some(loss) = self.passes(Point::Received, name) {
            self.lose(loss, 0);
            return None;
        }
        let torn = self.passes(Point::Appended, name);
        if torn.is_some() {
            self.disk.fail_next(DiskFault::Sync);
        }
        let engine = self.engine.as_mut()?;
        let mut clock = SimulatedClock {
            wall,
            chance: &mut self.chance,
        };
        let committed = engine.live.commit(&mut clock, events);
        if let Some(loss) = torn {
            self.demand(committed.is_err(), || {
                "effects were given out although the disk did not confirm their cause".to_owned()
            });
            let kept = self.chance.below(self.disk.pending_bytes() + 1);
            self.lose(loss, kept);
            return None;
        }
        let effects = match committed {
            Ok(effects) => effects,
            Err(error) => {
                self.demand(false, || format!("the journal: {error}"));
                return None;
            }
        };
        self.after_commit();
        if let Some(loss) = self.passes(Point::Durable, name) {
            self.lose(loss, 0);
            return None;
        }
        Some(effects)
    }

    /// The events are durable: the sessions take note, and the state is checked.
    fn after_commit(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        self.acknowledged = engine.live.position().sequence;
        let checked = engine.live.state().check();
        let pending = self.disk.pending_bytes();
        if self.chance.permille(CHECKPOINT_PERMILLE) && engine.live.make_checkpoint().is_err() {
            self.demand(false, || "the checkpoint cannot be made".to_owned());
        }
        if let Some(front) = &mut self.front {
            front.taken(self.acknowledged);
        }
        self.demand(pending == 0, || {
            format!("{pending} bytes are not durable, but their effects are performed")
        });
        if let Err(broken) = checked {
            self.demand(false, || broken.to_string());
        }
    }

    fn perform_all(&mut self, mut effects: Vec<Effect>) {
        // The loop ends when the whole batch is performed.
        effects.sort_by_key(|effect| *effect == Effect::Exit);
        let mut last = None;
        for effect in effects {
            if self.broken.is_some() || self.engine.is_none() {
                return; // the last effect was the exit
            }
            let name = name_of(&effect);
            if let Some(loss) = self.passes(Point::Before, name) {
                return self.lose(loss, 0);
            }
            match effect {
                Effect::Child(effect) => self.perform(effect),
                Effect::Session(effect) => {
                    if let Some(front) = &mut self.front {
                        front.performed += 1;
                    }
                    self.perform_at_front(effect);
                }
                // No program of the simulation lacks a package.
                Effect::Install { .. } => {}
                Effect::Exit => self.exit(),
            }
            last = Some(name);
        }
        if let Some(name) = last
            && self.engine.is_some()
            && let Some(loss) = self.passes(Point::After, name)
        {
            self.lose(loss, 0);
        }
    }

    /// A point is passed; what is lost there, if anything is.
    pub(crate) fn passes(&mut self, point: Point, name: &'static str) -> Option<Loss> {
        self.crash_points
            .pass(&mut self.chance, self.is_calm, point, name)
    }

    /// The engine is killed, alone or with more. Of what is not durable, `kept` bytes survive.
    pub(crate) fn lose(&mut self, loss: Loss, kept: usize) {
        if loss == Loss::Engine && self.engine.is_none() {
            return;
        }
        self.crash_points.losses += 1;
        if let Some(engine) = self.engine.take() {
            self.expected = engine.live.state().clone();
        }
        self.disk.crash(kept);
        match loss {
            Loss::Engine => {}
            Loss::Master => self.end_master(true),
            Loss::Machine => {
                let says_so = self.chance.permille(500);
                self.end_master(says_so);
                self.machine.reboot();
            }
        }
        let at = self.now + self.chance.pick(&[1, 20, 200, 3_000], 1);
        self.agenda.enter(at, Happening::Start { life: self.life });
    }

    /// The master is gone: its connections, and what the parent of the children kept.
    pub(crate) fn end_master(&mut self, says_so: bool) {
        self.life += 1;
        self.front = None;
        self.machine.reap_all();
        for link in self.network.open_at(End::Master) {
            self.hang_up(link, says_so);
        }
        let clinging: Vec<Identity> = self
            .machine
            .children()
            .filter(|child| child.character.clings_to_master)
            .map(|child| child.identity.clone())
            .collect();
        for identity in clinging {
            let at = self.now + self.chance.between(1, 250);
            let act = crate::agenda::Act::Exit(0);
            self.agenda.enter(at, Happening::Process { identity, act });
        }
    }
}

/// The effects toward the connections that an engine decided on and did not have performed.
fn late_effects(front: &mut Front, live: &mut JournaledMachine<Rules>) -> Vec<SessionEffect> {
    let mut effects = Vec::new();
    if let Ok(records) = live.journal().records(front.taking.0) {
        for record in records.flatten() {
            let state = std::mem::take(&mut front.before);
            let (after, caused) = step(state, Recorded::new(record.stamp, record.event));
            front.before = after;
            effects.extend(caused.into_iter().filter_map(Effect::into_session));
        }
    }
    let late = effects.split_off(front.performed.min(effects.len()));
    front.taking.0 = live.position().sequence + 1;
    front.performed = 0;
    late
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
