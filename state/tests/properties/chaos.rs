//! The random life: what can happen, and under which settings.

use std::sync::Arc;

use allexmaster_state::{
    Event, InstanceName, Launcher, ModuleName, Need, Outcome, PerProtocol, Port, RestartPolicy,
    Settings,
};
use proptest::prelude::*;
use serde_json::{Map, json};

use crate::lan_manager::Mood;
use crate::promises;
use crate::world::World;

/// So many names take part: few, so that much happens to each.
const NAMES: u16 = 5;
/// The address of this machine, as the LanManager sees it.
const OWN_ADDRESS: &str = "10.0.0.1";

/// The settings of one life.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    range_size: u16,
    ranges_overlap: bool,
    bids_at_once: u32,
    starts_at_once: u32,
    attempts: u32,
    cooldown: u64,
    has_web: bool,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    PerformLan(Mood),
    PerformMachine {
        which: u16,
        luck: bool,
    },
    Hear {
        which: u16,
        entropy: u32,
    },
    Repeat {
        which: u16,
        entropy: u32,
    },
    Wake {
        entropy: u32,
    },
    Pass {
        milliseconds: u16,
    },
    Configure {
        name: u16,
        kind: u8,
    },
    Forget {
        name: u16,
    },
    LanBreaks,
    ChildEnds {
        which: u16,
        code: i32,
    },
    ChildLeavesOthers {
        which: u16,
        code: i32,
        in_group: bool,
    },
    ChildServesNobody {
        which: u16,
    },
    PortIsTaken {
        offset: u16,
    },
    PortsAreFreed,
    Crash {
        forks: u32,
        deaths: u32,
        seen: u32,
    },
    EngineIsLost {
        forks: u32,
        deaths: u32,
        seen: u32,
    },
    Reboot,
    OperatorRestarts {
        name: u16,
    },
    OperatorStops {
        name: u16,
    },
    OperatorStarts {
        name: u16,
    },
    OperatorAddsNeed,
    ModuleIsEngaged,
    SettingsChange(Terms),
    Stop(bool),
}

impl Arbitrary for Terms {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let ranges = (1_u16..8, any::<bool>());
        let bounds = (1_u32..5, 1_u32..4, prop_oneof![Just(0_u32), 1_u32..4]);
        let rest = (prop_oneof![Just(0_u64), Just(10_000)], any::<bool>());
        (ranges, bounds, rest)
            .prop_map(|(ranges, bounds, rest)| Self {
                range_size: ranges.0,
                ranges_overlap: ranges.1,
                bids_at_once: bounds.0,
                starts_at_once: bounds.1,
                attempts: bounds.2,
                cooldown: rest.0,
                has_web: rest.1,
            })
            .boxed()
    }
}

