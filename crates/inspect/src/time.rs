//! Times as people write and read them.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::error::InspectError;
use crate::replay::Past;

/// Where the reader's clock stands.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of the machine that this runs on.
    #[must_use]
    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// Greenwich.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// `03:12:07.123`
    #[must_use]
    pub fn time(&self, at: u64) -> String {
        self.zoned(at).strftime("%H:%M:%S%.3f").to_string()
    }

    /// `03:12:07`
    #[must_use]
    pub fn seconds(&self, at: u64) -> String {
        self.zoned(at).strftime("%H:%M:%S").to_string()
    }

    /// `2026-11-22`
    #[must_use]
    pub fn day(&self, at: u64) -> String {
        self.zoned(at).strftime("%Y-%m-%d").to_string()
    }

    /// `2026-11-22 03:12:07.123`
    #[must_use]
    pub fn moment(&self, at: u64) -> String {
        self.zoned(at).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    /// `2026-11-22 03:12:07 +01:00`
    #[must_use]
    pub fn moment_with_zone(&self, at: u64) -> String {
        self.zoned(at).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    /// How far the clock is ahead of Greenwich's, in milliseconds.
    #[must_use]
    pub fn offset(&self, at: u64) -> i64 {
        i64::from(self.zoned(at).offset().seconds()) * 1000
    }

    fn zoned(&self, at: u64) -> Zoned {
        timestamp(at).to_zoned(self.0.clone())
    }
}

/// `2026-11-22T02:12:07.123Z`
#[must_use]
pub fn rfc3339(at: u64) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// How long something takes, in the two largest units: `2 h 05 min`, `1.4 s`, `37 ms`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The last event at or before what a person wrote: a number, a time, or how long before the end.
///
/// # Errors
/// It is none of these, or the journal cannot be read.
pub fn find(past: &mut Past, zone: &Zone, text: &str) -> Result<u64, InspectError> {
    let text = text.trim();
    let number = text.strip_prefix('#').unwrap_or(text);
    if let Ok(number) = number.parse() {
        return Ok(number);
    }
    let end = past.end()?.at;
    let at = read(zone, text, end).ok_or_else(|| InspectError::NoMoment {
        text: text.to_owned(),
    })?;
    past.must_know(at)?;
    past.sequence_at(at)
}

/// The first event at or after what a person wrote.
///
/// # Errors
/// As [`find`].
pub fn find_first(past: &mut Past, zone: &Zone, text: &str) -> Result<u64, InspectError> {
    let end = past.end()?.at;
    let at = read(zone, text.trim(), end).ok_or_else(|| InspectError::NoMoment {
        text: text.to_owned(),
    })?;
    // A whole second was meant from its beginning on.
    let from = if at % 1000 == 999 { at - 999 } else { at };
    match from.checked_sub(1) {
        Some(before) => Ok(past.sequence_at(before)? + 1),
        None => Ok(past.first()),
    }
}

/// A time in milliseconds since the Unix epoch, where `text` is one.
fn read(zone: &Zone, text: &str, end: u64) -> Option<u64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return u64::try_from(timestamp.as_millisecond()).ok();
    }
    if let Some(milliseconds) = before_the_end(text) {
        return Some(end.saturating_sub(milliseconds));
    }
    // A time alone has no dash; one with a date would be taken for a time too, and its date ignored.
    let zoned = if !text.contains('-')
        && let Ok(time) = text.parse::<Time>()
    {
        last_such_time(zone, time, end)?
    } else {
        let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
        let (date, time) = (date.parse::<Date>().ok()?, time.parse::<Time>().ok()?);
        date.to_datetime(time).to_zoned(zone.0.clone()).ok()?
    };
    // A time without milliseconds means all of its second.
    let whole = zoned.subsec_nanosecond() == 0;
    let at = u64::try_from(zoned.timestamp().as_millisecond()).ok()?;
    Some(if whole { at + 999 } else { at })
}

/// `90s`, `10m`, `2h`, `3d`.
pub(crate) fn before_the_end(text: &str) -> Option<u64> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let split = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The last time of the day before the end of the journal.
fn last_such_time(zone: &Zone, time: Time, end: u64) -> Option<Zoned> {
    let end = zone.zoned(end);
    let same_day = end.date().to_datetime(time).to_zoned(zone.0.clone()).ok()?;
    if same_day <= end {
        return Some(same_day);
    }
    same_day.checked_sub(SignedDuration::from_hours(24)).ok()
}

fn timestamp(at: u64) -> Timestamp {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
}
