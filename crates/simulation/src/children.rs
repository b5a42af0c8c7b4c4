//! The drivers of a master's children: they live in the engine, and end with it. And what the children
//! do by themselves.

use std::sync::Arc;

use allexmaster_protocol::frame::{ClientFrame, RemoteError, ServerFrame};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_state::{
    ChildEffect, Effect, Event, Identity, Incarnation, InstanceName, LanEffect, Outcome, Port,
    SessionEffect, Signal, SpawnOrder,
};
use serde_json::json;

use crate::agenda::{Act, Happening, Job};
use crate::crash::Point;
use crate::env::Env;
use crate::machine::Process;
use crate::master::{Master, Step};
use crate::network::{Arrival, End, LinkId, Peer};
use crate::plan::Fate;
use crate::sessions::channel_name;

/// How often a driver looks whether ports answer, in milliseconds.
const LOOK_EVERY: u64 = 250;
/// So often, in thousandths, a program cannot be started.
const NOT_SPAWNED_PERMILLE: u64 = 30;

/// The child's end of its channel.
#[derive(Debug)]
pub(crate) struct ChildChannel {
    pub(crate) link: LinkId,
    wire: Wire,
}

impl Master {
    /// An effect for the drivers of children.
    pub(crate) fn perform(&mut self, env: &mut Env, effect: ChildEffect) -> Step {
        match effect {
            ChildEffect::ProbePorts { incarnation, ports } => {
                self.later(env, 20, Job::Probe { incarnation, ports });
            }
            ChildEffect::AwaitFree { ports } => self.later(env, 20, Job::LookFree { ports }),
            ChildEffect::Spawn(order) => self.later(env, 50, Job::Fork(order)),
            ChildEffect::Adopt {
                incarnation,
                instance,
                identity,
            } => return self.adopt(env, incarnation, instance, identity),
            ChildEffect::AwaitReady { incarnation, ports } => {
                self.later(env, 20, Job::LookReady { incarnation, ports });
            }
            ChildEffect::Reap { incarnation } => self.machine.reap(incarnation),
            ChildEffect::Signal {
                identity, signal, ..
            } => self.later(env, 5, Job::Signal { identity, signal }),
            ChildEffect::EndStray { identity, .. } => {
                let signal = Signal::Kill;
                self.later(env, 5, Job::Signal { identity, signal });
            }
        }
        Ok(())
    }

    fn later(&self, env: &mut Env, most: u64, job: Job) {
        if let Some(engine) = &self.engine {
            env.soon_in_engine(most, (self.id, engine.number), job);
        }
    }

    /// Binds ports.
    pub(crate) fn probe(&mut self, env: &mut Env, incarnation: Incarnation, ports: Vec<Port>) {
        let taken = ports
            .into_iter()
            .filter(|port| self.machine.is_taken(*port));
        let taken = taken.collect();
        let probed = Event::PortsProbed {
            incarnation,
            taken,
            holders: Vec::new(),
        };
        self.report(env, probed);
    }

    pub(crate) fn look_free(&mut self, env: &mut Env, ports: Vec<Port>) {
        let Some(engine) = &self.engine else {
            return;
        };
        let is_taken = |port: &Port| self.machine.is_taken(*port);
        let (taken, free): (Vec<Port>, Vec<Port>) = ports.into_iter().partition(is_taken);
        if !taken.is_empty() {
            let look = Happening::Engine {
                master: self.id,
                engine: engine.number,
                job: Job::LookFree { ports: taken },
            };
            env.after(LOOK_EVERY, look);
        }
        if !free.is_empty() {
            self.report(env, Event::PortsFreed { ports: free });
        }
    }

    fn adopt(
        &mut self,
        env: &mut Env,
        incarnation: Incarnation,
        instance: InstanceName,
        identity: Identity,
    ) -> Step {
        self.open_channel(env, incarnation, instance, identity.clone())?;
        let lives = self.machine.get(&identity).is_some();
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        if lives {
            engine.watched.insert(incarnation, identity);
            return Ok(());
        }
        let unseen = || Outcome::Lost(Arc::from("it ended before it could be adopted"));
        let outcome = self.machine.outcome_of(&identity).unwrap_or_else(unseen);
        let exited = Event::ChildExited {
            incarnation,
            outcome,
        };
        self.later(env, 10, Job::Report(exited));
        Ok(())
    }