impl Arbitrary for Move {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let mood = prop_oneof![
            6 => Just(Mood::Fair),
            1 => Just(Mood::Dismissive),
            1 => Just(Mood::Mumbling),
            1 => Just(Mood::Deaf),
        ];
        let crash = || (any::<u32>(), any::<u32>(), any::<u32>());
        prop_oneof![
            16 => mood.prop_map(Self::PerformLan),
            16 => (any::<u16>(), prop::bool::weighted(0.85))
                .prop_map(|(which, luck)| Self::PerformMachine { which, luck }),
            32 => (any::<u16>(), any::<u32>())
                .prop_map(|(which, entropy)| Self::Hear { which, entropy }),
            3 => (any::<u16>(), any::<u32>())
                .prop_map(|(which, entropy)| Self::Repeat { which, entropy }),
            6 => any::<u32>().prop_map(|entropy| Self::Wake { entropy }),
            2 => any::<u16>().prop_map(|milliseconds| Self::Pass { milliseconds }),
            8 => (0..NAMES, any::<u8>())
                .prop_map(|(name, kind)| Self::Configure { name, kind }),
            3 => (0..NAMES).prop_map(|name| Self::Forget { name }),
            1 => Just(Self::LanBreaks),
            3 => (any::<u16>(), 0..3).prop_map(|(which, code)| Self::ChildEnds { which, code }),
            2 => (any::<u16>(), 0..3, any::<bool>()).prop_map(|(which, code, in_group)| {
                Self::ChildLeavesOthers { which, code, in_group }
            }),
            1 => any::<u16>().prop_map(|which| Self::ChildServesNobody { which }),
            1 => (0_u16..8).prop_map(|offset| Self::PortIsTaken { offset }),
            1 => Just(Self::PortsAreFreed),
            2 => crash().prop_map(|(forks, deaths, seen)| {
                // Most children outlive a crash.
                Self::Crash { forks, deaths: deaths & (deaths >> 7), seen }
            }),
            4 => crash().prop_map(|(forks, deaths, seen)| {
                Self::EngineIsLost { forks, deaths: deaths & (deaths >> 7), seen }
            }),
            1 => Just(Self::Reboot),
            2 => (0..NAMES).prop_map(|name| Self::OperatorRestarts { name }),
            2 => (0..NAMES).prop_map(|name| Self::OperatorStops { name }),
            2 => (0..NAMES).prop_map(|name| Self::OperatorStarts { name }),
            1 => Just(Self::OperatorAddsNeed),
            1 => Just(Self::ModuleIsEngaged),
            1 => any::<Terms>().prop_map(Self::SettingsChange),
            1 => any::<bool>().prop_map(Self::Stop),
        ]
        .boxed()
    }
}

impl Move {
    pub(crate) const fn restarts_the_master(&self) -> bool {
        matches!(self, Self::Crash { .. } | Self::Reboot)
    }
}

/// One life under these terms.
pub(crate) fn live(terms: &Terms, moves: &[Move]) -> World {
    let mut world = World::new(terms.settings());
    for next in moves {
        if world.has_exited() && !next.restarts_the_master() {
            world.start_again();
        }
        world.make(next);
    }
    promises::replay_equals_life(&world);
    promises::stored_and_read_back_it_is_the_same(&world.state);
    world
}

impl World {
    pub(crate) fn make(&mut self, next: &Move) {
        match *next {
            Move::PerformLan(mood) => {
                self.perform_lan(mood);
            }
            Move::PerformMachine { which, luck } => {
                self.perform_machine(which, luck);
            }
            Move::Hear { which, entropy } => {
                self.hear(which, entropy);
            }
            Move::Repeat { which, entropy } => self.repeat(which, entropy),
            Move::Wake { entropy } => {
                self.wake(entropy);
            }
            Move::Pass { milliseconds } => self.pass(u64::from(milliseconds)),
            Move::Configure { name, kind } => {
                let events = self.lan_manager.configure(need(name, kind));
                self.tell_from_lan(events);
            }
            Move::Forget { name } => {
                let events = self.lan_manager.forget(&instance(name));
                self.tell_from_lan(events);
            }
            Move::LanBreaks => {
                let lost = self.lan_manager.lose();
                self.tell_from_lan(lost);
            }
            Move::ChildEnds { which, code } => self.some_child_ends(which, code),
            Move::ChildLeavesOthers {
                which,
                code,
                in_group,
            } => {
                let living = self.machine.living_pids();
                if let Some(pid) = living.get(usize::from(which) % living.len().max(1)) {
                    self.end_leaving_others(*pid, Outcome::Exited(code), in_group);
                }
            }
            Move::ChildServesNobody { which } => self.some_child_serves_nobody(which),
            Move::PortIsTaken { offset } => {
                self.machine.foreign.insert(Port(15_000 + offset));
            }
            Move::PortsAreFreed => self.free_ports(),
            Move::Crash {
                forks,
                deaths,
                seen,
            } => self.crash(forks, deaths, seen),
            Move::EngineIsLost {
                forks,
                deaths,
                seen,
            } => self.lose_engine(forks, deaths, seen),
            Move::Reboot => {
                self.machine.reboot();
                self.start_again();
            }
            Move::OperatorRestarts { name } => self.restart(instance(name)),
            Move::OperatorStops { name } => self.hold(instance(name)),
            Move::OperatorStarts { name } => self.release(instance(name)),
            Move::OperatorAddsNeed => self.ask(|request| Event::AddNeedRequested {
                request,
                need: json!({ "instancename": "N0" }),
                sender: None,
            }),
            Move::ModuleIsEngaged => {
                let module = ModuleName::from("exec:web");
                self.happen(
                    Event::ModuleEngaged {
                        module,
                        request: None,
                    },
                    0,
                );
            }
            Move::SettingsChange(ref terms) => {
                let settings = terms.settings();
                self.happen(Event::SettingsLoaded { settings }, 0);
            }
            Move::Stop(urgent) => self.ask_to_stop(urgent),
        }
    }

