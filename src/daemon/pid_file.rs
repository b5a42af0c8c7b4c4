//! `allexmaster.pid`, as the JavaScript master writes it: scripts look for it upwards
//! from their folder, to find the sockets of the master in charge.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::local::sockets;
use allexmaster_sessions::Socket;

/// The name of the file.
pub const PID_FILE: &str = "allexmaster.pid";

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
        let write = || -> io::Result<()> {
            let temporary = folder.join(format!(".{PID_FILE}.{pid}"));
            let mut file = fs::File::create(&temporary)?;
            writeln!(file, "{pid}")?;
            fs::rename(&temporary, &path)
        };
        match write() {
            Ok(()) => Ok(Self { path, pid }),
            Err(source) => Err(PidFileError::Write { path, source }),
        }
    }
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
