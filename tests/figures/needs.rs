//! The baseline: what it takes to start the same program as often, with nothing around it.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports of the baseline, apart from those of the master.
const FIRST_PORT: u16 = 11_000;
/// The pause between two attempts to connect, as the program itself has it at first.
const PAUSE: Duration = Duration::from_millis(2);

/// Spawns and connects, one after the other.
pub(crate) fn bare_loop(count: u32) -> Duration {
    let begin = Instant::now();
    let mut children = Vec::new();
    for number in 0..count {
        children.push(spawn(number));
        connect(number);
    }
    let taken = begin.elapsed();
    end(children);
    taken
}

/// Spawns all, then connects to each.
pub(crate) fn bare_spawn_then_connect(count: u32) -> Duration {
    let begin = Instant::now();
    let children = (0..count).map(spawn).collect();
    (0..count).for_each(connect);
    let taken = begin.elapsed();
    end(children);
    taken
}

fn ports(number: u32) -> [u16; 3] {
    let offset = u16::try_from(number).unwrap();
    [0, 1, 2].map(|protocol| FIRST_PORT + protocol * 1_000 + offset)
}

fn spawn(number: u32) -> Child {
    let [tcp, http, ws] = ports(number);
    let descriptor = format!(
        r#"{{"instancename":"Bare{number}","modulename":"sample:clock","propertyhash":{{}},"tcpport":{tcp},"httpport":{http},"wsport":{ws}}}"#
    );
    Command::new(crate::world::PROGRAM)
        .args(["sample", "clock"])
        .env("ALLEX_SPAWN", descriptor)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Connects to all three ports, as often as it takes.
fn connect(number: u32) {
    for port in ports(number) {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            sleep(PAUSE);
        }
    }
}

fn end(children: Vec<Child>) {
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