    /// Forks; the promises that a fork must keep are checked here.
    pub(crate) fn fork(&mut self, env: &mut Env, order: SpawnOrder) -> Step {
        let incarnation = order.incarnation;
        if !env.is_calm && env.chance.permille(NOT_SPAWNED_PERMILLE) {
            let reason = Arc::from("no such file");
            let failed = Event::ChildNotSpawned {
                incarnation,
                reason,
                missing: None,
            };
            self.report(env, failed);
            return Ok(());
        }
        self.check_fork(env, &order);
        let fate = Fate::new(&mut env.chance, &order.need.module, env.is_calm);
        let Some(identity) = self.machine.start(&order, fate.character) else {
            env.demand(false, || "the machine is full of processes".to_owned());
            return Ok(());
        };
        env.forks += 1;
        self.live_out(env, &identity, &fate);
        if fate.character.has_channel {
            self.make_channel(env, incarnation, &identity);
        }
        self.passes(env, Point::Forked, "spawn")?;
        let told_at = env.now + env.chance.between(1, 20);
        if let Some(process) = self.machine.get_mut(&identity) {
            process.told_at = told_at;
        }
        if let Some(engine) = &mut self.engine {
            engine.watched.insert(incarnation, identity.clone());
        }
        let instance = order.need.instance.clone();
        self.open_channel(env, incarnation, instance, identity.clone())?;
        let spawned = Event::ChildSpawned {
            incarnation,
            identity,
            launcher: None,
        };
        self.report_at(env, told_at, spawned);
        Ok(())
    }

    /// The channel of a child, which the keeper holds from before the child is there.
    fn make_channel(&mut self, env: &mut Env, incarnation: Incarnation, identity: &Identity) {
        let peer = Peer::Child(identity.clone());
        let link = env.network.open(&mut env.chance, self.id, peer);
        if let Some(keeper) = &mut self.keeper {
            keeper.sockets.insert(channel_name(incarnation), link);
        }
        if let Some(process) = self.machine.get_mut(identity) {
            process.channel = Some(ChildChannel {
                link,
                wire: Wire::newline_delimited(),
            });
        }
    }

    fn report_at(&self, env: &mut Env, at: u64, event: Event) {
        if let Some(engine) = &self.engine {
            let report = Happening::Engine {
                master: self.id,
                engine: engine.number,
                job: Job::Report(event),
            };
            env.agenda.enter(at, report);
        }
    }

