//! The files of the LanManager: the folder `.allexlanmanager`, as AllexJS has it.
//!
//! | file | content | where missing |
//! |---|---|---|
//! | `boot` | `portcorrection`, `reconnectgrace` (ms), `allowedorigins`, `allowedhosts`, `publicsubnets`, and keys of AllexJS | `{"portcorrection":0,"httpmonitorport":0}` |
//! | `nat` | the nat table | an example row |
//! | `subnets` | the networks that are let in, besides this machine | `[]` |
//! | `needs` | what is needed | the time service |
//! | `needs.overlay` | extends entries of `needs` | `[]` |
//! | `needs.runtime` | written by `addNeed` and `removeNeed` | `[]` |
//!
//! Defaults (but that of `subnets`, see [`subnet`]) and format (JSON, two spaces of indent, no newline at the end) are those
//! of the JavaScript LanManager, which can be started in the same folder. A file
//! that cannot be understood is never overwritten.

mod boot;
mod error;
mod read;
pub mod subnet;
mod write;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use boot::{Boot, DEFAULT_RECONNECT_GRACE};
pub use error::{FileError, Problem};
pub use subnet::Subnet;
pub use write::write_atomically;

use crate::rules;

/// The folder that holds all files, inside the folder the LanManager runs in.
pub const FOLDER: &str = ".allexlanmanager";

/// The folder of the journal, inside [`FOLDER`].
pub const JOURNAL: &str = "journal";

/// What the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// `boot`.
    pub boot: Boot,
    /// `subnets`.
    pub subnets: Vec<Subnet>,
    /// The needs and the nat table.
    pub files: rules::Files,
}

/// The folder `.allexlanmanager` in the given one.
#[must_use]
pub fn folder(directory: &Path) -> PathBuf {
    directory.join(FOLDER)
}

/// Reads all files; those that are missing are created with their defaults.
///
/// # Errors
/// [`FileError`] names the file, the place in it, what was expected and a remedy.
/// A broken file is left as it is, and the files after it are not touched.
pub fn read(directory: &Path) -> Result<Configuration, FileError> {
    let folder = folder(directory);
    std::fs::create_dir_all(&folder).map_err(|source| FileError::create(&folder, source))?;
    let boot = read::boot(&folder.join("boot"), &default_boot())?;
    let nat = read::nat(&folder.join("nat"), &default_nat())?;
    let subnets = read::subnets(&folder.join(SUBNETS), boot.public_subnets)?;
    let needs = read::needs(&folder.join("needs"), &default_needs())?;
    let overlay = read::needs(&folder.join("needs.overlay"), &json!([]))?;
    let runtime = read::needs(&folder.join(RUNTIME_NEEDS), &json!([]))?;
    Ok(Configuration {
        boot,
        subnets,
        files: rules::Files {
            needs,
            overlay,
            runtime,
            nat,
        },
    })
}

/// Replaces `needs.runtime`: wholly or not at all.
///
/// # Errors
/// [`FileError`] when the file cannot be written.
pub fn write_runtime_needs(directory: &Path, needs: Vec<rules::Row>) -> Result<(), FileError> {
    let path = folder(directory).join(RUNTIME_NEEDS);
    let needs = needs.into_iter().map(Value::Object).collect();
    write_atomically(&path, &Value::Array(needs))
}

const RUNTIME_NEEDS: &str = "needs.runtime";

/// The file of the networks that are let in.
pub const SUBNETS: &str = "subnets";

fn default_boot() -> Value {
    json!({"portcorrection": 0, "httpmonitorport": 0})
}

fn default_nat() -> Value {
    json!([{"iaddress": "192.168.1.1", "iport": 12345, "eaddress": "1.2.3.4", "eport": 80}])
}

fn default_needs() -> Value {
    json!([{"modulename": "allex_timeservice", "instancename": "Time", "propertyhash": {}}])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_files_are_created_and_read_again_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let created = read(directory.path()).unwrap();
        assert_eq!(created, read(directory.path()).unwrap());
        assert_eq!(created.boot.reconnect_grace, DEFAULT_RECONNECT_GRACE);
        let names = created.files.needs.iter().map(|need| need.name().as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["Time"]);
    }

    #[test]
    fn boot_says_the_correction_and_the_grace_and_may_have_keys_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let boot =
            json!({"portcorrection": -7, "reconnectgrace": 50, "httpmonitorport": 0, "gate": "x"});
        std::fs::create_dir_all(folder(directory.path())).unwrap();
        write_atomically(&folder(directory.path()).join("boot"), &boot).unwrap();
        let read = read(directory.path()).unwrap().boot;
        assert_eq!((read.port_correction, read.reconnect_grace), (-7, 50));
        assert_eq!(read.unused, ["gate"]);
    }

    #[test]
    fn a_broken_file_is_not_overwritten_and_those_after_it_are_not_made() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder(directory.path())).unwrap();
        let broken = folder(directory.path()).join("nat");
        std::fs::write(&broken, "[{]").unwrap();
        let error = read(directory.path()).unwrap_err();
        assert_eq!(error.path, broken);
        assert_eq!(std::fs::read(&broken).unwrap(), b"[{]");
        assert!(!folder(directory.path()).join("needs").exists());
    }

    #[test]
    fn runtime_needs_are_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        read(directory.path()).unwrap();
        let need = rules::Row::from_iter([("instancename".to_owned(), json!("Web"))]);
        write_runtime_needs(directory.path(), vec![need]).unwrap();
        let runtime = read(directory.path()).unwrap().files.runtime;
        assert_eq!(runtime.len(), 1);
        let left_over = std::fs::read_dir(folder(directory.path())).unwrap();
        let temporary = left_over.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(".writing-")
        });
        assert_eq!(temporary.count(), 0);
    }
}
