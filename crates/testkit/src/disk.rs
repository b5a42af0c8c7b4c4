//! A small file system, to be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Finding;

/// With pieces of these sizes it is filled to the last byte.
const PIECES: [usize; 3] = [1024 * 1024, 4096, 1];

/// A small disk, mounted until it is dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one over a folder.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub fn mount(folder: &Path, mebibytes: u32) -> Finding<Self> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
            .arg(folder)
            .output()
            .map_err(|error| format!("there is no program `mount` ({error})"))?;
        if output.status.success() {
            let folder = folder.to_owned();
            return Ok(Self { folder });
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!(
            "this user may not mount a file system here ({said})"
        ))
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// Writing fails in another way than for lack of room.
    pub fn fill(&self) -> Finding<()> {
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

    /// # Errors
    /// The file that fills it cannot be removed.
    pub fn make_room(&self) -> Finding<()> {
        let removed = fs::remove_file(self.filler());
        removed.map_err(|error| format!("no room can be made on the disk: {error}"))
    }

    /// Copies all that is on it beside it, to be looked at after the run.
    pub fn keep(&self) {
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

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
