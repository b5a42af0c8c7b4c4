//! The keeper without an engine: it tells why there is none, and obeys a stop by itself.
//!
//! Whoever asks the master something meanwhile reads the reason from a file in memory that the keeper
//! holds open ([`engine_trouble`]): it needs no disk, which may be the reason, and no answer.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::Keeper;
use crate::os;

/// The name of the file in memory.
const BOARD_NAME: &str = "allexmaster-keeper";
/// The grace of children where no engine has told another one.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// How often children that were killed are looked for until all are gone.
const KILL_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no engine: the last ones ended before they were ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineTrouble {
    /// How many have ended so.
    pub tries: u32,
    /// When the first of them did, in milliseconds since the Unix epoch.
    pub since: u64,
    /// The exit code of the last one, if it had one.
    pub code: Option<u8>,
    /// How the last one ended, and what it said of it.
    pub reason: String,
}

/// What the keeper of this number tells; `None` while an engine is ready, or the first one starts.
#[must_use]
pub fn engine_trouble(keeper: u32) -> Option<EngineTrouble> {
    let descriptors = fs::read_dir(format!("/proc/{keeper}/fd")).ok()?;
    let mut paths = descriptors.flatten().map(|entry| entry.path());
    let board = paths.find(|path| {
        let target = fs::read_link(path).unwrap_or_default();
        target
            .to_string_lossy()
            .starts_with(&format!("/memfd:{BOARD_NAME}"))
    })?;
    EngineTrouble::read(&fs::read_to_string(board).ok()?)
}

impl EngineTrouble {
    fn read(text: &str) -> Option<Self> {
        let (numbers, reason) = text.split_once('\n')?;
        let mut numbers = numbers.split(' ');
        Some(Self {
            tries: numbers.next()?.parse().ok()?,
            since: numbers.next()?.parse().ok()?,
            code: numbers.next()?.parse().ok(),
            reason: reason.to_owned(),
        })
    }

    fn text(&self) -> String {
        let code = self.code.map_or("-".to_owned(), |code| code.to_string());
        format!("{} {} {code}\n{}", self.tries, self.since, self.reason)
    }
}

/// Where others read why there is no engine.
#[derive(Debug)]
pub(super) struct Board(Option<File>);

impl Board {
    /// Without room in memory nothing is told.
    pub(super) fn new() -> Self {
        Self(os::memory_file(BOARD_NAME).ok().map(File::from))
    }

    fn show(&mut self, text: &str) {
        if let Some(file) = &mut self.0 {
            // If this fails, whoever asks waits for the answer of an engine.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(text.as_bytes()));
        }
    }
}

impl Keeper {
    /// An engine has ended before it was ready, and there is no other program to go back to.
    pub(super) fn tell_trouble(&mut self, code: Option<u8>, reason: String) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let before = self.trouble.take();
        let trouble = EngineTrouble {
            tries: before
                .as_ref()
                .map_or(0, |before| before.tries)
                .saturating_add(1),
            since: before.map_or(now, |before| before.since),
            code,
            reason,
        };
        self.board.show(&trouble.text());
        self.trouble = Some(trouble);
        if !self.pending_stops.is_empty() {
            self.leave();
        }
    }

    /// An engine is ready.
    pub(super) fn forget_trouble(&mut self) {
        if self.trouble.take().is_some() {
            self.board.show("");
        }
    }

    /// Obeys a stop without an engine: ends the children, each with its grace. The next start finds
    /// their ends.
    pub(super) fn leave(&mut self) {
        let grace = self.grace;
        self.log.warn(format_args!(
            "no engine can start, so the keeper stops by itself: all services get SIGTERM, and what is \
             left after {grace:?} SIGKILL; the next start records their ends"
        ));
        if let Some(engine) = &self.engine {
            // It is our child and not reaped: no other process has its number.
            let _ = kill_process(engine.pid, Signal::KILL);
        }
        let deadline = Instant::now() + grace;
        self.leaving = Some(deadline);
        self.start_at = deadline;
    }

    /// True when a stop without an engine has come to its end.
    pub(super) fn has_left(&mut self) -> bool {
        let Some(deadline) = self.leaving else {
            return false;
        };
        let children = self.living_children();
        // What a service had started becomes a child only when the service has ended.
        for child in &children {
            if self.told_to_end.insert(child.as_raw_nonzero().get()) {
                end(*child, Signal::TERM);
            }
        }
        let now = Instant::now();
        if now >= deadline {
            for child in &children {
                end(*child, Signal::KILL);
            }
            self.start_at = now + KILL_PAUSE;
        }
        children.is_empty() && self.engine.is_none()
    }

    /// All processes that this one is the parent of, but the engine.
    fn living_children(&self) -> Vec<Pid> {
        let engine = self.engine.as_ref().map(|engine| engine.pid);
        // If /proc cannot be read, there is nobody that could be ended.
        let children = os::children_of(std::process::id()).unwrap_or_default();
        let living = children
            .into_iter()
            .filter(|child| os::stat(*child).is_some_and(|stat| !stat.zombie));
        let pids = living.filter_map(|child| Pid::from_raw(i32::try_from(child).ok()?));
        pids.filter(|child| Some(*child) != engine).collect()
    }
}

/// Signals a child with its process group, or an orphan alone. Neither is reaped, so no other process
/// has its number.
fn end(child: Pid, signal: Signal) {
    let number = child.as_raw_nonzero().get().unsigned_abs();
    // One that has just ended needs no signal.
    let _ = match os::is_marked(number) {
        Some(true) => kill_process_group(child, signal),
        Some(false) | None => kill_process(child, signal),
    };
}
