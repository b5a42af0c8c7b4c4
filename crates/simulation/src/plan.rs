//! What a seed decides before anything happens: the configuration, the needs, the faults.

use allexmaster_lanmanager::rules::Need;
use allexmaster_state::{Launcher, ModuleName, PerProtocol, Port, RestartPolicy, Settings};
use serde_json::{Value, json};

use crate::crash::some_loss;
use crate::faults::Fault;
use crate::machine::Character;
use allexmaster_testkit::chance::Chance;

/// So many names take part at most: few, so that much happens to each.
const MAX_NAMES: u64 = 8;
/// So many masters take part at most.
const MAX_MASTERS: u64 = 3;
/// The address of the first master.
pub(crate) const ADDRESS: &str = "127.0.0.1";
/// Modules with their launchers; a service of AllexJS ends with its connection to the master.
const MODULES: [&str; 3] = ["exec:web", "sample:clock", "allex_timeservice"];
/// What a process was fated to do in bad times it has done after so many milliseconds.
pub(crate) const MAX_FATE: u64 = 30_000;
/// A module that no configuration here allows.
const FORBIDDEN: &str = "exec:unknown";

/// How much happens in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// Some services and some seconds: for runs that crash at every single point.
    Short,
    /// Up to eight services and two minutes.
    Full,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) masters: u8,
    pub(crate) settings: Settings,
    /// What the LanManager's file says is needed.
    pub(crate) needs: Vec<Need>,
    /// What goes wrong, and when.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// When the faults end, in milliseconds.
    pub(crate) calm_from: u64,
}

impl Plan {
    /// The plan of a seed. `loses` says whether faults may take the master away.
    pub(crate) fn new(chance: &mut Chance, length: Length, loses: bool) -> Self {
        let (names, seconds, faults) = match length {
            Length::Short => (3, 8, 5),
            Length::Full => (
                chance.between(1, MAX_NAMES),
                chance.between(20, 120),
                chance.between(4, 40),
            ),
        };
        let masters = match length {
            Length::Short => 1,
            Length::Full => u8::try_from(chance.between(1, MAX_MASTERS)).unwrap_or(1),
        };
        let calm_from = seconds * 1_000;
        let settings = settings(chance, names);
        let needs = (0..names).filter_map(|name| need(chance, name)).collect();
        let faults = (0..faults)
            .map(|_| (chance.between(1, calm_from), fault(chance, names)))
            .filter(|(_, fault)| loses || !matches!(fault, Fault::Lose(_)))
            .collect();
        Self {
            masters,
            settings,
            needs,
            faults,
            calm_from,
        }
    }
}

/// A need for the service of a number, in one of several forms.
pub(crate) fn need(chance: &mut Chance, name: u64) -> Option<Need> {
    Need::from_json(need_as_json(chance, name)).ok()
}

/// The same, as a local caller says it.
pub(crate) fn need_as_json(chance: &mut Chance, name: u64) -> Value {
    let module = match chance.between(0, 9) {
        0 => FORBIDDEN,
        _ => chance.pick(&MODULES, FORBIDDEN),
    };
    let mut need = json!({ "instancename": instance(name), "modulename": module });
    match chance.between(0, 9) {
        0 => need["ipaddress"] = json!("10.9.9.9"),
        1 => need["ipaddress"] = json!(ADDRESS),
        2 => need["ipaddress"] = json!("127.0.0.0/8"),
        3 => need["httpport"] = json!(18_000 + name),
        _ => {}
    }
    need
}

/// The name of a number.
pub(crate) fn instance(name: u64) -> String {
    format!("N{name}")
}

/// What a process will be like, and when it does what.
pub(crate) struct Fate {
    pub(crate) character: Character,
    pub(crate) listens_after: Option<u64>,
    pub(crate) exits_after: Option<(u64, i32)>,
    pub(crate) serves_nobody_after: Option<u64>,
}

