//! Rounds of deeds, and the quiet points between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster::client;
use allexmaster::status::StatusDocument;
use allexmaster_testkit::Finding;
use allexmaster_testkit::chance::Chance;
use allexmaster_testkit::disk::SmallDisk;
use allexmaster_testkit::installation::Installation;
use allexmaster_testkit::processes::{Signal, signal};
use allexmaster_testkit::tool::{Held, Tool};
use allexmaster_testkit::wait::TIMEOUT;
use allexmaster_testkit::wait::try_wait_for;
use serde_json::json;

use crate::checks::{self, Disturbance, Known};
use crate::load::Load;
use crate::processes::Census;
use crate::report::{Count, Report};
use crate::world::World;

/// The size of the master's disk in MiB: room for the journal and the logs of a long run, and soon filled.
const DISK: u32 = 128;
/// The most deeds of a round without any other kills than of engines.
const GENTLE_DEEDS: usize = 20;
/// The most deeds of a round of all kinds: few enough that most services are left alone.
const MIXED_DEEDS: usize = 8;
/// Of so many rounds, one kills the keeper.
const HARD_EVERY: u64 = 20;
/// Of so many others, one is of all kinds.
const MIXED_EVERY: u64 = 3;
/// How often is looked whether all is quiet: each look costs the master an answer.
const LOOK: Duration = Duration::from_millis(20);
/// How often is told that it goes on.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// The master's local sockets with a table of services each.
const TABLES: [&str; 2] = ["availablelanservices", "allexmachinemanager"];
/// The socket that takes calls.
pub(crate) const CALLS: &str = "allexmachinemanager";

/// All that a run has open.
pub(crate) struct Rounds {
    pub(crate) world: Option<World>,
    pub(crate) chance: Chance,
    pub(crate) report: Report,
    pub(crate) disk: Option<SmallDisk>,
    /// A connection that is there from the start of the master on.
    pub(crate) tool: Tool,
    held: Vec<Held>,
    /// The LanManager's own table; none since it was killed.
    pub(crate) lan: Option<Held>,
    load: Option<Load>,
    pub(crate) engine: u32,
    pub(crate) known: BTreeMap<String, Known>,
    pub(crate) disturbed: BTreeMap<String, Disturbance>,
    /// Every process that had a local socket: masters, and those that served anything.
    seen: BTreeSet<u32>,
    diary: File,
    began: Instant,
    told: Instant,
}

impl Rounds {
    pub(crate) fn start(
        seed: u64,
        mut world: World,
        installation: Option<&Installation>,
    ) -> Finding<Self> {
        let disk = match SmallDisk::mount(&world.master_folder(), DISK) {
            Ok(disk) => Some(disk),
            Err(why) => {
                println!("NOT RUN: a full disk: {why}");
                None
            }
        };
        world.begin(installation)?;
        let tool = open_tool(&world)?;
        let diary = world.log("deeds.log").map_err(|error| error.to_string())?;
        let mut rounds = Self {
            world: Some(world),
            chance: Chance::new(seed),
            report: Report::default(),
            disk,
            tool,
            held: Vec::new(),
            lan: None,
            load: None,
            engine: 0,
            known: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            seen: BTreeSet::new(),
            diary,
            began: Instant::now(),
            told: Instant::now(),
        };
        rounds.open()?;
        Ok(rounds)
    }

    pub(crate) fn run(&mut self, kills: u64) -> Finding<()> {
        self.quiet("the start")?;
        while self.report.count(Count::EnginesKilled) < kills {
            if self.chance.once_in(HARD_EVERY) {
                self.hard_round()?;
            } else if self.chance.once_in(MIXED_EVERY) {
                self.mixed_round()?;
            } else {
                self.gentle_round(kills)?;
            }
            if self.told.elapsed() > TELL_EVERY {
                self.told = Instant::now();
                let killed = self.report.count(Count::EnginesKilled);
                println!(
                    "{:>6} s: {killed} engines killed",
                    self.began.elapsed().as_secs()
                );
            }
        }
        // However few kills were asked for, each kind of round is in every run.
        self.mixed_round()?;
        self.hard_round()?;
        self.end_load()
    }

    /// Stops everything; nothing may be left.
    pub(crate) fn end(&mut self) -> Finding<()> {
        let world = self.world.as_mut().ok_or("it has ended already")?;
        world.stop()?;
        checks::nothing_left(world, &self.seen)?;
        self.disk = None;
        match self.world.take() {
            Some(world) => world.remove(),
            None => Ok(()),
        }
    }

    /// Ends every process of the run, and keeps the files.
    pub(crate) fn give_up(&mut self) -> Option<PathBuf> {
        let mut world = self.world.take()?;
        // Masters first, so that they do not start children anew.
        for program in [&mut world.master, &mut world.lan].into_iter().flatten() {
            let _ = program.kill();
            let _ = program.wait();
        }
        let census = Census::take(&world.mark());
        for process in census.engines.iter().chain(&census.all) {
            signal(process.pid, Signal::KILL);
        }
        if let Some(disk) = self.disk.take() {
            disk.keep();
        }
        Some(world.keep())
    }

    pub(crate) fn world(&mut self) -> Finding<&mut World> {
        self.world.as_mut().ok_or_else(|| "it has ended".to_owned())
    }

    /// Writes down what is done.
    pub(crate) fn note(&mut self, deed: &str) {
        let _ = writeln!(
            self.diary,
            "{:>10.3} {deed}",
            self.began.elapsed().as_secs_f64()
        );
    }

