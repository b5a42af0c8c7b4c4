//! Bounds: what does not fit, what comes from others, and how much memory all of it takes.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use crate::bench::{Keeper, wait_for};

/// The memory of a process that is its own (`RssAnon`), in KiB.
fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn names_that_are_too_long_for_a_variable_are_all_handed_over() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    // 3 * 253 names of 255 bytes: 190 KiB.
    let name = "n".repeat(255);
    assert_eq!(engine.tell(&format!("store {name} 759 long")), "done");
    assert_eq!(engine.tell("store short 1 text"), "done");
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("names"), format!("{name}=759 short=1"));
    assert_eq!(engine.tell("read short"), "text");
}

#[test]
fn a_store_that_is_full_refuses_more_accepts_nothing_and_says_so_once() {
    // 300 of them are for the keeper itself, which leaves room for 100.
    let keeper = Keeper::start_with(|command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut limited = std::process::Command::new("/bin/sh");
        limited
            .args(["-c", "ulimit -n 400; exec \"$0\" \"$@\""])
            .arg(program)
            .args(arguments);
        for (name, value) in command.get_envs() {
            limited.env(name, value.unwrap());
        }
        *command = limited;
        command
    });
    let path = keeper.path("listener");
    let mut engine = keeper.ready_engine();
    engine.tell(&format!("listen local {path}"));
    engine.tell("store many 98 text");
    let first = wait_for("the listener", || UnixStream::connect(&path).ok());
    assert_eq!(engine.tell("next"), "accepted local.1");
    let _waits = UnixStream::connect(&path).unwrap();
    engine.tell("store more 2 text");
    keeper.wait_for_log("more was not kept: there is no room");
    engine.tell("remove many");
    // There is room again: the one that waited is accepted.
    assert_eq!(engine.tell("next"), "accepted local.2");
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("names"), "local=1 local.1=1 local.2=1");
    assert_eq!(
        keeper
            .log()
            .matches("no more connections can be kept")
            .count(),
        1
    );
    drop(first);
}

#[test]
fn a_store_that_is_full_to_the_top_is_handed_over_whole() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = 16_384.min(limit.map_or(u64::MAX, |limit| limit - 300));
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    for number in 0..most / 253 {
        engine.tell(&format!("store round.{number} 253 text"));
    }
    engine.tell(&format!("store rest {} text", most % 253));
    engine.tell("store last 1 text");
    keeper.wait_for_log("last was not kept: there is no room");
    engine.kill();
    let mut engine = keeper.ready_engine();
    let names = engine.tell("names");
    let counts = names.split_ascii_whitespace();
    let counts = counts.map(|name| name.split_once('=').unwrap().1.parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), most);
    assert_eq!(engine.tell("read round.0"), "text");
}

#[test]
fn what_is_no_name_or_no_listener_is_refused() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    let told = engine.tell("store a:b 1 text");
    assert!(told.contains("is no name of a descriptor"), "{told}");
    let path = keeper.path("listener");
    assert_eq!(engine.tell(&format!("listen local {path}")), "done");
    let second = keeper.path("second");
    assert_eq!(engine.tell(&format!("listen local {second}")), "done");
    keeper.wait_for_log("local is no listening socket, or there already");
    engine.kill();
    assert_eq!(keeper.ready_engine().tell("names"), "local=1");
}

#[test]
fn messages_of_anybody_but_the_engine_are_ignored() {
    let mut keeper = Keeper::start();
    let engine = keeper.ready_engine();
    let environment = fs::read(format!("/proc/{}/environ", engine.pid)).unwrap();
    let address = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(b"NOTIFY_SOCKET=@"))
        .unwrap();
    let address = SocketAddr::from_abstract_name(address).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    for text in [
        "STOPPING=1",
        "X_ALLEX_ENGINE=/bin/false",
        "FDSTORE=1",
        "\0\n=",
        &"x".repeat(9000),
    ] {
        socket.send_to_addr(text.as_bytes(), &address).unwrap();
    }
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("names"), "");
    assert!(
        keeper.runs() && !keeper.log().contains("program"),
        "{}",
        keeper.log()
    );
}

#[test]
fn the_keeper_takes_little_memory_for_a_thousand_descriptors() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    for number in 0..1000 {
        engine.tell(&format!("store child.{number} 1 text"));
    }
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("names").split_ascii_whitespace().count(), 1000);
    let (memory, release) = (own_memory(keeper.pid()), !cfg!(debug_assertions));
    eprintln!("the keeper with 1,000 descriptors: {memory} KiB of its own (release: {release})");
    // A build for debugging has more that is its own; the figure is the release build's.
    assert!(memory <= if release { 1024 } else { 4096 }, "{memory} KiB");
}
