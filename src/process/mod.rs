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

mod descendants;
mod survivors;
mod zombies;

use std::io;

use allexmaster_keeper::os;
use allexmaster_state::{BootId, Holder, Identity, Pid, Port};

pub use descendants::{Found as FoundDescendant, find_descendants};
pub use survivors::{Survivors, find_survivors};
pub use zombies::{Found, Zombie, find_kept, mark_of};

/// The run of the machine.
///
/// # Errors
/// `/proc` is not there.
pub fn boot_id() -> io::Result<BootId> {
    Ok(BootId::from(os::boot_id()?))
}

/// The identity of the process that has this number now; a zombie still has one.
#[must_use]
pub fn identity(boot: &BootId, pid: Pid) -> Option<Identity> {
    Some(Identity {
        boot: boot.clone(),
        pid,
        started: os::stat(pid.0)?.started,
    })
}

/// Whether this very process still exists, if only as a zombie.
#[must_use]
pub fn exists(boot: &BootId, identity: &Identity) -> bool {
    identity.boot == *boot
        && os::stat(identity.pid.0).is_some_and(|stat| stat.started == identity.started)
}

/// The processes that listen on some ports, as far as this user may see them.
#[must_use]
pub fn holders(ports: &[Port]) -> Vec<(Port, Holder)> {
    let ports: Vec<u16> = ports.iter().map(|port| port.0).collect();
    let held = os::holders(&ports).into_iter();
    held.map(|(port, pid, name)| {
        let holder = Holder {
            pid: Pid(pid),
            name: name.into(),
        };
        (Port(port), holder)
    })
    .collect()
}

/// The first of `ports` on which a process listens that is not in the group of `child`.
#[must_use]
pub fn foreign_listener(child: &Identity, ports: &[Port]) -> Option<Port> {
    let ports: Vec<u16> = ports.iter().map(|port| port.0).collect();
    os::foreign_listener(child.pid.0, &ports).map(Port)
}
