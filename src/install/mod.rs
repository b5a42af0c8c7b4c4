//! Installs packages with npm. When and which is decided by the rules (`state/src/rules/install.rs`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allexmaster_keeper::os;
use allexmaster_state::Event;
use tokio::process::Command;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::config::InForce;
use crate::sink::EventSink;

/// How long npm may take: slow networks and packages that compile included.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How much of npm's complaint is kept: its first lines say what is wrong.
const MAX_COMPLAINT_BYTES: usize = 300;
const NPM: &str = "npm";
/// No questions, no advertisements: it runs without a terminal.
const ARGUMENTS: [&str; 5] = [
    "install",
    "--no-audit",
    "--no-fund",
    "--no-progress",
    "--loglevel=error",
];

/// The driver of `Install`.
pub struct Installer<Sink> {
    runtime: Handle,
    sink: Sink,
    /// The master's folder, which the runtime directory is seen from: its `node_modules` is filled.
    folder: PathBuf,
    config: Arc<InForce>,
}

impl<Sink: EventSink> Installer<Sink> {
    /// A driver whose tasks run on `runtime`, install for the master in `folder` and report to `sink`.
    #[must_use]
    pub const fn new(runtime: Handle, sink: Sink, folder: PathBuf, config: Arc<InForce>) -> Self {
        Self {
            runtime,
            sink,
            folder,
            config,
        }
    }

    /// Has npm install a package and reports `InstallEnded`. Returns at once.
    pub fn install(&self, package: Arc<str>) {
        let sink = self.sink.clone();
        let accepted = self.config.accepted();
        let folder = self.folder.join(&accepted.config.runtime_directory);
        self.runtime.spawn(async move {
            info!(%package, folder = %folder.display(), "installing with npm");
            let begun = Instant::now();
            let result = run_npm(&package, &folder).await;
            let seconds = begun.elapsed().as_secs();
            let complaint = match result {
                Ok(()) => {
                    info!(%package, seconds, "installed");
                    None
                }
                Err(complaint) => {
                    warn!(%package, seconds, complaint, "could not be installed; trying again later");
                    Some(Arc::from(complaint))
                }
            };
            sink.send(Event::InstallEnded { package, complaint }).await;
        });
    }
}

/// Runs npm to its end, or kills it after [`TIMEOUT`].
async fn run_npm(package: &str, folder: &Path) -> Result<(), String> {
    let started = Command::new(NPM)
        .args(ARGUMENTS)
        .arg(package)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let npm = started.map_err(|error| format!("npm cannot be started: {error}"))?;
    let group = npm.id();
    let Ok(finished) = tokio::time::timeout(TIMEOUT, npm.wait_with_output()).await else {
        if let Some(group) = group {
            // What npm has started goes with it. It may have ended this very moment.
            let _ = os::signal_group_by_number(group, os::Signal::KILL);
        }
        return Err(format!("it took longer than {} s", TIMEOUT.as_secs()));
    };
    let output = finished.map_err(|error| format!("npm cannot be watched: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let mut complaint: String = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    while complaint.len() > MAX_COMPLAINT_BYTES {
        complaint.pop();
    }
    Err(if complaint.is_empty() {
        output.status.to_string()
    } else {
        complaint
    })
}
