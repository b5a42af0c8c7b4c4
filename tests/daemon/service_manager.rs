//! A service manager such as systemd, in its place a socket of the test.

use std::fs;
use std::os::unix::net::UnixDatagram;

use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::TIMEOUT;
use serde_json::json;

#[test]
fn it_is_told_when_the_master_serves_what_runs_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let wait = |expected: &str| {
        let mut text = [0; 4096];
        loop {
            let length = socket.recv(&mut text).expect(expected);
            if text[..length] == *expected.as_bytes() {
                return;
            }
        }
    };
    let lan = Lan::start(&needs(2, "Clock", "sample:clock"));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[
        ("NOTIFY_SOCKET", address.to_str().unwrap()),
        ("WATCHDOG_USEC", "60000000"),
    ]);
    wait("READY=1");
    let clock = master.wait_for("Clock0", "running");
    wait("STATUS=2 running");
    let environment = fs::read(format!("/proc/{}/environ", clock.pid.unwrap())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    for name in ["NOTIFY_SOCKET=", "WATCHDOG_USEC="] {
        assert!(!environment.contains(name), "{environment}");
    }
    master.kill_engine();
    wait("READY=1");
    signal(master.pid(), Signal::TERM);
    wait("STOPPING=1");
    assert!(master.wait().success());
}
