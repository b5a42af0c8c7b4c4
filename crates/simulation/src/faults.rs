//! What goes wrong, and what people want, at times that the seed has planned.

use allexmaster_lanmanager::rules as lan;
use allexmaster_state::{Event, InstanceName, ModuleName, Outcome, Port, StopSource};

use crate::agenda::{Chore, Happening};
use crate::crash::Loss;
use crate::network::{End, Packet};
use crate::plan;
use crate::world::World;

/// One of it. Times are milliseconds.
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
    ModuleIsEngaged,
    SomebodyStops,
    ConfigurationChanges,
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Lose(loss) => self.lose(loss, 0),
            Fault::LanManagerCrash { down } => {
                self.lose_lan_manager();
                self.agenda
                    .enter(self.now + down, Happening::LanManagerStart);
            }
            Fault::Cut { milliseconds } => {
                self.network.cut_until = self.now + milliseconds;
            }
            Fault::LinkBreaks => self.break_link(),
            Fault::ClockJumps(by) => self.wall_ahead += by,
            Fault::PortIsTaken { port, milliseconds } => {
                if !self.machine.is_taken(port) {
                    self.machine.foreign.insert(port);
                    let at = self.now + milliseconds;
                    self.agenda.enter(at, Happening::PortIsFreed(port));
                }
            }
            Fault::ChildIsKilled => self.kill_some_child(),
            Fault::LanManagerNeeds { name } => {
                if let Some(need) = plan::need(&mut self.chance, name) {
                    let request = lan::RequestId(u64::MAX);
                    self.tell_lan_manager(lan::Event::NeedAdded { request, need });
                }
            }
            Fault::LanManagerForgets { name } => {
                if let Ok(name) = lan::InstanceName::parse(plan::instance(name)) {
                    let request = lan::RequestId(u64::MAX);
                    self.tell_lan_manager(lan::Event::NeedRemoved { request, name });
                }
            }
            Fault::SomebodyAddsNeed { name } => {
                let need = plan::need_as_json(&mut self.chance, name);
                self.ask(|request| Event::AddNeedRequested { request, need });
            }
            Fault::SomebodyRemovesNeed { name } => {
                let instance = InstanceName::from(plan::instance(name));
                self.ask(|request| Event::RemoveNeedRequested { request, instance });
            }
            Fault::SomebodyRestarts { name } => {
                let instance = InstanceName::from(plan::instance(name));
                self.ask(|request| Event::RestartRequested { request, instance });
            }
            Fault::ModuleIsEngaged => {
                let module = ModuleName::from("allex_timeservice");
                self.ask(|request| Event::ModuleEngaged {
                    module,
                    request: Some(request),
                });
            }
            Fault::SomebodyStops => self.ask(|request| Event::StopRequested {
                request: Some(request),
                source: StopSource::Operator,
            }),
            // The next start reads it.
            Fault::ConfigurationChanges => {
                self.plan.settings.stop_grace = self.chance.between(500, 5_000);
            }
        }
    }

    /// A connection breaks: what was under way may be lost, and the ends hear of it at different
    /// times.
    fn break_link(&mut self) {
        let links = self.network.open_at(End::Master);
        let index = self.chance.below(links.len());
        let Some(link) = links.get(index).copied() else {
            return;
        };
        for end in [End::Master, End::LanManager] {
            if self.chance.permille(500) {
                self.network.lose(link, end);
            }
            let delay = self.chance.pick(&[1, 50, 5_000], 1);
            self.send(link, end, delay, Packet::Closed);
        }
    }

    fn kill_some_child(&mut self) {
        let children: Vec<_> = self
            .machine
            .children()
            .map(|child| child.identity.clone())
            .collect();
        let index = self.chance.below(children.len());
        if let Some(identity) = children.get(index) {
            self.end_process(identity, Outcome::Signaled(9));
        }
    }

    /// The faults end: from now on all goes well.
    pub(crate) fn calm_down(&mut self) {
        self.is_calm = true;
        self.agenda.forget_faults();
        self.network.cut_until = 0;
        self.machine.foreign.clear();
        if !self.lan_manager.is_up() {
            self.start_lan_manager();
        }
        let run = self.lan_manager.run;
        let chore = Chore::Write;
        self.agenda
            .enter(self.now, Happening::LanManager { run, chore });
    }
}
