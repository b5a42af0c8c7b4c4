//! `allexmaster up`: a LanManager, a master and sample services, in one program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use allexmaster_lanmanager::{Door, LanManager, Options as LanOptions, RunError, StartError};
use allexmaster_state::{Event, ServiceState, StopSource};
use clap::Args;
use crossterm::{cursor, queue, terminal};
use serde_json::json;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Common, complain, print, runtime, table};
use crate::config::{Accepted, Config, ConfigError, Overrides};
use crate::daemon::{self, DaemonError, Place};
use crate::exit_code;
use crate::machine::EventInbox;
use crate::status::{self, ServiceDocument, StatusDocument};
use crate::telemetry::{self, LogDestination};

/// The folder of the demonstration, inside the folder that was named.
const FOLDER: &str = "allexmaster-up";
/// How often the table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Run a LanManager and a master with sample services, to see it all at work.
///
/// Everything lives in the folder allexmaster-up (inside --directory), and stays there
/// for the next time. The LanManager listens on 127.0.0.1, on any free port. While it runs,
/// try the other commands with `--directory allexmaster-up`, kill a child, or kill this
/// program and start it again. Ctrl-C stops everything.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Print a line for each change in the place of the live table
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Error)]
enum UpError {
    #[error("the folder {} cannot be prepared", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the LanManager cannot start")]
    LanManager(#[from] StartError),
    #[error("the configuration has a mistake")]
    Config(#[from] Box<ConfigError>),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the LanManager did not end well")]
    LanManagerEnded(#[from] RunError),
    #[error("the system refused what every program needs")]
    System(#[source] io::Error),
}

impl UpError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::LanManager(error) if error.is_already_running() => exit_code::ALREADY_RUNNING,
            Self::Config(_) => exit_code::CONFIGURATION,
            Self::Daemon(error) => error.exit_code(),
            Self::Folder { .. }
            | Self::LanManager(_)
            | Self::LanManagerEnded(_)
            | Self::System(_) => exit_code::FAILURE,
        }
    }
}

impl Up {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let live = !self.plain && io::stdout().is_terminal();
        let folder = common.directory.join(FOLDER);
        let result = prepare(&folder).and_then(|()| {
            // A live table and log lines do not go together on one screen.
            let log = folder.join("allexmaster.log");
            telemetry::start(
                common.log_format,
                if live {
                    LogDestination::File(&log)
                } else {
                    LogDestination::StandardError
                },
            )
            .map_err(|source| UpError::Folder {
                folder: folder.clone(),
                source,
            })?;
            runtime()
                .map_err(UpError::System)?
                .block_on(run(common, &folder, live))
        });
        match result {
            Ok(()) => ExitCode::from(exit_code::OK),
            Err(error) => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(reason) = source {
                    text = format!("{text}: {reason}");
                    source = reason.source();
                }
                complain(&text);
                ExitCode::from(error.exit_code())
            }
        }
    }
}

/// Makes the folder, with the needs of the demonstration in it.
fn prepare(folder: &Path) -> Result<(), UpError> {
    let write = || -> io::Result<()> {
        let files = folder.join(".allexlanmanager");
        fs::create_dir_all(&files)?;
        let needs = files.join("needs");
        if needs.exists() {
            return Ok(());
        }
        let clock = |name: &str, offset: i32| {
            json!({
                "modulename": "sample:clock",
                "instancename": name,
                "propertyhash": { "utcoffset": offset },
            })
        };
        let needs_text =
            serde_json::to_string_pretty(&json!([clock("Clock", 0), clock("TokyoClock", 9),]))?;
        fs::write(needs, needs_text)
    };
    write().map_err(|source| UpError::Folder {
        folder: folder.to_owned(),
        source,
    })
}

