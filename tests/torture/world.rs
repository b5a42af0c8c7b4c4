//! The programs of one run: a LanManager, a master and its children, all marked, in one folder.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use allexmaster_testkit::Finding;
use allexmaster_testkit::installation::Installation;
use allexmaster_testkit::lan::{self, need};
use allexmaster_testkit::master::{lan_manager_program, program};
use allexmaster_testkit::processes::{Identity, Signal, signal};
use allexmaster_testkit::wait::try_wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::MARK;

/// The folder of all local sockets of AllexJS.
pub(crate) const SOCKETS: &str = "/tmp";
/// How many ports the LanManager has before those of the services begin.
const LAN_PORTS: u16 = 100;
/// How many ports of each protocol the services have: enough for 300 and some that cool down.
const RANGE: u16 = 400;
pub(crate) struct World {
    /// Removed at the end of a run without a finding.
    folder: TempDir,
    programs: Programs,
    ports: u16,
    pub(crate) lan: Option<Child>,
    pub(crate) master: Option<Child>,
    /// All services that there must be.
    pub(crate) names: Vec<String>,
    /// Those that end when they notice that the socket to their master was closed.
    pub(crate) allexjs: Vec<String>,
}

impl World {
    /// Makes the folder; nothing runs in it yet.
    pub(crate) fn new(
        programs: Programs,
        children: u16,
        allexjs: Option<(&Installation, u16)>,
        ports: u16,
    ) -> Finding<Self> {
        let folder = match allexjs {
            Some((installation, _)) => installation.folder(),
            None => tempfile::tempdir(),
        };
        let folder = folder.map_err(|error| format!("no folder: {error}"))?;
        let node = allexjs.map_or(0, |(_, count)| count.min(children));
        let javascript: Vec<String> = (0..node).map(|number| format!("Time{number}")).collect();
        let clocks = (0..children - node).map(|number| format!("Clock{number}"));
        for name in ["lan/.allexlanmanager", "machine"] {
            let made = fs::create_dir_all(folder.path().join(name));
            made.map_err(|error| format!("no folder {name}: {error}"))?;
        }
        Ok(Self {
            folder,
            programs,
            ports,
            lan: None,
            master: None,
            names: clocks.chain(javascript.iter().cloned()).collect(),
            allexjs: javascript,
        })
    }

    /// Starts the LanManager and the master.
    pub(crate) fn begin(&mut self, installation: Option<&Installation>) -> Finding<()> {
        let written = self.write_files(installation);
        written.map_err(|error| format!("the files of the run: {error}"))?;
        self.start_lan()?;
        self.start_master()
    }

    fn write_files(&self, installation: Option<&Installation>) -> std::io::Result<()> {
        let needs = self.names.iter().map(|name| {
            let is_of_allexjs = self.allexjs.contains(name);
            let module = if is_of_allexjs {
                "allex_timeservice"
            } else {
                "sample:clock"
            };
            need(name, module, json!({}))
        });
        let needs = Value::Array(needs.collect());
        lan::write_file(&self.folder.path().join("lan"), "needs", &needs.to_string());
        let first = self.ports + LAN_PORTS;
        let mut configuration = json!({
            "lanmanageraddress": "127.0.0.1",
            "lanmanagerport": self.ports,
            "portrangestart": { "tcp": first, "http": first + RANGE, "ws": first + 2 * RANGE },
            "limits": { "portrangesize": RANGE, "portcooldown": 300, "dialretrymost": 250 },
            // Children that are killed again and again are not to be given up here.
            "restart": { "delay": 50, "delaymost": 500, "attempts": 0 },
        });
        if let Some(installation) = installation {
            let command = json!(["node", installation.child_program()]);
            configuration["launchers"] = json!({ "node": { "command": command } });
        }
        fs::write(
            self.master_folder().join("allexmasterconfig.json"),
            configuration.to_string(),
        )
    }

