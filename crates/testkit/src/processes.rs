//! What the system knows of processes, read here without the code under test.

use std::fmt::Display;
use std::fs;

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// A process number, and the start that makes it unmistakable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Identity {
    pub pid: u32,
    /// In clock ticks since the machine was started.
    pub started: u64,
}

/// The fields of a file `stat` below `/proc` after the name of the program, which may hold anything:
/// the state is the first. Empty where there is no such process.
fn stat(of: impl Display) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{of}/stat")).unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().map(str::to_owned).collect()
}

impl Identity {
    /// The process that has this number now, unless it is a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid);
        let started = stat.get(19)?.parse().ok()?;
        // A first thread that has ended before the others is shown as a zombie, too.
        let threads: u32 = stat.get(17)?.parse().ok()?;
        (stat[0] != "Z" || threads > 1).then_some(Self { pid, started })
    }

    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Whether a process of this number runs; a zombie does not.
pub fn lives(pid: u32) -> bool {
    Identity::of(pid).is_some()
}

/// Whether a process is the leader of its process group.
pub fn leads_its_group(pid: u32) -> bool {
    stat(pid)
        .get(2)
        .is_some_and(|group| *group == pid.to_string())
}

/// Sends a signal; a process that has gone needs none.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// All other processes of this machine.
pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id())
}

/// The environment a process was started with; empty where it has gone.
pub fn environment(pid: u32) -> Vec<(String, String)> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&environment)
        .split('\0')
        .filter_map(|text| text.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The arguments of a process with spaces between them; empty where it has gone.
pub fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// The value of a line of `/proc/PID/status`.
pub fn fact(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    Some(value.trim().to_owned())
}

/// The resident memory of a process in KiB; 0 where it has gone.
pub fn memory(pid: u32) -> u64 {
    let resident = fact(pid, "VmRSS");
    let number = resident.and_then(|text| text.split(' ').next()?.parse().ok());
    number.unwrap_or_default()
}

/// The processor time of a process in user and system mode, in seconds; zeros where it has gone.
pub fn processor_seconds(pid: u32) -> (f64, f64) {
    times(&stat(pid))
}

/// The same for the calling thread.
pub fn thread_seconds() -> (f64, f64) {
    times(&stat("thread-self"))
}

fn times(stat: &[String]) -> (f64, f64) {
    /// Ticks a second, on every Linux.
    const TICKS: f64 = 100.0;
    let [user, system] = [11, 12].map(|field| {
        let ticks = stat.get(field).and_then(|text| text.parse::<f64>().ok());
        ticks.unwrap_or_default() / TICKS
    });
    (user, system)
}