    fn some_child_serves_nobody(&mut self, which: u16) {
        let living = self.machine.living_pids();
        if let Some(pid) = living.get(usize::from(which) % living.len().max(1)) {
            self.say_that_it_fails(*pid);
        }
    }

    fn some_child_ends(&mut self, which: u16, code: i32) {
        let living = self.machine.living_pids();
        if let Some(pid) = living.get(usize::from(which) % living.len().max(1)) {
            self.end(*pid, Outcome::Exited(code));
        }
    }
}

impl Terms {
    fn settings(&self) -> Settings {
        let mut settings = roomy();
        let distance = if self.ranges_overlap { 2 } else { 100 };
        settings.port_range_start = PerProtocol {
            tcp: 15_000,
            http: 15_000 + distance,
            ws: 15_000 + 2 * distance,
        };
        settings.port_range_size = self.range_size;
        settings.port_cooldown = self.cooldown;
        settings.bids_at_once = self.bids_at_once;
        settings.starts_at_once = self.starts_at_once;
        settings.restart = RestartPolicy {
            attempts: self.attempts,
            ..settings.restart
        };
        if !self.has_web {
            settings.launchers.remove("exec:web");
        }
        settings
    }
}

/// Settings under which every need that is for this machine can be satisfied.
pub(crate) fn roomy() -> Settings {
    let serves = PerProtocol {
        tcp: true,
        http: true,
        ws: false,
    };
    let mut settings = Settings {
        port_range_start: PerProtocol {
            tcp: 25_000,
            http: 26_000,
            ws: 27_000,
        },
        port_range_size: 100,
        ..Settings::default()
    };
    for module in ["sample:clock", "exec:web"] {
        settings.launchers.insert(
            ModuleName::from(module),
            Launcher {
                serves,
                takes: serves,
                command: None,
            },
        );
    }
    settings
}

/// Whether this machine can satisfy a need, under roomy settings.
pub(crate) fn can_be_satisfied(need: &Need) -> bool {
    need.is_for(OWN_ADDRESS) && roomy().launchers.contains_key(&need.module)
}

fn instance(name: u16) -> InstanceName {
    InstanceName::from(format!("N{name}"))
}

fn need(name: u16, kind: u8) -> Arc<Need> {
    let module = match kind % 8 {
        0 => "exec:unknown",
        1..=3 => "exec:web",
        _ => "sample:clock",
    };
    let address = match kind % 16 {
        8 => Some("10.0.0.9"),
        9 => Some("10.0.0.0/24"),
        10 => Some(OWN_ADDRESS),
        _ => None,
    };
    let prescribed = match kind % 5 {
        0 => Some(Port(15_000 + name)),
        _ => None,
    };
    Arc::new(Need {
        instance: instance(name),
        module: ModuleName::from(module),
        address: address.map(Arc::from),
        ports: PerProtocol {
            tcp: None,
            http: prescribed,
            ws: None,
        },
        details: Map::new(),
    })
}
