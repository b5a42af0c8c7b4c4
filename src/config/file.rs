//! The file: found, read, or written with the default.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// The name of the configuration file.
pub const CONFIG_FILE: &str = "allexmasterconfig.json";
/// The name of the JavaScript master's, which is read where only it exists.
pub const JAVASCRIPT_CONFIG_FILE: &str = ".allexmasterconfig.json";
/// The default, as it is written.
pub const DEFAULT_TEXT: &str = r#"{
  "lanmanageraddress": "127.0.0.1",
  "portrangestart": {
    "tcp": 15000,
    "http": 16000,
    "ws": 17000
  }
}
"#;

/// A configuration of a machine has a few thousand bytes; what is larger is another file.
const LARGEST: u64 = 1024 * 1024;
/// As an editor would create it; the user's mask applies.
const MODE: u32 = 0o666;

pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) written: bool,
}

/// The file of `folder` that is read; none where there is none.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    let names = [CONFIG_FILE, JAVASCRIPT_CONFIG_FILE];
    let mut paths = names.iter().map(|name| folder.join(name));
    paths.find(|path| path.exists())
}

/// Reads the file of `folder`.
///
/// # Errors
/// There is none, or it is no text.
pub(super) fn read(folder: &Path) -> Result<Found, ConfigError> {
    for name in [CONFIG_FILE, JAVASCRIPT_CONFIG_FILE] {
        let path = folder.join(name);
        if let Some(text) = read_one(&path)? {
            return Ok(Found {
                path,
                text,
                written: false,
            });
        }
    }
    Err(ConfigError::Missing {
        file: folder.join(CONFIG_FILE),
    })
}

/// Reads the file of `folder`, or writes the default where there is none.
pub(super) fn read_or_write(folder: &Path) -> Result<Found, ConfigError> {
    let path = match read(folder) {
        Err(ConfigError::Missing { file }) => file,
        read => return read,
    };
    match write_default(folder, &path) {
        Ok(()) => Ok(Found {
            path,
            text: DEFAULT_TEXT.to_owned(),
            written: true,
        }),
        // Another process was faster: its file is used.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(folder),
        Err(source) => Err(ConfigError::Unwritable { file: path, source }),
    }
}

fn read_one(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        file: path.to_owned(),
        source,
    };
    // Not opened before it is known to be a file: a pipe in its place would keep everybody waiting.
    let opened = fs::metadata(path).and_then(|found| match found.file_type() {
        kind if kind.is_file() => File::open(path),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is not a file")),
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    let limited = file.take(LARGEST + 1).read_to_end(&mut bytes);
    limited.map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ConfigError::TooLarge {
            file: path.to_owned(),
            most: LARGEST,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(ConfigError::NotText {
            file: path.to_owned(),
            position: error.utf8_error().valid_up_to(),
        }),
    }
}

/// Written beside it and then named, so that there is never half a file; nothing is overwritten.
fn write_default(folder: &Path, path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".allexmasterconfig")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)?;
    file.write_all(DEFAULT_TEXT.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    fs::File::open(folder)?.sync_all()
}
