//! The configuration in force: whatever becomes of its file, nothing changes until somebody asks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use allexmaster::status::{ConfigurationDocument, StatusDocument};
use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

/// What can become of a file, and the state that `status` calls it.
const SPOILED: [(&str, &str); 8] = [
    ("half-saved", "mistaken"),
    ("mistyped", "mistaken"),
    ("empty", "mistaken"),
    ("binary", "mistaken"),
    ("gone", "gone"),
    ("a folder", "unreadable"),
    // A file that its user may not read; root may, so its name leads nowhere.
    ("unreadable", "unreadable"),
    ("a socket", "unreadable"),
];

fn file(master: &Master) -> PathBuf {
    master.folder.path().join("allexmasterconfig.json")
}

fn remove(master: &Master) {
    let file = file(master);
    if file.is_dir() {
        fs::remove_dir(&file).unwrap();
    } else {
        fs::remove_file(&file).unwrap();
    }
}

fn spoil(master: &Master, how: &str) {
    let good = fs::read_to_string(file(master)).unwrap();
    remove(master);
    let file = file(master);
    match how {
        "half-saved" => fs::write(file, &good[..good.len() / 2]).unwrap(),
        "mistyped" => fs::write(file, good.replace("limits", "limit")).unwrap(),
        "empty" => fs::write(file, "").unwrap(),
        "binary" => fs::write(file, b"\x7fELF\xff\xfe\0").unwrap(),
        "gone" => {}
        "a folder" => fs::create_dir(file).unwrap(),
        "unreadable" => symlink(&file, &file).unwrap(),
        "a socket" => drop(std::os::unix::net::UnixListener::bind(file).unwrap()),
        _ => panic!("{how}"),
    }
}

fn status(master: &Master) -> StatusDocument {
    wait_for("an answer", || master.status())
}

fn configuration(master: &Master) -> ConfigurationDocument {
    status(master).configuration.unwrap()
}

/// Writes the configuration again, changed.
fn edit(master: &Master, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(file(master)).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    fs::write(file(master), config.to_string()).unwrap();
}

fn web(address: &str) -> Value {
    json!({ "command": ["python3", "-m", "http.server", "{httpport}", "--bind", address] })
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap()
}

#[test]
fn whatever_becomes_of_the_file_a_killed_engine_comes_back_with_what_is_in_force() {
    let lan = Lan::start(&needs(1, "Clock", "sample:clock"));
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let before = master.wait_for("Clock0", "running");
    let since = master.status().unwrap().lanmanager.since;
    let good = fs::read_to_string(file(&master)).unwrap();
    for (how, state) in SPOILED {
        spoil(&master, how);
        master.kill_engine();
        let told = configuration(&master);
        assert_eq!(told.state, state, "{how}: {told:?}");
        assert!(told.reason.is_some(), "{how}: {told:?}");
        let shown = text(&master.run(&["status"]));
        assert!(shown.contains("is in force"), "{how}: {shown}");
        assert!(shown.contains("allexmasterconfig.json"), "{how}: {shown}");
        assert_eq!(file(&master).is_file(), state == "mistaken", "{how}: left");

        for arguments in [&["reload"][..], &["reload", "--json"], &["upgrade"]] {
            let refused = master.run(arguments);
            assert_eq!(refused.status.code(), Some(3), "{how}: {}", text(&refused));
            assert!(text(&refused).contains("allexmasterconfig.json"), "{how}");
        }
        // A signal changes nothing either, and is answered in the log.
        let refusals = || master.log().matches("not reloaded").count();
        let logged = refusals();
        signal(master.pid(), Signal::HUP);
        wait_for("the refusal", || (refusals() > logged).then_some(()));

        let _ = fs::symlink_metadata(file(&master)).map(|_| remove(&master));
        fs::write(file(&master), &good).unwrap();
        assert_eq!(configuration(&master).state, "in-force", "{how}");
    }
    let after = master.service("Clock0").unwrap();
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    assert_eq!(master.status().unwrap().lanmanager.since, since);
    assert!(master.stop().success());
}

