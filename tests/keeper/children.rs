//! Children whose parent is the keeper: their ends are known, whenever the engine dies.

use std::fs;

use allexmaster_testkit::processes::{Signal, fact, signal};
use allexmaster_testkit::wait::wait_for;

use crate::bench::{Engine, Keeper};

fn is_zombie(pid: u32) -> bool {
    fact(pid, "State").is_some_and(|state| state.starts_with('Z'))
}

/// What a process has open, by number.
fn open_files(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut open: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // It may have been closed meanwhile.
            let file = fs::read_link(entry.path()).ok()?;
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            Some(format!("{} {name}", entry.file_name().to_str().unwrap()))
        })
        .collect();
    open.sort();
    open
}

/// The next engine, with hands.
fn engine(keeper: &Keeper) -> Engine {
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell(&format!("hands {}", folder(keeper))), "done");
    engine
}

fn folder(keeper: &Keeper) -> String {
    keeper.folder.path().to_str().unwrap().to_owned()
}

/// Has the engine start a shell; answers with its process.
fn spawn(engine: &mut Engine, number: u32, script: &str) -> u32 {
    engine.tell(&format!("spawn {number} {script}"));
    let event = engine.tell("event");
    let pid = event.strip_prefix(&format!("spawned {number} "));
    pid.unwrap_or_else(|| panic!("{event}")).parse().unwrap()
}

pub(crate) fn a_child_is_born_as_the_keepers_and_is_reaped_when_its_end_is_on_disk() {
    let keeper = Keeper::start();
    let mut engine = engine(&keeper);
    let child = spawn(&mut engine, 1, "exit 7");
    assert_eq!(engine.tell("event"), "ended 1 Exited(7)");
    for _ in 0..100 {
        // It was told, and may not be on disk yet.
        engine.tell("wait");
        assert!(is_zombie(child));
    }
    engine.tell("record");
    wait_for("the end of the zombie", || {
        engine.tell("wait");
        fact(child, "State").is_none().then_some(())
    });
    assert_eq!(engine.tell("next"), format!("exited {child}"));
    let child = spawn(&mut engine, 2, "exec sleep 1000");
    assert_eq!(fact(child, "PPid"), Some(keeper.pid().to_string()));
    signal(child, Signal::TERM);
    assert_eq!(engine.tell("event"), "ended 2 Signaled(15)");
    assert_eq!(engine.tell("next"), format!("exited {child}"));
}

pub(crate) fn a_child_has_its_own_group_no_blocked_or_ignored_signal_and_nothing_open_but_its_three()
 {
    let keeper = Keeper::start();
    let mut engine = engine(&keeper);
    let child = spawn(&mut engine, 1, "exec sleep 1000");
    let group = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    let group = group
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .nth(2)
        .unwrap()
        .to_owned();
    assert_eq!(group, child.to_string());
    assert_eq!(fact(child, "SigBlk").unwrap(), "0".repeat(16));
    // What the runner of the tests ignores is ignored on purpose; SIGPIPE (13) is Rust's doing.
    let ignored = u64::from_str_radix(&fact(child, "SigIgn").unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0);
    // It may still be loading its libraries.
    wait_for("nothing but its three descriptors", || {
        (open_files(child) == ["0 null", "1 Service.log", "2 Service.log"]).then_some(())
    });
    signal(child, Signal::KILL);
    assert_eq!(engine.tell("event"), "ended 1 Signaled(9)");
}

pub(crate) fn the_exit_codes_of_children_outlive_the_engine_until_they_are_recorded() {
    let keeper = Keeper::start();
    let mut first = engine(&keeper);
    let gate = keeper.path("gate");
    let lives = spawn(&mut first, 1, "exec sleep 1000");
    let wait = format!("while ! test -e {gate}; do sleep 0.01; done");
    let exits = spawn(&mut first, 2, &format!("{wait}; exit 3"));
    let killed = spawn(&mut first, 3, "exec sleep 1000");
    first.kill();
    fs::write(&gate, "").unwrap();
    signal(killed, Signal::KILL);
    wait_for("both ends", || {
        (is_zombie(exits) && is_zombie(killed)).then_some(())
    });

    let folder = folder(&keeper);
    let expected = "alive [\"1\"] ended [\"2 Exited(3)\", \"3 Signaled(9)\"]";
    let mut second = engine(&keeper);
    assert_eq!(second.tell(&format!("find {folder}")), expected);
    // It dies, too, before it has recorded that.
    second.kill();
    let mut third = engine(&keeper);
    assert_eq!(third.tell(&format!("find {folder}")), expected);
    third.tell(&format!("bury {folder}"));
    third.tell("wait");
    assert_eq!(
        third.tell(&format!("find {folder}")),
        expected,
        "it is not on disk yet"
    );
    third.tell("record");
    wait_for("the end of the zombies", || {
        third.tell("wait");
        (fact(exits, "State").is_none() && fact(killed, "State").is_none()).then_some(())
    });
    assert_eq!(
        third.tell(&format!("find {folder}")),
        "alive [\"1\"] ended []"
    );
    assert!(!is_zombie(lives));
    signal(lives, Signal::KILL);
}

