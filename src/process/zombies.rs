//! The children of the keeper: those that ended while no engine ran, and those that do not run their
//! program yet.

use std::collections::BTreeSet;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_state::{BootId, Identity, Incarnation, JournalId, Pid, Survivor};

use allexmaster_keeper::keeper::{ROLE_VARIABLE, Role};
use allexmaster_keeper::os;

use super::{Survivors, find_survivors, identity};

/// Number of bits of a mark for the index of an attempt among those of the same event: a million. The
/// others are enough for 8 million million events.
const INDEX_BITS: u32 = 20;
/// How long a new process may take until it runs its program: microseconds, unless the program is on a
/// disk that sleeps.
const EXEC_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval of looking whether all run their programs.
const EXEC_POLL: Duration = Duration::from_millis(1);

/// A child of the keeper that has ended and was not reaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zombie {
    pub identity: Identity,
    /// The attempt that it was marked with.
    pub incarnation: Incarnation,
    /// Its wait status, as in wait(2).
    pub status: i32,
}

/// The mark of a child of this attempt (see [`allexmaster_keeper::os::mark`]); `None` if it does not fit.
#[must_use]
pub fn mark_of(incarnation: Incarnation) -> Option<u64> {
    let index = u64::from(incarnation.index);
    let fits = index < 1 << INDEX_BITS && incarnation.sequence < 1 << (u64::BITS - 1 - INDEX_BITS);
    fits.then_some(incarnation.sequence << INDEX_BITS | index)
}

/// The children of a journal that exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The boot of the machine, and the children that live.
    pub survivors: Survivors,
    /// Those that have ended and were not reaped.
    pub ended: Vec<Zombie>,
    /// False if a child did not run its program within `EXEC_TIMEOUT`: it may be missing above.
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
    let complete = await_exec(keeper, &known)?;
    let mut survivors = find_survivors(journal, recorded)?;
    // After the survivors: a child that ends in between is then in both lists, not in neither.
    let ended = zombies_of(keeper, &survivors.boot)?;
    // One that has left others behind has not come to its end yet: it is adopted as it is.
    let leaving = |zombie: &Zombie| survivors.with_descendants.contains(&zombie.incarnation);
    let (leaving, all_gone) = ended.into_iter().partition::<Vec<_>, _>(leaving);
    let ended = all_gone;
    // A process with the incarnation of a child that has ended was started by that child.
    let has_ended = |of| ended.iter().any(|zombie| zombie.incarnation == of);
    survivors
        .found
        .retain(|found| !has_ended(found.incarnation));
    for zombie in leaving {
        let is_it = |found: &Survivor| found.incarnation == zombie.incarnation;
        survivors.strays.retain(|stray| !is_it(stray));
        if !survivors.found.iter().any(is_it) {
            survivors.found.push(Survivor {
                incarnation: zombie.incarnation,
                identity: zombie.identity,
            });
        }
    }
    Ok(Found {
        survivors,
        ended,
        complete,
    })
}

/// The marked children of the keeper that have ended.
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
/// the middle of a start, which then goes on without it. Those in `known` do. False after
/// [`EXEC_TIMEOUT`].
fn await_exec(keeper: Pid, known: &BTreeSet<Pid>) -> io::Result<bool> {
    let deadline = Instant::now() + EXEC_TIMEOUT;
    let own = std::process::id();
    loop {
        let children = os::children_of(keeper.0)?.into_iter();
        let mut others = children.filter(|pid| *pid != own && !known.contains(&Pid(*pid)));
        if !others.any(is_before_exec) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(EXEC_POLL);
    }
}

/// Whether it does not run its program yet: until then it shares the memory of the engine that started
/// it, and shows the engine's environment. No program of a child has the engine's role.
fn is_before_exec(pid: u32) -> bool {
    let role = format!("{ROLE_VARIABLE}={}", Role::Engine.as_str());
    // A zombie has no environment.
    os::environment(pid).is_some_and(|environment| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == role.as_bytes())
    })
}

fn incarnation_of(pid: u32) -> Option<Incarnation> {
    incarnation_of_mark(os::mark(pid)?)
}

/// The attempt that a mark means.
pub(super) fn incarnation_of_mark(mark: u64) -> Option<Incarnation> {
    Some(Incarnation {
        sequence: mark >> INDEX_BITS,
        index: u32::try_from(mark & ((1 << INDEX_BITS) - 1)).ok()?,
    })
}
