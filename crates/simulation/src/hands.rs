//! The children's drivers: they live in the engine, and end with it.

use std::sync::Arc;

use allexmaster_state::{
    ChildEffect, Effect, Event, Identity, Incarnation, LanEffect, Outcome, Port, SessionEffect,
    Signal, SpawnOrder,
};

use crate::agenda::{Act, Deed, Happening};
use crate::crash::Point;
use crate::plan::Fate;
use crate::world::World;

/// How often a driver looks whether ports answer, in milliseconds.
const LOOK_EVERY: u64 = 250;
/// So often, in thousandths, a program cannot be started.
const NOT_SPAWNED_PERMILLE: u64 = 30;

impl World {
    /// An effect for the drivers of children.
    pub(crate) fn perform(&mut self, effect: ChildEffect) {
        match effect {
            ChildEffect::ProbePorts { incarnation, ports } => {
                self.later(20, Deed::Probe { incarnation, ports });
            }
            ChildEffect::Spawn(order) => self.later(50, Deed::Fork(order)),
            ChildEffect::Adopt {
                incarnation,
                identity,
                ..
            } => self.adopt(incarnation, identity),
            ChildEffect::AwaitReady { incarnation, ports } => {
                self.later(20, Deed::LookReady { incarnation, ports });
            }
            ChildEffect::Reap { incarnation } => self.machine.reap(incarnation),
            ChildEffect::Signal {
                identity, signal, ..
            } => self.later(5, Deed::Signal { identity, signal }),
        }
    }

    /// A driver does something soon.
    fn later(&mut self, milliseconds_most: u64, deed: Deed) {
        let at = self.now + self.chance.between(1, milliseconds_most);
        self.at(at, deed);
    }

    fn at(&mut self, at: u64, deed: Deed) {
        if let Some(engine) = &self.engine {
            let engine = engine.number;
            self.agenda.enter(at, Happening::Driver { engine, deed });
        }
    }

    /// A driver does something, if its engine still lives.
    pub(crate) fn drive(&mut self, engine: u64, deed: Deed) {
        if self.engine.as_ref().map(|engine| engine.number) != Some(engine) {
            return;
        }
        match deed {
            Deed::Probe { incarnation, ports } => {
                let taken = ports
                    .into_iter()
                    .filter(|port| self.machine.is_taken(*port))
                    .collect();
                self.hear(Event::PortsProbed { incarnation, taken }, false);
            }
            Deed::Fork(order) => self.fork(order),
            Deed::LookReady { incarnation, ports } => self.look_ready(incarnation, ports),
            Deed::Signal { identity, signal } => self.signal(identity, signal),
            Deed::Tell(event) => self.hear(event, false),
        }
    }

    fn adopt(&mut self, incarnation: Incarnation, identity: Identity) {
        let lives = self.machine.get(&identity).is_some();
        let Some(engine) = &mut self.engine else {
            return;
        };
        if lives {
            engine.watched.insert(incarnation, identity);
            return;
        }
        let unseen = || Outcome::Lost(Arc::from("it ended before it could be adopted"));
        let outcome = self.machine.outcome_of(&identity).unwrap_or_else(unseen);
        self.later(
            10,
            Deed::Tell(Event::ChildExited {
                incarnation,
                outcome,
            }),
        );
    }

    /// Forks; the promises that a fork must keep are checked here.
    fn fork(&mut self, order: SpawnOrder) {
        let incarnation = order.incarnation;
        if !self.is_calm && self.chance.permille(NOT_SPAWNED_PERMILLE) {
            let reason = Arc::from("no such file");
            return self.hear(
                Event::ChildNotSpawned {
                    incarnation,
                    reason,
                    missing: None,
                },
                false,
            );
        }
        self.check_fork(&order);
        let fate = Fate::new(&mut self.chance, &order.need.module, self.is_calm);
        let Some(identity) = self.machine.start(&order, fate.character) else {
            return self.demand(false, || "the machine is full of processes".to_owned());
        };
        self.forks += 1;
        self.live_out(&identity, &fate);
        if let Some(loss) = self.passes(Point::Forked, "spawn") {
            return self.lose(loss, 0);
        }
        let told_at = self.now + self.chance.between(0, 20);
        if let Some(process) = self.machine.get_mut(&identity) {
            process.told_at = told_at;
        }
        if let Some(engine) = &mut self.engine {
            engine.watched.insert(incarnation, identity.clone());
        }
        self.at(
            told_at,
            Deed::Tell(Event::ChildSpawned {
                incarnation,
                identity,
            }),
        );
    }

    /// What a process does by itself, and when.
    fn live_out(&mut self, identity: &Identity, fate: &Fate) {
        let mut acts = Vec::new();
        if let Some(after) = fate.listens_after {
            acts.push((after, Act::Listen));
        }
        if let Some((after, code)) = fate.exits_after {
            acts.push((after, Act::Exit(code)));
        }
        if let Some(after) = fate.serves_nobody_after {
            acts.push((after, Act::ServeNobody));
        }
        for (after, act) in acts {
            let identity = identity.clone();
            self.agenda
                .enter(self.now + after, Happening::Process { identity, act });
        }
    }

