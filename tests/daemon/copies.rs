//! One copy of each service in the network: two masters, one LanManager, and lines that break.

use std::path::Path;

use allexmaster_testkit::lan::{Lan, needs, write_file};
use allexmaster_testkit::line::Line;
use allexmaster_testkit::master::{Master, is_served, text};
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A network in which a master that is gone has so many milliseconds for a reconnect.
fn network(grace: u64, needs: &[Value]) -> (TempDir, Lan) {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), grace);
    let lan = Lan::start_in(folder.path(), needs);
    (folder, lan)
}

fn files(folder: &Path, grace: u64) {
    write_file(folder, "subnets", r#"["127.0.0.0/8"]"#);
    let boot = json!({ "portcorrection": 0, "reconnectgrace": grace });
    write_file(folder, "boot", &boot.to_string());
}

fn master(port: u16, more: Value) -> Master {
    let mut master = Master::new(port, more);
    master.start();
    wait_for("the LanManager", || is_connected(&master).then_some(()));
    master
}

fn is_connected(master: &Master) -> bool {
    let status = master.status();
    status.is_some_and(|status| status.lanmanager.state == "connected")
}

/// The processes of the services that a master runs and the network uses, by name.
fn served(master: &Master) -> Vec<(String, u32)> {
    let status = master.status();
    let services = status.map(|status| status.services).unwrap_or_default();
    let served = services.into_iter().filter(is_served);
    served
        .filter_map(|service| Some((service.instancename, service.pid?)))
        .collect()
}

/// Waits until each need runs once in the network, and no process beside that.
fn wait_for_one_copy(masters: &[&Master], needs: usize) {
    wait_for("one copy of each need", || {
        let served: Vec<_> = masters.iter().flat_map(|master| served(master)).collect();
        let names: std::collections::BTreeSet<_> = served.iter().map(|(name, _)| name).collect();
        let children: usize = masters.iter().map(|master| master.children().len()).sum();
        (names.len() == needs && served.len() == needs && children == needs).then_some(())
    });
}

#[test]
fn a_cut_within_the_grace_moves_nothing_and_bids_for_nothing() {
    let (_folder, lan) = network(30_000, &needs(3, "S", "sample:clock"));
    let mut line = Line::new(lan.port, 11);
    let a = master(line.port, json!({}));
    wait_for("all at A", || (served(&a).len() == 3).then_some(()));
    let before = served(&a);
    let b = master(lan.port, json!({}));
    line.cut();
    wait_for("the loss to show", || (!is_connected(&a)).then_some(()));
    line.mend();
    wait_for("all to be approved again", || {
        (served(&a) == before).then_some(())
    });
    assert!(b.children().is_empty());
    let log = text(&a.run(&["journal", "log", "--last", "6"]));
    let kept = "the LanManager lists S0 here, as before, S1 here, as before";
    assert!(log.contains(kept), "{log}");
}

#[test]
fn a_copy_that_another_machine_replaced_during_a_cut_is_named_and_ends() {
    let (_folder, lan) = network(500, &needs(3, "S", "sample:clock"));
    let mut line = Line::new(lan.port, 11);
    let a = master(line.port, json!({ "limits": { "duplicategrace": 3000 } }));
    wait_for("all at A", || (served(&a).len() == 3).then_some(()));
    let b_line = Line::new(lan.port, 12);
    let b = master(b_line.port, json!({}));
    line.cut();
    wait_for("all at B", || (served(&b).len() == 3).then_some(()));
    assert_eq!(a.children().len(), 3, "children outlive their LanManager");
    line.mend();
    let copy = a.wait_for("S0", "superseded");
    let by = copy.supersededby.unwrap();
    let used = b.service("S0").unwrap();
    assert!(by.starts_with("127.0.0.12:"), "{by}");
    assert!(by.ends_with(&used.tcpport.unwrap().to_string()), "{by}");
    let shown = a.run(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    let shown = text(&shown);
    assert!(
        shown.contains(&format!("the network uses the one at {by}")),
        "{shown}"
    );
    let pids = served(&b);
    wait_for_one_copy(&[&a, &b], 3);
    assert_eq!(served(&b), pids, "the copy that the network uses stays");
    let why = text(&a.run(&["journal", "why", "S0"]));
    assert!(
        why.contains(&format!("the LanManager lists S0 at {by}, not here")),
        "{why}"
    );
    assert_eq!(a.run(&["status"]).status.code(), Some(0));
}

#[test]
fn a_copy_stays_where_the_configuration_says_so() {
    let (_folder, lan) = network(300, &needs(1, "S", "sample:clock"));
    let mut line = Line::new(lan.port, 11);
    let keep = json!({ "onduplicate": "keep", "limits": { "duplicategrace": 0 } });
    let a = master(line.port, keep);
    a.wait_for("S0", "running");
    let b = master(lan.port, json!({}));
    line.cut();
    b.wait_for("S0", "running");
    line.mend();
    let copy = a.wait_for("S0", "superseded");
    assert!(copy.reason.unwrap().contains("onduplicate: keep"));
    assert!(lives(copy.pid.unwrap()));
    // The copy that the network uses ends: the one that stayed takes its place.
    signal(b.service("S0").unwrap().pid.unwrap(), Signal::KILL);
    wait_for_one_copy_of_s0(&a, &b, copy.pid);
}

/// Either the copy that stayed is used again, or the other master was faster: then it is superseded.
fn wait_for_one_copy_of_s0(a: &Master, b: &Master, kept: Option<u32>) {
    wait_for("the network to use one", || {
        let (at_a, at_b) = (a.service("S0")?, b.service("S0"));
        let a_serves = is_served(&at_a) && at_a.pid == kept;
        let b_serves = at_b.is_some_and(|service| is_served(&service));
        (a_serves != b_serves).then_some(())
    });
}

#[test]
fn a_master_that_is_back_beside_its_half_open_connection_keeps_all() {
    let (_folder, lan) = network(500, &needs(3, "S", "sample:clock"));
    let line = Line::new(lan.port, 11);
    let a = master(line.port, json!({}));
    wait_for("all at A", || (served(&a).len() == 3).then_some(()));
    let before = served(&a);
    let b = master(lan.port, json!({}));
    line.leak();
    wait_for("all to be approved again", || {
        (served(&a) == before).then_some(())
    });
    assert!(b.children().is_empty());
    // They belong to the new connection: the end of one is believed at once.
    signal(before[0].1, Signal::KILL);
    wait_for("its need to be satisfied again", || {
        let served: Vec<_> = [&a, &b].into_iter().flat_map(served).collect();
        let lives_again = |(name, pid): &(String, u32)| *name == before[0].0 && *pid != before[0].1;
        served.iter().any(lives_again).then_some(())
    });
    wait_for_one_copy(&[&a, &b], 3);
}

#[test]
fn two_masters_at_one_address_keep_what_they_run_when_the_lan_manager_starts_again() {
    let (_folder, mut lan) = network(5_000, &needs(6, "S", "sample:clock"));
    let a = master(lan.port, json!({}));
    wait_for("all at A", || (served(&a).len() == 6).then_some(()));
    let before = served(&a);
    let b = master(lan.port, json!({}));
    for _ in 0..3 {
        lan.stop();
        wait_for("the loss to show", || (!is_connected(&a)).then_some(()));
        lan.start_again();
        wait_for("both to be back", || {
            (is_connected(&a) && is_connected(&b)).then_some(())
        });
        wait_for("all to be approved again", || {
            (served(&a) == before).then_some(())
        });
        assert!(b.children().is_empty());
    }
}

#[test]
fn a_machine_that_was_frozen_for_longer_than_the_grace_ends_its_copies() {
    let (_folder, mut lan) = network(300, &needs(2, "S", "sample:clock"));
    let a = master(lan.port, json!({ "limits": { "duplicategrace": 300 } }));
    wait_for("all at A", || (served(&a).len() == 2).then_some(()));
    let b = master(lan.port, json!({}));
    signal(a.pid(), Signal::STOP);
    // In the place of the time until its silence is noticed.
    lan.stop();
    lan.start_again();
    wait_for("all at B", || (served(&b).len() == 2).then_some(()));
    signal(a.pid(), Signal::CONT);
    wait_for_one_copy(&[&a, &b], 2);
    assert_eq!(served(&b).len(), 2);
}

#[test]
fn of_an_exclusive_service_there_are_never_two() {
    let mut wanted = needs(1, "Only", "sample:clock");
    wanted[0]["exclusive"] = json!(true);
    let (_folder, lan) = network(6_000, &wanted);
    let line = Line::new(lan.port, 11);
    let a = master(line.port, json!({ "limits": { "stopgrace": 2000 } }));
    a.wait_for("Only0", "running");
    let b = master(lan.port, json!({}));
    line.cut();
    wait_for("the end at A", || a.children().is_empty().then_some(()));
    assert!(b.children().is_empty(), "before another machine runs it");
    b.wait_for("Only0", "running");
    let why = text(&a.run(&["journal", "why", "Only0"]));
    assert!(why.contains("there must never be two"), "{why}");
}
