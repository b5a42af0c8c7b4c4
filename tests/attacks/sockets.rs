//! Another user of the machine in the folder of the sockets, which is `/tmp` for AllexJS.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::{Duration, Instant};

use allexmaster_testkit::master::{INCARNATION, Master, program, text};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

use crate::other_user::{OtherUser, USER, share};

/// No LanManager is needed: nobody listens there.
const NOBODY: u16 = 9;

fn master() -> Master {
    let master = Master::new(NOBODY, json!({}));
    share(master.sockets.path());
    master
}

pub(crate) fn a_full_queue_at_a_name_of_ours_holds_up_neither_start_nor_end() {
    let mut master = master();
    let plain = master.sockets.path().join("allexmachinemanager");
    let _other = OtherUser::holding(&[plain]);
    master.start_kept(&[]);
    wait_for("an answer of the master", || master.status());
    assert!(master.stop().success());
}

pub(crate) fn neither_commands_nor_a_start_believe_a_socket_of_another_user() {
    let mut master = master();
    let pid = 4_000_000;
    fs::write(
        master.folder.path().join("allexmaster.pid"),
        format!("{pid}\n"),
    )
    .unwrap();
    let name = master
        .sockets
        .path()
        .join(format!("allexmachinemanager.{pid}"));
    let _other = OtherUser::holding(&[name]);
    let before = Instant::now();
    for command in [
        &["status"][..],
        &[
            "needs",
            "add",
            "S",
            "exec:x",
            "--property",
            "password=TOPSECRET",
        ],
    ] {
        let output = master.run(command);
        assert!(!output.status.success());
        let words = text(&output);
        assert!(
            words.contains(&format!("it belongs to user {USER}")),
            "{words}"
        );
    }
    assert!(before.elapsed() < Duration::from_secs(30));
    master.start_kept(&[]);
    wait_for("an answer of the master", || master.status());
    assert!(master.stop().success());
}

pub(crate) fn a_process_of_another_user_is_no_survivor_whatever_its_environment_says() {
    let mut master = master();
    master.start_kept(&[]);
    wait_for("an answer of the master", || master.status());
    assert!(master.stop().success());
    let header = master
        .folder
        .path()
        .join(".allexmaster/journal/journal.json");
    let header: Value = serde_json::from_slice(&fs::read(header).unwrap()).unwrap();
    let identity = header["identity"].as_str().unwrap();
    let mut sleep = Command::new("setsid");
    sleep
        .args(["sleep", "600"])
        .env(INCARNATION, format!("{identity}/1"));
    let other = OtherUser::run(sleep);
    wait_for("the other user's process", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", other.pid())).ok()?;
        (name.trim() == "sleep").then_some(())
    });
    master.start_kept(&[]);
    wait_for("an answer of the master", || master.status());
    assert!(master.log().contains("survivors=0"), "{}", master.log());
    assert!(allexmaster_testkit::processes::lives(other.pid()));
}

pub(crate) fn a_program_that_another_user_can_replace_is_not_upgraded_to() {
    let mut master = master();
    master.start_kept(&[]);
    let engine = master.engine();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("allexmaster");
    fs::copy(program(), &copy).unwrap();
    let upgrade = |master: &Master| {
        let output = master.run(&["upgrade", "--binary", copy.to_str().unwrap()]);
        assert!(!output.status.success());
        text(&output)
    };
    chown(folder.path(), Some(USER), Some(USER)).unwrap();
    let words = upgrade(&master);
    assert!(
        words.contains(&format!("belongs to user {USER}")),
        "{words}"
    );
    chown(folder.path(), Some(0), Some(0)).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let words = upgrade(&master);
    assert!(words.contains("others can write"), "{words}");
    assert_eq!(master.engine(), engine);
}
