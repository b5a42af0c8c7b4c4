//! The world: the masters, the LanManager, and what happens next.

use crate::agenda::{Agenda, Chore, Happening, Job};
use crate::crash::{CrashPoints, Crashes};
use crate::env::{Env, MasterId};
use crate::lan_manager::{LanManager, is_at};
use crate::master::{Master, Step};
use crate::network::{End, LinkId, Network, Peer};
use crate::plan::{Length, Plan};
use crate::tools::Tools;
use allexmaster_lanmanager::rules;
use allexmaster_state::Port;
use allexmaster_testkit::chance::Chance;

/// Everything.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) masters: Vec<Master>,
    pub(crate) lan_manager: LanManager,
}

/// Whose time comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Agenda,
    Turn(MasterId),
    Sessions(MasterId),
    Tool(LinkId),
    LanManagerTimeout,
    LanManagerDeadline,
}

impl World {
    pub(crate) fn new(seed: u64, length: Length, crashes: Crashes) -> Self {
        let mut chance = Chance::new(seed);
        let loses = matches!(crashes, Crashes::Random { .. });
        let mut plan = Plan::new(&mut chance, length, loses);
        let lan_manager = LanManager::new(std::mem::take(&mut plan.needs));
        let masters: Vec<Master> = (0..plan.masters).map(MasterId).map(Master::new).collect();
        let mut env = Env {
            now: 0,
            chance,
            plan,
            is_calm: false,
            agenda: Agenda::default(),
            network: Network::default(),
            tools: Tools::default(),
            crash_points: CrashPoints::new(crashes),
            forks: 0,
            engines: 0,
            broken: None,
        };
        for (at, fault) in env.plan.faults.clone() {
            env.agenda.enter(at, Happening::Fault(fault));
        }
        env.after(0, Happening::LanManagerStart);
        for master in &masters {
            let start = Happening::Start {
                master: master.id,
                life: 0,
            };
            env.soon(500, start);
        }
        Self {
            env,
            masters,
            lan_manager,
        }
    }

    /// The next thing happens, if it does before `end`. False where it does not.
    pub(crate) fn tick(&mut self, end: u64) -> bool {
        let env = &self.env;
        let masters = self.masters.iter().flat_map(|master| {
            let turn = master.due().map(|at| (at, Next::Turn(master.id)));
            let sessions = master.sessions_due();
            [turn, sessions.map(|at| (at, Next::Sessions(master.id)))]
        });
        let tool = env.tools.next_timeout();
        let others = [
            env.agenda.next_at().map(|at| (at, Next::Agenda)),
            tool.map(|(at, link)| (at, Next::Tool(link))),
            self.lan_manager
                .poll_timeout()
                .map(|at| (at, Next::LanManagerTimeout)),
            self.lan_manager
                .deadline()
                .map(|at| (at, Next::LanManagerDeadline)),
        ];
        let next = masters.chain(others).flatten().min();
        let Some((at, next)) = next.filter(|(at, _)| *at < end) else {
            self.env.now = self.env.now.max(end);
            return false;
        };
        let env = &mut self.env;
        env.now = env.now.max(at);
        match next {
            Next::Agenda => {
                if let Some(happening) = env.agenda.pop() {
                    self.happen(happening);
                }
            }
            Next::Turn(master) => self.in_engine(master, |master, env, _| master.turn(env)),
            Next::Sessions(master) => {
                self.in_engine(master, |master, env, _| master.sessions_timeout(env));
            }
            Next::Tool(link) => env.tool_timeout(link),
            Next::LanManagerTimeout => self.lan_manager.timeout(env),
            Next::LanManagerDeadline => {
                self.lan_manager.tell(env, rules::Event::DeadlineReached);
            }
        }
        true
    }

