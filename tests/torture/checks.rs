//! What must hold, seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::Path;

use allexmaster::process::foreign_listener;
use allexmaster::status::{ServiceDocument, StatusDocument};
use allexmaster_state::{BootId, Port};
use allexmaster_testkit::Finding;
use allexmaster_testkit::processes::Identity;
use allexmaster_testkit::tool::line;

use crate::processes::Census;
use crate::world::{SOCKETS, World};

/// What is known of a service since the last quiet point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) process: Identity,
    pub(crate) restarts: u32,
}

/// What was done to a service since the last quiet point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Disturbance {
    /// It was killed, or told to start anew: once.
    Once,
    /// It lost its master, which it does not outlive: it ends by itself, and is started again.
    Orphaned,
}

/// Whether everything is served; why not, if not.
pub(crate) fn unsettled(status: &StatusDocument, expected: usize) -> Option<String> {
    let lan = &status.lanmanager;
    let waiting = lan.unreported + lan.unannounced + lan.waitingcalls;
    let is_served =
        |service: &ServiceDocument| service.state.as_str() == "running" && service.reason.is_none();
    let unserved = status.services.iter().find(|service| !is_served(service));
    if let Some(service) = unserved {
        return Some(format!("{service:?}"));
    }
    if status.services.len() != expected {
        return Some(format!(
            "{} services instead of {expected}",
            status.services.len()
        ));
    }
    if lan.state != "connected" || waiting > 0 || !status.journal.is_written() {
        return Some(format!("{lan:?}, {:?}", status.journal));
    }
    None
}

/// The rows that each table must have.
pub(crate) fn rows(status: &StatusDocument) -> BTreeSet<String> {
    let port = |port: Option<u16>| port.map_or(0, u64::from);
    let rows = status.services.iter().map(|service| {
        let ports = [service.tcpport, service.httpport, service.wsport].map(port);
        line(&service.instancename, ports)
    });
    rows.collect()
}

/// Holds what runs to what ran before, and answers with what is known from now on.
pub(crate) fn same_processes(
    status: &StatusDocument,
    known: &BTreeMap<String, Known>,
    disturbed: &BTreeMap<String, Disturbance>,
    mark: &str,
) -> Finding<BTreeMap<String, Known>> {
    let census = Census::take(mark).by_service()?;
    let mut now = BTreeMap::new();
    for service in &status.services {
        let name = &service.instancename;
        let process = census.get(name).copied();
        let process = process.filter(|process| Some(process.pid) == service.pid);
        let process = process.ok_or_else(|| {
            format!(
                "{name} has process {:?} by `status`, and {:?} by the system",
                service.pid,
                census.get(name)
            )
        })?;
        let next = Known {
            process,
            restarts: service.restarts,
        };
        if let Some(before) = known.get(name) {
            judge(name, *before, next, disturbed.get(name).copied())?;
        }
        now.insert(name.clone(), next);
    }
    match census.keys().find(|name| !now.contains_key(*name)) {
        Some(name) => Err(format!(
            "a process of {name} runs, of which the master does not know"
        )),
        None => Ok(now),
    }
}

fn judge(name: &str, before: Known, now: Known, done: Option<Disturbance>) -> Finding<()> {
    let is_same = before.process == now.process;
    let restarts = i64::from(now.restarts) - i64::from(before.restarts);
    let is_right = match done {
        None => is_same && restarts == 0,
        Some(Disturbance::Once) => !is_same && restarts == 1,
        Some(Disturbance::Orphaned) => !is_same,
    };
    if is_right {
        return Ok(());
    }
    Err(format!(
        "{name}: done to it: {done:?}; it was {before:?} and is {now:?}"
    ))
}

/// Each port is one service's, whose own process listens there.
pub(crate) fn ports(status: &StatusDocument, known: &BTreeMap<String, Known>) -> Finding<()> {
    let mut holders = BTreeMap::new();
    for service in &status.services {
        let name = &service.instancename;
        let ports: Vec<u16> = [service.tcpport, service.httpport, service.wsport]
            .into_iter()
            .flatten()
            .collect();
        for port in &ports {
            if let Some(other) = holders.insert(*port, name) {
                return Err(format!("port {port} is held by {other} and {name}"));
            }
        }
        let Some(known) = known.get(name) else {
            return Err(format!("{name} is not known"));
        };
        let identity = allexmaster_state::Identity {
            boot: BootId::from(""),
            pid: allexmaster_state::Pid(known.process.pid),
            started: known.process.started,
        };
        let own: Vec<Port> = ports.iter().copied().map(Port).collect();
        if let Some(Port(port)) = foreign_listener(&identity, &own) {
            return Err(format!(
                "another process than that of {name} listens on port {port}"
            ));
        }
        let first = ports.first().ok_or_else(|| format!("{name} has no port"))?;
        TcpStream::connect(("127.0.0.1", *first))
            .map_err(|error| format!("{name} does not serve port {first}: {error}"))?;
    }
    Ok(())
}

/// Nothing of a run is left when it has been stopped: no process, and no socket.
pub(crate) fn nothing_left(world: &World, seen: &BTreeSet<u32>) -> Finding<()> {
    let processes = Census::take(&world.mark()).all;
    if !processes.is_empty() {
        return Err(format!("processes are left behind: {processes:?}"));
    }
    let of_a_process = |name: &String| {
        let number = name.rsplit('.').next().and_then(|end| end.parse().ok());
        number.is_some_and(|pid: u32| seen.contains(&pid))
    };
    let files: Vec<String> = names_in(Path::new(SOCKETS))?
        .into_iter()
        .filter(of_a_process)
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    Err(format!("sockets are left behind: {files:?}"))
}

fn names_in(folder: &Path) -> Finding<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}
