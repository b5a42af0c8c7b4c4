//! Signals to a child and all that it started in its group.

use std::io;
use std::os::fd::OwnedFd;

use allexmaster_keeper::os::{self, Errno};
use allexmaster_state::{BootId, Identity, Signal};

use crate::process;

/// Signals the group that the process of `pidfd` leads or led. A group of which nobody is left is
/// no error.
///
/// # Errors
/// The system does not allow it (the program has taken on another user, say).
pub(crate) fn signal(
    pidfd: &OwnedFd,
    boot: &BootId,
    identity: &Identity,
    signal: Signal,
) -> io::Result<()> {
    let number = match signal {
        Signal::Terminate => os::Signal::TERM,
        Signal::Kill => os::Signal::KILL,
    };
    match os::signal_group(pidfd, number) {
        Ok(()) => Ok(()),
        // No such group: its leader left it, and is then reached alone; or everybody is gone.
        Err(Errno::SRCH) => allow_gone(os::signal_process(pidfd, number)),
        // A kernel before 6.9 knows groups only by their number. As long as the leader is there, if
        // only as a zombie, the number is its own.
        Err(Errno::INVAL) if process::exists(boot, identity) => {
            allow_gone(os::signal_group_by_number(identity.pid.0, number))
        }
        Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn allow_gone(sent: Result<(), Errno>) -> io::Result<()> {
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
