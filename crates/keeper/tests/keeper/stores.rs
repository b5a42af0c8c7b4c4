//! Descriptors that outlive the engine, and connections that come in while there is none.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;

use crate::bench::Keeper;

pub(crate) fn descriptors_are_there_again_after_fifty_engines_were_killed() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("store lan 1 the-lan"), "done");
    assert_eq!(engine.tell("store child.1 2 first"), "done");
    for count in 1..=50 {
        // Right after it was told: not even that is lost.
        assert_eq!(engine.tell(&format!("store round 1 round-{count}")), "done");
        engine.kill();
        engine = keeper.ready_engine();
        assert_eq!(
            engine.tell("names"),
            format!("child.1=2 lan=1 round={count}")
        );
        assert_eq!(engine.tell("read lan"), "the-lan");
        assert_eq!(engine.tell("read child.1"), "first");
        assert_eq!(engine.tell("read round"), "round-1");
        assert_eq!(engine.keeper, keeper.pid());
    }
}

pub(crate) fn removed_descriptors_are_closed_and_the_order_is_kept() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    let (mut ours, path) = (Vec::new(), keeper.path("listener"));
    engine.tell(&format!("listen local {path}"));
    ours.push(wait_for("the listener", || UnixStream::connect(&path).ok()));
    assert_eq!(engine.tell("next"), "accepted local.1");
    for _ in 0..200 {
        engine.tell("store same 1 text");
        engine.tell("remove same");
    }
    engine.tell("store same 1 last");
    engine.tell("remove local.1");
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("names"), "local=1 same=1");
    assert_eq!(engine.tell("read same"), "last");
    // Nobody has the other end any more.
    assert_eq!(ours[0].read(&mut [0; 8]).unwrap(), 0);
}

pub(crate) fn what_is_told_to_a_keeper_that_does_not_read_waits_and_keeps_its_order() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    engine.tell("watchdog 600000000");
    signal(keeper.pid(), Signal::STOP);
    // Far more than the kernel lets wait for a socket.
    for number in 0..600 {
        assert_eq!(engine.tell(&format!("store kept.{number} 1 text")), "done");
        assert_eq!(engine.tell(&format!("store gone.{number} 1 text")), "done");
        assert_eq!(engine.tell(&format!("remove gone.{number}")), "done");
    }
    signal(keeper.pid(), Signal::CONT);
    engine.tell("store last 1 last");
    for path in ["one", "two"] {
        engine.tell(&format!("listen twice {}", keeper.path(path)));
    }
    // It says so when it has read all that came before.
    wait_for("the last of it", || {
        engine.tell("wait");
        keeper
            .log()
            .contains("twice is no listening socket, or there already")
            .then_some(())
    });
    engine.kill();
    let mut engine = keeper.ready_engine();
    let names = engine.tell("names");
    assert_eq!(names.matches("kept.").count(), 600);
    assert!(
        names.ends_with("last=1 twice=1") && !names.contains("gone"),
        "{names}"
    );
}

pub(crate) fn a_connection_is_accepted_once_and_kept_while_engines_come_and_go() {
    let keeper = Keeper::start();
    let path = keeper.path("listener");
    let mut engine = keeper.ready_engine();
    engine.tell(&format!("listen local {path}"));
    let mut before = wait_for("the listener", || UnixStream::connect(&path).ok());
    before.write_all(b"before\n").unwrap();
    assert_eq!(engine.tell("next"), "accepted local.1");
    engine.kill();
    // Whether an engine is there or not.
    let mut meanwhile: Vec<UnixStream> = (0..20)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    for (number, stream) in meanwhile.iter_mut().enumerate() {
        writeln!(stream, "meanwhile {number}").unwrap();
    }
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("hear local.1"), "before");
    let mut heard: Vec<String> = (0..20)
        .map(|number| {
            let name = format!("local.{}", number + 2);
            // It was either handed over or told.
            while !engine.tell("names").contains(&format!("{name}=1")) {
                engine.tell("next");
            }
            engine.tell(&format!("hear {name}"))
        })
        .collect();
    heard.sort();
    let mut expected: Vec<String> = (0..20)
        .map(|number| format!("meanwhile {number}"))
        .collect();
    expected.sort();
    assert_eq!(heard, expected);
    let mut answer = [0; 7];
    before.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"before\n");
}

pub(crate) fn a_child_of_the_engine_inherits_nothing_that_is_between_it_and_the_keeper() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("variables"), "[]");
}
