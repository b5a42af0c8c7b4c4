//! Log lines: for people by default, one JSON object a line for machines.
//!
//! Levels: `error` needs somebody now; `warn` is something that should not be, but
//! is dealt with; `info` tells what the master does; `debug` is for developers.
//! What goes over the wire is on the targets `wire::…` at level `trace`.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Begins to log to the standard error output. The variable `ALLEXMASTER_LOG` chooses what
/// (`info` where it is absent), in the notation of tracing's `EnvFilter`: `debug`, or `info,wire=trace`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("ALLEXMASTER_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => {
            lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
