//! The configuration in force: what was accepted last, whatever has become of its file since.
//!
//! ```text
//!  file ──(start of the master, reload)──► Accepted ──► watch ──► drivers
//!                                             │
//!                                             └──► a file in memory that the keeper holds ──► next engine
//! ```
//!
//! # Theory of operation
//!
//! An engine may end at any moment, also while somebody edits the file. So only the first engine of a
//! master reads it; each later one goes on with the text that was accepted, which the keeper holds.
//! The file is read again when somebody asks for it ([`InForce::read`]), and put in force in two steps,
//! so that rules and drivers change with the same event: [`InForce::propose`] before the event is
//! sent, [`InForce::apply`] when it is recorded.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use allexmaster_keeper::os;
use allexmaster_state::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Config, ConfigError, Loaded, Overrides, file};

/// Begins the name under which the keeper holds an accepted configuration; a number follows that
/// grows, so that the newest is known while two are held.
const KEPT: &str = "configuration.";
/// The name of the file in memory, for people who look at the descriptors of a process.
const MEMORY_FILE: &str = "allexmaster-configuration";

/// A configuration that was found good.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    pub config: Config,
    /// Where it was read.
    pub file: PathBuf,
    /// What stood there.
    pub text: String,
    /// When it was read.
    pub at: Timestamp,
    /// How many were accepted before it by the same master.
    pub generation: u64,
}

/// What the keeper holds of it.
#[derive(Serialize, Deserialize)]
struct Kept {
    file: PathBuf,
    text: String,
    at: Timestamp,
}

/// The file, compared with what is in force.
#[derive(Debug)]
pub enum FileState {
    /// It says what is in force.
    Same,
    /// It says something else, and could be put in force.
    Edited { since: Option<Timestamp> },
    /// It cannot be put in force. The time is that of its last change, where there is a file.
    Unusable {
        since: Option<Timestamp>,
        error: ConfigError,
    },
}

/// The configuration in force, for all who need it.
pub struct InForce {
    folder: PathBuf,
    overrides: Overrides,
    accepted: watch::Sender<Arc<Accepted>>,
    /// What comes into force with the next event that says so.
    proposed: Mutex<Option<Accepted>>,
}

impl Accepted {
    /// What a start has read.
    #[must_use]
    pub fn now(loaded: Loaded) -> Self {
        let Loaded {
            config, file, text, ..
        } = loaded;
        Self {
            config,
            file,
            text,
            at: now(),
            generation: 0,
        }
    }

    /// What an earlier engine of this master has accepted: the newest of what its keeper holds. None
    /// where it holds none.
    ///
    /// # Errors
    /// This build does not accept it.
    pub fn given_back<'held>(
        held: impl Iterator<Item = (&'held str, &'held OwnedFd)>,
        overrides: &Overrides,
    ) -> Option<Result<Self, ConfigError>> {
        let numbered = held.filter_map(|(name, descriptor)| {
            let generation: u64 = name.strip_prefix(KEPT)?.parse().ok()?;
            Some((generation, descriptor))
        });
        let (generation, descriptor) = numbered.max_by_key(|(generation, _)| *generation)?;
        let Kept { file, text, at } = read_kept(descriptor)?;
        let config = Config::parse(&file, text.clone(), overrides);
        Some(config.map(|(config, _)| Self {
            config,
            file,
            text,
            at,
            generation,
        }))
    }

    /// The name under which the keeper holds it.
    #[must_use]
    pub fn kept_name(&self) -> String {
        name_of(self.generation)
    }

    /// The name of the one before it, where there was one.
    #[must_use]
    pub fn name_before(&self) -> Option<String> {
        self.generation.checked_sub(1).map(name_of)
    }

    /// A file in memory with all that a later engine needs.
    ///
    /// # Errors
    /// The system has no room for it.
    pub fn to_memory(&self) -> std::io::Result<OwnedFd> {
        let kept = Kept {
            file: self.file.clone(),
            text: self.text.clone(),
            at: self.at,
        };
        let mut memory = File::from(os::memory_file(MEMORY_FILE)?);
        memory.write_all(&serde_json::to_vec(&kept)?)?;
        Ok(memory.into())
    }
}

fn name_of(generation: u64) -> String {
    format!("{KEPT}{generation}")
}

/// Whether the keeper holds an accepted configuration under this name.
#[must_use]
pub fn is_kept_configuration(name: &str) -> bool {
    name.starts_with(KEPT)
}

/// None where it is of no use, as that of another build may be.
fn read_kept(descriptor: &OwnedFd) -> Option<Kept> {
    let mut memory = File::from(descriptor.try_clone().ok()?);
    memory.rewind().ok()?;
    let mut bytes = Vec::new();
    memory.read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl InForce {
    /// Puts the first configuration of this engine in force. The overrides are those of the start.
    #[must_use]
    pub fn new(folder: PathBuf, overrides: Overrides, accepted: Accepted) -> Self {
        Self {
            folder,
            overrides,
            accepted: watch::Sender::new(Arc::new(accepted)),
            proposed: Mutex::new(None),
        }
    }

    /// What is in force.
    #[must_use]
    pub fn accepted(&self) -> Arc<Accepted> {
        self.accepted.borrow().clone()
    }

    /// Reads the file, to be put in force. It blocks.
    ///
    /// # Errors
    /// It has a mistake, cannot be read, or is not there. What is in force stays.
    pub fn read(&self) -> Result<Loaded, ConfigError> {
        Config::read(&self.folder, &self.overrides)
    }

    /// Has a configuration come into force with the next event that says so.
    pub fn propose(&self, accepted: Accepted) {
        *self.proposed() = Some(accepted);
    }

    /// The event is recorded: what was proposed is in force.
    pub fn apply(&self) {
        if let Some(accepted) = self.proposed().take() {
            self.accepted.send_replace(Arc::new(accepted));
        }
    }

    /// Compares the file with what is in force. It blocks.
    #[must_use]
    pub fn look(&self) -> FileState {
        let accepted = self.accepted();
        let since = || file::find(&self.folder).and_then(|path| changed(&path));
        match file::read(&self.folder) {
            Ok(found) if found.text == accepted.text => FileState::Same,
            Ok(found) => match Config::parse(&found.path, found.text, &self.overrides) {
                Ok((config, _)) if config.differences(&accepted.config).is_empty() => {
                    FileState::Same
                }
                Ok(_) => FileState::Edited { since: since() },
                Err(error) => FileState::Unusable {
                    since: since(),
                    error,
                },
            },
            Err(error) => FileState::Unusable {
                since: since(),
                error,
            },
        }
    }

    fn proposed(&self) -> std::sync::MutexGuard<'_, Option<Accepted>> {
        self.proposed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration that comes from no file.
impl From<Config> for InForce {
    fn from(config: Config) -> Self {
        let accepted = Accepted {
            config,
            file: PathBuf::new(),
            text: String::new(),
            at: Timestamp(0),
            generation: 0,
        };
        Self::new(PathBuf::new(), Overrides::default(), accepted)
    }
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("InForce")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn changed(path: &Path) -> Option<Timestamp> {
    Some(milliseconds(path.metadata().ok()?.modified().ok()?))
}

fn now() -> Timestamp {
    milliseconds(SystemTime::now())
}

fn milliseconds(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
