//! The line of `/proc/PID/stat`.

use thiserror::Error;

/// What is needed of `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Whether the process has ended and was not reaped. A process whose first thread has ended while
    /// others run is shown as a zombie by the kernel, but is none.
    pub zombie: bool,
    pub parent: u32,
    pub group: u32,
    /// The start, in clock ticks since the machine booted (field 22).
    pub started: u64,
    /// The wait status (field 52) once the process has ended; 0 if it belongs to another user.
    pub status: i32,
}

/// The line does not look as proc(5) describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a line of /proc/PID/stat")]
pub struct UnreadableStat;

/// After the program's name, which is field 2: state is field 3, parent 4, group 5, threads 20, start 22,
/// wait status 52.
const STATE: usize = 0;
const PARENT: usize = 1;
const GROUP: usize = 2;
const THREADS: usize = 17;
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
            zombie: matches!(field(STATE)?, "Z" | "X" | "x") && number(THREADS)? <= 1,
            parent: small(PARENT)?,
            group: small(GROUP)?,
            started: number(STARTED)?,
            status: field(STATUS)?.parse().map_err(|_| UnreadableStat)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_cannot_deceive_the_reading_of_its_facts() {
        let line = b"77 (a) Z 9 (b)) S 12 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 \
            0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256";
        let expected = Stat {
            zombie: false,
            parent: 12,
            group: 77,
            started: 4711,
            status: 256,
        };
        assert_eq!(Stat::parse(line), Ok(expected));
        for bad in [
            &b""[..],
            b"77 (a",
            b"77 (a)",
            b"77 (a) S 1 2 3",
            b"77 (\xff) \xff",
        ] {
            assert!(Stat::parse(bad).is_err());
        }
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_no_zombie_while_others_run() {
        let line = |state: &str, threads: u32| {
            format!(
                "77 (a) {state} 1 77 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711{} 9",
                " 0".repeat(29)
            )
        };
        for (state, threads, expected) in [
            ("Z", 1, true),
            ("X", 0, true),
            ("Z", 2, false),
            ("S", 1, false),
        ] {
            let stat = Stat::parse(line(state, threads).as_bytes()).unwrap();
            assert_eq!(
                (stat.zombie, stat.started, stat.status),
                (expected, 4711, 9),
                "{state} {threads}"
            );
        }
    }
}
