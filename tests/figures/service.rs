//! What is started: the sample of this program, or a small native one; and the baseline, which
//! starts it as often with nothing around it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_testkit::Finding;
use allexmaster_testkit::master::program;
use allexmaster_testkit::ports::reserve;
use serde_json::{Value, json};

/// The pause between two attempts to connect, as the master has it at first.
const PAUSE: Duration = Duration::from_millis(2);

/// A kind of service.
pub(crate) enum Service {
    /// `allexmaster sample clock`, which serves three ports.
    Sample,
    /// A C program that serves its tcp port alone.
    Native(PathBuf),
}

impl Service {
    /// Builds the native one in a folder.
    ///
    /// # Errors
    /// There is no C compiler here.
    pub(crate) fn native(folder: &Path) -> Finding<Self> {
        let program = folder.join("serves");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/figures/serves.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-o"]).arg(&program).arg(source);
        match compiler.status() {
            Ok(status) if status.success() => Ok(Self::Native(program)),
            Ok(_) | Err(_) => Err("there is no C compiler `cc`".to_owned()),
        }
    }

    pub(crate) const fn name(&self) -> &str {
        match self {
            Self::Sample => "sample",
            Self::Native(_) => "native",
        }
    }

    pub(crate) const fn module(&self) -> &str {
        match self {
            Self::Sample => "sample:clock",
            Self::Native(_) => "exec:serves",
        }
    }

    /// What the master's configuration needs for it.
    pub(crate) fn launchers(&self) -> Value {
        match self {
            Self::Sample => json!({}),
            Self::Native(program) => json!({ "serves": {
                "command": [program, "{tcpport}"],
                "ready": ["tcp"],
            }}),
        }
    }

    fn spawn(&self, number: u16, ports: [u16; 3]) -> Child {
        let [tcp, http, ws] = ports;
        let mut command = match self {
            Self::Sample => {
                let descriptor = json!({
                    "instancename": format!("Bare{number}"),
                    "modulename": self.module(),
                    "propertyhash": {},
                    "tcpport": tcp, "httpport": http, "wsport": ws,
                });
                let mut command = Command::new(program());
                command.args(["sample", "clock"]);
                command.env("ALLEX_SPAWN", descriptor.to_string());
                command
            }
            Self::Native(program) => {
                let mut command = Command::new(program);
                command.arg(tcp.to_string());
                command
            }
        };
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        quiet.stderr(Stdio::null()).spawn().unwrap()
    }

    /// The time to spawn so many at once, and then to connect to all ports of each.
    pub(crate) fn bare_loop(&self, count: u16) -> Duration {
        let range = reserve(3 * count);
        let ports = |number| [0, 1, 2].map(|protocol| range.first + protocol * count + number);
        let serves = match self {
            Self::Sample => 3,
            Self::Native(_) => 1,
        };
        let begin = Instant::now();
        let children: Vec<Child> = (0..count)
            .map(|number| self.spawn(number, ports(number)))
            .collect();
        for port in (0..count).flat_map(|number| ports(number).into_iter().take(serves)) {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                sleep(PAUSE);
            }
        }
        let taken = begin.elapsed();
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        taken
    }
}
