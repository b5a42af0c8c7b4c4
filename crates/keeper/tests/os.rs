//! The contracts of the operating system seam, against the real system.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use allexmaster_keeper::os;
use allexmaster_keeper::spawn::{self, Program, StartError, Started};
use allexmaster_testkit::wait::wait_for;

/// Starts a shell with a mark; its output goes nowhere.
fn shell(script: &str) -> Started {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let path = std::env::var_os("PATH").unwrap();
    spawn::start(&Program {
        path: "sh".into(),
        arguments: ["sh", "-c", script].map(Into::into).to_vec(),
        environment: vec![("PATH".into(), path), ("NAME".into(), "value".into())],
        number_variable: Some("NUMBER="),
        folder: Some("/".into()),
        mark: Some(1_234_567),
        descriptors: (0..3).map(|number| (null.as_fd(), number)).collect(),
        sibling: false,
    })
    .unwrap()
}

#[test]
fn a_process_is_known_by_its_mark_and_its_descendants_are_not_taken_for_it() {
    let own = std::process::id();
    let child = shell("sleep 1000 & wait");
    let descendant = wait_for("its child", || {
        os::children_of(child.pid).unwrap().first().copied()
    });
    assert_eq!(os::mark(child.pid), Some(1_234_567));
    assert_eq!(os::is_marked(child.pid), Some(true));
    assert_eq!(os::mark(descendant), None);
    assert_eq!(os::is_marked(descendant), Some(false));
    assert_eq!((os::mark(own), os::is_marked(own)), (None, Some(false)));

    let facts = os::stat(child.pid).unwrap();
    assert_eq!(
        (facts.parent, facts.group, facts.zombie),
        (own, child.pid, false)
    );
    assert_eq!(os::user(child.pid), os::user(own));
    assert!(os::processes().unwrap().any(|pid| pid == child.pid));
    let environment = String::from_utf8(os::environment(child.pid).unwrap()).unwrap();
    assert!(environment.contains("NAME=value\0"), "{environment}");
    assert!(
        environment.contains(&format!("NUMBER={}\0", child.pid)),
        "{environment}"
    );

    let again = os::open_process(child.pid).unwrap();
    assert!(!os::has_ended(&child.pidfd) && os::peek_status(&again).is_none());
    os::signal_group(&child.pidfd, os::Signal::KILL).unwrap();
    wait_for("its end", || os::has_ended(&again).then_some(()));
    // Looked at twice, and with its mark still readable: it is a zombie.
    for _ in 0..2 {
        let status = os::peek_status(&child.pidfd).unwrap();
        assert_eq!(status.terminating_signal(), Some(9));
    }
    assert_eq!(os::status_of_zombie(child.pid, facts.started), Some(9));
    assert_eq!(os::status_of_zombie(child.pid, facts.started + 1), None);
    assert_eq!(os::mark(child.pid), Some(1_234_567));
    os::reap(&child.pidfd).unwrap();
    assert!(os::stat(child.pid).is_none() && os::open_process(child.pid).is_err());
    assert_eq!(os::is_marked(child.pid), None);
    // Kernels before 6.15 do not keep it.
    assert!(matches!(os::exit_status(&again), Ok(Some(9)) | Err(_)));
    wait_for("the end of its group", || {
        os::stat(descendant)
            .is_none_or(|stat| stat.zombie)
            .then_some(())
    });
}

#[test]
fn a_program_that_cannot_run_says_why_and_leaves_no_process() {
    for (path, folder, expected) in [
        ("/there/is/nothing", "/", os::Errno::NOENT),
        ("nothing-of-this-name", "/", os::Errno::NOENT),
        ("/etc/passwd", "/", os::Errno::ACCESS),
        ("sh", "/there/is/nothing", os::Errno::NOENT),
    ] {
        let started = spawn::start(&Program {
            path: path.into(),
            arguments: vec![path.into()],
            environment: Vec::new(),
            number_variable: None,
            folder: Some(folder.into()),
            mark: None,
            descriptors: Vec::new(),
            sibling: false,
        });
        let Err(StartError::NotRun { error, left_behind }) = started else {
            panic!("{path} was started: {started:?}");
        };
        assert_eq!((error, left_behind), (expected, None), "{path}");
    }
}

#[test]
fn what_is_in_a_pipe_goes_to_a_socket_and_what_is_peeked_stays() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = OwnedFd::from(listener.accept().unwrap().0);
    os::set_nonblocking(&socket).unwrap();
    let mut buffer = [0; 16];
    let nothing = os::receive(&socket, &mut buffer, false).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);

    os::set_peek_offset(&socket, 0).unwrap();
    peer.write_all(b"hello").unwrap();
    wait_for("five bytes", || {
        os::receive(&socket, &mut buffer, true).ok()
    });
    assert_eq!(os::peek_offset(&socket).unwrap(), 5);
    assert_eq!(os::receive(&socket, &mut buffer, false).unwrap(), 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(os::peek_offset(&socket).unwrap(), 0);

    let (from, to) = os::pipe().unwrap();
    assert!(os::pipe_size(&to).unwrap() >= 4_096);
    assert_eq!(os::write_pipe(&to, b"answer").unwrap(), 6);
    assert_eq!(os::pipe_length(&from).unwrap(), 6);
    assert_eq!(os::splice(&from, &socket, 4).unwrap(), 4);
    assert_eq!(os::pipe_length(&from).unwrap(), 2);
    assert_eq!(os::send(&socket, b"!").unwrap(), 1);
    os::shut_down(&socket);
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut peer, &mut heard).unwrap();
    assert_eq!(heard, "answ!");
}

#[test]
fn a_local_peer_is_named_by_the_kernel() {
    let (one, _other) = UnixStream::pair().unwrap();
    let peer = os::peer(&one).unwrap();
    assert_eq!(peer.pid, std::process::id());
    assert_eq!(Some(peer.user), os::user(peer.pid));
    assert!(peer.is_trusted());
    let stranger = os::Peer {
        user: peer.user + 1,
        ..peer
    };
    assert!(!stranger.is_trusted());
}

#[test]
fn a_file_loses_its_first_blocks_or_the_file_system_says_that_it_cannot() {
    let file = tempfile::tempfile().unwrap();
    let block = os::block_size(&file).unwrap();
    file.set_len(3 * block).unwrap();
    let left = match os::cut_front(&file, block) {
        Ok(()) => 2,
        Err(error) => {
            assert_eq!(error, os::Errno::OPNOTSUPP);
            3
        }
    };
    assert_eq!(file.metadata().unwrap().len(), left * block);
}

#[test]
fn the_clock_goes_on_and_all_descriptors_are_allowed() {
    let before = os::monotonic();
    wait_for("the clock to go on", || {
        (os::monotonic() > before).then_some(())
    });
    let limit = os::raise_descriptor_limit().unwrap();
    assert_eq!(os::raise_descriptor_limit().unwrap(), limit);
    assert!(limit.is_none_or(|limit| limit >= 1_024));
    assert_eq!(os::boot_id().unwrap().len(), 36);
}