    /// An engine does something. Where it is killed in it, what is lost is lost.
    fn in_engine(
        &mut self,
        master: MasterId,
        act: impl FnOnce(&mut Master, &mut Env, &mut LanManager) -> Step,
    ) {
        if let Some(master) = self.masters.get_mut(usize::from(master.0))
            && act(master, &mut self.env, &mut self.lan_manager).is_err()
        {
            master.lose(&mut self.env);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let env = &mut self.env;
        match happening {
            Happening::Start { master, life } => {
                self.in_engine(master, |master, env, _| master.start(env, life));
            }
            Happening::Engine {
                master,
                engine,
                job,
            } => self.in_engine(master, |master, env, lan_manager| {
                let lives = |found: &crate::master::Engine| found.number == engine;
                if master.engine.as_ref().is_some_and(lives) {
                    return master.work(env, lan_manager, job);
                }
                Ok(())
            }),
            Happening::Process {
                master,
                identity,
                act,
            } => {
                if let Some(master) = self.masters.get_mut(usize::from(master.0)) {
                    master.process_acts(env, &identity, act);
                }
            }
            Happening::Arrive { link, at } => self.arrive(link, at),
            Happening::Watch { master } => {
                if let Some(master) = self.masters.get_mut(usize::from(master.0)) {
                    env.watch(master);
                }
            }
            Happening::ToolLeaves(link) => env.tool_leaves(link),
            Happening::LanManager { run, chore } => self.chore(run, chore),
            Happening::LanManagerStart => self.lan_manager.start(env),
            Happening::DiskWorks(master) => {
                if let Some(master) = self.masters.get_mut(usize::from(master.0)) {
                    master.disk.repair();
                }
            }
            Happening::PortIsFreed { master, port } => {
                if let Some(master) = self.masters.get_mut(usize::from(master.0)) {
                    master.machine.foreign.remove(&port);
                }
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    fn arrive(&mut self, link: LinkId, end: End) {
        let env = &mut self.env;
        let Some((master, peer)) = env.network.ends(link) else {
            return;
        };
        let peer = peer.clone();
        let cut_until = env.network.cut_until(master);
        if env.now < cut_until && matches!(peer, Peer::LanManager { .. }) {
            return env
                .agenda
                .enter(cut_until, Happening::Arrive { link, at: end });
        }
        let Some(master) = self.masters.get_mut(usize::from(master.0)) else {
            return;
        };
        if end == End::Master {
            if env.network.arrive_at_master(link) {
                master.has_arrived(env, link);
            }
            return;
        }
        let Some(arrival) = env.network.arrive_at_peer(link) else {
            return;
        };
        match peer {
            Peer::LanManager { run, connection } => {
                self.lan_manager.receives(env, (run, connection), arrival);
            }
            Peer::Tool => env.tool_receives(link, arrival),
            Peer::Child(identity) => master.child_receives(env, &identity, arrival),
        }
    }

    /// Something that the LanManager had done is done.
    fn chore(&mut self, run: u64, chore: Chore) {
        if run != self.lan_manager.run {
            return;
        }
        match chore {
            Chore::Check {
                check,
                address,
                ports,
            } => {
                let mut masters = self.masters.iter();
                let machine = masters.find(|master| is_at(master.id, address));
                let mut ports = ports.into_iter().map(Port);
                let reachable =
                    machine.is_some_and(|master| ports.any(|port| master.machine.is_taken(port)));
                self.lan_manager.checked(&mut self.env, check, reachable);
            }
            Chore::Write => self.lan_manager.write(&mut self.env),
            Chore::CatchUp => self.lan_manager.tell(&mut self.env, rules::Event::CaughtUp),
        }
    }
}

impl Master {
    fn work(&mut self, env: &mut Env, lan_manager: &mut LanManager, job: Job) -> Step {
        match job {
            Job::Turn => return self.turn(env),
            Job::Pump(name) => return self.pump(env, &name),
            Job::Expire(name) => return self.expire(env, &name),
            Job::TakeIn(name) => return self.take_in(env, name),
            Job::Dial(connection) => return self.dial(env, lan_manager, connection),
            Job::Answer(request) => return self.answer(env, request),
            Job::Probe { incarnation, ports } => self.probe(env, incarnation, ports),
            Job::Fork(order) => return self.fork(env, order),
            Job::LookReady { incarnation, ports } => self.look_ready(env, incarnation, ports),
            Job::Signal { identity, signal } => self.signal(env, &identity, signal),
            Job::Report(event) => self.report(env, event),
            Job::End => self.end(env),
        }
        Ok(())
    }
}