    fn look_ready(&mut self, incarnation: Incarnation, ports: Vec<Port>) {
        let Some(engine) = &self.engine else {
            return;
        };
        if !engine.watched.contains_key(&incarnation) {
            return;
        }
        if ports.iter().all(|port| self.machine.is_taken(*port)) {
            return self.hear(Event::ChildReady { incarnation }, false);
        }
        let at = self.now + LOOK_EVERY;
        self.at(at, Deed::LookReady { incarnation, ports });
    }

    fn signal(&mut self, identity: Identity, signal: Signal) {
        let Some(process) = self.machine.get(&identity) else {
            return;
        };
        let number = match signal {
            Signal::Terminate if process.character.is_deaf => return,
            Signal::Terminate => 15,
            Signal::Kill => 9,
        };
        let at = self.now + self.chance.between(0, 200);
        let act = Act::Die(number);
        self.agenda.enter(at, Happening::Process { identity, act });
    }

    /// A process does something, if it still lives.
    pub(crate) fn process_acts(&mut self, identity: &Identity, act: Act) {
        let Some(process) = self.machine.get(identity) else {
            return;
        };
        match act {
            Act::Listen => {
                let ports = process.ports.clone();
                if ports.iter().any(|port| self.machine.is_taken(*port)) {
                    return self.end_process(identity, Outcome::Exited(98)); // EADDRINUSE
                }
                if let Some(process) = self.machine.get_mut(identity) {
                    process.listens = true;
                }
            }
            Act::ServeNobody => {
                let incarnation = process.incarnation;
                let port = process.ports.first().copied();
                let watched = self.engine.as_ref().map(|engine| &engine.watched);
                if watched.is_some_and(|watched| watched.contains_key(&incarnation)) {
                    let port = port.unwrap_or(Port(0));
                    self.hear(Event::ForeignListener { incarnation, port }, false);
                }
            }
            Act::Exit(code) => self.end_process(identity, Outcome::Exited(code)),
            Act::Die(signal) => self.end_process(identity, Outcome::Signaled(signal)),
        }
    }

    /// A process ends. Its driver tells, if there is one.
    pub(crate) fn end_process(&mut self, identity: &Identity, outcome: Outcome) {
        let Some(process) = self.machine.end(identity, outcome.clone()) else {
            return;
        };
        if let Some(keeps) = process.character.leaves.filter(|_| process.listens)
            && !self.is_calm
            && let Some(left) = self.machine.leave_behind(&process)
        {
            let at = self.now + keeps;
            let (identity, act) = (left, Act::Exit(0));
            self.agenda.enter(at, Happening::Process { identity, act });
        }
        let Some(engine) = &mut self.engine else {
            return;
        };
        let incarnation = process.incarnation;
        if engine.watched.get(&incarnation) != Some(identity) {
            return;
        }
        engine.watched.remove(&incarnation);
        let at = process.told_at.max(self.now) + self.chance.between(1, 20);
        self.at(
            at,
            Deed::Tell(Event::ChildExited {
                incarnation,
                outcome,
            }),
        );
    }

    /// The master has done all, and ends.
    pub(crate) fn exit(&mut self) {
        self.check_what_is_left();
        if let Some(engine) = self.engine.take() {
            self.expected = engine.live.state().clone();
            let closed = engine.live.close();
            self.demand(closed.is_ok(), || format!("the journal: {closed:?}"));
        }
        self.end_master(true);
        self.exits += 1;
        let at = self.now + self.chance.between(100, 5_000);
        self.agenda.enter(at, Happening::Start { life: self.life });
    }
}

/// The name of an effect, as a crash point.
pub(crate) const fn name_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Child(effect) => match effect {
            ChildEffect::ProbePorts { .. } => "probe-ports",
            ChildEffect::Spawn(_) => "spawn",
            ChildEffect::Adopt { .. } => "adopt",
            ChildEffect::AwaitReady { .. } => "await-ready",
            ChildEffect::Reap { .. } => "reap",
            ChildEffect::Signal { .. } => "signal",
        },
        Effect::Session(effect) => match effect {
            SessionEffect::Dial { .. } => "dial",
            SessionEffect::HangUp { .. } => "hang",
            SessionEffect::Publish { .. } => "publish",
            SessionEffect::Retract { .. } => "retract",
            SessionEffect::Reply { .. } => "reply",
            SessionEffect::Lan(effect) => match effect {
                LanEffect::Bid { .. } => "bid",
                LanEffect::Abandon { .. } => "abandon",
                LanEffect::Respond { .. } => "respond",
                LanEffect::ReportDown { .. } => "report-down",
                LanEffect::ReportEngaged { .. } => "report-engaged",
                LanEffect::AddNeed { .. } => "add-need",
                LanEffect::RemoveNeed { .. } => "remove-need",
            },
        },
        Effect::Install { .. } => "install",
        Effect::Exit => "exit",
    }
}
