//! A keeper, and the way to tell its engine what to do.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitStatus, Stdio};

use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::{TIMEOUT, wait_for};
use tempfile::TempDir;

use crate::engine::TEST_VARIABLE;
use crate::keeper_program;

/// A keeper that runs.
pub(crate) struct Keeper {
    pub(crate) folder: TempDir,
    control: UnixListener,
    process: Child,
}

impl Keeper {
    pub(crate) fn start() -> Self {
        Self::start_with(|command| command)
    }

    /// Starts one with something else about its command.
    pub(crate) fn start_with(change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(folder.path().join("control")).unwrap();
        control.set_nonblocking(true).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(keeper_program());
        command
            .env("ALLEXMASTER_ROLE", "keeper")
            .env("ALLEXMASTER_ENGINE", std::env::current_exe().unwrap())
            .env(TEST_VARIABLE, folder.path().join("control"));
        let process = change(&mut command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            folder,
            control,
            process,
        }
    }

    /// Waits for the next engine.
    pub(crate) fn engine(&self) -> Engine {
        Engine::accept(&self.control)
    }

    /// The next engine, which says that it is ready.
    pub(crate) fn ready_engine(&self) -> Engine {
        let mut engine = self.engine();
        assert_eq!(engine.tell("ready"), "done");
        engine
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Waits for the keeper's own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the end of the keeper", || self.process.try_wait().unwrap())
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what keeper and engines wrote:\n{}", self.log());
        }
        // Its engine ends with the connection to the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An engine that waits for orders.
pub(crate) struct Engine {
    pub(crate) pid: u32,
    pub(crate) keeper: u32,
    lines: BufReader<UnixStream>,
}

impl Engine {
    /// Waits for an engine to connect to the test.
    pub(crate) fn accept(control: &UnixListener) -> Self {
        let stream = wait_for("an engine", || match control.accept() {
            Ok((stream, _)) => Some(stream),
            Err(_) => None,
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut engine = Self {
            pid: 0,
            keeper: 0,
            lines: BufReader::new(stream),
        };
        let hello = engine.line();
        let (pid, keeper) = hello.split_once(' ').unwrap();
        engine.pid = pid.parse().unwrap();
        engine.keeper = keeper.parse().unwrap();
        engine
    }

    /// Has it do something; answers with what it says.
    pub(crate) fn tell(&mut self, words: &str) -> String {
        self.order(words);
        self.line()
    }

    /// Has it do something that it may not live to tell of.
    pub(crate) fn order(&mut self, words: &str) {
        writeln!(self.lines.get_mut(), "{words}").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Whether it has answered what was ordered.
    pub(crate) fn has_answered(&mut self) -> bool {
        self.lines.get_ref().set_nonblocking(true).unwrap();
        let answered = self.lines.fill_buf().is_ok();
        self.lines.get_ref().set_nonblocking(false).unwrap();
        answered
    }

    pub(crate) fn kill(self) {
        signal(self.pid, Signal::KILL);
    }
}
