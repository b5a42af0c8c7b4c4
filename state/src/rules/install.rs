//! Packages that a need asks for and that are not installed: installed by npm, where the
//! configuration allows it.
//!
//! ```text
//!  ChildNotSpawned{missing} ──► allowed? not tried lately? ──► Install, one package at a time
//!        │                                                         │
//!   backoff, as after any failed start                       InstallEnded
//!        ▼                                                         ▼
//!  the next attempt finds the package             installed, or a pause before the next try
//! ```
//!
//! Installing runs foreign code on this machine. So the configuration has to allow each package by
//! its name (`installmodules`, empty by default); a LanManager cannot. An installation holds up no
//! other service: the child that wants it counts as one that could not be started.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::step::Turn;
use crate::{Effect, MissingPackage, Shutdown, State, Timestamp};

/// The pause after an installation that failed, in milliseconds; doubled with each failure in a row.
const FIRST_PAUSE: u64 = 30_000;
/// The longest pause: a package that appears in the registry is installed within the hour.
const MAX_PAUSE: u64 = 3_600_000;
/// How many packages are tracked: a bound for patterns that allow too much.
const MAX_PACKAGES: usize = 1_024;
/// npm's own limit for the length of a name, in bytes.
const MAX_NAME_BYTES: usize = 214;

/// Names of packages that npm may install: `*` stands for any letters.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackagePatterns(Vec<String>);

/// Where the installation of one package stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Install {
    /// Another package is being installed.
    Queued { since: Timestamp, failures: u32 },
    /// npm runs.
    Running { since: Timestamp, failures: u32 },
    /// Installed. If it is missing all the same, it is installed again after the first pause.
    Installed { at: Timestamp },
    /// Not tried again before `retry_at`.
    Failed {
        failures: u32,
        retry_at: Timestamp,
        complaint: Arc<str>,
    },
}

/// The packages that were missing since the master started, by name.
pub type Installs = BTreeMap<Arc<str>, Install>;

impl PackagePatterns {
    #[must_use]
    pub const fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether no package may be installed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn allow(&self, package: &str) -> bool {
        is_package_name(package) && self.0.iter().any(|pattern| fits(pattern, package))
    }
}

/// Whether a text is the name of a package and nothing else: no path, no address, no flag. Node
/// would load a program from anywhere if it were asked for a path.
#[must_use]
pub fn is_package_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-._~".contains(letter))
    };
    let fits = match text.strip_prefix('@') {
        Some(scoped) => scoped
            .split_once('/')
            .is_some_and(|(a, b)| is_part(a) && is_part(b)),
        None => is_part(text),
    };
    fits && text.len() <= MAX_NAME_BYTES && text != "node_modules"
}

/// Whether a text fits a pattern: its pieces between the stars, in their order, and the first and
/// the last at the ends.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(place) = rest.find(piece) else {
            return false;
        };
        rest = rest.get(place + piece.len()..).unwrap_or_default();
    }
    true
}

/// A child could not be started because a package is missing: has it installed where that is allowed
/// and was not tried too lately. Returns what is being done, for people.
pub(crate) fn missing(state: &mut State, turn: &mut Turn, missing: &MissingPackage) -> String {
    let MissingPackage { package, folder } = missing;
    if !state.settings.install_modules.allow(package) {
        return format!(
            "install it with `npm install {package}` in {folder}, or allow this machine to do so with `installmodules`: [\"{package}\"]"
        );
    }
    let at = turn.at;
    let failures = match state.installs.get(package) {
        Some(Install::Queued { since, .. } | Install::Running { since, .. }) => {
            return format!("npm installs it, since {} s", at.since(*since) / 1_000);
        }
        Some(Install::Installed { at: installed }) if at.since(*installed) < FIRST_PAUSE => {
            return "npm has installed it, but it is not there: look into the log of the master"
                .to_string();
        }
        Some(Install::Failed {
            retry_at,
            complaint,
            ..
        }) if at < *retry_at => {
            let left = retry_at.since(at) / 1_000;
            return format!(
                "npm could not install it ({complaint}); it is tried again in {} s",
                left.max(1)
            );
        }
        Some(Install::Failed { failures, .. }) => *failures,
        Some(Install::Installed { .. }) | None => 0,
    };
    if state.installs.len() >= MAX_PACKAGES && !state.installs.contains_key(package) {
        return format!(
            "{MAX_PACKAGES} packages were installed already; restart the master for more"
        );
    }
    let since = at;
    let queued = Install::Queued { since, failures };
    state.installs.insert(Arc::clone(package), queued);
    install_next(state, turn);
    "npm installs it now".to_string()
}

/// npm has ended.
pub(crate) fn ended(
    state: &mut State,
    turn: &mut Turn,
    package: Arc<str>,
    complaint: Option<Arc<str>>,
) {
    // Of an engine before: the present one runs npm anew, and reports that.
    let Some(Install::Running { failures, .. }) = state.installs.get(&package) else {
        return;
    };
    let failures = failures.saturating_add(1);
    let after = match complaint {
        None => Install::Installed { at: turn.at },
        Some(complaint) => Install::Failed {
            failures,
            retry_at: turn.at.plus(pause_after(failures)),
            complaint,
        },
    };
    state.installs.insert(package, after);
    install_next(state, turn);
}

/// The engine is new, so the end of an npm of the engine before is not reported: what it was
/// installing is installed again, where that is still allowed. A new master (not `resumed`) forgets
/// what is over, so that restarting it tries a package again at once.
pub(crate) fn restarted(state: &mut State, turn: &mut Turn, resumed: bool) {
    let allowed = &state.settings.install_modules;
    state.installs.retain(|package, install| {
        let is_open = install.is_open();
        is_open && allowed.allow(package) || !is_open && resumed
    });
    for install in state.installs.values_mut() {
        if let Install::Running { since, failures } = *install {
            *install = Install::Queued { since, failures };
        }
    }
    install_next(state, turn);
}

/// Starts npm for the package that has waited longest, unless it runs: npm is not made for two
/// installations in one folder.
fn install_next(state: &mut State, turn: &mut Turn) {
    let runs = |install: &Install| matches!(install, Install::Running { .. });
    if state.shutdown != Shutdown::No || state.installs.values().any(runs) {
        return;
    }
    let queued = state.installs.iter().filter_map(|(package, install)| {
        let Install::Queued { since, failures } = install else {
            return None;
        };
        Some((*since, Arc::clone(package), *failures))
    });
    let Some((since, package, failures)) = queued.min() else {
        return;
    };
    let running = Install::Running { since, failures };
    state.installs.insert(Arc::clone(&package), running);
    turn.effect(Effect::Install { package });
}

impl Install {
    /// Whether npm runs for it, or will.
    const fn is_open(&self) -> bool {
        match self {
            Self::Queued { .. } | Self::Running { .. } => true,
            Self::Installed { .. } | Self::Failed { .. } => false,
        }
    }
}

/// The pause after so many failures in a row.
fn pause_after(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE)
}
