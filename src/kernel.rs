//! The calls that no safe library has yet. The only unsafe code of the package.
#![expect(
    unsafe_code,
    reason = "PIDFD_GET_INFO, the flags of pidfd_send_signal the registration of a shared descriptor and mallopt have no safe form"
)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use allexmaster_state::Pid;
use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `struct pidfd_info` of `linux/pidfd.h`, first version (`PIDFD_INFO_SIZE_VER0`, 64 bytes); newer
/// kernels accept it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    control_group: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    /// Real, effective, saved and file-system user and group.
    users_and_groups: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);
/// Asks for, and answers with, the exit status (Linux 6.15).
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// The signal goes to the process group that the process leads (Linux 6.9).
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// The wait status of a process that was reaped by whoever its parent is; `None` as long as it was not.
///
/// # Errors
/// The kernel does not know the question, or does not have the answer.
pub(crate) fn exit_status(pidfd: &OwnedFd) -> Result<Option<i32>> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the opcode carries the size of this very structure, of which the kernel writes no
    // more; every bit pattern is a valid value of it; it lives until the call returns.
    unsafe { ioctl(pidfd, Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info)) }?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// Signals the process group that the process leads or led. The kernel finds the group by the
/// process that the descriptor means, not by a number, so it can be no other group.
///
/// # Errors
/// `SRCH`: nobody is in it. `INVAL`: the kernel is older than 6.9. `PERM`: not allowed.
pub(crate) fn signal_group(pidfd: &OwnedFd, signal: Signal) -> Result<()> {
    // SAFETY: the call takes three numbers and a null pointer, which it allows; it touches no
    // memory of ours.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.as_raw(),
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if answer == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Has the runtime tell when the process ends (the descriptor is then readable).
///
/// # Errors
/// The system has no room for a further watch.
pub(crate) fn watch(pidfd: Arc<OwnedFd>) -> std::io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `Arc<OwnedFd>` answers with the same open descriptor as long as it lives, and it
    // lives as long as the `AsyncFd` that owns it.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    Ok(registered?)
}

/// A process number as the kernel's calls want it; `None` for those that no process has.
pub(crate) fn number(pid: Pid) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid.0).ok()?)
}

/// Has the allocator keep all memory in one arena. By default glibc gives each thread its own,
/// eight for each core, and each keeps what its thread once needed: with a thousand children
/// that is a third of a master's memory. Its threads allocate little, so they hardly wait for
/// one another. Call it before the first thread is started.
pub(crate) fn use_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes two numbers, and no other thread exists that could allocate.
    unsafe {
        // Where it is refused, everything works as before.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
