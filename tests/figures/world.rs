//! A LanManager in this process, and the built master beside it.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster::client;
use allexmaster::daemon::boot::journal_folder;
use allexmaster::machine::Rules;
use allexmaster::status::StatusDocument;
use allexmaster_journal::{JournaledMachine, MAX_BATCH, Options as JournalOptions, SystemClock};
use allexmaster_lanmanager::{Door, LanManager, Options, Running};
use allexmaster_state::{Event, ModuleName};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_allexmaster");

/// How often the master is asked whether it is done: each answer tells of all services, so
/// asking more often would measure the asking.
const LOOK_EVERY: Duration = Duration::from_millis(25);

pub(crate) struct World {
    // Ends with the world.
    _runtime: Runtime,
    _lan: Running,
    folder: TempDir,
    sockets: TempDir,
    needs: u32,
    master: Option<Child>,
    started: Instant,
    /// The process of each service before the master was killed.
    before: BTreeMap<String, u32>,
}

impl World {
    pub(crate) fn start(needs: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join(".allexlanmanager");
        fs::create_dir_all(&files).unwrap();
        let list: Vec<Value> = (0..needs)
            .map(|number| {
                json!({
                    "instancename": format!("Clock{number}"),
                    "modulename": "sample:clock",
                    "propertyhash": {},
                })
            })
            .collect();
        fs::write(files.join("needs"), json!(list).to_string()).unwrap();
        let runtime = Runtime::new().unwrap();
        let lan = runtime
            .block_on(LanManager::start(Options::embedded(folder.path())))
            .unwrap();
        let config = json!({
            "lanmanageraddress": "127.0.0.1",
            "lanmanagerport": lan.address(Door::WebSocket).unwrap().port(),
            "portrangestart": { "tcp": 26_000, "http": 28_000, "ws": 30_000 },
            "limits": { "portrangesize": 2_000 },
        });
        fs::write(
            folder.path().join("allexmasterconfig.json"),
            config.to_string(),
        )
        .unwrap();
        let mut world = Self {
            _runtime: runtime,
            _lan: lan,
            folder,
            sockets: tempfile::tempdir().unwrap(),
            needs,
            master: None,
            started: Instant::now(),
            before: BTreeMap::new(),
        };
        world.start_master();
        world
    }

    fn start_master(&mut self) {
        let log = fs::File::create(self.folder.path().join("master.log")).unwrap();
        self.started = Instant::now();
        let master = Command::new(PROGRAM)
            .arg("--directory")
            .arg(self.folder.path())
            .arg("--socket-dir")
            .arg(self.sockets.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.master = Some(master);
    }

    fn status(&self) -> Option<StatusDocument> {
        let folder = self.folder.path();
        let answer = client::ask(folder, self.sockets.path(), "status", Vec::new()).ok()?;
        // An answer of an earlier life would come from another process.
        let status: StatusDocument = client::document(answer).ok()?;
        (Some(status.pid) == self.master.as_ref().map(Child::id)).then_some(status)
    }

    fn wait_until(&self, condition: impl Fn(&StatusDocument) -> bool) -> Duration {
        loop {
            if self.status().is_some_and(|status| condition(&status)) {
                return self.started.elapsed();
            }
            sleep(LOOK_EVERY);
        }
    }

    fn all_approved(&self, status: &StatusDocument) -> bool {
        let approved = |service: &&allexmaster::status::ServiceDocument| {
            service.state.as_str() == "running" && service.reason.is_none()
        };
        status.services.iter().filter(approved).count() == self.needs as usize
    }

    pub(crate) fn satisfied_after(&mut self) -> Duration {
        self.wait_until(|status| self.all_approved(status))
    }

    /// The resident memory of the master, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self.master.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Kills children one after the other: the median and the longest time until another
    /// child is approved.
    pub(crate) fn back_after_a_kill(&mut self, times: usize) -> (Duration, Duration) {
        let mut taken: Vec<Duration> = (0..times)
            .map(|number| {
                let name = format!("Clock{number}");
                let find = |status: &StatusDocument| {
                    let mut services = status.services.iter();
                    services
                        .find(|service| service.instancename == name)
                        .cloned()
                };
                let before = self
                    .status()
                    .and_then(|status| find(&status))
                    .unwrap()
                    .pid
                    .unwrap();
                let begin = Instant::now();
                kill(before);
                loop {
                    let now = self.status().and_then(|status| find(&status)).unwrap();
                    let approved = now.state.as_str() == "running" && now.reason.is_none();
                    if approved && now.pid != Some(before) {
                        break begin.elapsed();
                    }
                }
            })
            .collect();
        taken.sort_unstable();
        (taken[taken.len() / 2], taken[taken.len() - 1])
    }

    pub(crate) fn kill_master(&mut self) {
        self.before = self.processes();
        let mut master = self.master.take().unwrap();
        master.kill().unwrap();
        master.wait().unwrap();
    }

    fn processes(&self) -> BTreeMap<String, u32> {
        let services = self.status().unwrap().services.into_iter();
        services
            .map(|service| (service.instancename, service.pid.unwrap()))
            .collect()
    }

    /// Adds events to the journal as if the master had lived so much longer, and leaves it as
    /// a kill leaves it: without a checkpoint of its end.
    pub(crate) fn add_events(&self, count: u32) {
        let folder = journal_folder(self.folder.path());
        let (mut live, _) =
            JournaledMachine::<Rules>::open(&folder, JournalOptions::default()).unwrap();
        let mut clock = SystemClock;
        let mut left = count as usize;
        while left > 0 {
            let batch = left.min(MAX_BATCH);
            let module = ModuleName::from("allex_timeservice");
            let event = Event::ModuleEngaged { module };
            live.commit(&mut clock, vec![event; batch]).unwrap();
            live.maintain().unwrap();
            left -= batch;
        }
    }

    /// The time until the master answers with all children, and until all are approved again.
    pub(crate) fn serves_after_restart(&mut self) -> (Duration, Duration) {
        self.start_master();
        let needs = self.needs as usize;
        let serves = self.wait_until(|status| {
            status
                .services
                .iter()
                .filter(|service| service.pid.is_some())
                .count()
                == needs
        });
        (serves, self.wait_until(|status| self.all_approved(status)))
    }

    /// How many services have another process than before the kill.
    pub(crate) fn wrong_children(&self) -> usize {
        let now = self.processes();
        let differing = self
            .before
            .iter()
            .filter(|(name, pid)| now.get(*name) != Some(pid));
        differing.count() + now.len().abs_diff(self.before.len())
    }

    pub(crate) fn stop(&mut self) -> Duration {
        let begin = Instant::now();
        let mut master = self.master.take().unwrap();
        let pid = Pid::from_child(&master);
        kill_process(pid, Signal::TERM).unwrap();
        master.wait().unwrap();
        begin.elapsed()
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}