    /// What a process does by itself, and when.
    fn live_out(&mut self, env: &mut Env, identity: &Identity, fate: &Fate) {
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
            self.process_later(env, after, identity, act);
        }
    }

    fn process_later(&self, env: &mut Env, after: u64, identity: &Identity, act: Act) {
        let process = Happening::Process {
            master: self.id,
            identity: identity.clone(),
            act,
        };
        env.after(after, process);
    }

    /// A child is ready when its ports answer, and its master has a session with it if it is spoken to.
    pub(crate) fn look_ready(&mut self, env: &mut Env, incarnation: Incarnation, ports: Vec<Port>) {
        let Some(engine) = &self.engine else {
            return;
        };
        if !engine.watched.contains_key(&incarnation) {
            return;
        }
        let is_introduced = engine
            .log
            .sessions()
            .child(incarnation)
            .is_none_or(|(_, introduced)| introduced);
        if is_introduced && ports.iter().all(|port| self.machine.is_taken(*port)) {
            return self.report(env, Event::ChildReady { incarnation });
        }
        let look = Happening::Engine {
            master: self.id,
            engine: engine.number,
            job: Job::LookReady { incarnation, ports },
        };
        env.after(LOOK_EVERY, look);
    }

    pub(crate) fn signal(&mut self, env: &mut Env, identity: &Identity, signal: Signal) {
        let Some(process) = self.machine.get(identity) else {
            return;
        };
        let number = match signal {
            Signal::Terminate if process.character.is_deaf => return,
            Signal::Terminate => 15,
            Signal::Kill => 9,
        };
        let after = env.chance.between(0, 200);
        self.process_later(env, after, identity, Act::Die(number));
    }

    /// A process does something, if it still lives.
    pub(crate) fn process_acts(&mut self, env: &mut Env, identity: &Identity, act: Act) {
        let Some(process) = self.machine.get(identity) else {
            return;
        };
        match act {
            Act::Listen => {
                let ports = process.ports.clone();
                if ports.iter().any(|port| self.machine.is_taken(*port)) {
                    return self.end_process(env, identity, Outcome::Exited(98)); // EADDRINUSE
                }
                let ready = ServerFrame::ChildReady {
                    process: identity.pid.0,
                };
                if let Some(process) = self.machine.get_mut(identity) {
                    process.listens = true;
                    process.say(env, ready);
                }
            }
            Act::ServeNobody => {
                let incarnation = process.incarnation;
                if process.channel.is_some() && env.chance.permille(500) {
                    let error = RemoteError::new("BROKEN", "it cannot work");
                    if let Some(process) = self.machine.get_mut(identity) {
                        process.say(env, ServerFrame::ChildFailed { error });
                    }
                    return;
                }
                let watched = self.engine.as_ref().map(|engine| &engine.watched);
                if watched.is_some_and(|watched| watched.contains_key(&incarnation)) {
                    let port = process.ports.first().copied().unwrap_or(Port(0));
                    self.report(env, Event::ForeignListener { incarnation, port });
                }
            }
            Act::Exit(code) => self.end_process(env, identity, Outcome::Exited(code)),
            Act::Die(signal) => self.end_process(env, identity, Outcome::Signaled(signal)),
        }
    }

    /// Something arrives at a child over its channel. It ends with the channel.
    pub(crate) fn child_receives(&mut self, env: &mut Env, identity: &Identity, arrival: Arrival) {
        let Some(process) = self.machine.get_mut(identity) else {
            return;
        };
        let Some(channel) = &mut process.channel else {
            return;
        };
        let mut items = Vec::new();
        match arrival {
            Arrival::Bytes(bytes) => channel.wire.receive(&bytes, &mut items),
            Arrival::Closed => {
                let after = env.chance.between(1, 250);
                return self.process_later(env, after, identity, Act::Exit(0));
            }
        }
        for item in items {
            let asked = match item {
                WireItem::Text(text) => ClientFrame::from_text(&text).map_err(|e| e.to_string()),
                WireItem::Alive => continue,
                WireItem::Closed(reason) => Err(reason.to_string()),
            };
            match asked {
                Ok(ClientFrame::Introduce { id, session, .. }) => {
                    let value = json!({
                        "session": session.as_ref().map(|session| session.as_str()),
                        "role": "service",
                        "modulename": "allex_timeservice",
                    });
                    process.say(env, ServerFrame::Result { id, value });
                }
                Ok(_) => {}
                Err(error) => env.demand(false, || {
                    format!("a child is sent what makes no sense: {error}")
                }),
            }
        }
    }

    /// A process ends. Its driver reports it, if there is one.
    pub(crate) fn end_process(&mut self, env: &mut Env, identity: &Identity, outcome: Outcome) {
        let Some(process) = self.machine.end(identity, outcome.clone()) else {
            return;
        };
        if let Some(channel) = &process.channel {
            env.close(channel.link, End::Peer);
        }
        if let Some(keeps) = process.character.leaves.filter(|_| process.listens)
            && !env.is_calm
            && let Some(left) = self.machine.leave_behind(&process)
        {
            self.process_later(env, keeps, &left, Act::Exit(0));
        }
        let Some(engine) = &mut self.engine else {
            return;
        };
        let incarnation = process.incarnation;
        if engine.watched.get(&incarnation) != Some(identity) {
            return;
        }
        engine.watched.remove(&incarnation);
        let at = process.told_at.max(env.now) + env.chance.between(1, 20);
        let exited = Event::ChildExited {
            incarnation,
            outcome,
        };
        self.report_at(env, at, exited);
    }
}

impl Process {
    /// A child says something over its channel, if it has one.
    fn say(&mut self, env: &mut Env, frame: ServerFrame) {
        if let Some(channel) = &mut self.channel {
            // A channel that is closed takes nothing more.
            let _ = channel.wire.send(&frame.into_text());
            let bytes = channel.wire.take_output();
            env.send(channel.link, End::Master, &bytes);
        }
    }
}

/// The name of an effect, as a crash point.
pub(crate) const fn name_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Child(effect) => match effect {
            ChildEffect::ProbePorts { .. } => "probe-ports",
            ChildEffect::AwaitFree { .. } => "await-free",
            ChildEffect::Spawn(_) => "spawn",
            ChildEffect::Adopt { .. } => "adopt",
            ChildEffect::AwaitReady { .. } => "await-ready",
            ChildEffect::Reap { .. } => "reap",
            ChildEffect::Signal { .. } => "signal",
            ChildEffect::EndStray { .. } => "end-stray",
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
