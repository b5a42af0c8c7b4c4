//! The program `allexlanmanager`, run as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allexlanmanager"));
    command
        .args(["--bind", "127.0.0.1", "--log-format", "json", "--directory"])
        .arg(folder)
        .stderr(Stdio::piped());
    command
}

fn on_any_ports(folder: &Path) -> Command {
    let mut command = command(folder);
    let flags = [
        "--ws-port",
        "--javascript-ws-port",
        "--signalr-port",
        "--tcp-port",
    ];
    for flag in flags {
        command.args([flag, "0"]);
    }
    command
}

fn file(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(".allexlanmanager").join(name)).unwrap()
}

fn write(folder: &Path, name: &str, content: &str) {
    let folder = folder.join(".allexlanmanager");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), content).unwrap();
}

/// A LanManager that runs; killed if the test fails before it is stopped.
struct Running(Child);

impl Running {
    /// Waits for the log lines that say that all doors are open; gives their addresses.
    fn start(folder: &Path) -> (Self, Vec<String>) {
        let mut child = on_any_ports(folder).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let mut doors = lines.filter_map(|line| {
            let fields = &line["fields"];
            (fields["message"] == "listening")
                .then(|| fields["address"].as_str().unwrap().to_owned())
        });
        let addresses = doors.by_ref().take(4).collect();
        // The rest of the log is read to its end, so that the child is not held up.
        std::thread::spawn(move || doors.count());
        (Self(child), addresses)
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_words(name: &str, text: &str, folder: &Path) {
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    allexmaster_testkit::assert_snapshot(&format!("lanmanager__{name}"), &text);
}

#[test]
fn a_fresh_folder_gets_the_files_of_allexjs_and_signals_end_it_well() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let (running, addresses) = Running::start(folder.path());
        assert_eq!(addresses.len(), 4);
        assert_eq!(running.stop(signal), Some(0));
    }
    let names = [
        "boot",
        "nat",
        "subnets",
        "needs",
        "needs.overlay",
        "needs.runtime",
    ];
    let contents: Vec<_> = names
        .iter()
        .map(|name| format!("{name}\n{}", file(folder.path(), name)))
        .collect();
    assert_words("default_files", &contents.join("\n\n"), folder.path());
}

#[test]
fn a_second_one_in_the_folder_says_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _) = Running::start(folder.path());
    let second = on_any_ports(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let holder = format!("process {}", running.0.id());
    assert!(words(&second).contains(&holder), "{}", words(&second));
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn a_killed_one_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (running, _) = Running::start(folder.path());
        assert_eq!(running.stop(Signal::KILL), None);
    }
    let (running, _) = Running::start(folder.path());
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn a_crash_at_any_point_of_the_start_is_survived() {
    // A first start has the events 1 and 2.
    for point in ["received:1", "appended:2", "durable:1", "stepped:2"] {
        let folder = tempfile::tempdir().unwrap();
        let mut crashing = on_any_ports(folder.path());
        let crashed = crashing
            .env("ALLEXMASTER_FAILPOINT", point)
            .output()
            .unwrap();
        assert_eq!(crashed.status.code(), None, "{point}");
        let (running, _) = Running::start(folder.path());
        assert_eq!(running.stop(Signal::TERM), Some(0), "{point}");
    }
}

#[test]
fn a_broken_file_is_named_with_its_place_and_left_alone() {
    let cases = [
        ("boot", "{\n  \"portcorection\": 1\n}"),
        ("boot", "{\"portcorrection\": \"one\"}"),
        ("boot", "{\"portcorrection\": 60000}"),
        ("needs", "[\n  {\"instancname\": \"Time\"}\n]"),
        ("needs", "[{\"instancename\": \"Time\"},\n]"),
        ("needs.runtime", "{}"),
        ("subnets", "[\"192.168.1.0/24\", \"10.0.0.0/99\"]"),
        ("subnets", "[\"10.0.0.0/8\", \"192.168.0.0/8\"]"),
        ("subnets", "[\"8.8.8.0/24\"]"),
        ("boot", "{\"allowedorigins\": [\"tools.example\"]}"),
        ("boot", "{\"allowedhosts\": [\"lan.example:80\"]}"),
        ("nat", "[{\"iaddress\": \"10.0.0.1\"}]"),
    ];
    let mut told = String::new();
    for (name, content) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, content);
        let output = command(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{content}");
        assert_eq!(file(folder.path(), name), content);
        let words = words(&output).replace(&folder.path().display().to_string(), "FOLDER");
        let last = words.lines().last().unwrap();
        told += &format!("{content}\n=> {last}\n\n");
    }
    assert_words("broken_files", &told, Path::new("/nowhere"));
}

#[test]
fn a_taken_port_is_named_with_what_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = on_any_ports(folder.path())
        .args(["--signalr-port", &port])
        .output();
    // The option is given twice now, which is wrong use.
    assert_eq!(output.unwrap().status.code(), Some(2));
    let mut command = command(folder.path());
    command.args([
        "--ws-port",
        "0",
        "--javascript-ws-port",
        "0",
        "--tcp-port",
        "0",
    ]);
    let output = command.args(["--signalr-port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output).replace(&port, "PORT");
    assert_words("taken_port", words.lines().last().unwrap(), folder.path());
}

#[test]
fn the_help_teaches() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allexlanmanager"));
    let output = command
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let mut help = String::new();
    output.stdout.as_slice().read_to_string(&mut help).unwrap();
    assert_words("help", &help, Path::new("/nowhere"));
}

/// What a tool prints, and how it ends.
fn tool(folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_allexlanmanager"));
    let output = tool.args(arguments).arg("--directory").arg(folder);
    let output = output.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

#[test]
fn the_network_and_its_past_are_told_while_it_runs_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let needs = r#"[{"instancename": "Time", "modulename": "allex_timeservice"}]"#;
    write(folder.path(), "needs", needs);
    let (running, _) = Running::start(folder.path());
    let tell = || {
        let (needs, code) = tool(folder.path(), &["needs", "--json"]);
        assert_eq!(code, Some(0));
        let needs: Value = serde_json::from_str(&needs).unwrap();
        assert_eq!(needs[0]["instancename"], "Time");
        assert_eq!(needs[0]["state"], "open");
        let (why, code) = tool(folder.path(), &["journal", "why", "Time"]);
        assert!(why.starts_with("Time is open.") && code == Some(0), "{why}");
        assert!(
            why.contains("the LanManager started: Time is needed"),
            "{why}"
        );
        for arguments in [
            &["status"][..],
            &["masters"],
            &["services", "--json"],
            &["journal", "info"],
            &["journal", "log", "--last", "3"],
            &["journal", "verify"],
            &["journal", "export"],
            &["replay"],
        ] {
            let (text, code) = tool(folder.path(), arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {text}");
        }
    };
    tell();
    drop(running);
    tell();
    let (unknown, code) = tool(folder.path(), &["journal", "why", "Clock"]);
    assert!(
        unknown.contains("it has Time") && code == Some(1),
        "{unknown}"
    );
    let nowhere = tempfile::tempdir().unwrap();
    let (text, code) = tool(nowhere.path(), &["status"]);
    assert_eq!(code, Some(6), "{text}");
}
