//! Tools that call without a pause, beside whatever happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use allexmaster_testkit::Finding;
use allexmaster_testkit::tool::Tool;
use serde_json::json;

/// The pause between two calls of one tool: a tool works, it does not flood.
const PAUSE: Duration = Duration::from_millis(10);

/// The tools, until they are told to end.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    tools: Vec<JoinHandle<Finding<u64>>>,
}

impl Load {
    pub(crate) fn start(socket: &Path) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let kinds: [fn(&Path, &AtomicBool) -> Finding<u64>; 2] = [calls, knocks];
        let tools = kinds.map(|kind| {
            let (socket, ends): (PathBuf, _) = (socket.to_owned(), Arc::clone(&ends));
            spawn(move || kind(&socket, &ends))
        });
        Self {
            ends,
            tools: tools.into(),
        }
    }

    /// Whether a tool has found something wrong.
    pub(crate) fn has_found(&self) -> bool {
        self.tools.iter().any(JoinHandle::is_finished)
    }

    /// Ends it: how many calls were answered, each once.
    pub(crate) fn end(self) -> Finding<u64> {
        self.ends.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for tool in self.tools {
            let outcome = tool.join();
            answered += outcome.unwrap_or_else(|_| Err("a tool panicked".to_owned()))?;
        }
        Ok(answered)
    }
}

/// One connection with one call after the other.
fn calls(socket: &Path, ends: &AtomicBool) -> Finding<u64> {
    let mut tool = Tool::local(socket)?;
    let mut answered = 0;
    while !ends.load(Ordering::Relaxed) {
        tool.ask("needs", json!([]))?;
        answered += 1;
        sleep(PAUSE);
    }
    Ok(answered)
}

/// A new connection for each call.
fn knocks(socket: &Path, ends: &AtomicBool) -> Finding<u64> {
    let mut answered = 0;
    while !ends.load(Ordering::Relaxed) {
        Tool::local(socket)?.ask("status", json!([]))?;
        answered += 1;
        sleep(PAUSE);
    }
    Ok(answered)
}
