//! `allexmaster.pid`, as the JavaScript master writes it: scripts look for it upwards
//! from their folder, to find the sockets of the master in charge.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::local::sockets;
use allexmaster_sessions::Socket;

/// The name of the file.
pub const PID_FILE: &str = "allexmaster.pid";
/// How often a running master looks whether its file is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the file could not be written.
#[derive(Debug, Error)]
pub enum PidFileError {
    /// The process that it names answers as a master of this user or root: a JavaScript one, since the
    /// journal is free.
    #[error("another master (process {pid}) runs here, as {} says; stop it first", path.display())]
    Held {
        /// Its process.
        pid: u32,
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{} cannot be written; check that the folder is writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl PidFileError {
    /// Whether another master is the reason.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Write { .. } => false,
        }
    }
}

/// The file, removed when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes the file, unless a master that answers is named in the one that is there.
    ///
    /// # Errors
    ///
    /// A master answers, or the system refuses.
    pub fn create(folder: &Path, socket_folder: &Path, pid: u32) -> Result<Self, PidFileError> {
        let path = folder.join(PID_FILE);
        if let Some(other) = read_pid(folder)
            && other != pid
            && sockets::one_of_ours_listens(&Socket::MachineManager.path(socket_folder, other))
        {
            return Err(PidFileError::Held { pid: other, path });
        }
        match write(folder, pid) {
            Ok(()) => Ok(Self { path, pid }),
            Err(source) => Err(PidFileError::Write { path, source }),
        }
    }

    /// Puts the file back whenever it is gone or names another process, for ever: a cleaning script, or a
    /// JavaScript master at its late end, may remove it. Drop the future to end it.
    ///
    /// A file that names a living process with a socket of its own is left alone: that master removes it.
    pub fn put_back(&self, socket_folder: &Path) -> impl Future<Output = ()> + Send + use<> {
        let (path, pid, socket_folder) = (self.path.clone(), self.pid, socket_folder.to_owned());
        async move {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = false; // that it cannot be written: once, not at each look
            loop {
                looks.tick().await;
                let named = read_pid(folder);
                if named == Some(pid) || named.is_some_and(|other| may_run(&socket_folder, other)) {
                    told = false;
                    continue;
                }
                match write(folder, pid) {
                    Ok(()) => {
                        told = false;
                        warn!(path = %path.display(), "the pid file was removed or changed by another program; it was put back");
                    }
                    Err(error) if !told => {
                        told = true;
                        warn!(path = %path.display(), %error, "the pid file is gone and cannot be put back; commands do not find this master until it can be written");
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

fn write(folder: &Path, pid: u32) -> io::Result<()> {
    let temporary = folder.join(format!(".{PID_FILE}.{pid}"));
    let mut file = fs::File::create(&temporary)?;
    writeln!(file, "{pid}")?;
    fs::rename(&temporary, folder.join(PID_FILE))
}

/// Whether a process lives and has the socket of a master. Does not connect, which could block.
fn may_run(socket_folder: &Path, pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
        && Socket::MachineManager.path(socket_folder, pid).exists()
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if read_pid(folder) == Some(self.pid) {
            // A file that cannot be removed is recognised as stale by the next master.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The process that the file of a folder names; `None` where there is no (readable) file.
#[must_use]
pub fn read_pid(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join(PID_FILE))
        .ok()?
        .trim()
        .parse()
        .ok()
}