#[test]
fn an_edited_file_is_in_force_when_somebody_asks_and_not_before() {
    let lan = Lan::start(&needs(1, "Web", "exec:web"));
    let mut master = Master::new(
        lan.port,
        json!({ "launchers": { "web": web("127.0.0.1") } }),
    );
    master.start_kept(&[]);
    let before = master.wait_for("Web0", "running");
    edit(&master, |config| {
        config["launchers"]["web"] = web("0.0.0.0");
        config["launchers"]["web"]["environment"] = json!({ "TOKEN": "secret" });
        config["limits"]["stopgrace"] = json!(1_234);
    });
    assert_eq!(configuration(&master).state, "edited");
    let shown = text(&master.run(&["status"]));
    assert!(
        shown.contains("not in force: `allexmaster reload`"),
        "{shown}"
    );
    master.kill_engine();
    assert_eq!(configuration(&master).state, "edited");

    let dry = text(&master.run(&["reload", "--dry-run"]));
    assert!(dry.contains("limits.stopgrace: 10000 -> 1234"), "{dry}");
    assert!(dry.contains("0.0.0.0"), "{dry}");
    assert!(
        dry.contains("Web0 would go on with the older command"),
        "{dry}"
    );
    assert!(!dry.contains("secret"), "{dry}");
    assert_eq!(configuration(&master).state, "edited");

    let reloaded = text(&master.run(&["reload"]));
    assert!(
        reloaded.contains("Web0 runs an older command"),
        "{reloaded}"
    );
    let same = master.service("Web0").unwrap();
    assert_eq!(same.pid, before.pid, "it was not touched");
    assert!(same.oldercommand && same.reason.unwrap().contains("older command"));
    // And so it is for every later engine.
    master.kill_engine();
    assert_eq!(configuration(&master).state, "in-force");
    assert!(master.service("Web0").unwrap().oldercommand);
    let shown = text(&master.run(&["config", "show"]));
    assert!(shown.contains("1234"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");

    let restarted: Value =
        serde_json::from_slice(&master.run(&["reload", "--restart", "--json"]).stdout).unwrap();
    assert_eq!(restarted["reloaded"], false, "there is nothing new");
    assert_eq!(restarted["restarted"], json!(["Web0"]));
    let after = master.wait_for_other("Web0", before.pid.unwrap());
    assert!(!after.oldercommand);
    assert!(command_line(after.pid.unwrap()).contains("0.0.0.0"));
    let again = text(&master.run(&["reload"]));
    assert!(again.contains("in force already"), "{again}");
    assert!(master.stop().success());
}

#[test]
fn the_signal_puts_an_edited_file_in_force_with_and_without_a_keeper() {
    for variables in [&[][..], &[("ALLEXMASTER_ROLE", "single")]] {
        let lan = Lan::start(&needs(1, "Clock", "sample:clock"));
        let mut master = Master::new(lan.port, json!({}));
        master.start_kept(variables);
        let before = master.wait_for("Clock0", "running");
        edit(&master, |config| {
            config["limits"]["stopgrace"] = json!(1_234)
        });
        signal(master.pid(), Signal::HUP);
        wait_for("the reload", || {
            (configuration(&master).state == "in-force").then_some(())
        });
        assert_eq!(master.service("Clock0").unwrap().pid, before.pid);
        assert!(master.stop().success());
    }
}

#[test]
fn another_address_of_the_lanmanager_leads_to_a_new_connection_and_touches_no_service() {
    let first = Lan::start(&needs(1, "Clock", "sample:clock"));
    let second = Lan::start(&[]);
    let mut master = Master::new(first.port, json!({}));
    master.start_kept(&[]);
    let before = master.wait_for("Clock0", "running");
    edit(&master, |config| {
        config["lanmanagerport"] = json!(second.port)
    });
    let told = text(&master.run(&["reload"]));
    assert!(
        told.contains(&format!(
            "lanmanagerport: {} -> {}",
            first.port, second.port
        )),
        "{told}"
    );
    let end = format!(":{}", second.port);
    wait_for("the other LanManager", || {
        let lan = status(&master).lanmanager;
        (lan.address.ends_with(&end) && lan.state == "connected").then_some(())
    });
    let after = master.service("Clock0").unwrap();
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    assert!(master.stop().success());
}

#[test]
fn a_lost_file_is_restored_from_what_is_in_force() {
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    assert_eq!(configuration(&master).state, "in-force");
    let good = fs::read_to_string(file(&master)).unwrap();
    fs::remove_file(file(&master)).unwrap();
    let kept = master.run(&["config", "show", "--text"]);
    assert_eq!(String::from_utf8(kept.stdout).unwrap(), good);
    // A start of the whole master reads the file again: then a mistake ends it.
    assert!(master.stop().success());
    fs::write(file(&master), "{").unwrap();
    master.start_kept(&[]);
    assert_eq!(master.wait().code(), Some(3));
}
