//! The engine is replaced by another build of the program. Who asked is answered by the next engine,
//! over the same connection.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use allexmaster_state::{Reply, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{info, warn};

use super::runtime::Shared;
use allexmaster_sessions::Input;

/// The program of this process, also where its file was replaced or removed.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What became of the wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgraded {
    /// The program runs.
    Done {
        /// The engine's process.
        engine: u32,
        /// The version of the program.
        version: String,
    },
    /// The engine before goes on. Why, for people.
    Refused(String),
}

/// Replaces this process. Does not return where that works.
pub(super) fn begin(shared: &Arc<Shared>, request: RequestId, program: PathBuf) {
    let refused = match (&shared.store, check(&program)) {
        (Some(store), Ok(())) if store.is_there() => {
            info!(program = %program.display(), "the engine is replaced");
            let upgrading = Input::Upgrading {
                request,
                program: program.clone(),
            };
            shared.enter(upgrading);
            match store.next_engine(&program) {
                // All that is to be known after this is where the next engine finds it.
                Ok(()) => std::process::exit(0),
                Err(refused) => refused,
            }
        }
        (_, Err(refused)) => refused,
        (Some(_) | None, Ok(())) => {
            "it has no keeper, so an engine cannot be replaced; stop it and start it anew"
                .to_owned()
        }
    };
    answer(shared, request, &Upgraded::Refused(refused));
}

/// Answers whoever asked the engine before to be replaced.
pub(super) fn end(shared: &Arc<Shared>) {
    let Some((request, program)) = shared.lock().log.sessions().upgrading() else {
        return;
    };
    let upgraded = if is_own(&program) {
        info!(program = %program.display(), "the engine was replaced");
        Upgraded::Done {
            engine: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    } else {
        warn!(program = %program.display(), "the program that was to be the engine does not work");
        let program = program.display();
        Upgraded::Refused(format!(
            "{program} was started and ended before it was ready; the program before goes on. \
             The log of the master tells why it ended"
        ))
    };
    answer(shared, request, &upgraded);
}

fn answer(shared: &Arc<Shared>, request: RequestId, upgraded: &Upgraded) {
    // Texts and numbers always have a JSON form.
    let value: Value = serde_json::to_value(upgraded).unwrap_or_default();
    let reply = Reply::Done(value);
    shared.enter(Input::Answered { request, reply });
}

fn check(program: &Path) -> Result<(), String> {
    let shown = program.display();
    let metadata = fs::metadata(program).map_err(|error| format!("{shown}: {error}"))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(format!("{shown} is not a program that can be run"))
    }
}

fn is_own(program: &Path) -> bool {
    let file = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = file(Path::new(OWN_PROGRAM));
    own.is_some() && own == file(program)
}
