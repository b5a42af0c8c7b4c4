//! Killed engines and keepers: who is connected does not notice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use allexmaster_keeper::os;
use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::tool::{Held, Tool};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

use crate::PROGRAM;

/// How often an engine is killed in a test.
const KILLS: usize = 10;

/// Waits until the pid file names this process.
fn wait_for_pid_file(path: &Path, pid: u32) {
    let named = || std::fs::read_to_string(path).is_ok_and(|text| text.trim() == pid.to_string());
    wait_for("the pid file", || named().then_some(()));
}

fn clocks(count: usize) -> Vec<Value> {
    needs(count, "Clock", "sample:clock")
}

fn tool(master: &Master) -> Tool {
    Tool::local(&master.socket("allexmachinemanager")).unwrap()
}

#[test]
fn a_killed_engine_is_noticed_by_nobody() {
    let lan = Lan::start(&clocks(3));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let names = ["Clock0", "Clock1", "Clock2"];
    let before = names.map(|name| master.wait_for(name, "running"));
    let mut calls = tool(&master);
    let mut tables = ["availablelanservices", "allexmachinemanager"]
        .map(|name| Held::open(Tool::local(&master.socket(name)).unwrap()).unwrap());
    tables.iter_mut().for_each(|table| table.changes = 0);
    let connected = master.status().unwrap().lanmanager.since;
    for _ in 0..KILLS {
        master.kill_engine();
        // The connection of the tool is that of before, and its session too.
        assert_eq!(calls.ask("needs", json!([])), Ok(json!([])));
    }
    for service in &before {
        let after = master.service(&service.instancename).unwrap();
        assert_eq!((after.pid, after.restarts), (service.pid, 0));
        assert_eq!(after.state, service.state);
    }
    assert_eq!(master.children().len(), 3, "none was started twice");
    assert_eq!(master.status().unwrap().lanmanager.since, connected);
    // No row of the LanManager, and none of the master, went or came meanwhile.
    for table in &mut tables {
        table.round_trip().unwrap();
        assert_eq!(table.changes, 0);
    }

    // And both queries still tell what happens.
    signal(before[0].pid.unwrap(), Signal::KILL);
    for table in &mut tables {
        let told = table.next_change().unwrap();
        assert!(told.to_string().contains("Clock0"), "{told}");
    }
    assert!(master.stop().success());
}

#[test]
fn what_is_said_while_no_engine_runs_is_heard_by_the_next_one() {
    let lan = Lan::start(&clocks(1));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    master.wait_for("Clock0", "running");
    let mut known = tool(&master);
    for _ in 0..KILLS {
        signal(master.engine(), Signal::KILL);
        let open = known.call(".", "needs", json!([])).unwrap();
        let mut new = tool(&master);
        let status = new.call(".", "status", json!([])).unwrap();
        assert_eq!(known.result(&open), Ok(json!([])));
        let status = new.result(&status).unwrap();
        assert_eq!(status["services"][0]["state"], "running");
    }
    assert!(master.stop().success());
}

#[test]
fn a_call_is_done_once_whenever_the_engine_is_killed() {
    let lan = Lan::start(&clocks(1));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    master.wait_for("Clock0", "running");
    let mut tool = tool(&master);
    let mut restarts = 0;
    for number in 0..KILLS {
        let engine = master.engine();
        let before = master.service("Clock0").unwrap().pid.unwrap();
        let call = tool.call(".", "restart", json!(["Clock0"])).unwrap();
        // Sooner or later in the course of it.
        std::thread::sleep(Duration::from_micros(300 * number as u64));
        signal(engine, Signal::KILL);
        assert_eq!(tool.result(&call).unwrap()["instancename"], "Clock0");
        let after = master.wait_for_other("Clock0", before);
        restarts += 1;
        assert_eq!(after.restarts, restarts, "once for each call");
    }
    assert!(master.stop().success());
}

