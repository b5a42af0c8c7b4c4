//! The built program as a real process, in a folder of its own, and what can be asked of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use allexmaster::client;
use allexmaster::status::{ServiceDocument, StatusDocument};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::ports::{PortRange, reserve};
use crate::processes::{self, Signal, lives, signal};
use crate::wait::wait_for;

/// How many ports of each protocol a master has where its configuration says nothing else.
pub const PORTS: u16 = 12;
/// The variable that each child has in its environment, and nothing else.
pub const INCARNATION: &str = "ALLEXMASTER_INCARNATION";
/// The variable that says what a process of the program is.
pub const ROLE: &str = "ALLEXMASTER_ROLE";

/// The program `allexmaster` of this build, which cargo builds with every test and bench.
///
/// # Panics
/// It is not there.
pub fn program() -> PathBuf {
    built("allexmaster")
}

fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let program = folder.join(name);
    assert!(program.is_file(), "{} is not built", program.display());
    program
}

/// The program `allexlanmanager` of this build; built where it is not there yet.
///
/// # Panics
/// It cannot be built.
pub fn lan_manager_program() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "allexmaster-lanmanager"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let done = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(done.is_ok_and(|status| status.success()), "no LanManager");
    built("allexlanmanager")
}

/// A folder of a master, and the master that runs in it now.
pub struct Master {
    /// What is mounted over the folder; taken away before it.
    disk: Option<SmallDisk>,
    pub folder: TempDir,
    pub sockets: TempDir,
    /// The first of its ports.
    pub base: u16,
    _ports: PortRange,
    process: Option<Child>,
}

impl Master {
    /// A folder with a configuration for this LanManager; `more` is merged into it.
    pub fn new(lan_port: u16, more: Value) -> Self {
        let size = more["limits"]["portrangesize"].as_u64();
        let size = size
            .and_then(|size| u16::try_from(size).ok())
            .unwrap_or(PORTS);
        let ports = reserve(3 * size);
        let base = ports.first;
        let mut config = json!({
            "lanmanageraddress": "127.0.0.1",
            "lanmanagerport": lan_port,
            "portrangestart": { "tcp": base, "http": base + size, "ws": base + 2 * size },
            "limits": { "portrangesize": size, "portcooldown": 300, "dialretrymost": 250 },
        });
        merge(&mut config, more);
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string_pretty(&config).unwrap();
        fs::write(folder.path().join("allexmasterconfig.json"), text).unwrap();
        Self {
            disk: None,
            folder,
            sockets: tempfile::tempdir().unwrap(),
            base,
            _ports: ports,
            process: None,
        }
    }

    /// Puts the whole folder, which has only its configuration yet, on a disk of 8 MiB.
    ///
    /// # Panics
    /// This machine does not allow it.
    pub fn put_on_small_disk(&mut self) {
        let file = self.folder.path().join("allexmasterconfig.json");
        let config = fs::read(&file).unwrap();
        self.disk = Some(SmallDisk::mount(self.folder.path(), 8).unwrap());
        fs::write(&file, config).unwrap();
    }

    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    /// The program for this folder, without a command yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--directory")
            .arg(self.folder.path())
            .arg("--socket-dir")
            .arg(self.sockets.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the program in this folder to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub fn start(&mut self) -> &mut Self {
        self.start_with(&[])
    }

    /// Starts the master in one process, with variables set: killed, all of it is gone. Its log goes to
    /// a file in its folder.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        let mut all = vec![(ROLE, "single")];
        all.extend_from_slice(variables);
        self.start_kept(&all)
    }

    /// Starts the master as users do: a keeper, and its engine.
    pub fn start_kept(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        let mut log = fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.log_file()).unwrap();
        let process = self
            .command()
            .envs(variables.iter().copied())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        self
    }

    /// The public process: the keeper, where there is one.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// The process that does the work.
    pub fn engine(&self) -> u32 {
        wait_for("an engine that answers", || Some(self.status()?.engine))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("test.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The path of one of its local sockets.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(format!("{name}.{}", self.pid()))
    }

    /// # Errors
    /// The master does not answer, or refuses.
    pub fn ask(&self, method: &str, arguments: Vec<Value>) -> Result<Value, client::AskError> {
        client::ask(self.folder.path(), self.sockets.path(), method, arguments)
    }

    pub fn status(&self) -> Option<StatusDocument> {
        client::document(self.ask("status", Vec::new()).ok()?).ok()
    }

    pub fn service(&self, instance: &str) -> Option<ServiceDocument> {
        let mut services = self.status()?.services.into_iter();
        services.find(|service| service.instancename == instance)
    }

    /// Waits until a service is in a state.
    ///
    /// # Panics
    /// It is not in time; the message has its last state and the master's log.
    pub fn wait_for(&self, instance: &str, state: &str) -> ServiceDocument {
        let mut last = None;
        let found = crate::wait::try_wait_for(instance, || {
            last = self.service(instance);
            let fits = |service: &&ServiceDocument| service.state.as_str() == state;
            Ok(last.as_ref().filter(fits).cloned())
        });
        found.unwrap_or_else(|_| {
            let log = self.log();
            panic!("{instance} is not {state} but {last:?}; the master's log:\n{log}")
        })
    }

    /// Waits until a service runs in another process than this.
    pub fn wait_for_other(&self, instance: &str, pid: u32) -> ServiceDocument {
        wait_for("another child", || {
            let service = self.service(instance)?;
            (is_served(&service) && service.pid.is_some_and(|other| other != pid))
                .then_some(service)
        })
    }

    /// Kills the public process with -9.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Kills the engine with -9, and waits for the next one to answer.
    pub fn kill_engine(&self) -> u32 {
        let engine = self.engine();
        signal(engine, Signal::KILL);
        wait_for("another engine", || {
            let next = self.status()?.engine;
            (next != engine).then_some(next)
        })
    }

    /// Kills keeper and engine with -9.
    pub fn kill_both(&mut self) {
        let engine = self.engine();
        self.kill();
        signal(engine, Signal::KILL);
        wait_for("the engine's end", || (!lives(engine)).then_some(()));
    }

    /// Whether the public process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Lets go of a public process that has ended.
    pub fn forget(&mut self) {
        self.process = None;
    }

    /// Waits for the master's own end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        wait_for("the end of the master", || process.try_wait().unwrap())
    }

    /// Asks it to stop, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        self.wait()
    }

    pub fn socket_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.sockets.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The processes that a master of this folder started, and that still run.
    pub fn children(&self) -> Vec<u32> {
        let folder = fs::canonicalize(self.folder.path()).unwrap();
        let is_child = |pid: &u32| {
            let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
            works_in.is_ok_and(|place| place.starts_with(&folder))
                && processes::environment(*pid)
                    .iter()
                    .any(|(name, _)| name == INCARNATION)
        };
        processes::all().filter(is_child).collect()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // An engine outlives a killed keeper, and children a killed master: that is what is tested.
        let folder = self.folder.path().display().to_string();
        let engines =
            processes::all().filter(|pid| processes::command_line(*pid).contains(&folder));
        for pid in engines.chain(self.children()) {
            signal(pid, Signal::KILL);
        }
    }
}

/// Whether a service runs, and the LanManager has approved it.
pub fn is_served(service: &ServiceDocument) -> bool {
    service.state.as_str() == "running" && service.reason.is_none()
}

/// All that a command said, on both outputs.
pub fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    format!("{said}{}", String::from_utf8_lossy(&output.stderr))
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
