//! Packages that a need asks for and that are not installed: installed by npm, where allowed.
//!
//! ```text
//!  ChildNotSpawned ◄── "…; being installed since 3 s" ◄── missing(package)
//!        │                                                   │ allowed by `installmodules`,
//!   backoff, by the rules                                    │ none under way, not failed lately
//!        ▼                                                   ▼
//!  the next attempt finds it                           npm install, one at a time, bounded
//! ```
//!
//! # Theory of operation
//!
//! Installing runs foreign code on this machine. So the configuration has to allow each package by
//! its name (`installmodules`, empty by default); a LanManager cannot. An installation takes nobody's
//! place: the child that wants it counts as one that could not be started, and the rules try again
//! after a pause, while npm works in the background.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use allexmaster_keeper::os;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::launch::is_package_name;

/// How long npm may take: slow networks and packages that compile included.
const PATIENCE: Duration = Duration::from_secs(600);
/// The first pause after an installation that failed; doubled with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause: a package that appears in the registry is installed within the hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// So many packages are remembered at most: whoever has more patterns than sense is stopped here.
const PACKAGES_MOST: usize = 1_024;
/// How much of npm's complaint is kept: its first lines say what is wrong.
const COMPLAINT_BYTES: usize = 300;
/// The program.
const NPM: &str = "npm";
/// No questions, no advertisements: nobody sits in front of it.
const ARGUMENTS: [&str; 5] = [
    "install",
    "--no-audit",
    "--no-fund",
    "--no-progress",
    "--loglevel=error",
];

/// Names of packages that may be installed: `*` stands for any letters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Patterns as they stand in the configuration.
    #[must_use]
    pub const fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether a package may be installed.
    #[must_use]
    pub fn allow(&self, package: &str) -> bool {
        is_package_name(package) && self.0.iter().any(|pattern| fits(pattern, package))
    }
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

/// The driver. Clones are the same driver.
#[derive(Clone)]
pub struct Installer {
    shared: Arc<Shared>,
}

impl fmt::Debug for Installer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Installer")
            .field("folder", &self.shared.folder)
            .finish()
    }
}

struct Shared {
    runtime: Handle,
    /// The runtime directory: its `node_modules` is filled.
    folder: PathBuf,
    allowed: Patterns,
    /// One at a time: npm is not made for two in one folder.
    turn: Semaphore,
    known: Mutex<BTreeMap<String, Progress>>,
}

/// Where the installation of one package stands.
enum Progress {
    UnderWay {
        since: Instant,
    },
    /// Installed; if it is missing all the same, it is installed again after the pause.
    Done {
        at: Instant,
    },
    Failed {
        failures: u32,
        at: Instant,
        complaint: String,
    },
}

impl Installer {
    /// A driver that installs into the folder what the patterns allow.
    #[must_use]
    pub fn new(runtime: Handle, folder: PathBuf, allowed: Patterns) -> Self {
        let shared = Shared {
            runtime,
            folder,
            allowed,
            turn: Semaphore::new(1),
            known: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A package is missing: begins to install it where that is allowed, and not tried too lately.
    /// Answers with what is being done, for people. Returns at once.
    #[must_use]
    pub fn missing(&self, package: &str) -> String {
        if !self.shared.allowed.allow(package) {
            return format!(
                "install it with `npm install {package}` in {}, or allow this machine to do so with `installmodules`: [\"{package}\"]",
                self.shared.folder.display()
            );
        }
        let mut known = self.shared.known();
        let failures = match known.get(package) {
            Some(Progress::UnderWay { since }) => {
                return format!("npm installs it, since {} s", since.elapsed().as_secs());
            }
            Some(Progress::Done { at }) if at.elapsed() < FIRST_PAUSE => {
                return "npm has installed it, but it is not there: look into the log of the master".to_owned();
            }
            Some(Progress::Failed {
                failures,
                at,
                complaint,
            }) => {
                let pause = pause_after(*failures);
                let left = pause.saturating_sub(at.elapsed());
                if !left.is_zero() {
                    return format!(
                        "npm could not install it ({complaint}); it is tried again in {} s",
                        left.as_secs().max(1)
                    );
                }
                *failures
            }
            Some(Progress::Done { .. }) | None => 0,
        };
        if known.len() >= PACKAGES_MOST && !known.contains_key(package) {
            return format!(
                "{PACKAGES_MOST} packages were installed already; restart the master for more"
            );
        }
        known.insert(
            package.to_owned(),
            Progress::UnderWay {
                since: Instant::now(),
            },
        );
        drop(known);
        let (shared, package) = (Arc::clone(&self.shared), package.to_owned());
        self.shared
            .runtime
            .spawn(async move { shared.install(package, failures).await });
        "npm installs it now".to_owned()
    }
}

impl Shared {
    async fn install(&self, package: String, failures: u32) {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        let folder = self.folder.display();
        info!(%package, %folder, "installing with npm");
        let begun = Instant::now();
        let result = run_npm(&package, &self.folder).await;
        let seconds = begun.elapsed().as_secs();
        let progress = match result {
            Ok(()) => {
                info!(%package, seconds, "installed");
                Progress::Done { at: Instant::now() }
            }
            Err(complaint) => {
                warn!(%package, seconds, complaint, "could not be installed; trying again later");
                let failures = failures.saturating_add(1);
                Progress::Failed {
                    failures,
                    at: Instant::now(),
                    complaint,
                }
            }
        };
        self.known().insert(package, progress);
    }

    /// Nobody panics while holding this lock; if it happened, the map would still be whole.
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

/// Runs npm to its end, or to the end of our patience.
async fn run_npm(package: &str, folder: &Path) -> Result<(), String> {
    let started = Command::new(NPM)
        .args(ARGUMENTS)
        .arg(package)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let npm = started.map_err(|error| format!("npm cannot be started: {error}"))?;
    let group = npm.id();
    let Ok(finished) = tokio::time::timeout(PATIENCE, npm.wait_with_output()).await else {
        if let Some(group) = group {
            // What npm has started goes with it. It may have ended this very moment.
            let _ = os::signal_group_by_number(group, os::Signal::KILL);
        }
        return Err(format!("it took longer than {} s", PATIENCE.as_secs()));
    };
    let output = finished.map_err(|error| format!("npm cannot be watched: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let mut complaint: String = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    while complaint.len() > COMPLAINT_BYTES {
        complaint.pop();
    }
    Err(if complaint.is_empty() {
        output.status.to_string()
    } else {
        complaint
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_what_they_say_and_nothing_else() {
        let patterns =
            |texts: &[&str]| Patterns::new(texts.iter().map(|&text| text.to_owned()).collect());
        let some = patterns(&["allex_*service", "exact"]);
        for package in ["allex_timeservice", "allex_service", "exact"] {
            assert!(some.allow(package), "{package}");
        }
        for package in [
            "allex_timelib",
            "exactly",
            "inexact",
            "evil",
            "allex_x/../service",
        ] {
            assert!(!some.allow(package), "{package}");
        }
        assert!(!patterns(&[]).allow("allex_timeservice"));
        assert!(patterns(&["*"]).allow("@scope/anything"));
        assert!(!patterns(&["*"]).allow("--global"));
        assert!(patterns(&["a*b*c"]).allow("a1b2c") && !patterns(&["a*b*c"]).allow("acb"));
    }

    #[test]
    fn the_pause_after_failures_doubles_up_to_an_hour() {
        let seconds: Vec<u64> = [1, 2, 3, 8, 100]
            .map(|failures| pause_after(failures).as_secs())
            .to_vec();
        assert_eq!(seconds, [30, 60, 120, 3_600, 3_600]);
    }
}
