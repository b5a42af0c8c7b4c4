//! What other users can read of a master's and a LanManager's files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use allexmaster_testkit::master::{Master, text};
use serde_json::json;

use crate::lan::LanManager;

const SECRET: &str = "PH-SECRET-42";

pub(crate) fn no_other_user_can_read_the_properties_of_needs() {
    let needs = json!([
        {"instancename": "N", "modulename": "exec:none", "propertyhash": {"password": SECRET}}
    ]);
    let lan = LanManager::start(&[("needs", needs)]);
    let mut master = Master::new(lan.ports[0], json!({}));
    // As an earlier version left them.
    let own = master.folder.path().join(".allexmaster");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("left"), SECRET).unwrap();
    open(&own.join("left"), 0o644);
    open(&own, 0o755);
    master.start_kept(&[]);
    master.wait_for("N", "failed");
    let added = master.run(&[
        "needs",
        "add",
        "M",
        "exec:none",
        "--property",
        "password=PH-SECRET-42",
    ]);
    assert!(added.status.success(), "{}", text(&added));
    let export = master.folder.path().join("export");
    let exported = master.run(&["journal", "export", "--output", export.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", text(&exported));
    let mut looked_into = 0;
    let mut left = vec![own, lan.folder.path().join(".allexlanmanager"), export];
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let is_folder = path.is_dir();
        // What sled writes meanwhile is protected by its folder, and by its mode from the next start on.
        let is_protected =
            mode & 0o077 == 0 || path.components().any(|part| part.as_os_str() == "tail");
        assert!(is_protected, "{}: {mode:o}", path.display());
        if is_folder {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if has_secret(&path) {
            looked_into += 1;
        }
    }
    assert!(
        looked_into >= 4,
        "the secret is in {looked_into} files only"
    );
}

fn has_secret(path: &PathBuf) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
