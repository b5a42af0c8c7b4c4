//! What the command line prints, and the exit codes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use allexmaster_testkit::assert_snapshot;
use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

use crate::PROGRAM;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_help_teaches() {
    for (name, arguments) in [
        ("help", vec!["--help"]),
        ("help_up", vec!["up", "--help"]),
        ("help_status", vec!["status", "--help"]),
        ("help_needs_add", vec!["needs", "add", "--help"]),
        ("help_stop", vec!["stop", "--help"]),
        ("help_start", vec!["start", "--help"]),
        ("help_restart", vec!["restart", "--help"]),
        ("help_wait", vec!["wait", "--help"]),
        ("help_shutdown", vec!["shutdown", "--help"]),
    ] {
        let output = run(&arguments);
        assert!(output.status.success());
        assert_snapshot(&format!("cli__{name}"), &text(&output.stdout));
    }
}

#[test]
fn a_flag_that_does_not_exist_is_a_usage_error_with_a_suggestion() {
    let output = run(&["status", "--jsn"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--json"));
}

#[test]
fn without_a_master_the_commands_say_so_with_their_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for arguments in [
        vec!["status"],
        vec!["needs", "list"],
        vec!["needs", "add", "A", "sample:clock"],
        vec!["needs", "remove", "A"],
        vec!["shutdown"],
        vec!["stop", "A"],
        vec!["start", "A"],
        vec!["restart", "A"],
        vec!["wait", "A", "--for", "running"],
    ] {
        let mut all = arguments.clone();
        all.extend(["--directory", folder]);
        let output = run(&all);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("no master runs in"),
            "{arguments:?}"
        );
        all.push("--json");
        let output = run(&all);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["error"]["code"], "NOT_RUNNING");
    }
}

#[test]
fn a_mistake_in_the_configuration_starts_nothing_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("allexmasterconfig.json");
    let mistaken = "{\n  \"lanmanageradress\": \"10.0.0.1\"\n}\n";
    std::fs::write(&file, mistaken).unwrap();
    let folder_name = folder.path().to_str().unwrap();
    for arguments in [
        vec!["--directory", folder_name],
        vec!["config", "check", "--directory", folder_name],
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(3));
        let said = text(&output.stderr);
        assert!(
            said.contains("lanmanageraddress") && said.contains(":2:"),
            "{said}"
        );
    }
    let output = run(&["config", "check", "--json", "--directory", folder_name]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["errors"][0]["line"], 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mistaken);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else was written"
    );
}

#[test]
fn the_default_configuration_is_written_where_there_is_none() {
    let mut master = Master::new(1, json!({}));
    std::fs::remove_file(master.folder.path().join("allexmasterconfig.json")).unwrap();
    master.start();
    wait_for("the master", || master.status());
    let text =
        std::fs::read_to_string(master.folder.path().join("allexmasterconfig.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "lanmanageraddress": "127.0.0.1",
        "portrangestart": { "tcp": 15000, "http": 16000, "ws": 17000 },
    });
    assert_eq!(written, expected);
    assert!(text.lines().count() > 1, "formatted for people");
}

#[test]
fn the_status_has_its_documented_fields() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    master.wait_for("Clock", "running");
    let output = master
        .command()
        .args(["status", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        keys(&status),
        [
            "configuration",
            "engine",
            "journal",
            "keeper",
            "lanmanager",
            "pid",
            "services",
            "startedat",
            "stopping",
            "version"
        ]
    );
    assert_eq!(
        keys(&status["lanmanager"]),
        [
            "address",
            "reason",
            "since",
            "state",
            "unannounced",
            "unreported",
            "waitingcalls"
        ]
    );
    assert_eq!(
        status["journal"],
        json!({ "state": "written", "since": null, "reason": null, "waiting": 0 })
    );
    let service = [
        "heldby",
        "heldsince",
        "httpport",
        "instancename",
        "lastends",
        "modulename",
        "nexttry",
        "oldercommand",
        "pid",
        "reason",
        "restarts",
        "startedat",
        "state",
        "supersededby",
        "supersededsince",
        "tcpport",
        "wsport",
    ];
    assert_eq!(keys(&status["services"][0]), service);
    assert_eq!(status["pid"], master.pid());
    assert_eq!(status["services"][0]["state"], "running");

    let output = master.command().arg("status").output().unwrap();
    let table = text(&output.stdout);
    assert!(
        table.contains("NAME") && table.contains("Clock") && table.contains("running"),
        "{table}"
    );
}

