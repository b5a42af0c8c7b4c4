//! One life of a master: what it starts, what comes back, what it takes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_lanmanager::Door;
use allexmaster_testkit::installation::Installation;
use allexmaster_testkit::master::{ROLE, program};
use allexmaster_testkit::processes::{self, Signal};
use serde_json::json;

use crate::watch::{Watch, name};

/// How long a child has been up when it is killed: a death in its first second is another matter.
const UP_FOR: Duration = Duration::from_secs(2);
/// Where each protocol's ports begin; a thousand for each.
const FIRST_PORTS: [u16; 3] = [26_000, 27_000, 28_000];
/// The port of a LanManager for SignalR: what a correction is added to.
const SIGNALR_PORT: u16 = 22_451;
/// The helper of the JavaScript master that gives out ports.
const HELPER: &str = "portoffice.js";

/// Which master.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one of this repository, over WebSocket.
    Ours,
    /// The one that it replaces, over SignalR, as it is.
    JavaScript,
}

/// What was measured in one life.
pub(crate) struct Figures {
    /// From its start until all services are listed.
    pub(crate) satisfied: Duration,
    /// From the kill of a child until its service is listed again.
    pub(crate) back: Vec<Duration>,
    /// The resident memory of the master's public process with all children, in KiB.
    pub(crate) memory: u64,
    /// That of its other process: our engine, or the helper of the JavaScript master.
    pub(crate) helper: Option<u64>,
}

/// Starts a master with so many needs, kills so many children one after the other, and ends it.
pub(crate) fn measure(installation: &Installation, kind: Kind, needs: u16, kills: u16) -> Figures {
    let folder = installation.folder().unwrap();
    let mut watch = Watch::start(folder.path(), needs);
    write_configuration(folder.path(), installation, kind, &watch);
    let began = Instant::now();
    let mut master = start(installation, kind, folder.path());
    let listed = watch.listed(needs);
    sleep(UP_FOR);
    let figures = Figures {
        satisfied: listed - began,
        back: (0..kills)
            .map(|number| back(&mut watch, &name(number)))
            .collect(),
        memory: processes::memory(master.id()),
        helper: find(|pid| match kind {
            Kind::Ours => {
                processes::fact(pid, "PPid") == Some(master.id().to_string())
                    && processes::environment(pid).contains(&(ROLE.into(), "engine".into()))
            }
            Kind::JavaScript => processes::command_line(pid).contains(HELPER),
        })
        .map(processes::memory),
    };
    processes::signal(master.id(), Signal::TERM);
    master.wait().unwrap();
    watch.end();
    figures
}

fn back(watch: &mut Watch, instance: &str) -> Duration {
    let own = format!("\"instancename\":\"{instance}\"");
    let child = find(|pid| {
        let variables = processes::environment(pid);
        variables.iter().any(|(_, value)| value.contains(&own))
            && processes::command_line(pid).contains("spawn.js")
    });
    let killed = Instant::now();
    processes::signal(child.unwrap(), Signal::KILL);
    watch.listed_again(instance) - killed
}

fn find(fits: impl Fn(u32) -> bool) -> Option<u32> {
    processes::all().find(|pid| fits(*pid))
}

fn write_configuration(folder: &Path, installation: &Installation, kind: Kind, watch: &Watch) {
    let [tcp, http, ws] = FIRST_PORTS;
    let ports = json!({ "tcp": tcp, "http": http, "ws": ws });
    let (file, configuration) = match kind {
        Kind::Ours => (
            "allexmasterconfig.json",
            json!({
                "lanmanageraddress": "127.0.0.1",
                "lanmanagerport": watch.port(Door::WebSocket),
                "portrangestart": ports,
                "launchers": { "node": { "command": ["node", installation.child_program()] } },
            }),
        ),
        Kind::JavaScript => {
            let correction = i32::from(watch.port(Door::SignalR)) - i32::from(SIGNALR_PORT);
            (
                ".allexmasterconfig.json",
                json!({
                    "lanmanageraddress": "127.0.0.1",
                    "lanmanagerportcorrection": correction,
                    "runtimedirectory": ".",
                    "portrangestart": ports,
                }),
            )
        }
    };
    fs::write(folder.join(file), configuration.to_string()).unwrap();
}

fn start(installation: &Installation, kind: Kind, folder: &Path) -> Child {
    let mut command = match kind {
        Kind::Ours => Command::new(program()),
        Kind::JavaScript => {
            let mut command = Command::new("node");
            command.arg(installation.master_program());
            command
        }
    };
    command
        .current_dir(folder)
        .env("NODE_PATH", installation.modules())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
