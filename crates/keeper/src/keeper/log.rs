//! The keeper's few words, in the form of the program's log.

use std::fmt::Arguments;
use std::io::Write as _;
use std::time::SystemTime;

/// The variable that says how log lines look; see the option `--log-format`.
pub(crate) const FORMAT_VARIABLE: &str = "ALLEXMASTER_LOG_FORMAT";

/// How bad it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// Should not be, but is dealt with.
    Warn,
    /// Needs somebody now.
    Error,
}

/// Writes log lines to the standard error output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    json: bool,
}

impl Log {
    /// As the environment wants it.
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
        let time = time(SystemTime::now());
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
        // There is nobody else to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// A time as RFC 3339 has it. The days are counted as if the year began in March, so that the leap
/// day is its last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn time(now: SystemTime) -> String {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400 + 719_468, since.as_secs() % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        // From date(1): `date -u -d @SECONDS +%FT%T`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_799, "2000-02-29T23:59:59.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(
                time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        }
    }
}
