//! The start of a run: the journal is opened, the machine is looked at, and what was found
//! becomes the first events.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use allexmaster_journal::store::keep_private;
use allexmaster_journal::{Error, JournaledMachine, Opened, Options as JournalOptions};
use allexmaster_state::{
    Activity, BootId, Event, Identity, Incarnation, JournalId, Pid, State, Survivor,
};
use tracing::{info, warn};

use super::{DaemonError, Options, read_pid};
use crate::child::{ChildOptions, end_of};
use crate::config::{InForce, log_folder};
use crate::launch::MasterFacts;
use crate::process::{Found, Zombie};
use crate::sessions::{Beginning, Restored};
use crate::{node, process};
use allexmaster_inspect::source::{JOURNAL_FOLDER, OWN_FOLDER};
use allexmaster_keeper::link::KeeperLink;
use allexmaster_keeper::os;
use allexmaster_sessions::{ReplayedEffects, Sessions, SessionsIdentity};
use allexmaster_state::Rules;

/// Where the journal is.
#[must_use]
pub fn journal_folder(folder: &Path) -> PathBuf {
    folder.join(OWN_FOLDER).join(JOURNAL_FOLDER)
}

/// What the boot found.
pub(super) struct Boot {
    pub(super) live: JournaledMachine<Rules>,
    pub(super) first_events: Vec<Event>,
    pub(super) facts: Facts,
    pub(super) beginning: Beginning,
    /// The children that ended meanwhile, whose exit codes the keeper has.
    pub(super) zombies: Vec<Zombie>,
}

/// What a run is.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) journal: JournalId,
    pub(super) boot: BootId,
    pub(super) pid: Pid,
    pub(super) keeper: Option<KeeperLink>,
}

impl Facts {
    /// What the child driver needs to know.
    pub(super) fn child_options(&self, options: &Options, config: Arc<InForce>) -> ChildOptions {
        ChildOptions {
            boot: self.boot.clone(),
            master: MasterFacts {
                journal: self.journal.clone(),
                pid: self.pid,
                folder: options.folder.clone(),
                runtime_folder: config.accepted().config.runtime_directory.clone(),
            },
            log_folder: log_folder(&options.folder),
            config,
            keeper: self.keeper.clone(),
            abort_after_fork: options.abort_after_fork,
        }
    }
}

/// Opens the journal and looks for the children of earlier runs.
pub(super) fn look_around(
    options: &Options,
    pid: u32,
    keeper: Option<KeeperLink>,
    restored: Option<Restored>,
) -> Result<Boot, DaemonError> {
    let mut replayed = restored
        .as_ref()
        .map(|restored| ReplayedEffects::after(restored.sessions().ack()));
    let (live, opened) = open_journal(options, replayed.as_mut())?;
    let own = journal_folder(&options.folder);
    if let Err(error) = keep_private(own.parent().unwrap_or(&own)) {
        warn!(%error, "other users may be able to read the properties of needs");
    }
    if let Err(error) = os::raise_descriptor_limit() {
        warn!(%error, "the limit of open files cannot be raised; many children may hit it");
    }
    let journal = JournalId::from(opened.identity.to_string());
    let recorded = recorded(live.state());
    let Found {
        survivors,
        ended: zombies,
        complete,
    } = find_children(&journal, &recorded, keeper.as_ref())?;
    if !complete {
        warn!("a child has not come to run its program; it may be started a second time");
    }
    for (_, identity) in &recorded {
        let lives = |found: &Survivor| found.identity == *identity;
        if !survivors.found.iter().any(lives) {
            let socket = node::child_socket(&options.socket_folder, identity.pid);
            node::remove_left_behind(&socket);
        }
    }
    let pid = Pid(pid);
    let beginning = begin(&journal, pid, &opened, restored.zip(replayed));
    let facts = Facts {
        journal: journal.clone(),
        boot: survivors.boot.clone(),
        pid,
        keeper,
    };
    let mut first_events = Vec::new();
    let settings = options.accepted.config.settings.clone();
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
        ended: zombies.iter().map(end_of).collect(),
        resumed: matches!(beginning, Beginning::Restored(..)),
    });
    if !survivors.strays.is_empty() {
        first_events.push(Event::StraysFound {
            strays: survivors.strays,
        });
    }
    Ok(Boot {
        live,
        first_events,
        facts,
        beginning,
        zombies,
    })
}

/// Looks for the children of earlier engines and masters.
fn find_children(
    journal: &JournalId,
    recorded: &[(Incarnation, Identity)],
    keeper: Option<&KeeperLink>,
) -> Result<Found, DaemonError> {
    let found = match keeper {
        Some(keeper) => process::find_kept(journal, recorded, Pid(keeper.keeper())),
        None => process::find_survivors(journal, recorded).map(|survivors| Found {
            survivors,
            ended: Vec::new(),
            complete: true,
        }),
    };
    found.map_err(|source| DaemonError::System {
        what: "a look at the processes",
        source,
    })
}

/// With which sessions this run begins: with the one before, if that is this master's, and the journal
/// can tell what it has missed.
fn begin(
    journal: &JournalId,
    pid: Pid,
    opened: &Opened,
    restored: Option<(Restored, ReplayedEffects)>,
) -> Beginning {
    if let Some((restored, replayed)) = restored {
        let known = restored.sessions().identity();
        let is_ours = known.journal == journal.to_string() && known.master == pid;
        if is_ours && opened.replayed_after(restored.sessions().ack().sequence) {
            return Beginning::Restored(Box::new(restored), replayed);
        }
        warn!("the connections of the engine before are not this journal's; they end");
    }
    let identity = SessionsIdentity {
        journal: journal.to_string(),
        master: pid,
        // The number of events before this run: with the pid, unique on this machine.
        prefix: format!("{pid}_{}_", opened.last),
    };
    Beginning::New(Box::new(Sessions::new(identity, opened.last)))
}

fn open_journal(
    options: &Options,
    replayed: Option<&mut ReplayedEffects>,
) -> Result<(JournaledMachine<Rules>, Opened), DaemonError> {
    let folder = journal_folder(&options.folder);
    let journal_options = JournalOptions {
        failpoint: options.failpoint,
        bounds: Some(options.accepted.config.journal),
    };
    let opened = match replayed {
        None => JournaledMachine::open(&folder, journal_options),
        Some(replayed) => {
            let after = replayed.ack.sequence;
            JournaledMachine::open_and_visit(
                &folder,
                journal_options,
                after,
                &mut |stamp, event, effects| replayed.replay(stamp.sequence, &event, effects),
            )
        }
    };
    match opened {
        Ok((live, opened)) => {
            for recovery in &opened.recoveries {
                warn!(%recovery, "the journal was repaired");
            }
            Ok((live, opened))
        }
        Err(Error::Held { holder, .. }) => {
            let lives = |pid: &u32| os::stat(*pid).is_some_and(|stat| !stat.zombie);
            let public = read_pid(&options.folder);
            Err(DaemonError::AlreadyRunning {
                folder: options.folder.clone(),
                holder: public.filter(lives).or(holder),
                alone: public.is_some_and(|pid| !lives(&pid)) && holder.is_some(),
            })
        }
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
