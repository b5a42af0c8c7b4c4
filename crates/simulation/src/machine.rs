//! The machine: its processes, and who listens where.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_state::{
    BootId, Ended, Identity, Incarnation, InstanceName, Outcome, Pid, Port, SpawnOrder, Survivor,
};

use crate::children::ChildChannel;
use crate::env::MasterId;

/// Process numbers on one machine. They are used again, soon, so that a number that is taken for a
/// process is found out.
const PIDS: u32 = 60;

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) boot: BootId,
    /// By number; the ended ones as long as their end was not heard of.
    processes: BTreeMap<Pid, Process>,
    /// Ports that programs of other people hold.
    pub(crate) foreign: BTreeSet<Port>,
    ticks: u64,
    first_pid: u32,
    last_pid: u32,
    boots: u64,
}

/// A process that bears the name of an attempt.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    pub(crate) incarnation: Incarnation,
    pub(crate) instance: InstanceName,
    /// The ports that it was given.
    pub(crate) ports: Vec<Port>,
    pub(crate) listens: bool,
    /// How it ended, once it has.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) character: Character,
    /// When its driver tells of its fork; its end is never told before.
    pub(crate) told_at: u64,
    /// Its end of the channel to the master, where it has one.
    pub(crate) channel: Option<ChildChannel>,
}

/// What a process is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Character {
    /// It was forked by the master; not so one that a child has left behind.
    pub(crate) is_child: bool,
    /// It does not hear SIGTERM.
    pub(crate) is_deaf: bool,
    /// It has a channel to the master, and ends with it.
    pub(crate) has_channel: bool,
    /// It leaves a process behind that keeps its ports for so long, in milliseconds.
    pub(crate) leaves: Option<u64>,
}

impl Process {
    pub(crate) fn lives(&self) -> bool {
        self.outcome.is_none()
    }
}

impl Machine {
    /// The machine of a master.
    pub(crate) fn new(master: MasterId) -> Self {
        let first_pid = 100 + 1_000 * u32::from(master.0);
        Self {
            boot: BootId::from("boot-0"),
            processes: BTreeMap::new(),
            foreign: BTreeSet::new(),
            ticks: 0,
            first_pid,
            last_pid: first_pid,
            boots: 0,
        }
    }

    /// Starts a process. `None` where the machine has no number left.
    pub(crate) fn start(&mut self, order: &SpawnOrder, character: Character) -> Option<Identity> {
        let ports = order.ports.given().collect();
        let instance = order.need.instance.clone();
        self.enter(order.incarnation, instance, ports, character)
    }

    /// A child has ended, and what it started itself keeps its ports.
    pub(crate) fn leave_behind(&mut self, child: &Process) -> Option<Identity> {
        let character = Character {
            is_child: false,
            is_deaf: false,
            has_channel: false,
            leaves: None,
        };
        let (instance, ports) = (child.instance.clone(), child.ports.clone());
        let identity = self.enter(child.incarnation, instance, ports, character)?;
        if let Some(left) = self.get_mut(&identity) {
            left.listens = true;
        }
        Some(identity)
    }

    fn enter(
        &mut self,
        incarnation: Incarnation,
        instance: InstanceName,
        ports: Vec<Port>,
        character: Character,
    ) -> Option<Identity> {
        let pid = self.free_pid()?;
        self.ticks += 1;
        let identity = Identity {
            boot: self.boot.clone(),
            pid,
            started: self.ticks,
        };
        let process = Process {
            identity: identity.clone(),
            incarnation,
            instance,
            ports,
            listens: false,
            outcome: None,
            character,
            told_at: 0,
            channel: None,
        };
        self.processes.insert(pid, process);
        Some(identity)
    }

    fn free_pid(&mut self) -> Option<Pid> {
        for _ in 0..PIDS {
            self.last_pid += 1;
            if self.last_pid > self.first_pid + PIDS {
                self.last_pid = self.first_pid;
            }
            let pid = Pid(self.last_pid);
            if !self.processes.contains_key(&pid) {
                return Some(pid);
            }
        }
        None
    }

    /// The living process of exactly this identity.
    pub(crate) fn get(&self, identity: &Identity) -> Option<&Process> {
        let process = self.processes.get(&identity.pid)?;
        (process.identity == *identity && process.lives()).then_some(process)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, identity: &Identity) -> Option<&mut Process> {
        let process = self.processes.get_mut(&identity.pid)?;
        (process.identity == *identity && process.lives()).then_some(process)
    }

    /// How a process has ended, while that is kept.
    pub(crate) fn outcome_of(&self, identity: &Identity) -> Option<Outcome> {
        let process = self.processes.get(&identity.pid)?;
        process
            .outcome
            .clone()
            .filter(|_| process.identity == *identity)
    }

    /// Ends a process. What it was until then, where it lived.
    pub(crate) fn end(&mut self, identity: &Identity, outcome: Outcome) -> Option<Process> {
        let process = self.get_mut(identity)?;
        let ended = Process {
            identity: identity.clone(),
            instance: process.instance.clone(),
            ports: process.ports.clone(),
            outcome: None,
            channel: process.channel.take(),
            ..*process
        };
        process.outcome = Some(outcome);
        process.listens = false;
        if !ended.character.is_child {
            self.processes.remove(&identity.pid);
        }
        Some(ended)
    }

    /// All that live.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Process> {
        self.processes.values().filter(|process| process.lives())
    }

    /// The children of the master that live.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Process> {
        self.living().filter(|process| process.character.is_child)
    }

    /// Whether somebody listens on a port.
    pub(crate) fn is_taken(&self, port: Port) -> bool {
        self.foreign.contains(&port)
            || self
                .living()
                .any(|process| process.listens && process.ports.contains(&port))
    }

    /// The ends that nobody has heard of: kept by the children's parent.
    pub(crate) fn unheard_ends(&self) -> Vec<Ended> {
        let ended = self.processes.values().filter_map(|process| {
            Some(Ended {
                incarnation: process.incarnation,
                outcome: process.outcome.clone()?,
            })
        });
        ended.collect()
    }

    /// The end of an attempt's child was heard of.
    pub(crate) fn reap(&mut self, incarnation: Incarnation) {
        self.processes
            .retain(|_, process| process.lives() || process.incarnation != incarnation);
    }

    /// The parent of the children is gone, and with it what it kept.
    pub(crate) fn reap_all(&mut self) {
        self.processes.retain(|_, process| process.lives());
    }

    /// What a master finds that knows these of its children: as `process::find_survivors` does.
    pub(crate) fn survivors(&self, recorded: &[(Incarnation, Identity)]) -> Vec<Survivor> {
        let mut found: BTreeMap<Incarnation, &Identity> = BTreeMap::new();
        for process in self.living() {
            let known = recorded
                .iter()
                .find(|(incarnation, _)| *incarnation == process.incarnation);
            match known {
                Some((_, identity)) if process.identity != *identity => {}
                Some(_) | None => {
                    let oldest = found
                        .entry(process.incarnation)
                        .or_insert(&process.identity);
                    if process.identity.started < oldest.started {
                        *oldest = &process.identity;
                    }
                }
            }
        }
        let survivors = found.into_iter().map(|(incarnation, identity)| Survivor {
            incarnation,
            identity: identity.clone(),
        });
        survivors.collect()
    }

    /// The machine loses its power.
    pub(crate) fn reboot(&mut self) {
        self.processes.clear();
        self.foreign.clear();
        self.boots += 1;
        self.boot = BootId::from(format!("boot-{}", self.boots));
    }
}
