//! What each command says of a recorded journal, at the width of a small terminal, of a large one, and
//! in a file.

use crate::support::{assert_snapshot, recorded, said};
use allexmaster_inspect::command::Answer;

/// Every command on one journal.
fn all(name: &str, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for words in commands {
        for width in [Some(80), Some(200)] {
            let (output, answer) = said(&recorded(name), width, words);
            let columns = width.unwrap_or_default();
            let ended = match answer {
                Ok(Answer::Done) => String::new(),
                Ok(Answer::Found) => "(found something)\n".to_owned(),
                Err(error) => format!("error: {error}\n"),
            };
            text.push_str(&format!(
                "$ {}   # {columns} columns\n{output}{ended}\n",
                words.join(" ")
            ));
        }
    }
    text
}

#[test]
fn a_crash_loop_is_told() {
    let commands: &[&[&str]] = &[
        &["journal", "info"],
        &[
            "journal",
            "log",
            "--service",
            "Reports",
            "--effects",
            "--last",
            "8",
        ],
        &["journal", "log", "--kind", "child-exited"],
        &["journal", "why", "Reports"],
        &["journal", "why", "Reports", "--at", "29"],
        &["journal", "why", "Clock", "--at", "29"],
        &["journal", "why", "need:Nobody"],
        &["journal", "show", "29"],
        &["replay", "--at", "29"],
        &["replay", "--verify"],
        &["journal", "verify"],
    ];
    assert_snapshot("crash_loop", all("crash_loop", commands));
}

#[test]
fn a_port_conflict_is_told() {
    let commands: &[&[&str]] = &[
        &["journal", "log", "--port", "26101"],
        &["journal", "why", "port:26101"],
        &["journal", "why", "26101", "--at", "20"],
    ];
    assert_snapshot("port_conflict", all("port_conflict", commands));
}

#[test]
fn a_lost_lan_manager_is_told() {
    let commands: &[&[&str]] = &[
        &["journal", "log", "--kind", "lan-closed"],
        &["journal", "why", "Clock", "--all"],
        &["replay", "--from", "10", "--to", "20"],
    ];
    assert_snapshot("lost_lan_manager", all("lost_lanmanager", commands));
}

#[test]
fn a_restart_with_adoption_is_told() {
    let commands: &[&[&str]] = &[
        &["journal", "log"],
        &["journal", "why", "Web", "--at", "25"],
        &["journal", "why", "Other", "--at", "25"],
    ];
    assert_snapshot("adoption", all("adoption", commands));
}

#[test]
fn json_is_one_object_in_each_line() {
    let (output, answer) = said(
        &recorded("crash_loop"),
        None,
        &["journal", "log", "--json", "--effects"],
    );
    assert_eq!(answer.unwrap(), Answer::Done);
    let events: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["sequence"], 1);
    for field in [
        "at", "kind", "text", "services", "ports", "pids", "event", "effects", "texts",
    ] {
        assert!(
            events.iter().all(|event| !event[field].is_null()),
            "{field}"
        );
    }
    assert_snapshot("log_json", output.lines().next().unwrap());
}

#[test]
fn a_point_that_is_none_is_refused_with_what_would_be_one() {
    let (_, answer) = said(
        &recorded("crash_loop"),
        None,
        &["journal", "show", "yesterday"],
    );
    assert!(answer.unwrap_err().to_string().contains("03:12:07"));
    let (_, answer) = said(&recorded("crash_loop"), None, &["journal", "show", "7000"]);
    assert!(answer.unwrap_err().to_string().contains("has 1 to"));
}
