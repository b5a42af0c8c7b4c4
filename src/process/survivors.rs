//! The search for the children of earlier runs of the master.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use allexmaster_state::{BootId, Identity, Incarnation, JournalId, Pid, Survivor};

use allexmaster_keeper::os;

use super::{boot_id, exists, find_descendants};
use crate::launch::INCARNATION_VARIABLE;

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survivors {
    /// The run of the machine.
    pub boot: BootId,
    /// The children that exist, in the order of their incarnations. A zombie that was recorded is
    /// among them: once adopted, its exit code is read as soon as the system has it. So is a child that
    /// was recorded and is gone, while what it has started lives on: it has not come to its end yet.
    pub found: Vec<Survivor>,
    /// What was started by children that are neither recorded nor there.
    pub strays: Vec<Survivor>,
    /// The attempts of whose children something lives on.
    pub(super) with_descendants: BTreeSet<Incarnation>,
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
    let others = find_descendants(journal, &boot, None, &known)?;
    let mut unrecorded: BTreeMap<Incarnation, Identity> = BTreeMap::new();
    for other in others
        .iter()
        .filter(|other| other.group == other.identity.pid)
    {
        let Some(incarnation) = other.named().filter(|of| !children.contains_key(of)) else {
            continue;
        };
        // Where the system tells, a descendant is not taken for the child.
        if os::is_marked(other.identity.pid.0) == Some(false) && other.is_marked() {
            continue;
        }
        let identity = &other.identity;
        let older =
            |known: &Identity| (known.started, known.pid.0) <= (identity.started, identity.pid.0);
        if !unrecorded.get(&incarnation).is_some_and(older) {
            unrecorded.insert(incarnation, identity.clone());
        }
    }
    let recorded: BTreeMap<_, _> = recorded.iter().cloned().collect();
    let mut with_descendants = BTreeSet::new();
    let mut strays = Vec::new();
    for other in others {
        let of_recorded = recorded
            .iter()
            .find(|(incarnation, child)| other.descends_from(**incarnation, child.pid))
            .map(|(incarnation, _)| *incarnation);
        let Some(incarnation) = of_recorded.or(other.named()) else {
            continue;
        };
        match unrecorded.get(&incarnation) {
            // The child itself.
            Some(child) if *child == other.identity => continue,
            Some(_) => {}
            None if of_recorded.is_none() => strays.push(Survivor {
                incarnation,
                identity: other.identity,
            }),
            None => {}
        }
        with_descendants.insert(incarnation);
    }
    for (incarnation, identity) in &mut children {
        if identity.is_none() && with_descendants.contains(incarnation) {
            *identity = recorded.get(incarnation).cloned();
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
    Ok(Survivors {
        boot,
        found,
        strays,
        with_descendants,
    })
}

/// The attempt that the environment of a process names.
pub(super) fn incarnation_of(journal: &JournalId, pid: Pid) -> Option<Incarnation> {
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
