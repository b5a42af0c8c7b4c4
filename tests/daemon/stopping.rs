//! Stopping: who gets a grace, who does not, and who is told.

use std::process::Command;
use std::thread;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

/// Two clocks that take a while to end in order.
fn lingering() -> Lan {
    let slow = || json!({ "linger": 1_500 });
    Lan::start(&[
        need("One", "sample:clock", slow()),
        need("Two", "sample:clock", slow()),
    ])
}

/// Who has ended in order, by the children's logs.
fn in_order(master: &Master) -> Vec<&'static str> {
    let log = |name: &str| {
        let file = format!(".allexmaster/logs/{name}.log");
        std::fs::read_to_string(master.folder.path().join(file)).unwrap_or_default()
    };
    let ended = |name: &&str| log(name).contains("has ended in order");
    ["One", "Two"].into_iter().filter(ended).collect()
}

/// Starts a master with two clocks, has `ask` stop it, and tells who could end in order.
fn asked(ask: impl FnOnce(&Master, &[u32])) -> Vec<&'static str> {
    let lan = lingering();
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let children = ["One", "Two"].map(|name| master.wait_for(name, "running").pid.unwrap());
    ask(&master, &children);
    assert!(master.wait().success(), "{}", master.log());
    assert_eq!(master.children(), [0; 0]);
    in_order(&master)
}

#[test]
fn however_often_and_whoever_is_signalled_each_child_keeps_its_grace() {
    type Ask = fn(&Master, &[u32]);
    let asks: [(&str, Ask); 6] = [
        ("two at the keeper", |master, _| {
            signal(master.pid(), Signal::TERM);
            signal(master.pid(), Signal::TERM);
        }),
        ("keeper and engine", |master, _| {
            let engine = master.engine();
            signal(master.pid(), Signal::TERM);
            signal(engine, Signal::TERM);
        }),
        ("SIGINT at keeper and engine, no terminal", |master, _| {
            let engine = master.engine();
            signal(master.pid(), Signal::INT);
            signal(engine, Signal::INT);
            signal(master.pid(), Signal::INT);
        }),
        ("the whole control group", |master, children| {
            let engine = master.engine();
            for pid in [master.pid(), engine].iter().chain(children) {
                signal(*pid, Signal::TERM);
            }
        }),
        (
            "SIGTERM and SIGCONT at all, as systemd does",
            |master, children| {
                let engine = master.engine();
                for number in [Signal::TERM, Signal::CONT] {
                    for pid in [master.pid(), engine].iter().chain(children) {
                        signal(*pid, number);
                    }
                }
            },
        ),
        ("SIGTERM and SIGINT", |master, _| {
            signal(master.pid(), Signal::TERM);
            signal(master.pid(), Signal::INT);
        }),
    ];
    // All at once: each waits for the lingering of its children.
    thread::scope(|scope| {
        for (name, ask) in asks {
            scope.spawn(move || assert_eq!(asked(ask), ["One", "Two"], "{name}"));
        }
    });
}

#[test]
fn a_second_stop_waits_for_the_first_and_both_say_when_it_is_done() {
    let ended = asked(|master, _| {
        let stops = [(); 2].map(|()| {
            let mut stop = master.command();
            stop.arg("shutdown").stdout(std::process::Stdio::piped());
            stop.spawn().unwrap()
        });
        for stop in stops {
            let output = stop.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            assert!(text(&output).contains("has stopped"), "{}", text(&output));
        }
    });
    assert_eq!(ended, ["One", "Two"]);
}

#[test]
fn stop_now_takes_the_grace_away_also_from_a_stop_that_has_begun() {
    for begun in [false, true] {
        let ended = asked(|master, _| {
            if begun {
                signal(master.pid(), Signal::TERM);
                wait_for("the stop to begin", || {
                    master.status()?.stopping.then_some(())
                });
            }
            let now = master.run(&["shutdown", "--now"]);
            assert!(now.status.success(), "{}", text(&now));
            let log = master.log();
            assert!(log.contains("the stop is urgent"), "{log}");
        });
        assert_eq!(ended, [""; 0], "begun before: {begun}");
    }
}

/// Runs the master on a terminal of its own, as `script` gives it, and presses Ctrl-C at the beginning
/// and after each of the pauses; tells who could end in order.
fn pressed(pauses: &[&str]) -> Option<Vec<&'static str>> {
    let has_script = Command::new("script").arg("--version").output().is_ok();
    if !has_script {
        return None;
    }
    let lan = lingering();
    let master = Master::new(lan.port, json!({}));
    let program = format!(
        "{} --directory {} --socket-dir {}",
        crate::PROGRAM,
        master.folder.path().display(),
        master.sockets.path().display()
    );
    let keys = pauses
        .iter()
        .map(|pause| format!("sleep {pause}; printf '\\003'; "));
    let keys: String = keys.collect();
    let ready = master.folder.path().join("ready");
    // Its input is the terminal's: first nothing, then the keys.
    let typing = format!(
        "(until [ -e {} ]; do sleep 0.05; done; printf '\\003'; {keys} sleep 5) | script -qec '{program}' /dev/null",
        ready.display()
    );
    let mut shell = Command::new("sh");
    let shell = shell
        .args(["-c", &typing])
        .stdout(std::process::Stdio::null());
    let mut shell = shell.spawn().unwrap();
    // The process numbers of this master are not known: its children tell that all is up.
    wait_for("both to serve", || {
        let log = |name: &str| {
            let file = master
                .folder
                .path()
                .join(format!(".allexmaster/logs/{name}.log"));
            std::fs::read_to_string(file).is_ok_and(|log| log.contains("serves http"))
        };
        (log("One") && log("Two")).then_some(())
    });
    std::fs::write(&ready, "").unwrap();
    wait_for("the end of the children", || {
        master.children().is_empty().then_some(())
    });
    shell.wait().unwrap();
    Some(in_order(&master))
}

#[test]
fn ctrl_c_twice_in_a_moment_is_one_and_after_a_while_it_kills() {
    let Some(once) = pressed(&["0.1"]) else {
        return;
    };
    assert_eq!(once, ["One", "Two"]);
    assert_eq!(pressed(&["1.1"]).unwrap(), [""; 0]);
}
