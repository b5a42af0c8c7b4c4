//! What the configuration says, as far as the rules need to know it.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::restart::RestartPolicy;
use crate::{ModuleName, PackagePatterns, PerProtocol};

/// How a module that this machine may run uses its ports. The command behind it
/// is known to the hands only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launcher {
    /// The protocols whose ports answer when the child is ready. These, and no
    /// others, are tested, told to the LanManager and shown.
    pub serves: PerProtocol<bool>,
    /// Which command it is; absent for programs that no configuration names, and in events that
    /// were recorded before it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandHash>,
}

/// A hash of how a program is started (arguments, folder, variables): it differs when they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandHash(pub u32);

/// The part of the configuration that decisions depend on. Times are milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The first port of each protocol's range.
    pub port_range_start: PerProtocol<u16>,
    /// How many ports each range has.
    pub port_range_size: u16,
    /// How long a freed port is not given out again.
    pub port_cooldown: u64,
    /// When a need that found no port is tried again.
    pub port_retry: u64,
    /// The modules that this machine may run.
    pub launchers: BTreeMap<ModuleName, Launcher>,
    /// The domains of which this machine may run every module, as far as the rules know: the
    /// hands look at the module itself. Modules without a domain have the empty one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, Launcher>,
    /// The packages that npm may install when a need asks for them.
    #[serde(default, skip_serializing_if = "PackagePatterns::is_empty")]
    pub install_modules: PackagePatterns,
    /// How many bids may be open at once.
    pub bids_at_once: u32,
    /// How many children may be starting at once.
    pub starts_at_once: u32,
    /// How long a child may take until its ports answer.
    pub ready_timeout: u64,
    /// How long a child may take to end after SIGTERM, until SIGKILL.
    pub stop_grace: u64,
    /// How often, and how soon, a child is started again.
    pub restart: RestartPolicy,
    /// How often the LanManager is asked again, on the same bid, when it reached no port.
    pub check_attempts: u32,
    /// The pause between two of these.
    pub check_retry: u64,
    /// How long a child goes on running while the LanManager lists its service somewhere else.
    #[serde(
        default = "duplicate_grace",
        skip_serializing_if = "is_duplicate_grace"
    )]
    pub duplicate_grace: u64,
    /// What becomes of it then.
    #[serde(default, skip_serializing_if = "OnDuplicate::is_default")]
    pub on_duplicate: OnDuplicate,
    /// The first pause before the LanManager is dialed again; doubled each time.
    pub dial_retry: u64,
    /// The longest such pause.
    pub dial_retry_most: u64,
    /// How long a local call that needs the LanManager waits for it.
    pub request_timeout: u64,
    /// How long a service that ended is remembered while nobody asks for it again.
    pub forget_after: u64,
    /// How long a stopping master waits for the LanManager to hear of its services' end.
    pub farewell_timeout: u64,
}

/// What becomes of a child while the LanManager lists its service somewhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDuplicate {
    /// It is told to end.
    #[default]
    Stop,
    /// It stays; what is to be done is for people to decide.
    Keep,
}

impl OnDuplicate {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The default of [`Settings::duplicate_grace`]: long enough for a reading of the list that crosses
/// a change of it.
const DUPLICATE_GRACE: u64 = 5_000;

const fn duplicate_grace() -> u64 {
    DUPLICATE_GRACE
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_duplicate_grace(grace: &u64) -> bool {
    *grace == DUPLICATE_GRACE
}

impl Settings {
    /// How a module uses its ports; `None` where this machine may not run it.
    #[must_use]
    pub fn launcher(&self, module: &ModuleName) -> Option<&Launcher> {
        let of_domain = || self.domains.get(module.domain());
        self.launchers.get(module).or_else(of_domain)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port_range_start: PerProtocol {
                tcp: 15_000,
                http: 16_000,
                ws: 17_000,
            },
            port_range_size: 1_000,
            port_cooldown: 10_000,
            port_retry: 2_000,
            launchers: BTreeMap::new(),
            domains: BTreeMap::new(),
            install_modules: PackagePatterns::default(),
            bids_at_once: 64,
            starts_at_once: 8,
            ready_timeout: 60_000,
            stop_grace: 10_000,
            restart: RestartPolicy::default(),
            check_attempts: 3,
            check_retry: 1_000,
            duplicate_grace: DUPLICATE_GRACE,
            on_duplicate: OnDuplicate::default(),
            dial_retry: 250,
            dial_retry_most: 2_000,
            request_timeout: 30_000,
            forget_after: 60_000,
            farewell_timeout: 2_000,
        }
    }
}