async fn run(common: &Common, folder: &Path, live: bool) -> Result<(), UpError> {
    let mut signals = Signals::new().map_err(UpError::System)?;
    let lanmanager = LanManager::start(LanOptions::embedded(folder)).await?;
    let port = lanmanager
        .address(Door::WebSocket)
        .map(|address| address.port());
    let overrides = Overrides {
        lanmanager_address: Some("127.0.0.1".to_owned()),
        lanmanager_port: port,
        ..Overrides::default()
    };
    let loaded = Config::load(folder, &overrides).map_err(Box::new)?;
    let options = daemon::Options {
        folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
        accepted: Accepted::now(loaded),
        overrides,
        socket_folder: common.socket_dir.clone(),
        failpoint: None,
        abort_after_fork: None,
        time: daemon::Time::default(),
    };
    let master = daemon::start(options, Place::alone())?;
    let inbox = master.inbox().clone();
    let endpoint = format!("ws://127.0.0.1:{}", port.unwrap_or_default());
    let mut screen = Screen::new(live, folder, &endpoint);
    let finished = master.finished(None);
    tokio::pin!(finished);
    let result = loop {
        tokio::select! {
            result = &mut finished => break result,
            source = signals.next() => {
                let event = Event::StopRequested { request: None, source, urgent: false };
                // When the loop has ended, `finished` says why.
                let _ = inbox.send(event).await;
            }
            () = tokio::time::sleep(LOOK_EVERY) => screen.look(&inbox).await,
        }
    };
    lanmanager.shutdown().await?;
    result?;
    print("stopped: no process, socket or pid file is left\n");
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> StopSource {
        tokio::select! {
            _ = self.interrupt.recv() => daemon::interrupt_source(),
            _ = self.terminate.recv() => StopSource::Signal,
        }
    }
}

/// What people see.
struct Screen {
    live: bool,
    /// As it was called, so that a hint can be copied.
    program: String,
    folder: String,
    endpoint: String,
    shown: String,
    states: BTreeMap<String, (ServiceState, Option<u32>)>,
}

impl Screen {
    fn new(live: bool, folder: &Path, endpoint: &str) -> Self {
        Self {
            live,
            program: std::env::args().next().unwrap_or_default(),
            folder: folder.display().to_string(),
            endpoint: endpoint.to_owned(),
            shown: String::new(),
            states: BTreeMap::new(),
        }
    }

    async fn look(&mut self, inbox: &EventInbox) {
        let (endpoint, outage) = (self.endpoint.clone(), inbox.outage());
        let Ok(document) = inbox
            .look(move |state| status::status(state, &endpoint, "none", outage.as_ref()))
            .await
        else {
            return;
        };
        if self.live {
            self.redraw(&document);
        } else {
            self.tell_changes(&document);
        }
    }

    /// Draws the table over the one before.
    fn redraw(&mut self, document: &StatusDocument) {
        let mut text = table::status(document);
        text.push('\n');
        text.push_str(&self.hints(document));
        if text == self.shown {
            return;
        }
        let lines = u16::try_from(self.shown.lines().count()).unwrap_or(u16::MAX);
        self.shown = text;
        let mut output = io::stdout().lock();
        let draw = |output: &mut io::StdoutLock<'_>| -> io::Result<()> {
            if lines > 0 {
                queue!(output, cursor::MoveToPreviousLine(lines))?;
            }
            queue!(output, terminal::Clear(terminal::ClearType::FromCursorDown))?;
            output.write_all(self.shown.as_bytes())?;
            output.flush()
        };
        // A terminal that has gone is no reason to stop the services.
        let _ = draw(&mut output);
    }

    fn hints(&self, document: &StatusDocument) -> String {
        let running = document
            .services
            .iter()
            .find(|service| service.state == ServiceState::Running);
        let Some(ServiceDocument {
            httpport: Some(port),
            pid: Some(pid),
            ..
        }) = running
        else {
            return "Ctrl-C stops everything.\n".to_owned();
        };
        format!(
            "Look at a service:   http://127.0.0.1:{port}/\n\
             See one come back:   kill -9 {pid}\n\
             Ask the master:      {} status --directory {}\n\
             Ctrl-C stops everything.\n",
            self.program, self.folder
        )
    }

    /// Prints a line for each service that changed.
    fn tell_changes(&mut self, document: &StatusDocument) {
        for service in &document.services {
            let now = (service.state, service.pid);
            let name = &service.instancename;
            if self.states.insert(name.clone(), now) == Some(now) {
                continue;
            }
            let mut line = format!("{name}: {}", service.state);
            if let Some(pid) = service.pid {
                line.push_str(&format!(", process {pid}"));
            }
            if let (ServiceState::Running, Some(port)) = (service.state, service.httpport) {
                line.push_str(&format!(", http://127.0.0.1:{port}/"));
            }
            if let Some(reason) = &service.reason {
                line.push_str(&format!(" ({reason})"));
            }
            print(&format!("{line}\n"));
        }
    }
}
