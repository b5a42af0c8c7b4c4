//! The built-in sample service, `sample:clock`: a clock on three ports.
//!
//! ```text
//!  ALLEX_SPAWN ──► Settings ──┬── http  GET /  page,  GET /json  document
//!                             ├── tcp   one line of JSON, then closed
//!                             └── ws    a text of JSON each second
//! ```
//!
//! # Theory of operation
//!
//! It runs in a child process, as any service does: this program, started anew with the hidden
//! arguments `sample clock`. It reads its spawn descriptor from the environment, listens, says on
//! its output what it serves where, and ends with code 0 on SIGTERM. So everything can be tried
//! without any other runtime.
//!
//! Properties of the need (`propertyhash`) let it misbehave, for demonstrations and tests:
//! `exitafter` (milliseconds) with `exitcode`, `deaf` (SIGTERM is ignored), `linger` (milliseconds
//! that its end takes), `fork` (a further process
//! in its group, which sleeps for so many seconds), `silent` (it listens on nothing).

mod answer;
mod serve;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::launch::SPAWN_VARIABLE;

/// The exit code where the service could not start: its output says why.
const NOT_STARTED: u8 = 1;

/// What the service needs of the spawn descriptor.
#[derive(Deserialize)]
struct Descriptor {
    instancename: String,
    modulename: String,
    #[serde(default)]
    propertyhash: Value,
    tcpport: u16,
    httpport: u16,
    wsport: u16,
}

/// What the service does.
struct Settings {
    descriptor: Descriptor,
    /// The whole descriptor, to be shown.
    shown: Value,
    /// Ends by itself after so long, with this code.
    exit: Option<(Duration, u8)>,
    deaf: bool,
    silent: bool,
    /// How long it takes to end after SIGTERM.
    linger: Duration,
    /// How many seconds the further process sleeps.
    fork: Option<u64>,
}

/// Runs the service in this process until it is told to end, or cannot go on.
#[must_use]
pub fn run() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            say(&format!("cannot start: {reason}"));
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn start() -> Result<u8, String> {
    let settings = settings()?;
    // One thread is enough for a clock, and a thousand of them are to fit on a machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let code = runtime.block_on(live(settings));
    // Connections that are open do not hold it up.
    runtime.shutdown_background();
    code
}

fn settings() -> Result<Settings, String> {
    let text = std::env::var(SPAWN_VARIABLE).map_err(|_| {
        format!(
            "{SPAWN_VARIABLE} is not set; the master starts this service for a need with the modulename `{}`",
            crate::launch::SAMPLE_CLOCK
        )
    })?;
    let shown: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{SPAWN_VARIABLE} is not JSON: {error}"))?;
    let descriptor = Descriptor::deserialize(&shown)
        .map_err(|error| format!("{SPAWN_VARIABLE} is no spawn descriptor: {error}"))?;
    let property = |name: &str| descriptor.propertyhash.get(name);
    let truth = |name: &str| property(name).and_then(Value::as_bool).unwrap_or(false);
    let number = |name: &str| property(name).and_then(Value::as_u64);
    let code = number("exitcode").and_then(|code| u8::try_from(code).ok());
    let exit = number("exitafter").map(|after| (Duration::from_millis(after), code.unwrap_or(0)));
    let (deaf, silent, fork) = (truth("deaf"), truth("silent"), number("fork"));
    let linger = Duration::from_millis(number("linger").unwrap_or(0));
    Ok(Settings {
        descriptor,
        shown,
        exit,
        deaf,
        silent,
        linger,
        fork,
    })
}

async fn live(settings: Settings) -> Result<u8, String> {
    let mut terminate = listen_for_terminate()?;
    if let Some(seconds) = settings.fork {
        fork(seconds)?;
    }
    let settings = Arc::new(settings);
    if settings.silent {
        say("serves nothing, as it was told");
    } else {
        serve::start(&settings).await?;
        let Descriptor {
            instancename,
            tcpport,
            httpport,
            wsport,
            ..
        } = &settings.descriptor;
        say(&format!(
            "{instancename} serves http://127.0.0.1:{httpport}/, tcp port {tcpport} and ws://127.0.0.1:{wsport}/"
        ));
    }
    tokio::select! {
        () = terminated(&mut terminate, settings.deaf) => {
            say("ends: SIGTERM");
            tokio::time::sleep(settings.linger).await;
            say("has ended in order");
            Ok(0)
        }
        code = exit(settings.exit) => {
            say(&format!("ends by itself with code {code}, as it was told"));
            Ok(code)
        }
    }
}

fn listen_for_terminate() -> Result<Signal, String> {
    signal(SignalKind::terminate()).map_err(|error| format!("no signals: {error}"))
}

/// Completes with the first SIGTERM; never where the service is deaf.
async fn terminated(terminate: &mut Signal, deaf: bool) {
    while terminate.recv().await.is_some() {
        if !deaf {
            return;
        }
        say("ignores SIGTERM, as it was told");
    }
}

async fn exit(after: Option<(Duration, u8)>) -> u8 {
    match after {
        Some((time, code)) => {
            tokio::time::sleep(time).await;
            code
        }
        None => std::future::pending().await,
    }
}

/// Leaves a process behind in the own group.
fn fork(seconds: u64) -> Result<(), String> {
    let further = Command::new("sleep")
        .arg(seconds.to_string())
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot fork: {error}"))?;
    say(&format!("has forked process {}", further.id()));
    Ok(())
}

/// A line on the output, which is the log file. Where that is full or gone, the clock goes on.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
