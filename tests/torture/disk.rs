//! A file system of its own for the master's folder, to be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Finding;

/// Room for the journal and the logs of a long run, and filled within a blink.
const SIZE: &str = "size=128m";
/// With such pieces it is filled, down to the last byte.
const PIECES: [usize; 3] = [1024 * 1024, 4096, 1];

/// A small disk, there until it is dropped.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one over a folder; why not, where that is not allowed.
    pub(crate) fn mount(folder: &Path) -> Finding<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "none"]).arg(folder);
        let output = mount
            .output()
            .map_err(|error| format!("no program `mount`: {error}"))?;
        if output.status.success() {
            let folder = folder.to_owned();
            return Ok(Self { folder });
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    pub(crate) fn fill(&self) -> Finding<()> {
        let mut file = File::create(self.filler()).map_err(|error| error.to_string())?;
        for size in PIECES {
            let piece = vec![b'x'; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(format!("the disk cannot be filled: {error}")),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn make_room(&self) -> Finding<()> {
        let removed = fs::remove_file(self.filler());
        removed.map_err(|error| format!("no room can be made on the disk: {error}"))
    }

    /// Copies all that is on it beside it, for whoever looks for a reason.
    pub(crate) fn keep(&self) {
        let _ = fs::remove_file(self.filler());
        let copy = self.folder.with_extension("kept");
        let _ = Command::new("cp")
            .arg("-a")
            .arg(&self.folder)
            .arg(copy)
            .status();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
