//! The configuration: read, checked as a whole, and reported with line and column.
//!
//! ```text
//!  allexmasterconfig.json ──► document ──► schema ──► Values ──► check ──► Config
//!  (or the default)           places of    keys,        ▲         what must
//!                             each value   types     Overrides    fit together
//!                                 └───────────┴── all mistakes ─────┘──► ConfigError
//! ```
//!
//! # Theory of operation
//!
//! The file is read at the start of a master and when somebody asks for it; what was accepted then is
//! in force until the next time ([`InForce`]). Every mistake in it is found in one go: each carries its place, what
//! was expected and, for a mistyped key, what was probably meant. A file with a mistake is never
//! changed. Where there is none, the default is written, so that there is something to edit.
//!
//! All keys stand in one table in `schema`: it reads them, and `docs/configuration.md` is printed from it.

mod check;
mod document;
mod entries;
mod error;
mod file;
mod in_force;
mod launchers;
mod schema;

use std::path::{Path, PathBuf};

use allexmaster_inspect::source::OWN_FOLDER;
use allexmaster_journal::Bounds;
use allexmaster_sessions::Endpoint;
use allexmaster_state::Settings;

pub(crate) use document::did_you_mean;
pub use entries::{Difference, Entry, Origin};
pub use error::{ConfigError, Mistake, Mistakes, Report};
pub use file::{CONFIG_FILE, DEFAULT_TEXT, JAVASCRIPT_CONFIG_FILE};
pub use in_force::{Accepted, FileState, InForce, is_kept_configuration};

use crate::launch::Launchers;
use crate::logs::LogLimits;

/// The ports that are dialed where none is configured: the documented one, and the port for
/// WebSockets of the JavaScript LanManager.
pub const LAN_MANAGER_PORTS: [u16; 2] = [23_552, 23_451];
/// The port that is dialed for SignalR where none is configured: that of both LanManagers.
pub const SIGNALR_PORTS: [u16; 1] = [22_451];
/// The folder of the children's log files, inside that.
const LOG_FOLDER: &str = "logs";

/// All keys with their ranges, units and defaults: a table in Markdown.
#[must_use]
pub fn key_table() -> String {
    schema::table()
}

/// The same for programs.
#[must_use]
pub fn key_list() -> serde_json::Value {
    schema::list()
}

#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where the LanManager is dialed, in this order. Never empty.
    pub lan_endpoints: Vec<Endpoint>,
    /// What services of AllexJS get as their folder, as it stands in the file.
    pub runtime_directory: String,
    /// All that this machine may run.
    pub launchers: Launchers,
    /// What the rules need to know.
    pub settings: Settings,
    /// How large the children's logs may get.
    pub logs: LogLimits,
    /// How much of its history the journal keeps.
    pub journal: Bounds,
    /// Every value by its key, with where it comes from.
    pub entries: Vec<Entry>,
}

/// A configuration, and where it came from.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    pub config: Config,
    pub file: PathBuf,
    /// What stands in it.
    pub text: String,
    /// Whether there was none, and the default was written.
    pub written: bool,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<Report>,
}

/// What flags and variables say instead of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// Instead of `lanmanageraddress`.
    pub lanmanager_address: Option<String>,
    /// Instead of `lanmanagerport`.
    pub lanmanager_port: Option<u16>,
    /// Instead of `lanmanagerprotocol`.
    pub lanmanager_protocol: Option<String>,
    /// Instead of `lanmanagerportcorrection`.
    pub lanmanager_port_correction: Option<i32>,
    /// Instead of `runtimedirectory`.
    pub runtime_directory: Option<String>,
}

/// The configuration without a file.
impl Default for Config {
    fn default() -> Self {
        let values = schema::Values::default();
        check::check(
            values,
            &Overrides::default(),
            &mut document::Findings::default(),
        )
    }
}

impl Config {
    /// Reads the configuration of `folder`, or writes the default where there is none.
    ///
    /// # Errors
    /// The file cannot be read or has mistakes, or an override has; nothing was changed.
    pub fn load(folder: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
        Self::loaded(file::read_or_write(folder)?, overrides)
    }

    /// Reads the configuration of `folder`.
    ///
    /// # Errors
    /// There is none, or as with [`Config::load`].
    pub fn read(folder: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
        Self::loaded(file::read(folder)?, overrides)
    }

    fn loaded(found: file::Found, overrides: &Overrides) -> Result<Loaded, ConfigError> {
        let (config, warnings) = Self::parse(&found.path, found.text.clone(), overrides)?;
        Ok(Loaded {
            config,
            file: found.path,
            text: found.text,
            written: found.written,
            warnings,
        })
    }

    /// Reads a configuration from its text; `file` is its name in messages. The second part of the
    /// answer is what is allowed, but probably not meant.
    ///
    /// # Errors
    /// All mistakes of the text and the overrides.
    pub fn parse(
        file: &Path,
        text: String,
        overrides: &Overrides,
    ) -> Result<(Self, Vec<Report>), ConfigError> {
        let (values, mut findings) = schema::read(&text);
        let entries = entries::entries(&text, &values, overrides, &findings);
        let mut config = check::check(values, overrides, &mut findings);
        config.entries = entries;
        let document::Findings {
            mistakes, warnings, ..
        } = findings;
        if mistakes.is_empty() {
            let warnings = warnings.iter().map(|warning| warning.report(file, &text));
            let warnings = warnings.collect();
            return Ok((config, warnings));
        }
        let mistakes = Mistakes::new(file, text, mistakes);
        Err(ConfigError::Mistakes(Box::new(mistakes)))
    }
}

/// The folder of the children's log files, for a master that runs in `folder`.
#[must_use]
pub fn log_folder(folder: &Path) -> PathBuf {
    folder.join(OWN_FOLDER).join(LOG_FOLDER)
}
