//! What reaches the keeper: signals, messages of the engine, the end of children and of the engine.

use std::io::IoSliceMut;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::cmsg_space;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::message::{MAX_MESSAGE, Message};
use super::name::DescriptorName;
use super::{
    FIRST_PAUSE, Keeper, LONGEST_PAUSE, MAX_DESCRIPTORS_PER_MESSAGE, MAX_MESSAGES_PER_TURN,
    MAX_PENDING_STOPS, ORPHAN_PAUSE, QUICK_END, SAME_STOP, SIGNAL_EXIT_CODE,
};
use crate::os;

/// The size of one record of a signal descriptor.
const SIGNAL_SIZE: usize = size_of::<libc::signalfd_siginfo>();

impl Keeper {
    /// Handles the signals that came; returns the exit code if one of them ends the keeper.
    pub(super) fn read_signals(&mut self) -> Option<u8> {
        let mut record = [0; SIGNAL_SIZE];
        while matches!(
            rustix::io::read(&self.signals, &mut record),
            Ok(SIGNAL_SIZE)
        ) {
            let field = |at: usize| {
                let bytes = record.get(at..).and_then(<[u8]>::first_chunk);
                bytes.map_or(0, |bytes| i32::from_ne_bytes(*bytes))
            };
            let number = field(offset_of!(libc::signalfd_siginfo, ssi_signo));
            if number == Signal::CHILD.as_raw() {
                let child = field(offset_of!(libc::signalfd_siginfo, ssi_pid));
                self.child_ended(child, field(offset_of!(libc::signalfd_siginfo, ssi_code)));
            } else if number == Signal::HUP.as_raw() {
                self.pending_reload = true;
            } else if let Some(signal) = Signal::from_named_raw(number)
                && matches!(signal, Signal::TERM | Signal::INT)
                && let Some(code) = self.stop(signal)
            {
                return Some(code);
            }
        }
        None
    }

    /// Tells the engine that a child has ended. The engine's own end is found by [`Self::check_engine`].
    fn child_ended(&mut self, child: i32, code: i32) {
        let ended = matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
        if let Some(engine) = &mut self.engine
            && ended
            && engine.pid.as_raw_nonzero().get() != child
        {
            // Only a hint: if the queue is full, the engine still sees the end by itself.
            engine.send(format!("EXITED={child}"), None);
        }
        if ended {
            // The kernel merges signals, so every child is looked at, and not for each signal.
            let soon = || Instant::now() + ORPHAN_PAUSE;
            self.reap_orphans_at.get_or_insert_with(soon);
        }
    }

    /// Reaps children that the engine did not start: orphans of services, which this process inherited
    /// as their subreaper. Nobody asks for their exit status.
    pub(super) fn reap_orphans(&mut self) {
        if self.reap_orphans_at.is_none_or(|due| Instant::now() < due) {
            return;
        }
        self.reap_orphans_at = None;
        let engine = self.engine.as_ref().map(|engine| engine.pid);
        // If /proc cannot be read, they stay zombies: no reason to end.
        let children = os::children_of(std::process::id()).unwrap_or_default();
        let orphans = children.into_iter().filter(|child| {
            let ended = os::stat(*child).is_some_and(|stat| stat.zombie);
            ended && os::is_marked(*child) == Some(false)
        });
        let orphans = orphans.filter_map(|child| Pid::from_raw(i32::try_from(child).ok()?));
        for orphan in orphans.filter(|child| Some(*child) != engine) {
            let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
        }
    }

    /// Passes the wish on that the configuration is read again, to an engine that is ready and has room
    /// for the message; until then it is kept.
    pub(super) fn pass_reload_on(&mut self) {
        if let Some(engine) = &mut self.engine
            && engine.ready.is_some()
            && self.pending_reload
        {
            self.pending_reload = !engine.send(RELOAD_TEXT.to_owned(), None);
        }
    }

