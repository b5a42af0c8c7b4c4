//! `stop`, `start`, `restart`, `wait` and `needs scale`, as an operator types them.

use std::process::Output;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::lives;
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

/// A master that runs these services.
fn running(names: &[&str]) -> (Lan, Master) {
    let needs: Vec<_> = names
        .iter()
        .map(|name| need(name, "sample:clock", json!({})))
        .collect();
    let lan = Lan::start(&needs);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    wait_for("the master", || master.status());
    for name in names {
        master.wait_for(name, "running");
    }
    (lan, master)
}

fn lines(output: &Output) -> Vec<Value> {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_stopped_service_stays_stopped_over_a_restart_of_the_master_until_it_is_started() {
    let (_lan, mut master) = running(&["Web", "job-1"]);
    let child = master.service("Web").unwrap().pid.unwrap();
    let stopped = master.run(&["stop", "Web", "--wait"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    let said = text(&stopped);
    assert!(
        said.starts_with(&format!("Web  stopped (process {child}, ")),
        "{said}"
    );
    assert!(!lives(child));

    master.stop();
    master.start();
    master.wait_for("job-1", "running");
    let held = master.wait_for("Web", "held");
    let by = held.heldby.unwrap();
    assert_eq!(by.pid.cmp(&0), std::cmp::Ordering::Greater);
    let reason = held.reason.unwrap();
    let uid = format!("uid {}", by.uid);
    assert!(reason.starts_with("stopped by "), "{reason}");
    assert!(reason.contains(&uid), "{reason}");
    assert_eq!(held.lastends.last().unwrap().pid, child);

    let waited = master.run(&["wait", "Web", "--for", "running"]);
    assert_eq!(waited.status.code(), Some(1), "{}", text(&waited));
    let started = master.run(&["start", "Web", "--wait", "--json"]);
    assert!(started.status.success(), "{}", text(&started));
    let told = &lines(&started)[0];
    assert_eq!(
        (&told["instancename"], &told["done"]),
        (&json!("Web"), &json!(true))
    );
    assert_eq!(told["newpid"], json!(master.service("Web").unwrap().pid));
    let log = text(&master.run(&["journal", "log", "--service", "Web"]));
    assert!(
        log.contains("stopped Web") && log.contains("started Web"),
        "{log}"
    );
}

#[test]
fn orders_take_patterns_and_a_restart_leaves_alone_what_is_stopped() {
    let (_lan, master) = running(&["Web", "job-2", "job-10"]);
    let before = |name: &str| master.service(name).unwrap().pid;
    let (web, two) = (before("Web"), before("job-2"));
    assert!(master.run(&["stop", "job-10", "--wait"]).status.success());

    let restarted = master.run(&["restart", "job-*", "--wait", "--json"]);
    assert!(restarted.status.success(), "{}", text(&restarted));
    let told = lines(&restarted);
    let names: Vec<&Value> = told.iter().map(|one| &one["instancename"]).collect();
    assert_eq!(names, ["job-2"]);
    assert_ne!(before("job-2"), two);
    assert_eq!(before("Web"), web);
    assert_eq!(master.service("job-10").unwrap().state.as_str(), "held");

    let named = master.run(&["restart", "job-10", "--wait"]);
    assert!(named.status.success(), "{}", text(&named));
    assert_eq!(master.service("job-10").unwrap().state.as_str(), "running");

    let all = master.run(&["stop", "--all", "--wait"]);
    assert!(all.status.success(), "{}", text(&all));
    assert_eq!(master.children(), [0_u32; 0]);
    let again = master.run(&["stop", "--all"]);
    assert!(text(&again).contains("nothing to stop"), "{}", text(&again));
}

#[test]
fn an_order_without_a_name_or_for_an_unknown_one_changes_nothing() {
    let (_lan, master) = running(&["Web"]);
    let child = master.service("Web").unwrap().pid.unwrap();
    let nameless = master.run(&["stop"]);
    assert_eq!(nameless.status.code(), Some(2));
    let said = text(&nameless);
    assert!(said.contains("allexmaster shutdown"), "{said}");
    for order in ["stop", "start", "restart"] {
        let unknown = master.run(&[order, "web"]);
        assert_eq!(unknown.status.code(), Some(7), "{order}");
        let said = text(&unknown);
        assert!(said.contains("did you mean Web?"), "{said}");
        let unfit = master.run(&[order, "x*"]);
        assert_eq!(unfit.status.code(), Some(7), "{order}");
    }
    assert_eq!(master.service("Web").unwrap().pid, Some(child));
}

#[test]
fn scale_has_as_many_services_as_are_asked_for() {
    let (_lan, master) = running(&[]);
    let scaled = master.run(&[
        "needs",
        "scale",
        "web",
        "3",
        "--module",
        "sample:clock",
        "--wait",
    ]);
    assert!(scaled.status.success(), "{}", text(&scaled));
    assert!(
        text(&scaled).contains("added: web-1, web-2, web-3"),
        "{}",
        text(&scaled)
    );
    let fewer = master.run(&["needs", "scale", "web", "1", "--module", "sample:clock"]);
    assert!(text(&fewer).contains("web-2, web-3"), "{}", text(&fewer));
    let waited = master.run(&["wait", "web-2", "web-3", "--for", "stopped"]);
    assert!(waited.status.success(), "{}", text(&waited));
    assert_eq!(master.children().len(), 1);
    // What ended just now is still shown, but nobody asks for it.
    let more = master.run(&[
        "needs",
        "scale",
        "web",
        "3",
        "--module",
        "sample:clock",
        "--wait",
    ]);
    assert!(more.status.success(), "{}", text(&more));
    assert_eq!(master.children().len(), 3);
}