pub(crate) fn a_program_that_is_not_there_leaves_nothing_behind() {
    let keeper = Keeper::start();
    let mut engine = engine(&keeper);
    engine.tell("spawn-nothing 5");
    assert_eq!(engine.tell("event"), "not spawned 5");
    let folder = folder(&keeper);
    let nothing = "alive [] ended []";
    wait_for("the end of what was left behind", || {
        (engine.tell(&format!("find {folder}")) == nothing).then_some(())
    });
}

pub(crate) fn an_engine_that_is_killed_while_it_starts_children_loses_none() {
    let keeper = Keeper::start();
    let folder = folder(&keeper);
    let mut first = engine(&keeper);
    let mut pids = Vec::new();
    for round in 0..20 {
        // Not waited for: it is killed somewhere in the middle of it.
        first.order(&format!("spawn {} exec sleep 1000", 2 * round + 1));
        first.order(&format!("spawn {} exit 4", 2 * round + 2));
        first.order("wait");
        first.kill();
        first = engine(&keeper);
        let found = first.tell(&format!("find {folder}"));
        // Whatever was born is one or the other, whole: none is there without its name or number.
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.pid())).unwrap();
        let children: Vec<u32> = children
            .split_ascii_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        let others: Vec<u32> = children
            .into_iter()
            .filter(|pid| *pid != first.pid)
            .collect();
        let known = found.matches('"').count() / 2;
        assert_eq!(known, others.len(), "{found}");
        pids.extend(others);
    }
    pids.into_iter().for_each(|pid| signal(pid, Signal::KILL));
}

pub(crate) fn a_child_that_does_not_run_its_program_yet_is_waited_for() {
    let keeper = Keeper::start();
    let (folder, gate) = (folder(&keeper), keeper.path("gate"));
    let mut first = engine(&keeper);
    let script = format!(
        "while ! test -e {gate}; do sleep 0.01; done; exec env -u ALLEXMASTER_ROLE sleep 1000"
    );
    first.tell(&format!("spawn-newborn 1 {script}"));
    let event = first.tell("event");
    let child = event.strip_prefix("spawned 1 ").unwrap().parse().unwrap();
    first.kill();
    let mut second = engine(&keeper);
    let second_pid = second.pid;
    let pauses = || -> u64 {
        let pauses = fact(second_pid, "voluntary_ctxt_switches").unwrap();
        pauses.parse().unwrap()
    };
    let before = pauses();
    second.order(&format!("find {folder}"));
    // One that does not wait answers before it has paused so often.
    wait_for("the engine to look again and again, or to answer", || {
        (pauses() >= before + 10 || second.has_answered()).then_some(())
    });
    assert!(!second.has_answered());
    fs::write(&gate, "").unwrap();
    assert_eq!(second.line(), "alive [\"1\"] ended []");
    signal(child, Signal::KILL);
}

pub(crate) fn an_orphan_becomes_the_keepers_child_and_is_reaped_without_being_taken_for_a_service()
{
    let keeper = Keeper::start();
    let folder = folder(&keeper);
    let mut engine = engine(&keeper);
    let file = keeper.path("orphan");
    // A daemon: it leads its own session and group, and its parent ends at once.
    let script = format!(
        "setsid sh -c 'echo $$ > {file}.new; mv {file}.new {file}; exec sleep 1000' & exec sleep 1000"
    );
    let service = spawn(&mut engine, 1, &script);
    let orphan: u32 = wait_for("the daemon", || {
        fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    signal(service, Signal::KILL);
    assert_eq!(engine.tell("event"), "left 1 Signaled(9) 1");
    assert_eq!(fact(orphan, "PPid"), Some(keeper.pid().to_string()));
    signal(orphan, Signal::KILL);
    assert_eq!(engine.tell("event"), "ended 1 Signaled(9)");
    wait_for("the orphan to be reaped", || {
        fact(orphan, "State").is_none().then_some(())
    });
    // The service itself is still there, with its own end.
    assert!(is_zombie(service));
    engine.kill();
    let mut second = crate::children::engine(&keeper);
    assert_eq!(
        second.tell(&format!("find {folder}")),
        "alive [] ended [\"1 Signaled(9)\"]"
    );
}

pub(crate) fn children_of_an_engine_without_its_keeper_are_its_own() {
    let mut keeper = Keeper::start();
    let mut engine = engine(&keeper);
    let before = spawn(&mut engine, 1, "exec sleep 1000");
    signal(keeper.pid(), Signal::KILL);
    keeper.wait();
    assert_eq!(engine.tell("next"), "gone");
    let after = spawn(&mut engine, 2, "exec sleep 1000");
    assert_eq!(fact(after, "PPid"), Some(engine.pid.to_string()));
    signal(after, Signal::KILL);
    assert_eq!(engine.tell("event"), "ended 2 Signaled(9)");
    signal(before, Signal::KILL);
    let told = engine.tell("event");
    assert!(told.starts_with("ended 1 "), "{told}");
}
