//! A clock that is set while the built program runs.

use std::fs;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

const YEAR: i64 = 365 * 24 * 3_600_000;

/// A master whose clock a test sets.
struct Clocked {
    master: Master,
    _lan: Lan,
}

impl Clocked {
    fn start(restart_delay: u64) -> Self {
        let lan = Lan::start(&[
            need("One", "sample:clock", json!({})),
            need("Two", "sample:clock", json!({})),
        ]);
        let restart = json!({ "restart": { "delay": restart_delay, "delaymost": 600_000 } });
        let mut master = Master::new(lan.port, restart);
        let file = master.folder.path().join("shift");
        master.start_with(&[("ALLEXMASTER_CLOCK_SHIFT", file.to_str().unwrap())]);
        master.wait_for("One", "running");
        master.wait_for("Two", "running");
        Self { master, _lan: lan }
    }

    fn set(&self, by: i64) {
        let file = self.master.folder.path().join("shift");
        fs::write(file, by.to_string()).unwrap();
    }

    /// Waits until the master has told of it.
    fn noticed(&self, what: &str) {
        wait_for(what, || {
            // A master that has nothing to do looks at the clock once a minute.
            let module = json!("allex_engagedservice");
            self.master.ask("notifyModuleEngaged", vec![module]).ok()?;
            self.master.log().contains(what).then_some(())
        });
    }
}

#[test]
fn a_clock_that_is_set_back_by_a_year_holds_up_no_restart() {
    let clocked = Clocked::start(200);
    let master = &clocked.master;
    let two = master.service("Two").unwrap().pid;
    clocked.set(-YEAR);
    clocked.noticed("the clock was set back");
    let one = master.service("One").unwrap().pid.unwrap();
    signal(one, Signal::KILL);
    master.wait_for_other("One", one);
    assert_eq!(master.service("Two").unwrap().pid, two);
}

#[test]
fn a_clock_that_is_set_forward_by_years_ends_no_pause_and_no_child() {
    let clocked = Clocked::start(600_000);
    let master = &clocked.master;
    let one = master.service("One").unwrap().pid.unwrap();
    let two = master.service("Two").unwrap().pid.unwrap();
    signal(one, Signal::KILL);
    // The first start after a failure comes at once, the second one after the pause.
    let again = master.wait_for_other("One", one).pid.unwrap();
    signal(again, Signal::KILL);
    let pausing = master.wait_for("One", "backing-off");
    clocked.set(10 * YEAR);
    clocked.noticed("the clock was set forward");
    let status = master.status().unwrap();
    let (after, untouched) = (&status.services[0], &status.services[1]);
    assert_eq!(after.state.as_str(), "backing-off");
    assert_eq!((untouched.pid, untouched.restarts), (Some(two), 0));
    let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref().unwrap()).unwrap();
    let moved = time(&after.nexttry)
        .duration_since(time(&pausing.nexttry))
        .unwrap();
    let years = u128::try_from(10 * YEAR).unwrap();
    assert!(moved.as_millis().abs_diff(years) < 60_000, "{moved:?}");
    assert_eq!(master.children(), [two]);

    let arguments = ["journal", "log", "--kind", "clock-jumped"];
    let told = master.command().args(arguments).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("the clock was set forward"), "{told}");
    let verified = master
        .command()
        .args(["replay", "--verify"])
        .output()
        .unwrap();
    assert!(verified.status.success());
}
