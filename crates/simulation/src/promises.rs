//! What must hold: at each fork, at each return, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_journal::{JournaledMachine, Options, Recovery};
use allexmaster_state::{
    Activity, BootId, Event, Failure, InstanceName, ModuleName, Need, Pid, Port, Recorded,
    RequestId, Rules, Shutdown, SpawnOrder, State, step,
};
use serde_json::{Map, Value};

use crate::env::Env;
use crate::master::Master;
use crate::world::World;

impl Master {
    /// A child is about to be forked.
    pub(crate) fn check_fork(&self, env: &mut Env, order: &SpawnOrder) {
        let instance = &order.need.instance;
        let ports: Vec<Port> = order.ports.iter().map(|(_, port)| *port).collect();
        for other in self.machine.children() {
            env.demand(other.instance != *instance, || {
                format!(
                    "{instance} is started twice: {} lives, {} is forked",
                    other.incarnation, order.incarnation
                )
            });
            let shared = ports.iter().find(|port| other.ports.contains(port));
            env.demand(shared.is_none(), || {
                let held_by = &other.instance;
                format!("port {shared:?} is given to {instance} and held by {held_by}")
            });
        }
    }

    /// The journal was opened again: nothing that was acknowledged is lost, and the state is the one
    /// that was.
    pub(crate) fn check_what_came_back(
        &mut self,
        env: &mut Env,
        live: &JournaledMachine<Rules>,
        recoveries: &[Recovery],
    ) {
        let last = live.position().sequence;
        let acknowledged = self.acknowledged;
        env.demand(last >= acknowledged, || {
            format!("{acknowledged} events were acknowledged, {last} are there")
        });
        let loss = recoveries.iter().find(|recovery| recovery.is_loss());
        env.demand(loss.is_none(), || format!("the journal: {loss:?}"));
        let same = last > acknowledged || *live.state() == self.expected;
        env.demand(same, || {
            "the state that came back is another one".to_owned()
        });
        self.acknowledged = last;
    }

    /// A master that ends leaves no child, and has answered every call that it has recorded.
    pub(crate) fn check_what_is_left(&self, env: &mut Env) {
        let left = self.machine.children().next();
        env.demand(left.is_none(), || {
            let instance = left.map(|child| &child.instance);
            format!("{instance:?} outlives the master")
        });
        if let Some(engine) = &self.engine
            && engine.inbox.is_empty()
            && engine.log.sessions().unacked(engine.emitted).is_none()
        {
            env.expect_answers(self.id);
        }
    }

    /// The records verify, replaying them gives the live state, and no call was recorded twice.
    fn check_replay(&self, env: &mut Env) {
        let Some(engine) = &self.engine else {
            return env.demand(false, || "there is no master".to_owned());
        };
        let state = engine.event_loop.state();
        let opened =
            JournaledMachine::<Rules>::with_store(Box::new(self.disk.clone()), Options::default());
        let (mut again, _) = match opened {
            Ok(opened) => opened,
            Err(error) => return env.demand(false, || format!("the journal: {error}")),
        };
        env.demand(*again.state() == *state, || {
            "opened again, the journal gives another state".to_owned()
        });
        let verified = again.journal().verify();
        env.demand(verified.is_ok(), || format!("the journal: {verified:?}"));
        let mut replayed = State::default();
        let mut calls = Calls::default();
        match again.journal().records(1) {
            Ok(records) => {
                for record in records.flatten() {
                    let is_new = is_new_call(&record.event, &mut calls);
                    env.demand(is_new, || "a local call is recorded twice".to_owned());
                    (replayed, _) = step(replayed, Recorded::new(record.stamp, record.event));
                }
            }
            Err(error) => return env.demand(false, || format!("the journal: {error}")),
        }
        env.demand(replayed == *state, || {
            "a replay gives another state than life did".to_owned()
        });
    }

