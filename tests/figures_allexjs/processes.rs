//! What the system knows of processes.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// The resident memory of a process, in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The process whose environment names it as this service's.
pub(crate) fn of_service(instance: &str) -> Option<u32> {
    let own = format!("\"instancename\":\"{instance}\"");
    find(|pid| {
        contains(&format!("/proc/{pid}/environ"), &own)
            && contains(&format!("/proc/{pid}/cmdline"), "spawn.js")
    })
}

/// The process whose command line has this in it.
pub(crate) fn with_command(part: &str) -> Option<u32> {
    find(|pid| contains(&format!("/proc/{pid}/cmdline"), part))
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn find(fits: impl Fn(u32) -> bool) -> Option<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| *pid != std::process::id() && fits(*pid))
}

/// A process that has ended meanwhile has nothing in it.
fn contains(path: &str, part: &str) -> bool {
    let content = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&content).contains(part)
}
