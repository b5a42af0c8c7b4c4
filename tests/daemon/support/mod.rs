//! A LanManager, a master and what can be asked of them, each in a folder and with ports of its own.

pub(crate) mod tool;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster::client;
use allexmaster::status::{ServiceDocument, StatusDocument};
use allexmaster_lanmanager::{Door, LanManager, Options, Ports, Running};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

mod small_disk;

pub(crate) use small_disk::SmallDisk;

/// The built program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_allexmaster");
/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many ports of each protocol a test has.
pub(crate) const PORTS: u16 = 12;

/// Waits for a condition; the description is what the test fails with.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Ranges of ports that no other test of this program uses, below the ephemeral ones.
fn port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(18_000);
    let base = NEXT.fetch_add(3 * PORTS, Ordering::Relaxed);
    assert!(base < 32_000, "out of ports for tests");
    base
}

/// A need as the LanManager's file has it.
pub(crate) fn need(instance: &str, module: &str, properties: Value) -> Value {
    json!({ "instancename": instance, "modulename": module, "propertyhash": properties })
}

/// A LanManager in this process.
pub(crate) struct Lan {
    runtime: Runtime,
    running: Option<Running>,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
}

impl Lan {
    pub(crate) fn start(needs: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join(".allexlanmanager");
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("needs"), json!(needs).to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut lan = Self {
            runtime,
            running: None,
            folder,
            port: 0,
        };
        lan.go_on();
        lan
    }

    /// Starts it (again), on the same port as before.
    pub(crate) fn go_on(&mut self) {
        let options = Options {
            ports: Ports {
                web_socket: Some(self.port),
                ..Ports::ANY
            },
            ..Options::embedded(self.folder.path())
        };
        let running = wait_for("the LanManager's port", || {
            self.runtime
                .block_on(LanManager::start(options.clone()))
                .ok()
        });
        self.port = running.address(Door::WebSocket).unwrap().port();
        self.running = Some(running);
    }

    /// Ends it.
    pub(crate) fn go_away(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.shutdown()).unwrap();
    }
}

/// A folder of a master, and the master that runs in it now.
pub(crate) struct Master {
    /// What is mounted over the folder; taken away before it.
    disk: Option<SmallDisk>,
    pub(crate) folder: TempDir,
    pub(crate) sockets: TempDir,
    pub(crate) base: u16,
    process: Option<Child>,
}

impl Master {
    /// A folder with a configuration for this LanManager.
    pub(crate) fn new(lan_port: u16, more: Value) -> Self {
        let base = port_base();
        let mut config = json!({
            "lanmanageraddress": "127.0.0.1",
            "lanmanagerport": lan_port,
            "portrangestart": { "tcp": base, "http": base + PORTS, "ws": base + 2 * PORTS },
            "limits": { "portrangesize": PORTS, "portcooldown": 300, "dialretrymost": 250 },
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
            process: None,
        }
    }

    /// Puts the whole folder, which has only its configuration yet, on a small disk. Where this
    /// machine does not allow it, nothing is done, and that is said aloud.
    pub(crate) fn on_small_disk(&mut self) -> Option<&SmallDisk> {
        let file = self.folder.path().join("allexmasterconfig.json");
        let config = fs::read(&file).unwrap();
        match SmallDisk::mount(self.folder.path()) {
            Ok(disk) => {
                fs::write(&file, config).unwrap();
                Some(self.disk.insert(disk))
            }
            Err(why) => {
                // Past the test harness, which keeps what a passing test says to itself.
                let mut aloud = std::io::stderr();
                writeln!(aloud, "NOT RUN: a test with a full disk: {why}").unwrap();
                None
            }
        }
    }

    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--directory")
            .arg(self.folder.path())
            .arg("--socket-dir")
            .arg(self.sockets.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) -> &mut Self {
        self.start_with(&[])
    }

    /// Starts the master in one process, with variables set: killed, all of it is gone. Its log goes to
    /// a file in its folder.
    pub(crate) fn start_with(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        let mut all = vec![("ALLEXMASTER_ROLE", "single")];
        all.extend_from_slice(variables);
        self.launch(&all)
    }

    /// Starts the master as everybody does: a keeper, and its engine.
    pub(crate) fn start_kept(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        self.launch(variables)
    }

    fn launch(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("test.log"))
            .unwrap();
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

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// The process that does the work.
    pub(crate) fn engine(&self) -> u32 {
        wait_for("an engine that answers", || Some(self.status()?.engine))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("test.log")).unwrap_or_default()
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        arguments: Vec<Value>,
    ) -> Result<Value, client::AskError> {
        client::ask(self.folder.path(), self.sockets.path(), method, arguments)
    }

    pub(crate) fn status(&self) -> Option<StatusDocument> {
        client::document(self.ask("status", Vec::new()).ok()?).ok()
    }

    pub(crate) fn service(&self, instance: &str) -> Option<ServiceDocument> {
        let status = self.status()?;
        status
            .services
            .into_iter()
            .find(|service| service.instancename == instance)
    }

    /// Waits until a service is in a state.
    pub(crate) fn wait_for(&self, instance: &str, state: &str) -> ServiceDocument {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.service(instance);
            if let Some(service) = &last
                && service.state.as_str() == state
            {
                return service.clone();
            }
            sleep(Duration::from_millis(5));
        }
        panic!(
            "{instance} is not {state} but {last:?}; the master's log:\n{}",
            self.log()
        );
    }

    /// Waits until a service runs in another process than this.
    pub(crate) fn wait_for_other(&self, instance: &str, pid: u32) -> ServiceDocument {
        wait_for("another child", || {
            let service = self.service(instance)?;
            let runs = service.state.as_str() == "running" && service.reason.is_none();
            (runs && service.pid.is_some_and(|other| other != pid)).then_some(service)
        })
    }

    /// Kills the master with -9.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Whether the master has died.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Lets go of a master that has died.
    pub(crate) fn forget(&mut self) {
        self.process = None;
    }

    /// Waits for the master's own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        wait_for("the end of the master", || process.try_wait().unwrap())
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        self.wait()
    }

    pub(crate) fn socket_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.sockets.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The processes that a master of this folder started, and that still run.
    pub(crate) fn children(&self) -> Vec<u32> {
        let folder = fs::canonicalize(self.folder.path()).unwrap();
        let processes = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        processes
            .filter(|pid| {
                let here = fs::read_link(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|place| place.starts_with(&folder));
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                here && String::from_utf8_lossy(&environment).contains("ALLEXMASTER_INCARNATION=")
            })
            .collect()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // Children outlive a killed master: that is what is tested.
        for pid in self.children() {
            signal(pid, Signal::KILL);
        }
    }
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

pub(crate) fn signal(pid: u32, signal: Signal) {
    // A process that has gone needs no signal.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

pub(crate) fn lives(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let zombie = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('Z')
        })
    };
    test_kill_process(pid).is_ok() && !zombie()
}

/// What a real HTTP client gets.
pub(crate) fn http_get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A program that is on this machine, or nothing (said aloud).
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("{program} is not on this machine: this test did not run");
    }
    found
}