impl Fate {
    /// In calm times all go well.
    pub(crate) fn new(chance: &mut Chance, module: &ModuleName, is_calm: bool) -> Self {
        let mut now_and_then = |permille| !is_calm && chance.permille(permille);
        let is_deaf = now_and_then(150);
        let never_listens = now_and_then(60);
        let ends = now_and_then(250);
        let leaves = now_and_then(100);
        let serves_nobody = now_and_then(30);
        Self {
            character: Character {
                is_child: true,
                is_deaf,
                has_channel: module.domain().is_empty(),
                leaves: leaves.then(|| chance.between(100, 20_000)),
            },
            listens_after: (!never_listens).then(|| {
                let slow = !is_calm && chance.permille(200);
                chance.between(5, if slow { 12_000 } else { 300 })
            }),
            exits_after: ends.then(|| {
                let late = chance.permille(500);
                let code = i32::from(chance.permille(700));
                (chance.between(1, if late { MAX_FATE } else { 500 }), code)
            }),
            serves_nobody_after: serves_nobody.then(|| chance.between(10, 10_000)),
        }
    }
}

fn settings(chance: &mut Chance, names: u64) -> Settings {
    let serves = |tcp, http, ws| Launcher {
        serves: PerProtocol { tcp, http, ws },
        command: None,
    };
    let mut settings = Settings::default();
    let size = chance.between(names + 2, names + 30);
    let distance = if chance.permille(300) { 3 } else { 500 };
    settings.port_range_start = PerProtocol {
        tcp: 15_000,
        http: 15_000 + distance,
        ws: 15_000 + 2 * distance,
    };
    // Ranges that overlap share their ports.
    let size = if distance < 500 { 3 * size } else { size };
    settings.port_range_size = u16::try_from(size).unwrap_or(u16::MAX);
    settings.port_cooldown = chance.pick(&[0, 2_000, 10_000], 0);
    settings.bids_at_once = chance.pick(&[1, 2, 64], 1);
    settings.starts_at_once = chance.pick(&[1, 2, 8], 1);
    settings.ready_timeout = chance.pick(&[5_000, 20_000], 5_000);
    settings.stop_grace = 3_000;
    settings.restart = RestartPolicy {
        delay_most: 10_000,
        attempts: chance.pick(&[0, 0, 3], 0),
        ..settings.restart
    };
    settings
        .launchers
        .insert(ModuleName::from("exec:web"), serves(false, true, false));
    settings
        .launchers
        .insert(ModuleName::from("sample:clock"), serves(true, true, true));
    settings
        .domains
        .insert(String::new(), serves(true, true, true));
    settings
}

fn fault(chance: &mut Chance, names: u64) -> Fault {
    let name = chance.between(0, names.saturating_sub(1));
    match chance.between(0, 30) {
        0..=4 => Fault::Lose(some_loss(chance)),
        5 | 6 => Fault::LanManagerCrash {
            down: chance.between(10, 8_000),
        },
        7 | 8 => Fault::Cut {
            milliseconds: chance.between(50, 45_000),
        },
        9 | 10 => Fault::LinkBreaks,
        11 => Fault::ClockJumps(i64::try_from(chance.between(1, 400_000_000_000)).unwrap_or(0)),
        12 => Fault::ClockJumps(-i64::try_from(chance.between(1, 30_000)).unwrap_or(0)),
        13 => Fault::PortIsTaken {
            port: Port(u16::try_from(chance.between(15_000, 15_010)).unwrap_or(15_000)),
            milliseconds: chance.between(100, 30_000),
        },
        14..=16 => Fault::ChildIsKilled,
        17 | 18 => Fault::LanManagerNeeds { name },
        19 => Fault::LanManagerForgets { name },
        20 | 21 => Fault::SomebodyAddsNeed { name },
        22 => Fault::SomebodyRemovesNeed { name },
        23 | 24 => Fault::SomebodyRestarts { name },
        25 => Fault::ModuleIsEngaged,
        26 => Fault::SomebodyStops,
        27 => Fault::SomebodyKills { name },
        28 => Fault::SomebodyAsks,
        29 => Fault::DiskFails {
            milliseconds: chance.between(100, 20_000),
        },
        _ => Fault::ConfigurationChanges,
    }
}
