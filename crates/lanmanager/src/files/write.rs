//! Writing a file wholly or not at all.

use std::io::{self, Write as _};
use std::path::Path;

use serde_json::Value;

use super::error::FileError;

/// Writes JSON as AllexJS formats it: into a new file beside the old one, onto the
/// disk, and only then in its place, so that a crash leaves the old or the new one.
///
/// # Errors
/// [`FileError`] when the file cannot be written; then the old one stands.
pub fn write_atomically(path: &Path, value: &Value) -> Result<(), FileError> {
    replace(path, value).map_err(|source| FileError::create(path, source))
}

fn replace(path: &Path, value: &Value) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    // Needs hold secrets: a temporary file is for its owner alone, and stays so.
    let mut file = builder.tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut file, value)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes the new name durable. Elsewhere than on Unix folders cannot be synced.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
