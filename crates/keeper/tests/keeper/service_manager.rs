//! What a service manager is told, in place of systemd by a socket of the test.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::TIMEOUT;

use crate::bench::Keeper;

struct ServiceManager {
    socket: UnixDatagram,
    address: String,
    _folder: tempfile::TempDir,
}

impl ServiceManager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::of(socket, path.to_str().unwrap().to_owned(), folder)
    }

    fn with_abstract_name() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_str().unwrap().to_owned();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::of(socket, format!("@{name}"), folder)
    }

    fn of(socket: UnixDatagram, address: String, folder: tempfile::TempDir) -> Self {
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            socket,
            address,
            _folder: folder,
        }
    }

    fn start<'command>(&self, command: &'command mut Command) -> &'command mut Command {
        command.env("NOTIFY_SOCKET", &self.address)
    }

    fn next(&self) -> String {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    /// Throws away what has come already.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Reads until this comes.
    fn wait(&self, expected: &str) {
        while self.next() != expected {}
    }
}

pub(crate) fn it_is_told_of_start_status_reload_and_end() {
    for manager in [ServiceManager::new(), ServiceManager::with_abstract_name()] {
        let mut keeper = Keeper::start_with(|command| manager.start(command));
        let mut engine = keeper.ready_engine();
        assert_eq!(manager.next(), "READY=1");
        assert_eq!(engine.tell("variables"), "[]");
        engine.tell("status 3-running");
        assert_eq!(manager.next(), "STATUS=3-running");
        engine.tell("reloading");
        let told = manager.next();
        assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        engine.tell("ready");
        assert_eq!(manager.next(), "READY=1");
        engine.kill();
        let told = manager.next();
        assert!(told.starts_with("STATUS=the engine (process "), "{told}");
        let mut engine = keeper.ready_engine();
        assert_eq!(manager.next(), "READY=1");
        engine.tell("stopping");
        assert_eq!(manager.next(), "STOPPING=1");
        engine.order("exit 0");
        assert!(keeper.wait().success());
    }
}

pub(crate) fn it_gets_signs_of_life_although_the_engine_is_dead() {
    let manager = ServiceManager::new();
    let keeper = Keeper::start_with(|command| {
        let command = manager.start(command);
        command.env("WATCHDOG_USEC", "20000")
    });
    let mut engine = keeper.ready_engine();
    manager.wait("WATCHDOG=1");
    assert!(engine.tell("variables").contains("[]"));
    engine.kill();
    // The next engine is not ready, and dies again and again.
    for _ in 0..3 {
        keeper.engine().kill();
        manager.forget();
        manager.wait("WATCHDOG=1");
    }
}

pub(crate) fn a_stop_gets_more_time_while_the_engine_works() {
    let manager = ServiceManager::new();
    let keeper = Keeper::start_with(|command| manager.start(command));
    let mut engine = keeper.ready_engine();
    assert_eq!(manager.next(), "READY=1");
    engine.tell("alive");
    signal(keeper.pid(), Signal::TERM);
    assert_eq!(manager.next(), "STOPPING=1");
    assert_eq!(manager.next(), "EXTEND_TIMEOUT_USEC=30000000");
    engine.tell("alive");
    assert_eq!(manager.next(), "EXTEND_TIMEOUT_USEC=30000000");
}

pub(crate) fn without_a_usable_address_all_goes_on() {
    for address in ["", "@", "vsock:2:1234", "/nowhere/notify"] {
        let keeper = Keeper::start_with(|command| command.env("NOTIFY_SOCKET", address));
        let mut engine = keeper.ready_engine();
        assert_eq!(engine.tell("status fine"), "done", "{address}");
    }
    let gone = ServiceManager::new();
    let keeper = Keeper::start_with(|command| gone.start(command));
    std::fs::remove_file(Path::new(&gone.address)).unwrap();
    let mut engine = keeper.ready_engine();
    engine.tell("status fine");
    assert_eq!(engine.tell("alive"), "done");
}
