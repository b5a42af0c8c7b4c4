//! A LanManager that comes and goes.

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

fn connected(master: &Master) -> Option<()> {
    (master.status()?.lanmanager.state == "connected").then_some(())
}

fn away(master: &Master) -> Option<()> {
    (master.status()?.lanmanager.state != "connected").then_some(())
}

fn announced(master: &Master, instance: &str) -> Option<Option<u32>> {
    let service = master.service(instance)?;
    (service.state.as_str() == "running" && service.reason.is_none()).then_some(service.pid)
}

#[test]
fn children_outlive_their_lanmanager_and_are_announced_again_without_a_respawn() {
    let mut lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let before = master.wait_for("Clock", "running");
    lan.stop();
    wait_for("the loss to show", || away(&master));
    let meanwhile = master.service("Clock").unwrap();
    assert_eq!(meanwhile.state.as_str(), "running");
    assert!(meanwhile.reason.unwrap().contains("away"));
    lan.start_again();
    let after = wait_for("the announcement", || announced(&master, "Clock"));
    assert_eq!(after, before.pid);
}

#[test]
fn an_end_that_the_lanmanager_did_not_hear_of_is_told_when_it_is_back() {
    let mut lan = Lan::start(&[
        need("Clock", "sample:clock", json!({})),
        need("Time", "sample:clock", json!({})),
    ]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let before = master.wait_for("Clock", "running").pid.unwrap();
    master.wait_for("Time", "running");
    lan.stop();
    wait_for("the loss to show", || away(&master));
    signal(before, Signal::KILL);
    let unreported = wait_for("the report to wait", || {
        let status = master.status()?;
        (status.lanmanager.unreported == 1).then_some(status)
    });
    let lost = &unreported.lanmanager;
    assert_eq!(lost.unannounced, 1, "the one that still runs");
    assert!(lost.reason.is_some() && !lost.since.is_empty());
    let shown = master.command().arg("status").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let waiting = "yet to be told: ends of services (1), running services (1)";
    assert!(shown.contains(waiting), "{shown}");
    assert_eq!(
        unreported.services[0].pid, None,
        "without a LanManager nothing is started"
    );
    lan.start_again();
    let after = master.wait_for_other("Clock", before);
    assert!(lives(after.pid.unwrap()));
    wait_for("all to be told", || {
        let lan = master.status()?.lanmanager;
        (lan.unreported == 0 && lan.unannounced == 0).then_some(())
    });
}

#[test]
fn a_call_for_a_lanmanager_that_is_away_is_refused_in_time() {
    let mut lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({ "limits": { "requesttimeout": 200 } }));
    master.start();
    wait_for("the LanManager", || connected(&master));
    lan.stop();
    wait_for("the loss to show", || away(&master));
    let refused = master.ask("addNeed", vec![need("Clock", "sample:clock", json!({}))]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "LANMANAGER_AWAY");
}

#[test]
fn a_master_that_stops_tells_the_lanmanager_so_that_another_one_takes_over() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut first = Master::new(lan.port, json!({}));
    first.start();
    first.wait_for("Clock", "running");
    let mut second = Master::new(lan.port, json!({}));
    second.start();
    wait_for("the second to be let in", || connected(&second));
    assert!(second.service("Clock").is_none(), "the need is satisfied");
    assert!(first.stop().success());
    second.wait_for("Clock", "running");
}
