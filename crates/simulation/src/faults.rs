//! What goes wrong, and what people want, at times that the seed has planned.

use allexmaster_journal::store::Fault as DiskFault;
use allexmaster_lanmanager::rules as lan;
use allexmaster_state::{Outcome, Port};
use serde_json::{Value, json};

use crate::agenda::{Chore, Happening};
use crate::crash::Loss;
use crate::network::{End, Peer};
use crate::plan;
use crate::tools::Purpose;
use crate::world::World;

/// One of it, at a master that chance picks when it happens. Times are milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Lose(Loss),
    LanManagerCrash { down: u64 },
    Cut { milliseconds: u64 },
    LinkBreaks,
    ClockJumps(i64),
    PortIsTaken { port: Port, milliseconds: u64 },
    ChildIsKilled,
    LanManagerNeeds { name: u64 },
    LanManagerForgets { name: u64 },
    SomebodyAddsNeed { name: u64 },
    SomebodyRemovesNeed { name: u64 },
    SomebodyRestarts { name: u64 },
    SomebodyKills { name: u64 },
    SomebodyAsks,
    ModuleIsEngaged,
    SomebodyStops,
    DiskFails { milliseconds: u64 },
    ConfigurationChanges,
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        let index = self.env.chance.below(self.masters.len());
        let Some(master) = self.masters.get_mut(index) else {
            return;
        };
        let (env, id) = (&mut self.env, master.id);
        match fault {
            Fault::Lose(loss) => {
                master.loss = Some((loss, 0));
                master.lose(env);
            }
            Fault::LanManagerCrash { down } => {
                self.lan_manager.lose(env);
                env.after(down, Happening::LanManagerStart);
            }
            Fault::Cut { milliseconds } => env.network.cut(id, env.now + milliseconds),
            Fault::LinkBreaks => self.break_link(),
            Fault::ClockJumps(by) => master.wall_ahead += by,
            Fault::PortIsTaken { port, milliseconds } => {
                if !master.machine.is_taken(port) {
                    master.machine.foreign.insert(port);
                    env.after(milliseconds, Happening::PortIsFreed { master: id, port });
                }
            }
            Fault::ChildIsKilled => {
                let children = master.machine.children();
                let children: Vec<_> = children.map(|child| child.identity.clone()).collect();
                if let Some(identity) = env.chance.one_of(&children).cloned() {
                    master.end_process(env, &identity, Outcome::Signaled(9));
                }
            }
            Fault::LanManagerNeeds { name } => {
                if let Some(need) = plan::need(&mut env.chance, name) {
                    let request = lan::RequestId(u64::MAX);
                    let added = lan::Event::NeedAdded { request, need };
                    self.lan_manager.tell(env, added);
                }
            }
            Fault::LanManagerForgets { name } => {
                if let Ok(name) = lan::InstanceName::parse(plan::instance(name)) {
                    let request = lan::RequestId(u64::MAX);
                    let removed = lan::Event::NeedRemoved { request, name };
                    self.lan_manager.tell(env, removed);
                }
            }
            Fault::SomebodyAddsNeed { name } => {
                let need = plan::need_as_json(&mut env.chance, name);
                self.ask(index, "addNeed", need);
            }
            Fault::SomebodyRemovesNeed { name } => {
                self.ask(index, "removeNeed", json!(plan::instance(name)));
            }
            Fault::SomebodyRestarts { name } => {
                self.ask(index, "restart", json!(plan::instance(name)));
            }
            Fault::SomebodyKills { name } => self.ask(index, "kill", json!(plan::instance(name))),
            Fault::SomebodyAsks => self.ask(index, "status", Value::Null),
            Fault::ModuleIsEngaged => {
                self.ask(index, "notifyModuleEngaged", json!("allex_timeservice"));
            }
            Fault::SomebodyStops => self.ask(index, "stop", Value::Null),
            Fault::DiskFails { milliseconds } => {
                let faults = [DiskFault::Write, DiskFault::Sync];
                master
                    .disk
                    .break_at(env.chance.pick(&faults, DiskFault::Write));
                env.after(milliseconds, Happening::DiskWorks(id));
            }
            // The next start reads it.
            Fault::ConfigurationChanges => {
                env.plan.settings.stop_grace = env.chance.between(500, 5_000);
            }
        }
    }

    /// A tool calls a method of a master.
    pub(crate) fn ask(&mut self, master: usize, method: &'static str, argument: Value) {
        if let Some(master) = self.masters.get_mut(master) {
            let purpose = Purpose::Call { method, argument };
            self.env.connect_tool(master, purpose);
        }
    }

    /// A connection breaks: what is under way is lost, and each end finds out some time later, or only
    /// by the other's silence.
    fn break_link(&mut self) {
        let env = &mut self.env;
        let is_meant = |peer: &Peer| matches!(peer, Peer::LanManager { .. });
        let links = env.network.of_peer(is_meant);
        let Some(link) = env.chance.one_of(&links).copied() else {
            return;
        };
        env.network.break_off(link);
        for end in [End::Master, End::Peer] {
            if env.chance.permille(750) {
                let delay = env.chance.pick(&[1, 50, 5_000], 1);
                if let Some(at) = env.network.notice(link, end, env.now + delay) {
                    env.agenda.enter(at, Happening::Arrive { link, at: end });
                }
            }
        }
    }

    /// The faults end: from now on all goes well.
    pub(crate) fn calm_down(&mut self) {
        let env = &mut self.env;
        env.is_calm = true;
        env.agenda.forget_faults();
        env.network.heal();
        for master in &mut self.masters {
            master.machine.foreign.clear();
            master.disk.repair();
        }
        self.lan_manager.start(env);
        let (run, chore) = (self.lan_manager.run, Chore::Write);
        env.after(0, Happening::LanManager { run, chore });
    }
}
