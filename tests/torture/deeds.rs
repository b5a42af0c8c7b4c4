//! What is done to the programs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_testkit::Finding;
use allexmaster_testkit::processes::{Identity, Signal, signal};
use allexmaster_testkit::tool::Tool;
use allexmaster_testkit::wait::TIMEOUT;
use allexmaster_testkit::wait::try_wait_for;
use serde_json::json;

use crate::checks::Disturbance;
use crate::processes::Census;
use crate::report::Count;
use crate::rounds::{CALLS, Rounds};
use crate::world::gone;

/// The longest pause before an engine is killed: it has come back by then, or not yet quite.
const MAX_PAUSE: Duration = Duration::from_millis(30);
/// Of so many engines that are killed, one has its successor killed as well before it serves.
const AGAIN_EVERY: u64 = 5;
/// How soon the successor is killed: from before it runs its program until it serves.
const MAX_AGAIN: Duration = Duration::from_millis(40);
/// Of so many gentle deeds, one stops an engine and continues it.
const STOP_EVERY: u64 = 10;
/// How long something is stopped. The LanManager and the keeper wait 20 s for a sign of life.
const MAX_STOP: Duration = Duration::from_millis(700);
/// A call that is cut short by a kill takes about so long.
const MAX_CALL: Duration = Duration::from_millis(4);
/// How long the disk is full, where the journal does not notice earlier.
const MAX_FULL: Duration = Duration::from_secs(2);
/// How long the LanManager is away.
const MAX_AWAY: Duration = Duration::from_millis(800);

impl Rounds {
    /// One that nobody may notice.
    pub(crate) fn gentle_deed(&mut self) -> Finding<()> {
        if self.chance.once_in(STOP_EVERY) {
            return self.stop_engine();
        }
        let again = self.chance.once_in(AGAIN_EVERY);
        self.kill_engine(again)
    }

    /// One of any kind that the keeper outlives.
    pub(crate) fn mixed_deed(&mut self) -> Finding<()> {
        match self.chance.below(10) {
            0 | 1 => self.kill_child(),
            2 => self.stop_child(),
            3 | 4 => self.restart(),
            5 => self.kill_lan(),
            6 => self.stop_lan(),
            7 => self.fill_disk(),
            8 => self.stop_engine(),
            _ => self.kill_engine(false),
        }
    }

