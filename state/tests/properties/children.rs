//! The machine of the simulated world: its processes and its ports.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_state::{
    BootId, Identity, Incarnation, InstanceName, Outcome, PerProtocol, Pid, Port, SpawnOrder,
    Survivor,
};

/// The machine.
pub(crate) struct Machine {
    pub(crate) boot: BootId,
    pub(crate) children: BTreeMap<Pid, Child>,
    /// Ports that programs of other people hold.
    pub(crate) foreign: BTreeSet<Port>,
    /// Those of which the master is to be told when they are free.
    pub(crate) awaited: BTreeSet<Port>,
    next_pid: u32,
}

/// A process.
pub(crate) struct Child {
    pub(crate) incarnation: Incarnation,
    pub(crate) identity: Identity,
    pub(crate) instance: InstanceName,
    pub(crate) ports: PerProtocol<Option<Port>>,
    pub(crate) alive: bool,
    /// Its ports answer.
    pub(crate) serves: bool,
    /// How it ended, once it has; while it lives, how its own process ended, where others that it
    /// had started live on.
    pub(crate) outcome: Option<Outcome>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            boot: BootId::from("boot-1"),
            children: BTreeMap::new(),
            foreign: BTreeSet::new(),
            awaited: BTreeSet::new(),
            next_pid: 100,
        }
    }

    /// Forks a child; the promises that a fork must keep are checked here.
    pub(crate) fn fork(&mut self, order: &SpawnOrder) -> Identity {
        for other in self.living() {
            assert_ne!(
                other.instance, order.need.instance,
                "two processes for one instance"
            );
            for port in order.ports.given() {
                let shared = other.ports.given().any(|used| used == port);
                assert!(!shared, "two children on port {port}");
            }
        }
        self.next_pid += 1;
        let identity = Identity {
            boot: self.boot.clone(),
            pid: Pid(self.next_pid),
            started: u64::from(self.next_pid),
        };
        let child = Child {
            incarnation: order.incarnation,
            identity: identity.clone(),
            instance: order.need.instance.clone(),
            ports: order.ports,
            alive: true,
            serves: false,
            outcome: None,
        };
        self.children.insert(identity.pid, child);
        identity
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Child> {
        self.children.values().filter(|child| child.alive)
    }

    pub(crate) fn living_pids(&self) -> Vec<Pid> {
        self.living().map(|child| child.identity.pid).collect()
    }

    pub(crate) fn survivors(&self) -> Vec<Survivor> {
        self.living()
            .map(|child| Survivor {
                incarnation: child.incarnation,
                identity: child.identity.clone(),
            })
            .collect()
    }

    /// The one living process of an attempt, if it lives.
    pub(crate) fn of(&mut self, incarnation: Incarnation) -> Option<&mut Child> {
        self.children
            .values_mut()
            .find(|child| child.alive && child.incarnation == incarnation)
    }

    /// Ends a process. False where it had ended already.
    pub(crate) fn end(&mut self, pid: Pid, outcome: &Outcome) -> bool {
        let Some(child) = self.children.get_mut(&pid).filter(|child| child.alive) else {
            return false;
        };
        child.alive = false;
        child.serves = false;
        child.outcome.get_or_insert_with(|| outcome.clone());
        true
    }

    /// The machine loses power: everything ends, unseen.
    pub(crate) fn reboot(&mut self) {
        for child in self.children.values_mut() {
            child.alive = false;
            child.serves = false;
        }
        self.boot = BootId::from(format!("boot-{}", self.next_pid));
    }

    /// The awaited ports that can be bound: they are told once.
    pub(crate) fn freed(&mut self) -> Vec<Port> {
        let awaited: Vec<Port> = self.awaited.iter().copied().collect();
        let taken = self.taken(&awaited);
        let freed: Vec<Port> = awaited
            .into_iter()
            .filter(|port| !taken.contains(port))
            .collect();
        self.awaited.retain(|port| taken.contains(port));
        freed
    }

    /// Which of these ports cannot be bound.
    pub(crate) fn taken(&self, ports: &[Port]) -> Vec<Port> {
        let used: BTreeSet<Port> = self
            .living()
            .flat_map(|child| child.ports.given().collect::<Vec<_>>())
            .chain(self.foreign.iter().copied())
            .collect();
        ports
            .iter()
            .copied()
            .filter(|port| used.contains(port))
            .collect()
    }
}
