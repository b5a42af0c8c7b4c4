//! The processes that children have started themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use allexmaster_keeper::os;
use allexmaster_state::{BootId, Identity, Incarnation, JournalId, Pid};

use super::survivors::incarnation_of;
use super::zombies::incarnation_of_mark;

/// A living process that a child of this journal, or a descendant of it, has started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub identity: Identity,
    pub group: Pid,
    /// The attempt that its environment names.
    named: Option<Incarnation>,
    /// The attempt and the process that it descends from, by a mark that it cannot lose.
    marked: Option<(Incarnation, Pid)>,
}

impl Found {
    /// Whether it descends from the child of this attempt, which was this process.
    #[must_use]
    pub fn descends_from(&self, incarnation: Incarnation, child: Pid) -> bool {
        self.named == Some(incarnation) || self.marked == Some((incarnation, child))
    }

    /// Whether it was started by a child that bears a mark.
    pub(super) const fn is_marked(&self) -> bool {
        self.marked.is_some()
    }

    /// The attempt that its environment names.
    #[must_use]
    pub const fn named(&self) -> Option<Incarnation> {
        self.named
    }
}

/// The processes of this journal but those in `known`, which are children themselves.
///
/// With a keeper that is the parent of all children, only what it has inherited is looked at, and what
/// that has started: few processes. Else all of the machine, some 30 µs for each.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find_descendants(
    journal: &JournalId,
    boot: &BootId,
    keeper: Option<Pid>,
    known: &BTreeSet<Pid>,
) -> io::Result<Vec<Found>> {
    let own = std::process::id();
    let mut waiting: VecDeque<u32> = match keeper {
        Some(keeper) => os::children_of(keeper.0)?.into(),
        None => os::processes()?.collect(),
    };
    let mut found = BTreeMap::new();
    while let Some(pid) = waiting.pop_front() {
        if pid == own || known.contains(&Pid(pid)) || found.contains_key(&pid) {
            continue;
        }
        let Some(one) = look_at(journal, boot, pid) else {
            continue;
        };
        if keeper.is_some() {
            waiting.extend(os::children_of(pid)?);
        }
        found.insert(pid, one);
    }
    Ok(found.into_values().collect())
}

fn look_at(journal: &JournalId, boot: &BootId, pid: u32) -> Option<Found> {
    let before = os::stat(pid).filter(|stat| !stat.zombie)?;
    let marked = os::inherited_mark(pid)
        .map(|(mark, child)| (incarnation_of_mark(mark), Pid(child)))
        .and_then(|(incarnation, child)| Some((incarnation?, child)));
    let named = incarnation_of(journal, Pid(pid));
    if named.is_none() && marked.is_none() {
        return None;
    }
    // Between the reads the number may have gone to another process.
    let after = os::stat(pid)?;
    let identity = Identity {
        boot: boot.clone(),
        pid: Pid(pid),
        started: before.started,
    };
    (after.started == before.started).then_some(Found {
        identity,
        group: Pid(before.group),
        named,
        marked,
    })
}