#[test]
fn an_engine_without_its_keeper_is_the_master_by_itself() {
    let lan = Lan::start(&clocks(2));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let before = master.wait_for("Clock0", "running");
    master.wait_for("Clock1", "running");
    let mut known = tool(&master);
    let (engine, path) = (master.engine(), master.socket("allexmachinemanager"));
    master.kill();
    let mut new = wait_for("the engine to accept", || Tool::local(&path).ok());
    let status = new.ask("status", json!([])).unwrap();
    assert_eq!(
        (&status["keeper"], &status["engine"]),
        (&json!("gone"), &json!(engine))
    );
    assert_eq!(known.ask("needs", json!([])), Ok(json!([])));
    signal(before.pid.unwrap(), Signal::KILL);
    let other = wait_for("the child to come back", || {
        let service = new.ask("status", json!([])).ok()?["services"][0].clone();
        let is_other = service["state"] == "running" && service["pid"] != json!(before.pid);
        is_other.then_some(service)
    });
    assert_eq!(other["instancename"], "Clock0");
    new.call(".", "stop", json!([])).unwrap();
    wait_for("the engine's end", || (!lives(engine)).then_some(()));
    assert!(!path.exists());
    assert_eq!(master.children(), [0_u32; 0]);
}

#[test]
fn a_master_whose_keeper_and_engine_were_killed_starts_again_with_its_children() {
    let lan = Lan::start(&clocks(2));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let before = ["Clock0", "Clock1"].map(|name| master.wait_for(name, "running"));
    master.kill_both();
    master.start_kept(&[]);
    for service in &before {
        let after = master.wait_for(&service.instancename, "running");
        assert_eq!(after.pid, service.pid);
    }
    assert_eq!(master.children().len(), 2);
    assert!(master.stop().success());
}

#[test]
fn an_engine_that_dies_at_any_place_of_its_loop_serves_each_need_once() {
    for point in ["received", "appended", "durable", "stepped"] {
        let lan = Lan::start(&clocks(3));
        // Each is the number of an event on the way from the first start to the last approval.
        for sequence in [2, 4, 6, 9, 12, 15, 18, 21] {
            let mut master = Master::new(lan.port, json!({}));
            let failpoint = format!("{point}:{sequence}");
            master.start_kept(&[("ALLEXMASTER_FAILPOINT", &failpoint)]);
            for name in ["Clock0", "Clock1", "Clock2"] {
                master.wait_for(name, "running");
            }
            wait_for("three children and no more", || {
                (master.children().len() == 3).then_some(())
            });
            assert!(master.log().contains("started again"), "{failpoint}");
            assert!(master.stop().success(), "{failpoint}");
        }
    }
}

#[test]
fn an_engine_that_dies_between_a_fork_and_its_record_starts_no_child_twice() {
    for fork in ["forked:1", "forked:2", "forked:3"] {
        let lan = Lan::start(&clocks(3));
        let mut master = Master::new(lan.port, json!({}));
        master.start_kept(&[("ALLEXMASTER_FAILPOINT", fork)]);
        for name in ["Clock0", "Clock1", "Clock2"] {
            assert_eq!(master.wait_for(name, "running").restarts, 0, "{fork}");
        }
        assert_eq!(master.children().len(), 3, "{fork}");
        assert!(master.log().contains("started again"), "{fork}");
        assert!(master.stop().success(), "{fork}");
    }
}

