//! The children of the keeper: those that ended while no engine was there, and those that are being
//! born.

use std::collections::BTreeSet;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_state::{BootId, Identity, Incarnation, JournalId, Pid};

use allexmaster_keeper::keeper::{ROLE_VARIABLE, Role};
use allexmaster_keeper::os;

use super::{Survivors, find_survivors, identity};

/// How many bits of a mark are the place of an attempt among those of the same event: a million, for
/// as many services of one master. The others are enough for 17 million million events.
const INDEX_BITS: u32 = 20;
/// How long a process may take from its birth to its program. It is a matter of microseconds, if
/// the program does not lie on a disk that sleeps.
const BIRTH_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks whether all are born.
const BIRTH_PAUSE: Duration = Duration::from_millis(1);

/// A child of the keeper that has ended and was not reaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zombie {
    pub identity: Identity,
    /// The attempt that it was marked with at its birth.
    pub incarnation: Incarnation,
    pub status: i32,
}

/// The number that a child of this attempt is marked with, as the limit of file locks, which nobody
/// looks at; `None` where the attempt has no number that small.
#[must_use]
pub fn mark_of(incarnation: Incarnation) -> Option<u64> {
    let index = u64::from(incarnation.index);
    let fits = index < 1 << INDEX_BITS && incarnation.sequence < 1 << (u64::BITS - 1 - INDEX_BITS);
    fits.then_some(incarnation.sequence << INDEX_BITS | index)
}

/// What is there of the children of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The run of the machine, and the children that live.
    pub survivors: Survivors,
    /// Those that have ended, and that the keeper still has.
    pub ended: Vec<Zombie>,
    /// False: a child did not come to run its program in time, and may be missing above.
    pub complete: bool,
}

/// Finds the children of a journal whose parent is a keeper: those that live, as
/// [`find_survivors`] does it, and those that have ended. An engine that is started again calls it
/// before it forks; only it forks, so no child is missing.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find_kept(
    journal: &JournalId,
    recorded: &[(Incarnation, Identity)],
    keeper: Pid,
) -> io::Result<Found> {
    let known: BTreeSet<Pid> = recorded.iter().map(|(_, child)| child.pid).collect();
    let complete = await_births(keeper, &known)?;
    let mut survivors = find_survivors(journal, recorded)?;
    // Later than the survivors: who ends in between is then in both, and not in neither.
    let ended = zombies_of(keeper, &survivors.boot)?;
    // Who bears the name of a child that has ended was started by it, and is no child of ours.
    let has_ended = |of| ended.iter().any(|zombie| zombie.incarnation == of);
    survivors
        .found
        .retain(|found| !has_ended(found.incarnation));
    Ok(Found {
        survivors,
        ended,
        complete,
    })
}

/// Those that the keeper keeps, and that were born with a mark.
fn zombies_of(keeper: Pid, boot: &BootId) -> io::Result<Vec<Zombie>> {
    let zombie = |pid| {
        os::stat(pid).filter(|stat| stat.zombie)?;
        // Only the keeper reaps it, and only when this engine asks for it.
        let identity = identity(boot, Pid(pid))?;
        Some(Zombie {
            incarnation: incarnation_of(pid)?,
            status: os::status_of_zombie(pid, identity.started)?,
            identity,
        })
    };
    let children = os::children_of(keeper.0)?;
    Ok(children.into_iter().filter_map(zombie).collect())
}

/// Waits until every child of the keeper runs its program: the engine before may have been killed in
/// the middle of a start, which then goes on without it. Those that are `known` do. False: one has
/// not come to that.
fn await_births(keeper: Pid, known: &BTreeSet<Pid>) -> io::Result<bool> {
    let patience = Instant::now() + BIRTH_PATIENCE;
    let own = std::process::id();
    loop {
        let children = os::children_of(keeper.0)?.into_iter();
        let mut others = children.filter(|pid| *pid != own && !known.contains(&Pid(*pid)));
        if !others.any(is_being_born) {
            return Ok(true);
        }
        if Instant::now() >= patience {
            return Ok(false);
        }
        sleep(BIRTH_PAUSE);
    }
}

/// Until it runs its program, a child shares the memory of the engine that started it, and so shows
/// the engine's environment; no program of a child has the engine's role.
fn is_being_born(pid: u32) -> bool {
    let role = format!("{ROLE_VARIABLE}={}", Role::Engine.as_str());
    // A zombie has no environment.
    os::environment(pid).is_some_and(|environment| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == role.as_bytes())
    })
}

fn incarnation_of(pid: u32) -> Option<Incarnation> {
    let mark = os::mark(pid)?;
    Some(Incarnation {
        sequence: mark >> INDEX_BITS,
        index: u32::try_from(mark & ((1 << INDEX_BITS) - 1)).ok()?,
    })
}
