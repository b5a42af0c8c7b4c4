//! The line of `/proc/PID/stat`.

use thiserror::Error;

/// What is needed of `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Whether the process has ended, and only waits for its parent to notice.
    pub zombie: bool,
    /// The parent's process number.
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// The start, in clock ticks since the machine booted (field 22).
    pub started: u64,
    /// The wait status (field 52), once the process has ended. 0, too, where the reader may not know it.
    pub status: i32,
}

/// The line does not look as proc(5) describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a line of /proc/PID/stat")]
pub struct UnreadableStat;

/// After the program's name, which is field 2: state is field 3, parent 4, group 5, start 22,
/// wait status 52.
const STATE: usize = 0;
const PARENT: usize = 1;
const GROUP: usize = 2;
const STARTED: usize = 19;
const STATUS: usize = 49;

impl Stat {
    /// Reads the line.
    ///
    /// # Errors
    /// A field is missing or no number.
    pub fn parse(line: &[u8]) -> Result<Self, UnreadableStat> {
        // The name stands in parentheses and may itself contain blanks and parentheses.
        let name_end = line.iter().rposition(|byte| *byte == b')');
        let after_name = name_end.and_then(|end| line.get(end + 1..));
        let text = std::str::from_utf8(after_name.ok_or(UnreadableStat)?);
        let fields: Vec<&str> = text
            .map_err(|_| UnreadableStat)?
            .split_ascii_whitespace()
            .take(STATUS + 1)
            .collect();
        let field = |place: usize| fields.get(place).copied().ok_or(UnreadableStat);
        let number = |place| field(place)?.parse::<u64>().map_err(|_| UnreadableStat);
        let small = |place| u32::try_from(number(place)?).map_err(|_| UnreadableStat);
        Ok(Self {
            // X is a process that is being removed: proc(5).
            zombie: matches!(field(STATE)?, "Z" | "X" | "x"),
            parent: small(PARENT)?,
            group: small(GROUP)?,
            started: number(STARTED)?,
            status: field(STATUS)?.parse().map_err(|_| UnreadableStat)?,
        })
    }
}
