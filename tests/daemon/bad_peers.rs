//! Local peers that do not behave are cut off, and everybody else goes on.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

fn connect(master: &Master) -> UnixStream {
    let stream = UnixStream::connect(master.socket("allexmachinemanager")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// Whether the master closes the connection (what it says before does not matter).
fn is_cut_off(mut stream: UnixStream) -> bool {
    let mut said = [0; 4096];
    loop {
        match stream.read(&mut said) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn garbage_half_frames_and_monstrous_lengths_are_cut_off_and_others_go_on() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    master.wait_for("Clock", "running");

    let mut silent = connect(&master);
    let mut half = connect(&master);
    half.write_all(&[200, 0, 0, 0, b'[']).unwrap();

    let mut monstrous = connect(&master);
    monstrous.write_all(&(1_u32 << 30).to_le_bytes()).unwrap();
    assert!(is_cut_off(monstrous), "1 GiB is refused before it comes");

    let mut garbage = connect(&master);
    garbage.write_all(&frame("this is not JSON")).unwrap();
    assert!(is_cut_off(garbage));

    let mut binary = connect(&master);
    binary.write_all(&frame("\u{0}\u{1}\u{2}")).unwrap();
    assert!(is_cut_off(binary));

    // Everybody else goes on, and the patient ones are still connected.
    assert_eq!(master.service("Clock").unwrap().state.as_str(), "running");
    silent.write_all(&frame(r#"["?",1]"#)).unwrap();
    let mut answer = [0; 11];
    silent.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[4..8], b"[\"!\"");
}

#[test]
fn a_peer_that_opens_sessions_without_end_is_cut_off() {
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    wait_for("the master", || master.status());
    let mut greedy = connect(&master);
    let pid = std::process::id();
    let mut reader = greedy.try_clone().unwrap();
    // What it is answered is read, so that only the number of sessions can be the reason.
    let drained = std::thread::spawn(move || {
        let mut said = vec![0; 65_536];
        while let Ok(count) = reader.read(&mut said) {
            if count == 0 {
                return true;
            }
        }
        true
    });
    let mut cut = false;
    for number in 0..100_000 {
        let introduction = format!(
            r#"["g{number}",[null,{{"samemachineprocess":{{"pid":{pid},"role":"user"}}}}]]"#
        );
        if greedy.write_all(&frame(&introduction)).is_err() {
            cut = true;
            break;
        }
    }
    assert!(cut, "100,000 sessions were opened on one connection");
    assert!(drained.join().unwrap());
    assert!(master.status().is_some());
}

#[test]
fn a_process_that_claims_to_be_another_one_is_refused() {
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    wait_for("the master", || master.status());
    let mut liar = connect(&master);
    let claim = r#"["1",[null,{"samemachineprocess":{"pid":1,"role":"service"}}]]"#;
    liar.write_all(&frame(claim)).unwrap();
    let mut length = [0; 4];
    liar.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    liar.read_exact(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with(r#"{"err":"#) && answer.contains("NOT_THAT_PROCESS"),
        "{answer}"
    );
}

#[test]
fn the_sockets_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let lan = Lan::start(&[]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    wait_for("the master", || master.status());
    let names = ["allexmachinemanager", "availablelanservices", "nat"];
    let mut files: Vec<String> = names
        .iter()
        .map(|name| format!("{name}.{}", master.pid()))
        .collect();
    files.push("allexmachinemanager".to_owned());
    for file in files {
        let metadata = std::fs::metadata(master.sockets.path().join(&file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}
