//! The conversations of the master without sockets, against recordings of the JavaScript programs.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod answers;
mod read_again;
mod recorded;
mod relays;
mod sessions;

use std::fs;
use std::path::PathBuf;

use allexmaster_sessions::SessionsIdentity;
use allexmaster_state::Pid;
use serde_json::Value;

/// Whose conversations they are.
fn master() -> SessionsIdentity {
    SessionsIdentity {
        journal: "j".to_owned(),
        master: Pid(1),
        prefix: "t".to_owned(),
    }
}

/// A recording of the JavaScript programs.
fn recording(name: &str) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/data");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
