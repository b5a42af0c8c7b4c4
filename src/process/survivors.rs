//! The search for the children of earlier runs of the master.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use allexmaster_state::{BootId, Identity, Incarnation, JournalId, Pid, Survivor};

use allexmaster_keeper::os;

use super::{boot_id, exists};
use crate::launch::INCARNATION_VARIABLE;

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survivors {
    /// The run of the machine.
    pub boot: BootId,
    /// The children that exist, in the order of their incarnations. A zombie that was recorded is
    /// among them: once adopted, its exit code is read as soon as the system has it.
    pub found: Vec<Survivor>,
}

/// Finds the children of `journal` that exist: those that were `recorded` with their identity,
/// and those that were forked but not recorded before the master died, by their environment.
///
/// A child leads its own process group. Where several group leaders have the same incarnation
/// (a child's own child inherits the environment, and may found a group), it is the recorded one,
/// else the oldest. Reads one small file per child that was
/// recorded, and up to three per other process of the machine.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find_survivors(
    journal: &JournalId,
    recorded: &[(Incarnation, Identity)],
) -> io::Result<Survivors> {
    let boot = boot_id()?;
    // An incarnation that was recorded is this process or none: other processes with it descend from it.
    let mut children: BTreeMap<Incarnation, Option<Identity>> = recorded
        .iter()
        .map(|(incarnation, identity)| {
            let present = exists(&boot, identity).then(|| identity.clone());
            (*incarnation, present)
        })
        .collect();
    // Nobody else can have these numbers: the slow look into the environment can be spared.
    let known: BTreeSet<Pid> = children.values().flatten().map(|child| child.pid).collect();
    let mut unrecorded: BTreeMap<Incarnation, Identity> = BTreeMap::new();
    for pid in os::processes()?.map(Pid).filter(|pid| !known.contains(pid)) {
        let Some((incarnation, identity)) = child_of(journal, &boot, pid) else {
            continue;
        };
        if children.contains_key(&incarnation) {
            continue;
        }
        let older =
            |known: &Identity| (known.started, known.pid.0) <= (identity.started, identity.pid.0);
        if !unrecorded.get(&incarnation).is_some_and(older) {
            unrecorded.insert(incarnation, identity);
        }
    }
    children.extend(
        unrecorded
            .into_iter()
            .map(|(incarnation, identity)| (incarnation, Some(identity))),
    );
    let found = children
        .into_iter()
        .filter_map(|(incarnation, identity)| {
            Some(Survivor {
                incarnation,
                identity: identity?,
            })
        })
        .collect();
    Ok(Survivors { boot, found })
}

/// The incarnation and identity of a process that leads its group and carries our journal's name.
fn child_of(journal: &JournalId, boot: &BootId, pid: Pid) -> Option<(Incarnation, Identity)> {
    let before = os::stat(pid.0).filter(|stat| stat.group == pid.0 && !stat.zombie)?;
    let incarnation = incarnation_of(journal, pid)?;
    // Between the two reads the number may have gone to another process.
    let after = os::stat(pid.0)?;
    let identity = Identity {
        boot: boot.clone(),
        pid,
        started: before.started,
    };
    (after.started == before.started).then_some((incarnation, identity))
}

fn incarnation_of(journal: &JournalId, pid: Pid) -> Option<Incarnation> {
    // Root can read the environment of everybody, and everybody can write our name into his own.
    if os::user(pid.0) != Some(os::own_user()) {
        return None;
    }
    os::environment(pid.0)?
        .split(|byte| *byte == 0)
        .find_map(|variable| {
            let text = std::str::from_utf8(variable).ok()?;
            let value = text.strip_prefix(INCARNATION_VARIABLE)?.strip_prefix('=')?;
            let (of_journal, incarnation) = value.split_once('/')?;
            (of_journal == journal.as_str()).then(|| incarnation.parse().ok())?
        })
}