    /// Passes a stop signal on. While no engine is ready to handle it, one that comes [`SAME_STOP`] after
    /// the first ends engine and keeper at once.
    fn stop(&mut self, signal: Signal) -> Option<u8> {
        let ready = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.ready.is_some());
        if self.leaving.is_some() {
            return None;
        }
        let first = *self.first_stop.get_or_insert_with(Instant::now);
        if !ready && first.elapsed() >= SAME_STOP {
            if let Some(engine) = &self.engine {
                // It is our child and not reaped: no other process has its number.
                let _ = kill_process(engine.pid, Signal::KILL);
            }
            self.log
                .error(format_args!("stopped before the engine was ready"));
            return Some(exit_code_of(SIGNAL_EXIT_CODE + signal.as_raw()));
        }
        self.service_manager.stopping();
        if self.pending_stops.len() < MAX_PENDING_STOPS {
            self.pending_stops.push(signal);
        }
        if self.trouble.is_some() {
            self.leave();
        } else if let Some(engine) = &mut self.engine {
            engine.send(stop_text(signal), None);
        }
        None
    }

    /// Reads the messages of the engine, up to [`MAX_MESSAGES_PER_TURN`].
    pub(super) fn read_messages(&mut self) {
        let mut text = [0; MAX_MESSAGE];
        for _ in 0..MAX_MESSAGES_PER_TURN {
            let Some(engine) = &mut self.engine else {
                return;
            };
            let Some(link) = engine.link() else {
                return;
            };
            let mut space =
                [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_MESSAGE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = match recvmsg(link, &mut parts, &mut control, flags) {
                Ok(received) if received.bytes > 0 => received,
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The end of the link; the end of the engine follows.
                Ok(_) | Err(_) => return engine.close_link(),
            };
            let mut descriptors = Vec::new();
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    descriptors.extend(rights);
                }
            }
            if received
                .flags
                .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
            {
                self.log.warn(format_args!(
                    "a message of the engine was too long or had too many descriptors"
                ));
                continue;
            }
            let message = Message::read(text.get(..received.bytes).unwrap_or_default());
            self.handle_message(message, descriptors);
        }
    }

    fn handle_message(&mut self, message: Message, descriptors: Vec<OwnedFd>) {
        if message.ready {
            self.forget_trouble();
        }
        let Some(engine) = &mut self.engine else {
            return;
        };
        let now = Instant::now();
        self.watchdog = message.watchdog.unwrap_or(self.watchdog);
        self.grace = message.grace.unwrap_or(self.grace);
        if message.ready {
            if engine.ready.is_none() {
                engine.ready = Some(now);
                self.program.confirm();
            }
            self.ever_ready = true;
            self.service_manager.ready();
        }
        if message.reloading {
            self.service_manager.reloading();
        }
        if let Some(status) = message.status {
            self.service_manager.status(&status);
            engine.last_words = Some(status);
        }
        if engine.ready.is_some() && (message.ready || message.alive || message.watchdog.is_some())
        {
            // A time that cannot be represented never comes.
            engine.deadline = now.checked_add(self.watchdog);
        }
        if message.alive {
            self.service_manager.engine_works();
        }
        if message.stopping {
            engine.stopping = true;
            self.service_manager.stopping();
            self.pending_stops.clear();
            self.first_stop = None;
        }
        if let Some(child) = message.reap.filter(|child| *child != engine.pid) {
            // If it is no zombie of ours, there is nothing to do.
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        if let Some(program) = message.engine {
            if program.is_absolute() {
                self.program.change(program);
            } else {
                self.log.warn(format_args!(
                    "the next engine has to be named with its full path"
                ));
            }
        }
        if message.remove
            && let Some(name) = &message.name
        {
            self.store.remove(name);
        }
        if message.store && !descriptors.is_empty() {
            let name = message.name.unwrap_or_else(DescriptorName::unnamed);
            if !message.accept || self.may_accept(&name, &descriptors) {
                self.keep(&name, message.accept, descriptors);
            }
        }
    }

    /// Whether this is one listening socket under a new name; makes it non-blocking.
    fn may_accept(&self, name: &DescriptorName, listeners: &[OwnedFd]) -> bool {
        let known = self.store.listeners().iter().any(|(of, _)| of == name);
        let [listener] = listeners else {
            self.log.warn(format_args!(
                "{} is to be one listening socket",
                name.as_str()
            ));
            return false;
        };
        let listens = socket_acceptconn(listener) == Ok(true)
            && fcntl_getfl(listener)
                .and_then(|flags| fcntl_setfl(listener, flags | OFlags::NONBLOCK))
                .is_ok();
        if known || !listens {
            self.log.warn(format_args!(
                "{} is no listening socket, or there already",
                name.as_str()
            ));
        }
        listens && !known
    }

    /// Handles an engine that has ended, and kills one that hangs; returns the exit code if the keeper
    /// ends with it.
    pub(super) fn check_engine(&mut self) -> Option<u8> {
        let engine = self.engine.as_mut()?;
        if let Ok(Some((_, status))) = waitpid(Some(engine.pid), WaitOptions::NOHANG) {
            // What it has sent before its end.
            self.read_messages();
            return self.engine_ended(status);
        }
        if engine
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            engine.deadline = None;
            let (pid, silent) = (engine.pid, self.watchdog);
            self.log.error(format_args!(
                "the engine (process {pid}) has not answered for {silent:?}: it is killed"
            ));
            // Not SIGABRT: the journal says more than a core dump, which would delay the next engine.
            let _ = kill_process(pid, Signal::KILL);
        }
        None
    }

    fn engine_ended(&mut self, status: WaitStatus) -> Option<u8> {
        let engine = self.engine.take()?;
        if self.leaving.is_some() {
            return None;
        }
        let exited = status.exit_status();
        if let Some(code) = exited
            && (engine.stopping || !self.ever_ready)
        {
            return Some(exit_code_of(code));
        }
        let how = match (exited, status.terminating_signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let pid = engine.pid;
        self.service_manager.status(&format!(
            "the engine (process {pid}) {how}; it is started again"
        ));
        self.log.warn(format_args!(
            "the engine (process {pid}) {how}; it is started again"
        ));
        let killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
        match engine.ready {
            None => {
                let words = engine.last_words.map(|words| format!(": {words}"));
                let reason = format!("it {how}{}", words.unwrap_or_default());
                self.never_ready(exited.map(exit_code_of), reason);
            }
            // It may have ended so that another program is started.
            Some(_) if killed || self.program.changes() => self.failures = 0,
            Some(since) if since.elapsed() < QUICK_END => self.failed(),
            Some(_) => self.failures = 0,
        }
        None
    }

    /// An engine could not be started, or died before it was ready.
    pub(super) fn never_ready(&mut self, code: Option<u8>, reason: String) {
        if self.program.go_back() {
            self.log.error(format_args!(
                "the new program was never ready: back to the one before"
            ));
        } else {
            self.failed();
            self.tell_trouble(code, reason);
        }
    }

    /// An engine died too soon: the next one is started after a pause, except the first time.
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 {
            let doubled = 2_u32.saturating_pow(self.failures - 2);
            let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
            self.start_at = Instant::now() + pause;
        }
    }
}

/// The message for the signal that asks for the configuration to be read again.
const RELOAD_TEXT: &str = "SIGNAL=HUP";

/// The message for a stop signal.
pub(super) fn stop_text(signal: Signal) -> String {
    let name = match signal {
        Signal::INT => "INT",
        _ => "TERM",
    };
    format!("SIGNAL={name}")
}

/// The exit code of a program has eight bits.
fn exit_code_of(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(crate::FAILURE)
}
