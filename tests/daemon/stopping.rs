//! Stopping: who gets a grace, who does not, and who is told.

use std::process::Command;
use std::thread;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

/// How long clocks take that are to end in order, in milliseconds.
const SHORT: u32 = 1_500;
/// How long those take that are to be killed before: less than the grace, more than a busy machine needs.
const LONG: u32 = 8_000;

/// Two clocks that take a while to end in order.
fn lingering(milliseconds: u32) -> Lan {
    let slow = || json!({ "linger": milliseconds });
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
fn asked(linger: u32, ask: impl FnOnce(&Master, &[u32])) -> Vec<&'static str> {
    let lan = lingering(linger);
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
            scope.spawn(move || assert_eq!(asked(SHORT, ask), ["One", "Two"], "{name}"));
        }
    });
}

#[test]
fn a_second_stop_waits_for_the_first_and_both_say_when_it_is_done() {
    let ended = asked(SHORT, |master, _| {
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
        let ended = asked(LONG, |master, _| {
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
fn pressed(linger: u32, pauses: &[&str]) -> Option<Vec<&'static str>> {
    let has_script = Command::new("script").arg("--version").output().is_ok();
    if !has_script {
        return None;
    }
    let lan = lingering(linger);
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
    let Some(once) = pressed(SHORT, &["0.1"]) else {
        return;
    };
    assert_eq!(once, ["One", "Two"]);
    assert_eq!(pressed(LONG, &["3"]).unwrap(), [""; 0]);
}

/// Waits until nobody of these lives.
fn await_end(pids: &[u32]) {
    wait_for("the end of what a child had started", || {
        pids.iter().all(|pid| !lives(*pid)).then_some(())
    });
}

/// A launcher of a shell script, in which `$0` is this program: `"$0" sample clock` serves.
fn script(text: &str) -> Value {
    json!({
        "restart": { "delay": 300, "delaymost": 600 },
        "launchers": { "one": { "command": ["sh", "-c", text, crate::PROGRAM], "ready": ["http"] } },
    })
}

/// The processes of a master's children, by who is no child itself.
fn others(master: &Master, child: u32) -> Vec<u32> {
    let mut all = master.children();
    all.retain(|pid| *pid != child);
    all
}

#[test]
fn whoever_is_wrapped_ends_in_order_at_a_restart_and_at_a_stop() {
    for wrapped in [
        r#""$0" sample clock; true"#,
        r#""$0" sample clock & wait"#,
        r#"sh -c '"$0" sample clock; true' "$0"; true"#,
        r#"setsid "$0" sample clock & wait"#,
        r#"setsid sh -c '"$0" sample clock; true' "$0" & wait"#,
        r#"env -i PATH="$PATH" ALLEX_SPAWN="$ALLEX_SPAWN" setsid "$0" sample clock & wait"#,
    ] {
        let lan = Lan::start(&[need("One", "exec:one", json!({ "linger": 500 }))]);
        let mut master = Master::new(lan.port, script(wrapped));
        master.start_kept(&[]);
        let first = master.wait_for("One", "running").pid.unwrap();
        let restarted = master.run(&["restart", "One"]);
        assert!(restarted.status.success(), "{}", text(&restarted));
        master.wait_for_other("One", first);
        assert_eq!(in_order(&master), ["One"], "{wrapped}");
        std::fs::write(master.folder.path().join(".allexmaster/logs/One.log"), "").unwrap();
        assert!(master.stop().success(), "{}", master.log());
        assert_eq!(in_order(&master), ["One"], "{wrapped}");
        assert_eq!(master.children(), [0; 0], "{wrapped}");
    }
}

#[test]
fn who_does_not_end_in_the_grace_is_killed_and_named() {
    let lan = Lan::start(&[need("One", "exec:one", json!({ "deaf": true }))]);
    let mut config = script(r#"setsid "$0" sample clock & wait"#);
    config["limits"]["stopgrace"] = json!(300);
    let mut master = Master::new(lan.port, config);
    master.start_kept(&[]);
    let child = master.wait_for("One", "running").pid.unwrap();
    let deaf = others(&master, child);
    assert!(master.stop().success(), "{}", master.log());
    await_end(&deaf);
    let log = text(&master.run(&["journal", "log", "--offline", "--kind", "descendants-ended"]));
    assert!(log.contains(&format!("process {}", deaf[0])), "{log}");
}

#[test]
fn what_a_crashed_child_leaves_is_ended_before_the_next_one_starts() {
    let lan = Lan::start(&[need("One", "exec:one", json!({ "linger": 300 }))]);
    let mut master = Master::new(lan.port, script(r#"setsid "$0" sample clock & wait"#));
    master.start_kept(&[]);
    let child = master.wait_for("One", "running").pid.unwrap();
    let left = others(&master, child);
    assert_eq!(left.len(), 1);
    signal(child, Signal::KILL);
    let next = master.wait_for_other("One", child).pid.unwrap();
    await_end(&left);
    assert_eq!(in_order(&master), ["One"]);
    assert_eq!(others(&master, next).len(), 1);
    assert!(master.stop().success());
}

#[test]
fn a_program_that_puts_itself_into_the_background_is_told_so_and_leaves_no_heap_of_orphans() {
    for background in [
        r#""$0" sample clock & sleep 0.5"#,
        r#"setsid "$0" sample clock & sleep 0.5"#,
        r#"setsid sh -c '"$0" sample clock & exit' "$0"; sleep 0.5"#,
    ] {
        let lan = Lan::start(&[need("One", "exec:one", json!({}))]);
        let mut master = Master::new(lan.port, script(background));
        master.start_kept(&[]);
        let reason = wait_for("the hint", || {
            let reason = master.service("One")?.reason?;
            reason.contains("into the background").then_some(reason)
        });
        assert!(reason.contains("start it in the foreground"), "{reason}");
        assert!(reason.contains("listens on "), "{reason}");
        // A few times more: what was started before is gone each time.
        wait_for("further tries", || {
            (master.service("One")?.restarts >= 3).then_some(())
        });
        assert!(master.children().len() <= 3, "{:?}", master.children());
        assert!(master.stop().success());
        assert_eq!(master.children(), [0; 0]);
    }
}

#[test]
fn after_a_kill_of_all_the_next_start_ends_what_a_dead_child_had_started() {
    let lan = Lan::start(&[need("One", "exec:one", json!({}))]);
    let mut master = Master::new(lan.port, script(r#"setsid "$0" sample clock & wait"#));
    master.start_kept(&[]);
    let child = master.wait_for("One", "running").pid.unwrap();
    let left = others(&master, child);
    master.kill_both();
    signal(child, Signal::KILL);
    wait_for("its end", || (master.children() == left).then_some(()));
    master.start_kept(&[]);
    let next = master.wait_for_other("One", child).pid.unwrap();
    await_end(&left);
    // With the child alive, all of it is kept as it is.
    let kept = others(&master, next);
    master.kill_both();
    master.start_kept(&[]);
    assert_eq!(master.wait_for("One", "running").pid, Some(next));
    assert_eq!(others(&master, next), kept);
    // And an engine that is killed while what a child has left is ended goes on with that.
    signal(next, Signal::KILL);
    master.kill_engine();
    master.wait_for_other("One", next);
    await_end(&kept);
    assert!(master.stop().success());
    assert_eq!(master.children(), [0; 0]);
}
