//! The calls that no safe library has yet. The only unsafe code of the workspace.
#![expect(
    unsafe_code,
    reason = "PIDFD_GET_INFO, the flags of pidfd_send_signal, the registration of a shared descriptor, mallopt, SO_PEEK_OFF, \
              signal masks, signalfd, inherited descriptors, the environment and clone have no safe form"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

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

/// The wait status of a process that its parent has reaped; `None` until then.
///
/// # Errors
/// The kernel is older than 6.15, or did not keep it.
pub fn exit_status(pidfd: &OwnedFd) -> Result<Option<i32>> {
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
/// descriptor, not by a number, so it cannot be another group.
///
/// # Errors
/// `SRCH`: it is empty. `INVAL`: the kernel is older than 6.9. `PERM`: not allowed.
pub fn signal_group(pidfd: &OwnedFd, signal: Signal) -> Result<()> {
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
    Err(last_error())
}

/// Registers a descriptor with the async runtime (a pidfd is readable once its process has ended).
///
/// # Errors
/// The system has no room for another registration.
pub fn watch(
    descriptor: Arc<OwnedFd>,
    interest: Interest,
) -> std::io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `Arc<OwnedFd>` answers with the same open descriptor as long as it lives, and it
    // lives as long as the `AsyncFd` that owns it.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}

/// The same for a descriptor with one owner.
///
/// # Errors
/// As [`watch`].
pub fn watch_socket(socket: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor as long as it lives, and the `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}

/// Makes the allocator keep all memory in one arena. By default glibc gives each thread its own,
/// eight for each core, and each keeps what its thread once needed: with a thousand children
/// that is a third of a master's memory. Its threads allocate little, so they hardly wait for
/// one another. Call it before the first thread is started.
pub fn use_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes two numbers, and no other thread exists that could allocate.
    unsafe {
        // Where it is refused, everything works as before.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// The signals of a program's own faults: blocked ones would end it without a trace of where it was.
const OWN_FAULTS: [c_int; 7] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// What a terminal stops its programs with, and has them go on.
const TERMINAL_STOPS: [c_int; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT];

/// Blocks all signals that others send, but those by which a terminal stops programs, and makes them
/// readable from a descriptor: by default most of them would end the process. Also resets `SIGCHLD`: where the
/// parent ignored it, children would be reaped by the kernel. Call it before the first thread is started.
///
/// # Errors
/// The system has no room for the descriptor.
pub fn signals_in_descriptor() -> Result<OwnedFd> {
    let mut set = no_signals();
    // SAFETY: the set is ours; a number that is none is refused, and only then nothing is removed.
    unsafe {
        libc::sigfillset(&raw mut set);
        for number in OWN_FAULTS.iter().chain(&TERMINAL_STOPS) {
            libc::sigdelset(&raw mut set, *number);
        }
    }
    // SAFETY: the set lives until the calls return; no other thread runs that could be surprised.
    let descriptor = unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if descriptor < 0 {
        return Err(last_error());
    }
    // SAFETY: the call has just opened it; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Marks all descriptors from 3 on close-on-exec: the parent of this process may have left some open by
/// mistake, which children would inherit.
pub fn keep_descriptors_from_children() {
    // SAFETY: the call takes three numbers; it closes nothing. A kernel before 5.11 refuses it: then
    // children inherit those descriptors, as they always did.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_HANDED_OVER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// In the hard limit of file locks of a process that this program started; the rest is its number.
pub(super) const MARKED: u64 = 1 << 63;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST_HANDED_OVER: RawFd = 3;

/// Takes the descriptors that this process inherited by the protocol of sd_listen_fds(3); `None` if
/// there are none. Call it before the first thread is started and the first file is opened; a second
/// call returns `None`.
///
/// # Errors
/// One of them is not open: then none is taken.
pub fn handed_over() -> Result<Option<Vec<OwnedFd>>> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let (receiver, count) = (number("LISTEN_PID"), number("LISTEN_FDS"));
    forget_variables(&["LISTEN_PID", "LISTEN_FDS"]);
    let (Some(count), true) = (count, receiver == Some(std::process::id())) else {
        return Ok(None);
    };
    let numbers = (FIRST_HANDED_OVER..).take(usize::try_from(count).unwrap_or(usize::MAX));
    for number in numbers.clone() {
        // SAFETY: the call takes three numbers and touches no memory.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(last_error());
        }
    }
    // SAFETY: each is open, and was opened for this process, which is named in the variable that
    // was just removed; no other part of the program has opened or taken anything yet.
    let taken = numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    Ok(Some(taken.collect()))
}

/// Removes variables from the environment, so that no child inherits them. Call it before the first
/// thread is started.
pub fn forget_variables(names: &[&str]) {
    for name in names {
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

/// What a new process does before it runs its program.
pub struct SpawnSpec<'lists> {
    /// Candidates for the program file, tried in this order.
    pub programs: &'lists [CString],
    pub arguments: &'lists [CString],
    /// `NAME=value`.
    pub environment: &'lists [CString],
    /// A further variable, as `NAME=`; its value becomes the new process's number.
    pub number_variable: Option<&'lists str>,
    /// Its working directory; `None`: that of this process.
    pub folder: Option<&'lists CStr>,
    /// A number below 2^63 that [`super::mark`] reads from the process until it is reaped.
    pub mark: Option<u64>,
    /// Descriptors: from and to which number, in this order; equal: it only loses close-on-exec.
    pub moves: &'lists [(RawFd, RawFd)],
    /// A temporary number for rings of moves; closed in the program.
    pub spare: Option<RawFd>,
    /// Whether it becomes a child of this process's parent; it is then always marked as started, not
    /// inherited: see [`super::is_marked`].
    pub sibling: bool,
}

/// A new process, and why it does not run its program.
pub struct Spawned {
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub failure: Option<Errno>,
}

/// The stack of a new process until it runs its program, in bytes; its calls are few and shallow.
const CHILD_STACK: usize = 64 * 1024;
/// Maximum number of digits of a process number, and a zero byte.
const NUMBER_ROOM: usize = 11;

/// Input and result of the new process, which shares this memory until it runs its program, and must
/// not allocate.
struct ExecArguments<'spec, 'lists> {
    spec: &'spec SpawnSpec<'lists>,
    /// The latter two end with a null pointer.
    programs: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// The variable of [`SpawnSpec::number_variable`], with room for the number.
    number: Vec<u8>,
    failure: c_int,
}

/// Starts a process in its own process group, with no signal blocked; returns when it runs its program or
/// has failed to. Until then the two share their memory, as with `posix_spawn`.
///
/// # Errors
/// The system has no room for a new process.
pub fn vfork_exec(spec: &SpawnSpec<'_>) -> Result<Spawned> {
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let mut shared = ExecArguments {
        spec,
        programs: pointers(spec.programs),
        arguments: pointers(spec.arguments),
        environment: pointers(spec.environment),
        number: spec.number_variable.unwrap_or_default().as_bytes().to_vec(),
        failure: 0,
    };
    shared.number.extend([0; NUMBER_ROOM]);
    if spec.number_variable.is_some() {
        shared.environment.push(shared.number.as_ptr().cast());
    }
    shared.arguments.push(std::ptr::null());
    shared.environment.push(std::ptr::null());
    let mut stack: Vec<u8> = Vec::with_capacity(CHILD_STACK);
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let flags = flags | if spec.sibling { libc::CLONE_PARENT } else { 0 };
    let mut before = no_signals();
    // SAFETY: the stack is ours, and its end, from which it grows downwards, is aligned; the shared
    // structure outlives the child's use of it, since this thread sleeps until the child runs its
    // program or is gone. All signals are blocked from before the start until the child has no
    // handler left, so no handler of ours runs in the child on shared memory.
    unsafe {
        let mut all = no_signals();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let end = stack.as_mut_ptr().add(CHILD_STACK);
        let end = end.sub(end.addr() % STACK_ALIGNMENT);
        let argument = (&raw mut shared).cast();
        let pid = libc::clone(exec_child, end.cast(), flags, argument, &raw mut pidfd);
        // Before anything else can change it.
        let error = last_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        // The compiler cannot know that the child wrote it.
        let failure = std::ptr::read_volatile(&raw const shared.failure);
        Ok(Spawned {
            pid: pid.unsigned_abs(),
            pidfd: OwnedFd::from_raw_fd(pidfd),
            failure: (failure != 0).then(|| Errno::from_raw_os_error(failure)),
        })
    }
}

/// The alignment of a stack that every processor accepts.
const STACK_ALIGNMENT: usize = 16;
/// The exit code of a process that could not run its program, as shells have it; not used.
const NO_PROGRAM: c_int = 127;

/// The new process. Only calls that signal-safety(7) allows.
extern "C" fn exec_child(shared: *mut c_void) -> c_int {
    let shared: *mut ExecArguments<'_, '_> = shared.cast();
    // SAFETY: `vfork_exec` sleeps and keeps all of it alive; nothing else reads it.
    unsafe {
        let failure = prepare_and_exec(&mut *shared);
        std::ptr::write_volatile(&raw mut (*shared).failure, failure);
    }
    NO_PROGRAM
}

/// Returns only if it failed, with the error number.
///
/// # Safety
/// In a new process, while `vfork_exec` sleeps.
unsafe fn prepare_and_exec(shared: &mut ExecArguments<'_, '_>) -> c_int {
    let spec = shared.spec;
    // SAFETY: numbers, and texts and lists that `vfork_exec` made and keeps.
    unsafe {
        let pid = libc::getpid().unsigned_abs();
        if spec.mark.is_some() || spec.sibling {
            set_mark(spec.mark, pid);
        }
        if libc::setpgid(0, 0) < 0 {
            return errno();
        }
        if let Some(folder) = spec.folder
            && libc::chdir(folder.as_ptr()) < 0
        {
            return errno();
        }
        for (from, to) in spec.moves {
            let moved = if from == to {
                libc::fcntl(*from, libc::F_SETFD, 0)
            } else {
                let passing = spec.spare == Some(*to);
                libc::dup3(*from, *to, if passing { libc::O_CLOEXEC } else { 0 })
            };
            if moved < 0 {
                return errno();
            }
        }
        if let Some(room) = shared.number.last_chunk_mut() {
            write_number(pid, room);
        }
        forget_handlers();
        let (arguments, environment) = (shared.arguments.as_ptr(), shared.environment.as_ptr());
        let mut failure = libc::ENOENT;
        for program in &shared.programs {
            libc::execve(*program, arguments, environment);
            match errno() {
                // The next place of PATH may have it, as execvp(3) has it.
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => failure = libc::EACCES,
                other => return other,
            }
        }
        failure
    }
}

/// Marks this process as one that the master started. The soft limit of file locks gets the mark, the
/// hard limit [`MARKED`] and the process's number, by which it is told from its descendants, which
/// inherit both. Linux has ignored this limit since 2.4.25 (getrlimit(2)), and it is the only number that
/// a process keeps through exec until it is reaped.
///
/// # Safety
/// Only in a new process.
unsafe fn set_mark(mark: Option<u64>, pid: u32) {
    let own = MARKED | u64::from(pid);
    let mark = mark.filter(|mark| *mark < MARKED).unwrap_or(own);
    let mut limit = libc::rlimit64 {
        rlim_cur: mark,
        rlim_max: own,
    };
    // SAFETY: the structure is ours.
    unsafe {
        // Refused only in a process below another marked one: then the soft limit alone says it.
        if libc::setrlimit64(libc::RLIMIT_LOCKS, &raw const limit) < 0 {
            libc::getrlimit64(libc::RLIMIT_LOCKS, &raw mut limit);
            limit.rlim_cur = mark.min(limit.rlim_max);
            libc::setrlimit64(libc::RLIMIT_LOCKS, &raw const limit);
        }
    }
}

/// The signals that a new process resets. This program handles no others, so no handler of it can run in a
/// child before exec: the Rust runtime handles `SEGV` and `BUS` and ignores `PIPE`, the daemon handles the
/// rest. Asking the kernel about all 64 would be most of the system calls of a start.
pub const RESET_SIGNALS: [c_int; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGBUS,
    libc::SIGSEGV,
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGCHLD,
];

/// Resets those of [`RESET_SIGNALS`] that are not ignored, and `SIGPIPE`, and blocks none.
///
/// # Safety
/// Only in a process that no longer needs its handlers.
unsafe fn forget_handlers() {
    // SAFETY: the structures are ours, and all zero is a valid value of them.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        for number in RESET_SIGNALS {
            let known = libc::sigaction(number, std::ptr::null(), &raw mut action) == 0;
            let ignored = action.sa_sigaction == libc::SIG_IGN && number != libc::SIGPIPE;
            if known && action.sa_sigaction != libc::SIG_DFL && !ignored {
                libc::signal(number, libc::SIG_DFL);
            }
        }
        let none = no_signals();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Writes a number and a zero byte, without allocating.
fn write_number(number: u32, room: &mut [u8; NUMBER_ROOM]) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    let mut rest = number;
    let mut place = digits as usize;
    room[place] = 0;
    while place > 0 {
        place -= 1;
        // A single digit fits.
        room[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: all zero is a valid value, and the call only writes to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

fn errno() -> c_int {
    last_error().raw_os_error()
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// How many bytes of a socket were peeked and not read; negative if that is not counted.
///
/// # Errors
/// The kernel does not count it for this kind of socket (TCP: before Linux 6.9).
pub fn peek_offset(socket: &OwnedFd) -> std::io::Result<i32> {
    let mut offset: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: both pointers are to values of the sizes that the call is told, and live until it
    // returns.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            std::ptr::from_mut(&mut offset).cast(),
            &raw mut length,
        )
    };
    if answer == 0 {
        Ok(offset)
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Sets the byte from which a socket is peeked next; the kernel counts on from there.
///
/// # Errors
/// As [`peek_offset`].
pub fn set_peek_offset(socket: &OwnedFd, offset: i32) -> std::io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the pointer is to a value of the size that the call is told, which lives until it
    // returns.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            std::ptr::from_ref(&offset).cast(),
            length,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
