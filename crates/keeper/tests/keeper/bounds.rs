//! Bounds: what does not fit, what comes from others, and how much memory all of it takes.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use allexmaster_keeper::os;
use allexmaster_keeper::spawn::{self, Program};
use allexmaster_testkit::processes::fact;
use allexmaster_testkit::wait::wait_for;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::bench::{Engine, Keeper};
use crate::engine::TEST_VARIABLE;

/// The memory of a process that is its own (`RssAnon`), in KiB.
fn own_memory(pid: u32) -> u64 {
    let memory = fact(pid, "RssAnon").unwrap();
    memory.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn names_that_are_too_long_for_a_variable_are_all_handed_over() {
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

pub(crate) fn a_store_that_is_full_refuses_more_accepts_nothing_and_says_so_once() {
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

pub(crate) fn a_store_that_is_full_to_the_top_is_handed_over_whole() {
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

pub(crate) fn what_is_no_name_or_no_listener_is_refused() {
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

pub(crate) fn no_socket_of_the_keeper_has_an_address_that_others_could_write_to() {
    let keeper = Keeper::start();
    let engine = keeper.ready_engine();
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{}/fd", keeper.pid()))
        .unwrap()
        .filter_map(|entry| {
            let target = fs::read_link(entry.unwrap().path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    assert!(!sockets.is_empty(), "the link is a socket");
    // Num RefCount Protocol Flags Type St Inode Path, the last one only where there is an address.
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    for line in all.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let of_keeper = sockets
            .iter()
            .any(|inode| fields.get(6) == Some(&inode.as_str()));
        assert!(!of_keeper || fields.len() == 7, "{line}");
    }
    let environment = fs::read(format!("/proc/{}/environ", engine.pid)).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
}

pub(crate) fn an_engine_speaks_with_a_keeper_of_version_0_1_0_which_has_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    let control = UnixListener::bind(&path).unwrap();
    control.set_nonblocking(true).unwrap();
    let notify = folder.path().join("notify");
    let keeper = UnixDatagram::bind(&notify).unwrap();
    let (link, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .unwrap();
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (name, value) in [
        (TEST_VARIABLE, path.as_os_str()),
        ("NOTIFY_SOCKET", notify.as_os_str()),
        ("ALLEXMASTER_ROLE", "engine".as_ref()),
        ("WATCHDOG_USEC", "20000000".as_ref()),
        ("LISTEN_FDS", "1".as_ref()),
        ("LISTEN_FDNAMES", "keeper".as_ref()),
    ] {
        environment.push((name.into(), value.into()));
    }
    let started = spawn::start(&Program {
        path: std::env::current_exe().unwrap().into(),
        arguments: vec!["engine".into()],
        environment,
        number_variable: Some("LISTEN_PID="),
        folder: None,
        mark: None,
        descriptors: vec![(theirs.as_fd(), 3)],
        sibling: false,
    })
    .unwrap();
    drop(theirs);
    let mut engine = Engine::accept(&control);
    assert_eq!(engine.tell("ready"), "done");
    let mut text = [0; 64];
    let length = keeper.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1");
    drop(link);
    assert_eq!(engine.tell("next"), "gone");
    engine.order("exit 0");
    wait_for("its end", || os::reap(&started.pidfd));
}

pub(crate) fn the_keeper_takes_little_memory_for_a_thousand_descriptors() {
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
