//! What the system knows of the processes of one run, without asking any of them.

use std::collections::BTreeMap;
use std::fs;

use allexmaster_keeper::os::stat;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Finding;

/// The variable that all processes of a run inherit; its value is the folder of the run.
pub(crate) const MARK: &str = "ALLEXMASTER_TORTURE";
/// What the master gives to each child, and to nobody else.
const INCARNATION: &str = "ALLEXMASTER_INCARNATION";
const SPAWN: &str = "ALLEX_SPAWN";
const ROLE: &str = "ALLEXMASTER_ROLE";

/// A process number, and the start that makes it unmistakable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has this number now, unless it is a zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid).filter(|stat| !stat.zombie)?;
        Some(Self {
            pid,
            started: stat.started,
        })
    }

    pub(crate) fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The living processes of a run.
pub(crate) struct Census {
    /// The service of each group leader that is a service's child.
    pub(crate) children: Vec<(String, Identity)>,
    pub(crate) engines: Vec<Identity>,
    /// All, those of above among them.
    pub(crate) all: Vec<Identity>,
}

impl Census {
    pub(crate) fn take(mark: &str) -> Self {
        let own = format!("{MARK}={mark}");
        let mut census = Self {
            children: Vec::new(),
            engines: Vec::new(),
            all: Vec::new(),
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| *pid != std::process::id()) {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let variables: Vec<_> = environment.split(|byte| *byte == 0).collect();
            let Some(identity) = Identity::of(pid).filter(|_| variables.contains(&own.as_bytes()))
            else {
                continue;
            };
            census.all.push(identity);
            census.sort(identity, &variables);
        }
        census
    }

    fn sort(&mut self, identity: Identity, variables: &[&[u8]]) {
        let variable = |name: &str| {
            let texts = variables
                .iter()
                .filter_map(|text| str::from_utf8(text).ok());
            texts
                .filter_map(|text| text.split_once('='))
                .find(|(key, _)| *key == name)
        };
        if variable(INCARNATION).is_none() {
            if variable(ROLE).is_some_and(|(_, role)| role == "engine") {
                self.engines.push(identity);
            }
            return;
        }
        let leads = stat(identity.pid).is_some_and(|stat| stat.group == identity.pid);
        let descriptor = variable(SPAWN)
            .and_then(|(_, text)| serde_json::from_str::<Value>(text).ok())
            .and_then(|value| value["instancename"].as_str().map(str::to_owned));
        if let Some(name) = descriptor.filter(|_| leads) {
            self.children.push((name, identity));
        }
    }

    /// The child of each service.
    ///
    /// # Errors
    /// A service has two.
    pub(crate) fn by_service(&self) -> Finding<BTreeMap<String, Identity>> {
        let mut found = BTreeMap::new();
        for (name, identity) in &self.children {
            if let Some(other) = found.insert(name.clone(), *identity)
                && other.lives()
                && identity.lives()
            {
                return Err(format!(
                    "{name} is served twice: by {other:?} and by {identity:?}"
                ));
            }
        }
        Ok(found)
    }
}

/// Sends a signal; a process that has gone needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