    fn gentle_round(&mut self, kills: u64) -> Finding<()> {
        let since = self.status()?.lanmanager.since;
        for held in self.held.iter_mut().chain(&mut self.lan) {
            held.changes = 0;
        }
        let deeds = 1 + self.chance.below(GENTLE_DEEDS);
        for _ in 0..deeds {
            if self.report.count(Count::EnginesKilled) >= kills {
                break;
            }
            self.gentle_deed()?;
            self.nothing_doubled()?;
        }
        self.quiet("a gentle round")?;
        let told: usize = self
            .held
            .iter()
            .chain(&self.lan)
            .map(|held| held.changes)
            .sum();
        if told > 0 {
            return Err(format!(
                "held queries told of {told} changes where there were none"
            ));
        }
        let still = self.status()?.lanmanager.since;
        if still != since {
            return Err(format!(
                "connected to the LanManager since {still}, and not {since}"
            ));
        }
        self.report.add(Count::RoundsUnnoticed, 1);
        Ok(())
    }

    fn mixed_round(&mut self) -> Finding<()> {
        let deeds = 2 + self.chance.below(MIXED_DEEDS - 1);
        for _ in 0..deeds {
            self.mixed_deed()?;
            self.nothing_doubled()?;
        }
        self.quiet("a mixed round")
    }

    /// The master dies as a whole; its tools do, too.
    fn hard_round(&mut self) -> Finding<()> {
        self.end_load()?;
        let killed = self.hard_deed()?;
        self.open()?;
        self.report.started_anew(killed.elapsed());
        self.quiet("a new start of the master")
    }

    /// Opens all that a tool has open at a master.
    fn open(&mut self) -> Finding<()> {
        let world = self.world()?;
        let tool = open_tool(world)?;
        let sockets = TABLES.map(|table| world.socket(table));
        let calls = world.socket(CALLS)?;
        self.tool = tool;
        self.held.clear();
        for socket in sockets {
            self.held.push(Held::open(Tool::local(&socket?)?)?);
        }
        self.load = Some(Load::start(&calls));
        self.engine = self.status()?.engine;
        Ok(())
    }

    fn end_load(&mut self) -> Finding<()> {
        if let Some(load) = self.load.take() {
            let answered = load.end()?;
            self.report.add(Count::Calls, answered);
        }
        Ok(())
    }

    pub(crate) fn status(&mut self) -> Finding<StatusDocument> {
        let answer = self.tool.ask("status", json!([]))?;
        self.report.add(Count::Calls, 1);
        client::document(answer).map_err(|error| error.to_string())
    }

    /// At any time: no service has two processes.
    pub(crate) fn nothing_doubled(&mut self) -> Finding<()> {
        let mark = self.world()?.mark();
        let processes = Census::take(&mark).by_service()?;
        let master = self.world()?.master_pid()?;
        self.seen.insert(master);
        self.seen
            .extend(processes.values().map(|process| process.pid));
        if self.load.as_ref().is_some_and(Load::has_found) {
            return self.end_load();
        }
        for held in self.held.iter_mut().chain(&mut self.lan) {
            held.follow()?;
        }
        Ok(())
    }

    /// Waits until everything is served, and compares everything.
    fn quiet(&mut self, after: &str) -> Finding<()> {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            self.nothing_doubled()?;
            let status = self.status()?;
            let Some(why) = self.unsettled(&status)? else {
                break status;
            };
            if Instant::now() > deadline {
                return Err(format!("{TIMEOUT:?} after {after} it is not quiet: {why}"));
            }
            sleep(LOOK);
        };
        let mark = self.world()?.mark();
        let known = checks::same_processes(&status, &self.known, &self.disturbed, &mark)
            .map_err(|finding| format!("after {after}: {finding}"))?;
        checks::ports(&status, &known).map_err(|finding| format!("after {after}: {finding}"))?;
        self.known = known;
        self.disturbed.clear();
        self.report.add(Count::QuietPoints, 1);
        self.note(&format!("quiet after {after}"));
        Ok(())
    }

    /// Why it is not quiet yet.
    fn unsettled(&mut self, status: &StatusDocument) -> Finding<Option<String>> {
        let world = self.world()?;
        let (expected, port) = (world.names.len(), world.lan_port());
        if let Some(why) = checks::unsettled(status, expected) {
            return Ok(Some(why));
        }
        let lingers = |name: &String, pid| {
            self.disturbed.get(name) == Some(&Disturbance::Orphaned)
                && self.known.get(name).map(|known| known.process.pid) == pid
        };
        let mut services = status.services.iter();
        if let Some(orphan) = services.find(|one| lingers(&one.instancename, one.pid)) {
            let name = &orphan.instancename;
            return Ok(Some(format!(
                "{name} has not noticed that its master was killed"
            )));
        }
        let needs = self.tool.ask("needs", json!([]))?;
        if needs != json!([]) {
            return Ok(Some(format!("the LanManager still needs {needs}")));
        }
        if self.lan.is_none() {
            self.lan = Some(Held::open(Tool::services(port)?)?);
        }
        let rows = checks::rows(status);
        for held in self.held.iter().chain(&self.lan) {
            let held = held.rows();
            let differing: Vec<&String> = rows.symmetric_difference(&held).collect();
            if !differing.is_empty() {
                return Ok(Some(format!("a table differs in {differing:?}")));
            }
        }
        Ok(None)
    }
}

/// Connects to the master as soon as it has its socket.
fn open_tool(world: &World) -> Finding<Tool> {
    let socket = world.socket(CALLS)?;
    try_wait_for("the socket of the master", || {
        Ok(socket.exists().then_some(()))
    })?;
    try_wait_for("the master to take a connection", || {
        Ok(Tool::local(&socket).ok())
    })
}
