//! Facts about processes, from `/proc`: who is who, and who of an earlier run still lives.
//!
//! ```text
//!  /proc/PID/stat ─────► Stat (group, start time, zombie?) ──► Identity
//!  /proc/PID/environ ──► incarnation ──┐
//!  recorded identities ────────────────┴──► find_survivors ──► Vec<Survivor>
//!  the keeper's zombies, and their marks ───► find_kept ──► Vec<Zombie>
//! ```
//!
//! # Theory of operation
//!
//! A process number is used again after its process is gone; together with the start time and the
//! boot of the machine it is not. So wherever a process is meant, its [`Identity`] is compared.

mod listeners;
mod stat;
mod survivors;
mod zombies;

use std::fs;
use std::io;

use allexmaster_state::{BootId, Identity, Pid};

pub use listeners::foreign_listener;
pub use stat::{Stat, UnreadableStat};
pub use survivors::{Survivors, find_survivors};
pub use zombies::{Found, Zombie, find_kept, mark_of};

/// The run of the machine.
///
/// # Errors
/// `/proc` is not there.
pub fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BootId::from(text.trim()))
}

/// What `/proc` tells of a process; `None` where there is none of this number.
#[must_use]
pub fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Stat::parse(&text).ok()
}

/// The identity of the process that has this number now; a zombie still has one.
#[must_use]
pub fn identity(boot: &BootId, pid: Pid) -> Option<Identity> {
    Some(Identity {
        boot: boot.clone(),
        pid,
        started: stat(pid)?.started,
    })
}

/// Whether this very process still exists, if only as a zombie.
#[must_use]
pub fn exists(boot: &BootId, identity: &Identity) -> bool {
    identity.boot == *boot
        && stat(identity.pid).is_some_and(|stat| stat.started == identity.started)
}

/// The wait status of a process that has ended and was not reaped yet: known at once, however
/// slow its parent is. `None` where it was reaped, or where the kernel may not tell us.
#[must_use]
pub fn status_of_zombie(boot: &BootId, identity: &Identity) -> Option<i32> {
    let own_user = rustix::process::geteuid().as_raw();
    let same_user = user(identity.pid) == Some(own_user);
    let stat = stat(identity.pid)?;
    let ended = stat.zombie && stat.started == identity.started && identity.boot == *boot;
    (ended && same_user).then_some(stat.status)
}

/// The user that a process belongs to (its effective user).
#[must_use]
pub fn user(pid: Pid) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Raises the soft limit of open descriptors to the hard limit: each child takes one or two of
/// the master's, and the usual soft limit of 1,024 would end at a few hundred children. Answers
/// with the limit that now holds; `None` where there is none.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// The numbers of all processes of the machine.
///
/// # Errors
/// `/proc` is not there.
fn processes() -> io::Result<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid))
}
