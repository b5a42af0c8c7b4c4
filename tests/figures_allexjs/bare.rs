//! The baseline: Node boots the same children, and nobody else does anything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use allexmaster_testkit::installation::Installation;
use serde_json::{Value, json};

/// So many children boot at the same time.
const AT_ONCE: usize = 2;
/// Ports of the baseline, apart from those of the masters.
const FIRST_PORT: u16 = 11_000;
/// The descriptor of a child's channel.
const CHANNEL: u8 = 3;
/// Puts its input, which is the channel, there, and becomes what it is told to be.
const AT_ITS_PLACE: &str = "exec \"$@\" 3<&0 0</dev/null";

/// Boots so many children of the time service, each until it says that it is there.
pub(crate) fn boot(installation: &Installation, children: u16) -> Duration {
    let folder = installation.folder().unwrap();
    let socket = format!("/tmp/allexmachinemanager.{}", std::process::id());
    // What an earlier run of this process number has left.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || stand_in(stream));
        }
    });
    let next = Arc::new(AtomicU16::new(0));
    let began = Instant::now();
    let taken = thread::scope(|scope| {
        let booting: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (next, folder) = (Arc::clone(&next), folder.path());
                scope.spawn(move || boot_in_turn(installation, folder, &next, children))
            })
            .collect();
        let booted: Vec<Vec<Child>> = booting
            .into_iter()
            .map(|booting| booting.join().unwrap())
            .collect();
        let taken = began.elapsed();
        booted.into_iter().flatten().for_each(end);
        taken
    });
    std::fs::remove_file(&socket).unwrap();
    taken
}

fn boot_in_turn(
    installation: &Installation,
    folder: &Path,
    next: &AtomicU16,
    children: u16,
) -> Vec<Child> {
    let mut booted = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= children {
            return booted;
        }
        booted.push(boot_one(installation, folder, number));
    }
}

fn boot_one(installation: &Installation, folder: &Path, number: u16) -> Child {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let strategies = json!({"ip": [{"ip": "127.0.0.1/32", "role": "user"}]});
    let descriptor = json!({
        "instancename": format!("Bare{number}"),
        "modulename": "allex_timeservice",
        "propertyhash": {},
        "strategies": strategies,
        "tcpport": FIRST_PORT + number,
        "httpport": FIRST_PORT + 1_000 + number,
        "wsport": FIRST_PORT + 2_000 + number,
        "masterpid": std::process::id(),
    });
    let child = Command::new("sh")
        .args(["-c", AT_ITS_PLACE, "sh", "node"])
        .arg(installation.child_program())
        .current_dir(folder)
        .env("NODE_PATH", installation.modules())
        .env("NODE_CHANNEL_FD", CHANNEL.to_string())
        .env("NODE_CHANNEL_SERIALIZATION_MODE", "json")
        .env("ALLEX_RUNTIMEDIRECTORY", ".")
        .env("ALLEX_SPAWN", descriptor.to_string())
        .env("parentProcessID", std::process::id().to_string())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ours.try_clone().unwrap());
    let mut line = String::new();
    while !line.contains("child_init") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "a child ended");
    }
    // It writes to its channel as long as it lives.
    thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    child
}

/// Answers a child as its master would: it is let in, and whatever it asks is granted.
fn stand_in(mut stream: UnixStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut text)?;
        for text in text.split(|byte| *byte == 0) {
            let frame: Value = serde_json::from_slice(text).unwrap();
            let answer = if frame[0] == "?" {
                json!(["!", frame[1]])
            } else if frame[2].is_null() {
                let session =
                    json!({"session": "s", "role": "service", "modulename": "allex_masterservice"});
                json!(["r", frame[0], session])
            } else {
                json!(["r", frame[0], true])
            };
            let answer = answer.to_string();
            stream.write_all(&u32::try_from(answer.len()).unwrap().to_le_bytes())?;
            stream.write_all(answer.as_bytes())?;
        }
    }
}

fn end(mut child: Child) {
    let socket = format!("/tmp/allexprocess.{}", child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    // It could not do so itself.
    let _ = std::fs::remove_file(socket);
}
