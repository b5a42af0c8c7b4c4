//! What comes in: signals, messages of the engine, and its end.

use std::io::IoSliceMut;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::cmsg_space;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::message::{MESSAGE_MOST, Message};
use super::name::Name;
use super::{
    DESCRIPTORS_AT_ONCE, FIRST_PAUSE, Keeper, LONGEST_PAUSE, MESSAGES_A_TURN, QUICK_END,
    SIGNAL_EXIT_CODE, STOPS_MOST,
};

/// The size of what a signal descriptor answers with.
const SIGNAL_SIZE: usize = size_of::<libc::signalfd_siginfo>();

impl Keeper {
    /// Looks at the signals that came; answers with the exit code where one ends the keeper.
    pub(super) fn read_signals(&mut self) -> Option<u8> {
        let mut told = [0; SIGNAL_SIZE];
        while matches!(rustix::io::read(&self.signals, &mut told), Ok(SIGNAL_SIZE)) {
            let field = |at: usize| {
                let bytes = told.get(at..).and_then(<[u8]>::first_chunk);
                bytes.map_or(0, |bytes| i32::from_ne_bytes(*bytes))
            };
            let number = field(offset_of!(libc::signalfd_siginfo, ssi_signo));
            if number == Signal::CHILD.as_raw() {
                let child = field(offset_of!(libc::signalfd_siginfo, ssi_pid));
                self.child_ended(child, field(offset_of!(libc::signalfd_siginfo, ssi_code)));
            } else if let Some(signal) = Signal::from_named_raw(number)
                && let Some(code) = self.stop(signal)
            {
                return Some(code);
            }
        }
        None
    }

    /// Hints the engine that a child has ended; its own end is looked for elsewhere.
    fn child_ended(&mut self, child: i32, code: i32) {
        let ended = matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
        if let Some(engine) = &mut self.engine
            && ended
            && engine.pid.as_raw_nonzero().get() != child
        {
            // Only a hint: where too much waits already, the engine finds out by itself.
            engine.tell(format!("EXITED={child}"), None);
        }
    }

    /// Passes a stop signal on. Where no engine is ready to understand it, the second one ends
    /// engine and keeper at once.
    fn stop(&mut self, signal: Signal) -> Option<u8> {
        let ready = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.ready.is_some());
        if !ready && !self.stops.is_empty() {
            if let Some(engine) = &self.engine {
                // It is our child, and not reaped: the number is its own.
                let _ = kill_process(engine.pid, Signal::KILL);
            }
            self.log
                .error(format_args!("stopped before the engine was ready"));
            return Some(exit_code_of(SIGNAL_EXIT_CODE + signal.as_raw()));
        }
        if self.stops.len() < STOPS_MOST {
            self.stops.push(signal);
        }
        if let Some(engine) = &mut self.engine {
            engine.tell(stop_text(signal), None);
        }
        None
    }

    /// Reads what the engine tells.
    pub(super) fn read_messages(&mut self) {
        let mut text = [0; MESSAGE_MOST];
        for _ in 0..MESSAGES_A_TURN {
            let mut space = [MaybeUninit::uninit();
                cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE), ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let Ok(received) = recvmsg(&self.notify, &mut parts, &mut control, flags) else {
                return;
            };
            let mut sender = None;
            let mut descriptors = Vec::new();
            for part in control.drain() {
                match part {
                    RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
                    RecvAncillaryMessage::ScmCredentials(credentials) => {
                        sender = Some(credentials.pid);
                    }
                    // The kernel may learn to tell more.
                    _ => {}
                }
            }
            if sender.is_none() || sender != self.engine.as_ref().map(|engine| engine.pid) {
                continue;
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
            self.hear(message, descriptors);
        }
    }

    fn hear(&mut self, message: Message, descriptors: Vec<OwnedFd>) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let now = Instant::now();
        self.watchdog = message.watchdog.unwrap_or(self.watchdog);
        if message.ready && engine.ready.is_none() {
            engine.ready = Some(now);
            self.ever_ready = true;
            self.plan.confirm();
        }
        if engine.ready.is_some() && (message.ready || message.alive || message.watchdog.is_some())
        {
            // Where so long a silence cannot be counted, none is too long.
            engine.deadline = now.checked_add(self.watchdog);
        }
        if message.stopping {
            engine.stopping = true;
            self.stops.clear();
        }
        if let Some(child) = message.reap.filter(|child| *child != engine.pid) {
            // No zombie of ours: then there is nothing to do.
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        if let Some(program) = message.engine {
            if program.is_absolute() {
                self.plan.change(program);
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
            let name = message.name.unwrap_or_else(Name::unnamed);
            if !message.accept || self.may_accept(&name, &descriptors) {
                self.keep(&name, message.accept, descriptors);
            }
        }
    }

    /// Whether the keeper can accept on what it is given; makes it not wait there.
    fn may_accept(&self, name: &Name, listeners: &[OwnedFd]) -> bool {
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

    /// Looks whether the engine has ended, or hangs; answers with the exit code where the keeper ends
    /// with it.
    pub(super) fn look_after_engine(&mut self) -> Option<u8> {
        let engine = self.engine.as_mut()?;
        if let Ok(Some((_, status))) = waitpid(Some(engine.pid), WaitOptions::NOHANG) {
            // What it still said, and nobody has read.
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
            // At once, and not with SIGABRT: the journal tells more than a core, and a core would
            // hold up the next engine.
            let _ = kill_process(pid, Signal::KILL);
        }
        None
    }

    fn engine_ended(&mut self, status: WaitStatus) -> Option<u8> {
        let engine = self.engine.take()?;
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
        self.log.warn(format_args!(
            "the engine (process {pid}) {how}; it is started again"
        ));
        let killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
        match engine.ready {
            None => self.never_ready(),
            // It may have ended to make way for another program.
            Some(_) if killed || self.plan.changes() => self.failures = 0,
            Some(since) if since.elapsed() < QUICK_END => self.failed(),
            Some(_) => self.failures = 0,
        }
        None
    }

    /// An engine could not be started, or has died before it was ready.
    pub(super) fn never_ready(&mut self) {
        if self.plan.go_back() {
            self.log.error(format_args!(
                "the new program was never ready: back to the one before"
            ));
        } else {
            self.failed();
        }
    }

    /// An engine has died too soon: the next one is started after a pause.
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 {
            let doubled = 2_u32.saturating_pow(self.failures - 2);
            let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
            self.start = Instant::now() + pause;
        }
    }
}

/// How a stop signal is told.
pub(super) fn stop_text(signal: Signal) -> String {
    let name = match signal {
        Signal::INT => "INT",
        Signal::HUP => "HUP",
        _ => "TERM",
    };
    format!("SIGNAL={name}")
}

/// The exit code of a program has eight bits.
fn exit_code_of(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(crate::FAILURE)
}