/// A file in the master's folder that runs as a program.
fn program(master: &Master, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = master.folder.path().join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn another_build_takes_over_and_back_and_nobody_notices() {
    let lan = Lan::start(&clocks(2));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let before = ["Clock0", "Clock1"].map(|name| master.wait_for(name, "running"));
    let mut tool = tool(&master);
    let other = master.folder.path().join("other-build");
    std::fs::copy(PROGRAM, &other).unwrap();
    for binary in [other.as_path(), Path::new(PROGRAM)] {
        let engine = master.engine();
        let upgrade = master.run(&["upgrade", "--binary", binary.to_str().unwrap()]);
        assert!(upgrade.status.success(), "{upgrade:?}");
        let next = master.engine();
        assert_ne!(next, engine);
        let runs = std::fs::read_link(format!("/proc/{next}/exe")).unwrap();
        assert_eq!(runs, std::fs::canonicalize(binary).unwrap());
    }
    for service in &before {
        let after = master.service(&service.instancename).unwrap();
        assert_eq!((after.pid, after.restarts), (service.pid, 0));
    }
    assert_eq!(tool.ask("needs", json!([])), Ok(json!([])));
    assert!(master.stop().success());
}

#[test]
fn a_build_that_decides_otherwise_or_does_not_start_does_not_take_over() {
    let lan = Lan::start(&clocks(1));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let before = master.wait_for("Clock0", "running");
    let upgrade = |binary: &Path| {
        let output = master.run(&["upgrade", "--binary", binary.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), told)
    };
    let engine = master.engine();
    let foreign = program(&master, "foreign", "#!/bin/sh\necho hello\n");
    let (code, told) = upgrade(&foreign);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("is no build of allexmaster"), "{told}");

    let otherwise = format!(
        "#!/bin/sh\ncase \"$*\" in formats|*config*) exec {PROGRAM} \"$@\";; esac\nexit 6\n"
    );
    let (code, told) = upgrade(&program(&master, "otherwise", &otherwise));
    assert_eq!(code, 6, "{told}");
    assert!(told.contains("does not agree"), "{told}");
    assert_eq!(master.engine(), engine, "nothing was changed");

    let broken = format!(
        "#!/bin/sh\n[ -n \"$1\" ] && [ -z \"$LISTEN_FDS\" ] && exec {PROGRAM} \"$@\"\nexit 9\n"
    );
    let (code, told) = upgrade(&program(&master, "broken", &broken));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the program before goes on"), "{told}");
    assert_eq!(master.service("Clock0").unwrap().pid, before.pid);
    assert!(master.stop().success());
}

#[test]
fn a_running_master_handles_no_signal_but_those_that_a_started_program_resets() {
    let lan = Lan::start(&clocks(1));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    master.wait_for("Clock0", "running");
    let reset = |mask: u64| {
        let numbers = os::RESET_SIGNALS.iter();
        // 32 and 33 belong to the C library, which lets nobody reset them.
        let others = numbers.chain(&[32, 33]);
        others.fold(mask, |mask, number| mask & !(1 << (number - 1)))
    };
    for pid in [master.pid(), master.engine()] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        assert_eq!(reset(caught), 0, "process {pid} handles {caught:x}");
    }
    assert!(master.stop().success());
}

#[test]
fn a_pid_file_that_others_remove_or_change_is_put_back() {
    let lan = Lan::start(&clocks(0));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let (pid, path) = (master.pid(), master.folder.path().join("allexmaster.pid"));
    wait_for_pid_file(&path, pid);

    std::fs::remove_file(&path).unwrap();
    wait_for_pid_file(&path, pid);
    std::fs::rename(&path, path.with_extension("away")).unwrap();
    wait_for_pid_file(&path, pid);
    for content in ["", "garbage", "4194305"] {
        std::fs::write(&path, content).unwrap();
        wait_for_pid_file(&path, pid);
    }
    assert!(master.status().is_some());

    // The next engine puts it back too, and an orderly end leaves none.
    let engine = master.engine();
    std::fs::remove_file(&path).unwrap();
    signal(engine, Signal::KILL);
    wait_for_pid_file(&path, pid);
    assert!(master.stop().success());
    assert!(!path.exists());
}

#[test]
fn sockets_that_others_remove_are_put_back_also_by_the_next_engine_and_without_a_keeper() {
    let lan = Lan::start(&clocks(1));
    let mut master = Master::new(lan.port, json!({}));
    let remove_all = |master: &Master| {
        for file in std::fs::read_dir(master.sockets.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    };
    for kept in [true, false] {
        if kept {
            master.start_kept(&[]);
        } else {
            master.start();
        }
        master.wait_for("Clock0", "running");
        let files = master.socket_files();
        let mut before = tool(&master);
        for kill in [false, kept] {
            let engine = master.engine();
            remove_all(&master);
            if kill {
                signal(engine, Signal::KILL);
            }
            wait_for("the sockets", || {
                (master.socket_files() == files).then_some(())
            });
            assert_eq!(tool(&master).ask("needs", json!([])), Ok(json!([])));
            assert_eq!(before.ask("needs", json!([])), Ok(json!([])));
        }
        assert!(master.stop().success());
        assert!(master.socket_files().is_empty());
    }
}