    /// What keeps the master from being at rest: a process or a port that nobody answers for, a call
    /// without an answer, a tool that sees other services than there are.
    fn unrest(&self, env: &Env) -> Option<String> {
        let Some(engine) = &self.engine else {
            return Some("an engine is away".to_owned());
        };
        let state = engine.event_loop.state();
        if state.shutdown != Shutdown::No {
            return Some("a master is stopping".to_owned());
        }
        if let Some(instance) = state.services.unreported().next() {
            return Some(format!(
                "the LanManager has not heard of the end of {instance}"
            ));
        }
        if let Some((_, method)) = env.tools.waiting(self.id).next() {
            return Some(format!("a call of {method} has no answer"));
        }
        let up = state.services.iter().filter_map(|(name, service)| {
            let process = service.activity.process()?;
            let is_up = matches!(service.activity, Activity::Up { .. });
            is_up.then(|| (name.to_string(), u64::from(process.identity.pid.0)))
        });
        let up: BTreeMap<String, u64> = up.collect();
        let seen = env.tools.seen(self.id);
        if seen.as_ref() != Some(&up) {
            return Some(format!("local tools see {seen:?}, and there are {up:?}"));
        }
        self.unaccounted(state)
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
        let services = engine.event_loop.state().services.iter();
        services
            .filter(|(_, service)| {
                matches!(&service.activity, Activity::Failed { why } if *why != Failure::NoLauncher)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl World {
    /// At the very end.
    pub(crate) fn check_replay(&mut self) {
        for master in &self.masters {
            master.check_replay(&mut self.env);
        }
    }

    /// What keeps the world from being at rest: every need satisfied exactly once in the network, and
    /// every master at rest. Nothing, where it is.
    pub(crate) fn unrest(&self) -> Option<String> {
        let Some(lan_manager) = self.lan_manager.state() else {
            return Some("the LanManager is away".to_owned());
        };
        let listed: BTreeMap<&str, &Map<String, Value>> = lan_manager
            .services()
            .map(|(name, row)| (name.as_str(), row))
            .collect();
        let (_, needs) = lan_manager.runtime_needs();
        for need in needs.iter().filter_map(readable) {
            if self.can_be_satisfied(&need)
                && let Some(why) = self.unsatisfied(&listed, &need.instance)
            {
                return Some(format!("{}: {why}", need.instance));
            }
        }
        self.masters.iter().find_map(|master| {
            let why = master.unrest(&self.env)?;
            Some(format!("master {}: {why}", master.id.0))
        })
    }

    /// A service that runs more than once in the network.
    pub(crate) fn doubled(&self) -> Option<InstanceName> {
        let mut seen = BTreeSet::new();
        let children = self
            .masters
            .iter()
            .flat_map(|master| master.machine.children());
        children
            .map(|child| &child.instance)
            .find(|instance| !seen.insert(*instance))
            .cloned()
    }

    fn can_be_satisfied(&self, need: &Need) -> bool {
        let settings = &self.env.plan.settings;
        let mut masters = self.masters.iter();
        settings.launcher(&need.module).is_some()
            && masters.any(|master| need.is_for(&master.id.address()))
    }

    fn unsatisfied(
        &self,
        listed: &BTreeMap<&str, &Map<String, Value>>,
        instance: &InstanceName,
    ) -> Option<String> {
        let children = self.masters.iter().flat_map(|master| {
            let children = master.machine.children().map(move |child| (master, child));
            children.filter(|(_, child)| child.instance == *instance)
        });
        let children: Vec<_> = children.collect();
        let Some(row) = listed.get(instance.as_str()) else {
            return Some("the LanManager does not list it".to_owned());
        };
        let [(master, child)] = children.as_slice() else {
            return Some(format!("{} processes", children.len()));
        };
        let pid = row.get("pid").and_then(Value::as_u64);
        if pid != Some(u64::from(child.identity.pid.0)) {
            return Some("the LanManager lists another process".to_owned());
        }
        let engine = master.engine.as_ref()?;
        let service = engine.event_loop.state().services.get(instance);
        match service.map(|service| &service.activity) {
            Some(Activity::Up {
                approved: true,
                process,
                ..
            }) if process.identity == child.identity => None,
            Some(_) | None => Some("the master does not know it as approved".to_owned()),
        }
    }
}

/// A life of a master, and the calls that are recorded in it.
type Calls = (Option<(BootId, Pid)>, BTreeSet<RequestId>);

/// Whether a call is recorded for the first time. The calls of a master's next life count anew.
fn is_new_call(event: &Event, calls: &mut Calls) -> bool {
    if let Event::MasterStarted { boot, pid, .. } = event {
        let life = Some((boot.clone(), *pid));
        if calls.0 != life {
            *calls = (life, BTreeSet::new());
        }
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these answer a call; a further one that does is a promise to be added here"
    )]
    match event {
        Event::RestartRequested { request, .. }
        | Event::AddNeedRequested { request, .. }
        | Event::RemoveNeedRequested { request, .. }
        | Event::HoldRequested { request, .. }
        | Event::StartRequested { request, .. }
        | Event::StopRequested {
            request: Some(request),
            ..
        } => calls.1.insert(*request),
        _ => true,
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
