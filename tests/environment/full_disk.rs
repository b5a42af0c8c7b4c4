//! A disk that is full: the master says so, changes nothing, and goes on by itself.

use allexmaster_testkit::disk::SmallDisk;
use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::tool::Tool;
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

/// Lets children tell of modules until the journal cannot take one more; gives how many were told.
fn fill(master: &Master) -> usize {
    let mut tool = Tool::local(&master.socket("allexmachinemanager")).unwrap();
    master.disk().fill().unwrap();
    let mut told = 0;
    wait_for("the journal to fail", || {
        let module = format!("allex_module{told}service");
        // It is answered when it is recorded: the last one not before there is room.
        tool.call(".", "notifyModuleEngaged", json!([module]))
            .unwrap();
        told += 1;
        let status = master.status().unwrap();
        (status.journal.state == "unwritable").then_some(())
    });
    told
}

pub(crate) fn on_a_full_disk_children_stay_nothing_starts_and_with_room_it_goes_on_without_a_loss()
{
    let lan = Lan::start(&[
        need("One", "sample:clock", json!({})),
        need("Two", "sample:clock", json!({})),
    ]);
    let mut master = Master::new(lan.port, json!({}));
    master.put_on_small_disk();
    master.start();
    let [one, two] = ["One", "Two"].map(|name| master.wait_for(name, "running").pid.unwrap());

    let told = fill(&master);
    signal(one, Signal::KILL);
    let status = wait_for("its end to wait for the journal", || {
        let status = master.status()?;
        (!lives(one) && status.journal.waiting >= 2).then_some(status)
    });
    let reason = status.journal.reason.unwrap();
    assert!(reason.contains("No space left"), "{reason}");
    assert!(status.journal.since.is_some());
    assert_eq!(status.services[1].pid, Some(two));

    let shown = master.run(&["status"]);
    assert_eq!(shown.status.code(), Some(6), "{}", text(&shown));
    assert!(
        text(&shown).contains("CANNOT BE WRITTEN"),
        "{}",
        text(&shown)
    );
    for arguments in [
        &["shutdown"][..],
        &["stop", "Two"],
        &["restart", "Two"],
        &["needs", "add", "Three", "sample:clock"],
        &["needs", "remove", "Two"],
    ] {
        let refused = master.run(arguments);
        assert!(!refused.status.success(), "{arguments:?}");
        let said = text(&refused);
        assert!(said.contains("cannot be written"), "{arguments:?}: {said}");
    }
    let read = master.run(&["journal", "log"]);
    assert!(read.status.success(), "{}", text(&read));
    assert!(text(&read).contains("Two"), "{}", text(&read));
    assert_eq!(master.children(), [two], "nothing stopped, nothing started");

    master.disk().make_room().unwrap();
    let other = master.wait_for_other("One", one);
    let status = master.status().unwrap();
    assert_eq!(status.journal.state, "written");
    assert_eq!(status.journal.waiting, 0);
    let mut children = [other.pid.unwrap(), two];
    let mut found = master.children();
    children.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, children);
    let events = master.run(&["journal", "log", "--json", "--kind", "module-engaged"]);
    assert_eq!(text(&events).lines().count(), told, "{}", text(&events));
    let replayed = master.run(&["replay", "--verify"]);
    assert!(replayed.status.success(), "{}", text(&replayed));
    let log = master.log();
    assert_eq!(
        log.matches("the journal is written again").count(),
        1,
        "{log}"
    );
    assert!(master.stop().success());
    assert_eq!(master.children(), [0; 0]);
}

pub(crate) fn a_master_that_is_told_twice_to_end_on_a_full_disk_leaves_its_children_to_the_next_one()
 {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.put_on_small_disk();
    master.start();
    let clock = master.wait_for("Clock", "running").pid.unwrap();
    fill(&master);
    signal(master.pid(), Signal::TERM);
    wait_for("the wish to stop to wait", || {
        (master.status()?.journal.waiting >= 2).then_some(())
    });
    assert!(lives(clock));
    signal(master.pid(), Signal::TERM);
    assert_eq!(master.wait().code(), Some(6));
    assert!(lives(clock));

    let refused = master.run(&[]);
    assert_eq!(refused.status.code(), Some(6));
    let said = text(&refused);
    assert!(
        said.contains("No space left") && said.contains("children that run go on"),
        "{said}"
    );
    let offline = master.run(&["journal", "info"]);
    assert!(offline.status.success(), "{}", text(&offline));
    assert!(lives(clock));

    master.disk().make_room().unwrap();
    master.start();
    let after = wait_for("the child to be adopted", || {
        let after = master.service("Clock")?;
        (after.state.as_str() == "running" && after.reason.is_none()).then_some(after)
    });
    assert_eq!(after.pid, Some(clock));
}

pub(crate) fn a_lan_manager_on_a_full_disk_waits_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), 8).unwrap();
    let mut lan = Lan::start_in(folder.path(), &[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({ "limits": { "requesttimeout": 1000 } }));
    master.start();
    let clock = master.wait_for("Clock", "running").pid.unwrap();
    disk.fill().unwrap();
    let mut added = 0;
    let silent = wait_for("the LanManager's journal to fail", || {
        let more = json!({ "text": "x".repeat(20_000) });
        let more = need(&format!("N{added}"), "exec:nowhere", more);
        let answer = master.ask("addNeed", vec![more]);
        added += usize::from(answer.is_ok());
        answer.err()
    });
    assert_eq!(silent.code(), "LANMANAGER_SILENT");
    signal(clock, Signal::KILL);
    assert_eq!(master.status().unwrap().lanmanager.state, "connected");
    disk.make_room().unwrap();
    master.wait_for_other("Clock", clock);
    // What was acknowledged before is there, and what waited was recorded in its order.
    lan.stop();
    lan.start_again();
    wait_for("the needs", || {
        let status = master.status()?;
        let known = status.services.iter();
        let known = known.filter(|service| service.modulename == "exec:nowhere");
        (status.lanmanager.state == "connected" && known.count() >= added).then_some(())
    });
    lan.stop();
}