#[test]
fn needs_are_added_listed_and_removed() {
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    wait_for("the LanManager", || {
        (master.status()?.lanmanager.state == "connected").then_some(())
    });
    let add = |arguments: &[&str]| {
        let output = master
            .command()
            .args(["needs", "add"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    add(&["Here", "sample:clock", "--property", "utcoffset=3"]);
    add(&["There", "sample:clock", "--ipaddress", "10.1.2.3"]);
    master.wait_for("Here", "running");
    let list = || -> Vec<Value> {
        let output = master
            .command()
            .args(["needs", "list", "--json"])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let there = wait_for("the other need", || {
        list()
            .into_iter()
            .find(|need| need["instancename"] == "There")
    });
    assert_eq!(there["state"], "waiting");
    assert!(there["reason"].as_str().unwrap().contains("10.1.2.3"));
    let removed = master
        .command()
        .args(["needs", "remove", "There"])
        .output()
        .unwrap();
    assert!(removed.status.success());
    wait_for("its removal", || list().is_empty().then_some(()));
    let refused = master
        .command()
        .args(["restart", "Nobody"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(7));
}

#[test]
fn shutdown_returns_when_the_master_has_gone() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    let child = master.wait_for("Clock", "running").pid.unwrap();
    let output = master.command().arg("shutdown").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!lives(child));
    assert!(master.wait().success());
}

#[test]
fn up_satisfies_its_needs_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = tempfile::tempdir().unwrap();
    let mut up = Command::new(PROGRAM)
        .args(["up", "--plain", "--directory"])
        .arg(folder.path())
        .arg("--socket-dir")
        .arg(sockets.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let running = |line: &String| line.contains(": running, process ");
    let pids: Vec<u32> = lines
        .by_ref()
        .filter(running)
        .take(2)
        .map(|line| {
            let (_, rest) = line.split_once("process ").unwrap();
            rest.split(',').next().unwrap().parse().unwrap()
        })
        .collect();
    signal(pids[0], Signal::KILL);
    assert!(
        lines.by_ref().any(|line| running(&line)),
        "a killed child comes back"
    );
    signal(up.id(), Signal::INT);
    let rest: Vec<String> = lines.collect();
    assert!(up.wait().unwrap().success());
    assert_eq!(
        rest.last().map(String::as_str),
        Some("stopped: no process, socket or pid file is left")
    );
    assert!(!lives(pids[1]));
    assert_eq!(std::fs::read_dir(sockets.path()).unwrap().count(), 0);
    assert!(
        !folder
            .path()
            .join("allexmaster-up/allexmaster.pid")
            .exists()
    );
}

#[test]
fn a_role_that_there_is_none_is_refused() {
    let output = Command::new(PROGRAM)
        .env("ALLEXMASTER_ROLE", "king")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("use keeper, engine or single"), "{said}");
}

#[test]
fn a_master_that_cannot_be_spoken_to_is_not_said_to_be_absent() {
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    wait_for("the master", || master.status());
    let elsewhere = tempfile::tempdir().unwrap();
    let told = |master: &Master, command: &[&str]| {
        let output = Command::new(PROGRAM)
            .arg("--directory")
            .arg(master.folder.path())
            .arg("--socket-dir")
            .arg(elsewhere.path())
            .args(command)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    for command in [&["status"][..], &["needs", "list"], &["reload"]] {
        let (code, text) = told(&master, command);
        assert_eq!(code, Some(9), "{text}");
        let runs = format!("a master (process {}) runs in ", master.pid());
        assert!(text.contains(&runs), "{text}");
    }
    std::fs::remove_file(master.folder.path().join("allexmaster.pid")).unwrap();
    let (code, text) = told(&master, &["status"]);
    assert_eq!(code, Some(9), "{text}");
    // What the message advises.
    assert!(master.stop().success());
    let (code, text) = told(&master, &["status"]);
    assert_eq!(code, Some(5), "{text}");
}

#[test]
fn shutdown_returns_when_all_have_ended_although_the_pid_file_is_gone() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({ "linger": 1_000 }))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let clock = master.wait_for("Clock", "running").pid.unwrap();
    std::fs::remove_file(master.folder.path().join("allexmaster.pid")).unwrap();
    let output = master.run(&["shutdown"]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(!lives(clock), "{}", text_of(&output));
    assert!(master.wait().success());
}

fn text_of(output: &Output) -> String {
    allexmaster_testkit::master::text(output)
}

#[test]
fn what_is_no_name_and_no_address_is_refused_before_anybody_is_asked() {
    let master = Master::new(1, json!({}));
    let long = "n".repeat(257);
    for (arguments, why) in [
        (&["", "exec:web"][..], "a name must not be empty"),
        (&["Web", ""], "a name must not be empty"),
        (&["a\tb", "exec:web"], "control characters"),
        (&["a\nb", "exec:web"], "control characters"),
        (&[&long, "exec:web"], "too long"),
        (
            &["Web", "exec:web", "--ipaddress", "300.1.1.1"],
            "expected an address",
        ),
        (
            &["Web", "exec:web", "--ipaddress", "my-host"],
            "expected an address",
        ),
        (
            &["Web", "exec:web", "--ipaddress", "10.0.0.0/33"],
            "from 0 to 32",
        ),
        (
            &["Web", "exec:web", "--ipaddress", "::1/129"],
            "from 0 to 128",
        ),
    ] {
        let output = master.run(&[&["needs", "add"][..], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
}