    /// What marks the processes of this run.
    pub(crate) fn mark(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(crate) fn master_folder(&self) -> PathBuf {
        self.folder.path().join("machine")
    }

    /// A local socket of the master, as its public process names it.
    pub(crate) fn socket(&self, name: &str) -> Finding<PathBuf> {
        Ok(Path::new(SOCKETS).join(format!("{name}.{}", self.master_pid()?)))
    }

    /// The LanManager's port for connections without WebSocket.
    pub(crate) const fn lan_port(&self) -> u16 {
        self.ports + 1
    }

    pub(crate) fn master_pid(&self) -> Finding<u32> {
        let master = self.master.as_ref().ok_or("there is no master")?;
        Ok(master.id())
    }

    pub(crate) fn lan_pid(&self) -> Finding<u32> {
        let lan = self.lan.as_ref().ok_or("there is no LanManager")?;
        Ok(lan.id())
    }

    pub(crate) fn start_lan(&mut self) -> Finding<()> {
        let ports = [0, 1, 2, 3].map(|door| self.ports + door);
        let folder = self.folder.path().join("lan");
        let command = lan::command(&self.programs.lan_manager, &folder, ports);
        self.lan = Some(self.spawn(command, "lanmanager.log")?);
        Ok(())
    }

    pub(crate) fn start_master(&mut self) -> Finding<()> {
        let mut command = Command::new(&self.programs.master);
        command.arg("--directory").arg(self.master_folder());
        // Children of AllexJS look for the sockets of their master where AllexJS has them, and nowhere else.
        command.arg("--socket-dir").arg(SOCKETS);
        self.master = Some(self.spawn(command, "master.log")?);
        Ok(())
    }

    fn spawn(&self, mut command: Command, log: &str) -> Finding<Child> {
        let log = self.log(log).map_err(|error| format!("{log}: {error}"))?;
        command.env(MARK, self.mark());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = command.spawn();
        started.map_err(|error| format!("{command:?} does not start: {error}"))
    }

    /// A file of the run itself, that grows.
    pub(crate) fn log(&self, name: &str) -> std::io::Result<File> {
        let path = self.folder.path().join(name);
        OpenOptions::new().create(true).append(true).open(path)
    }

    /// Kills the LanManager with -9.
    pub(crate) fn kill_lan(&mut self) -> Finding<()> {
        kill(self.lan.take())
    }

    /// Kills the public process of the master with -9.
    pub(crate) fn kill_keeper(&mut self) -> Finding<()> {
        kill(self.master.take())
    }

    /// Stops the master and the LanManager, in order.
    pub(crate) fn stop(&mut self) -> Finding<()> {
        stop("the master", self.master.take())?;
        stop("the LanManager", self.lan.take())
    }

    /// Removes the folder.
    pub(crate) fn remove(self) -> Finding<()> {
        let removed = self.folder.close();
        removed.map_err(|error| format!("the folder of the run cannot be removed: {error}"))
    }

    /// Leaves the folder to whoever looks for a reason.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

fn kill(program: Option<Child>) -> Finding<()> {
    let mut program = program.ok_or("it does not run")?;
    let killed = program.kill().and_then(|()| program.wait());
    killed
        .map(|_| ())
        .map_err(|error| format!("not to be killed: {error}"))
}

fn stop(what: &str, program: Option<Child>) -> Finding<()> {
    let mut program = program.ok_or("it does not run")?;
    signal(program.id(), Signal::TERM);
    let status = try_wait_for(&format!("the end of {what}"), || {
        program.try_wait().map_err(|error| error.to_string())
    })?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{what} ended with {status}"))
}

/// Waits until a process is gone.
pub(crate) fn gone(process: Identity) -> Finding<()> {
    try_wait_for("the end of a killed process", || {
        Ok((!process.lives()).then_some(()))
    })
}

/// The programs of a run.
pub(crate) struct Programs {
    master: PathBuf,
    lan_manager: PathBuf,
}

impl Programs {
    /// Those of a folder, or those of this build.
    pub(crate) fn find(folder: Option<PathBuf>) -> Finding<Self> {
        let Some(folder) = folder else {
            return Ok(Self {
                master: program(),
                lan_manager: lan_manager_program(),
            });
        };
        let folder = folder.canonicalize();
        let folder = folder.map_err(|error| format!("the folder of the programs: {error}"))?;
        Ok(Self {
            master: folder.join("allexmaster"),
            lan_manager: folder.join("allexlanmanager"),
        })
    }
}
