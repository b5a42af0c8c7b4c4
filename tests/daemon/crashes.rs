//! Killed masters: nothing is lost, nothing is started twice.

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

#[test]
fn a_master_that_was_killed_adopts_its_children_with_their_ports() {
    let lan = Lan::start(&[
        need("One", "sample:clock", json!({})),
        need("Two", "sample:clock", json!({})),
    ]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let before = ["One", "Two"].map(|name| master.wait_for(name, "running"));
    let stale = master.socket_files();
    master.kill();
    assert!(before.iter().all(|service| lives(service.pid.unwrap())));

    master.start();
    for service in &before {
        let name = &service.instancename;
        let after = wait_for("the service to be announced again", || {
            let after = master.service(name)?;
            (after.state.as_str() == "running" && after.reason.is_none()).then_some(after)
        });
        assert_eq!((after.pid, after.httpport), (service.pid, service.httpport));
        assert_eq!(after.restarts, 0);
    }
    assert_eq!(master.children().len(), 2, "none was started twice");
    let files = master.socket_files();
    assert!(
        stale
            .iter()
            .filter(|file| file.contains('.'))
            .all(|file| !files.contains(file))
    );
}

#[test]
fn a_child_that_died_while_no_master_was_there_is_reported_and_replaced() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let before = master.wait_for("Clock", "running");
    master.kill();
    signal(before.pid.unwrap(), Signal::KILL);
    wait_for("its end", || (!lives(before.pid.unwrap())).then_some(()));
    master.start();
    let after = master.wait_for_other("Clock", before.pid.unwrap());
    assert_eq!(master.children(), [after.pid.unwrap()]);
}

#[test]
fn an_adopted_child_that_ends_is_noticed_with_its_exit_code() {
    let lan = Lan::start(&[need(
        "Clock",
        "sample:clock",
        json!({ "exitafter": 3000, "exitcode": 9 }),
    )]);
    let mut master = Master::new(
        lan.port,
        json!({ "restart": { "delay": 60_000, "stableafter": 0 } }),
    );
    master.start();
    let before = master.wait_for("Clock", "running");
    master.kill();
    master.start();
    master.wait_for_other("Clock", before.pid.unwrap());
    let log = master.log();
    assert!(log.contains("its child exited with code 9"), "{log}");
}

#[test]
fn a_child_that_was_forked_but_not_recorded_is_found_and_not_started_again() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start_with(&[("ALLEXMASTER_FAILPOINT", "forked:1")]);
    assert!(!master.wait().success(), "it died right after the fork");
    master.start();
    let service = master.wait_for("Clock", "running");
    assert_eq!(master.children(), [service.pid.unwrap()]);
    assert_eq!(service.restarts, 0);
    assert!(master.log().contains("survivors=1"), "{}", master.log());
}

/// The way from an empty journal to an approved service has about ten events. The master dies
/// at one point of the loop at one of them, each in a life of its own, and is started again.
fn dies_at_every_event(point: &str) {
    let mut deaths = 0;
    for sequence in 1..=11 {
        let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
        let mut master = Master::new(lan.port, json!({}));
        let failpoint = format!("{point}:{sequence}");
        master.start_with(&[("ALLEXMASTER_FAILPOINT", &failpoint)]);
        // It dies there, sooner or later, and is started again without the failpoint.
        let service = wait_for("the service", || {
            if master.has_ended() {
                deaths += 1;
                master.forget();
                master.start();
            }
            master
                .service("Clock")
                .filter(|service| service.state.as_str() == "running")
        });
        assert_eq!(
            master.children(),
            [service.pid.unwrap()],
            "exactly one child, {failpoint}"
        );
    }
    assert!(deaths >= 8, "the failpoint was passed only {deaths} times");
}

#[test]
fn a_master_that_dies_when_an_event_is_received_serves_each_need_once() {
    dies_at_every_event("received");
}

#[test]
fn a_master_that_dies_when_an_event_is_appended_serves_each_need_once() {
    dies_at_every_event("appended");
}

#[test]
fn a_master_that_dies_when_an_event_is_durable_serves_each_need_once() {
    dies_at_every_event("durable");
}

#[test]
fn a_master_that_dies_when_the_rules_have_decided_serves_each_need_once() {
    dies_at_every_event("stepped");
}

#[test]
fn a_second_master_in_the_folder_says_who_holds_it_and_touches_nothing() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let before = master.wait_for("Clock", "running");
    let second = master.command().output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("another master") && said.contains(&master.pid().to_string()),
        "{said}"
    );
    assert_eq!(master.service("Clock").unwrap().pid, before.pid);
}

#[test]
fn a_stop_leaves_no_process_no_socket_and_no_pid_file() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    master.wait_for("Clock", "running");
    assert!(master.stop().success());
    assert_eq!(master.children(), [0; 0]);
    assert_eq!(master.socket_files(), [""; 0]);
    assert!(!master.folder.path().join("allexmaster.pid").exists());
}
