//! What must hold: at each fork, at each return, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_journal::{JournaledMachine, Options, Recovery};
use allexmaster_state::{
    Activity, Failure, InstanceName, ModuleName, Need, Port, Shutdown, SpawnOrder, State, step,
};
use allexmaster_state::{Recorded, Rules};
use serde_json::{Map, Value};

use crate::plan::ADDRESS;
use crate::world::World;

impl World {
    /// A child is about to be forked.
    pub(crate) fn check_fork(&mut self, order: &SpawnOrder) {
        let instance = &order.need.instance;
        let ports: Vec<Port> = order.ports.iter().map(|(_, port)| *port).collect();
        let mut broken = None;
        for other in self.machine.children() {
            if other.instance == *instance {
                broken = Some(format!(
                    "{instance} is started twice: {} lives, {} is forked",
                    other.incarnation, order.incarnation
                ));
            } else if let Some(port) = ports.iter().find(|port| other.ports.contains(port)) {
                broken = Some(format!(
                    "port {port} is given to {instance} and held by {}",
                    other.instance
                ));
            }
        }
        if let Some(broken) = broken {
            self.demand(false, || broken);
        }
    }

    /// The journal was opened again: nothing that was acknowledged is lost, and the state is the one
    /// that was.
    pub(crate) fn check_what_came_back(
        &mut self,
        live: &JournaledMachine<Rules>,
        recoveries: &[Recovery],
    ) {
        let last = live.position().sequence;
        let acknowledged = self.acknowledged;
        self.demand(last >= acknowledged, || {
            format!("{acknowledged} events were acknowledged, {last} are there")
        });
        let loss = recoveries.iter().find(|recovery| recovery.is_loss());
        if let Some(loss) = loss {
            self.demand(false, || loss.to_string());
        }
        let same = last > acknowledged || *live.state() == self.expected;
        self.demand(same, || {
            "the state that came back is another one".to_owned()
        });
        self.acknowledged = last;
    }

    /// A master that ends leaves no child.
    pub(crate) fn check_what_is_left(&mut self) {
        let left = self.machine.children().next();
        if let Some(instance) = left.map(|child| child.instance.clone()) {
            self.demand(false, || format!("{instance} outlives the master"));
        }
        let asked = self.front.as_ref().map_or(0, |front| front.asked.len());
        self.demand(asked == 0, || {
            format!("{asked} calls are left without an answer")
        });
    }

    /// At the very end: the records verify, and replaying them gives the live state.
    pub(crate) fn check_replay(&mut self) {
        let Some(engine) = &self.engine else {
            return self.demand(false, || "there is no master".to_owned());
        };
        let state = engine.live.state().clone();
        let opened =
            JournaledMachine::<Rules>::with_store(Box::new(self.disk.clone()), Options::default());
        let (mut again, _) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.demand(false, || format!("the journal: {error}")),
        };
        self.demand(*again.state() == state, || {
            "opened again, the journal gives another state".to_owned()
        });
        let verified = again.journal().verify();
        self.demand(verified.is_ok(), || format!("the journal: {verified:?}"));
        let mut replayed = State::default();
        match again.journal().records(1) {
            Ok(records) => {
                for record in records.flatten() {
                    (replayed, _) = step(replayed, Recorded::new(record.stamp, record.event));
                }
            }
            Err(error) => return self.demand(false, || format!("the journal: {error}")),
        }
        self.demand(replayed == state, || {
            "a replay gives another state than life did".to_owned()
        });
    }

    /// What keeps the world from being at rest: every need satisfied exactly once, every process and
    /// every port accounted for, every call answered. Nothing, where it is.
    pub(crate) fn unrest(&self) -> Option<String> {
        let (Some(engine), Some(front), Some(lan_manager)) =
            (&self.engine, &self.front, self.lan_manager.state())
        else {
            return Some("somebody is away".to_owned());
        };
        let state = engine.live.state();
        if state.shutdown != Shutdown::No {
            return Some("the master is stopping".to_owned());
        }
        let listed: BTreeMap<&str, &Map<String, Value>> = lan_manager
            .services()
            .map(|(name, row)| (name.as_str(), row))
            .collect();
        let (_, needs) = lan_manager.runtime_needs();
        for need in needs.iter().filter_map(readable) {
            if self.can_be_satisfied(&need)
                && let Some(why) = self.unsatisfied(state, &listed, &need.instance)
            {
                return Some(format!("{}: {why}", need.instance));
            }
        }
        self.unaccounted(state)
            .or_else(|| (!front.asked.is_empty()).then(|| "a call has no answer".to_owned()))
            .or_else(|| {
                let up = state.services.iter().filter_map(|(name, service)| {
                    let process = service.activity.process()?;
                    let is_up = matches!(service.activity, Activity::Up { .. });
                    is_up.then(|| (name.clone(), process.identity.pid))
                });
                let differs = front.published != up.collect();
                differs.then(|| "local tools see other services than there are".to_owned())
            })
    }

    fn can_be_satisfied(&self, need: &Need) -> bool {
        let settings = &self.plan.settings;
        settings.launcher(&need.module).is_some() && need.is_for(ADDRESS)
    }

    fn unsatisfied(
        &self,
        state: &State,
        listed: &BTreeMap<&str, &Map<String, Value>>,
        instance: &InstanceName,
    ) -> Option<String> {
        let children: Vec<_> = self
            .machine
            .children()
            .filter(|child| child.instance == *instance)
            .collect();
        let [child] = children.as_slice() else {
            return Some(format!("{} processes", children.len()));
        };
        let Some(row) = listed.get(instance.as_str()) else {
            return Some("the LanManager does not list it".to_owned());
        };
        let pid = row.get("pid").and_then(Value::as_u64);
        if pid != Some(u64::from(child.identity.pid.0)) {
            return Some("the LanManager lists another process".to_owned());
        }
        let service = state.services.get(instance);
        match service.map(|service| &service.activity) {
            Some(Activity::Up {
                approved: true,
                process,
                ..
            }) if process.identity == child.identity => None,
            Some(_) | None => Some("the master does not know it as approved".to_owned()),
        }
    }

    /// A process or a port that nobody answers for.
    fn unaccounted(&self, state: &State) -> Option<String> {
        let mut held = BTreeSet::new();
        for process in self.machine.living() {
            let service = state.services.get(&process.instance);
            let known = service.and_then(|service| service.activity.process());
            if known.map(|known| &known.identity) != Some(&process.identity) {
                return Some(format!(
                    "process {} of {} is nobody's",
                    process.identity.pid, process.instance
                ));
            }
            held.extend(process.ports.iter().copied());
        }
        let leased: BTreeSet<Port> = state.ports.leases().map(|(port, _)| port).collect();
        (leased != held).then(|| "ports are leased to nobody".to_owned())
    }

    /// The services that are not tried again until somebody acts.
    pub(crate) fn given_up(&self) -> Vec<InstanceName> {
        let Some(engine) = &self.engine else {
            return Vec::new();
        };
        let services = engine.live.state().services.iter();
        services
            .filter(|(_, service)| {
                matches!(&service.activity, Activity::Failed { why } if *why != Failure::NoLauncher)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn readable(row: &Map<String, Value>) -> Option<Need> {
    let text = |column: &str| row.get(column).and_then(Value::as_str);
    Some(Need {
        instance: InstanceName::from(text("instancename")?),
        module: ModuleName::from(text("modulename")?),
        address: text("ipaddress").map(std::sync::Arc::from),
        ports: allexmaster_state::PerProtocol::default(),
        details: Map::new(),
    })
}
