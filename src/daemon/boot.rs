//! The start of a run: the journal is opened, the machine is looked at, and what was found
//! becomes the first events.

use std::path::{Path, PathBuf};

use allexmaster_journal::{Error, Live, Options as JournalOptions};
use allexmaster_state::{
    Activity, BootId, Event, Identity, Incarnation, JournalId, Pid, State, Survivor,
};
use tracing::{info, warn};

use super::{DaemonError, Options, read_pid};
use crate::child::ChildOptions;
use crate::launch::MasterFacts;
use crate::machine::Rules;
use crate::{node, process};

/// The master's own folder inside its folder.
pub const OWN_FOLDER: &str = ".allexmaster";

/// Where the journal is.
#[must_use]
pub fn journal_folder(folder: &Path) -> PathBuf {
    folder.join(OWN_FOLDER).join("journal")
}

/// What the boot found.
pub(super) struct Boot {
    pub(super) live: Live<Rules>,
    pub(super) first_events: Vec<Event>,
    pub(super) facts: Facts,
}

/// What a run is.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) journal: JournalId,
    pub(super) boot: BootId,
    pub(super) pid: Pid,
    /// The number of events before this run: with the pid, unique on this machine.
    pub(super) started: u64,
}

impl Facts {
    /// What the child driver needs to know.
    pub(super) fn child_options(&self, options: &Options) -> ChildOptions {
        let config = &options.config;
        ChildOptions {
            boot: self.boot.clone(),
            launchers: config.launchers.clone(),
            master: MasterFacts {
                journal: self.journal.clone(),
                pid: self.pid,
                folder: options.folder.clone(),
                runtime_folder: config.runtime_directory.clone(),
            },
            log_folder: config.log_folder(&options.folder),
            keeper: None,
            abort_after_fork: options.abort_after_fork,
        }
    }
}

/// Opens the journal and looks for the children of earlier runs.
pub(super) fn look_around(options: &Options) -> Result<Boot, DaemonError> {
    let live = open_journal(options)?;
    let (live, opened) = live;
    if let Err(error) = process::raise_descriptor_limit() {
        warn!(%error, "the limit of open files cannot be raised; many children may hit it");
    }
    let journal = JournalId::from(opened.identity.to_string());
    let recorded = recorded(live.state());
    let survivors =
        process::find_survivors(&journal, &recorded).map_err(|source| DaemonError::System {
            what: "a look at the processes",
            source,
        })?;
    for (_, identity) in &recorded {
        let lives = |found: &Survivor| found.identity == *identity;
        if !survivors.found.iter().any(lives) {
            let socket = node::child_socket(&options.socket_folder, identity.pid);
            node::remove_left_behind(&socket);
        }
    }
    let pid = Pid(std::process::id());
    let facts = Facts {
        journal: journal.clone(),
        boot: survivors.boot.clone(),
        pid,
        started: opened.last,
    };
    let mut first_events = Vec::new();
    let settings = options.config.settings.clone();
    if opened.created || live.state().settings != settings {
        first_events.push(Event::SettingsLoaded { settings });
    }
    info!(
        events = opened.last,
        replayed = opened.replayed,
        survivors = survivors.found.len(),
        "the journal is open"
    );
    first_events.push(Event::MasterStarted {
        journal,
        boot: survivors.boot,
        pid,
        survivors: survivors.found,
        ended: Vec::new(),
        resumed: false,
    });
    Ok(Boot {
        live,
        first_events,
        facts,
    })
}

fn open_journal(
    options: &Options,
) -> Result<(Live<Rules>, allexmaster_journal::Opened), DaemonError> {
    let folder = journal_folder(&options.folder);
    let journal_options = JournalOptions {
        failpoint: options.failpoint,
        bounds: Some(options.config.journal),
    };
    match Live::open(&folder, journal_options) {
        Ok((live, opened)) => {
            for recovery in &opened.recoveries {
                warn!(%recovery, "the journal was repaired");
            }
            Ok((live, opened))
        }
        Err(Error::Held { .. }) => Err(DaemonError::AlreadyRunning {
            folder: options.folder.clone(),
            holder: read_pid(&options.folder),
        }),
        Err(error) => Err(DaemonError::Journal(error)),
    }
}

/// The processes that the journal knows.
fn recorded(state: &State) -> Vec<(Incarnation, Identity)> {
    let process = |activity: &Activity| activity.process().cloned();
    state
        .services
        .iter()
        .filter_map(|(_, service)| process(&service.activity))
        .map(|process| (process.incarnation, process.identity))
        .collect()
}
