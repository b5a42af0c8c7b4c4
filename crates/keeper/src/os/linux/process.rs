//! Facts about processes, from `/proc`, and what is done to one process.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions, WaitIdStatus, getrlimit,
    kill_process_group, pidfd_open, pidfd_send_signal, set_child_subreaper, setrlimit, waitid,
};

use super::Stat;
use super::syscalls::MARKED;

/// No more of an environment is read than Linux lets a program start with (a quarter of the usual
/// stack of 8 MiB).
const MAX_ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// Maximum length of `/proc/PID/stat` in bytes: 52 numbers of up to 20 digits and a name of 64 bytes.
const MAX_STAT: usize = 2_048;

/// The identity of this boot of the machine.
///
/// # Errors
/// `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// What `/proc` says about a process; `None` if there is none with this number.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let mut line = [0; MAX_STAT];
    // The kernel gives the whole line to the first read.
    let length = fs::File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read(&mut line))
        .ok()?;
    Stat::parse(line.get(..length)?).ok()
}

/// The effective user of a process.
#[must_use]
pub fn user(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// The effective user of this process.
#[must_use]
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The wait status of a process that has ended and was not reaped yet, and that started at `started`.
/// `None` if it was reaped, or belongs to another user (the kernel then shows 0).
#[must_use]
pub fn status_of_zombie(pid: u32, started: u64) -> Option<i32> {
    let same_user = user(pid) == Some(own_user());
    let stat = stat(pid)?;
    (stat.zombie && stat.started == started && same_user).then_some(stat.status)
}

/// The environment that a process was started with, variables separated by zero bytes; at most
/// 2 MiB of it. `None` for a zombie and for a process of another user.
#[must_use]
pub fn environment(pid: u32) -> Option<Vec<u8>> {
    let mut environment = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(MAX_ENVIRONMENT)
        .read_to_end(&mut environment)
        .ok()?;
    Some(environment)
}

/// The mark that a process was started with ([`super::SpawnSpec::mark`]); `None` for its descendants.
#[must_use]
pub fn mark(pid: u32) -> Option<u64> {
    let (soft, _) = lock_limits(pid).filter(|limits| limits_are_marked(*limits, pid))?;
    (soft < MARKED).then_some(soft)
}

/// The mark that a process or an ancestor of it was started with, and the number of that one; it is
/// inherited, whatever becomes of the environment.
#[must_use]
pub fn inherited_mark(pid: u32) -> Option<(u64, u32)> {
    let (soft, hard) = lock_limits(pid)?;
    let marked = u32::try_from(hard & !MARKED).ok();
    let marked = marked.filter(|_| hard & MARKED != 0)?;
    (soft < MARKED).then_some((soft, marked))
}

/// Whether this program started the process, and not one of the processes that it started; `None` if
/// that cannot be read.
#[must_use]
pub fn is_marked(pid: u32) -> Option<bool> {
    lock_limits(pid).map(|limits| limits_are_marked(limits, pid))
}

fn limits_are_marked((soft, hard): (u64, u64), pid: u32) -> bool {
    let own = getrlimit(Resource::Locks);
    let own = (
        own.current.unwrap_or(u64::MAX),
        own.maximum.unwrap_or(u64::MAX),
    );
    // The second one: the mark of a process that could not lower its hard limit.
    hard == MARKED | u64::from(pid) || (hard == own.1 && soft != own.0)
}

/// The soft and the hard limit of file locks.
fn lock_limits(pid: u32) -> Option<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file locks"))?;
    let mut numbers = line
        .split_ascii_whitespace()
        .map(|number| number.parse().unwrap_or(u64::MAX));
    Some((numbers.next()?, numbers.next()?))
}

/// The process that holds a lock (flock(2)) on a file; `None` if nobody does, or if `/proc` does not show
/// it. The lock is not touched.
///
/// # Errors
/// The file cannot be looked at.
pub fn lock_holder(file: &Path) -> io::Result<Option<u32>> {
    let facts = fs::metadata(file)?;
    let inode = facts.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    // 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
    let holder = locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let kind = fields.next()?;
        let process = fields.nth(2)?;
        let (_, of) = fields.next()?.rsplit_once(':')?;
        (kind == "FLOCK" && of == inode).then(|| process.parse().ok())?
    });
    // The same number may be that of a file on another disk.
    let has_it_open = |process: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
            return true; // of another user, which cannot be looked at
        };
        let mut open = descriptors.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
        open.any(|open| (open.dev(), open.ino()) == (facts.dev(), facts.ino()))
    };
    Ok(holder.filter(has_it_open))
}

/// The numbers of all processes of the machine.
///
/// # Errors
/// `/proc` is not mounted.
pub fn processes() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The children of a process. Complete if none of them is reaped meanwhile.
///
/// # Errors
/// `/proc` is not mounted.
pub fn children_of(parent: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    // Each thread has those that it started.
    if let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) {
        let lists = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
        let mut has_lists = false;
        for list in lists {
            has_lists = true;
            let pids = list.split_ascii_whitespace();
            children.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
        }
        if has_lists {
            return Ok(children);
        }
    }
    let is_child = |pid: &u32| stat(*pid).is_some_and(|stat| stat.parent == parent);
    Ok(processes()?.filter(is_child).collect())
}

/// Raises the soft limit of open descriptors to the hard limit (the usual soft limit of 1,024 would
/// end at a few hundred children). Returns the limit that now holds; `None`: there is none.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// Orphaned descendants of this process become its children.
///
/// # Errors
/// The kernel is older than 3.4.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// A descriptor of the process that has this number now.
///
/// # Errors
/// There is none, or the system has no room for another descriptor.
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Signals exactly this process.
///
/// # Errors
/// It is gone (`SRCH`), or belongs to another user.
pub fn signal_process(pidfd: &OwnedFd, signal: Signal) -> rustix::io::Result<()> {
    pidfd_send_signal(pidfd, signal)
}

/// Signals the process group with this number, which can be another one than was meant unless its
/// leader still exists. For kernels before 6.9, where [`super::signal_group`] is refused.
///
/// # Errors
/// It is empty (`SRCH`), or belongs to another user.
pub fn signal_group_by_number(leader: u32, signal: Signal) -> rustix::io::Result<()> {
    let group = i32::try_from(leader).ok().and_then(Pid::from_raw);
    kill_process_group(group.ok_or(Errno::SRCH)?, signal)
}

/// Whether the process has ended, reaped or not.
#[must_use]
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut asked, Some(&at_once)), Ok(count) if count > 0)
}

/// How a child of this process ended, which stays a zombie; `None` if it has not ended or is not a
/// child of this process.
#[must_use]
pub fn peek_status(pidfd: &OwnedFd) -> Option<WaitIdStatus> {
    wait(pidfd, WaitIdOptions::NOWAIT)
}

/// The same, and releases the process number.
pub fn reap(pidfd: &OwnedFd) -> Option<WaitIdStatus> {
    wait(pidfd, WaitIdOptions::empty())
}

fn wait(pidfd: &OwnedFd, how: WaitIdOptions) -> Option<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
    waitid(WaitId::PidFd(pidfd.as_fd()), options).ok().flatten()
}
