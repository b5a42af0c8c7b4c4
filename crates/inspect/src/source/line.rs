//! One record as a line of JSON: the form of exports and of pages that a master sends.

use allexmaster_journal::Stamp;
use allexmaster_journal::record::{self, Checksum, Record};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A record as JSON. The event keeps the very bytes that the journal has, so that the checksum, which
/// is chained over them, can be checked by whoever reads the line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'text> {
    /// Its place in the journal.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// The randomness that came with it.
    #[serde(rename = "noise")]
    pub entropy: u32,
    /// The number of the event's kind.
    pub kind: u16,
    /// In hexadecimal digits.
    pub checksum: &'text str,
    #[serde(borrow)]
    pub event: &'text RawValue,
}

impl Line<'_> {
    /// Writes a record as a line, without the line's end.
    ///
    /// # Errors
    /// The payload is no JSON.
    pub fn write(record: &Record<'_>) -> Result<String, serde_json::Error> {
        let checksum = record.checksum.to_string();
        let line = Line {
            sequence: record.stamp.sequence,
            at: record.stamp.at,
            entropy: record.stamp.entropy,
            kind: record.kind,
            checksum: &checksum,
            event: serde_json::from_slice(record.payload)?,
        };
        serde_json::to_string(&line)
    }
}

/// Reads a line that has to follow the record with the checksum `previous`, and shows it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read<T>(
    text: &str,
    expected: u64,
    previous: Option<Checksum>,
    scratch: &mut Vec<u8>,
    show: impl FnOnce(&Record<'_>) -> T,
) -> Result<(T, Checksum, u64), String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if line.sequence != expected {
        return Err(format!(
            "event {} stands in the place of event {expected}",
            line.sequence
        ));
    }
    let stamp = Stamp {
        sequence: line.sequence,
        at: line.at,
        entropy: line.entropy,
    };
    let payload = line.event.get().as_bytes();
    let told = parse_checksum(line.checksum).ok_or("its checksum is unreadable")?;
    if let Some(previous) = previous {
        scratch.clear();
        let checksum = record::encode(scratch, previous, stamp, line.kind, payload);
        if checksum != told {
            return Err("the checksum does not fit".to_owned());
        }
    }
    let record = Record {
        stamp,
        kind: line.kind,
        payload,
        checksum: told,
    };
    Ok((show(&record), told, line.at))
}

pub(super) fn parse_checksum(text: &str) -> Option<Checksum> {
    let bytes = parse_hexadecimal(text)?;
    bytes.try_into().ok().map(Checksum)
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn parse_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let lower = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !lower || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(text.get(index..index + 2)?, 16).ok())
        .collect()
}
