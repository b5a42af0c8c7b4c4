//! Log lines: for people by default, one JSON object a line for machines.
//!
//! Levels: `error` needs somebody now; `warn` is something that should not be, but
//! is dealt with; `info` tells what the master does; `debug` is for developers.
//! What goes over the wire is on the targets `wire::…` at level `trace`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug)]
pub enum LogDestination<'path> {
    /// To the standard error output.
    StandardError,
    /// To the end of a file.
    File(&'path Path),
}

/// Begins to log. The variable `ALLEXMASTER_LOG` chooses what (`info` where it is absent),
/// in the notation of tracing's `EnvFilter`: `debug`, or `info,wire=trace`.
///
/// # Errors
///
/// The file cannot be opened.
pub fn start(format: LogFormat, destination: LogDestination<'_>) -> io::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("ALLEXMASTER_LOG")
        .from_env_lossy();
    let (writer, ansi) = match destination {
        LogDestination::StandardError => {
            (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal())
        }
        LogDestination::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            (BoxMakeWriter::new(Arc::new(file)), false)
        }
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would tell of a full disk on the standard error output, and panic where that is a file
        // on the same disk.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        LogFormat::Human => lines.with_target(false).with_ansi(ansi).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
