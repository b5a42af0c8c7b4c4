//! The keeper's log, in the format of the program's.

use std::fmt::Arguments;
use std::io::Write as _;
use std::time::SystemTime;

/// The variable with the format of log lines; see the option `--log-format`.
pub(crate) const FORMAT_VARIABLE: &str = "ALLEXMASTER_LOG_FORMAT";

#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    Warn,
    Error,
}

/// Writes log lines to the standard error output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    json: bool,
}

impl Log {
    /// In the format that the environment asks for; by default for people.
    pub(super) fn from_environment() -> Self {
        let json = std::env::var_os(FORMAT_VARIABLE).is_some_and(|format| format == "json");
        Self { json }
    }

    pub(super) fn warn(self, text: Arguments<'_>) {
        self.line(Level::Warn, text);
    }

    pub(super) fn error(self, text: Arguments<'_>) {
        self.line(Level::Error, text);
    }

    fn line(self, level: Level, text: Arguments<'_>) {
        let time = humantime::format_rfc3339_micros(SystemTime::now());
        let (padded, level) = match level {
            Level::Warn => (" WARN", "WARN"),
            Level::Error => ("ERROR", "ERROR"),
        };
        let line = if self.json {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let text = text.replace(|sign: char| sign.is_control(), " ");
            format!("{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"message\":\"{text}\"}}\n")
        } else {
            format!("{time} {padded} {text}\n")
        };
        // If this fails, there is no other place to report to.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
