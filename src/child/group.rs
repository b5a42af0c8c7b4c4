//! Signals to a child and all that it started in its group.

use std::io;
use std::os::fd::OwnedFd;

use allexmaster_state::{BootId, Identity, Signal};
use rustix::io::Errno;
use rustix::process::{self as system, kill_process_group, pidfd_send_signal};

use crate::kernel;
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
        Signal::Terminate => system::Signal::TERM,
        Signal::Kill => system::Signal::KILL,
    };
    match kernel::signal_group(pidfd, number) {
        Ok(()) => Ok(()),
        // No such group: its leader left it, and is then reached alone; or everybody is gone.
        Err(Errno::SRCH) => allow_gone(pidfd_send_signal(pidfd, number)),
        // A kernel before 6.9 knows groups only by their number. As long as the leader is there, if
        // only as a zombie, the number is its own.
        Err(Errno::INVAL) if process::exists(boot, identity) => {
            match kernel::number(identity.pid) {
                Some(pid) => allow_gone(kill_process_group(pid, number)),
                None => Ok(()),
            }
        }
        Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills what is left of the group of a process that has ended, and was not reaped.
pub(crate) fn end(pidfd: &OwnedFd, boot: &BootId, identity: &Identity) {
    if let Err(error) = signal(pidfd, boot, identity, Signal::Kill) {
        tracing::warn!(pid = %identity.pid, %error, "the rest of a group could not be killed");
    }
}

fn allow_gone(sent: rustix::io::Result<()>) -> io::Result<()> {
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