    fn kill_engine(&mut self, again: bool) -> Finding<()> {
        sleep(self.chance.time_below(MAX_PAUSE));
        self.note(&format!(
            "kill -9 of engine {}, its successor too: {again}",
            self.engine
        ));
        signal(self.engine, Signal::KILL);
        self.report.add(Count::EnginesKilled, 1);
        let mut killed = Instant::now();
        let mut id = self.tool.call(".", "status", json!([]))?;
        let mut dead = vec![self.engine];
        if again {
            sleep(self.chance.time_below(MAX_AGAIN));
            let mark = self.world()?.mark();
            let mut next = Census::take(&mark).engines.into_iter();
            if let Some(next) = next.find(|next| next.pid != self.engine) {
                signal(next.pid, Signal::KILL);
                killed = Instant::now();
                dead.push(next.pid);
                self.report.add(Count::EnginesKilled, 1);
                self.report.add(Count::EnginesKilledComingBack, 1);
                // The one of before may have been answered by whom was just killed.
                let later = self.tool.call(".", "status", json!([]))?;
                self.tool.result(&id)?;
                id = later;
            }
        }
        let mut answer = self.tool.result(&id)?;
        let served = killed.elapsed();
        // A process dies a little after its signal was sent.
        while dead.iter().any(|pid| answer["engine"] == json!(pid)) {
            if killed.elapsed() > TIMEOUT {
                return Err("a killed engine goes on".to_owned());
            }
            answer = self.tool.ask("status", json!([]))?;
        }
        self.report.served_again(served.max(killed.elapsed()));
        let engine = answer["engine"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        self.engine = engine.ok_or("`status` names no engine")?;
        Ok(())
    }

    fn stop_engine(&mut self) -> Finding<()> {
        let time = self.chance.time_below(MAX_STOP);
        self.note(&format!("stop of engine {} for {time:?}", self.engine));
        signal(self.engine, Signal::STOP);
        let id = self.tool.call(".", "needs", json!([]));
        sleep(time);
        signal(self.engine, Signal::CONT);
        self.report.add(Count::EnginesStopped, 1);
        self.tool.result(&id?).map(|_| ())
    }

    /// A service that nothing was done to since the last quiet point.
    fn untouched(&mut self) -> Option<(String, Identity)> {
        let known = self.known.iter();
        let untouched: Vec<(String, Identity)> = known
            .filter(|(name, _)| !self.disturbed.contains_key(*name))
            .map(|(name, known)| (name.clone(), known.process))
            .collect();
        self.chance.one_of(&untouched).cloned()
    }

    fn kill_child(&mut self) -> Finding<()> {
        let Some((name, process)) = self.untouched() else {
            return Ok(());
        };
        self.note(&format!("kill -9 of {name}, process {}", process.pid));
        signal(process.pid, Signal::KILL);
        self.disturbed.insert(name, Disturbance::Once);
        self.report.add(Count::ChildrenKilled, 1);
        Ok(())
    }

    fn stop_child(&mut self) -> Finding<()> {
        let Some((name, process)) = self.untouched() else {
            return Ok(());
        };
        let time = self.chance.time_below(MAX_STOP);
        self.note(&format!(
            "stop of {name}, process {}, for {time:?}",
            process.pid
        ));
        signal(process.pid, Signal::STOP);
        sleep(time);
        signal(process.pid, Signal::CONT);
        self.report.add(Count::ChildrenStopped, 1);
        Ok(())
    }

    /// A call that must be done once, whenever the engine is killed meanwhile.
    fn restart(&mut self) -> Finding<()> {
        let Some((name, _)) = self.untouched() else {
            return Ok(());
        };
        self.note(&format!("call to restart {name}"));
        let id = self.tool.call(".", "restart", json!([name]))?;
        self.disturbed.insert(name.clone(), Disturbance::Once);
        self.report.add(Count::ServicesRestarted, 1);
        if self.chance.once_in(2) {
            sleep(self.chance.time_below(MAX_CALL));
            self.kill_engine(false)?;
        }
        let answer = self.tool.result(&id)?;
        if answer["instancename"] == name.as_str() {
            return Ok(());
        }
        Err(format!(
            "the call to restart {name} was answered by {answer}"
        ))
    }

    fn kill_lan(&mut self) -> Finding<()> {
        let time = self.chance.time_below(MAX_AWAY);
        self.note(&format!("kill -9 of the LanManager, for {time:?}"));
        self.lan = None;
        self.world()?.kill_lan()?;
        sleep(time);
        self.world()?.start_lan()?;
        self.report.add(Count::LanManagersKilled, 1);
        let port = self.world()?.lan_port();
        let address = ("127.0.0.1", port);
        try_wait_for("the LanManager to listen", || {
            Ok(std::net::TcpStream::connect(address).ok())
        })
        .map(|_| ())
    }

    fn stop_lan(&mut self) -> Finding<()> {
        let time = self.chance.time_below(MAX_STOP);
        self.note(&format!("stop of the LanManager for {time:?}"));
        let pid = self.world()?.lan_pid()?;
        signal(pid, Signal::STOP);
        sleep(time);
        signal(pid, Signal::CONT);
        self.report.add(Count::LanManagersStopped, 1);
        Ok(())
    }

    /// With a full disk nothing new is done, and all of it when there is room again.
    fn fill_disk(&mut self) -> Finding<()> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        disk.fill()?;
        self.note("the disk is full");
        self.kill_child()?;
        // What the journal has room for already is still written; it may last.
        let deadline = Instant::now() + self.chance.time_below(MAX_FULL);
        while Instant::now() < deadline {
            if !self.status()?.journal.is_written() {
                self.report.add(Count::JournalsUnwritable, 1);
                break;
            }
            self.nothing_doubled()?;
        }
        if let Some(disk) = &self.disk {
            disk.make_room()?;
        }
        self.note("there is room again");
        self.report.add(Count::DisksFilled, 1);
        Ok(())
    }

    /// One that the master does not outlive; answers with the moment of its death.
    pub(crate) fn hard_deed(&mut self) -> Finding<Instant> {
        let engine = Identity::of(self.engine).ok_or("the engine has gone by itself")?;
        let at_once = self.chance.once_in(2);
        self.note(&format!(
            "kill -9 of the keeper, and of engine {} at once: {at_once}",
            engine.pid
        ));
        if at_once {
            signal(engine.pid, Signal::KILL);
            self.world()?.kill_keeper()?;
            self.report.add(Count::BothKilled, 1);
        } else {
            let calls = self.world()?.socket(CALLS)?;
            self.world()?.kill_keeper()?;
            self.alone(&calls)?;
            signal(engine.pid, Signal::KILL);
            self.report.add(Count::KeepersKilled, 1);
        }
        let killed = Instant::now();
        gone(engine)?;
        for name in self.world()?.allexjs.clone() {
            self.disturbed.insert(name, Disturbance::Orphaned);
        }
        self.world()?.start_master()?;
        Ok(killed)
    }

    /// An engine without its keeper goes on: for connections from before, and for new ones.
    fn alone(&mut self, calls: &std::path::Path) -> Finding<()> {
        let deadline = Instant::now() + TIMEOUT;
        while self.status()?.keeper != "gone" {
            if Instant::now() > deadline {
                return Err("the engine does not notice that its keeper has gone".to_owned());
            }
        }
        let mut other = try_wait_for("the engine to accept", || Ok(Tool::local(calls).ok()))?;
        other.ask("needs", json!([]))?;
        let mark = self.world()?.mark();
        let census = Census::take(&mark).by_service()?;
        let mut known = self.known.iter();
        match known.find(|(name, known)| census.get(*name) != Some(&known.process)) {
            Some((name, known)) => Err(format!("{name} ({known:?}) did not outlive the keeper")),
            None => Ok(()),
        }
    }
}
