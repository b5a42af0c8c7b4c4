//! Where the packages of Node are: for the child program of AllexJS, and for its modules.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::MasterFacts;

/// The folder that Node looks for in every folder upwards.
const FOLDER: &str = "node_modules";
/// The package that installs all of AllexJS: what it needs may stand inside it.
const PARENT_PACKAGE: &str = "allex";
/// So many folders are looked into at most: a path has a few dozen parents.
const MAX_FOLDERS: usize = 256;

/// The folders that may hold packages, in the order in which they are looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    folders: Vec<PathBuf>,
}

/// What decides where packages are, beside the folders of the master.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Surroundings {
    /// `NODE_PATH`.
    node_path: Vec<PathBuf>,
    /// Where `npm install --global` puts packages.
    global: Vec<PathBuf>,
}

impl Surroundings {
    /// As the environment of this process has them.
    pub(crate) fn of_this_process() -> Self {
        let split = |name: &str| -> Vec<PathBuf> {
            let value = std::env::var_os(name).unwrap_or_default();
            std::env::split_paths(&value)
                .filter(|path| path.is_absolute())
                .collect()
        };
        let named = ["npm_config_prefix", "NPM_CONFIG_PREFIX"].map(std::env::var_os);
        let mut prefixes: Vec<PathBuf> = named.into_iter().flatten().map(PathBuf::from).collect();
        // Without a setting, npm's prefix is the folder above that of Node's program.
        let node = split("PATH").into_iter().map(|folder| folder.join("node"));
        if let Some(node) = node.into_iter().find(|program| program.is_file()) {
            let real = node.canonicalize().ok();
            let above = |program: &Path| Some(program.parent()?.parent()?.to_owned());
            prefixes.extend(
                [Some(node), real]
                    .into_iter()
                    .flatten()
                    .filter_map(|p| above(&p)),
            );
        }
        Self {
            node_path: split("NODE_PATH"),
            global: prefixes
                .into_iter()
                .map(|prefix| prefix.join("lib").join(FOLDER))
                .collect(),
        }
    }

    /// `NODE_PATH` with one more folder at its end, where a package of `folder` would otherwise
    /// not be found by the program at `program`.
    pub(crate) fn node_path_for(&self, program: &Path, folder: &Path) -> Option<String> {
        let program = program
            .canonicalize()
            .unwrap_or_else(|_| program.to_owned());
        let is_seen = upwards(&program).iter().any(|seen| seen == folder)
            || self.node_path.iter().any(|seen| seen == folder);
        if is_seen {
            return None;
        }
        let all = self.node_path.iter().map(PathBuf::as_path).chain([folder]);
        std::env::join_paths(all).ok()?.into_string().ok()
    }
}

impl Places {
    /// Upwards from the runtime directory, upwards from the master's folder, `NODE_PATH`, and
    /// npm's own prefix; in each also what stands inside the package `allex`.
    pub(crate) fn new(master: &MasterFacts, surroundings: &Surroundings) -> Self {
        let runtime = master.folder.join(&master.runtime_folder);
        let candidates = upwards(&runtime.join(FOLDER))
            .into_iter()
            .chain(upwards(&master.folder.join(FOLDER)))
            .chain(surroundings.node_path.iter().cloned())
            .chain(surroundings.global.iter().cloned());
        let mut known = BTreeSet::new();
        let mut folders = Vec::new();
        for folder in candidates.take(MAX_FOLDERS) {
            if known.insert(folder.clone()) {
                let inner = folder.join(PARENT_PACKAGE).join(FOLDER);
                folders.extend([folder, inner]);
            }
        }
        Self { folders }
    }

    /// The first folder of packages in which there is something of this name.
    pub(crate) fn holding(&self, name: impl AsRef<Path>) -> Option<&Path> {
        let name = name.as_ref();
        self.folders
            .iter()
            .map(PathBuf::as_path)
            .find(|folder| folder.join(name).exists())
    }

    /// The folders, for people: without those that are not there.
    pub(crate) fn described(&self) -> String {
        let there: Vec<String> = self
            .folders
            .iter()
            .filter(|folder| folder.is_dir())
            .map(|folder| folder.display().to_string())
            .collect();
        if there.is_empty() {
            "no folder node_modules at all".to_owned()
        } else {
            there.join(", ")
        }
    }
}

/// `node_modules` beside a path, and in every folder above; not one inside another.
fn upwards(path: &Path) -> Vec<PathBuf> {
    path.ancestors()
        .skip(1)
        .filter(|folder| folder.file_name() != Some(OsStr::new(FOLDER)))
        .map(|folder| folder.join(FOLDER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_packages_inside_others_are_not_looked_into_twice() {
        let found = upwards(Path::new("/a/node_modules/b/c.js"));
        let expected = [
            "/a/node_modules/b/node_modules",
            "/a/node_modules",
            "/node_modules",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
